/* SPDX-License-Identifier: MIT */
/*
 * The text of QEMU's `info mtree`: see line.c and flat.c in src/import for the grammar.
 *
 * Trees: a block per root, headed by the address spaces that share it; then a block per alias
 * target, in the order in which aliases first mention them, those in later blocks included. A
 * disabled region is left out without MTREE_DISABLED, but its subregions are printed all the same,
 * at their level: so QEMU does. Flat views: a block per view, headed by the address spaces that
 * share it.
 */
#include "base/error.h"
#include "inspect/kind.h"
#include "inspect/pointers.h"

#include <membus/inspect.h>
#include <membus/system.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *type_name(RegionKind kinds, bool readonly, bool nonvolatile, bool romd)
{
    static const char *const names[][2] = {
        {"ramd", "nv-ramd"}, {"romd", "nv-romd"}, {"rom", "nv-rom"},
        {"ram", "nv-ram"},   {"i/o", "nv-i/o"},
    };
    int kind = kinds & KIND_RAM_DEVICE           ? 0
               : kinds & KIND_ROM_DEVICE && romd ? 1
               : readonly                        ? 2
               : kinds & KIND_RAM                ? 3
                                                 : 4;

    return names[kind][nonvolatile];
}

RegionKind region_kind(const MemoryRegion *mr)
{
    return (memory_region_is_ram_device(mr) ? KIND_RAM_DEVICE : 0) |
           (memory_region_is_rom_device(mr) ? KIND_ROM_DEVICE : 0) |
           (memory_region_is_ram(mr) ? KIND_RAM : 0);
}

const char *mtree_type(const MemoryRegion *mr, bool readonly, bool nonvolatile, bool romd)
{
    return type_name(region_kind(mr), readonly, nonvolatile, romd);
}

/* Size 0 prints like size 1. */
static hwaddr last_from(hwaddr first, hwaddr size)
{
    if (size == UINT64_MAX) {
        return first + UINT64_MAX;
    }
    return size ? first + (size - 1) : first;
}

/* ---- trees ----------------------------------------------------------------------- */

typedef struct TreePrinter {
    FILE *out;
    unsigned flags, level;
    hwaddr base;         /* where the region at hand has its container's address 0 */
    PointerSet *targets; /* of aliases, in order of mention */
    bool no_memory;
} TreePrinter;

static void print_owner(FILE *out, const MemoryRegion *mr)
{
    MemoryOwner *owner = memory_region_owner(mr);
    const char *name = memory_owner_name(owner);

    if (owner == memory_system_owner(memory_owner_system(owner))) {
        return;
    }
    if (strncmp(name, "owner:{", 7) == 0 || strncmp(name, "parent:{", 8) == 0) {
        fprintf(out, " %s", name);
    } else {
        fprintf(out, " owner:{%s=%s}", name[0] == '/' ? "obj path" : "dev id", name);
    }
}

static const char *tree_type(const TreePrinter *p, const MemoryRegion *mr)
{
    const MemoryRegion *shown = mr;

    while (memory_region_alias_target(shown)) {
        shown = memory_region_alias_target(shown);
    }
    if (p->flags & MTREE_CONTAINER && p->level == 1 && shown == mr &&
        !memory_region_is_terminating(mr) && !memory_region_is_readonly(mr)) {
        return "container";
    }
    return mtree_type(shown, memory_region_is_readonly(shown), memory_region_is_nonvolatile(mr),
                      memory_region_is_romd(shown));
}

static void print_region(TreePrinter *p, const MemoryRegion *mr, hwaddr first)
{
    const MemoryRegion *target = memory_region_alias_target(mr);
    hwaddr size = memory_region_size(mr);

    fprintf(p->out, "%*s%016" PRIx64 "-%016" PRIx64 " (prio %d, %s): ", (int)(2 * p->level), "",
            first, last_from(first, size), memory_region_priority(mr), tree_type(p, mr));
    if (target) {
        hwaddr offset = memory_region_alias_offset(mr);
        fprintf(p->out, "alias %s @%s %016" PRIx64 "-%016" PRIx64, memory_region_name(mr),
                memory_region_name(target), offset, last_from(offset, size));
    } else {
        fputs(memory_region_name(mr), p->out);
    }
    if (!memory_region_is_enabled(mr)) {
        fputs(" [disabled]", p->out);
    }
    if (p->flags & MTREE_OWNER) {
        print_owner(p->out, mr);
    }
    putc('\n', p->out);
}

