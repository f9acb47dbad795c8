/* SPDX-License-Identifier: MIT */
/* block.h - RAM blocks and the list of a machine's blocks. */
#ifndef RAM_BLOCK_H
#define RAM_BLOCK_H

#include "base/interval.h"
#include "ram/hostmem.h"

#include <membus/ram.h>

struct RAMBlock {
    uint8_t *host;
    ram_addr_t offset;
    hwaddr used_length, max_length; /* bytes */
    size_t page_size;
    int fd; /* owned; -1: none */
    hwaddr fd_offset;
    bool shared, resizeable, preallocated /* by the caller, who keeps the memory */;
    bool readonly; /* the host mapping cannot be written, whatever the region says */
    void (*resized)(const char *idstr, hwaddr length, void *host);
    MemoryRegion *mr;
    char *idstr;
    struct RamList *list;
    IntervalNode by_host; /* [host, host + max_length - 1] */
};

typedef struct RamList {
    IntervalNode *by_host;
    ram_addr_t next_offset;
    size_t count;
} RamList;

/*
 * Make a block of @mr in @list. @memory is what it shows; @preallocated memory stays the
 * caller's, other memory and @fd become the block's. NULL if memory is short (nothing is taken
 * over then).
 * Context: machine lock.
 */
RAMBlock *ram_block_create(RamList *list, MemoryRegion *mr, const char *idstr, HostMemory memory,
                           hwaddr used_length, hwaddr max_length, int fd, hwaddr fd_offset);
void ram_block_destroy(RAMBlock *block);

RAMBlock *ram_list_find_host(RamList *list, const void *host, ram_addr_t *offset);
int ram_list_for_each(RamList *list, int (*visit)(RAMBlock *block, void *opaque), void *opaque);

#endif
