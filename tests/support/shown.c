/* SPDX-License-Identifier: MIT */
#include "shown.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool shown_from_section(ShownRange *range, const MemoryRegionSection *section)
{
    hwaddr length = section->last_within_address_space - section->offset_within_address_space;

    *range = (ShownRange){
        .mr = section->mr,
        .offset = section->offset_within_region,
        .first = section->offset_within_address_space,
        .last = section->last_within_address_space,
        .log_mask = section->dirty_log_mask,
        .romd = section->romd,
        .readonly = section->readonly,
        .nonvolatile = section->nonvolatile,
        .unmergeable = section->unmergeable,
    };
    return section->mr && section->last_within_address_space >= range->first &&
           section->size == (length == UINT64_MAX ? UINT64_MAX : length + 1);
}

_Thread_local bool shown_is_allocating;

void shown_append(Shown *shown, ShownRange range)
{
    if (shown->count == shown->room) {
        shown->room = shown->room ? shown->room * 2 : 16;
        shown_is_allocating = true;
        shown->range = realloc(shown->range, shown->room * sizeof(*shown->range));
        shown_is_allocating = false;
        if (!shown->range) {
            abort();
        }
    }
    shown->range[shown->count++] = range;
}

void shown_free(Shown *shown)
{
    free(shown->range);
    *shown = (Shown){0};
}

bool shown_take(Shown *shown, const FlatView *view)
{
    MemoryRegionSection section;
    hwaddr addr = 0;

    shown->count = 0;
    while (flatview_next(view, addr, &section)) {
        ShownRange range;

        if (!shown_from_section(&range, &section) || range.first < addr) {
            return false;
        }
        shown_append(shown, range);
        if (range.last == UINT64_MAX) {
            return true;
        }
        addr = range.last + 1;
    }
    return true;
}

bool shown_take_space(Shown *shown, AddressSpace *as)
{
    FlatView *view = address_space_get_flatview(as);
    bool fine = view && shown_take(shown, view);

    flatview_unref(view);
    return fine;
}

bool shown_range_same_place(const ShownRange *a, const ShownRange *b)
{
    return a->mr == b->mr && a->offset == b->offset && a->first == b->first && a->last == b->last &&
           a->romd == b->romd && a->readonly == b->readonly && a->nonvolatile == b->nonvolatile &&
           a->unmergeable == b->unmergeable;
}

bool shown_range_equal(const ShownRange *a, const ShownRange *b)
{
    return shown_range_same_place(a, b) && a->log_mask == b->log_mask;
}

bool shown_equal(const Shown *a, const Shown *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (!shown_range_equal(&a->range[i], &b->range[i])) {
            return false;
        }
    }
    return true;
}

const ShownRange *shown_find(const Shown *shown, const ShownRange *range)
{
    for (size_t i = 0; i < shown->count; i++) {
        if (shown_range_same_place(&shown->range[i], range)) {
            return &shown->range[i];
        }
    }
    return NULL;
}

void shown_print(FILE *out, const char *title, const Shown *shown)
{
    fprintf(out, "# %s: %zu ranges\n", title, shown->count);
    for (size_t i = 0; i < shown->count; i++) {
        const ShownRange *r = &shown->range[i];

        fprintf(out, "#   %016" PRIx64 "-%016" PRIx64 " %p @%016" PRIx64 " log %02x%s%s%s%s\n",
                r->first, r->last, (void *)r->mr, r->offset, r->log_mask, r->romd ? " romd" : "",
                r->readonly ? " readonly" : "", r->nonvolatile ? " nv" : "",
                r->unmergeable ? " unmergeable" : "");
    }
}

/* ---- flatview_diff ------------------------------------------------------------ */

typedef struct DiffCheck {
    Shown before, after;
    size_t calls;
    hwaddr last_first;
    bool fine;
} DiffCheck;

static void check_difference(const MemoryRegionSection *before, const MemoryRegionSection *after,
                             void *opaque)
{
    DiffCheck *check = opaque;
    ShownRange b, a;
    const ShownRange *in_a, *in_b;
    hwaddr first = (before ? before : after)->offset_within_address_space;

    if ((check->calls && first < check->last_first) ||
        (before && !shown_from_section(&b, before)) || (after && !shown_from_section(&a, after))) {
        check->fine = false;
        return;
    }
    check->calls++;
    check->last_first = first;
    if (before && after) {
        in_b = shown_find(&check->before, &b);
        in_a = shown_find(&check->after, &a);
        check->fine = check->fine && shown_range_same_place(&b, &a) && b.log_mask != a.log_mask &&
                      in_b && in_a && shown_range_equal(in_b, &b) && shown_range_equal(in_a, &a);
    } else if (before) {
        in_b = shown_find(&check->before, &b);
        check->fine =
            check->fine && in_b && shown_range_equal(in_b, &b) && !shown_find(&check->after, &b);
    } else {
        in_a = shown_find(&check->after, &a);
        check->fine =
            check->fine && in_a && shown_range_equal(in_a, &a) && !shown_find(&check->before, &a);
    }
}

bool shown_diff_is_right(const FlatView *a, const FlatView *b)
{
    DiffCheck check = {.fine = true};
    size_t expected = 0;

    check.fine = shown_take(&check.before, a) && shown_take(&check.after, b);
    for (size_t i = 0; i < check.before.count; i++) {
        const ShownRange *match = shown_find(&check.after, &check.before.range[i]);

        expected += !match || match->log_mask != check.before.range[i].log_mask;
    }
    for (size_t i = 0; i < check.after.count; i++) {
        expected += !shown_find(&check.before, &check.after.range[i]);
    }
    flatview_diff(a, b, check_difference, &check);
    /* each call is one difference, none comes twice: so many, and all are told */
    check.fine = check.fine && check.calls == expected && flatview_equal(a, b) == (expected == 0);
    shown_free(&check.before);
    shown_free(&check.after);
    return check.fine;
}
