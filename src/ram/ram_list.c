/* SPDX-License-Identifier: MIT */
/*
 * The blocks of a machine, in four orders, each a skip list (sync/skiplist.c) that readers
 * search while blocks come and go:
 *
 *      by size     largest first, equal ones in the order of making
 *      by host     where the program gave the same memory to several blocks they overlap. Each
 *                  block knows which of those up to it ends last: if any block has an address,
 *                  that one of the last block that starts at or before the address has.
 *      by offset   in the RAM address space; they do not overlap
 *      by name     by its hash
 *
 * The RAM address space is given out by best fit: the smallest gap that is large enough, the
 * lowest of equal ones, else the end. Each block owns the gap that follows it:
 *
 *      0            A          A's gap     B     C            C's gap: the end, not indexed
 *      ├ first_gap ─┼──────────┼───────────┼─────┼────────────┼─ ─ ─
 *
 * A new block stands at the beginning of a gap, so that one choice makes offset and neighbours
 * known.
 */
#include "ram/ram_list.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Blocks start at multiples of 64 pages, so that no two share a word of a page bitmap. */
#define BLOCK_ALIGN (64 * RAM_PAGE_SIZE)
/* Below RAM_ADDR_INVALID. */
#define SPACE_END (UINT64_MAX & ~(BLOCK_ALIGN - 1))

static RAMBlock *block_of(SkipNode *node, enum RamOrder order)
{
    return node ? container_of(node - order, RAMBlock, in_order) : NULL;
}

static RAMBlock *before(const RAMBlock *block, enum RamOrder order)
{
    return block_of(skiplist_before(&block->list->orders[order], &block->in_order[order]), order);
}

static RAMBlock *after(RAMBlock *block, enum RamOrder order)
{
    return block_of(skiplist_after(&block->list->orders[order], &block->in_order[order]), order);
}

/* ---- the RAM address space --------------------------------------------------------- */

/* The gap at @gap->first now reaches up to @end. */
static void set_gap(RamList *list, RamGap *gap, ram_addr_t end)
{
    if (gap->by_size.key) {
        skiplist_remove(&list->gaps, &gap->by_size);
    }
    gap->by_size.key = end - gap->first;
    gap->by_size.tie = gap->first;
    if (gap->by_size.key) {
        skiplist_insert(&list->gaps, &gap->by_size);
    }
}

static RamGap *gap_before(const RAMBlock *block)
{
    RAMBlock *neighbour = before(block, RAM_BY_OFFSET);

    return neighbour ? &neighbour->gap : &block->list->first_gap;
}

/* The gap for @length bytes, a multiple of BLOCK_ALIGN; NULL: there is none. */
static RamGap *best_gap(RamList *list, hwaddr length)
{
    SkipNode *node = skiplist_first_at_least(&list->gaps, length);

    if (node) {
        return container_of(node, RamGap, by_size);
    }
    RAMBlock *last =
        block_of(skiplist_last_at_most(&list->orders[RAM_BY_OFFSET], UINT64_MAX), RAM_BY_OFFSET);
    RamGap *end = last ? &last->gap : &list->first_gap;
    return length <= SPACE_END - end->first ? end : NULL;
}

static int place(RAMBlock *block, const char *name)
{
    hwaddr length = block->max_length;
    RamGap *gap = NULL;

    if (length <= SPACE_END) {
        length = (length + BLOCK_ALIGN - 1) & ~(BLOCK_ALIGN - 1);
        gap = best_gap(block->list, length);
    }
    if (!gap) {
        return fail(ENOSPC,
                    "RAM '%s': no 0x%" PRIx64 " bytes in a row are free in the space of RAM "
                    "addresses",
                    name, block->max_length);
    }
    block->offset = gap->first;
    block->gap.first = gap->first + length;
    return 0;
}

static void take_place(RAMBlock *block)
{
    RamGap *gap = gap_before(block);
    RAMBlock *next = after(block, RAM_BY_OFFSET);

    set_gap(block->list, gap, gap->first);
    set_gap(block->list, &block->gap, next ? next->offset : block->gap.first);
}

static void leave_place(RAMBlock *block)
{
    RamGap *gap = gap_before(block);
    RAMBlock *next = after(block, RAM_BY_OFFSET);

    set_gap(block->list, &block->gap, block->gap.first);
    set_gap(block->list, gap, next ? next->offset : gap->first);
}

/* ---- host addresses ------------------------------------------------------------------ */

static uintptr_t host_last(const RAMBlock *block)
{
    return (uintptr_t)block->host + (uintptr_t)(block->max_length - 1);
}

static RAMBlock *further(RAMBlock *a, RAMBlock *b)
{
    return a && host_last(a) >= host_last(b) ? a : b;
}

