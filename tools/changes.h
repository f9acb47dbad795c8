/* SPDX-License-Identifier: MIT */
/*
 * changes.h - what moved, appeared, vanished or changed from one list of ranges to another.
 *
 * The lists are compared from one border of either to the next. Pieces that differ in the same way
 * and continue each other are one change. What vanished here and appeared there, the same part of
 * a region of the same name, moved.
 */
#ifndef TOOLS_CHANGES_H
#define TOOLS_CHANGES_H

#include "shown.h"

typedef enum Kind { APPEARED, VANISHED, CHANGED, MOVED, NR_KINDS } Kind;

extern const char *const kind_names[NR_KINDS];

typedef struct Change {
    Kind kind;
    MapTraceRange before, after; /* name NULL: none */
    bool dropped;                /* part of a move that is told elsewhere */
} Change;

typedef struct Changes {
    Change *items;
    size_t count, max;
    bool failed; /* memory was short */
} Changes;

/* To be released with free(changes.items). */
Changes compare_ranges(const MapTraceRange *a, size_t nr_a, const MapTraceRange *b, size_t nr_b);

/* Those that were not dropped, a line each (or two), or as an array. */
void print_changes(const Options *options, const Changes *changes);
json_t *json_changes(const Changes *changes);

#endif