static bool print_subtree(MemoryRegion *mr, void *opaque)
{
    TreePrinter *p = opaque;
    hwaddr first = p->base + memory_region_address(mr);
    MemoryRegion *target = memory_region_alias_target(mr);

    if (target && pointer_set_add(p->targets, target) == POINTER_NONE) {
        p->no_memory = true;
    }
    if (memory_region_is_enabled(mr) || p->flags & MTREE_DISABLED) {
        print_region(p, mr, first);
    }
    TreePrinter below = *p;
    below.level++;
    below.base = first;
    memory_region_for_each_subregion(mr, print_subtree, &below);
    p->no_memory |= below.no_memory;
    return p->no_memory;
}

static int print_tree_blocks(AddressSpace *const *spaces, size_t count, TreePrinter *p)
{
    PointerSet roots = {.items = NULL};

    for (size_t i = 0; i < count && !p->no_memory; i++) {
        p->no_memory = pointer_set_add(&roots, address_space_root(spaces[i])) == POINTER_NONE;
    }
    /* Spaces by root, keeping their order: a list per root, threaded through next[]. */
    size_t *head = calloc(roots.count + 1, sizeof *head), *next = calloc(count + 1, sizeof *next);
    p->no_memory |= !head || !next;
    for (size_t i = count; i-- > 0 && !p->no_memory;) {
        size_t root = pointer_set_add(&roots, address_space_root(spaces[i]));
        next[i] = head[root];
        head[root] = i + 1;
    }
    for (size_t r = 0; r < roots.count && !p->no_memory; r++) {
        for (size_t i = head[r]; i; i = next[i - 1]) {
            fprintf(p->out, "address-space: %s\n", address_space_name(spaces[i - 1]));
        }
        print_subtree(address_space_root(spaces[head[r] - 1]), p);
        putc('\n', p->out);
    }
    free(head);
    free(next);
    pointer_set_destroy(&roots);
    return p->no_memory ? -ENOMEM : 0;
}

static int print_trees(AddressSpace *const *spaces, size_t count, MemoryRegion *const *first,
                       size_t nr_first, FILE *out, unsigned flags)
{
    PointerSet targets = {.items = NULL};
    TreePrinter p = {.out = out, .flags = flags, .level = 1, .targets = &targets};

    for (size_t i = 0; i < nr_first; i++) {
        p.no_memory |= pointer_set_add(&targets, first[i]) == POINTER_NONE;
    }
    int result = print_tree_blocks(spaces, count, &p);

    for (size_t i = 0; i < targets.count && result == 0; i++) {
        MemoryRegion *target = (MemoryRegion *)targets.items[i];
        fprintf(out, "memory-region: %s\n", memory_region_name(target));
        result = print_subtree(target, &p) ? -ENOMEM : 0;
        putc('\n', out);
    }
    pointer_set_destroy(&targets);
    return result;
}

/* ---- flat views ------------------------------------------------------------------ */

size_t mtree_format_section(char *buf, size_t size, const MemoryRegionSection *s)
{
    char offset[24] = "";

    if (s->offset_within_region) {
        snprintf(offset, sizeof offset, " @%016" PRIx64, s->offset_within_region);
    }
    int length = snprintf(
        buf, size, "  %016" PRIx64 "-%016" PRIx64 " (prio %d, %s): %s%s",
        s->offset_within_address_space, s->last_within_address_space, memory_region_priority(s->mr),
        mtree_type(s->mr, s->readonly, s->nonvolatile, s->romd), memory_region_name(s->mr), offset);
    return length > 0 ? (size_t)length : 0;
}

static void print_ranges(const FlatView *view, FILE *out)
{
    MemoryRegionSection s;
    bool any = false;

    for (hwaddr at = 0; flatview_next(view, at, &s); at = s.last_within_address_space + 1) {
        fprintf(out, "  %016" PRIx64 "-%016" PRIx64 " (prio %d, %s): %s",
                s.offset_within_address_space, s.last_within_address_space,
                memory_region_priority(s.mr), mtree_type(s.mr, s.readonly, s.nonvolatile, s.romd),
                memory_region_name(s.mr));
        if (s.offset_within_region) {
            fprintf(out, " @%016" PRIx64, s.offset_within_region);
        }
        putc('\n', out);
        any = true;
        if (s.last_within_address_space == UINT64_MAX) {
            break;
        }
    }
    if (!any) {
        fputs("  No rendered FlatView\n", out);
    }
}

