/* SPDX-License-Identifier: MIT */
/* block.h - RAM blocks and the list of a machine's blocks. */
#ifndef RAM_BLOCK_H
#define RAM_BLOCK_H

#include "base/interval.h"
#include "ram/dirty.h"
#include "ram/hostmem.h"

#include <membus/ram.h>
#include <membus/region.h>

struct RAMBlock {
    uint8_t *host;
    ram_addr_t offset;
    hwaddr used_length, max_length; /* bytes */
    size_t page_size;
    int fd; /* owned; -1: none */
    hwaddr fd_offset;
    uint32_t flags; /* RAM_* (region.h) */
    void (*resized)(const char *idstr, hwaddr length, void *host);
    MemoryRegion *mr;
    char *idstr;
    struct RamList *list;
    IntervalNode by_host; /* [host, host + max_length - 1] */
    HostMemory memory;    /* given back at the end, unless RAM_PREALLOC */

    /* logging (ram/log.h); atomic */
    uint8_t log_mask; /* clients to mark writes for */
    DirtyBits *dirty[DIRTY_MEMORY_NUM];
};

/* What a block is made of. */
typedef struct RAMBlockConfig {
    const char *idstr;
    HostMemory memory;
    hwaddr used_length, max_length; /* bytes */
    size_t page_size;               /* bytes; 0: the host page */
    int fd;                         /* -1: none */
    hwaddr fd_offset;
    uint32_t flags; /* RAM_* (region.h) */
} RAMBlockConfig;

typedef struct RamList {
    IntervalNode *by_host;
    ram_addr_t next_offset;
    size_t count;
} RamList;

/*
 * Make a block of @mr in @list. Memory with RAM_PREALLOC stays the caller's, other memory and
 * the fd become the block's. NULL if memory is short (nothing is taken over then).
 * Context: machine lock.
 */
RAMBlock *ram_block_create(RamList *list, MemoryRegion *mr, const RAMBlockConfig *config);
void ram_block_destroy(RAMBlock *block);

RAMBlock *ram_list_find_host(RamList *list, const void *host, ram_addr_t *offset);
int ram_list_for_each(RamList *list, int (*visit)(RAMBlock *block, void *opaque), void *opaque);

#endif
