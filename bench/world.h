/* SPDX-License-Identifier: MIT */
/*
 * world.h - the maps that are measured: many regions of one size, as a board would make them.
 */
#ifndef BENCH_WORLD_H
#define BENCH_WORLD_H

#include <membus/membus.h>

#define PAGE 4096UL

typedef struct World {
    MemorySystem *ms;
    AddressSpace *as;
    MemoryRegion *root;
    MemoryRegion *regions;
    size_t count;
    uint8_t *ram; /* what the RAM regions show, one after the other */
    size_t ram_size;
} World;

/* Leave the program with membus's own words where @result is an error. */
void must(int result);
void *must_alloc(size_t size);
/* Zeroed memory of its own pages, not touched yet; ended with unmap_pages. */
uint8_t *map_pages(size_t size);
void unmap_pages(uint8_t *pages, size_t size);

/* A machine with room for @count regions and @ram_size bytes behind them, nothing in it. */
void world_init(World *world, size_t count, size_t ram_size);
void world_destroy(World *world);

/* Make region @i and put it at @addr. Each is a commit of its own outside a transaction. */
void world_add_ram(World *world, size_t i, hwaddr addr, hwaddr size, size_t ram_offset);
void world_add_mmio(World *world, size_t i, hwaddr addr, hwaddr size, bool lockless);

/* Region @i is 4 KiB of RAM or, for odd @i, a device of 4 KiB; 4 KiB of nothing follow. */
hwaddr world_separate_address(size_t i);
void world_add_separate(World *world, size_t i);

/* Leave the program unless the view shows @mr at @addr (NULL: nothing). */
void world_expect(const World *world, hwaddr addr, const MemoryRegion *mr);

/* What the devices do: a register that answers with its offset. */
uint64_t device_read(void *opaque, hwaddr addr, unsigned size);
void device_write(void *opaque, hwaddr addr, uint64_t data, unsigned size);

#endif
