/* SPDX-License-Identifier: MIT */
/* Who answers, and whether they would. */
#include "access/fast.h"
#include "access/mmio.h"
#include "base/range.h"

#include <membus/access.h>

MemoryRegion *address_space_translate(AddressSpace *as, hwaddr addr, hwaddr *xlat, hwaddr *len,
                                      bool is_write, MemTxAttrs attrs)
{
    const FlatView *view = rcu_read(&as->view);
    const FlatRange *range = flatview_at(view, addr);

    (void)is_write;
    (void)attrs; /* an IOMMU region's translation will ask for both */
    if (!range) {
        const FlatRange *next = flatview_from(view, addr);
        *xlat = 0;
        *len = hwaddr_min(*len, range_size(addr, next ? next->first - 1 : UINT64_MAX));
        return NULL;
    }
    *xlat = range->offset + (addr - range->first);
    *len = hwaddr_min(*len, range_size(addr, range->last));
    return range->mr;
}

/* The piece of @range from @addr on, @len bytes: direct, or accepted chunk by chunk. */
static bool piece_valid(const FlatRange *range, hwaddr addr, hwaddr len, bool is_write,
                        MemTxAttrs attrs)
{
    MemoryRegion *mr = range->mr;
    hwaddr offset = range->offset + (addr - range->first);

    if (is_write ? range->direct_write : range->direct_read) {
        return true;
    }
    if (is_write && mr->ram && range->readonly && !attrs.debug) {
        return false;
    }
    unsigned widest = mmio_chunk(mr, 0, UINT64_MAX);
    while (len) {
        unsigned chunk = mmio_chunk(mr, offset, len);
        if (!mmio_valid(mr, offset, chunk, is_write, attrs)) {
            return false;
        }
        /* All chunks of the full width are alike, unless the device looks at each. */
        bool alike = chunk == widest && (mr->ram || !mr->ops->valid.accepts);
        hwaddr judged = alike ? len - len % chunk : chunk;
        offset += judged;
        len -= judged;
    }
    return true;
}

bool address_space_access_valid(AddressSpace *as, hwaddr addr, hwaddr len, bool is_write,
                                MemTxAttrs attrs)
{
    bool valid = len == 0 || len - 1 <= UINT64_MAX - addr;

    rcu_enter();
    const FlatView *view = rcu_read(&as->view);
    while (len && valid) {
        const FlatRange *range = flatview_at(view, addr);
        hwaddr part = range ? mmio_part(range, addr, len, is_write) : 0;
        valid = range && piece_valid(range, addr, part, is_write, attrs);
        addr += part;
        len -= part;
    }
    rcu_leave();
    return valid;
}
