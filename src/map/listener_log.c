/* SPDX-License-Identifier: MIT */
/* What listeners are told and asked of dirty logging, outside of commits. */
#include "base/range.h"
#include "map/dirty_log.h"
#include "map/listeners.h"

#include <errno.h>

/* ---- marks come in ---------------------------------------------------------------- */

static void sync_ranges(MemoryListener *listener, const MemoryRegion *mr)
{
    const FlatView *view = listener->address_space->view;
    hwaddr at = 0;

    for (const FlatRange *range; (range = flatview_from(view, at)); at = range->last + 1) {
        if (range->dirty_log_mask && (!mr || range->mr == mr)) {
            MemoryRegionSection section;
            flatrange_section(range, view, range->first, range->last, &section);
            listener->log_sync(listener, &section);
        }
        if (range->last == UINT64_MAX) {
            return;
        }
    }
}

void listeners_log_sync(MemorySystem *ms, const MemoryRegion *mr, bool last_stage)
{
    bool outer = ms->notifying;

    ms->notifying = true;
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        for (MemoryListener *l = as->first_listener; l; l = l->next) {
            if (l->log_sync) {
                sync_ranges(l, mr);
            } else if (l->log_sync_global) {
                l->log_sync_global(l, last_stage);
            }
        }
    }
    ms->notifying = outer;
}

void listeners_log_after_sync(MemorySystem *ms)
{
    bool outer = ms->notifying;

    ms->notifying = true;
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        for (MemoryListener *l = as->first_listener; l; l = l->next) {
            if (l->log_global_after_sync) {
                l->log_global_after_sync(l);
            }
        }
    }
    ms->notifying = outer;
}

/* ---- marks are gone ---------------------------------------------------------------- */

/* Tell of the pages of @range that @next gives. */
static void clear_range(MemoryListener *listener, const FlatView *view, const FlatRange *range,
                        const TakenPages *taken)
{
    hwaddr range_last = range->offset + (range->last - range->first);
    uint64_t first = range->offset >> DIRTY_PAGE_BITS, last;

    for (; taken->next(taken->opaque, range->mr, &first, &last); first = last + 1) {
        hwaddr run_first = hwaddr_max(first << DIRTY_PAGE_BITS, range->offset);
        if (run_first > range_last) {
            return;
        }
        hwaddr run_last = hwaddr_min((last << DIRTY_PAGE_BITS) | (RAM_PAGE_SIZE - 1), range_last);
        MemoryRegionSection section;
        flatrange_section(range, view, range->first + (run_first - range->offset),
                          range->first + (run_last - range->offset), &section);
        listener->log_clear(listener, &section);
    }
}

void listeners_log_clear(MemorySystem *ms, const TakenPages *taken)
{
    bool outer = ms->notifying;

    ms->notifying = true;
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        for (MemoryListener *l = as->first_listener; l; l = l->next) {
            hwaddr at = 0;
            if (!l->log_clear) {
                continue;
            }
            for (const FlatRange *range; (range = flatview_from(as->view, at));
                 at = range->last + 1) {
                if (range->dirty_log_mask) {
                    clear_range(l, as->view, range, taken);
                }
                if (range->last == UINT64_MAX) {
                    break;
                }
            }
        }
    }
    ms->notifying = outer;
}

/* ---- all RAM ------------------------------------------------------------------------ */

/* Tell those before @end (NULL: all), the last first. */
static void stop_until(MemorySystem *ms, const MemoryListener *end)
{
    bool telling = !end;

    for (AddressSpace *as = ms->last_space; as; as = as->prev) {
        for (MemoryListener *l = as->last_listener; l; l = l->prev) {
            if (telling && l->log_global_stop) {
                l->log_global_stop(l);
            }
            telling |= l == end;
        }
    }
}

static int start_one(MemoryListener *l)
{
    Error *err = NULL;

    if (!l->log_global_start || l->log_global_start(l, &err)) {
        return 0;
    }
    return listener_refused(l, "cannot log all RAM", err);
}

static int start_all(MemorySystem *ms)
{
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        for (MemoryListener *l = as->first_listener; l; l = l->next) {
            int result = start_one(l);
            if (result) {
                stop_until(ms, l);
                return result;
            }
        }
    }
    return 0;
}

int listeners_log_global_start(MemorySystem *ms)
{
    bool outer = ms->notifying;

    ms->notifying = true;
    int result = start_all(ms);
    ms->notifying = outer;
    return result;
}

void listeners_log_global_stop(MemorySystem *ms)
{
    bool outer = ms->notifying;

    ms->notifying = true;
    stop_until(ms, NULL);
    ms->notifying = outer;
}

int listener_log_global_start(MemoryListener *listener)
{
    MemorySystem *ms = listener->address_space->ms;

    if (!ms->global_log_mask) {
        return 0;
    }
    ms->notifying = true;
    int result = start_one(listener);
    ms->notifying = false;
    return result;
}

void listener_log_global_stop(MemoryListener *listener)
{
    MemorySystem *ms = listener->address_space->ms;

    if (ms->global_log_mask && listener->log_global_stop) {
        ms->notifying = true;
        listener->log_global_stop(listener);
        ms->notifying = false;
    }
}
