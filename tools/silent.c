/* SPDX-License-Identifier: MIT */
/*
 * silent.c - the leaves that a flat dump overruled.
 *
 * The text of a tree does not tell an empty container from a device. Where the flat dump shows
 * a leaf nowhere although nothing hides it, the importer must take it for an empty container,
 * and a device that is missing from the dump by mistake looks just the same. So whoever trusts
 * the result is told which leaves these were.
 */
#include "tool.h"

#include <stdlib.h>

typedef struct Walk {
    SilentLeafFn *fn;
    void *opaque;
    size_t count;
} Walk;

static bool visit(MemoryRegion *mr, void *opaque);

static bool note_child(MemoryRegion *mr, void *opaque)
{
    *(bool *)opaque = true;
    (void)mr;
    return true;
}

static bool is_silent(const MemoryRegion *mr)
{
    bool has_children = false;

    if (memory_region_alias_target(mr) || memory_region_is_terminating(mr) ||
        !memory_region_size(mr)) {
        return false;
    }
    memory_region_for_each_subregion(mr, note_child, &has_children);
    return !has_children;
}

static bool visit(MemoryRegion *mr, void *opaque)
{
    Walk *walk = opaque;

    if (!memory_region_is_enabled(mr)) {
        return false;
    }
    if (is_silent(mr)) {
        walk->fn(mr, walk->opaque);
        walk->count++;
    }
    memory_region_for_each_subregion(mr, visit, walk);
    return false;
}

size_t for_each_silent_leaf(AddressSpace *const *spaces, size_t count, SilentLeafFn *fn,
                            void *opaque)
{
    Walk walk = {fn, opaque, 0};

    for (size_t i = 0; i < count; i++) {
        MemoryRegion *root = address_space_root(spaces[i]);
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++) {
            seen = address_space_root(spaces[k]) == root;
        }
        if (!seen) {
            memory_region_for_each_subregion(root, visit, &walk);
        }
    }
    return walk.count;
}
