/* SPDX-License-Identifier: MIT */
/*
 * ram.h - RAM blocks: the host memory behind regions.
 *
 * A block belongs to the region that made it and ends with it. Its offset is its place in the
 * machine-wide space of RAM (ram_addr_t).
 */
#ifndef MEMBUS_RAM_H
#define MEMBUS_RAM_H

#include <membus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

MEMBUS_EXPORT const char *qemu_ram_get_idstr(const RAMBlock *block);
MEMBUS_EXPORT void *qemu_ram_get_host_addr(const RAMBlock *block);
MEMBUS_EXPORT ram_addr_t qemu_ram_get_offset(const RAMBlock *block);
MEMBUS_EXPORT hwaddr qemu_ram_get_used_length(const RAMBlock *block); /* bytes */
MEMBUS_EXPORT hwaddr qemu_ram_get_max_length(const RAMBlock *block);  /* bytes */
MEMBUS_EXPORT size_t qemu_ram_pagesize(const RAMBlock *block);        /* bytes */
MEMBUS_EXPORT int qemu_ram_get_fd(const RAMBlock *block);             /* -1: none */
MEMBUS_EXPORT hwaddr qemu_ram_get_fd_offset(const RAMBlock *block);
MEMBUS_EXPORT bool qemu_ram_is_shared(const RAMBlock *block);
MEMBUS_EXPORT bool qemu_ram_is_resizeable(const RAMBlock *block);
MEMBUS_EXPORT MemoryRegion *qemu_ram_get_region(const RAMBlock *block);

/*
 * Visit the blocks, largest first, until @visit returns nonzero, and return that. Context:
 * machine lock (taken for the call).
 */
MEMBUS_EXPORT int qemu_ram_foreach_block(MemorySystem *ms,
                                         int (*visit)(RAMBlock *block, void *opaque), void *opaque);

/*
 * The block that @host points into and the offset in it; NULL if none. Where the program gave
 * the same host memory to two blocks, either. Context: machine lock (taken for the call).
 */
MEMBUS_EXPORT RAMBlock *qemu_ram_block_from_host(MemorySystem *ms, const void *host,
                                                 ram_addr_t *offset);
/* The region of that block. */
MEMBUS_EXPORT MemoryRegion *memory_region_from_host(MemorySystem *ms, const void *host,
                                                    ram_addr_t *offset);

#ifdef __cplusplus
}
#endif
#endif
