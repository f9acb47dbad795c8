/* SPDX-License-Identifier: MIT */
/* Looking at a state of a trace: spaces, ranges, what the latest record changed. */
#include "base/error.h"
#include "inspect/trace_format.h"
#include "inspect/trace_read.h"

#include <string.h>

const char *trace_name(const MapTraceFile *file, size_t number)
{
    return *VEC_AT(&file->names, char *, number);
}

MapTraceRange trace_range(const MapTraceFile *file, const RangeNode *range)
{
    const TraceRegion *region = VEC_AT(&file->regions, TraceRegion, range->region);
    bool romd = range->flags & TRACE_ROMD, readonly = range->flags & TRACE_READONLY;
    bool nonvolatile = range->flags & TRACE_NONVOLATILE;

    return (MapTraceRange){
        .first = range->node.first,
        .last = range->node.last,
        .offset = range->offset,
        .name = trace_name(file, region->name),
        .type = type_name(region->kinds, readonly, nonvolatile, romd),
        .priority = region->priority,
        .region = range->region,
        .romd = romd,
        .readonly = readonly,
        .nonvolatile = nonvolatile,
        .unmergeable = range->flags & TRACE_UNMERGEABLE,
        .dirty_log_mask = range->mask,
    };
}

MapTraceRecord map_trace_state_record(const MapTraceState *state)
{
    return state->record;
}

size_t map_trace_state_spaces(const MapTraceState *state)
{
    return state->spaces.count;
}

MapTraceSpace map_trace_state_space(const MapTraceState *state, size_t index)
{
    const SpaceState *space = trace_space(state, index);
    const MapTraceFile *file = state->file;
    size_t now = state->record.number;
    const ViewState *view = space->view == NO_NUMBER ? NULL : trace_view(state, space->view);

    return (MapTraceSpace){
        .name = trace_name(file, space->name),
        .root = trace_name(file, space->root),
        .alias = space->alias == NO_NUMBER ? NULL : trace_name(file, space->alias),
        .alive = space->ended == NO_NUMBER,
        .made = space->made == now,
        .ended = space->ended == now,
        .changed = space->moved == now || (view && view->edited == now),
        .view = space->view,
        .view_root = view ? trace_name(file, view->root) : NULL,
    };
}

/* ---- ranges ------------------------------------------------------------------------------ */

typedef struct Flattening {
    const MapTraceFile *file;
    MapTraceRange *next;
} Flattening;

static bool flatten(IntervalNode *node, void *opaque)
{
    Flattening *f = opaque;

    *f->next++ = trace_range(f->file, (const RangeNode *)node);
    return false;
}

static const MapTraceRange *view_ranges(const MapTraceFile *file, ViewState *view)
{
    if (!view->flat_is_right) {
        MapTraceRange *flat = reallocarray(view->flat, view->count + 1, sizeof *flat);
        if (!flat) {
            fail_no_memory("a flat view of a trace");
            return NULL;
        }
        view->flat = flat;
        Flattening f = {file, flat};
        interval_for_each_overlap(view->ranges, 0, UINT64_MAX, flatten, &f);
        view->flat_is_right = true;
    }
    return view->flat;
}

const MapTraceRange *map_trace_state_ranges(MapTraceState *state, size_t index, size_t *count)
{
    static const MapTraceRange nothing;
    const SpaceState *space = trace_space(state, index);

    *count = 0;
    if (space->view == NO_NUMBER) {
        return &nothing;
    }
    ViewState *view = trace_view(state, space->view);
    const MapTraceRange *ranges = view_ranges(state->file, view);
    *count = ranges ? view->count : 0;
    return ranges;
}

bool map_trace_state_lookup(const MapTraceState *state, size_t index, hwaddr addr,
                            MapTraceRange *range)
{
    const SpaceState *space = trace_space(state, index);
    IntervalNode *node =
        space->view == NO_NUMBER
            ? NULL
            : interval_first_overlap(trace_view(state, space->view)->ranges, addr, addr);

    *range = node ? trace_range(state->file, (const RangeNode *)node) : (MapTraceRange){.first = 0};
    return node;
}

/* ---- what changed ------------------------------------------------------------------------- */

