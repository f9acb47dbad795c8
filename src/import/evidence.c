/* SPDX-License-Identifier: MIT */
/*
 * What a flat dump tells of the regions of a tree.
 *
 * A region answers itself ("terminates") if a line of the flat view bears its name and priority,
 * lies inside what the tree shows of it there, and start minus offset is where the region starts:
 *
 *     tree   1000-10ff  vga.mmio         flat   1000-101f  edid
 *              1000-101f  edid                  1020-10ff  vga.mmio @20   1020 - 20 = 1000
 *
 * So each tree is walked as its address spaces see it, through aliases, each region clipped to the
 * window through which it shows. What is hidden behind others leaves no trace: there the default
 * holds, and repair.c takes back what then shows though it should not.
 */
#include "import/evidence.h"

#include "base/range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 64000000UL

static FlatFact *add_fact(FlatIndex *index, const MtreeFlatRange *range, size_t view)
{
    void **slot = name_table_slot(&index->facts, range->name, range->first - range->offset);
    FlatFact *fact = arena_alloc(&index->arena, sizeof *fact);

    if (slot && fact) {
        *fact = (FlatFact){*slot, range, view};
        *slot = fact;
    }
    return slot ? fact : NULL;
}

static FlatSpace *add_space(FlatIndex *index, const char *name, size_t view)
{
    void **slot = name_table_slot(&index->spaces, name, 0);
    FlatSpace *space = arena_alloc(&index->arena, sizeof *space);

    if (slot && space) {
        *space = (FlatSpace){*slot, index->all_spaces, view, 0};
        *slot = space;
        index->all_spaces = space;
    }
    return slot ? space : NULL;
}

int flat_index_init(FlatIndex *index, const MtreeFlat *flat)
{
    *index = (FlatIndex){.flat = flat};
    for (size_t v = mtree_flat_count(flat); v-- > 0;) {
        const MtreeFlatView *view = mtree_flat_view(flat, v);
        for (size_t i = 0; i < view->nr_ranges; i++) {
            if (!add_fact(index, &view->ranges[i], v)) {
                return -ENOMEM;
            }
        }
        for (size_t i = 0; i < view->nr_spaces; i++) {
            if (!add_space(index, view->spaces[i].name, v)) {
                return -ENOMEM;
            }
        }
    }
    return 0;
}

void flat_index_destroy(FlatIndex *index)
{
    name_table_destroy(&index->facts);
    name_table_destroy(&index->spaces);
    arena_destroy(&index->arena);
}

/* ---- the walk -------------------------------------------------------------------- */

typedef struct Walk {
    const FlatIndex *index;
    bool *shows; /* by view: it shows an address space of the tree */
    unsigned long steps, hits;
    unsigned depth;
} Walk;

/* A region's [first, last], offsets in it; adding @shift gives addresses. */
static void visit(Walk *walk, ImportNode *node, hwaddr first, hwaddr last, hwaddr shift);

static void look_up(Walk *walk, ImportNode *node, hwaddr first, hwaddr last, hwaddr shift)
{
    for (FlatFact *fact = flat_index_get(walk->index, node->name, shift); fact; fact = fact->next) {
        const MtreeFlatRange *range = fact->range;
        walk->steps++;
        if (walk->shows[fact->view] && range->priority == node->priority &&
            range->first >= first + shift && range->last <= last + shift) {
            node->seen = true;
            walk->hits++;
            return;
        }
    }
}

static void visit_target(Walk *walk, ImportNode *alias, hwaddr first, hwaddr last, hwaddr shift)
{
    hwaddr offset = alias->target_first;
    hwaddr extent = import_extent(alias->target);
    unsigned long hits = walk->hits;

    if (first > UINT64_MAX - offset || first + offset > extent) {
        return;
    }
    visit(walk, alias->target, first + offset, hwaddr_min(hwaddr_add_clipped(last, offset), extent),
          shift - offset);
    if (walk->hits > hits) {
        alias->seen = true;
    }
}

