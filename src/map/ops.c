/* SPDX-License-Identifier: MIT */
#include "map/ops.h"

#include "base/error.h"

#include <errno.h>

static bool reject_all(void *opaque, hwaddr addr, unsigned size, bool is_write, MemTxAttrs attrs)
{
    (void)opaque;
    (void)addr;
    (void)size;
    (void)is_write;
    (void)attrs;
    return false;
}

const MemoryRegionOps ops_unassigned = {
    .endianness = DEVICE_NATIVE_ENDIAN,
    .valid = {.max_access_size = 8, .accepts = reject_all},
};

static uint64_t read_ones(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque;
    (void)addr;
    (void)size;
    return UINT64_MAX;
}

static void drop_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque;
    (void)addr;
    (void)data;
    (void)size;
}

const MemoryRegionOps ops_unassigned_ports = {
    .read = read_ones,
    .write = drop_write,
    .endianness = DEVICE_NATIVE_ENDIAN,
    .valid = {.unaligned = true},
    .impl = {.max_access_size = 8, .unaligned = true},
};

static bool is_width(unsigned size, unsigned max)
{
    return (size & (size - 1)) == 0 && size <= max;
}

int ops_check(const MemoryRegionOps *ops, const char *name)
{
    const char *shown = name ? name : "";

    if (!is_width(ops->valid.min_access_size, 1U << 31) ||
        !is_width(ops->valid.max_access_size, 1U << 31)) {
        return fail(EINVAL, "ops of region '%s': valid sizes %u to %u are not powers of two", shown,
                    ops->valid.min_access_size, ops->valid.max_access_size);
    }
    if (!is_width(ops->impl.min_access_size, 8) || !is_width(ops->impl.max_access_size, 8)) {
        return fail(EINVAL, "ops of region '%s': impl sizes %u to %u are not powers of two up to 8",
                    shown, ops->impl.min_access_size, ops->impl.max_access_size);
    }
    unsigned valid_max = ops->valid.max_access_size;
    if (valid_max && ops->valid.min_access_size > valid_max) {
        return fail(EINVAL, "ops of region '%s': valid.min_access_size %u is above max %u", shown,
                    ops->valid.min_access_size, valid_max);
    }
    unsigned impl_max = ops->impl.max_access_size ? ops->impl.max_access_size : 4;
    if (ops->impl.min_access_size > impl_max) {
        return fail(EINVAL, "ops of region '%s': impl.min_access_size %u is above max %u", shown,
                    ops->impl.min_access_size, impl_max);
    }
    if (ops->impl.unaligned && !ops->valid.unaligned) {
        return fail(EINVAL, "ops of region '%s': impl.unaligned without valid.unaligned", shown);
    }
    return 0;
}

/*
 * Widths (bits 1, 2, 4, 8) at which an aligned access is valid and is one callback of the same
 * width.
 */
static uint8_t plain_sizes(const MemoryRegionOps *ops)
{
    unsigned impl_min = ops->impl.min_access_size ? ops->impl.min_access_size : 1;
    unsigned impl_max = ops->impl.max_access_size ? ops->impl.max_access_size : 4;
    unsigned valid_max = ops->valid.max_access_size ? ops->valid.max_access_size : 8;
    unsigned sizes = 0;

    for (unsigned size = 1; size <= 8; size *= 2) {
        if (size >= impl_min && size <= impl_max && size >= ops->valid.min_access_size &&
            size <= valid_max && !ops->valid.accepts) {
            sizes |= size;
        }
    }
    return (uint8_t)sizes;
}

void ops_install(MemoryRegion *mr, const MemoryRegionOps *ops, void *opaque)
{
    MemorySystem *ms = region_system(mr);

    mr->ops = ops;
    mr->opaque = opaque;
    mr->big_endian = ops->endianness == DEVICE_BIG_ENDIAN ||
                     (ops->endianness == DEVICE_NATIVE_ENDIAN && ms->target_big_endian);
    mr->plain_read_sizes = ops->read && !mr->rom_device ? plain_sizes(ops) : 0;
    mr->plain_write_sizes = ops->write ? plain_sizes(ops) : 0;
    if (ops == &ops_unassigned || ops == &ops_unassigned_ports) {
        mr->guard = NULL; /* there is no device */
        mr->lockless = true;
    } else {
        machine_lock(ms);
        ms->endian_used = true;
        machine_unlock(ms);
    }
}
