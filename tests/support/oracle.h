/* SPDX-License-Identifier: MIT */
/*
 * oracle.h - what a tree of regions shows, worked out the slow and obvious way.
 *
 * The model knows nothing of the library: regions are rows of a table that name
 * each other by index, and an address is resolved by walking down the table.
 *
 * Theory. What an address space shows changes only at the edges of regions, seen
 * through every alias. So:
 *   1. collect every edge (coordinate compression):   0    3    8       20
 *   2. resolve one address for each gap in between:   A    B    B       -
 *   3. neighbours that the merge rule allows are one: [0,2] A  [3,19] B
 * Addresses inside the model are 128 bits wide and signed: an alias's target may
 * start "before" zero, and 2^64 is a number like any other.
 */
#ifndef TESTS_ORACLE_H
#define TESTS_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORACLE_REGIONS 64
#define ORACLE_SIGNALS 4
#define ORACLE_NONE (-1)
#define ORACLE_DEPTH 256   /* regions in a row on the way to an answer */
#define ORACLE_VISITS 3000 /* regions looked at for one address space */

/*
 * An ioeventfd (one byte long) or a coalesced range: part of a region that listeners are told of.
 */
typedef struct OracleSignal {
    bool is_eventfd;
    uint64_t at, length; /* in the region */
    uint64_t data;       /* of an eventfd */
} OracleSignal;

typedef struct OracleRegion {
    bool live;
    bool terminates; /* answers itself */
    bool rom_device;
    bool enabled;
    bool readonly, nonvolatile, unmergeable;
    bool romd;
    uint8_t log_mask;
    uint64_t size; /* UINT64_MAX: 2^64 */
    uint64_t addr;
    int priority;
    uint64_t added; /* order of adding: a later one wins ties */
    int parent;     /* index or ORACLE_NONE */
    int alias;      /* target's index or ORACLE_NONE */
    uint64_t alias_offset;
    OracleSignal signal[ORACLE_SIGNALS];
    unsigned signals;
} OracleRegion;

typedef struct Oracle {
    OracleRegion region[ORACLE_REGIONS];
    int used;       /* rows from here on were never live */
    uint64_t clock; /* of `added` */
} Oracle;

typedef struct OracleRange {
    uint64_t first, last;
    int region;
    uint64_t offset; /* of @first in the region */
    uint8_t log_mask;
    bool romd, readonly, nonvolatile, unmergeable;
    uint64_t path; /* names the way that led there */
} OracleRange;

typedef struct OracleView {
    OracleRange *range; /* ascending, merged */
    size_t count;
    uint64_t *edge; /* every address where something could change */
    size_t edges;
} OracleView;

/* A row for a new region, ORACLE_NONE if the table is full. Live and enabled. */
int oracle_new(Oracle *o, uint64_t size, bool terminates);
int oracle_new_alias(Oracle *o, int target, uint64_t offset, uint64_t size);
/* Link and unlink; what the library would refuse is the caller's to know. */
void oracle_add(Oracle *o, int parent, int child, uint64_t addr, int priority);
void oracle_del(Oracle *o, int child);
/* Move a region: counts as added anew, unless it stays where it is. */
void oracle_move(Oracle *o, int region, uint64_t addr);

/* Whether links down (children, alias targets) lead from @from to @to. */
bool oracle_reaches(const Oracle *o, int from, int to);
/* Whether links lead from anywhere back to there. */
bool oracle_has_cycle(const Oracle *o);

/*
 * What an address space with this root shows. False if the walk is deeper than
 * ORACLE_DEPTH or takes more than ORACLE_VISITS.
 */
bool oracle_render(const Oracle *o, int root, OracleView *view);
void oracle_view_free(OracleView *view);
/* The range that covers @addr, or the first above it; NULL if none. */
const OracleRange *oracle_view_next(const OracleView *view, uint64_t addr);

/* What of @signal @range shows, in addresses of the view; false if nothing. */
bool oracle_signal_shows(const OracleRange *range, const OracleSignal *signal, uint64_t *addr,
                         uint64_t *length);

/*
 * The region that stands for @root where address spaces share views; ORACLE_NONE if nothing is
 * shown. An alias or a container is skipped if what it shows is all of one region, in the
 * same place and with no flags added; an only child may be smaller than its container.
 */
int oracle_resolve_root(const Oracle *o, int root);

#endif
