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

/* ---- asking ------------------------------------------------------------------------ */

int listener_refused(const MemoryListener *listener, const char *what, Error *err)
{
    int result =
        fail(err ? -error_get_errno(err) : EIO, "listener '%s' of address space '%s' %s: %s",
             listener->name ? listener->name : "", listener->address_space->name, what,
             err ? error_get_pretty(err) : "no reason");
    error_free(err);
    return result;
}

static int prepare_one(MemoryListener *l, const FlatView *old, const FlatView *view)
{
    Error *err = NULL;

    if (!l->prepare) {
        return 0;
    }
    l->prepared = l->prepare(l, old, view, &err);
    if (l->prepared) {
        return 0;
    }
    return listener_refused(l, "cannot follow the map", err);
}

int listeners_prepare(AddressSpace *as, const FlatView *view)
{
    int result = 0;

    for (MemoryListener *l = as->first_listener; l && !result; l = l->next) {
        result = prepare_one(l, as->view, view);
    }
    return result;
}

static void cancel_one(MemoryListener *l)
{
    if (l->prepared && l->cancel) {
        l->cancel(l);
    }
    l->prepared = false;
}

void listeners_cancel(MemorySystem *ms)
{
    for (AddressSpace *as = ms->last_space; as; as = as->prev) {
        for (MemoryListener *l = as->last_listener; l; l = l->prev) {
            cancel_one(l);
        }
    }
}

/* ---- the frame ---------------------------------------------------------------------- */

void listeners_begin(MemorySystem *ms)
{
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        TELL_UP(as, begin);
    }
}

void listeners_commit(MemorySystem *ms)
{
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        for (MemoryListener *l = as->first_listener; l; l = l->next) {
            if (l->commit) {
                l->commit(l);
            }
            l->prepared = false;
        }
    }
}

/* ---- coalesced ranges: part of what a range tells --------------------------------- */

static void tell_coalesced_add(const FlatRange *range, hwaddr addr, hwaddr len, void *opaque)
{
    Telling *telling = opaque;
    MemoryRegionSection section = whole(range, telling->view);

    TELL_UP(telling->as, coalesced_io_add, &section, addr, len);
}

static void tell_coalesced_del(const FlatRange *range, hwaddr addr, hwaddr len, void *opaque)
{
    Telling *telling = opaque;
    MemoryRegionSection section = whole(range, telling->old);

    TELL_DOWN(telling->as, coalesced_io_del, &section, addr, len);
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
        flatrange_each_coalesced(before, tell_coalesced_del, telling);
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
        flatrange_each_coalesced(after, tell_coalesced_add, telling);
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

/* Some only prepare, and need not be walked for. */
static bool anyone_wants_ranges(const AddressSpace *as)
{
    for (MemoryListener *l = as->first_listener; l; l = l->next) {
        if (l->region_add || l->region_del || l->region_nop || l->log_start || l->log_stop ||
            l->coalesced_io_add || l->coalesced_io_del) {
            return true;
        }
    }
    return false;
}

static bool anyone_wants_eventfds(const AddressSpace *as)
{
    for (MemoryListener *l = as->first_listener; l; l = l->next) {
        if (l->eventfd_add || l->eventfd_del) {
            return true;
        }
    }
    return false;
}

void listeners_tell_ranges(AddressSpace *as, const FlatView *old, const FlatView *view)
{
    Telling telling = {as, old, view};

    if (!anyone_wants_ranges(as)) {
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

static MemoryRegionSection place(const FlatRange *range, const FlatView *view, const IoEventfd *fd)
{
    MemoryRegionSection section;

    flatrange_section(range, view, fd->addr, ioeventfd_last(fd), &section);
    section.size = fd->size;
    return section;
}

static void tell_eventfd_add(const FlatRange *range, const IoEventfd *fd, void *opaque)
{
    Telling *telling = opaque;
    MemoryRegionSection section = place(range, telling->view, fd);

    TELL_UP(telling->as, eventfd_add, &section, fd->match_data, fd->data, fd->notifier);
}

static void tell_eventfd_del(const FlatRange *range, const IoEventfd *fd, void *opaque)
{
    Telling *telling = opaque;
    MemoryRegionSection section = place(range, telling->old, fd);

    TELL_DOWN(telling->as, eventfd_del, &section, fd->match_data, fd->data, fd->notifier);
}

static void tell_gone_eventfds(const FlatRange *before, const FlatRange *after, void *opaque)
{
    Telling *telling = opaque;

    (void)after;
    if (before) {
        flatrange_each_eventfd(before, telling->view, tell_eventfd_del, telling);
    }
}

static void tell_new_eventfds(const FlatRange *before, const FlatRange *after, void *opaque)
{
    Telling *telling = opaque;

    (void)before;
    if (after) {
        flatrange_each_eventfd(after, telling->old, tell_eventfd_add, telling);
    }
}

void listeners_tell_eventfds(AddressSpace *as, const FlatView *old, const FlatView *view)
{
    Telling telling = {as, old, view};

    if (anyone_wants_eventfds(as)) {
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

static int ask_alone(MemoryListener *listener, const FlatView *old, const FlatView *view)
{
    MemorySystem *ms = listener->address_space->ms;

    ms->notifying = true;
    int result = prepare_one(listener, old, view);
    ms->notifying = false;
    return result;
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
    listener->prepared = false;
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
    AddressSpace *as = listener->address_space;

    ask_alone(listener, as->view, as->ms->empty->current);
    listener->prepared = listener->prepare; /* nobody can refuse */
    tell_alone(listener, as, take_back_all_ranges);
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
            result = ask_alone(listener, ms->empty->current, as->view);
            if (result) {
                listener_log_global_stop(listener);
            }
        }
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
