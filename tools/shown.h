/* SPDX-License-Identifier: MIT */
/*
 * shown.h - what the address spaces of a source show, whatever the source is: the text of a map, or
 * a moment of a trace (FILE@N, FILE@last).
 *
 * A range is a MapTraceRange; `region` tells regions of one source apart, name NULL is no range.
 */
#ifndef TOOLS_SHOWN_H
#define TOOLS_SHOWN_H

#include "tool.h"

#include <membus/trace.h>

/* A trace that a positional argument names. */
typedef struct TraceSource {
    char *path;
    MapTraceFile *file;
    size_t number;
    bool given; /* the number, by the argument; else it is the last one */
} TraceSource;

/*
 * Open @argument if it names a trace. Returns 1, 0 if it names none, or -1 having complained.
 */
int open_trace(TraceSource *source, const char *argument);
/* The same of positional argument @index; a trace has no --flat. */
int open_source_trace(const Options *options, unsigned index, TraceSource *source);
/* Complains and returns NULL on an error. */
MapTraceState *trace_source_state(const TraceSource *source, size_t number);
void close_trace(TraceSource *source);

typedef struct ShownSpace {
    const char *name;
    const MapTraceRange *ranges;
    size_t count;
} ShownSpace;

typedef struct Shown {
    ShownSpace *spaces;
    size_t count;
    /* private */
    TraceSource trace;
    MapTraceState *state;
    MemoryImport *import;
    MapTraceRange **owned;
    size_t nr_owned;
} Shown;

/*
 * Load positional argument @index, limited to --as. Complains and returns false on an error; to be
 * released in any case.
 */
bool load_shown(Shown *shown, const Options *options, unsigned index);
void release_shown(Shown *shown);

MapTraceRange section_range(const MemoryRegionSection *section);

/* "FIRST-LAST (prio N, TYPE): NAME @OFFSET", as `info mtree -f` has it. */
void print_range(const MapTraceRange *range);
json_t *json_range(const MapTraceRange *range);

#endif
