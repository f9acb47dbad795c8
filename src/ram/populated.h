/* SPDX-License-Identifier: MIT */
/* populated.h - which parts of a RAM block may hold anything but zeroes. */
#ifndef RAM_POPULATED_H
#define RAM_POPULATED_H

#include "ram/block.h"

#define POPULATED_RUNS 64

typedef struct PopulatedRun {
    hwaddr first, last; /* offsets in the block */
} PopulatedRun;

/* A pass over one block. For one thread. */
typedef struct PopulatedScan {
    const uint8_t *host;
    hwaddr length; /* bytes */
    size_t page;
    hwaddr fd_offset;
    int file;    /* an open file of our own, to seek in; -1: not asked */
    int pagemap; /* -1: not asked */
    bool all;    /* nobody can tell: everything */

    /* What the page map said of [batch_first, batch_end). */
    PopulatedRun runs[POPULATED_RUNS];
    unsigned nr_runs;
    hwaddr batch_first, batch_end;
} PopulatedScan;

/*
 * Begin a pass over all of @block, which must stay: also over what was cut off, or is not the
 * guest's yet, since views may show it. What is written behind the pass's
 * back may or may not be seen.
 */
void populated_begin(PopulatedScan *scan, const RAMBlock *block);

/*
 * The first run of bytes at or after @offset that may hold anything but zeroes, as [*first,
 * *last], whole pages but for the ends; false: none. Everything outside of the runs reads as
 * zeroes without being touched. Two runs may adjoin.
 */
bool populated_next(PopulatedScan *scan, hwaddr offset, hwaddr *first, hwaddr *last);
void populated_end(PopulatedScan *scan);

#endif
