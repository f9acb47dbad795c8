/* SPDX-License-Identifier: MIT */
/* world.c - see world.h. */
#include "world.h"
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

void must(int result)
{
    if (result < 0) {
        fprintf(stderr, "membus-bench: %s\n", membus_last_error());
        exit(1);
    }
}

void *must_alloc(size_t size)
{
    void *p = calloc(1, size);
    if (!p) {
        fprintf(stderr, "membus-bench: no memory for %zu bytes\n", size);
        exit(1);
    }
    return p;
}

uint8_t *map_pages(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, "membus-bench: no memory for %zu bytes\n", size);
        exit(1);
    }
    return p;
}

void unmap_pages(uint8_t *pages, size_t size)
{
    munmap(pages, size);
}

uint64_t device_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque;
    (void)size;
    return addr;
}

void device_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque;
    (void)addr;
    (void)data;
    (void)size;
}

static const MemoryRegionOps device_ops = {
    .read = device_read,
    .write = device_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

void world_init(World *world, size_t count, size_t ram_size)
{
    *world = (World){.count = count, .ram_size = ram_size};
    world->ms = memory_system_create();
    must(world->ms ? 0 : -1);
    world->as = memory_system_memory(world->ms);
    world->root = get_system_memory(world->ms);
    world->regions = must_alloc(count * sizeof(MemoryRegion));
    /* The program's storage: its page faults are no cost of the map. */
    for (size_t i = 0; i < count; i++) {
        *(volatile char *)&world->regions[i] = 0;
    }
    world->ram = ram_size ? map_pages(ram_size) : NULL;
}

void world_destroy(World *world)
{
    memory_region_transaction_begin(world->ms);
    for (size_t i = 0; i < world->count; i++) {
        if (memory_region_is_mapped(&world->regions[i])) {
            must(memory_region_del_subregion(world->root, &world->regions[i]));
        }
    }
    must(memory_region_transaction_commit(world->ms));
    must(memory_system_destroy(world->ms));
    free(world->regions);
    if (world->ram) {
        unmap_pages(world->ram, world->ram_size);
    }
}

void world_add_ram(World *world, size_t i, hwaddr addr, hwaddr size, size_t ram_offset)
{
    must(memory_region_init_ram_ptr(&world->regions[i], memory_system_owner(world->ms), "ram", size,
                                    world->ram + ram_offset));
    must(memory_region_add_subregion(world->root, addr, &world->regions[i]));
}

void world_add_mmio(World *world, size_t i, hwaddr addr, hwaddr size, bool lockless)
{
    must(memory_region_init_io(&world->regions[i], memory_system_owner(world->ms), &device_ops,
                               NULL, "device", size));
    if (lockless) {
        must(memory_region_enable_lockless_io(&world->regions[i]));
    }
    must(memory_region_add_subregion(world->root, addr, &world->regions[i]));
}

hwaddr world_separate_address(size_t i)
{
    return (hwaddr)i * 2 * PAGE;
}

void world_add_separate(World *world, size_t i)
{
    if (i % 2 == 0) {
        world_add_ram(world, i, world_separate_address(i), PAGE, i / 2 * PAGE);
    } else {
        world_add_mmio(world, i, world_separate_address(i), PAGE, false);
    }
}

void world_expect(const World *world, hwaddr addr, const MemoryRegion *mr)
{
    MemoryRegionSection section = memory_region_find(world->root, addr, 1);
    expect(section.mr == mr, "the map");
    if (section.mr) {
        memory_region_unref(section.mr);
    }
}
