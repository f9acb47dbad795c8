/* SPDX-License-Identifier: MIT */
/* edit.h - the one way to change a region. */
#ifndef MAP_EDIT_H
#define MAP_EDIT_H

#include "map/system.h"

/*
 * Give @mr the state @state, as a transaction of its own or within the program's; on an error
 * nothing has changed. Context: machine lock held.
 */
int region_change(MemoryRegion *mr, const MemoryRegionState *state);

/* Put @mr into, or take it out of, the indexes that its state names. Context: machine lock held. */
void region_index(MemoryRegion *mr);
void region_unindex(MemoryRegion *mr);

/*
 * Make @state @mr's, with the indexes and counts that follow from it, and nothing else.
 * Context: as above.
 */
void region_install(MemoryRegion *mr, const MemoryRegionState *state);

/* A reference on behalf of @holder, unless both have one owner. */
void region_hold(const MemoryRegion *holder, MemoryRegion *mr);
void region_let_go(const MemoryRegion *holder, MemoryRegion *mr);

#endif
