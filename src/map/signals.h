/* SPDX-License-Identifier: MIT */
/* signals.h - a region's coalesced ranges and ioeventfds, as an immutable shared list. */
#ifndef MAP_SIGNALS_H
#define MAP_SIGNALS_H

#include <membus/region.h>

typedef struct CoalescedRange {
    hwaddr first, last; /* offsets in the region */
} CoalescedRange;

typedef struct IoEventfd {
    hwaddr addr;
    unsigned size; /* 0: any */
    bool match_data;
    uint64_t data;
    EventNotifier *notifier;
} IoEventfd;

/* Flat ranges share the list with their region: a view keeps telling what it told. */
typedef struct RegionSignals {
    long references;
    unsigned nr_coalesced, nr_eventfds;
    CoalescedRange *coalesced; /* both in one allocation with this */
    IoEventfd *eventfds;
} RegionSignals;

RegionSignals *signals_ref(RegionSignals *signals);
void signals_unref(RegionSignals *signals);

/* Whether accesses to @mr have coalesced writes flushed first; readers may be at it. */
static inline void signals_flush_first(MemoryRegion *mr, bool flush)
{
    __atomic_store_n(&mr->flush_coalesced, flush, __ATOMIC_RELAXED);
}

static inline hwaddr ioeventfd_last(const IoEventfd *fd)
{
    return fd->addr + (fd->size ? fd->size - 1 : 0);
}

static inline bool ioeventfd_equal(const IoEventfd *a, const IoEventfd *b)
{
    return a->addr == b->addr && a->size == b->size && a->match_data == b->match_data &&
           (!a->match_data || a->data == b->data) && a->notifier == b->notifier;
}

#endif
