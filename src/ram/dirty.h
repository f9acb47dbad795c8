/* SPDX-License-Identifier: MIT */
/*
 * dirty.h - which pages of a block one client has yet to see.
 *
 *      level 2                 1                        a bit for each word of level 1
 *      level 1      ...0100 0001 ...                    a bit for each word of level 0
 *      level 0  0000 0000 | 0110 0000 | 0000 0001       a bit for each page
 *
 * A bit for each page, and above it summaries up to a single word, so that the time to take
 * what is dirty is that of what is dirty, not that of the block.
 *
 * Marking looks before it writes: a page that is dirty already costs a load, and threads that
 * mark pages of one word share its cache line. Marking goes from the bottom up, taking from the
 * top down, each step one atomic exchange of a word, so no bit is lost or taken twice: whoever
 * makes a word nonzero also sets its bit in the summary, and a take that has cleared that bit
 * looks at the word afterwards.
 *
 * Guarantees:
 *  D1  A mark whose call has returned is in the next take, or if another thread was marking
 *      the same page at that moment and has yet to reach the summary, in the one after.
 *  D2  What a writer stored before sync_fence_light() and a mark is visible to who took the
 *      mark and then called sync_fence_heavy(), also where marking only looked.
 *  D3  Taking what is clean writes nothing.
 */
#ifndef RAM_DIRTY_H
#define RAM_DIRTY_H

#include <membus/ram.h>

#define DIRTY_PAGE_BITS 12 /* of RAM_PAGE_SIZE */
#define DIRTY_MAX_LEVELS 9 /* 64^9 pages are more than 2^52 */

typedef struct DirtyBits {
    uint64_t pages;
    unsigned levels;
    uint64_t *level[DIRTY_MAX_LEVELS]; /* atomic words; the last level is one word */
} DirtyBits;

/* Pages that were taken: words of the bitmap that were not zero, ascending. */
typedef struct DirtyWord {
    uint64_t index; /* pages 64 * index ... */
    uint64_t bits;
} DirtyWord;

typedef struct DirtySet {
    DirtyWord *words;
    size_t count, max;
} DirtySet;

/* For @pages pages, all clean; NULL if memory is short. Pages not marked take no memory. */
DirtyBits *dirty_bits_create(uint64_t pages);
/* NULL is fine. */
void dirty_bits_destroy(DirtyBits *bits);

/* Mark pages @first to @last, which exist. Context: any thread. */
void dirty_bits_mark(DirtyBits *bits, uint64_t first, uint64_t last);

/* Mark what a little-endian bitmap of @pages bits says, its bit 0 being page @first. */
void dirty_bits_merge(DirtyBits *bits, uint64_t first, const void *bitmap, uint64_t pages);

/* Whether a page of @first to @last is marked. */
bool dirty_bits_any(const DirtyBits *bits, uint64_t first, uint64_t last);

/* False if surely nothing is marked, at the price of one load. */
static inline bool dirty_bits_may_have_some(const DirtyBits *bits)
{
    return __atomic_load_n(bits->level[bits->levels - 1], __ATOMIC_SEQ_CST) != 0;
}

static inline bool dirty_bits_test(const DirtyBits *bits, uint64_t page)
{
    return __atomic_load_n(&bits->level[0][page / 64], __ATOMIC_ACQUIRE) >> (page % 64) & 1;
}

/*
 * Move the marks of pages @first to @last to the end of @set. Returns 0, or -ENOMEM: then what
 * was taken has been put back. The pages can be read after a sync_fence_heavy().
 * Context: any thread; two takes of one range share what is there between them.
 */
int dirty_bits_take(DirtyBits *bits, uint64_t first, uint64_t last, DirtySet *set);

/* Forget the marks of pages @first to @last. */
void dirty_bits_clear(DirtyBits *bits, uint64_t first, uint64_t last);

/* Mark what is in @set again. Cannot fail. */
void dirty_bits_put_back(DirtyBits *bits, const DirtySet *set);

uint64_t dirty_set_pages(const DirtySet *set);
bool dirty_set_any(const DirtySet *set, uint64_t first, uint64_t last);
/* The next run of pages at @*first or above; false if there is none. */
bool dirty_set_next(const DirtySet *set, uint64_t *first, uint64_t *last);
void dirty_set_free(DirtySet *set);

#endif
