/* SPDX-License-Identifier: MIT */
/*
 * saved.h - what snapshots keep of RAM.
 *
 * A machine's snapshots are a stack of levels; each has, for each block, copies of pages and the
 * set of pages that may have changed while it was the newest:
 *
 *      newest   level 2    copies  . B . .      dirty: the marks of the snapshots' client
 *               level 1    copies  A . C .      dirty: {0, 2}
 *      oldest   level 0    copies  A . . .      dirty: {0}
 *                           page   0 1 2 3
 *
 * A page is copied to the newest level before its first write (ram_before_write()), or, where
 * writers go past membus, all pages with anything in them are copied when the level begins
 * (`eager`).
 *
 * Guarantees:
 *  S1  A copy of a page in a level is what the page was when the level began.
 *  S2  A page that is dirty in a level has a copy in it, or is lost. (In an eager level that is
 *      the newest, no copy stands for a page of zeroes.)
 *  S3  Hence what a page was when level k began is its copy in the oldest level from k on that
 *      has one; if none has, it has not changed since.
 *  S4  A page that is marked has been kept: it may be stored to without asking.
 *  S5  Pages in a write window are marked: nobody is told of writes through a pointer in time.
 *  S6  Copies stay in their level after it was restored, being what the pages are. So a page that
 *      is written again after each restore is copied once.
 *  S7  Levels that began before a block was known owe it nothing.
 *  S8  A page is lost if memory was short for its copy, or if it was written past membus before it
 *      was kept. It is dirty without a copy then, so a restore finds it, and is refused.
 */
#ifndef RAM_SAVED_H
#define RAM_SAVED_H

#include "ram/block.h"
#include "ram/page_store.h"

#include <pthread.h>

struct SavedStack;

/* What one level has of one block. */
typedef struct SavedPages {
    struct SavedBlock *block;
    struct SavedLevel *level;
    struct SavedPages *older;       /* of the block */
    struct SavedPages *prev, *next; /* of the level */
    PageTable copies; /* and what is dirty; of the newest level there are marks instead */
} SavedPages;

typedef struct SavedLevel {
    struct SavedLevel *older, *newer;
    uint64_t number; /* ascending */
    bool eager;
    SavedPages *pages;
} SavedLevel;

/* What hangs on a block that snapshots know, for its life. */
typedef struct SavedBlock {
    RAMBlock *block;
    struct SavedStack *stack;
    struct SavedBlock *prev, *next; /* all of the stack */
    DirtyBits *bits;                /* the client's; atomic */
    SavedPages *newest;
    uint64_t since; /* number of the first level that knows it, 0: none does */
    bool touched;   /* has marks, and is in the list of those */
    struct SavedBlock *touched_next;
    /* of the take or restore at work */
    DirtySet taken;
    SavedPages *prepared;
} SavedBlock;

/* A pointer that somebody holds to write to RAM. */
typedef struct RamWindow {
    RAMBlock *block;
    hwaddr offset, len;
    struct RamWindow *prev, *next;
} RamWindow;

typedef struct SavedStack {
    pthread_mutex_t lock; /* guards all here and what hangs on it; nothing is taken inside it */
    SavedLevel *newest;   /* NULL: nothing is kept; atomic */
    uint8_t client;       /* the mask of the snapshots' client; atomic */
    uint64_t last_number;
    SavedBlock *blocks, *touched;
    RamWindow *windows;
    PageStore store;
} SavedStack;

void saved_init(SavedStack *stack);
/* There are no levels, and no blocks. */
void saved_destroy(SavedStack *stack);

/*
 * Let @stack know @block before a level begins, @client being the one whose marks it has. Marks of
 * a block that is new, or that were made while there was no level, are forgotten. Returns 0 or
 * -ENOMEM.
 */
int saved_add_block(SavedStack *stack, RAMBlock *block, unsigned client);
/* @block is about to be freed. */
void saved_drop_block(RAMBlock *block);

/*
 * Keep what is in [offset, offset + len - 1] of @block, which a write is about to change, and
 * mark it. Called by ram_before_write().
 */
void saved_keep(SavedBlock *saved, hwaddr offset, hwaddr len);
/* Marks of @clients may have come to @saved's block. */
void saved_touch(SavedBlock *saved, unsigned clients);

/* Keep what is in the window (block, offset, len), as often as need be, until it is closed. */
void saved_open_window(SavedStack *stack, RamWindow *window);
void saved_close_window(SavedStack *stack, RamWindow *window);

/*
 * Begin @level (zeroed but for `eager`) on top of the others, in three steps: prepare, which
 * can fail (-ENOMEM); what is dirty in the level below can then be asked for with saved_taken();
 * and commit, or cancel. A commit returns -ENOMEM if pages in write windows cannot be kept; then
 * the level ought to be ended.
 */
int saved_take_prepare(SavedStack *stack, SavedLevel *level);
int saved_take_commit(SavedStack *stack, SavedLevel *level);
void saved_take_cancel(SavedStack *stack, SavedLevel *level);

/*
 * Put RAM back to what it was when @level began, in the same steps. Levels above @level end. The
 * pages are marked for all other clients. -ENODATA if a page is lost, or -ENOMEM.
 */
int saved_restore_prepare(SavedStack *stack, const SavedLevel *level);
void saved_restore_commit(SavedStack *stack, SavedLevel *level);
void saved_restore_cancel(SavedStack *stack);

/* The runs of pages of @block that were dirty, between prepare and commit (see dirty_set_next). */
bool saved_taken(const RAMBlock *block, uint64_t *first, uint64_t *last);

/* End @level. The level below can be restored as before. */
void saved_end(SavedStack *stack, SavedLevel *level);

#endif
