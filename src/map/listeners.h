/* SPDX-License-Identifier: MIT */
/* listeners.h - telling listeners; the order of calls is in membus/listener.h. */
#ifndef MAP_LISTENERS_H
#define MAP_LISTENERS_H

#include "map/flatview.h"

#include <membus/listener.h>

/*
 * Ask the listeners of @as whether @view may replace the one it shows. On a refusal those that
 * agreed are still to be told, with listeners_cancel().
 */
int listeners_prepare(AddressSpace *as, const FlatView *view);
void listeners_cancel(MemorySystem *ms);

void listeners_begin(MemorySystem *ms);
void listeners_commit(MemorySystem *ms);

/* Ranges, masks and coalesced ranges that differ between what @as showed and will show. */
void listeners_tell_ranges(AddressSpace *as, const FlatView *old, const FlatView *view);

/* The ioeventfds that differ. */
void listeners_tell_eventfds(AddressSpace *as, const FlatView *old, const FlatView *view);

/*
 * What @range shows of its region's coalesced ranges (address and length) and ioeventfds (with an
 * address of the view); of the latter not those that @other shows as well, unless it is NULL.
 */
typedef void VisitCoalesced(const FlatRange *range, hwaddr addr, hwaddr len, void *opaque);
typedef void VisitEventfd(const FlatRange *range, const IoEventfd *fd, void *opaque);
void flatrange_each_coalesced(const FlatRange *range, VisitCoalesced *visit, void *opaque);
void flatrange_each_eventfd(const FlatRange *range, const FlatView *other, VisitEventfd *visit,
                            void *opaque);

/* "listener L of address space A WHAT: @err", which is freed; returns its errno. */
int listener_refused(const MemoryListener *listener, const char *what, Error *err);

/* Unregister every listener of @as. */
void listeners_drop_all(AddressSpace *as);

#endif
