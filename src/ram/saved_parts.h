/* SPDX-License-Identifier: MIT */
/* saved_parts.h - what saved.c, saved_levels.c and saved_restore.c share; the stack is locked. */
#ifndef RAM_SAVED_PARTS_H
#define RAM_SAVED_PARTS_H

#include "ram/saved.h"

/* What @level, which is the newest that @saved can have, has of it; made if need be, or NULL. */
SavedPages *saved_pages_make(SavedBlock *saved, SavedLevel *level);
void saved_pages_link(SavedPages *pages, SavedLevel *level);
void saved_pages_unlink(SavedPages *pages);
void saved_pages_free(SavedStack *stack, SavedPages *pages);

/* Give back what a take had prepared for @saved. */
void saved_unprepare(SavedStack *stack, SavedBlock *saved);

/* A copy of a page as it is now; page_zero if it is zero; NULL if memory is short. */
const uint8_t *saved_copy_page(SavedBlock *saved, uint64_t page);

/* @saved has marks. */
void saved_list_touched(SavedBlock *saved);

/* Keep and mark; whether none was lost by it. */
bool saved_keep_pages(SavedBlock *saved, uint64_t first, uint64_t last);
bool saved_keep_windows(SavedStack *stack);

/* Visit the pages of @set: `page` counts through them. */
#define FOR_EACH_PAGE(page, set)                                                                   \
    for (size_t word_ = 0; word_ < (set)->count; word_++)                                          \
        for (uint64_t bits_ = (set)->words[word_].bits, page;                                      \
             bits_ &&                                                                              \
             (page = 64 * (set)->words[word_].index + (uint64_t)__builtin_ctzll(bits_), true);     \
             bits_ &= bits_ - 1)

/* Marks move to `taken`. Returns 0, or -ENOMEM and they are where they were. */
int saved_take_marks(SavedBlock *saved);
/* What was taken of all blocks goes back. */
void saved_put_marks_back(SavedStack *stack);
/* Who has no marks is not in the list of touched blocks any more. */
void saved_settle_touched(SavedStack *stack);

/* In an eager level that was the newest, what was dirty and has no copy was zero (S2). */
int saved_make_zeroes_explicit(SavedBlock *saved, SavedLevel *top);

/* Take @level out of the stack; what the one below needs of it goes there. */
void saved_remove_level(SavedStack *stack, SavedLevel *level);

/* Bytes: the last page of the program's own memory may be cut short. */
static inline size_t saved_page_length(const RAMBlock *block, uint64_t page)
{
    hwaddr left = block->max_length - (page << DIRTY_PAGE_BITS);

    return left < RAM_PAGE_SIZE ? (size_t)left : (size_t)RAM_PAGE_SIZE;
}

#endif
