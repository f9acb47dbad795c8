/* SPDX-License-Identifier: MIT */
/* block.h - what a RAM block consists of, and its life. */
#ifndef RAM_BLOCK_H
#define RAM_BLOCK_H

#include "base/interval.h" /* container_of */
#include "ram/dirty.h"
#include "ram/hostmem.h"
#include "sync/rcu.h"
#include "sync/skiplist.h"

#include <membus/ram.h>
#include <membus/region.h>

/* The orders that a machine's blocks are kept in: see ram_list.c. */
enum RamOrder { RAM_BY_SIZE, RAM_BY_HOST, RAM_BY_OFFSET, RAM_BY_NAME, RAM_ORDERS };

/* The free stretch of the RAM address space after a block. */
typedef struct RamGap {
    SkipNode by_size; /* key: bytes, 0: none, or the end of the space, and not indexed */
    ram_addr_t first;
} RamGap;

struct RAMBlock {
    uint8_t *host;
    ram_addr_t offset;
    hwaddr used_length; /* bytes; atomic */
    hwaddr max_length;  /* bytes */
    size_t page_size;   /* bytes, a power of two */
    int fd;             /* owned; -1: none */
    hwaddr fd_offset;
    int guest_memfd; /* owned; -1: none */
    hwaddr guest_memfd_offset;
    uint32_t flags; /* RAM_* (region.h) */
    void (*resized)(const char *idstr, hwaddr length, void *host);
    MemoryRegion *mr; /* NULL: it has ended; written under the machine lock, atomic */
    char *idstr;
    HostMemory memory; /* given back at the end, unless RAM_PREALLOC */

    /* the list */
    struct RamList *list;
    SkipNode in_order[RAM_ORDERS];
    RAMBlock *furthest; /* of the blocks up to this one by host, the one that ends last; atomic */
    RamGap gap;
    uint64_t next_copy; /* no lower number is free for another block of this name */

    /* logging (ram/log.h); atomic */
    uint8_t log_mask; /* clients to mark writes for */
    DirtyBits *dirty[DIRTY_MEMORY_NUM];
    struct SavedBlock *saved; /* what snapshots keep of it: ram/saved.h */

    /* for migration: page_bitmap.c */
    struct PageBitmap *bitmaps[RAM_BITMAP_NUM]; /* atomic */
    struct ColoCache *colo_cache;               /* atomic */
    hwaddr pages_offset;                        /* atomic */

    struct rcu_head rcu;
};

/* What a block is made of. */
typedef struct RAMBlockConfig {
    const char *owner; /* the device's name; NULL: the machine's own */
    const char *name;
    HostMemory memory;
    hwaddr used_length, max_length; /* bytes */
    size_t page_size;               /* bytes; 0: the host page */
    int fd;                         /* -1: none */
    hwaddr fd_offset;
    uint32_t flags;      /* RAM_* (region.h) */
    uint8_t log_clients; /* who logs it from the start, having seen none of it */
} RAMBlockConfig;

/*
 * Make a block of @mr in @list and tell the notifiers. Memory with RAM_PREALLOC stays the
 * caller's, other memory and the fd become the block's. On an error (-ENOMEM, -ENOSPC, -EBUSY)
 * nothing is taken over.
 * Context: machine lock held.
 */
int ram_block_create(struct RamList *list, MemoryRegion *mr, const RAMBlockConfig *config,
                     RAMBlock **block);

/*
 * Nobody finds @block any more; it and its memory go after a grace period. Cannot fail.
 * Context: machine lock held.
 */
void ram_block_retire(RAMBlock *block);

/*
 * [@first, @end) of @block is about to be shown to the guest: it reads as zeroes, and is dirty
 * for every client.
 */
void ram_block_expose(RAMBlock *block, hwaddr first, hwaddr end);

/* Free what page_bitmap.c has hung on @block. Context: no readers. */
void ram_block_free_bitmaps(RAMBlock *block);

#endif
