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
    json_t *seen; /* a key for each region visited through an alias or as a root */
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

/* A root or an alias's target, unless a walk from above comes to it. */
static void visit_once(MemoryRegion *mr, Walk *walk)
{
    char key[32];

    snprintf(key, sizeof key, "%p", (void *)mr);
    if (!memory_region_container(mr) && !json_object_get(walk->seen, key)) {
        json_object_set_new(walk->seen, key, json_true());
        visit(mr, walk);
    }
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
    if (memory_region_alias_target(mr)) {
        visit_once(memory_region_alias_target(mr), walk);
    }
    memory_region_for_each_subregion(mr, visit, walk);
    return false;
}

size_t for_each_silent_leaf(AddressSpace *const *spaces, size_t count, SilentLeafFn *fn,
                            void *opaque)
{
    Walk walk = {fn, opaque, 0, json_object()};

    for (size_t i = 0; i < count; i++) {
        visit_once(address_space_root(spaces[i]), &walk);
    }
    json_decref(walk.seen);
    return walk.count;
}
