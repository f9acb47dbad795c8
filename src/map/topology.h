/* SPDX-License-Identifier: MIT */
/* topology.h - transactions: how edits of the tree become views. See topology.c. */
#ifndef MAP_TOPOLOGY_H
#define MAP_TOPOLOGY_H

#include "map/system.h"

/*
 * Every edit of the tree runs between these, as a transaction of its own or inside the
 * program's:
 *
 *      result = map_edit_begin(ms);        -EBUSY from a listener: stop
 *      ... change, map_damage() ...
 *      result = map_edit_end(ms);
 *      if (result) {                       nothing was published, the transaction is open still
 *          ... undo the change ...
 *          map_edit_cancel(ms);
 *      }
 */
int map_edit_begin(MemorySystem *ms);
int map_edit_end(MemorySystem *ms);
void map_edit_cancel(MemorySystem *ms);

/*
 * Note that what @mr shows changes: call before a change that takes something away, and after
 * one that adds something. Lifts @mr's extent to every root that it can be seen from, as the
 * tree stands now. -ELOOP if there is no end to that.
 */
int map_damage(MemoryRegion *mr);

/* The same where the paths cannot be followed: everything may look different. */
void map_damage_everything(MemorySystem *ms);

/* @as's root, or any space's, may resolve elsewhere now. */
void map_damage_space(AddressSpace *as);
void map_damage_all_spaces(MemorySystem *ms);

#endif
