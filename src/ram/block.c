/* SPDX-License-Identifier: MIT */
#include "ram/block.h"

#include "base/error.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Blocks start at multiples of 64 pages, so that no two share a word of a page bitmap. */
#define BLOCK_ALIGN (64 * 4096ULL)

RAMBlock *ram_block_create(RamList *list, MemoryRegion *mr, const RAMBlockConfig *config)
{
    RAMBlock *block = malloc(sizeof *block);
    char *name = text_copy(config->idstr);

    if (!block || !name) {
        free(block);
        free(name);
        fail_no_memory("a RAM block");
        return NULL;
    }
    *block = (RAMBlock){
        .host = config->memory.host,
        .offset = list->next_offset,
        .used_length = config->used_length,
        .max_length = config->max_length,
        .page_size = config->page_size ? config->page_size : hostmem_page_size(),
        .fd = config->fd,
        .fd_offset = config->fd_offset,
        .flags = config->flags,
        .mr = mr,
        .idstr = name,
        .list = list,
        .by_host = {.first = (uintptr_t)config->memory.host,
                    .last = (uintptr_t)config->memory.host + config->max_length - 1},
        .memory = config->memory,
    };
    list->next_offset += (config->max_length + BLOCK_ALIGN - 1) & ~(BLOCK_ALIGN - 1);
    list->count++;
    interval_insert(&list->by_host, &block->by_host);
    return block;
}

void ram_block_destroy(RAMBlock *block)
{
    interval_remove(&block->list->by_host, &block->by_host);
    block->list->count--;
    if (!(block->flags & RAM_PREALLOC)) {
        hostmem_unmap(&block->memory);
    }
    if (block->fd >= 0) {
        close(block->fd);
    }
    for (unsigned client = 0; client < DIRTY_MEMORY_NUM; client++) {
        dirty_bits_destroy(block->dirty[client]);
    }
    free(block->idstr);
    free(block);
}

RAMBlock *ram_list_find_host(RamList *list, const void *host, ram_addr_t *offset)
{
    IntervalNode *node = interval_first_overlap(list->by_host, (uintptr_t)host, (uintptr_t)host);

    if (!node) {
        return NULL;
    }
    if (offset) {
        *offset = (uintptr_t)host - node->first;
    }
    return container_of(node, RAMBlock, by_host);
}

struct Collected {
    RAMBlock **blocks;
    size_t count;
};

static bool collect(IntervalNode *node, void *opaque)
{
    struct Collected *all = opaque;

    all->blocks[all->count++] = container_of(node, RAMBlock, by_host);
    return false;
}

static int larger_first(const void *a, const void *b)
{
    const RAMBlock *x = *(RAMBlock *const *)a, *y = *(RAMBlock *const *)b;

    if (x->max_length != y->max_length) {
        return x->max_length > y->max_length ? -1 : 1;
    }
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

int ram_list_for_each(RamList *list, int (*visit)(RAMBlock *block, void *opaque), void *opaque)
{
    struct Collected all = {malloc(list->count * sizeof *all.blocks + 1), 0};
    int result = 0;

    if (!all.blocks) {
        return fail_no_memory("a list of RAM blocks");
    }
    interval_for_each_overlap(list->by_host, 0, UINT64_MAX, collect, &all);
    qsort(all.blocks, all.count, sizeof *all.blocks, larger_first);
    for (size_t i = 0; i < all.count && !result; i++) {
        result = visit(all.blocks[i], opaque);
    }
    free(all.blocks);
    return result;
}

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
    return block->used_length;
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
    return block->mr;
}
