/* SPDX-License-Identifier: MIT */
#include "map/signals.h"

#include "base/error.h"
#include "map/edit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

RegionSignals *signals_ref(RegionSignals *signals)
{
    if (signals) {
        __atomic_fetch_add(&signals->references, 1, __ATOMIC_RELAXED);
    }
    return signals;
}

void signals_unref(RegionSignals *signals)
{
    if (signals && __atomic_sub_fetch(&signals->references, 1, __ATOMIC_ACQ_REL) == 0) {
        free(signals);
    }
}

/* A list with room for the given numbers, filled from @old as far as it reaches. */
static RegionSignals *signals_copy(const RegionSignals *old, unsigned nr_coalesced,
                                   unsigned nr_eventfds)
{
    size_t coalesced_bytes = nr_coalesced * sizeof(CoalescedRange);
    RegionSignals *signals =
        calloc(1, sizeof *signals + nr_eventfds * sizeof(IoEventfd) + coalesced_bytes);

    if (!signals) {
        fail_no_memory("a region's signals");
        return NULL;
    }
    *signals = (RegionSignals){1, nr_coalesced, nr_eventfds, NULL, (IoEventfd *)(signals + 1)};
    signals->coalesced = (CoalescedRange *)(signals->eventfds + nr_eventfds);
    if (old) {
        unsigned c = old->nr_coalesced < nr_coalesced ? old->nr_coalesced : nr_coalesced;
        unsigned e = old->nr_eventfds < nr_eventfds ? old->nr_eventfds : nr_eventfds;
        if (c) {
            memcpy(signals->coalesced, old->coalesced, c * sizeof *old->coalesced);
        }
        if (e) {
            memcpy(signals->eventfds, old->eventfds, e * sizeof *old->eventfds);
        }
    }
    return signals;
}

/* Give @mr the list @signals (taken over), in one edit; an empty list is none. */
static int change_signals(MemoryRegion *mr, RegionSignals *signals)
{
    MemoryRegionState state = mr->state;
    RegionSignals *old = state.signals;

    if (!signals->nr_coalesced && !signals->nr_eventfds) {
        signals_unref(signals);
        signals = NULL;
    }
    state.signals = signals;
    int result = region_change(mr, &state);
    signals_unref(result ? signals : old);
    return result;
}

static unsigned nr_coalesced(const MemoryRegion *mr)
{
    return mr->state.signals ? mr->state.signals->nr_coalesced : 0;
}

static unsigned nr_eventfds(const MemoryRegion *mr)
{
    return mr->state.signals ? mr->state.signals->nr_eventfds : 0;
}

static bool inside(const MemoryRegion *mr, hwaddr offset, hwaddr size)
{
    return size && mr->state.size && offset <= region_last(mr) &&
           size - 1 <= region_last(mr) - offset;
}

int memory_region_add_coalescing(MemoryRegion *mr, hwaddr offset, hwaddr size)
{
    MemorySystem *ms = region_system(mr);
    int result;

    machine_lock(ms);
    if (!inside(mr, offset, size)) {
        result = fail(EINVAL,
                      "region '%s': coalesced range 0x%" PRIx64 "+0x%" PRIx64 " is not inside it",
                      mr->name, offset, size);
    } else {
        unsigned n = nr_coalesced(mr);
        RegionSignals *signals = signals_copy(mr->state.signals, n + 1, nr_eventfds(mr));
        if (signals) {
            hwaddr last = size == UINT64_MAX ? region_last(mr) : offset + size - 1;
            signals->coalesced[n] = (CoalescedRange){offset, last};
        }
        result = signals ? change_signals(mr, signals) : -ENOMEM;
        if (!result) {
            signals_flush_first(mr, true);
        }
    }
    machine_unlock(ms);
    return result;
}

int memory_region_clear_coalescing(MemoryRegion *mr)
{
    MemorySystem *ms = region_system(mr);
    int result = 0;

    machine_lock(ms);
    if (nr_coalesced(mr)) {
        RegionSignals *signals = signals_copy(mr->state.signals, 0, nr_eventfds(mr));
        result = signals ? change_signals(mr, signals) : -ENOMEM;
    }
    if (!result) {
        signals_flush_first(mr, false);
    }
    machine_unlock(ms);
    return result;
}

