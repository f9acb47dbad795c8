/* SPDX-License-Identifier: MIT */
#include "map/dirty_log.h"
#include "map/lineage.h"
#include "map/listeners.h"

#include "base/error.h"
#include "base/range.h"

#include <errno.h>

/* Call @name of every listener of @as that has it, in ascending (descending) order of priority. */
#define TELL_UP(as, name, ...)                                                                     \
    for (MemoryListener *l_ = (as)->first_listener; l_; l_ = l_->next) {                           \
        if (l_->name) {                                                                            \
            l_->name(l_, ##__VA_ARGS__);                                                           \
        }                                                                                          \
    }
#define TELL_DOWN(as, name, ...)                                                                   \
    for (MemoryListener *l_ = (as)->last_listener; l_; l_ = l_->prev) {                            \
        if (l_->name) {                                                                            \
            l_->name(l_, ##__VA_ARGS__);                                                           \
        }                                                                                          \
    }

typedef struct Telling {
    AddressSpace *as;
    const FlatView *old, *view;
} Telling;

static MemoryRegionSection whole(const FlatRange *range, const FlatView *view)
{
    MemoryRegionSection section;

    flatrange_section(range, view, range->first, range->last, &section);
    return section;
}

void listeners_begin(MemorySystem *ms)
{
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        TELL_UP(as, begin);
    }
}

void listeners_commit(MemorySystem *ms)
{
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        TELL_UP(as, commit);
    }
}

/* ---- coalesced ranges: part of what a range tells --------------------------------- */

/* The part of @coalesced that @range shows, as an address and a length; false if none. */
static bool coalesced_part(const FlatRange *range, const CoalescedRange *coalesced, hwaddr *addr,
                           hwaddr *len)
{
    hwaddr range_end = range->offset + (range->last - range->first);

    if (!ranges_overlap(coalesced->first, coalesced->last, range->offset, range_end)) {
        return false;
    }
    hwaddr first = hwaddr_max(coalesced->first, range->offset);
    hwaddr last = hwaddr_min(coalesced->last, range_end);
    *addr = range->first + (first - range->offset);
    *len = range_size(first, last);
    return true;
}

static void tell_coalesced(AddressSpace *as, const FlatRange *range, const FlatView *view, bool add)
{
    hwaddr addr, len;

    for (unsigned i = 0; range->signals && i < range->signals->nr_coalesced; i++) {
        if (coalesced_part(range, &range->signals->coalesced[i], &addr, &len)) {
            MemoryRegionSection section = whole(range, view);
            if (add) {
                TELL_UP(as, coalesced_io_add, &section, addr, len);
            } else {
                TELL_DOWN(as, coalesced_io_del, &section, addr, len);
            }
        }
    }
}

/* ---- ranges ----------------------------------------------------------------------- */

static void tell_log(AddressSpace *as, MemoryRegionSection *section, int old_mask, int new_mask)
{
    if (new_mask & ~old_mask) {
        TELL_UP(as, log_start, section, old_mask, new_mask);
    }
    if (old_mask & ~new_mask) {
        TELL_DOWN(as, log_stop, section, old_mask, new_mask);
    }
}

static void tell_gone(const FlatRange *before, const FlatRange *after, void *opaque)
{
    Telling *telling = opaque;

    if (!before) {
        return;
    }
    if (!after || before->signals != after->signals) {
        tell_coalesced(telling->as, before, telling->old, false);
    }
    if (!after) {
        MemoryRegionSection section = whole(before, telling->old);
        TELL_DOWN(telling->as, region_del, &section);
    }
}

static void tell_new(const FlatRange *before, const FlatRange *after, void *opaque)
{
    Telling *telling = opaque;

    if (!after) {
        return;
    }
    MemoryRegionSection section = whole(after, telling->view);
    if (before) {
        tell_log(telling->as, &section, before->dirty_log_mask, after->dirty_log_mask);
    } else {
        TELL_UP(telling->as, region_add, &section);
        tell_log(telling->as, &section, 0, after->dirty_log_mask);
    }
    if (!before || before->signals != after->signals) {
        tell_coalesced(telling->as, after, telling->view, true);
    }
}

