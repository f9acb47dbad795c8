/* SPDX-License-Identifier: MIT */
/* What a range of a view shows of its region's coalesced ranges and ioeventfds. */
#include "base/range.h"
#include "map/listeners.h"

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

void flatrange_each_coalesced(const FlatRange *range, VisitCoalesced *visit, void *opaque)
{
    hwaddr addr, len;

    for (unsigned i = 0; range->signals && i < range->signals->nr_coalesced; i++) {
        if (coalesced_part(range, &range->signals->coalesced[i], &addr, &len)) {
            visit(range, addr, len, opaque);
        }
    }
}

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

void flatrange_each_eventfd(const FlatRange *range, const FlatView *other, VisitEventfd *visit,
                            void *opaque)
{
    IoEventfd fd;

    for (unsigned i = 0; range->signals && i < range->signals->nr_eventfds; i++) {
        if (shown_eventfd(range, &range->signals->eventfds[i], &fd) &&
            !(other && view_has_eventfd(other, range->mr, &fd))) {
            visit(range, &fd, opaque);
        }
    }
}
