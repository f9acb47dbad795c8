/* SPDX-License-Identifier: MIT */
/*
 * Records -> a machine, through the public API.
 *
 * Regions first, then aliases (each after its target), then the tree, then the address spaces, so
 * that each space is rendered once. Of siblings with one priority the one added last wins; they are
 * added by rising rank (repair.c), then rising address, then from the last printed to the first.
 */
#include "import/names.h"
#include "import/record.h"

#include <membus/error.h>
#include <membus/system.h>

#include <errno.h>
#include <stdlib.h>

/* A ROM device needs a table of callbacks; an access to a captured machine finds none. */
static const MemoryRegionOps no_ops = {.endianness = DEVICE_LITTLE_ENDIAN};

/* Put the place in front of the core's own sentence. */
static int build_fail(const MemoryImport *import, unsigned long line, int result)
{
    return import_fail(&import->records, line, -result, "%s", membus_last_error());
}

/* ---- regions --------------------------------------------------------------------- */

static MemoryOwner *owner_of(MemoryImport *import, NameTable *owners, const ImportNode *node)
{
    if (!node->owner) {
        return memory_system_owner(import->ms);
    }
    void **slot = name_table_slot(owners, node->owner, 0);
    if (!slot || *slot) {
        return slot ? *slot : NULL;
    }
    if (import->nr_owners == import->max_owners) {
        size_t max = import->max_owners ? 2 * import->max_owners : 64;
        MemoryOwner **grown = reallocarray(import->owners, max, sizeof(MemoryOwner *));
        if (!grown) {
            return NULL;
        }
        import->owners = grown;
        import->max_owners = max;
    }
    MemoryOwner *owner = memory_owner_create(import->ms, node->owner, NULL, NULL);
    if (owner) {
        import->owners[import->nr_owners++] = owner;
    }
    *slot = owner;
    return owner;
}

/* The API's size of a printed range. */
static hwaddr size_of(const ImportNode *node)
{
    hwaddr extent = import_extent(node);

    if (node->empty) {
        return 0;
    }
    return extent == UINT64_MAX ? UINT64_MAX : extent + 1;
}

static int init_leaf(ImportNode *node, MemoryOwner *owner)
{
    hwaddr size = size_of(node);

    switch (node->type) {
    case IMPORT_RAM:
    case IMPORT_ROM:
        return memory_region_init_ram_unbacked(&node->mr, owner, node->name, size);
    case IMPORT_ROMD:
        return memory_region_init_rom_device_unbacked(&node->mr, owner, &no_ops, NULL, node->name,
                                                      size);
    case IMPORT_RAM_DEVICE: {
        int result = memory_region_init_ram_unbacked(&node->mr, owner, node->name, size);
        /* RAM devices without memory have no constructor: only a picture of a machine has them. */
        node->mr.ram_device = result == 0;
        return result;
    }
    default:
        return memory_region_init_io(&node->mr, owner, NULL, NULL, node->name, size);
    }
}

static int init_region(MemoryImport *import, ImportNode *node, MemoryOwner *owner)
{
    int result;

    node->mr = (MemoryRegion){.ops = NULL};
    if (node->is_alias) {
        result = memory_region_init_alias(&node->mr, owner, node->name, &node->target->mr,
                                          node->target_first, size_of(node));
    } else if (node->terminates) {
        result = init_leaf(node, owner);
    } else {
        result = memory_region_init(&node->mr, owner, node->name, size_of(node));
    }
    if (result < 0) {
        return build_fail(import, node->line, result);
    }
    node->built = true;
    node->previous_built = import->last_built;
    import->last_built = node;

    bool readonly = node->is_alias ? node->readonly : node->type == IMPORT_ROM;
    if ((node->disabled && (result = memory_region_set_enabled(&node->mr, false)) < 0) ||
        (readonly && (result = memory_region_set_readonly(&node->mr, true)) < 0) ||
        (node->nonvolatile && (result = memory_region_set_nonvolatile(&node->mr, true)) < 0)) {
        return build_fail(import, node->line, result);
    }
    return 0;
}

/* An alias after its target, which may be an alias. */
static int init_in_order(MemoryImport *import, NameTable *owners, ImportNode *node, unsigned depth)
{
    if (node->built) {
        return 0;
    }
    if (node->is_alias && !node->target->built) {
        if (node->building || depth == MEMORY_REGION_MAX_DEPTH) {
            return import_fail(&import->records, node->line, ELOOP,
                               node->building ? "alias '%s' leads back to itself"
                                              : "alias '%s': aliases of aliases nest too deep",
                               node->name);
        }
        node->building = true;
        int result = init_in_order(import, owners, node->target, depth + 1);
        node->building = false;
        if (result < 0) {
            return result;
        }
    }
    MemoryOwner *owner = owner_of(import, owners, node);
    return owner ? init_region(import, node, owner)
                 : import_fail(&import->records, node->line, ENOMEM, "out of memory");
}

static int init_all(MemoryImport *import)
{
    NameTable owners = {.buckets = NULL};
    int result = 0;

    for (ImportNode *node = import->records.regions; node && result == 0;
         node = node->next_region) {
        result = init_in_order(import, &owners, node, 0);
    }
    name_table_destroy(&owners);
    return result;
}

