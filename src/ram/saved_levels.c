/* SPDX-License-Identifier: MIT */
/*
 * Levels begin and end. saved.h has the guarantees.
 *
 * take      The marks become the set of what was dirty in the level below. A lazy level begins
 *           empty. An eager one on an eager one takes over its copies, new ones being made of
 *           what was dirty, and leaves those in exchange: what is clean is the same in both.
 * end       Copies move to the level below where S3 needs them there: it has none of the page,
 *           and the page was clean in it.
 */
#include "base/error.h"
#include "ram/log.h"
#include "ram/populated.h"
#include "ram/saved_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- sets of pages ------------------------------------------------------------------- */

int saved_take_marks(SavedBlock *saved)
{
    saved->taken.count = 0;
    if (!dirty_bits_may_have_some(saved->bits)) {
        return 0;
    }
    return dirty_bits_take(saved->bits, 0, saved->bits->pages - 1, &saved->taken);
}

void saved_put_marks_back(SavedStack *stack)
{
    for (SavedBlock *saved = stack->touched; saved; saved = saved->touched_next) {
        dirty_bits_put_back(saved->bits, &saved->taken);
        saved->taken.count = 0;
    }
}

/* Marking comes before touching, so nobody is missed. */
void saved_settle_touched(SavedStack *stack)
{
    SavedBlock **link = &stack->touched;

    while (*link) {
        SavedBlock *saved = *link;
        __atomic_store_n(&saved->touched, false, __ATOMIC_SEQ_CST);
        if (dirty_bits_may_have_some(saved->bits)) {
            __atomic_store_n(&saved->touched, true, __ATOMIC_SEQ_CST);
            link = &saved->touched_next;
        } else {
            *link = saved->touched_next;
        }
    }
}

bool saved_taken(const RAMBlock *block, uint64_t *first, uint64_t *last)
{
    return block->saved && dirty_set_next(&block->saved->taken, first, last);
}

int saved_make_zeroes_explicit(SavedBlock *saved, SavedLevel *top)
{
    if (!top->eager || !saved->taken.count) {
        return 0;
    }
    SavedPages *pages = saved_pages_make(saved, top);
    if (!pages) {
        return fail_no_memory("a snapshot");
    }
    FOR_EACH_PAGE(page, &saved->taken)
    {
        const uint8_t **slot = page_table_slot(&pages->copies, page, saved->bits->pages);
        if (!slot) {
            return fail_no_memory("a snapshot");
        }
        if (!*slot) {
            *slot = page_zero;
        }
    }
    return 0;
}

/* ---- take ------------------------------------------------------------------------------ */

static int prepare_copy(SavedBlock *saved, uint64_t page)
{
    const uint8_t **slot = page_table_slot(&saved->prepared->copies, page, saved->bits->pages);

    if (slot && !*slot) {
        *slot = saved_copy_page(saved, page);
    }
    return slot && *slot ? 0 : fail_no_memory("a snapshot's copy of RAM");
}

static int begin_copies(SavedBlock *saved)
{
    saved->prepared = calloc(1, sizeof *saved->prepared);
    if (!saved->prepared) {
        return fail_no_memory("a snapshot");
    }
    saved->prepared->block = saved;
    return 0;
}

/* Of what is dirty in @top, for an eager level on an eager one. */
static int copy_dirty(SavedBlock *saved)
{
    int result = begin_copies(saved);

    FOR_EACH_PAGE(page, &saved->taken)
    {
        if (!result) {
            result = prepare_copy(saved, page);
        }
    }
    return result;
}

/* Of all that there is. */
static int copy_populated(SavedBlock *saved)
{
    PopulatedScan scan;
    hwaddr first, last = 0;
    int result = begin_copies(saved);

    populated_begin(&scan, saved->block);
    scan.length = saved->block->max_length; /* what was cut off may be shown in a level below */
    for (hwaddr at = 0; !result && populated_next(&scan, at, &first, &last); at = last + 1) {
        for (uint64_t page = first >> DIRTY_PAGE_BITS; page <= last >> DIRTY_PAGE_BITS && !result;
             page++) {
            result = prepare_copy(saved, page);
        }
    }
    populated_end(&scan);
    return result;
}

/* Whether the levels that there are, up to @top, owe @saved nothing (S7). */
static bool is_new(const SavedBlock *saved, const SavedLevel *top)
{
    return !top || saved->since == 0 || saved->since > top->number;
}

static int prepare_dirty(SavedBlock *saved, SavedLevel *top, bool eager)
{
    int result = saved_take_marks(saved);

    if (result || is_new(saved, top) || !saved->taken.count) {
        return result;
    }
    SavedPages *pages = saved_pages_make(saved, top);
    if (!pages || !page_table_reserve(&pages->copies, &saved->taken, saved->bits->pages)) {
        return fail_no_memory("a snapshot");
    }
    result = saved_make_zeroes_explicit(saved, top);
    if (!result && top->eager && eager) {
        result = copy_dirty(saved);
    }
    return result;
}

int saved_take_prepare(SavedStack *stack, SavedLevel *level)
{
    SavedLevel *top = stack->newest;
    int result = 0;

    pthread_mutex_lock(&stack->lock);
    for (SavedBlock *saved = stack->touched; saved && !result; saved = saved->touched_next) {
        result = prepare_dirty(saved, top, level->eager);
    }
    for (SavedBlock *saved = stack->blocks; level->eager && saved && !result; saved = saved->next) {
        if (is_new(saved, top) || !top->eager) {
            result = copy_populated(saved);
        }
    }
    pthread_mutex_unlock(&stack->lock);
    if (result) {
        saved_take_cancel(stack, level);
    }
    return result;
}

