/* SPDX-License-Identifier: MIT */
/* RAM that grows and shrinks. */
#include "base/error.h"
#include "map/edit.h"

#include <errno.h>
#include <inttypes.h>

static int resize(MemoryRegion *mr, hwaddr newsize)
{
    RAMBlock *block = mr->ram_block;
    hwaddr rounded = hostmem_round(newsize);

    if (!block || !(block->flags & RAM_RESIZEABLE)) {
        return fail(EINVAL, "region '%s' is not resizeable RAM", mr->name);
    }
    if (rounded == 0 || rounded > block->max_length) {
        return fail(EINVAL, "RAM '%s': new size 0x%" PRIx64 " is not within 1 and 0x%" PRIx64,
                    mr->name, newsize, block->max_length);
    }
    if (rounded == block->used_length) {
        return 0;
    }
    MemoryRegionState state = mr->state;
    state.size = rounded;
    int result = region_change(mr, &state);
    if (!result) {
        block->used_length = rounded;
        if (block->resized) {
            block->resized(block->idstr, rounded, block->host);
        }
    }
    return result;
}

int memory_region_ram_resize(MemoryRegion *mr, hwaddr newsize, Error **errp)
{
    MemorySystem *ms = region_system(mr);

    machine_lock(ms);
    int result = resize(mr, newsize);
    machine_unlock(ms);
    return error_pass(errp, result);
}
