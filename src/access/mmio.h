/* SPDX-License-Identifier: MIT */
/* mmio.h - one access to one device. See mmio.c. */
#ifndef ACCESS_MMIO_H
#define ACCESS_MMIO_H

#include "map/flatview.h"
#include "map/system.h"

/*
 * Values here are numbers as the device means them; device bytes and numbers of other byte
 * order are converted by mmio_to_order(). Offsets are in the region. Context: RCU reader.
 */

/*
 * What is asked of a region here is constant while it is mapped. What an edit can change (size,
 * read-only, romd mode) a reader takes from the view, not from the region: its caller has
 * checked that.
 */

/* Whether the device takes the access. */
bool mmio_valid(const MemoryRegion *mr, hwaddr offset, unsigned size, bool is_write,
                MemTxAttrs attrs);

/*
 * One access of @size (1, 2, 4, 8) bytes with lock and guard: what a load, a store or a chunk
 * does.
 */
MemTxResult mmio_read(MemoryRegion *mr, hwaddr offset, uint64_t *value, unsigned size,
                      MemTxAttrs attrs);
MemTxResult mmio_write(MemoryRegion *mr, hwaddr offset, uint64_t value, unsigned size,
                       MemTxAttrs attrs);

/*
 * Bytes: cut into chunks that the device takes. A failed chunk reads as zeros, and the rest
 * goes on.
 */
MemTxResult mmio_read_bytes(MemoryRegion *mr, hwaddr offset, void *buf, hwaddr len,
                            MemTxAttrs attrs);
MemTxResult mmio_write_bytes(MemoryRegion *mr, hwaddr offset, const void *buf, hwaddr len,
                             MemTxAttrs attrs);

/* The width of the next chunk of @len bytes at @offset. */
unsigned mmio_chunk(const MemoryRegion *mr, hwaddr offset, hwaddr len);

/*
 * An access goes to the device that answers at its first byte, as wide as it is, also where the
 * bytes behind that are another's (port 0xcf9 in the middle of the PC's 0xcf8), but never past the
 * end of the device's region: callbacks may rely on that. Where nobody answers, the bytes behind
 * are whose they are.
 *
 * Whether all @size bytes at @addr, the first of which is in @range, are of one such access.
 */
bool mmio_wide(const FlatRange *range, hwaddr addr, unsigned size, bool is_write);

/* How many of the @len bytes at @addr, more than @range has, go to it: a last chunk may be wide. */
hwaddr mmio_part_beyond(const FlatRange *range, hwaddr addr, hwaddr len, bool is_write);

static inline hwaddr mmio_part(const FlatRange *range, hwaddr addr, hwaddr len, bool is_write)
{
    return len - 1 <= range->last - addr ? len : mmio_part_beyond(range, addr, len, is_write);
}

static inline unsigned power_of_two_floor(unsigned n)
{
    return 1U << (31 - __builtin_clz(n));
}

static inline uint64_t swap_bytes(uint64_t value, unsigned size)
{
    return __builtin_bswap64(value) >> (64 - 8 * size);
}

static inline uint64_t low_bytes(uint64_t value, unsigned size)
{
    return value & (UINT64_MAX >> (64 - 8 * size));
}

/* A device's number as one of an access in the given byte order, and back. */
static inline uint64_t mmio_to_order(const MemoryRegion *mr, uint64_t value, unsigned size,
                                     bool big_endian)
{
    return mr->big_endian == big_endian ? value : swap_bytes(value, size);
}

/* ---- in and out of a device ------------------------------------------------------- */

/*
 * The devices whose callbacks this thread is in. One that comes twice has reached itself through
 * DMA. Being the thread's own, the list costs lockless devices no sharing; being short, it keeps a
 * chain of unguarded devices from exhausting the stack.
 */
#define MAX_NESTING 32

typedef struct EnteredDevices {
    unsigned count;
    const void *guard[MAX_NESTING];
} EnteredDevices;

extern __thread EnteredDevices entered_devices;

bool may_nest_device(const MemoryRegion *mr);

/* The writes that an accelerator keeps back are older than an access to @mr: they go first. */
void flush_coalesced(const MemoryRegion *mr);

static inline bool enter_device(const MemoryRegion *mr)
{
    if (__builtin_expect(__atomic_load_n(&mr->flush_coalesced, __ATOMIC_RELAXED), 0)) {
        flush_coalesced(mr);
    }
    if (__builtin_expect(entered_devices.count, 0) && !may_nest_device(mr)) {
        return false;
    }
    entered_devices.guard[entered_devices.count++] = mr->guard;
    if (!mr->lockless) {
        machine_lock(mr->owner->ms);
    }
    return true;
}

static inline void leave_device(const MemoryRegion *mr)
{
    entered_devices.count--;
    if (!mr->lockless) {
        machine_unlock(mr->owner->ms);
    }
}

/* Whether the access is one bare callback that any initiator may make. */
static inline bool plain_access(uint8_t plain_sizes, hwaddr offset, unsigned size, MemTxAttrs attrs)
{
    return (plain_sizes & size) && !(offset & (size - 1)) && !attrs.memory;
}

#endif