int memory_region_set_coalescing(MemoryRegion *mr)
{
    MemorySystem *ms = region_system(mr);
    int result;

    machine_lock(ms);
    if (mr->state.size == 0) {
        result = fail(EINVAL, "region '%s' is empty: nothing to coalesce", mr->name);
    } else {
        RegionSignals *signals = signals_copy(NULL, 1, nr_eventfds(mr));
        if (signals) {
            if (mr->state.signals && nr_eventfds(mr)) {
                memcpy(signals->eventfds, mr->state.signals->eventfds,
                       nr_eventfds(mr) * sizeof *signals->eventfds);
            }
            signals->coalesced[0] = (CoalescedRange){0, region_last(mr)};
        }
        result = signals ? change_signals(mr, signals) : -ENOMEM;
        if (!result) {
            signals_flush_first(mr, true);
        }
    }
    machine_unlock(ms);
    return result;
}

static int set_flush(MemoryRegion *mr, bool flush)
{
    MemorySystem *ms = region_system(mr);

    machine_lock(ms);
    signals_flush_first(mr, flush || nr_coalesced(mr));
    machine_unlock(ms);
    return 0;
}

int memory_region_set_flush_coalesced(MemoryRegion *mr)
{
    return set_flush(mr, true);
}

int memory_region_clear_flush_coalesced(MemoryRegion *mr)
{
    return set_flush(mr, false);
}

/* ---- ioeventfds ------------------------------------------------------------------- */

static int check_eventfd(const MemoryRegion *mr, const IoEventfd *fd)
{
    unsigned size = fd->size;

    if (size > 8 || (size & (size - 1))) {
        return fail(EINVAL, "region '%s': an ioeventfd of %u bytes", mr->name, size);
    }
    if (!inside(mr, fd->addr, size ? size : 1)) {
        return fail(EINVAL, "region '%s': ioeventfd at 0x%" PRIx64 " is not inside it", mr->name,
                    fd->addr);
    }
    return 0;
}

/* The index of @fd in @mr's list, or the length of the list. */
static unsigned find_eventfd(const MemoryRegion *mr, const IoEventfd *fd)
{
    unsigned n = nr_eventfds(mr), i = 0;

    while (i < n && !ioeventfd_equal(&mr->state.signals->eventfds[i], fd)) {
        i++;
    }
    return i;
}

static int eventfd_add(MemoryRegion *mr, const IoEventfd *fd)
{
    unsigned n = nr_eventfds(mr);

    if (find_eventfd(mr, fd) < n) {
        return fail(EEXIST, "region '%s': the ioeventfd at 0x%" PRIx64 " is there already",
                    mr->name, fd->addr);
    }
    RegionSignals *signals = signals_copy(mr->state.signals, nr_coalesced(mr), n + 1);
    if (!signals) {
        return -ENOMEM;
    }
    signals->eventfds[n] = *fd;
    return change_signals(mr, signals);
}

static int eventfd_del(MemoryRegion *mr, const IoEventfd *fd)
{
    unsigned n = nr_eventfds(mr), i = find_eventfd(mr, fd);

    if (i == n) {
        return fail(ENOENT, "region '%s': no such ioeventfd at 0x%" PRIx64, mr->name, fd->addr);
    }
    RegionSignals *signals = signals_copy(mr->state.signals, nr_coalesced(mr), n - 1);
    if (!signals) {
        return -ENOMEM;
    }
    for (unsigned k = i + 1; k < n; k++) {
        signals->eventfds[k - 1] = mr->state.signals->eventfds[k];
    }
    return change_signals(mr, signals);
}

int memory_region_add_eventfd(MemoryRegion *mr, hwaddr addr, unsigned size, bool match_data,
                              uint64_t data, EventNotifier *e)
{
    MemorySystem *ms = region_system(mr);
    IoEventfd fd = {addr, size, match_data, match_data ? data : 0, e};

    machine_lock(ms);
    int result = check_eventfd(mr, &fd);
    if (!result) {
        result = eventfd_add(mr, &fd);
    }
    machine_unlock(ms);
    return result;
}

int memory_region_del_eventfd(MemoryRegion *mr, hwaddr addr, unsigned size, bool match_data,
                              uint64_t data, EventNotifier *e)
{
    MemorySystem *ms = region_system(mr);
    IoEventfd fd = {addr, size, match_data, match_data ? data : 0, e};

    machine_lock(ms);
    int result = eventfd_del(mr, &fd);
    machine_unlock(ms);
    return result;
}
