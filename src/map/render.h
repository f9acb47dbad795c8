/* SPDX-License-Identifier: MIT */
/* render.h - paint a window of the tree. See render.c. */
#ifndef MAP_RENDER_H
#define MAP_RENDER_H

#include "map/flatview.h"
#include "map/system.h"

/* Paths through aliases may multiply: more steps than this in one operation is -ELOOP. */
#define MAP_MAX_STEPS (1UL << 24)

/*
 * Resolve the tree under @root, as its view shows it, in [first, last]. *@ranges (in
 * ms->scratch) and *@count get the templates that view_edit_splice() wants. Returns 0, -ENOMEM
 * or -ELOOP.
 */
int render_window(MemorySystem *ms, MemoryRegion *root, hwaddr first, hwaddr last,
                  FlatRange **ranges, size_t *count);

/*
 * The region that stands for @root in every respect: what a view of it would show is what a
 * view of the result shows. NULL if it shows nothing.
 */
MemoryRegion *render_resolve_root(MemoryRegion *root);

#endif
