/* SPDX-License-Identifier: MIT */
/*
 * trace_read.h - a trace in memory, and the state that its records are played into.
 *
 * Opening plays all records once, checking every byte, and keeps what only grows (names, regions,
 * where records begin). Playing them again cannot go wrong but for memory.
 */
#ifndef INSPECT_TRACE_READ_H
#define INSPECT_TRACE_READ_H

#include "base/interval.h"
#include "base/vec.h"
#include "inspect/kind.h"

#include <membus/trace.h>

#define NO_NUMBER SIZE_MAX

typedef struct TraceRegion {
    size_t name;
    RegionKind kinds;
    int priority;
} TraceRegion;

struct MapTraceFile {
    char *label; /* in messages */
    unsigned char *data;
    size_t size;
    uint64_t began;
    Vec names;   /* char *, */
    Vec regions; /* TraceRegion */
    Vec records; /* size_t: where each begins */
    bool truncated;
};

/* A range of a view; its place is the node's. */
typedef struct RangeNode {
    IntervalNode node; /* first */
    hwaddr offset;
    size_t region;
    uint8_t flags, mask;
} RangeNode;

typedef struct ViewState {
    size_t root; /* name */
    IntervalNode *ranges;
    size_t count;
    size_t spaces;      /* that show it */
    bool gone;          /* no space did at the end of a record */
    size_t edited;      /* the last record that did */
    Vec removed, added; /* MapTraceRange, by that record */
    MapTraceRange *flat;
    bool flat_is_right;
} ViewState;

typedef struct SpaceState {
    size_t name, root, alias;  /* names; alias NO_NUMBER: none */
    size_t view, old_view;     /* NO_NUMBER: the empty one; old: before `moved` */
    size_t made, moved, ended; /* records; NO_NUMBER: none yet */
    size_t compared;           /* the record that these are about */
    Vec removed, added;        /* MapTraceRange */
} SpaceState;

struct MapTraceState {
    MapTraceFile *file; /* only while it is being opened more than read */
    bool opening;
    size_t nr_names, nr_regions; /* that the records so far have made */
    MapTraceRecord record;       /* number NO_NUMBER: none yet */
    size_t at;                   /* where the next record begins */
    Vec views, spaces;
    Vec idle; /* numbers of views that no space may be showing */
};

/* Play the next record. Returns 1, 0 if there is none (or only a part), or a negative errno. */
int trace_step(MapTraceState *s);
/* Free what the state holds. */
void trace_state_clear(MapTraceState *s);

const char *trace_name(const MapTraceFile *file, size_t number);
MapTraceRange trace_range(const MapTraceFile *file, const RangeNode *range);

static inline ViewState *trace_view(const MapTraceState *s, size_t number)
{
    return VEC_AT(&s->views, ViewState, number);
}

static inline SpaceState *trace_space(const MapTraceState *s, size_t number)
{
    return VEC_AT(&s->spaces, SpaceState, number);
}

#endif
