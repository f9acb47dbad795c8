/* SPDX-License-Identifier: MIT */
/*
 * RAM that grows and shrinks.
 *
 *      resize    notifiers hear the new length
 *                what appears reads as zeroes, and is dirty
 *                the region has the new size                     (an edit like any other)
 *      commit    views show it                                   (of the outermost transaction)
 *                used_length follows; the region's own callback
 *
 * Guarantees:
 *  Z1  used_length is never more than a view has shown: growth is shown first. Until it follows a
 *      shrink, and for readers of older views, mappings and caches, what was cut off is memory
 *      still, since max_length stays mapped.
 *  Z2  What the guest had below the new length is kept. What has been cut off and comes back is
 *      new RAM, zero: nobody owes it anything. Within one transaction nothing is cut off.
 *  Z3  A resize that fails, fails as an edit (T3): notifiers hear the old length again, and no
 *      byte that a view shows has changed.
 */
#include "base/error.h"
#include "base/range.h"
#include "map/edit.h"
#include "map/topology.h"
#include "ram/notifiers.h"

#include <errno.h>
#include <inttypes.h>

static int check(const MemoryRegion *mr, hwaddr newsize, hwaddr *rounded)
{
    const RAMBlock *block = mr->ram_block;

    if (!block || !(block->flags & RAM_RESIZEABLE)) {
        return fail(EINVAL, "region '%s' is not resizeable RAM", mr->name);
    }
    *rounded = newsize > block->max_length
                   ? newsize
                   : (newsize + block->page_size - 1) & ~((hwaddr)block->page_size - 1);
    if (*rounded == 0 || *rounded > block->max_length) {
        return fail(EINVAL, "RAM '%s': new size 0x%" PRIx64 " is not within 1 and 0x%" PRIx64,
                    mr->name, newsize, block->max_length);
    }
    return 0;
}

static int resize(MemoryRegion *mr, hwaddr newsize)
{
    RAMBlock *block = mr->ram_block;
    MemoryRegionState state = mr->state;
    hwaddr old = state.size;
    int result = check(mr, newsize, &state.size);

    if (!result) {
        result = ram_notifiers_check_idle(&region_system(mr)->ram);
    }
    if (result || state.size == old) {
        return result;
    }
    ram_notifiers_resized(block, old, state.size);
    hwaddr shown = hwaddr_max(old, block->used_length); /* Z2 */
    if (state.size > shown) {
        ram_block_expose(block, shown, state.size);
    }
    block->list->resizing = true;
    result = region_change(mr, &state);
    if (result) {
        ram_notifiers_resized(block, state.size, old);
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

static void follow(RAMBlock *block)
{
    hwaddr size = block->mr ? block->mr->state.size : 0;

    if (!block->mr || !(block->flags & RAM_RESIZEABLE) || size == block->used_length) {
        return;
    }
    __atomic_store_n(&block->used_length, size, __ATOMIC_RELAXED);
    if (block->resized) {
        block->resized(block->idstr, size, block->host);
    }
}

void ram_resizes_committed(MemorySystem *ms)
{
    if (!ms->ram.resizing) {
        return;
    }
    ms->ram.resizing = false;
    rcu_enter(); /* a callback may end regions */
    for (RAMBlock *block = NULL; (block = ram_list_next(&ms->ram, block));) {
        follow(block);
    }
    rcu_leave();
}
