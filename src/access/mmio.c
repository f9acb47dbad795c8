/* SPDX-License-Identifier: MIT */
/*
 * One access to a device: check, lock, guard, and make the access from what the callbacks
 * implement.
 *
 * An access that the device implements as it is (plain_*_sizes, aligned) is one callback. Any
 * other is made of steps. With impl.unaligned a step starts where the access does, else at a
 * multiple of its width:
 *
 *      access   ..|..a b c d e..        steps of at most impl.max, aligned:  a | b c | d e
 *
 * A step that would be narrower than impl.min is done impl.min wide on the aligned window
 * around it: a read is cut out of the wide one; a write puts its bytes into their lanes, the
 * other lanes being zero, as QEMU documents (reading first could have side effects).
 */
#include "access/mmio.h"

#include "access/fast.h"
#include "access/host.h"
#include "map/ops.h"
#include "ram/log.h"

#include <membus/access.h>

__thread EnteredDevices entered_devices;

bool may_nest_device(const MemoryRegion *mr)
{
    if (entered_devices.count == MAX_NESTING) {
        return false;
    }
    for (unsigned i = 0; i < entered_devices.count && mr->guard; i++) {
        if (entered_devices.guard[i] == mr->guard) {
            return false;
        }
    }
    return true;
}

void flush_coalesced(const MemoryRegion *mr)
{
    MemorySystem *ms = mr->owner->ms;

    machine_lock(ms);
    if (ms->flush_coalesced) {
        ms->flush_coalesced(ms->flush_opaque);
    }
    machine_unlock(ms);
}

/* ---- checks ----------------------------------------------------------------------- */

static bool inside_region(const MemoryRegion *mr, hwaddr offset, unsigned size)
{
    return mr->state.size && offset <= region_last(mr) && size - 1 <= region_last(mr) - offset;
}

/* Whether a read is answered by host memory, as things are now; a view knows how they were. */
static bool reads_memory(const MemoryRegion *mr)
{
    return mr->ram_block && (mr->ram || (mr->rom_device && mr->state.romd_mode));
}

static bool ops_accept(const MemoryRegion *mr, hwaddr offset, unsigned size, bool is_write,
                       MemTxAttrs attrs)
{
    const MemoryRegionOps *ops = mr->ops;

    if (is_write ? !ops->write && !ops->write_with_attrs : !ops->read && !ops->read_with_attrs) {
        return false;
    }
    if (ops->valid.accepts && !ops->valid.accepts(mr->opaque, offset, size, is_write, attrs)) {
        return false;
    }
    if (!ops->valid.unaligned && (offset & (size - 1))) {
        return false;
    }
    return size >= ops->valid.min_access_size &&
           (!ops->valid.max_access_size || size <= ops->valid.max_access_size);
}

bool mmio_valid(const MemoryRegion *mr, hwaddr offset, unsigned size, bool is_write,
                MemTxAttrs attrs)
{
    if (mr->ram) {
        return mr->ram_block && !(is_write && (mr->ram_block->flags & RAM_READONLY));
    }
    if (!mr->ops || attrs.memory) {
        return false;
    }
    bool serialise = mr->ops->valid.accepts && !mr->lockless;
    if (serialise) {
        machine_lock(mr->owner->ms);
    }
    bool valid = ops_accept(mr, offset, size, is_write, attrs);
    if (serialise) {
        machine_unlock(mr->owner->ms);
    }
    return valid;
}

bool memory_region_access_valid(MemoryRegion *mr, hwaddr addr, unsigned size, bool is_write,
                                MemTxAttrs attrs)
{
    if (size == 0 || size > 8 || (size & (size - 1)) || !inside_region(mr, addr, size)) {
        return false;
    }
    if (is_write && mr->ram && mr->state.readonly && !attrs.debug) {
        return false;
    }
    return (!is_write && reads_memory(mr)) || mmio_valid(mr, addr, size, is_write, attrs);
}

/* ---- steps ------------------------------------------------------------------------ */

static MemTxResult callback_read(const MemoryRegion *mr, hwaddr offset, uint64_t *value,
                                 unsigned size, MemTxAttrs attrs)
{
    const MemoryRegionOps *ops = mr->ops;

    if (ops->read) {
        *value = ops->read(mr->opaque, offset, size);
        return MEMTX_OK;
    }
    *value = 0;
    return ops->read_with_attrs(mr->opaque, offset, value, size, attrs);
}

static MemTxResult callback_write(const MemoryRegion *mr, hwaddr offset, uint64_t value,
                                  unsigned size, MemTxAttrs attrs)
{
    const MemoryRegionOps *ops = mr->ops;

    if (ops->write) {
        ops->write(mr->opaque, offset, value, size);
        return MEMTX_OK;
    }
    return ops->write_with_attrs(mr->opaque, offset, value, size, attrs);
}

