/* SPDX-License-Identifier: MIT */
/*
 * virtio-mem: memory that the host offers in blocks, and the guest plugs and unplugs.
 *
 * Which blocks are plugged is what the RamDiscardManager of the region knows. A block that is
 * unplugged goes back to the host before the listeners are told to discard it: giving back can
 * fail, telling cannot.
 */
#include "base/error.h"
#include "base/range.h"
#include "dimm/device.h"
#include "map/ram_discard.h"

#include <errno.h>
#include <inttypes.h>

#define DEFAULT_BLOCK_SIZE (2ULL << 20)
#define MIN_BLOCK_SIZE (1ULL << 20)

static int check_requested(const MemoryDeviceState *md, hwaddr size)
{
    if (size % md->virtio_mem.block_size || size > md->memory->state.size) {
        return fail(EINVAL,
                    "virtio-mem '%s': a requested size of 0x%" PRIx64
                    " is not a multiple of the block size 0x%" PRIx64 " up to 0x%" PRIx64,
                    md->id, size, md->virtio_mem.block_size, md->memory->state.size);
    }
    return 0;
}

static int check_config(const MemoryDeviceState *md, hwaddr block_size, size_t page_size)
{
    if ((block_size & (block_size - 1)) || block_size < MIN_BLOCK_SIZE || block_size < page_size) {
        return fail(EINVAL,
                    "virtio-mem '%s': a block size of 0x%" PRIx64
                    " is not a power of two of at least 1 MiB and the page size 0x%zx",
                    md->id, block_size, page_size);
    }
    const RAMBlock *block = md->memory->ram_block;
    if (block->flags & RAM_PREALLOC) {
        return fail(ENOTSUP, "virtio-mem '%s': the caller's memory cannot be given back", md->id);
    }
    if (block->fd >= 0 && !(block->flags & RAM_SHARED)) {
        return fail(ENOTSUP,
                    "virtio-mem '%s': its backend '%s' is a private mapping of a file, which keeps "
                    "what is given back (share=on does not)",
                    md->id, block->idstr);
    }
    if (md->memory->state.readonly) {
        return fail(EINVAL, "virtio-mem '%s': its backend is read-only", md->id);
    }
    return 0;
}

static int realize(MemoryDeviceState *md, const MemoryDeviceConfig *config)
{
    size_t page_size = md->memory->ram_block->page_size;
    hwaddr block_size =
        config->block_size ? config->block_size : hwaddr_max(DEFAULT_BLOCK_SIZE, page_size);
    int result = check_config(md, block_size, page_size);

    if (result) {
        return result;
    }
    md->region = md->memory;
    md->align = hwaddr_max(md->align, block_size);
    md->virtio_mem.block_size = block_size;
    md->virtio_mem.requested = config->requested_size;
    result = check_requested(md, config->requested_size);
    if (result) {
        return result;
    }
    Error *err = NULL;
    md->virtio_mem.blocks = ram_discard_manager_create(md->memory, block_size, &err);
    if (!md->virtio_mem.blocks) {
        result = err ? error_get_errno(err) : -ENOMEM;
        error_free(err);
        return result;
    }
    return memory_region_set_ram_discard_manager(md->memory, md->virtio_mem.blocks);
}

/* Nothing is plugged at first, so nothing is to be spent. */
static int prepare(MemoryDeviceState *md)
{
    return ram_block_discard_range(md->memory->ram_block, 0, md->memory->state.size);
}

/* Those who listen go when they see it go, which within a transaction is too late. */
static int check_unplug(const MemoryDeviceState *md)
{
    const RamDiscardManager *blocks = md->virtio_mem.blocks;
    hwaddr plugged = ram_discard_manager_populated_size(blocks);

    if (plugged) {
        return fail(EBUSY, "virtio-mem '%s': 0x%" PRIx64 " bytes are plugged still", md->id,
                    plugged);
    }
    if (md->area->ms->transaction_depth && blocks->first) {
        return fail(EBUSY,
                    "virtio-mem '%s': RAM discard listeners are registered, which cannot be told "
                    "within a transaction that it goes",
                    md->id);
    }
    return discard_check(blocks, 0, md->memory->state.size);
}

static void unrealize(MemoryDeviceState *md)
{
    ram_discard_manager_destroy(md->virtio_mem.blocks);
}

