/* SPDX-License-Identifier: MIT */
/*
 * Ioeventfds and zones of coalesced writes: the difference of two views, in terms of the kernel.
 *
 *      old view     | dev: zone 0-f, zone 8-17, eventfd 20 |   | nic: eventfd 4 |
 *      new view     | dev: zone 0-f, zone 8-17             |        | nic: eventfd 4 |
 *      gone         (zone 0-17) eventfd 20, nic's at its old place
 *      come         (zone 0-17)             nic's at its new place
 *
 * What ranges that differ showed, and what they will show, is listed, sorted, and what is in both
 * lists struck out: what moves by nothing costs no ioctl, whatever regions and ranges did.
 *
 * When the kernel removes a zone it removes all that it lies in. So it may lie in no other: those
 * of one range that overlap or touch are one zone here, and ranges do not overlap.
 *
 * What the kernel cannot do is left out. That is no error: the write is an exit then, and reaches
 * the region's callback.
 */
#include "kvm/shortcuts.h"

#include "access/host.h"
#include "access/mmio.h"
#include "base/error.h"
#include "base/range.h"
#include "kvm/ioctl.h"
#include "kvm/slots.h"
#include "map/lineage.h"

#include <string.h>

void shortcuts_free(Shortcuts *shortcuts)
{
    vec_free(&shortcuts->there);
    vec_free(&shortcuts->gone);
    vec_free(&shortcuts->come);
}

void shortcuts_drop(Shortcuts *shortcuts)
{
    shortcuts->gone.count = shortcuts->come.count = 0;
    shortcuts->removed = shortcuts->added = 0;
}

static Shortcut *at(const Vec *list, size_t index)
{
    return VEC_AT(list, Shortcut, index);
}

/* ---- what a range shows ------------------------------------------------------------- */

typedef struct Listing {
    const KvmSpace *space;
    Vec *list;
    bool no_memory;
} Listing;

static void list_one(Listing *listing, const Shortcut *shortcut)
{
    Shortcut *added = vec_add(listing->list, sizeof *added);

    if (added) {
        *added = *shortcut;
    } else {
        listing->no_memory = true;
    }
}

static void list_zone(const FlatRange *range, hwaddr addr, hwaddr len, void *opaque)
{
    (void)range;
    list_one(opaque, &(Shortcut){.is_zone = true, .addr = addr, .len = len});
}

static bool takes_eventfd(const KVMCapabilities *caps, const IoEventfd *fd)
{
    bool any_length = caps->ioeventfd_any_length && !fd->match_data;

    return caps->ioeventfd && (fd->size || any_length) && ioeventfd_last(fd) != UINT64_MAX;
}

static void list_eventfd(const FlatRange *range, const IoEventfd *fd, void *opaque)
{
    Listing *listing = opaque;
    Shortcut shortcut = {.addr = fd->addr, .len = fd->size, .fd = fd->notifier->fd};

    if (!takes_eventfd(&listing->space->s->caps, fd)) {
        return;
    }
    if (fd->match_data) {
        shortcut.match_data = true;
        shortcut.data =
            mmio_to_order(range->mr, low_bytes(fd->data, fd->size), fd->size, HOST_BIG_ENDIAN);
    }
    list_one(listing, &shortcut);
}

static int by_place(const void *a, const void *b)
{
    const Shortcut *one = a, *other = b;

#define COMPARE(field)                                                                             \
    if (one->field != other->field) {                                                              \
        return one->field < other->field ? -1 : 1;                                                 \
    }
    COMPARE(addr)
    COMPARE(is_zone)
    COMPARE(len)
    COMPARE(match_data)
    COMPARE(data)
    COMPARE(fd)
#undef COMPARE
    return 0;
}

static void sort(Vec *list, size_t from)
{
    if (list->count - from > 1) {
        qsort(at(list, from), list->count - from, sizeof(Shortcut), by_place);
    }
}

/* The zones from index @from on are of one range: let none overlap or touch another. */
static void join_zones(Vec *list, size_t from)
{
    size_t kept = from;

    sort(list, from);
    for (size_t i = from; i < list->count; i++) {
        const Shortcut *zone = at(list, i);
        Shortcut *newest = kept > from ? at(list, kept - 1) : NULL;
        if (newest && zone->addr - newest->addr <= newest->len) {
            newest->len = hwaddr_max(newest->len, zone->addr - newest->addr + zone->len);
        } else {
            *at(list, kept++) = *zone;
        }
    }
    list->count = kept;
}

/* The kernel takes zones of up to 32 bits, and forgets to remove those with the highest one. */
static void leave_out_long_zones(Vec *list, size_t from)
{
    size_t kept = from;

    for (size_t i = from; i < list->count; i++) {
        if (at(list, i)->len <= INT32_MAX) {
            *at(list, kept++) = *at(list, i);
        }
    }
    list->count = kept;
}

static void list_range(Listing *listing, const FlatRange *range)
{
    const KVMCapabilities *caps = &listing->space->s->caps;
    size_t from = listing->list->count;

    if (!range || !range->signals) {
        return;
    }
    if (space_is_ports(listing->space) ? caps->coalesced_pio : caps->coalesced_mmio) {
        flatrange_each_coalesced(range, list_zone, listing);
        join_zones(listing->list, from);
        leave_out_long_zones(listing->list, from);
    }
    flatrange_each_eventfd(range, NULL, list_eventfd, listing);
}