/* With region_nop wanted, the whole view is walked; else only what differs. */
static void tell_whole_view(Telling *telling)
{
    hwaddr at = 0;

    for (const FlatRange *range; (range = flatview_from(telling->view, at)); at = range->last + 1) {
        const FlatRange *before = flatview_at(telling->old, range->first);
        if (before && !flatrange_same(before, range)) {
            before = NULL;
        }
        if (before) {
            MemoryRegionSection section = whole(range, telling->view);
            TELL_UP(telling->as, region_nop, &section);
        }
        tell_new(before, range, telling);
        if (range->last == UINT64_MAX) {
            return;
        }
    }
}

static bool anyone_wants_nop(const AddressSpace *as)
{
    for (MemoryListener *l = as->first_listener; l; l = l->next) {
        if (l->region_nop) {
            return true;
        }
    }
    return false;
}

void listeners_tell_ranges(AddressSpace *as, const FlatView *old, const FlatView *view)
{
    Telling telling = {as, old, view};

    if (!as->first_listener) {
        return;
    }
    flatview_compare(old, view, tell_gone, &telling);
    if (anyone_wants_nop(as)) {
        tell_whole_view(&telling);
    } else {
        flatview_compare(old, view, tell_new, &telling);
    }
}

/* ---- ioeventfds ------------------------------------------------------------------- */

/* Where @range shows all of @fd, as a copy with an address of the view; false if it does not. */
static bool shown_eventfd(const FlatRange *range, const IoEventfd *fd, IoEventfd *shown)
{
    if (fd->addr < range->offset ||
        ioeventfd_last(fd) > range->offset + (range->last - range->first)) {
        return false;
    }
    *shown = *fd;
    shown->addr = range->first + (fd->addr - range->offset);
    return true;
}

static bool view_has_eventfd(const FlatView *view, const MemoryRegion *mr, const IoEventfd *wanted)
{
    const FlatRange *range = flatview_at(view, wanted->addr);
    IoEventfd shown;

    if (!range || range->mr != mr || !range->signals) {
        return false;
    }
    for (unsigned i = 0; i < range->signals->nr_eventfds; i++) {
        if (shown_eventfd(range, &range->signals->eventfds[i], &shown) &&
            ioeventfd_equal(&shown, wanted)) {
            return true;
        }
    }
    return false;
}

/* Tell of the eventfds of @range in @view that @other does not have. */
static void tell_eventfds(AddressSpace *as, const FlatRange *range, const FlatView *view,
                          const FlatView *other, bool add)
{
    IoEventfd fd;

    for (unsigned i = 0; range->signals && i < range->signals->nr_eventfds; i++) {
        if (!shown_eventfd(range, &range->signals->eventfds[i], &fd) ||
            (other && view_has_eventfd(other, range->mr, &fd))) {
            continue;
        }
        MemoryRegionSection section;
        flatrange_section(range, view, fd.addr, ioeventfd_last(&fd), &section);
        section.size = fd.size;
        if (add) {
            TELL_UP(as, eventfd_add, &section, fd.match_data, fd.data, fd.notifier);
        } else {
            TELL_DOWN(as, eventfd_del, &section, fd.match_data, fd.data, fd.notifier);
        }
    }
}

static void tell_gone_eventfds(const FlatRange *before, const FlatRange *after, void *opaque)
{
    Telling *telling = opaque;

    (void)after;
    if (before) {
        tell_eventfds(telling->as, before, telling->old, telling->view, false);
    }
}

static void tell_new_eventfds(const FlatRange *before, const FlatRange *after, void *opaque)
{
    Telling *telling = opaque;

    (void)before;
    if (after) {
        tell_eventfds(telling->as, after, telling->view, telling->old, true);
    }
}

