/* SPDX-License-Identifier: MIT */
/*
 * Playing a record of a trace into a state, trusting nothing.
 *
 * A Cursor ends where its record does. Every check names the byte at which the item or number
 * begins that is wrong.
 */
#include "base/error.h"
#include "inspect/trace_format.h"
#include "inspect/trace_read.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

typedef struct Cursor {
    const MapTraceFile *file;
    size_t at, end;
    int error;
} Cursor;

/* "LABEL: byte N: @reason" */
static int malformed(Cursor *c, size_t at, const char *reason)
{
    if (!c->error) {
        c->error = fail(EINVAL, "%s: byte %zu: %s", c->file->label, at, reason);
    }
    return c->error;
}

static int no_memory(Cursor *c)
{
    if (!c->error) {
        c->error = fail_no_memory("a state of a trace");
    }
    return c->error;
}

/* ---- numbers -------------------------------------------------------------------------- */

/* The next number; 0 after an error. */
static uint64_t number(Cursor *c)
{
    uint64_t value = 0;
    size_t start = c->at;

    for (unsigned shift = 0; !c->error; shift += 7) {
        if (c->at == c->end) {
            malformed(c, start, "the record ends within a number");
            break;
        }
        unsigned char byte = c->file->data[c->at++];
        if ((shift == 63 && byte > 1) || (shift && !byte)) {
            malformed(c, start, "a number that is too long");
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    return 0;
}

/* The next number, which must be below @limit. */
static size_t number_below(Cursor *c, uint64_t limit, const char *reason)
{
    size_t start = c->at;
    uint64_t value = number(c);

    if (!c->error && value >= limit) {
        malformed(c, start, reason);
    }
    return c->error ? 0 : (size_t)value;
}

static size_t name_number(Cursor *c, const MapTraceState *s)
{
    return number_below(c, s->nr_names, "no such name");
}

/* 1 + a number, 0 for none. */
static size_t number_or_none(Cursor *c, size_t count, const char *reason)
{
    size_t value = number_below(c, (uint64_t)count + 1, reason);

    return value ? value - 1 : NO_NUMBER;
}

/* ---- names and regions ------------------------------------------------------------------ */

static void play_name(Cursor *c, MapTraceState *s)
{
    size_t start = c->at, length = number_below(c, c->end - c->at, "a name beyond the record");
    const unsigned char *bytes = c->file->data + c->at;

    if (c->error) {
        return;
    }
    if (length > c->end - c->at) {
        malformed(c, start, "a name beyond the record");
        return;
    }
    if (memchr(bytes, 0, length)) {
        malformed(c, start, "a name with a zero byte");
        return;
    }
    c->at += length;
    if (s->opening) {
        char *copy = malloc(length + 1), **name = copy ? vec_add(&s->file->names, sizeof copy) : 0;
        if (!name) {
            free(copy);
            no_memory(c);
            return;
        }
        memcpy(copy, bytes, length);
        copy[length] = '\0';
        *name = copy;
    }
    s->nr_names++;
}

static void play_region(Cursor *c, MapTraceState *s)
{
    TraceRegion region = {.name = name_number(c, s)};

    region.kinds = (RegionKind)number_below(c, KIND_ALL + 1, "no such kind of region");
    region.priority = trace_unfold(number_below(c, (uint64_t)1 << 32, "no 32-bit priority"));
    if (!c->error && s->opening) {
        TraceRegion *added = vec_add(&s->file->regions, sizeof region);
        if (!added) {
            no_memory(c);
            return;
        }
        *added = region;
    }
    s->nr_regions++;
}

/* ---- spaces ----------------------------------------------------------------------------- */

static void play_space(Cursor *c, MapTraceState *s)
{
    SpaceState space = {.view = NO_NUMBER,
                        .old_view = NO_NUMBER,
                        .made = s->record.number,
                        .moved = NO_NUMBER,
                        .ended = NO_NUMBER,
                        .compared = NO_NUMBER};

    space.name = name_number(c, s);
    space.root = name_number(c, s);
    space.alias = number_or_none(c, s->nr_names, "no such name");
    if (!c->error) {
        SpaceState *added = vec_add(&s->spaces, sizeof space);
        if (!added) {
            no_memory(c);
            return;
        }
        *added = space;
    }
}

/* A number of a space that lives; NULL after an error. */
static SpaceState *living_space(Cursor *c, MapTraceState *s)
{
    size_t start = c->at, index = number_below(c, s->spaces.count, "no such address space");

    if (!c->error && trace_space(s, index)->ended != NO_NUMBER) {
        malformed(c, start, "that address space has ended");
    }
    return c->error ? NULL : trace_space(s, index);
}

static void move_space(Cursor *c, MapTraceState *s, SpaceState *space, size_t view)
{
    if (space->moved != s->record.number) {
        space->old_view = space->view;
    }
    space->moved = s->record.number;
    if (space->view != NO_NUMBER && --trace_view(s, space->view)->spaces == 0) {
        size_t *idle = vec_add(&s->idle, sizeof *idle);
        if (!idle) {
            no_memory(c);
            return;
        }
        *idle = space->view;
    }
    space->view = view;
    if (view != NO_NUMBER) {
        trace_view(s, view)->spaces++;
    }
}

static void play_gone(Cursor *c, MapTraceState *s)
{
    SpaceState *space = living_space(c, s);

    if (space) {
        space->ended = s->record.number;
        move_space(c, s, space, NO_NUMBER);
    }
}

static void play_show(Cursor *c, MapTraceState *s)
{
    size_t start = c->at;
    SpaceState *space = living_space(c, s);
    size_t view = number_or_none(c, s->views.count, "no such view");

    if (!c->error && view != NO_NUMBER && trace_view(s, view)->gone) {
        malformed(c, start, "a view that no space has shown since an earlier record");
    }
    if (!c->error && space->moved == s->record.number) {
        malformed(c, start, "an address space is shown something twice in one record");
    }
    if (!c->error) {
        move_space(c, s, space, view);
    }
}

/* ---- views ------------------------------------------------------------------------------ */

static void play_view(Cursor *c, MapTraceState *s)
{
    ViewState view = {.root = name_number(c, s), .edited = NO_NUMBER};

    if (c->error) {
        return;
    }
    ViewState *added = vec_add(&s->views, sizeof view);
    if (!added) {
        no_memory(c);
        return;
    }
    *added = view;
    size_t *idle = vec_add(&s->idle, sizeof *idle);
    if (!idle) {
        no_memory(c);
        return;
    }
    *idle = s->views.count - 1;
}

static void note_range(Cursor *c, Vec *list, const RangeNode *range)
{
    MapTraceRange *added = c->error ? NULL : vec_add(list, sizeof *added);

    if (!added) {
        no_memory(c);
        return;
    }
    *added = trace_range(c->file, range);
}

static void remove_ranges(Cursor *c, ViewState *view)
{
    size_t count = number_below(c, (uint64_t)view->count + 1, "more ranges than the view has");
    hwaddr from = 0;
    bool room = true;

    for (size_t i = 0; i < count && !c->error; i++) {
        size_t start = c->at;
        hwaddr first;
        bool overflow = __builtin_add_overflow(from, number(c), &first) || !room;
        IntervalNode *node =
            c->error || overflow ? NULL : interval_first_overlap(view->ranges, first, first);
        if (!node || node->first != first) {
            malformed(c, start, "the view has no range that begins there");
            return;
        }
        RangeNode *range = (RangeNode *)node;
        note_range(c, &view->removed, range);
        room = node->last != UINT64_MAX;
        from = node->last + 1;
        interval_remove(&view->ranges, node);
        free(range);
        view->count--;
    }
}

/* Read a range that begins at @from or above. */
static RangeNode read_range(Cursor *c, const MapTraceState *s, hwaddr from)
{
    RangeNode range = {.flags = 0};
    size_t start = c->at;
    hwaddr span;

    bool overflow = __builtin_add_overflow(from, number(c), &range.node.first);
    span = number(c);
    overflow |= __builtin_add_overflow(range.node.first, span, &range.node.last);
    range.region = number_below(c, s->nr_regions, "no such region");
    range.flags = (uint8_t)number_below(c, TRACE_RANGE_FLAGS + 1, "unknown flags of a range");
    range.offset = range.flags & TRACE_OFFSET ? number(c) : 0;
    range.mask =
        range.flags & TRACE_MASK ? (uint8_t)number_below(c, 256, "no 8-bit dirty-log mask") : 0;
    if (overflow || range.offset > UINT64_MAX - span) {
        malformed(c, start, "a range beyond 2^64");
    }
    return range;
}

static void add_ranges(Cursor *c, const MapTraceState *s, ViewState *view)
{
    /* Each takes at least four bytes. */
    size_t count = number_below(c, (c->end - c->at) / 4 + 1, "more ranges than the record holds");
    hwaddr from = 0;
    bool room = true;

    for (size_t i = 0; i < count && !c->error; i++) {
        size_t start = c->at;
        RangeNode read = read_range(c, s, from), *range;
        if (!room) {
            malformed(c, start, "a range beyond 2^64");
        } else if (!c->error &&
                   interval_first_overlap(view->ranges, read.node.first, read.node.last)) {
            malformed(c, start, "a range over one that the view has");
        }
        range = c->error ? NULL : malloc(sizeof *range);
        if (!range) {
            no_memory(c);
            return;
        }
        *range = read;
        interval_insert(&view->ranges, &range->node);
        view->count++;
        note_range(c, &view->added, range);
        room = read.node.last != UINT64_MAX;
        from = read.node.last + 1;
    }
}

static void play_edit(Cursor *c, MapTraceState *s)
{
    size_t start = c->at, index = number_below(c, s->views.count, "no such view");

    if (c->error) {
        return;
    }
    ViewState *view = trace_view(s, index);
    if (view->gone) {
        malformed(c, start, "a view that no space has shown since an earlier record");
        return;
    }
    if (view->edited == s->record.number) {
        malformed(c, start, "a view is edited twice in one record");
        return;
    }
    view->edited = s->record.number;
    view->flat_is_right = false;
    view->removed.count = view->added.count = 0;
    remove_ranges(c, view);
    add_ranges(c, s, view);
}

/* ---- records ---------------------------------------------------------------------------- */

static void view_clear(ViewState *view)
{
    while (view->ranges) {
        RangeNode *range = (RangeNode *)view->ranges;
        interval_remove(&view->ranges, view->ranges);
        free(range);
    }
    vec_free(&view->removed);
    vec_free(&view->added);
    free(view->flat);
    view->flat = NULL;
    view->count = 0;
}

/* What the latest record left without a space is of no use from the next one on. */
static void drop_idle_views(MapTraceState *s)
{
    for (size_t i = 0; i < s->idle.count; i++) {
        ViewState *view = trace_view(s, *VEC_AT(&s->idle, size_t, i));
        if (view->spaces == 0 && !view->gone) {
            view_clear(view);
            view->gone = true;
        }
    }
    s->idle.count = 0;
}

static void play_head(Cursor *c, MapTraceState *s)
{
    size_t start = c->at;
    uint64_t time;
    MapTraceRecord *record = &s->record;

    if (__builtin_add_overflow(record->time, number(c), &time)) {
        malformed(c, start, "a time beyond 2^64");
    }
    size_t flags = number_below(c, TRACE_HAS_WHERE + 1, "unknown flags of a record");
    record->time = time;
    record->number++; /* from NO_NUMBER to 0 */
    record->has_where = flags & TRACE_HAS_WHERE;
    record->where = record->has_where ? number(c) : 0;
}

static void play_item(Cursor *c, MapTraceState *s)
{
    static void (*const play[])(Cursor * c, MapTraceState * s) = {
        [TRACE_NAME] = play_name, [TRACE_REGION] = play_region, [TRACE_SPACE] = play_space,
        [TRACE_GONE] = play_gone, [TRACE_VIEW] = play_view,     [TRACE_EDIT] = play_edit,
        [TRACE_SHOW] = play_show,
    };
    size_t start = c->at;
    uint64_t kind = number(c);

    if (kind < TRACE_NAME || kind > TRACE_SHOW) {
        malformed(c, start, "no such kind of item");
    } else {
        play[kind](c, s);
    }
}

/* Find the next record's end; 0 if there is none or the file ends before. */
static size_t find_end(Cursor *c)
{
    size_t start = c->at;
    bool whole = false;

    for (size_t i = start; i < c->end && i < start + TRACE_NUMBER_MAX && !whole; i++) {
        whole = c->file->data[i] < 0x80;
    }
    if (!whole && c->end - start < TRACE_NUMBER_MAX) {
        return 0;
    }
    uint64_t length = number(c);
    if (!c->error && length < 2) {
        malformed(c, start, "a record too short for its time and flags");
    }
    return c->error || length > c->end - c->at ? 0 : c->at + (size_t)length;
}

int trace_step(MapTraceState *s)
{
    Cursor c = {.file = s->file, .at = s->at, .end = s->file->size};
    size_t end = find_end(&c);

    if (c.error || !end) {
        return c.error;
    }
    c.end = end;
    drop_idle_views(s);
    play_head(&c, s);
    while (c.at < c.end && !c.error) {
        play_item(&c, s);
    }
    s->at = end;
    return c.error ? c.error : 1;
}

void trace_state_clear(MapTraceState *s)
{
    for (size_t i = 0; i < s->views.count; i++) {
        view_clear(trace_view(s, i));
    }
    for (size_t i = 0; i < s->spaces.count; i++) {
        vec_free(&trace_space(s, i)->removed);
        vec_free(&trace_space(s, i)->added);
    }
    vec_free(&s->views);
    vec_free(&s->spaces);
    vec_free(&s->idle);
}
