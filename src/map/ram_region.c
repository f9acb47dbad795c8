/* SPDX-License-Identifier: MIT */
/* Regions with host memory behind them. */
#include "base/error.h"
#include "base/range.h"
#include "map/edit.h"
#include "map/ops.h"
#include "map/region.h"
#include "ram/hostfile.h"

#include <errno.h>
#include <inttypes.h>

/* The board is none, nor is an object with a path, such as a memory backend. */
static bool is_device(const MemoryOwner *owner)
{
    return owner != owner->ms->board && owner->name[0] != '/';
}

int region_init_ram(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                    RAMBlockConfig config)
{
    int result = region_init(mr, owner, name, size);

    if (result) {
        return result;
    }
    machine_lock(owner->ms);
    config.owner = is_device(owner) ? owner->name : NULL;
    config.name = mr->name;
    config.used_length = config.flags & RAM_PREALLOC ? size : hostmem_round(size);
    config.max_length = config.max_length ? config.max_length : config.used_length;
    config.log_clients = owner->ms->global_log_mask;
    result = ram_block_create(&owner->ms->ram, mr, &config, &mr->ram_block);
    if (!result) {
        mr->ram = true;
        mr->terminates = true;
    } else {
        region_end(mr);
    }
    machine_unlock(owner->ms);
    return result;
}

static int anonymous_region(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                            hwaddr max_size, uint32_t flags)
{
    RAMBlockConfig config = {.fd = -1, .max_length = hostmem_round(max_size), .flags = flags};
    const char *shown = name ? name : "";

    if (!mr || !owner) {
        return fail(EINVAL, "RAM '%s': %s is NULL", shown, mr ? "owner" : "storage");
    }
    if (size == UINT64_MAX || size == 0 || size > max_size) {
        return fail(EINVAL, "RAM '%s': a size of 0x%" PRIx64 " (maximum 0x%" PRIx64 ") is no RAM",
                    shown, size, max_size);
    }
    HostMapping mapping = {.name = shown, .size = max_size, .fd = -1, .no_reserve = true};
    int result = hostmem_map(&config.memory, &mapping);
    if (!result) {
        result = region_init_ram(mr, owner, name, size, config);
        if (result) {
            hostmem_unmap(&config.memory);
        }
    }
    return result;
}

int memory_region_init_ram(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                           Error **errp)
{
    return error_pass(errp, anonymous_region(mr, owner, name, size, size, 0));
}

int memory_region_init_rom(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                           Error **errp)
{
    int result = memory_region_init_ram(mr, owner, name, size, errp);

    if (!result) {
        mr->state.readonly = true;
    }
    return result;
}

int memory_region_init_resizeable_ram(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                                      hwaddr size, hwaddr max_size,
                                      void (*resized)(const char *idstr, hwaddr length, void *host),
                                      Error **errp)
{
    hwaddr rounded_max = hostmem_round(max_size);
    int result = anonymous_region(mr, owner, name, size <= max_size ? hostmem_round(size) : size,
                                  rounded_max ? rounded_max : max_size, RAM_RESIZEABLE);

    if (!result) {
        mr->ram_block->resized = resized;
    }
    return error_pass(errp, result);
}

int memory_region_init_ram_ptr(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                               void *ptr)
{
    RAMBlockConfig config = {
        .memory = {.host = ptr, .size = (size_t)size}, .fd = -1, .flags = RAM_PREALLOC};

    if (!ptr || size == 0 || size - 1 > UINTPTR_MAX - (uintptr_t)ptr) {
        return fail(EINVAL, "RAM '%s': 0x%" PRIx64 " bytes at %p is no memory", name ? name : "",
                    size, ptr);
    }
    return region_init_ram(mr, owner, name, size, config);
}

int memory_region_init_ram_device_ptr(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                                      hwaddr size, void *ptr)
{
    int result = memory_region_init_ram_ptr(mr, owner, name, size, ptr);

    if (!result) {
        mr->ram_device = true;
    }
    return result;
}