static void query(const MemoryDeviceState *md, MemoryDeviceInfo *info)
{
    info->size = ram_discard_manager_populated_size(md->virtio_mem.blocks);
    info->requested_size = md->virtio_mem.requested;
    info->max_size = md->memory->state.size;
    info->block_size = md->virtio_mem.block_size;
}

const MemoryDeviceClass memory_device_virtio_mem = {
    .type = "virtio-mem-pci",
    .realize = realize,
    .prepare = prepare,
    .check_unplug = check_unplug,
    .unrealize = unrealize,
    .query = query,
};

/* ---- requests ----------------------------------------------------------------------- */

int virtio_mem_set_requested_size(MemoryDeviceState *md, hwaddr size, Error **errp)
{
    machine_lock(md->area->ms);
    int result = device_check_kind(md, MEMORY_DEVICE_VIRTIO_MEM);
    if (!result) {
        result = check_requested(md, size);
    }
    if (!result) {
        md->virtio_mem.requested = size;
    }
    machine_unlock(md->area->ms);
    return error_pass(errp, result);
}

/* [@addr, @addr + @size - 1] as blocks of @md that may be changed now; @offset in its region. */
static int find_blocks(const MemoryDeviceState *md, hwaddr addr, hwaddr size, hwaddr *offset)
{
    *offset = addr - md->place.first;
    int result = device_check_kind(md, MEMORY_DEVICE_VIRTIO_MEM);

    if (result) {
        return result;
    }
    if (addr < md->place.first || addr > md->place.last || size - 1 > md->place.last - addr) {
        return fail(EINVAL,
                    "virtio-mem '%s': 0x%" PRIx64 " bytes at 0x%" PRIx64
                    " are not within its 0x%" PRIx64 "-0x%" PRIx64,
                    md->id, size, addr, md->place.first, md->place.last);
    }
    return discard_check(md->virtio_mem.blocks, *offset, size);
}

static int plug(MemoryDeviceState *md, hwaddr addr, hwaddr size)
{
    hwaddr offset;
    int result = find_blocks(md, addr, size, &offset);

    if (result) {
        return result;
    }
    hwaddr plugged = ram_discard_manager_populated_size(md->virtio_mem.blocks);
    if (plugged > md->virtio_mem.requested || size > md->virtio_mem.requested - plugged) {
        return fail(ENOSPC,
                    "virtio-mem '%s': 0x%" PRIx64 " bytes more than the plugged 0x%" PRIx64
                    " are beyond the requested 0x%" PRIx64,
                    md->id, size, plugged, md->virtio_mem.requested);
    }
    return ram_discard_manager_populate(md->virtio_mem.blocks, offset, size, NULL);
}

static int give_back(MemoryDeviceState *md, hwaddr offset, hwaddr size)
{
    int result = ram_block_discard_range(md->memory->ram_block, offset, size);

    return result ? result : ram_discard_manager_discard(md->virtio_mem.blocks, offset, size, NULL);
}

static int unplug(MemoryDeviceState *md, hwaddr addr, hwaddr size)
{
    hwaddr offset;
    int result = find_blocks(md, addr, size, &offset);

    if (result) {
        return result;
    }
    MemoryRegionSection section = {.mr = md->memory, .offset_within_region = offset, .size = size};
    if (!ram_discard_manager_is_populated(md->virtio_mem.blocks, &section)) {
        return fail(EINVAL,
                    "virtio-mem '%s': not all of the 0x%" PRIx64 " bytes at 0x%" PRIx64
                    " are plugged",
                    md->id, size, addr);
    }
    return give_back(md, offset, size);
}

int virtio_mem_plug(MemoryDeviceState *md, hwaddr addr, hwaddr size, Error **errp)
{
    machine_lock(md->area->ms);
    int result = plug(md, addr, size);
    machine_unlock(md->area->ms);
    return error_pass(errp, result);
}

int virtio_mem_unplug(MemoryDeviceState *md, hwaddr addr, hwaddr size, Error **errp)
{
    machine_lock(md->area->ms);
    int result = unplug(md, addr, size);
    machine_unlock(md->area->ms);
    return error_pass(errp, result);
}

int virtio_mem_unplug_all(MemoryDeviceState *md, Error **errp)
{
    hwaddr offset;

    machine_lock(md->area->ms);
    int result = find_blocks(md, md->place.first, md->place.last - md->place.first + 1, &offset);
    if (!result) {
        result = give_back(md, offset, md->memory->state.size);
    }
    machine_unlock(md->area->ms);
    return error_pass(errp, result);
}
