/* SPDX-License-Identifier: MIT */
/*
 * log.h - what goes with every write to a block: keep what snapshots need, then write, then mark.
 *
 *      ram_before_write(block, offset, len);
 *      memcpy(block->host + offset, ...);
 *      ram_after_write(block, offset, len);
 *
 * Marking comes after the write, so that who takes a mark and copies the page has what was
 * written; what the mask or a mark says is looked at after the write too (sync/membarrier.h).
 * Where nobody listens the two cost a load each.
 */
#ifndef RAM_LOG_H
#define RAM_LOG_H

#include "ram/block.h"
#include "ram/saved.h"
#include "sync/membarrier.h"

/* Mark [offset, offset + len - 1] of @block for the clients in @mask that have bits for it. */
void ram_mark(const RAMBlock *block, unsigned mask, hwaddr offset, hwaddr len);

static inline void ram_before_write(RAMBlock *block, hwaddr offset, hwaddr len)
{
    SavedBlock *saved = __atomic_load_n(&block->saved, __ATOMIC_ACQUIRE);
    if (__builtin_expect(saved != NULL, 0)) {
        saved_keep(saved, offset, len);
    }
}

static inline void ram_after_write(const RAMBlock *block, hwaddr offset, hwaddr len)
{
    sync_fence_light();
    unsigned mask = __atomic_load_n(&block->log_mask, __ATOMIC_RELAXED);
    if (__builtin_expect(mask != 0, 0)) {
        ram_mark(block, mask, offset, len);
    }
}

/* Tell snapshots that marks of @clients were made past them. */
static inline void ram_marked(const RAMBlock *block, unsigned clients)
{
    SavedBlock *saved = __atomic_load_n(&block->saved, __ATOMIC_ACQUIRE);
    if (saved) {
        saved_touch(saved, clients);
    }
}

/* Let @client be marked from now on; its bits stay until the block ends. Returns 0 or -ENOMEM. */
int ram_block_add_client(RAMBlock *block, unsigned client);

/*
 * Let all of @clients be, and all of @block be dirty for them; nobody knows it yet. Returns 0 or
 * -ENOMEM.
 */
int ram_begin_log(RAMBlock *block, unsigned clients);

/* @client's bits of @block; NULL if it has never logged it. */
static inline DirtyBits *ram_block_bits(const RAMBlock *block, unsigned client)
{
    return __atomic_load_n(&block->dirty[client], __ATOMIC_ACQUIRE);
}

/* @size bytes of a block as pages; false if there are none. */
static inline bool dirty_pages_of(hwaddr offset, hwaddr size, uint64_t *first, uint64_t *last)
{
    *first = offset >> DIRTY_PAGE_BITS;
    *last = (offset + size - 1) >> DIRTY_PAGE_BITS;
    return size != 0;
}

#endif