static void print_view(size_t number, const FlatView *view, AddressSpace *const *spaces,
                       const size_t *next, size_t first, FILE *out)
{
    MemoryRegion *root = flatview_root(view);

    fprintf(out, "FlatView #%zu\n", number);
    for (size_t i = first; i; i = next[i - 1]) {
        MemoryRegion *own = address_space_root(spaces[i - 1]);
        fprintf(out, " AS \"%s\", root: %s", address_space_name(spaces[i - 1]),
                memory_region_name(own));
        if (memory_region_alias_target(own)) {
            fprintf(out, ", alias %s", memory_region_name(memory_region_alias_target(own)));
        }
        putc('\n', out);
    }
    fprintf(out, " Root memory region: %s\n", root ? memory_region_name(root) : "(none)");
    print_ranges(view, out);
    putc('\n', out);
}

static int print_flat_views(AddressSpace *const *spaces, size_t count, FILE *out)
{
    PointerSet views = {.items = NULL};
    FlatView **held = calloc(count + 1, sizeof(FlatView *));
    size_t *head = calloc(count + 1, sizeof *head), *next = calloc(count + 1, sizeof *next);
    int result = held && head && next ? 0 : fail_no_memory("the flat views");

    for (size_t i = 0; i < count && result == 0; i++) {
        held[i] = address_space_get_flatview(spaces[i]);
        if (pointer_set_add(&views, held[i]) == POINTER_NONE) {
            result = fail_no_memory("the flat views");
        }
    }
    for (size_t i = count; i-- > 0 && result == 0;) {
        size_t view = pointer_set_add(&views, held[i]);
        next[i] = head[view];
        head[view] = i + 1;
    }
    for (size_t v = 0; v < views.count && result == 0; v++) {
        print_view(v, views.items[v], spaces, next, head[v], out);
    }
    for (size_t i = 0; held && i < count; i++) {
        flatview_unref(held[i]);
    }
    pointer_set_destroy(&views);
    free(held);
    free(head);
    free(next);
    return result;
}

/* ---- both ------------------------------------------------------------------------ */

int mtree_print_spaces(AddressSpace *const *spaces, size_t count, MemoryRegion *const *targets,
                       size_t nr_targets, FILE *out, unsigned flags)
{
    if (count == 0) {
        return 0;
    }
    MemorySystem *ms = address_space_system(spaces[0]);

    memory_system_lock(ms);
    int result = flags & MTREE_FLAT ? print_flat_views(spaces, count, out)
                                    : print_trees(spaces, count, targets, nr_targets, out, flags);
    memory_system_unlock(ms);
    if (result == 0 && ferror(out)) {
        result = fail(EIO, "the map could not be written: %s", strerror(errno));
    }
    return result;
}

typedef struct Selection {
    const char *name; /* NULL: all */
    AddressSpace **spaces;
    size_t count;
} Selection;

static bool count_or_select(AddressSpace *as, void *opaque)
{
    Selection *selection = opaque;

    if (!selection->name || strcmp(selection->name, address_space_name(as)) == 0) {
        if (selection->spaces) {
            selection->spaces[selection->count] = as;
        }
        selection->count++;
    }
    return false;
}

int mtree_print(MemorySystem *ms, FILE *out, unsigned flags, const char *as_name)
{
    Selection selection = {as_name, NULL, 0};
    int result;

    memory_system_lock(ms);
    memory_system_for_each_address_space(ms, count_or_select, &selection);
    selection.spaces = calloc(selection.count + 1, sizeof(AddressSpace *));
    if (!selection.spaces) {
        result = fail_no_memory("the address spaces");
    } else if (selection.count == 0) {
        result = fail(ENOENT, "no address space is called '%s'", as_name ? as_name : "");
    } else {
        selection.count = 0;
        memory_system_for_each_address_space(ms, count_or_select, &selection);
        result = mtree_print_spaces(selection.spaces, selection.count, NULL, 0, out, flags);
    }
    free(selection.spaces);
    memory_system_unlock(ms);
    return result;
}