/* One step: @width bytes at @offset, of which @count from @skip on belong to the access. */
typedef struct Step {
    hwaddr offset;
    unsigned width, skip, count;
} Step;

static Step next_step(const MemoryRegionOps *ops, hwaddr offset, unsigned left)
{
    unsigned min = ops->impl.min_access_size ? ops->impl.min_access_size : 1;
    unsigned max = ops->impl.max_access_size ? ops->impl.max_access_size : 4;
    unsigned width = power_of_two_floor(left);

    if (width > max) {
        width = max;
    }
    if (!ops->impl.unaligned) {
        while (offset & (width - 1)) {
            width /= 2;
        }
    }
    if (width >= min) {
        return (Step){offset, width, 0, width};
    }
    unsigned skip = (unsigned)(offset & (min - 1));
    unsigned count = left < min - skip ? left : min - skip;
    return (Step){offset - skip, min, skip, count};
}

/* Where byte @index (by address) of a number of @size bytes is, as a shift. */
static unsigned byte_shift(const MemoryRegion *mr, unsigned index, unsigned size)
{
    return 8 * (mr->big_endian ? size - 1 - index : index);
}

/* Copy @count bytes, by address, from one number to another. */
static uint64_t move_bytes(const MemoryRegion *mr, uint64_t from, unsigned from_index,
                           unsigned from_size, uint64_t to, unsigned to_index, unsigned to_size,
                           unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t byte = (from >> byte_shift(mr, from_index + i, from_size)) & 0xff;
        to |= byte << byte_shift(mr, to_index + i, to_size);
    }
    return to;
}

static MemTxResult read_in_steps(const MemoryRegion *mr, hwaddr offset, uint64_t *value,
                                 unsigned size, MemTxAttrs attrs)
{
    MemTxResult result = MEMTX_OK;

    *value = 0;
    for (unsigned done = 0; done < size;) {
        Step step = next_step(mr->ops, offset + done, size - done);
        uint64_t part;
        result |= callback_read(mr, step.offset, &part, step.width, attrs);
        *value = move_bytes(mr, part, step.skip, step.width, *value, done, size, step.count);
        done += step.count;
    }
    return result;
}

static MemTxResult write_in_steps(const MemoryRegion *mr, hwaddr offset, uint64_t value,
                                  unsigned size, MemTxAttrs attrs)
{
    MemTxResult result = MEMTX_OK;

    for (unsigned done = 0; done < size;) {
        Step step = next_step(mr->ops, offset + done, size - done);
        uint64_t part = move_bytes(mr, value, done, size, 0, step.skip, step.width, step.count);
        result |= callback_write(mr, step.offset, part, step.width, attrs);
        done += step.count;
    }
    return result;
}

/* ---- RAM behind a dispatch: RAM devices, ROM, what is not backed ------------------ */

/* Exactly one load or store of the width where the pointer is aligned; else bytes. */
static uint64_t load_exact(const uint8_t *host, unsigned size)
{
    uint64_t value = 0;

    if ((uintptr_t)host & (size - 1)) {
        for (unsigned i = 0; i < size; i++) {
            unsigned shift = 8 * (HOST_BIG_ENDIAN ? size - 1 - i : i);
            value |= (uint64_t)__atomic_load_n(host + i, __ATOMIC_RELAXED) << shift;
        }
        return value;
    }
    const void *at = host;
    switch (size) {
    case 1:
        return __atomic_load_n((const uint8_t *)at, __ATOMIC_RELAXED);
    case 2:
        return __atomic_load_n((const uint16_t *)at, __ATOMIC_RELAXED);
    case 4:
        return __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
    default:
        return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
    }
}

static void store_exact(uint8_t *host, uint64_t value, unsigned size)
{
    if ((uintptr_t)host & (size - 1)) {
        for (unsigned i = 0; i < size; i++) {
            unsigned shift = 8 * (HOST_BIG_ENDIAN ? size - 1 - i : i);
            __atomic_store_n(host + i, (uint8_t)(value >> shift), __ATOMIC_RELAXED);
        }
        return;
    }
    void *at = host;
    switch (size) {
    case 1:
        __atomic_store_n((uint8_t *)at, (uint8_t)value, __ATOMIC_RELAXED);
        break;
    case 2:
        __atomic_store_n((uint16_t *)at, (uint16_t)value, __ATOMIC_RELAXED);
        break;
    case 4:
        __atomic_store_n((uint32_t *)at, (uint32_t)value, __ATOMIC_RELAXED);
        break;
    default:
        __atomic_store_n((uint64_t *)at, value, __ATOMIC_RELAXED);
        break;
    }
}

