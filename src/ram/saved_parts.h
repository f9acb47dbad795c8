/* SPDX-License-Identifier: MIT */
/* saved_parts.h - what saved.c and saved_levels.c share. Context of all: stack locked. */
#ifndef RAM_SAVED_PARTS_H
#define RAM_SAVED_PARTS_H

#include "ram/saved.h"

typedef struct SavedDirty {
    struct SavedDirty *next;
    DirtySet set;
} SavedDirty;

void saved_dirty_free(SavedDirty **first);

/* What @level, which is the newest that @saved can have, has of it; made if need be, or NULL. */
SavedPages *saved_pages_make(SavedBlock *saved, SavedLevel *level);
void saved_pages_link(SavedPages *pages, SavedLevel *level);
void saved_pages_unlink(SavedPages *pages);
void saved_pages_free(SavedStack *stack, SavedPages *pages);

/* Give back what a take had prepared for @saved. */
void saved_unprepare(SavedStack *stack, SavedBlock *saved);

/* A copy of a page as it is now; NULL if memory is short. */
uint8_t *saved_copy_page(SavedBlock *saved, uint64_t page);

/* @saved has marks. */
void saved_list_touched(SavedBlock *saved);

/* Keep and mark; whether none was lost by it. */
bool saved_keep_pages(SavedBlock *saved, uint64_t first, uint64_t last);
bool saved_keep_windows(SavedStack *stack);

/* Bytes: the last page of the program's own memory may be cut short. */
static inline size_t saved_page_length(const RAMBlock *block, uint64_t page)
{
    hwaddr left = block->max_length - (page << DIRTY_PAGE_BITS);

    return left < DIRTY_PAGE_SIZE ? (size_t)left : (size_t)DIRTY_PAGE_SIZE;
}

#endif
