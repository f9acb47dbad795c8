/* SPDX-License-Identifier: MIT */
/* What a range of a view is to have in the kernel. */
#include "kvm/plan.h"

#include "base/range.h"

/* [first, last] cut to whole pages, the very last of all left out; false if none is left. */
static bool whole_pages(hwaddr page_size, hwaddr *first, hwaddr *last)
{
    hwaddr up = (*first + (page_size - 1)) & ~(page_size - 1);
    hwaddr end = hwaddr_add_clipped(*last, 1) & ~(page_size - 1);

    if (up < *first || end <= up) {
        return false;
    }
    *first = up;
    *last = end - 1;
    return true;
}

static bool is_memory(const FlatRange *range)
{
    const MemoryRegion *mr = range->mr;

    return mr->ram_block && (mr->ram || (mr->rom_device && range->romd));
}

bool plan_slot_of_range(const KVMState *s, const FlatRange *range, KVMSlot *slot)
{
    const RAMBlock *block = range->mr->ram_block;
    bool readonly = range->readonly || range->mr->rom_device;
    hwaddr first = range->first, last = range->last;

    if (!is_memory(range) || (readonly && !s->caps.readonly_mem) ||
        !whole_pages(s->page_size, &first, &last)) {
        return false;
    }
    hwaddr offset = range->offset + (first - range->first);
    uint8_t *host = block->host + offset;
    if ((uintptr_t)host & (s->page_size - 1)) {
        return false;
    }
    bool private = block->guest_memfd >= 0 && !readonly; /* the kernel has not both */
    *slot = (KVMSlot){
        .start_addr = first,
        .memory_size = range_size(first, last),
        .ram = host,
        .flags = readonly                ? (uint32_t)KVM_MEM_READONLY
                 : private               ? (uint32_t)KVM_MEM_GUEST_MEMFD
                 : range->dirty_log_mask ? (uint32_t)KVM_MEM_LOG_DIRTY_PAGES
                                         : 0,
        .mr = range->mr,
        .offset_within_region = offset,
        .guest_memfd = private ? block->guest_memfd : -1,
        .guest_memfd_offset = private ? block->guest_memfd_offset + offset : 0,
    };
    return true;
}
