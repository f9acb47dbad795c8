/* SPDX-License-Identifier: MIT */
/*
 * The life of a block.
 *
 * Readers find blocks without a lock and without a reference, so a block outlives its region:
 *
 *      region ends ──► ram_block_retire: out of the list, mr = NULL
 *                        ... readers that found it go on with it and its memory ...
 *      grace period ─► memory unmapped, fd closed, freed
 */
#include "ram/block.h"

#include "base/error.h"
#include "ram/log.h"
#include "ram/notifiers.h"
#include "ram/ram_list.h"
#include "ram/saved.h"

#include <stdlib.h>
#include <unistd.h>

static void free_logs(RAMBlock *block)
{
    for (unsigned client = 0; client < DIRTY_MEMORY_NUM; client++) {
        dirty_bits_destroy(block->dirty[client]);
    }
}

int ram_block_create(RamList *list, MemoryRegion *mr, const RAMBlockConfig *config, RAMBlock **out)
{
    int result = ram_notifiers_check_idle(list);
    RAMBlock *block = result ? NULL : malloc(sizeof *block);

    if (!block) {
        return result ? result : fail_no_memory("a RAM block");
    }
    *block = (RAMBlock){
        .host = config->memory.host,
        .used_length = config->used_length,
        .max_length = config->max_length,
        .page_size = config->page_size ? config->page_size : hostmem_page_size(),
        .fd = config->fd,
        .fd_offset = config->fd_offset,
        .guest_memfd = -1,
        .flags = config->flags,
        .mr = mr,
        .memory = config->memory,
        .list = list,
    };
    result = ram_begin_log(block, config->log_clients);
    if (!result) {
        result = ram_list_add(list, block, config->owner, config->name);
    }
    if (result) {
        free_logs(block);
        free(block);
        return result;
    }
    *out = block;
    ram_notifiers_added(block);
    return 0;
}

static void free_block(struct rcu_head *head)
{
    rcu_callback_begins();
    RAMBlock *block = container_of(head, RAMBlock, rcu);

    saved_drop_block(block);
    ram_block_free_bitmaps(block);
    if (!(block->flags & RAM_PREALLOC)) {
        hostmem_unmap(&block->memory);
    }
    if (block->fd >= 0) {
        close(block->fd);
    }
    if (block->guest_memfd >= 0) {
        close(block->guest_memfd);
    }
    free_logs(block);
    free(block->idstr);
    free(block);
    rcu_callback_ends();
}

void ram_block_retire(RAMBlock *block)
{
    ram_notifiers_removed(block);
    ram_list_remove(block);
    __atomic_store_n(&block->mr, NULL, __ATOMIC_RELAXED);
    rcu_defer(&block->rcu, free_block);
}

void ram_block_expose(RAMBlock *block, hwaddr first, hwaddr end)
{
    bool anonymous = block->fd < 0 && !(block->flags & (RAM_SHARED | RAM_PREALLOC));

    ram_before_write(block, first, end - first);
    hostmem_clear(block->host + first, (size_t)(end - first), anonymous);
    if (block->guest_memfd >= 0) {
        ram_block_discard_guest_memfd_range(block, first, end - first);
    }
    ram_after_write(block, first, end - first);
}

/* ---- questions -------------------------------------------------------------------- */

const char *qemu_ram_get_idstr(const RAMBlock *block)
{
    return block->idstr;
}

void *qemu_ram_get_host_addr(const RAMBlock *block)
{
    return block->host;
}

ram_addr_t qemu_ram_get_offset(const RAMBlock *block)
{
    return block->offset;
}

hwaddr qemu_ram_get_used_length(const RAMBlock *block)
{
    return __atomic_load_n(&block->used_length, __ATOMIC_RELAXED);
}

hwaddr qemu_ram_get_max_length(const RAMBlock *block)
{
    return block->max_length;
}

size_t qemu_ram_pagesize(const RAMBlock *block)
{
    return block->page_size;
}

int qemu_ram_get_fd(const RAMBlock *block)
{
    return block->fd;
}

hwaddr qemu_ram_get_fd_offset(const RAMBlock *block)
{
    return block->fd_offset;
}

uint32_t qemu_ram_get_flags(const RAMBlock *block)
{
    return block->flags;
}

bool qemu_ram_is_shared(const RAMBlock *block)
{
    return block->flags & RAM_SHARED;
}

bool qemu_ram_is_resizeable(const RAMBlock *block)
{
    return block->flags & RAM_RESIZEABLE;
}

MemoryRegion *qemu_ram_get_region(const RAMBlock *block)
{
    return __atomic_load_n(&block->mr, __ATOMIC_RELAXED);
}
