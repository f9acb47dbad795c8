/* SPDX-License-Identifier: MIT */
/*
 * Transfers to and from a device: which accesses they are made of. Each is of a power of two, and
 * goes to the device that answers at its first byte.
 */
#include "access/host.h"
#include "access/mmio.h"
#include "base/range.h"
#include "map/ops.h"

unsigned mmio_chunk(const MemoryRegion *mr, hwaddr offset, hwaddr len)
{
    unsigned max = 8;
    bool unaligned = false;

    if (!mr->ram && mr->ops) {
        max = mr->ops->valid.max_access_size ? mr->ops->valid.max_access_size : 4;
        max = max > 8 ? 8 : max;
        unaligned = mr->ops->valid.unaligned;
    }
    unsigned chunk = len >= max ? max : power_of_two_floor((unsigned)len);
    if (!unaligned) {
        while (offset & (chunk - 1)) {
            chunk /= 2;
        }
    }
    return chunk;
}

bool mmio_wide(const FlatRange *range, hwaddr addr, unsigned size, bool is_write)
{
    const MemoryRegion *mr = range->mr;
    hwaddr offset = range->offset + (addr - range->first);
    hwaddr region_size = __atomic_load_n(&mr->size_now, __ATOMIC_RELAXED);

    return !mr->ram && !(is_write ? range->direct_write : range->direct_read) && mr->ops &&
           mr->ops != &ops_unassigned && mr->ops != &ops_unassigned_ports && offset < region_size &&
           size <= region_size - offset;
}

hwaddr mmio_part_beyond(const FlatRange *range, hwaddr addr, hwaddr len, bool is_write)
{
    const MemoryRegion *mr = range->mr;
    hwaddr room = range_size(addr, range->last), done = 0;

    if (!mmio_wide(range, addr, 1, is_write)) {
        return room;
    }
    hwaddr offset = range->offset + (addr - range->first);
    hwaddr region_size = __atomic_load_n(&mr->size_now, __ATOMIC_RELAXED);
    /* It may be shrinking at this moment. */
    hwaddr inside = region_size > offset ? region_size - offset : 0;
    hwaddr reach = hwaddr_max(room, hwaddr_min(len, inside));
    while (done < room) {
        unsigned chunk = mmio_chunk(mr, offset + done, reach - done);
        hwaddr alike = (room - done) / chunk; /* from one of the full width on, all are */
        done += chunk == mmio_chunk(mr, 0, UINT64_MAX) && alike ? alike * chunk : chunk;
    }
    return done;
}

/* The number that the device means by @size bytes, and back. */
static uint64_t number_of_bytes(const MemoryRegion *mr, const uint8_t *bytes, unsigned size)
{
    switch (size) {
    case 1:
        return bytes[0];
    case 2:
        return host_load(bytes, 2, mr->big_endian);
    case 4:
        return host_load(bytes, 4, mr->big_endian);
    default:
        return host_load(bytes, 8, mr->big_endian);
    }
}

static void bytes_of_number(const MemoryRegion *mr, uint8_t *bytes, uint64_t value, unsigned size)
{
    switch (size) {
    case 1:
        bytes[0] = (uint8_t)value;
        break;
    case 2:
        host_store(bytes, value, 2, mr->big_endian);
        break;
    case 4:
        host_store(bytes, value, 4, mr->big_endian);
        break;
    default:
        host_store(bytes, value, 8, mr->big_endian);
    }
}

MemTxResult mmio_read_bytes(MemoryRegion *mr, hwaddr offset, void *buf, hwaddr len,
                            MemTxAttrs attrs)
{
    MemTxResult result = MEMTX_OK;
    uint8_t *bytes = buf;
    uint64_t value;

    while (len) {
        unsigned chunk = mmio_chunk(mr, offset, len);
        result |= mmio_read(mr, offset, &value, chunk, attrs);
        bytes_of_number(mr, bytes, value, chunk);
        bytes += chunk;
        offset += chunk;
        len -= chunk;
    }
    return result;
}

MemTxResult mmio_write_bytes(MemoryRegion *mr, hwaddr offset, const void *buf, hwaddr len,
                             MemTxAttrs attrs)
{
    MemTxResult result = MEMTX_OK;
    const uint8_t *bytes = buf;

    while (len) {
        unsigned chunk = mmio_chunk(mr, offset, len);
        result |= mmio_write(mr, offset, number_of_bytes(mr, bytes, chunk), chunk, attrs);
        bytes += chunk;
        offset += chunk;
        len -= chunk;
    }
    return result;
}
