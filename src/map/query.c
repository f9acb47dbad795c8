/* SPDX-License-Identifier: MIT */
/* Questions about regions. */
#include "base/error.h"
#include "base/range.h"
#include "map/system.h"

#include <errno.h>
#include <stdlib.h>

const char *memory_region_name(const MemoryRegion *mr)
{
    return mr->name;
}

hwaddr memory_region_size(const MemoryRegion *mr)
{
    return mr->state.size;
}

MemoryOwner *memory_region_owner(const MemoryRegion *mr)
{
    return mr->owner;
}

bool memory_region_is_ram(const MemoryRegion *mr)
{
    return mr->ram;
}

bool memory_region_is_rom(const MemoryRegion *mr)
{
    return mr->ram && mr->state.readonly;
}

bool memory_region_is_romd(const MemoryRegion *mr)
{
    return mr->rom_device && mr->state.romd_mode;
}

bool memory_region_is_rom_device(const MemoryRegion *mr)
{
    return mr->rom_device;
}

bool memory_region_is_ram_device(const MemoryRegion *mr)
{
    return mr->ram_device;
}

bool memory_region_is_nonvolatile(const MemoryRegion *mr)
{
    return mr->state.nonvolatile;
}

bool memory_region_is_readonly(const MemoryRegion *mr)
{
    return mr->state.readonly;
}

bool memory_region_is_unmergeable(const MemoryRegion *mr)
{
    return mr->state.unmergeable;
}

bool memory_region_is_terminating(const MemoryRegion *mr)
{
    return mr->terminates;
}

bool memory_region_is_enabled(const MemoryRegion *mr)
{
    return mr->state.enabled;
}

bool memory_region_is_mapped(const MemoryRegion *mr)
{
    return mr->state.container;
}

hwaddr memory_region_address(const MemoryRegion *mr)
{
    return mr->state.addr;
}

int memory_region_priority(const MemoryRegion *mr)
{
    return mr->state.priority;
}

MemoryRegion *memory_region_container(const MemoryRegion *mr)
{
    return mr->state.container;
}

MemoryRegion *memory_region_alias_target(const MemoryRegion *mr)
{
    return mr->alias;
}

hwaddr memory_region_alias_offset(const MemoryRegion *mr)
{
    return mr->state.alias_offset;
}

uint8_t memory_region_get_dirty_log_mask(const MemoryRegion *mr)
{
    return mr->state.dirty_log_mask | (mr->ram_block ? region_system(mr)->global_log_mask : 0);
}

void *memory_region_get_ram_ptr(const MemoryRegion *mr)
{
    return mr->ram_block ? mr->ram_block->host : NULL;
}

ram_addr_t memory_region_get_ram_addr(const MemoryRegion *mr)
{
    return mr->ram_block ? mr->ram_block->offset : RAM_ADDR_INVALID;
}

int memory_region_get_fd(const MemoryRegion *mr)
{
    return mr->ram_block ? mr->ram_block->fd : -1;
}

RAMBlock *memory_region_get_ram_block(const MemoryRegion *mr)
{
    return mr->ram_block;
}

/* ---- walking subregions ---------------------------------------------------------- */

typedef struct Siblings {
    MemoryRegion **regions;
    size_t count;
} Siblings;

static bool count_one(IntervalNode *node, void *opaque)
{
    (void)node;
    ++*(size_t *)opaque;
    return false;
}

static bool collect(IntervalNode *node, void *opaque)
{
    Siblings *siblings = opaque;

    siblings->regions[siblings->count++] = container_of(node, MemoryRegion, in_container);
    return false;
}

static int print_order(const void *a, const void *b)
{
    const MemoryRegionState *x = &(*(MemoryRegion *const *)a)->state;
    const MemoryRegionState *y = &(*(MemoryRegion *const *)b)->state;

    if (x->addr != y->addr) {
        return x->addr < y->addr ? -1 : 1;
    }
    if (x->priority != y->priority) {
        return x->priority > y->priority ? -1 : 1;
    }
    return x->sequence > y->sequence ? -1 : x->sequence < y->sequence;
}

bool memory_region_for_each_subregion(const MemoryRegion *mr,
                                      bool (*visit)(MemoryRegion *sub, void *opaque), void *opaque)
{
    size_t count = 0;
    bool stopped = false;

    interval_for_each_overlap(mr->children, 0, UINT64_MAX, count_one, &count);
    Siblings siblings = {malloc(count * sizeof(MemoryRegion *) + 1), 0};
    if (!siblings.regions) {
        fail_no_memory("a list of subregions");
        return false;
    }
    interval_for_each_overlap(mr->children, 0, UINT64_MAX, collect, &siblings);
    qsort(siblings.regions, siblings.count, sizeof *siblings.regions, print_order);
    for (size_t i = 0; i < siblings.count && !stopped; i++) {
        stopped = visit(siblings.regions[i], opaque);
    }
    free(siblings.regions);
    return stopped;
}

static bool shows(IntervalNode *node, void *opaque)
{
    (void)opaque;
    const MemoryRegion *mr = container_of(node, MemoryRegion, in_container);
    return mr->state.enabled && mr->state.size;
}

bool memory_region_present(MemoryRegion *container, hwaddr addr)
{
    MemorySystem *ms = region_system(container);

    machine_lock(ms);
    bool present = interval_for_each_overlap(container->children, addr, addr, shows, NULL);
    machine_unlock(ms);
    return present;
}

/* ---- flags that are set before a region is mapped --------------------------------- */

static int check_unmapped(const MemoryRegion *mr)
{
    return mr->state.container || mr->spaces || __atomic_load_n(&mr->references, __ATOMIC_RELAXED)
               ? fail(EBUSY, "region '%s' is mapped: readers may be in its callbacks", mr->name)
               : 0;
}

int memory_region_disable_reentrancy_guard(MemoryRegion *mr)
{
    MemorySystem *ms = region_system(mr);

    machine_lock(ms);
    int result = check_unmapped(mr);
    if (!result) {
        mr->guard = NULL;
    }
    machine_unlock(ms);
    return result;
}

int memory_region_enable_lockless_io(MemoryRegion *mr)
{
    int result = memory_region_disable_reentrancy_guard(mr);

    if (!result) {
        mr->lockless = true;
    }
    return result;
}