void listeners_tell_eventfds(AddressSpace *as, const FlatView *old, const FlatView *view)
{
    Telling telling = {as, old, view};

    if (as->first_listener) {
        flatview_compare(old, view, tell_gone_eventfds, &telling);
        flatview_compare(old, view, tell_new_eventfds, &telling);
    }
}

/* ---- binding ---------------------------------------------------------------------- */

static void bind(MemoryListener *listener, AddressSpace *as)
{
    MemoryListener *before = as->last_listener;

    while (before && before->priority > listener->priority) {
        before = before->prev;
    }
    listener->address_space = as;
    listener->prev = before;
    listener->next = before ? before->next : as->first_listener;
    *(listener->next ? &listener->next->prev : &as->last_listener) = listener;
    *(before ? &before->next : &as->first_listener) = listener;
}

static void unbind(MemoryListener *listener)
{
    AddressSpace *as = listener->address_space;

    *(listener->prev ? &listener->prev->next : &as->first_listener) = listener->next;
    *(listener->next ? &listener->next->prev : &as->last_listener) = listener->prev;
    listener->address_space = NULL;
    listener->prev = listener->next = NULL;
}

/* Run @tell with a stand-in for @as whose only listener is @listener. */
static void tell_alone(MemoryListener *listener, AddressSpace *as,
                       void (*tell)(AddressSpace *alone))
{
    MemoryListener *prev = listener->prev, *next = listener->next;
    AddressSpace alone = {.view = as->view, .ms = as->ms};

    listener->prev = listener->next = NULL;
    alone.first_listener = alone.last_listener = listener;
    as->ms->notifying = true;
    TELL_UP(&alone, begin);
    tell(&alone);
    TELL_UP(&alone, commit);
    as->ms->notifying = false;
    listener->prev = prev;
    listener->next = next;
}

static void tell_all_ranges(AddressSpace *alone)
{
    const FlatView *nothing = alone->ms->empty->current;

    Telling telling = {alone, nothing, alone->view};
    flatview_compare(nothing, alone->view, tell_new, &telling);
    listeners_tell_eventfds(alone, nothing, alone->view);
}

static void take_back(const FlatRange *before, const FlatRange *after, void *opaque)
{
    Telling *telling = opaque;

    (void)after;
    MemoryRegionSection section = whole(before, telling->old);
    tell_log(telling->as, &section, before->dirty_log_mask, 0);
    tell_gone(before, NULL, opaque);
}

static void take_back_all_ranges(AddressSpace *alone)
{
    const FlatView *nothing = alone->ms->empty->current;

    Telling telling = {alone, alone->view, nothing};
    listeners_tell_eventfds(alone, alone->view, nothing);
    flatview_compare(alone->view, nothing, take_back, &telling);
}

static void let_go(MemoryListener *listener)
{
    tell_alone(listener, listener->address_space, take_back_all_ranges);
    listener_log_global_stop(listener);
    unbind(listener);
}

int memory_listener_register(MemoryListener *listener, AddressSpace *as)
{
    MemorySystem *ms = as->ms;
    int result = 0;

    machine_lock(ms);
    if (ms->notifying) {
        result = fail(EBUSY, "a listener cannot be registered from a listener's callback");
    } else if (listener->address_space) {
        result = fail(EBUSY, "listener '%s' is registered already",
                      listener->name ? listener->name : "");
    } else {
        bind(listener, as);
        result = listener_log_global_start(listener);
        if (!result) {
            tell_alone(listener, as, tell_all_ranges);
        } else {
            unbind(listener);
        }
    }
    machine_unlock(ms);
    return result;
}

int memory_listener_unregister(MemoryListener *listener)
{
    AddressSpace *as = listener->address_space;

    if (!as) {
        return 0;
    }
    MemorySystem *ms = as->ms;
    machine_lock(ms);
    if (ms->notifying) {
        machine_unlock(ms);
        return fail(EBUSY, "a listener cannot be unregistered from a listener's callback");
    }
    let_go(listener);
    machine_unlock(ms);
    return 0;
}

void listeners_drop_all(AddressSpace *as)
{
    while (as->last_listener) {
        let_go(as->last_listener);
    }
}