void saved_unprepare(SavedStack *stack, SavedBlock *saved)
{
    if (saved->prepared) {
        page_table_clear(&saved->prepared->copies, &stack->store);
        free(saved->prepared);
        saved->prepared = NULL;
    }
}

void saved_take_cancel(SavedStack *stack, SavedLevel *level)
{
    (void)level;
    pthread_mutex_lock(&stack->lock);
    saved_put_marks_back(stack);
    for (SavedBlock *saved = stack->blocks; saved; saved = saved->next) {
        saved_unprepare(stack, saved);
    }
    if (!stack->newest) {
        page_store_clear(&stack->store);
    }
    pthread_mutex_unlock(&stack->lock);
}

/* The copies of what was dirty go to the level below, in exchange for the new ones. */
static void exchange_copies(SavedPages *above, SavedPages *below, const DirtySet *set)
{
    uint64_t pages = above->block->bits->pages;

    FOR_EACH_PAGE(page, set)
    {
        const uint8_t **mine = page_table_slot(&above->copies, page, pages);
        const uint8_t **other = page_table_slot(&below->copies, page, pages);
        const uint8_t *copy = *mine;
        *mine = *other;
        *other = copy;
    }
    below->older = above->older;
    above->older = below;
}

/* What was dirty belongs to @top, which is the newest but for @level. */
static void file_dirty(SavedBlock *saved, SavedLevel *top)
{
    SavedPages *pages = saved->newest;

    if (saved->taken.count && !is_new(saved, top)) {
        if (saved->prepared && top->eager) {
            SavedPages *below = saved->prepared;
            exchange_copies(pages, below, &saved->taken);
            saved_pages_link(below, top);
            saved->prepared = NULL;
            pages = below;
        }
        page_table_file(&pages->copies, &saved->taken);
    }
    saved->taken.count = 0;
}

/* All copies of @top become @level's, which begins where it ends. */
static void hand_over(SavedLevel *top, SavedLevel *level)
{
    while (top->pages) {
        SavedPages *pages = top->pages;
        saved_pages_unlink(pages);
        saved_pages_link(pages, level);
    }
}

int saved_take_commit(SavedStack *stack, SavedLevel *level)
{
    SavedLevel *top = stack->newest;

    pthread_mutex_lock(&stack->lock);
    level->number = ++stack->last_number;
    for (SavedBlock *saved = stack->blocks; saved; saved = saved->next) {
        if (is_new(saved, top)) {
            saved->since = level->number;
            while (saved->newest) {
                saved_pages_free(stack, saved->newest);
            }
        }
    }
    if (top && top->eager && level->eager) {
        hand_over(top, level);
    }
    for (SavedBlock *saved = stack->touched; saved; saved = saved->touched_next) {
        file_dirty(saved, top);
    }
    for (SavedBlock *saved = stack->blocks; saved; saved = saved->next) {
        if (saved->prepared) {
            saved->prepared->older = saved->newest;
            saved->newest = saved->prepared;
            saved->prepared = NULL;
            saved_pages_link(saved->newest, level);
        }
    }
    level->older = top;
    if (top) {
        top->newer = level;
    }
    __atomic_store_n(&stack->newest, level, __ATOMIC_RELEASE);
    saved_settle_touched(stack);
    bool kept = saved_keep_windows(stack);
    pthread_mutex_unlock(&stack->lock);
    return kept ? 0 : fail_no_memory("a snapshot's copies of mapped RAM");
}

/* ---- end --------------------------------------------------------------------------------- */

/* What @pages has goes to @into, the level below its own. */
static void merge_pages(SavedStack *stack, SavedPages *pages, SavedLevel *into)
{
    SavedPages *below = pages->older;

    if (!below || below->level != into) {
        saved_pages_unlink(pages);
        saved_pages_link(pages, into);
        return;
    }
    page_table_merge(&below->copies, &pages->copies, &stack->store);
    saved_pages_free(stack, pages);
}

void saved_remove_level(SavedStack *stack, SavedLevel *level)
{
    while (level->pages) {
        if (level->older) {
            merge_pages(stack, level->pages, level->older);
        } else {
            saved_pages_free(stack, level->pages);
        }
    }
    if (level->older) {
        level->older->newer = level->newer;
    }
    if (level->newer) {
        level->newer->older = level->older;
    } else {
        __atomic_store_n(&stack->newest, level->older, __ATOMIC_RELEASE);
    }
    level->older = level->newer = NULL;
}

/* What was dirty in the level that is the newest now is marks again. */
static void unfile_dirty(SavedLevel *level)
{
    DirtyWord word;

    for (SavedPages *pages = level->pages; pages; pages = pages->next) {
        while (page_table_unfile(&pages->copies, &word)) {
            dirty_bits_put_back(pages->block->bits, &(DirtySet){&word, 1, 1});
            saved_list_touched(pages->block);
        }
    }
}

void saved_end(SavedStack *stack, SavedLevel *level)
{
    SavedLevel *older = level->older;
    bool newest = !level->newer;

    pthread_mutex_lock(&stack->lock);
    if (newest && older && level->eager && !older->eager) {
        for (SavedBlock *saved = stack->touched; saved; saved = saved->touched_next) {
            if (!saved_take_marks(saved)) {
                saved_make_zeroes_explicit(saved, level); /* if it cannot: lost */
            }
        }
        saved_put_marks_back(stack);
    }
    saved_remove_level(stack, level);
    if (newest && older) {
        unfile_dirty(older);
    } else if (newest) {
        for (SavedBlock *saved = stack->touched; saved; saved = saved->touched_next) {
            dirty_bits_clear(saved->bits, 0, saved->bits->pages - 1);
        }
        saved_settle_touched(stack);
        page_store_clear(&stack->store);
    }
    pthread_mutex_unlock(&stack->lock);
}