/* ---- the difference ------------------------------------------------------------------- */

typedef struct Comparison {
    Listing before, after;
} Comparison;

static void note_difference(const FlatRange *before, const FlatRange *after, void *opaque)
{
    Comparison *comparison = opaque;

    list_range(&comparison->before, before);
    list_range(&comparison->after, after);
}

/* Keep one of each. */
static void sort_unique(Vec *list)
{
    size_t kept = 0;

    sort(list, 0);
    for (size_t i = 0; i < list->count; i++) {
        if (!kept || by_place(at(list, kept - 1), at(list, i))) {
            *at(list, kept++) = *at(list, i);
        }
    }
    list->count = kept;
}

static void strike_out_common(Vec *a, Vec *b)
{
    size_t i = 0, k = 0, kept_a = 0, kept_b = 0;

    while (i < a->count || k < b->count) {
        int order = i == a->count ? 1 : k == b->count ? -1 : by_place(at(a, i), at(b, k));
        if (order < 0) {
            *at(a, kept_a++) = *at(a, i++);
        } else if (order > 0) {
            *at(b, kept_b++) = *at(b, k++);
        } else {
            i++;
            k++;
        }
    }
    a->count = kept_a;
    b->count = kept_b;
}

/* All that is there instead of what differs: @before's list. */
static void list_all(Listing *before, const Vec *there)
{
    for (size_t i = 0; i < there->count; i++) {
        list_one(before, at(there, i));
    }
}

int shortcuts_plan(KvmSpace *space, const FlatView *old, const FlatView *view)
{
    Shortcuts *shortcuts = &space->shortcuts;
    Comparison comparison = {{space, &shortcuts->gone, false}, {space, &shortcuts->come, false}};

    if (!space_is_ports(space) && space->as_id != KVM_AS_MEMORY) {
        return 0; /* the kernel has one bus for memory */
    }
    if (space->suspect) {
        flatview_compare(space->s->ms->empty->current, view, note_difference, &comparison);
        list_all(&comparison.before, &shortcuts->there);
    } else {
        flatview_compare(old, view, note_difference, &comparison);
    }
    sort_unique(&shortcuts->gone);
    sort_unique(&shortcuts->come);
    if (!space->suspect) { /* one may have gone with another that it lay in */
        strike_out_common(&shortcuts->gone, &shortcuts->come);
    }
    if (comparison.before.no_memory || comparison.after.no_memory ||
        !vec_reserve(&shortcuts->there, shortcuts->come.count, sizeof(Shortcut))) {
        shortcuts_drop(shortcuts);
        return fail_no_memory("a change of KVM ioeventfds and coalesced zones");
    }
    return 0;
}

/* ---- carrying it out --------------------------------------------------------------------- */

static int tell_kernel(const KvmSpace *space, const Shortcut *shortcut, bool add)
{
    bool ports = space_is_ports(space);

    if (shortcut->is_zone) {
        return kvm_set_coalesced(space->s, ports, shortcut->addr, shortcut->len, add);
    }
    return kvm_set_ioeventfd(space->s, ports, shortcut, add);
}

static int add_one(KvmSpace *space, const Shortcut *shortcut)
{
    int result = tell_kernel(space, shortcut, true);

    if (!result) {
        Vec *there = &space->shortcuts.there;
        *at(there, there->count++) = *shortcut; /* there is room: shortcuts_plan() */
    }
    return result;
}

static int remove_one(KvmSpace *space, const Shortcut *shortcut)
{
    int result = tell_kernel(space, shortcut, false);
    Vec *there = &space->shortcuts.there;

    for (size_t i = 0; i < there->count && !result; i++) {
        if (!by_place(at(there, i), shortcut)) {
            *at(there, i) = *at(there, --there->count);
            break;
        }
    }
    return result;
}

int shortcuts_remove(KvmSpace *space)
{
    Shortcuts *shortcuts = &space->shortcuts;
    int result = 0;

    while (shortcuts->removed < shortcuts->gone.count && !result) {
        result = remove_one(space, at(&shortcuts->gone, shortcuts->removed));
        shortcuts->removed += !result;
    }
    return result;
}

int shortcuts_add(KvmSpace *space)
{
    Shortcuts *shortcuts = &space->shortcuts;
    int result = 0;

    while (shortcuts->added < shortcuts->come.count && !result) {
        result = add_one(space, at(&shortcuts->come, shortcuts->added));
        shortcuts->added += !result;
    }
    return result;
}

/* Whether it worked; the program is told if not. */
static bool worked(const KvmSpace *space, int result)
{
    if (result) {
        kvm_report(space->s, result);
    }
    return !result;
}

bool shortcuts_undo(KvmSpace *space)
{
    Shortcuts *shortcuts = &space->shortcuts;
    bool undone = true;

    while (shortcuts->added) {
        undone &= worked(space, remove_one(space, at(&shortcuts->come, --shortcuts->added)));
    }
    while (shortcuts->removed) {
        undone &= worked(space, add_one(space, at(&shortcuts->gone, --shortcuts->removed)));
    }
    return undone;
}

void shortcuts_abandon(KvmSpace *space)
{
    Vec *there = &space->shortcuts.there;

    while (there->count) {
        worked(space, tell_kernel(space, at(there, --there->count), false));
    }
}
