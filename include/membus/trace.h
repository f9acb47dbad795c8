/* SPDX-License-Identifier: MIT */
/*
 * trace.h - a compact record of every commit of a machine's map, and what reads it back.
 *
 * A trace begins with the flat views that there are and then has a record for each transaction
 * that changed what an address space shows, or made or ended one: when, what the program says of
 * where it came from (the guest's instruction pointer), and the ranges that went and came. The
 * format is described in docs/trace-format.md; `membus log`, `flat`, `diff` and `find` read it.
 */
#ifndef MEMBUS_TRACE_H
#define MEMBUS_TRACE_H

#include <membus/error.h>
#include <membus/space.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Writing ------------------------------------------------------------------ */

typedef struct MapTrace MapTrace;

typedef struct MapTraceConfig {
    /*
     * Whether @as is to be traced; asked once for each address space, those made later included.
     * NULL: all are. Context: machine lock; it must not edit the map.
     */
    bool (*wants)(const AddressSpace *as, void *opaque);
    /*
     * Where the commit comes from: set *@where (say, the RIP of the CPU whose access led to it) and
     * return true, or false if there is nothing to say. NULL: never. Context: as above, in the
     * thread that commits.
     */
    bool (*where)(void *opaque, uint64_t *where);
    void *opaque;
} MapTraceConfig;

/*
 * Trace @ms into the file @path, which is made or emptied. @config may be NULL. Several traces of
 * one machine may be under way. Returns NULL, a sentence in *@errp (which may be NULL), if the file
 * cannot be opened or written, memory is short, or a transaction is open.
 *
 * Each record is written with one write(2) when its transaction ends, under the machine lock: a
 * process that dies loses none that was complete. What fails then (a full disk) never fails the
 * transaction: the trace ends there, and map_trace_stop() tells. A write that blocks (to a pipe)
 * blocks the machine.
 * Context: machine lock.
 */
MEMBUS_EXPORT MapTrace *map_trace_create(MemorySystem *ms, const char *path,
                                         const MapTraceConfig *config, Error **errp);

/*
 * End @trace, closing its file; NULL is fine. It has to be ended before the machine is.
 * Returns 0, or what kept it from recording all: -ENOSPC, -EIO, another of write(2) or close(2),
 * or -ENOMEM; @trace is gone all the same.
 * Context: machine lock.
 */
MEMBUS_EXPORT int map_trace_stop(MapTrace *trace, Error **errp);

/* ---- Reading ------------------------------------------------------------------ */

typedef struct MapTraceFile MapTraceFile;
typedef struct MapTraceState MapTraceState;

/* Whether the @len bytes at @data, the beginning of a file, begin a trace; 8 are enough. */
MEMBUS_EXPORT bool map_trace_recognise(const void *data, size_t len);

/*
 * Read the trace in the file @path, or in the @size bytes at @data (copied; @name stands in
 * messages). The whole is checked: what it says afterwards cannot be malformed. Memory is bounded
 * by a multiple of the file's size.
 * Returns NULL and one sentence `name: byte N: reason` in *@errp: -EINVAL for what is no trace,
 * -ENOTSUP for one of another version, -ENOMEM, or what reading the file failed with.
 * Context: any thread.
 */
MEMBUS_EXPORT MapTraceFile *map_trace_open(const char *path, Error **errp);
MEMBUS_EXPORT MapTraceFile *map_trace_open_bytes(const void *data, size_t size, const char *name,
                                                 Error **errp);
/* NULL is fine. The states of @file have been freed. */
MEMBUS_EXPORT void map_trace_close(MapTraceFile *file);

/* How many records there are, at least 1: number 0 is the beginning, the others are commits. */
MEMBUS_EXPORT size_t map_trace_count(const MapTraceFile *file);
/* Whether the file ends within a record, which then is not counted: its writer was cut off. */
MEMBUS_EXPORT bool map_trace_truncated(const MapTraceFile *file);
/* When tracing began, CLOCK_REALTIME in ns. */
MEMBUS_EXPORT uint64_t map_trace_began(const MapTraceFile *file);

/*
 * The state after record @number: what every address space showed then. NULL and a sentence in
 * *@errp: -ERANGE if there is no such record, -ENOMEM. Takes the time of all records before.
 * To be freed with map_trace_state_free() before @file is closed.
 * Context of all that takes a state: any thread, one at a time.
 */
MEMBUS_EXPORT MapTraceState *map_trace_state(const MapTraceFile *file, size_t number, Error **errp);
/*
 * Go on to the next record. Returns 1, or 0 after the last, or -ENOMEM, after which @state is only
 * good for freeing. Takes the time of the record.
 */
MEMBUS_EXPORT int map_trace_state_next(MapTraceState *state, Error **errp);
MEMBUS_EXPORT void map_trace_state_free(MapTraceState *state);

/* A record: its number, when it was made, in ns since the trace began, and from where, if told. */
typedef struct MapTraceRecord {
    size_t number;
    uint64_t time;
    bool has_where;
    uint64_t where;
} MapTraceRecord;

/* The one that led to @state. */
MEMBUS_EXPORT MapTraceRecord map_trace_state_record(const MapTraceState *state);

/* A range of a flat view. */
typedef struct MapTraceRange {
    hwaddr first, last;
    hwaddr offset;    /* of @first in the region */
    const char *name; /* of the region; owned by the file */
    const char *type; /* as mtree_type() has it */
    int priority;     /* of the region, when the range came to be there */
    size_t region;    /* a number; regions of one name, kind and priority have the same */
    bool romd, readonly, nonvolatile, unmergeable;
    uint8_t dirty_log_mask;
} MapTraceRange;

typedef struct MapTraceSpace {
    const char *name;
    const char *root;  /* the name of its root region */
    const char *alias; /* that of the root's target, if it is an alias, else NULL */
    bool alive;        /* false: ended, and shows nothing */
    bool made, ended;  /* by this record */
    bool changed;      /* this record changed what it shows */
    /* Spaces that share a view have the same number; that of the empty view is SIZE_MAX. */
    size_t view;
    const char *view_root; /* the root that the view was rendered from, NULL for the empty one */
} MapTraceSpace;

/*
 * The address spaces that there have been up to @state, in the order in which they were made; an
 * index stays the same in later states.
 */
MEMBUS_EXPORT size_t map_trace_state_spaces(const MapTraceState *state);
MEMBUS_EXPORT MapTraceSpace map_trace_state_space(const MapTraceState *state, size_t index);

/*
 * What the space shows: *@count ranges by ascending address, owned by @state and good until it goes
 * on. NULL if memory is short; for an empty view not NULL.
 */
MEMBUS_EXPORT const MapTraceRange *map_trace_state_ranges(MapTraceState *state, size_t index,
                                                          size_t *count);
/* The range at @addr; false if there is none. */
MEMBUS_EXPORT bool map_trace_state_lookup(const MapTraceState *state, size_t index, hwaddr addr,
                                          MapTraceRange *range);

/*
 * The ranges that a record took away and those that it brought, whole, each by ascending address. A
 * range that only differs in an attribute is in both.
 */
typedef struct MapTraceChange {
    const MapTraceRange *removed, *added;
    size_t nr_removed, nr_added;
} MapTraceChange;

/*
 * What the record that led to @state changed in the space; record 0 brings everything. The lists
 * are owned by @state as above. Returns 0 or -ENOMEM.
 */
MEMBUS_EXPORT int map_trace_state_change(MapTraceState *state, size_t index,
                                         MapTraceChange *change);

#ifdef __cplusplus
}
#endif
#endif