/* ---- the tree -------------------------------------------------------------------- */

/* The printed order, which qsort() does not keep by itself, is that of the lines. */
static int by_time_of_adding(const void *a, const void *b)
{
    const ImportNode *x = *(ImportNode *const *)a, *y = *(ImportNode *const *)b;

    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    if (x->first != y->first) {
        return x->first < y->first ? -1 : 1;
    }
    /* A hidden region bears the line of its first child. */
    if (x->line != y->line) {
        return x->line > y->line ? -1 : 1;
    }
    return 0;
}

static int add_children(MemoryImport *import, ImportNode *parent)
{
    size_t count = 0, n = 0;
    int result = 0;

    for (ImportNode *child = parent->children; child; child = child->next) {
        count++;
    }
    ImportNode **order = count ? malloc(count * sizeof(ImportNode *)) : NULL;
    if (!order) {
        return count ? import_fail(&import->records, parent->line, ENOMEM, "out of memory") : 0;
    }
    for (ImportNode *child = parent->children; child; child = child->next) {
        order[n++] = child;
    }
    qsort(order, count, sizeof *order, by_time_of_adding);
    for (n = 0; n < count && result == 0; n++) {
        ImportNode *child = order[n];
        result = memory_region_add_subregion_overlap(&parent->mr, import_offset(child), &child->mr,
                                                     child->priority);
        if (result < 0) {
            result = build_fail(import, child->line, result);
        }
    }
    free(order);
    return result;
}

static int build_tree(MemoryImport *import)
{
    int result = init_all(import);

    for (ImportNode *node = import->records.regions; node && result == 0;
         node = node->next_region) {
        if (!node->parent) {
            result = memory_region_set_address(&node->mr, node->first);
            /* A root's priority decides nothing, but it is printed. */
            node->mr.state.priority = node->priority;
        }
        if (result == 0) {
            result = add_children(import, node);
        }
    }
    return result;
}

static int build_spaces(MemoryImport *import)
{
    size_t count = 0;

    for (ImportBlock *block = import->records.blocks; block; block = block->next) {
        count += block->is_space ? block->nr_names : 0;
    }
    import->storage = calloc(count + 1, sizeof *import->storage);
    import->spaces = calloc(count + 1, sizeof(AddressSpace *));
    if (!import->storage || !import->spaces) {
        return import_fail(&import->records, 1, ENOMEM, "out of memory");
    }
    for (ImportBlock *block = import->records.blocks; block; block = block->next) {
        for (size_t i = 0; block->is_space && i < block->nr_names; i++) {
            AddressSpace *space = &import->storage[import->nr_spaces];
            int result = address_space_init(space, &block->root->canonical->mr, block->names[i]);
            if (result < 0) {
                return build_fail(import, block->name_lines[i], result);
            }
            import->spaces[import->nr_spaces++] = space;
        }
    }
    return 0;
}

static int list_targets(MemoryImport *import)
{
    size_t count = 0;

    for (ImportBlock *block = import->records.blocks; block; block = block->next) {
        count += !block->is_space;
    }
    import->targets = calloc(count + 1, sizeof(MemoryRegion *));
    if (!import->targets) {
        return import_fail(&import->records, 1, ENOMEM, "out of memory");
    }
    for (ImportBlock *block = import->records.blocks; block; block = block->next) {
        if (!block->is_space) {
            import->targets[import->nr_targets++] = &block->root->canonical->mr;
        }
    }
    return 0;
}

int import_build(MemoryImport *import)
{
    import->ms = memory_system_create();
    if (!import->ms) {
        return build_fail(import, 1, -ENOMEM);
    }
    memory_region_transaction_begin(import->ms);
    int result = build_tree(import);
    if (result == 0) {
        result = build_spaces(import);
    }
    int committed = memory_region_transaction_commit(import->ms);
    if (result == 0 && committed < 0) {
        result = build_fail(import, 1, committed);
    }
    if (result == 0) {
        result = list_targets(import);
    }
    return result;
}

/* ---- the end --------------------------------------------------------------------- */

void import_unbuild(MemoryImport *import)
{
    if (!import->ms) {
        return;
    }
    for (size_t i = import->nr_spaces; i-- > 0;) {
        address_space_destroy(import->spaces[i]);
    }
    /* Owners that hold each other's regions keep each other alive: take everything apart first. */
    memory_region_transaction_begin(import->ms);
    for (ImportNode *node = import->last_built; node; node = node->previous_built) {
        MemoryRegion *container = memory_region_container(&node->mr);
        if (container) {
            memory_region_del_subregion(container, &node->mr);
        }
    }
    memory_region_transaction_commit(import->ms);
    memory_system_drain(import->ms);
    for (ImportNode *node = import->last_built; node; node = node->previous_built) {
        memory_region_finalize(&node->mr);
        node->built = false;
    }
    import->last_built = NULL;
    for (size_t i = 0; i < import->nr_owners; i++) {
        memory_owner_unref(import->owners[i]);
    }
    import->nr_owners = 0;
    memory_system_destroy(import->ms);
    import->ms = NULL;
    free(import->spaces);
    free(import->storage);
    import->spaces = NULL;
    import->storage = NULL;
    import->nr_spaces = 0;
    free(import->targets);
    import->targets = NULL;
    import->nr_targets = 0;
}
