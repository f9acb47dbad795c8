/* SPDX-License-Identifier: MIT */
/* What a record of a trace is made of: names and regions as they come up, views, spaces. */
#include "inspect/trace_write.h"

#include "inspect/kind.h"
#include "inspect/trace_format.h"
#include "map/lineage.h"

#include <string.h>

/* ---- bytes ------------------------------------------------------------------------- */

static void put_bytes(MapTrace *t, Vec *out, const void *bytes, size_t count)
{
    if (!vec_reserve(out, count, 1)) {
        trace_no_memory(t);
    } else if (count) {
        memcpy(VEC_AT(out, unsigned char, out->count), bytes, count);
        out->count += count;
    }
}

static void put(MapTrace *t, Vec *out, uint64_t value)
{
    unsigned char bytes[TRACE_NUMBER_MAX];

    put_bytes(t, out, bytes, trace_put(bytes, value));
}

void trace_put_number(MapTrace *t, uint64_t value)
{
    put(t, &t->record, value);
}

/* ---- names and regions ---------------------------------------------------------------- */

static uint64_t name_number(MapTrace *t, const char *name)
{
    size_t length = strlen(name);
    bool fresh;
    size_t number = intern(&t->names, name, length, &fresh);

    if (number == INTERN_NONE) {
        trace_no_memory(t);
    } else if (fresh) {
        put(t, &t->record, TRACE_NAME);
        put(t, &t->record, length);
        put_bytes(t, &t->record, name, length);
    }
    return number;
}

static uint64_t region_number(MapTrace *t, const MemoryRegion *mr)
{
    uint64_t key[] = {name_number(t, memory_region_name(mr)), region_kind(mr),
                      trace_fold(memory_region_priority(mr))};
    bool fresh;
    size_t number = intern(&t->regions, key, sizeof key, &fresh);

    if (number == INTERN_NONE) {
        trace_no_memory(t);
    } else if (fresh) {
        put(t, &t->record, TRACE_REGION);
        for (unsigned i = 0; i < 3; i++) {
            put(t, &t->record, key[i]);
        }
    }
    return number;
}

/* ---- views ------------------------------------------------------------------------------ */

typedef struct Editing {
    MapTrace *trace;
    uint64_t nr_removed, nr_added;
    hwaddr after_removed, after_added; /* where the next one can begin */
} Editing;

static void put_range(MapTrace *t, Vec *out, const MemoryRegionSection *s, hwaddr from)
{
    unsigned flags =
        (s->romd ? TRACE_ROMD : 0) | (s->readonly ? TRACE_READONLY : 0) |
        (s->nonvolatile ? TRACE_NONVOLATILE : 0) | (s->unmergeable ? TRACE_UNMERGEABLE : 0) |
        (s->offset_within_region ? TRACE_OFFSET : 0) | (s->dirty_log_mask ? TRACE_MASK : 0);

    put(t, out, s->offset_within_address_space - from);
    put(t, out, s->last_within_address_space - s->offset_within_address_space);
    put(t, out, region_number(t, s->mr));
    put(t, out, flags);
    if (flags & TRACE_OFFSET) {
        put(t, out, s->offset_within_region);
    }
    if (flags & TRACE_MASK) {
        put(t, out, s->dirty_log_mask);
    }
}

static void note_difference(const MemoryRegionSection *before, const MemoryRegionSection *after,
                            void *opaque)
{
    Editing *e = opaque;
    MapTrace *t = e->trace;

    if (before) {
        put(t, &t->removed, before->offset_within_address_space - e->after_removed);
        e->after_removed = before->last_within_address_space + 1;
        e->nr_removed++;
    }
    if (after) {
        put_range(t, &t->added, after, e->after_added);
        e->after_added = after->last_within_address_space + 1;
        e->nr_added++;
    }
}

static void record_difference(MapTrace *t, TraceView *tv, const FlatView *old, const FlatView *view)
{
    Editing e = {.trace = t};

    tv->current = view;
    t->removed.count = t->added.count = 0;
    flatview_diff(old, view, note_difference, &e);
    if (e.nr_removed || e.nr_added) {
        put(t, &t->record, TRACE_EDIT);
        put(t, &t->record, tv->number);
        put(t, &t->record, e.nr_removed);
        put_bytes(t, &t->record, t->removed.items, t->removed.count);
        put(t, &t->record, e.nr_added);
        put_bytes(t, &t->record, t->added.items, t->added.count);
    }
}

void trace_record_edit(MapTrace *t, TraceView *tv, const FlatView *view)
{
    record_difference(t, tv, tv->current, view);
}

TraceView *trace_find_view(const MapTrace *t, const struct ViewLineage *lineage)
{
    TraceView *tv = t->views;

    while (tv && tv->lineage != lineage) {
        tv = tv->next;
    }
    return tv;
}

static TraceView *record_view(MapTrace *t, const FlatView *view)
{
    TraceView *tv = malloc(sizeof *tv);

    if (!tv) {
        trace_no_memory(t);
        return NULL;
    }
    uint64_t root = name_number(t, memory_region_name(flatview_root(view)));
    put(t, &t->record, TRACE_VIEW);
    put(t, &t->record, root);
    *tv = (TraceView){.lineage = view->lineage, .number = t->nr_views++, .next = t->views};
    t->views = tv;
    record_difference(t, tv, t->ms->empty->current, view);
    return tv;
}

/* A space has come to show @tv, which may be NULL. */
static void use_view(TraceView *tv)
{
    if (tv) {
        tv->spaces++;
    }
}

void trace_leave_view(MapTrace *t, TraceView *tv)
{
    if (tv && --tv->spaces == 0) {
        TraceView **link = &t->views;
        while (*link != tv) {
            link = &(*link)->next;
        }
        *link = tv->next;
        free(tv);
    }
}

/* ---- spaces ----------------------------------------------------------------------------- */

void trace_record_space(MapTrace *t, TraceSpace *ts)
{
    const MemoryRegion *root = address_space_root(ts->as);
    const MemoryRegion *target = memory_region_alias_target(root);

    if (ts->recorded) {
        return;
    }
    uint64_t name = name_number(t, address_space_name(ts->as));
    uint64_t root_name = name_number(t, memory_region_name(root));
    uint64_t alias = target ? 1 + name_number(t, memory_region_name(target)) : 0;
    put(t, &t->record, TRACE_SPACE);
    put(t, &t->record, name);
    put(t, &t->record, root_name);
    put(t, &t->record, alias);
    ts->recorded = true;
    ts->number = t->nr_spaces++;
    t->unrecorded--;
}

void trace_record_show(MapTrace *t, TraceSpace *ts, const FlatView *view)
{
    bool shows_nothing = !flatview_root(view);
    TraceView *tv = shows_nothing ? NULL : trace_find_view(t, view->lineage), *old = ts->view;

    trace_record_space(t, ts);
    if (!tv && !shows_nothing) {
        tv = record_view(t, view);
    }
    if (tv != old) {
        put(t, &t->record, TRACE_SHOW);
        put(t, &t->record, ts->number);
        put(t, &t->record, tv ? 1 + tv->number : 0);
        use_view(tv);
        ts->view = tv;
        trace_leave_view(t, old);
    }
}
