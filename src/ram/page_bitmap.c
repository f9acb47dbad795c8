/* SPDX-License-Identifier: MIT */
/* What migration and the like hang on a block: page bitmaps, a second copy, a file offset. */
#include "base/error.h"
#include "ram/block.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#define WORD_BITS (sizeof(unsigned long) * CHAR_BIT)

typedef struct PageBitmap {
    struct rcu_head rcu;
    RAMBitmap map;
    unsigned long words[];
} PageBitmap;

typedef struct ColoCache {
    struct rcu_head rcu;
    HostMemory memory;
} ColoCache;

/* Readers pair with the release of whoever put it there. */
#define attached(place) __atomic_load_n(place, __ATOMIC_ACQUIRE)
#define detach(place) __atomic_exchange_n(place, NULL, __ATOMIC_ACQ_REL)

/* ---- page bitmaps --------------------------------------------------------------------- */

static int check_kind(const RAMBlock *block, RAMBitmapKind kind)
{
    return (unsigned)kind < RAM_BITMAP_NUM
               ? 0
               : fail(EINVAL, "RAM '%s': there is no page bitmap %u", block->idstr, (unsigned)kind);
}

static int alloc_bitmap(RAMBlock *block, RAMBitmapKind kind, unsigned shift)
{
    hwaddr pages = (block->max_length - 1) / RAM_PAGE_SIZE + 1;
    int result = check_kind(block, kind);

    if (result) {
        return result;
    }
    if (shift > RAM_BITMAP_MAX_SHIFT) {
        return fail(EINVAL, "RAM '%s': 2^%u pages for a bit of a page bitmap, above 2^%u",
                    block->idstr, shift, RAM_BITMAP_MAX_SHIFT);
    }
    size_t bits = (size_t)((pages - 1) >> shift) + 1;
    PageBitmap *bitmap =
        calloc(1, sizeof *bitmap + ((bits - 1) / WORD_BITS + 1) * sizeof(unsigned long));
    if (!bitmap) {
        return fail(ENOMEM, "RAM '%s': out of memory for a page bitmap of %zu bits", block->idstr,
                    bits);
    }
    bitmap->map = (RAMBitmap){.shift = shift, .nr_bits = bits, .bits = bitmap->words};
    PageBitmap *none = NULL;
    if (!__atomic_compare_exchange_n(&block->bitmaps[kind], &none, bitmap, false, __ATOMIC_RELEASE,
                                     __ATOMIC_RELAXED)) {
        free(bitmap);
        return fail(EEXIST, "RAM '%s' has page bitmap %u already", block->idstr, (unsigned)kind);
    }
    return 0;
}

int ram_block_bitmap_alloc(RAMBlock *block, RAMBitmapKind kind, unsigned shift, Error **errp)
{
    return error_pass(errp, alloc_bitmap(block, kind, shift));
}

RAMBitmap *ram_block_bitmap(RAMBlock *block, RAMBitmapKind kind)
{
    PageBitmap *bitmap = (unsigned)kind < RAM_BITMAP_NUM ? attached(&block->bitmaps[kind]) : NULL;

    return bitmap ? &bitmap->map : NULL;
}

static void free_bitmap(struct rcu_head *head)
{
    rcu_callback_begins();
    free(container_of(head, PageBitmap, rcu));
    rcu_callback_ends();
}

void ram_block_bitmap_free(RAMBlock *block, RAMBitmapKind kind)
{
    PageBitmap *bitmap = (unsigned)kind < RAM_BITMAP_NUM ? detach(&block->bitmaps[kind]) : NULL;

    if (bitmap) {
        rcu_defer(&bitmap->rcu, free_bitmap);
    }
}

/* ---- the second copy ------------------------------------------------------------------ */

static int alloc_cache(RAMBlock *block)
{
    ColoCache *cache = malloc(sizeof *cache);

    if (!cache) {
        return fail_no_memory("a RAM block's second copy");
    }
    HostMapping mapping = {
        .name = block->idstr, .size = block->max_length, .fd = -1, .no_reserve = true};
    int result = hostmem_map(&cache->memory, &mapping);
    if (result) {
        free(cache);
        return result;
    }
    ColoCache *none = NULL;
    if (!__atomic_compare_exchange_n(&block->colo_cache, &none, cache, false, __ATOMIC_RELEASE,
                                     __ATOMIC_RELAXED)) {
        hostmem_unmap(&cache->memory);
        free(cache);
        return fail(EEXIST, "RAM '%s' has a second copy already", block->idstr);
    }
    return 0;
}

int ram_block_colo_cache_alloc(RAMBlock *block, Error **errp)
{
    return error_pass(errp, alloc_cache(block));
}

void *ram_block_colo_cache(RAMBlock *block)
{
    ColoCache *cache = attached(&block->colo_cache);

    return cache ? cache->memory.host : NULL;
}

static void free_cache(struct rcu_head *head)
{
    rcu_callback_begins();
    ColoCache *cache = container_of(head, ColoCache, rcu);

    hostmem_unmap(&cache->memory);
    free(cache);
    rcu_callback_ends();
}

void ram_block_colo_cache_free(RAMBlock *block)
{
    ColoCache *cache = detach(&block->colo_cache);

    if (cache) {
        rcu_defer(&cache->rcu, free_cache);
    }
}

void ram_block_free_bitmaps(RAMBlock *block)
{
    for (unsigned kind = 0; kind < RAM_BITMAP_NUM; kind++) {
        free(block->bitmaps[kind]);
    }
    if (block->colo_cache) {
        hostmem_unmap(&block->colo_cache->memory);
        free(block->colo_cache);
    }
}

/* ---- the place in a file ---------------------------------------------------------------- */

void ram_block_set_pages_offset(RAMBlock *block, hwaddr offset)
{
    __atomic_store_n(&block->pages_offset, offset, __ATOMIC_RELAXED);
}

hwaddr ram_block_pages_offset(const RAMBlock *block)
{
    return __atomic_load_n(&block->pages_offset, __ATOMIC_RELAXED);
}
