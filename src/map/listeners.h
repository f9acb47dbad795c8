/* SPDX-License-Identifier: MIT */
/* listeners.h - telling listeners; the order of calls is in membus/listener.h. */
#ifndef MAP_LISTENERS_H
#define MAP_LISTENERS_H

#include "map/flatview.h"

#include <membus/listener.h>

void listeners_begin(MemorySystem *ms);
void listeners_commit(MemorySystem *ms);

/* Ranges, masks and coalesced ranges that differ between what @as showed and will show. */
void listeners_tell_ranges(AddressSpace *as, const FlatView *old, const FlatView *view);

/* The ioeventfds that differ. */
void listeners_tell_eventfds(AddressSpace *as, const FlatView *old, const FlatView *view);

/* Unregister every listener of @as. */
void listeners_drop_all(AddressSpace *as);

#endif
