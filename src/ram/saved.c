/* SPDX-License-Identifier: MIT */
/* Keeping pages: what happens before a write, and who may write without being seen. */
#include "ram/saved.h"

#include "base/error.h"
#include "ram/log.h"
#include "ram/saved_parts.h"

#include <stdlib.h>
#include <string.h>

void saved_init(SavedStack *stack)
{
    *stack = (SavedStack){0};
    pthread_mutex_init(&stack->lock, NULL);
}

void saved_destroy(SavedStack *stack)
{
    page_store_clear(&stack->store);
    pthread_mutex_destroy(&stack->lock);
}

/* ---- blocks ------------------------------------------------------------------------- */

int saved_add_block(SavedStack *stack, RAMBlock *block, unsigned client)
{
    DirtyBits *bits = ram_block_bits(block, client);
    SavedBlock *saved = block->saved;

    __atomic_store_n(&stack->client, (uint8_t)(1U << client), __ATOMIC_RELAXED);
    if (saved) {
        pthread_mutex_lock(&stack->lock);
        if (!stack->newest) { /* nobody has kept anything for these marks */
            dirty_bits_clear(bits, 0, bits->pages - 1);
        }
        __atomic_store_n(&saved->bits, bits, __ATOMIC_RELEASE);
        pthread_mutex_unlock(&stack->lock);
        return 0;
    }
    saved = calloc(1, sizeof *saved);
    if (!saved) {
        return fail_no_memory("a snapshot");
    }
    dirty_bits_clear(bits, 0, bits->pages - 1);
    saved->block = block;
    saved->stack = stack;
    saved->bits = bits;
    pthread_mutex_lock(&stack->lock);
    saved->next = stack->blocks;
    if (saved->next) {
        saved->next->prev = saved;
    }
    stack->blocks = saved;
    __atomic_store_n(&block->saved, saved, __ATOMIC_RELEASE); /* pairs: ram_before_write() */
    pthread_mutex_unlock(&stack->lock);
    return 0;
}

void saved_drop_block(RAMBlock *block)
{
    SavedBlock *saved = block->saved, **link;

    if (!saved) {
        return;
    }
    SavedStack *stack = saved->stack;
    pthread_mutex_lock(&stack->lock);
    while (saved->newest) {
        saved_pages_free(stack, saved->newest);
    }
    if (saved->touched) {
        for (link = &stack->touched; *link != saved; link = &(*link)->touched_next) {
        }
        *link = saved->touched_next;
    }
    *(saved->prev ? &saved->prev->next : &stack->blocks) = saved->next;
    if (saved->next) {
        saved->next->prev = saved->prev;
    }
    pthread_mutex_unlock(&stack->lock);
    saved_unprepare(stack, saved);
    dirty_set_free(&saved->taken);
    free(saved);
}

/* ---- levels of a block ---------------------------------------------------------------- */

SavedPages *saved_pages_make(SavedBlock *saved, SavedLevel *level)
{
    SavedPages *pages = saved->newest;

    if (pages && pages->level == level) {
        return pages;
    }
    pages = calloc(1, sizeof *pages);
    if (pages) {
        pages->block = saved;
        pages->older = saved->newest;
        saved->newest = pages;
        saved_pages_link(pages, level);
    }
    return pages;
}

void saved_pages_link(SavedPages *pages, SavedLevel *level)
{
    pages->level = level;
    pages->prev = NULL;
    pages->next = level->pages;
    if (pages->next) {
        pages->next->prev = pages;
    }
    level->pages = pages;
}

void saved_pages_unlink(SavedPages *pages)
{
    *(pages->prev ? &pages->prev->next : &pages->level->pages) = pages->next;
    if (pages->next) {
        pages->next->prev = pages->prev;
    }
}

void saved_pages_free(SavedStack *stack, SavedPages *pages)
{
    SavedPages **link = &pages->block->newest;

    while (*link != pages) {
        link = &(*link)->older;
    }
    *link = pages->older;
    saved_pages_unlink(pages);
    page_table_clear(&pages->copies, &stack->store);
    free(pages);
}