static MemTxResult ram_read(const MemoryRegion *mr, hwaddr offset, uint64_t *value, unsigned size)
{
    *value = 0;
    if (!mr->ram_block) {
        return MEMTX_ERROR;
    }
    uint64_t loaded = load_exact(mr->ram_block->host + offset, size);
    *value = mr->big_endian == HOST_BIG_ENDIAN ? loaded : swap_bytes(loaded, size);
    return MEMTX_OK;
}

static MemTxResult ram_write(const MemoryRegion *mr, hwaddr offset, uint64_t value, unsigned size)
{
    if (!mr->ram_block || (mr->ram_block->flags & RAM_READONLY)) {
        return MEMTX_ERROR;
    }
    ram_before_write(mr->ram_block, offset, size);
    store_exact(mr->ram_block->host + offset,
                mr->big_endian == HOST_BIG_ENDIAN ? value : swap_bytes(value, size), size);
    ram_after_write(mr->ram_block, offset, size);
    return MEMTX_OK;
}

/* ---- one access ------------------------------------------------------------------- */

static MemTxResult device_read(const MemoryRegion *mr, hwaddr offset, uint64_t *value,
                               unsigned size, MemTxAttrs attrs)
{
    MemTxResult result;

    if (!ops_accept(mr, offset, size, false, attrs)) {
        *value = 0;
        return MEMTX_DECODE_ERROR;
    }
    if ((mr->plain_read_sizes & size) && (offset & (size - 1)) == 0) {
        result = callback_read(mr, offset, value, size, attrs);
    } else {
        result = read_in_steps(mr, offset, value, size, attrs);
    }
    *value = low_bytes(*value, size);
    return result;
}

static MemTxResult device_write(const MemoryRegion *mr, hwaddr offset, uint64_t value,
                                unsigned size, MemTxAttrs attrs)
{
    value = low_bytes(value, size);
    if (!ops_accept(mr, offset, size, true, attrs)) {
        return MEMTX_DECODE_ERROR;
    }
    if ((mr->plain_write_sizes & size) && (offset & (size - 1)) == 0) {
        return callback_write(mr, offset, value, size, attrs);
    }
    return write_in_steps(mr, offset, value, size, attrs);
}

MemTxResult mmio_read(MemoryRegion *mr, hwaddr offset, uint64_t *value, unsigned size,
                      MemTxAttrs attrs)
{
    *value = 0;
    if (mr->ram) {
        return ram_read(mr, offset, value, size);
    }
    if (mr->ops == &ops_unassigned) {
        return MEMTX_DECODE_ERROR;
    }
    if (attrs.memory || !enter_device(mr)) {
        return MEMTX_ACCESS_ERROR;
    }
    MemTxResult result = device_read(mr, offset, value, size, attrs);
    leave_device(mr);
    return result;
}

MemTxResult mmio_write(MemoryRegion *mr, hwaddr offset, uint64_t value, unsigned size,
                       MemTxAttrs attrs)
{
    if (mr->ram) {
        return ram_write(mr, offset, value, size);
    }
    if (mr->ops == &ops_unassigned) {
        return MEMTX_DECODE_ERROR;
    }
    if (attrs.memory || !enter_device(mr)) {
        return MEMTX_ACCESS_ERROR;
    }
    MemTxResult result = device_write(mr, offset, value, size, attrs);
    leave_device(mr);
    return result;
}

MemTxResult memory_region_dispatch_read(MemoryRegion *mr, hwaddr addr, uint64_t *pval, MemOp op,
                                        MemTxAttrs attrs)
{
    unsigned size = 1U << (op & MO_SIZE);
    uint64_t value = 0;
    MemTxResult result = MEMTX_DECODE_ERROR;

    if (inside_region(mr, addr, size)) {
        if (mr->ram || reads_memory(mr)) {
            result = ram_read(mr, addr, &value, size);
        } else if (attrs.memory) {
            result = MEMTX_ACCESS_ERROR;
        } else if (mr->ops) {
            result = device_read(mr, addr, &value, size, attrs);
        }
    }
    *pval = mmio_to_order(mr, value, size, op & MO_BE);
    return result;
}

MemTxResult memory_region_dispatch_write(MemoryRegion *mr, hwaddr addr, uint64_t data, MemOp op,
                                         MemTxAttrs attrs)
{
    unsigned size = 1U << (op & MO_SIZE);
    uint64_t value = mmio_to_order(mr, low_bytes(data, size), size, op & MO_BE);

    if (!inside_region(mr, addr, size)) {
        return MEMTX_DECODE_ERROR;
    }
    if (mr->ram) {
        return mr->state.readonly && !attrs.debug ? MEMTX_ERROR : ram_write(mr, addr, value, size);
    }
    if (attrs.memory) {
        return MEMTX_ACCESS_ERROR;
    }
    return mr->ops ? device_write(mr, addr, value, size, attrs) : MEMTX_DECODE_ERROR;
}
