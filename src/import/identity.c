/* SPDX-License-Identifier: MIT */
/*
 * Which lines speak of one and the same region.
 *
 * The tree under an alias's target is printed in a section of its own, and again wherever the
 * target is part of another tree; the root of an address space may be part of another's tree too:
 *
 *      address-space: memory          memory-region: pci        the same region, and
 *        0-ff  system                   0-ff  pci               everything below it
 *          0-ff  pci                      4-7  vga
 *            4-7  vga
 *
 * Two trees are the same if all that is printed agrees, owners included, and their roots have the
 * same address in their container. Blocks are looked at by falling size, so that a tree comes after
 * those that may contain it. Where several places look alike, each is given away once, in printed
 * order.
 */
#include "import/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Regions with the same signature and offset. */
typedef struct Twins {
    struct Twins *next;
    uint64_t key;
    struct Place *places;
    struct Place *free_for_space, *free_for_section; /* the first that is not given away */
    struct Place **last;
} Twins;

typedef struct Place {
    struct Place *next;
    ImportNode *node;
} Place;

typedef struct Registry {
    ImportRecords *records;
    Arena arena;
    Twins **buckets;
    size_t mask;
} Registry;

/* ---- signatures ------------------------------------------------------------------ */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    for (; text && *text; text++) {
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    }
    return mix(hash, 1);
}

static void sign(ImportNode *node)
{
    uint64_t hash = mix_text(0, node->name);

    hash = mix_text(hash, node->owner);
    hash = mix(hash, import_extent(node));
    hash = mix(hash, (uint64_t)(uint32_t)node->priority << 8 | (uint64_t)node->type << 4 |
                         (uint64_t)(node->nonvolatile << 3 | node->disabled << 2 |
                                    node->hidden << 1 | node->is_alias));
    hash = mix(hash, node->target_first);
    hash = mix(hash, node->target_last);
    node->weight = 1;
    for (const ImportNode *child = node->children; child; child = child->next) {
        hash = mix(hash, import_offset(child));
        hash = mix(hash, child->signature);
        node->weight += child->weight;
    }
    node->signature = hash;
}

/* Children before parents. */
static void sign_tree(ImportNode *root)
{
    ImportNode *node = root;

    while (node->children) {
        node = node->children;
    }
    for (;;) {
        sign(node);
        if (node == root) {
            return;
        }
        if (!node->next) {
            node = node->parent;
            continue;
        }
        node = node->next;
        while (node->children) {
            node = node->children;
        }
    }
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_line(const ImportNode *a, const ImportNode *b)
{
    return a->signature == b->signature && a->weight == b->weight &&
           import_extent(a) == import_extent(b) && a->priority == b->priority &&
           a->type == b->type && a->disabled == b->disabled && a->is_alias == b->is_alias &&
           same_text(a->name, b->name) && same_text(a->owner, b->owner);
}

/* Compare, or with @join make every node of @copy stand for its counterpart in @original. */
static bool walk_both(ImportNode *original, ImportNode *copy, bool join)
{
    ImportNode *a = original, *b = copy;

    while (a && b) {
        if (join) {
            b->canonical = a;
        } else if (!same_line(a, b) || (a != original && import_offset(a) != import_offset(b))) {
            return false;
        }
        a = import_next_node(original, a);
        b = import_next_node(copy, b);
    }
    return !a && !b;
}

/* ---- the registry ---------------------------------------------------------------- */

static Twins *find_twins(const Registry *registry, uint64_t key)
{
    Twins *twins = registry->buckets[key & registry->mask];

    while (twins && twins->key != key) {
        twins = twins->next;
    }
    return twins;
}

static uint64_t key_of(const ImportNode *node)
{
    return mix(node->signature, import_offset(node));
}

static int register_node(Registry *registry, ImportNode *node)
{
    Place *place = arena_alloc(&registry->arena, sizeof *place);
    Twins *twins = find_twins(registry, key_of(node));

    if (!place) {
        return -ENOMEM;
    }
    if (!twins) {
        twins = arena_alloc(&registry->arena, sizeof *twins);
        if (!twins) {
            return -ENOMEM;
        }
        Twins **bucket = &registry->buckets[key_of(node) & registry->mask];
        *twins = (Twins){.next = *bucket, .key = key_of(node)};
        twins->last = &twins->places;
        *bucket = twins;
    }
    *place = (Place){NULL, node};
    *twins->last = place;
    twins->last = &place->next;
    if (!twins->free_for_space) {
        twins->free_for_space = place;
    }
    if (!twins->free_for_section) {
        twins->free_for_section = place;
    }
    return 0;
}

static int register_tree(Registry *registry, ImportNode *root)
{
    for (ImportNode *node = root; node; node = import_next_node(root, node)) {
        node->canonical = node;
        if (register_node(registry, node) < 0) {
            return import_fail(registry->records, node->line, ENOMEM, "out of memory");
        }
    }
    return 0;
}

static int place_block(Registry *registry, ImportBlock *block)
{
    ImportNode *root = block->root;
    Twins *twins = find_twins(registry, key_of(root));

    if (twins) {
        Place **turn = block->is_space ? &twins->free_for_space : &twins->free_for_section;
        Place *place = *turn;
        if (place && walk_both(place->node, root, false)) {
            *turn = place->next;
            walk_both(place->node, root, true);
            return 0;
        }
    }
    int result = register_tree(registry, root);
    if (result == 0) {
        /* This place is the block's own: no other block of its kind may have it. */
        twins = find_twins(registry, key_of(root));
        Place **turn = block->is_space ? &twins->free_for_space : &twins->free_for_section;
        if (*turn && (*turn)->node == root) {
            *turn = (*turn)->next;
        }
    }
    return result;
}

static void list_regions(ImportRecords *records)
{
    ImportNode **last = &records->regions;

    for (ImportBlock *block = records->blocks; block; block = block->next) {
        for (ImportNode *node = block->root; node; node = import_next_node(block->root, node)) {
            if (node->canonical == node) {
                *last = node;
                last = &node->next_region;
            }
        }
    }
}

/* Large first; of equal size address spaces first, then as printed. */
static int by_size(const void *a, const void *b)
{
    const ImportBlock *x = *(ImportBlock *const *)a, *y = *(ImportBlock *const *)b;

    if (x->root->weight != y->root->weight) {
        return x->root->weight > y->root->weight ? -1 : 1;
    }
    if (x->is_space != y->is_space) {
        return x->is_space ? -1 : 1;
    }
    return x->line < y->line ? -1 : 1;
}

int import_identify(ImportRecords *records)
{
    Registry registry = {.records = records};
    size_t count = 0, buckets = 64;
    int result = -ENOMEM;

    for (ImportBlock *block = records->blocks; block; block = block->next) {
        sign_tree(block->root);
        count++;
    }
    while (buckets < records->nr_nodes) {
        buckets *= 2;
    }
    ImportBlock **order = malloc((count + 1) * sizeof *order);
    registry.buckets = calloc(buckets, sizeof *registry.buckets);
    registry.mask = buckets - 1;
    if (!order || !registry.buckets) {
        import_fail(records, 1, ENOMEM, "out of memory");
        goto out;
    }
    size_t n = 0;
    for (ImportBlock *block = records->blocks; block; block = block->next) {
        order[n++] = block;
    }
    qsort(order, count, sizeof *order, by_size);
    result = 0;
    for (size_t i = 0; i < count && result == 0; i++) {
        result = place_block(&registry, order[i]);
    }
    if (result == 0) {
        list_regions(records);
    }
out:
    arena_destroy(&registry.arena);
    free(registry.buckets);
    free(order);
    return result;
}