/* Readers pair with the release: the block behind the pointer is complete. */
static void set_furthest(RAMBlock *block, RAMBlock *furthest)
{
    __atomic_store_n(&block->furthest, furthest, __ATOMIC_RELEASE);
}

/* @block, in the list already, may be the furthest of those after it. */
static void reach_over(RAMBlock *block)
{
    for (RAMBlock *next = after(block, RAM_BY_HOST);
         next && host_last(next->furthest) < host_last(block); next = after(next, RAM_BY_HOST)) {
        set_furthest(next, block);
    }
}

/* @block, in the list still, is nobody's furthest any more. */
static void reach_no_more(RAMBlock *block)
{
    RAMBlock *previous = before(block, RAM_BY_HOST);
    RAMBlock *furthest = previous ? previous->furthest : NULL;

    for (RAMBlock *next = after(block, RAM_BY_HOST); next && next->furthest == block;
         next = after(next, RAM_BY_HOST)) {
        furthest = further(furthest, next);
        set_furthest(next, furthest);
    }
}

/* ---- coming and going ----------------------------------------------------------------- */

static uint64_t hash(const char *text, size_t length)
{
    uint64_t h = 0xcbf29ce484222325U; /* FNV-1a */

    for (size_t i = 0; i < length; i++) {
        h = (h ^ (uint8_t)text[i]) * 0x100000001b3U;
    }
    return h;
}

static void count_change(RamList *list)
{
    /* Whoever sees the new version (ram_list_version()) sees the change. */
    __atomic_store_n(&list->version, list->version + 1, __ATOMIC_RELEASE);
}

int ram_list_add(RamList *list, RAMBlock *block, const char *owner, const char *name)
{
    int result = place(block, name);

    if (result) {
        return result;
    }
    block->idstr = ram_idstr_choose(list, owner, name);
    if (!block->idstr) {
        return fail_no_memory("a RAM block's name");
    }
    block->next_copy = 2;
    const uint64_t keys[RAM_ORDERS] = {
        [RAM_BY_SIZE] = ~block->max_length,
        [RAM_BY_HOST] = (uintptr_t)block->host,
        [RAM_BY_OFFSET] = block->offset,
        [RAM_BY_NAME] = hash(block->idstr, strlen(block->idstr)),
    };
    uint64_t serial = list->serial++;
    for (unsigned order = 0; order < RAM_ORDERS; order++) {
        block->in_order[order].key = keys[order];
        block->in_order[order].tie = serial;
    }
    RAMBlock *previous = before(block, RAM_BY_HOST);
    set_furthest(block, further(previous ? previous->furthest : NULL, block));
    for (unsigned order = 0; order < RAM_ORDERS; order++) {
        skiplist_insert(&list->orders[order], &block->in_order[order]);
    }
    reach_over(block);
    take_place(block);
    count_change(list);
    return 0;
}

void ram_list_remove(RAMBlock *block)
{
    RamList *list = block->list;

    leave_place(block);
    reach_no_more(block);
    for (unsigned order = 0; order < RAM_ORDERS; order++) {
        skiplist_remove(&list->orders[order], &block->in_order[order]);
    }
    ram_idstr_release(list, block);
    count_change(list);
}

/* ---- finding --------------------------------------------------------------------------- */

RAMBlock *ram_list_at_host(RamList *list, const void *host)
{
    RAMBlock *block =
        block_of(skiplist_last_at_most(&list->orders[RAM_BY_HOST], (uintptr_t)host), RAM_BY_HOST);

    if (block) {
        block = __atomic_load_n(&block->furthest, __ATOMIC_ACQUIRE);
    }
    return block && (uintptr_t)host <= host_last(block) ? block : NULL;
}

RAMBlock *ram_list_at_offset(RamList *list, ram_addr_t addr)
{
    RAMBlock *block =
        block_of(skiplist_last_at_most(&list->orders[RAM_BY_OFFSET], addr), RAM_BY_OFFSET);

    return block && addr - block->offset < block->max_length ? block : NULL;
}

RAMBlock *ram_list_named(RamList *list, const char *idstr, size_t length)
{
    uint64_t key = hash(idstr, length);
    SkipList *names = &list->orders[RAM_BY_NAME];

    for (SkipNode *node = skiplist_first_at_least(names, key); node && node->key == key;
         node = skiplist_after(names, node)) {
        RAMBlock *block = block_of(node, RAM_BY_NAME);
        if (strlen(block->idstr) == length && memcmp(block->idstr, idstr, length) == 0) {
            return block;
        }
    }
    return NULL;
}

RAMBlock *ram_list_next(RamList *list, RAMBlock *block)
{
    SkipNode *node = block ? &block->in_order[RAM_BY_SIZE] : NULL;

    return block_of(skiplist_after(&list->orders[RAM_BY_SIZE], node), RAM_BY_SIZE);
}