static int fd_region(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                     hwaddr align, uint32_t ram_flags, const HostFile *file, hwaddr offset)
{
    int fd = file->fd;
    RAMBlockConfig config = {
        .fd = fd,
        .fd_offset = offset,
        .flags = ram_flags | (file->named ? RAM_NAMED_FILE : 0),
    };
    const char *shown = name ? name : "";

    if (ram_flags & ~(RAM_SHARED | RAM_READONLY)) {
        return fail(EINVAL, "RAM '%s': unknown flags 0x%x", shown, ram_flags);
    }
    if (fd < 0) {
        return fail(EBADF, "RAM '%s': fd %d is no open file", shown, fd);
    }
    config.page_size = hostmem_fd_page_size(fd);
    HostMapping mapping = {
        .name = shown,
        .size = size,
        .align = align,
        .page_size = config.page_size,
        .fd = fd,
        .fd_offset = offset,
        .shared = ram_flags & RAM_SHARED,
        .readonly = ram_flags & RAM_READONLY,
        .no_reserve = !(ram_flags & RAM_SHARED),
    };
    int result = hostmem_map(&config.memory, &mapping);
    if (result) {
        return result;
    }
    result = region_init_ram(mr, owner, name, size, config);
    if (result) {
        hostmem_unmap(&config.memory);
        return result;
    }
    mr->state.readonly = ram_flags & RAM_READONLY;
    return 0;
}

int memory_region_init_ram_from_fd(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                                   hwaddr size, uint32_t ram_flags, int fd, hwaddr offset,
                                   Error **errp)
{
    HostFile file = {.fd = fd};

    return error_pass(errp, fd_region(mr, owner, name, size, 0, ram_flags, &file, offset));
}

int memory_region_init_ram_from_file(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                                     hwaddr size, hwaddr align, uint32_t ram_flags,
                                     const char *path, hwaddr offset, Error **errp)
{
    HostFile file;
    bool readonly = ram_flags & RAM_READONLY;
    int result = hostfile_open(&file, name ? name : "", path, readonly);

    if (!result && !readonly) {
        result = hostfile_grow(&file, hwaddr_add_clipped(offset, size));
    }
    if (!result) {
        result = fd_region(mr, owner, name, size, align, ram_flags, &file, offset);
    }
    if (result) {
        hostfile_undo(&file);
    }
    return error_pass(errp, result);
}

int memory_region_init_ram_unbacked(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                                    hwaddr size)
{
    int result = region_init(mr, owner, name, size);

    if (!result) {
        mr->ram = true;
        mr->terminates = true;
    }
    return result;
}

/* ---- ROM devices ------------------------------------------------------------------ */

static int check_rom_device_ops(const MemoryRegionOps *ops, const char *name)
{
    return ops ? ops_check(ops, name)
               : fail(EINVAL, "ROM device '%s' has no ops", name ? name : "");
}

static void make_rom_device(MemoryRegion *mr, const MemoryRegionOps *ops, void *opaque)
{
    mr->ram = false;
    mr->rom_device = true;
    ops_install(mr, ops, opaque);
}

int memory_region_init_rom_device(MemoryRegion *mr, MemoryOwner *owner, const MemoryRegionOps *ops,
                                  void *opaque, const char *name, hwaddr size, Error **errp)
{
    int result = check_rom_device_ops(ops, name);

    if (!result) {
        result = anonymous_region(mr, owner, name, size, size, 0);
    }
    if (!result) {
        make_rom_device(mr, ops, opaque);
    }
    return error_pass(errp, result);
}

int memory_region_init_rom_device_unbacked(MemoryRegion *mr, MemoryOwner *owner,
                                           const MemoryRegionOps *ops, void *opaque,
                                           const char *name, hwaddr size)
{
    int result = check_rom_device_ops(ops, name);

    if (!result) {
        result = memory_region_init_ram_unbacked(mr, owner, name, size);
    }
    if (!result) {
        make_rom_device(mr, ops, opaque);
    }
    return result;
}
