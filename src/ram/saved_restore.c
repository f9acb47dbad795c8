/* SPDX-License-Identifier: MIT */
/*
 * A level is restored: those above it end, one after the other, until it is the newest. Then it
 * has a copy of all that is dirty in it (S2 in saved.h), and those are copied back. That there is
 * a copy of everything is looked at before anything is changed.
 */
#include "base/error.h"
#include "ram/log.h"
#include "ram/saved_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Whether each page of @set, dirty in the level of @newest, has a copy there or since @level. */
static int check_copies(const RAMBlock *block, const SavedPages *newest, const SavedLevel *level,
                        const DirtySet *set)
{
    FOR_EACH_PAGE(page, set)
    {
        const SavedPages *pages = newest;
        while (pages && pages->level->number >= level->number &&
               !page_table_find(&pages->copies, page)) {
            pages = pages->older;
        }
        if (!pages || pages->level->number < level->number) {
            return fail(ENODATA,
                        "the snapshot cannot be restored: the page at 0x%" PRIx64
                        " of RAM '%s' was changed and not kept (memory was short, or it was "
                        "written past membus)",
                        page << DIRTY_PAGE_BITS, block->idstr);
        }
    }
    return 0;
}

static int prepare_block(SavedBlock *saved, SavedLevel *top, const SavedLevel *level)
{
    int result = saved_take_marks(saved);

    if (!result) {
        result = saved_make_zeroes_explicit(saved, top);
    }
    return result ? result : check_copies(saved->block, saved->newest, level, &saved->taken);
}

static int check_leaf(const SavedPages *pages, const SavedLevel *level, const PageLeaf *leaf)
{
    int result = 0;

    for (unsigned i = 0; i < PAGE_LEAF_WORDS && !result; i++) {
        DirtyWord word = {PAGE_LEAF_WORDS * leaf->index + i, leaf->dirty[i]};
        result = check_copies(pages->block->block, pages, level, &(DirtySet){&word, 1, 1});
    }
    return result;
}

static int check_level(const SavedLevel *level, const SavedLevel *at)
{
    int result = 0;

    for (SavedPages *pages = at->pages; pages && !result; pages = pages->next) {
        for (PageLeaf *leaf = pages->copies.dirty; leaf && !result; leaf = leaf->dirty_next) {
            result = check_leaf(pages, level, leaf);
        }
    }
    return result;
}

int saved_restore_prepare(SavedStack *stack, const SavedLevel *level)
{
    SavedLevel *top = stack->newest;
    int result = 0;

    pthread_mutex_lock(&stack->lock);
    for (SavedBlock *saved = stack->touched; saved && !result; saved = saved->touched_next) {
        result = prepare_block(saved, top, level);
    }
    for (SavedLevel *at = top; at != level && !result;) {
        at = at->older;
        result = check_level(level, at);
    }
    pthread_mutex_unlock(&stack->lock);
    if (result) {
        saved_restore_cancel(stack);
    }
    return result;
}

void saved_restore_cancel(SavedStack *stack)
{
    pthread_mutex_lock(&stack->lock);
    saved_put_marks_back(stack);
    pthread_mutex_unlock(&stack->lock);
}

static void copy_back(const SavedPages *pages, const DirtySet *set, unsigned others)
{
    const RAMBlock *block = pages->block->block;

    FOR_EACH_PAGE(page, set)
    {
        const uint8_t *copy = page_table_find(&pages->copies, page);
        if (copy) { /* as checked; a writer that did not stop may have come between */
            memcpy(block->host + (page << DIRTY_PAGE_BITS), copy, saved_page_length(block, page));
        }
    }
    uint64_t first, last;
    for (first = 0; others && dirty_set_next(set, &first, &last); first = last + 1) {
        ram_mark(block, others, first << DIRTY_PAGE_BITS, (last - first + 1) << DIRTY_PAGE_BITS);
    }
}

static unsigned other_clients(const SavedBlock *saved)
{
    return __atomic_load_n(&saved->block->log_mask, __ATOMIC_RELAXED) &
           ~(unsigned)saved->stack->client;
}

void saved_restore_commit(SavedStack *stack, SavedLevel *level)
{
    pthread_mutex_lock(&stack->lock);
    while (stack->newest != level) {
        saved_remove_level(stack, stack->newest);
    }
    for (SavedPages *pages = level->pages; pages; pages = pages->next) {
        DirtyWord word;
        while (page_table_unfile(&pages->copies, &word)) {
            copy_back(pages, &(DirtySet){&word, 1, 1}, other_clients(pages->block));
        }
    }
    for (SavedBlock *saved = stack->touched; saved; saved = saved->touched_next) {
        if (saved->taken.count) {
            copy_back(saved->newest, &saved->taken, other_clients(saved));
            saved->taken.count = 0;
        }
    }
    saved_settle_touched(stack);
    saved_keep_windows(stack);
    pthread_mutex_unlock(&stack->lock);
}
