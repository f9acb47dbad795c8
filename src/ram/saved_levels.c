/* SPDX-License-Identifier: MIT */
/*
 * Levels begin, are restored and end. saved.h has the guarantees.
 *
 * take      The marks become the set of what was dirty in the level below. A lazy level begins
 *           empty. An eager one on an eager one takes over its copies, new ones being made of
 *           what was dirty, and leaves those in exchange: what is clean is the same in both.
 * end       Copies move to the level below where S3 needs them there: it has none of the page,
 *           and the page was clean in it.
 * restore   The levels above end, one after the other, until the level is the newest. Then it
 *           has a copy of all that is dirty in it (S2), and those are copied back.
 */
#include "base/error.h"
#include "ram/log.h"
#include "ram/populated.h"
#include "ram/saved_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- sets of pages ------------------------------------------------------------------- */

/* Visit the pages of @set: `page` counts through them. */
#define FOR_EACH_PAGE(page, set)                                                                   \
    for (size_t word_ = 0; word_ < (set)->count; word_++)                                          \
        for (uint64_t bits_ = (set)->words[word_].bits, page;                                      \
             bits_ &&                                                                              \
             (page = 64 * (set)->words[word_].index + (uint64_t)__builtin_ctzll(bits_), true);     \
             bits_ &= bits_ - 1)

static bool is_clean(const void *opaque, uint64_t page)
{
    const SavedPages *pages = opaque;

    for (const SavedDirty *part = pages->dirty; part; part = part->next) {
        if (dirty_set_any(&part->set, page, page)) {
            return false;
        }
    }
    return true;
}

/* Marks move to `taken`. On an error they are where they were. */
static int take_marks(SavedBlock *saved)
{
    saved->taken.count = 0;
    if (!dirty_bits_may_have_some(saved->bits)) {
        return 0;
    }
    return dirty_bits_take(saved->bits, 0, saved->bits->pages - 1, &saved->taken);
}

static void put_marks_back(SavedStack *stack)
{
    for (SavedBlock *saved = stack->touched; saved; saved = saved->touched_next) {
        dirty_bits_put_back(saved->bits, &saved->taken);
        saved->taken.count = 0;
    }
}

/* Who has no marks is not listed. Marking comes before touching, so nobody is missed. */
static void settle_touched(SavedStack *stack)
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

/* In an eager level that was the newest: what was dirty and has no copy was zero (S2). */
static int make_zeroes_explicit(SavedBlock *saved, SavedLevel *top)
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
    int result = take_marks(saved);

    if (result || is_new(saved, top) || !saved->taken.count) {
        return result;
    }
    saved->taken_part = calloc(1, sizeof *saved->taken_part);
    if (!saved->taken_part || !saved_pages_make(saved, top)) {
        return fail_no_memory("a snapshot");
    }
    result = make_zeroes_explicit(saved, top);
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
    free(saved->taken_part);
    saved->taken_part = NULL;
}

void saved_take_cancel(SavedStack *stack, SavedLevel *level)
{
    (void)level;
    pthread_mutex_lock(&stack->lock);
    put_marks_back(stack);
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
    SavedDirty *part = saved->taken_part;
    SavedPages *pages = saved->newest;

    if (!part) { /* nothing was dirty, or there was no level */
        saved->taken.count = 0;
        return;
    }
    if (saved->prepared && top->eager) {
        SavedPages *below = saved->prepared;
        exchange_copies(pages, below, &saved->taken);
        saved_pages_link(below, top);
        saved->prepared = NULL;
        pages = below;
    }
    part->set = saved->taken;
    part->next = pages->dirty;
    pages->dirty = part;
    saved->taken = (DirtySet){0};
    saved->taken_part = NULL;
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
    settle_touched(stack);
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
    page_table_merge(&below->copies, &pages->copies, &stack->store, is_clean, below);
    SavedDirty **end = &below->dirty;
    while (*end) {
        end = &(*end)->next;
    }
    *end = pages->dirty;
    pages->dirty = NULL;
    saved_pages_free(stack, pages);
}

static void remove_level(SavedStack *stack, SavedLevel *level)
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

/* Sets of the level that is the newest now are marks again. */
static void unfile_dirty(SavedLevel *level)
{
    for (SavedPages *pages = level->pages; pages; pages = pages->next) {
        while (pages->dirty) {
            dirty_bits_put_back(pages->block->bits, &pages->dirty->set);
            saved_dirty_free(&pages->dirty);
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
            if (!take_marks(saved)) {
                make_zeroes_explicit(saved, level); /* if it cannot: lost */
            }
        }
        put_marks_back(stack);
    }
    remove_level(stack, level);
    if (newest && older) {
        unfile_dirty(older);
    } else if (newest) {
        for (SavedBlock *saved = stack->touched; saved; saved = saved->touched_next) {
            dirty_bits_clear(saved->bits, 0, saved->bits->pages - 1);
        }
        settle_touched(stack);
        page_store_clear(&stack->store);
    }
    pthread_mutex_unlock(&stack->lock);
}

/* ---- restore -------------------------------------------------------------------------------- */

/* Whether there is a copy of each page of @set, dirty in the level @at, since @level. */
static int check_copies(const SavedBlock *saved, const SavedLevel *level, const SavedLevel *at,
                        const DirtySet *set)
{
    const SavedPages *newest = saved->newest;

    while (newest && newest->level->number > at->number) {
        newest = newest->older;
    }
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
                        page << DIRTY_PAGE_BITS, saved->block->idstr);
        }
    }
    return 0;
}

static int prepare_block(SavedBlock *saved, SavedLevel *top, const SavedLevel *level)
{
    int result = take_marks(saved);

    if (!result) {
        result = make_zeroes_explicit(saved, top);
    }
    return result ? result : check_copies(saved, level, top, &saved->taken);
}

static int check_level(const SavedLevel *level, const SavedLevel *at)
{
    int result = 0;

    for (SavedPages *pages = at->pages; pages && !result; pages = pages->next) {
        for (SavedDirty *part = pages->dirty; part && !result; part = part->next) {
            result = check_copies(pages->block, level, at, &part->set);
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
    put_marks_back(stack);
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
        remove_level(stack, stack->newest);
    }
    for (SavedPages *pages = level->pages; pages; pages = pages->next) {
        while (pages->dirty) {
            copy_back(pages, &pages->dirty->set, other_clients(pages->block));
            saved_dirty_free(&pages->dirty);
        }
    }
    for (SavedBlock *saved = stack->touched; saved; saved = saved->touched_next) {
        if (saved->taken.count) {
            copy_back(saved->newest, &saved->taken, other_clients(saved));
            saved->taken.count = 0;
        }
    }
    settle_touched(stack);
    saved_keep_windows(stack);
    pthread_mutex_unlock(&stack->lock);
}
