/* SPDX-License-Identifier: MIT */
/*
 * shown.h - what a flat view shows, copied out range by range, so that it can be compared
 * with what others say it should show.
 */
#ifndef TESTS_SHOWN_H
#define TESTS_SHOWN_H

#include <membus/space.h>
#include <stdio.h>

typedef struct ShownRange {
    MemoryRegion *mr;
    hwaddr offset; /* of @first in @mr */
    hwaddr first, last;
    uint8_t log_mask;
    bool romd, readonly, nonvolatile, unmergeable;
} ShownRange;

typedef struct Shown {
    ShownRange *range; /* ascending */
    size_t count, room;
} Shown;

/* Zeroed before the first use; replaces what it held. False if the view contradicts itself. */
bool shown_take(Shown *shown, const FlatView *view);
/* The same of @as's current view. */
bool shown_take_space(Shown *shown, AddressSpace *as);
void shown_free(Shown *shown);
/* Set while it allocates, which failing allocators must let pass: a listener may call it. */
extern _Thread_local bool shown_is_allocating;
void shown_append(Shown *shown, ShownRange range);

/* False if the section's lengths do not fit each other. */
bool shown_from_section(ShownRange *range, const MemoryRegionSection *section);

/* Whether they agree in all but the dirty-log mask; in all. */
bool shown_range_same_place(const ShownRange *a, const ShownRange *b);
bool shown_range_equal(const ShownRange *a, const ShownRange *b);
bool shown_equal(const Shown *a, const Shown *b);
/* The range of @shown that equals @range in all but the mask, or NULL. */
const ShownRange *shown_find(const Shown *shown, const ShownRange *range);

void shown_print(FILE *out, const char *title, const Shown *shown);

/* Whether flatview_diff tells exactly what differs between the two. */
bool shown_diff_is_right(const FlatView *a, const FlatView *b);

#endif
