/* SPDX-License-Identifier: MIT */
/*
 * trace_write.h - a trace that is being written: its tables, and what a record is made of.
 *
 * See trace_write.c for the whole.
 */
#ifndef INSPECT_TRACE_WRITE_H
#define INSPECT_TRACE_WRITE_H

#include "base/vec.h"
#include "inspect/intern.h"
#include "map/watch.h"

#include <membus/trace.h>

typedef struct TraceView {
    const struct ViewLineage *lineage;
    const FlatView *current;
    uint64_t number;
    unsigned spaces; /* that show it */
    struct TraceView *next;
} TraceView;

typedef struct TraceSpace {
    AddressSpace *as;
    bool recorded; /* has its number */
    uint64_t number;
    TraceView *view; /* NULL: nothing is shown */
    struct TraceSpace *next;
} TraceSpace;

struct MapTrace {
    MapWatch watch; /* first */
    MemorySystem *ms;
    MapTraceConfig config;
    char *path;
    int fd;
    int error; /* negative errno of what ended the trace early */
    char why[256];

    TraceSpace *spaces;
    TraceView *views;
    uint64_t nr_spaces, nr_views; /* numbers given away */
    unsigned unrecorded;
    Interned names, regions;

    Vec record;         /* bytes; the items begin after RECORD_HEAD of them */
    Vec removed, added; /* the lists of an edit */
    uint64_t latest;    /* time of the latest record */
};

/* End the trace with @result, whose sentence is the thread's, or for want of memory. */
void trace_give_up(MapTrace *t, int result);
void trace_no_memory(MapTrace *t);

/* Append to the record at hand: a number; that @ts is there, unless that has been said. */
void trace_put_number(MapTrace *t, uint64_t value);
void trace_record_space(MapTrace *t, TraceSpace *ts);

/* That the view of @tv has become @view. */
void trace_record_edit(MapTrace *t, TraceView *tv, const FlatView *view);

/* That @ts shows @view. */
void trace_record_show(MapTrace *t, TraceSpace *ts, const FlatView *view);

/* NULL if no traced space shows the lineage. */
TraceView *trace_find_view(const MapTrace *t, const struct ViewLineage *lineage);

/* A space no more shows @tv, which may be NULL. */
void trace_leave_view(MapTrace *t, TraceView *tv);

#endif