const uint8_t *saved_copy_page(SavedBlock *saved, uint64_t page)
{
    const uint8_t *now = saved->block->host + (page << DIRTY_PAGE_BITS);
    size_t length = saved_page_length(saved->block, page);

    if (memcmp(now, page_zero, length) == 0) {
        return page_zero;
    }
    uint8_t *copy = page_store_get(&saved->stack->store);
    return copy ? memcpy(copy, now, length) : NULL;
}

/* ---- before a write --------------------------------------------------------------------- */

/*
 * Have a copy of @page, which is not marked, in @top. If memory is short there is none, and the
 * page is lost once it is marked (S8). Context: stack locked.
 */
static bool keep_page(SavedBlock *saved, SavedLevel *top, uint64_t page)
{
    SavedPages *pages = top->eager ? NULL : saved_pages_make(saved, top);
    const uint8_t **slot = pages ? page_table_slot(&pages->copies, page, saved->bits->pages) : NULL;

    if (slot && !*slot) {
        *slot = saved_copy_page(saved, page);
    }
    return top->eager || (slot && *slot);
}

void saved_list_touched(SavedBlock *saved)
{
    if (!saved->touched) {
        saved->touched_next = saved->stack->touched;
        saved->stack->touched = saved;
        __atomic_store_n(&saved->touched, true, __ATOMIC_SEQ_CST);
    }
}

void saved_touch(SavedBlock *saved, unsigned clients)
{
    SavedStack *stack = saved->stack;

    if ((clients & __atomic_load_n(&stack->client, __ATOMIC_RELAXED)) &&
        !__atomic_load_n(&saved->touched, __ATOMIC_SEQ_CST) &&
        __atomic_load_n(&stack->newest, __ATOMIC_RELAXED)) {
        pthread_mutex_lock(&stack->lock);
        saved_list_touched(saved);
        pthread_mutex_unlock(&stack->lock);
    }
}

bool saved_keep_pages(SavedBlock *saved, uint64_t first, uint64_t last)
{
    SavedLevel *top = saved->stack->newest;
    bool kept = true;

    for (uint64_t page = first; top && page <= last; page++) {
        if (!dirty_bits_test(saved->bits, page)) {
            kept &= keep_page(saved, top, page);
            dirty_bits_mark(saved->bits, page, page);
            saved_list_touched(saved);
        }
    }
    return kept;
}

static bool all_marked(const DirtyBits *bits, uint64_t first, uint64_t last)
{
    while (first <= last && dirty_bits_test(bits, first)) {
        first++;
    }
    return first > last;
}

void saved_keep(SavedBlock *saved, hwaddr offset, hwaddr len)
{
    SavedStack *stack = saved->stack;
    uint64_t first, last;

    if (!__atomic_load_n(&stack->newest, __ATOMIC_ACQUIRE) ||
        !dirty_pages_of(offset, len, &first, &last) ||
        all_marked(__atomic_load_n(&saved->bits, __ATOMIC_ACQUIRE), first, last)) {
        return;
    }
    pthread_mutex_lock(&stack->lock);
    saved_keep_pages(saved, first, last);
    pthread_mutex_unlock(&stack->lock);
}

/* ---- windows ------------------------------------------------------------------------------ */

void saved_open_window(SavedStack *stack, RamWindow *window)
{
    pthread_mutex_lock(&stack->lock);
    window->prev = NULL;
    window->next = stack->windows;
    if (window->next) {
        window->next->prev = window;
    }
    stack->windows = window;
    pthread_mutex_unlock(&stack->lock);
    ram_before_write(window->block, window->offset, window->len);
}

void saved_close_window(SavedStack *stack, RamWindow *window)
{
    pthread_mutex_lock(&stack->lock);
    *(window->prev ? &window->prev->next : &stack->windows) = window->next;
    if (window->next) {
        window->next->prev = window->prev;
    }
    pthread_mutex_unlock(&stack->lock);
}

bool saved_keep_windows(SavedStack *stack)
{
    bool kept = true;

    for (RamWindow *window = stack->windows; window; window = window->next) {
        SavedBlock *saved = window->block->saved;
        uint64_t first, last;
        if (saved && dirty_pages_of(window->offset, window->len, &first, &last)) {
            kept &= saved_keep_pages(saved, first, last);
        }
    }
    return kept;
}