static void visit(Walk *walk, ImportNode *node, hwaddr first, hwaddr last, hwaddr shift)
{
    if (node->disabled || walk->depth == MEMORY_REGION_MAX_DEPTH || ++walk->steps > MAX_STEPS) {
        return;
    }
    walk->depth++;
    if (node->is_alias) {
        visit_target(walk, node, first, last, shift);
    } else {
        look_up(walk, node, first, last, shift);
        for (ImportNode *child = node->children; child; child = child->next) {
            hwaddr at = import_offset(child), end = at + import_extent(child);
            walk->steps++;
            if (end < at) {
                end = UINT64_MAX;
            }
            if (ranges_overlap(at, end, first, last)) {
                visit(walk, child, hwaddr_max(at, first) - at, hwaddr_min(end, last) - at,
                      shift + at);
            }
        }
    }
    walk->depth--;
}

static int walk_space(ImportRecords *records, Walk *walk, const ImportBlock *block)
{
    ImportNode *root = block->root->canonical;
    hwaddr base = block->root->first;
    bool any = false;

    memset(walk->shows, 0, mtree_flat_count(walk->index->flat) * sizeof *walk->shows);
    for (size_t i = 0; i < block->nr_names; i++) {
        FlatSpace *space = name_table_get(&walk->index->spaces, block->names[i], 0);
        for (; space; space = space->next) {
            walk->shows[space->view] = true;
            any = true;
            walk->steps++;
        }
    }
    if (any) {
        visit(walk, root, 0, hwaddr_min(import_extent(root), UINT64_MAX - base), base);
    }
    if (walk->steps > MAX_STEPS) {
        return import_fail(records, block->line, E2BIG,
                           "more address spaces and aliases than can be compared with the flat "
                           "dump");
    }
    return 0;
}

/* ---- conclusions ------------------------------------------------------------------ */

static bool default_terminates(const ImportNode *node, bool judged)
{
    switch (node->type) {
    case IMPORT_CONTAINER:
        return node->seen;
    case IMPORT_IO:
        return node->seen || !node->children;
    case IMPORT_ROM:
        /* a read-only container prints like ROM */
        return node->seen || !node->children || !judged;
    default:
        return true;
    }
}

static void conclude(ImportNode *node, bool judged)
{
    if (node->is_alias) {
        node->terminates = false;
        node->empty = node->first == node->last && !node->seen;
        node->readonly = strcmp(node->name, "pam-rom") == 0;
    } else {
        node->terminates = !node->hidden && default_terminates(node, judged);
    }
}

/* Without a flat dump: the unassigned ports, which nothing but the name tells of. */
static void conclude_ports(const ImportBlock *block)
{
    for (size_t i = 0; block->is_space && i < block->nr_names; i++) {
        ImportNode *root = block->root->canonical;
        if (strcmp(block->names[i], "I/O") == 0 && strcmp(root->name, "io") == 0 &&
            root->type == IMPORT_IO && !root->is_alias) {
            root->terminates = true;
        }
    }
}

int import_weigh_evidence(ImportRecords *records, const FlatIndex *index)
{
    Walk walk = {.index = index};
    int result = 0;

    if (index) {
        walk.shows = calloc(mtree_flat_count(index->flat), sizeof *walk.shows);
        if (!walk.shows) {
            return import_fail(records, 1, ENOMEM, "out of memory");
        }
    }
    for (ImportBlock *block = records->blocks; index && block && result == 0; block = block->next) {
        if (block->is_space) {
            result = walk_space(records, &walk, block);
        }
    }
    free(walk.shows);
    for (ImportNode *node = records->regions; node; node = node->next_region) {
        conclude(node, index != NULL);
    }
    for (ImportBlock *block = records->blocks; block && !index; block = block->next) {
        conclude_ports(block);
    }
    return result;
}