static bool same_range(const MapTraceRange *a, const MapTraceRange *b)
{
    return a->first == b->first && a->last == b->last && a->offset == b->offset &&
           a->region == b->region && a->romd == b->romd && a->readonly == b->readonly &&
           a->nonvolatile == b->nonvolatile && a->unmergeable == b->unmergeable &&
           a->dirty_log_mask == b->dirty_log_mask;
}

/* A sorted list of ranges, walked; one in @except is passed over. */
typedef struct Walk {
    const MapTraceRange *at, *end, *except, *except_end;
} Walk;

static const MapTraceRange *walk_head(Walk *w)
{
    for (; w->at < w->end; w->at++) {
        while (w->except < w->except_end && w->except->first < w->at->first) {
            w->except++;
        }
        if (w->except == w->except_end || w->except->first != w->at->first) {
            return w->at;
        }
    }
    return NULL;
}

static const MapTraceRange *list_end(const Vec *list)
{
    return list->count ? VEC_AT(list, MapTraceRange, list->count) : list->items;
}

static Walk walk_list(const Vec *list)
{
    return (Walk){list->items, list_end(list), NULL, NULL};
}

/* What the view showed before the record was: what it shows but for what the record added, ... */
static Walk walk_kept(const ViewState *view, size_t record)
{
    Walk w = {view->flat, view->flat + view->count, NULL, NULL};

    if (view->edited == record) {
        w.except = view->added.items;
        w.except_end = list_end(&view->added);
    }
    return w;
}

/* The lower of the heads of two walks, which it leaves; NULL at the end of both. */
static const MapTraceRange *take_lower(Walk *a, Walk *b)
{
    const MapTraceRange *x = walk_head(a), *y = walk_head(b);

    if (x && (!y || x->first < y->first)) {
        a->at++;
        return x;
    }
    if (y) {
        b->at++;
    }
    return y;
}

static bool note(Vec *list, const MapTraceRange *range)
{
    MapTraceRange *added = vec_add(list, sizeof *added);

    if (added) {
        *added = *range;
    }
    return added;
}

/* Compare what the space showed before it came to another view with what it shows now. */
static int compare_move(MapTraceState *s, SpaceState *space)
{
    size_t now = s->record.number;
    ViewState *old = space->old_view == NO_NUMBER ? NULL : trace_view(s, space->old_view);
    ViewState *new = space->view == NO_NUMBER ? NULL : trace_view(s, space->view);
    Walk kept = {0}, removed = {0}, after = {0}, none = {0};

    space->removed.count = space->added.count = 0;
    if ((old && !view_ranges(s->file, old)) || (new && !view_ranges(s->file, new))) {
        return fail_no_memory("a change of a trace");
    }
    if (old) {
        kept = walk_kept(old, now);
        removed = old->edited == now ? walk_list(&old->removed) : none; /* ... and what it took */
    }
    if (new) {
        after = (Walk){new->flat, new->flat + new->count, NULL, NULL};
    }
    const MapTraceRange *x = take_lower(&kept, &removed), *y = take_lower(&after, &none);
    bool good = true;
    while (good && (x || y)) {
        bool same = x && y && same_range(x, y);
        bool left = x && (!y || x->first <= y->first), right = y && (!x || y->first <= x->first);
        good = same || ((!left || note(&space->removed, x)) && (!right || note(&space->added, y)));
        x = left ? take_lower(&kept, &removed) : x;
        y = right ? take_lower(&after, &none) : y;
    }
    space->compared = good ? now : NO_NUMBER;
    return good ? 0 : fail_no_memory("a change of a trace");
}

int map_trace_state_change(MapTraceState *state, size_t index, MapTraceChange *change)
{
    SpaceState *space = trace_space(state, index);
    size_t now = state->record.number;
    const Vec *removed = NULL, *added = NULL;

    *change = (MapTraceChange){.nr_added = 0};
    if (space->moved == now) {
        int result = space->compared == now ? 0 : compare_move(state, space);
        if (result) {
            return result;
        }
        removed = &space->removed;
        added = &space->added;
    } else if (space->view != NO_NUMBER && trace_view(state, space->view)->edited == now) {
        removed = &trace_view(state, space->view)->removed;
        added = &trace_view(state, space->view)->added;
    } else {
        return 0;
    }
    *change = (MapTraceChange){removed->items, added->items, removed->count, added->count};
    return 0;
}
