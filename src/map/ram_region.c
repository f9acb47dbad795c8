/* SPDX-License-Identifier: MIT */
/* Regions with host memory behind them. */
#include "base/error.h"
#include "base/range.h"
#include "map/edit.h"
#include "map/ops.h"
#include "map/region.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct BlockSource {
    HostMemory memory;
    hwaddr max_length; /* 0: the region's size, in host pages */
    int fd;
    hwaddr fd_offset;
    bool preallocated;
} BlockSource;

/*
 * A terminating region over @source's memory, which it takes over; on an error @source is the
 * caller's still.
 */
static int ram_region(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                      const BlockSource *source)
{
    int result = region_init(mr, owner, name, size);

    if (result) {
        return result;
    }
    machine_lock(owner->ms);
    hwaddr used = source->preallocated ? size : hostmem_round(size);
    mr->ram_block = ram_block_create(&owner->ms->ram, mr, name, source->memory, used,
                                     source->max_length ? source->max_length : used, source->fd,
                                     source->fd_offset);
    if (mr->ram_block) {
        mr->ram_block->preallocated = source->preallocated;
        mr->ram = true;
        mr->terminates = true;
    } else {
        region_end(mr);
        result = -ENOMEM;
    }
    machine_unlock(owner->ms);
    return result;
}

static int anonymous_region(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                            hwaddr max_size)
{
    BlockSource source = {.fd = -1, .max_length = hostmem_round(max_size)};
    const char *shown = name ? name : "";

    if (!mr || !owner) {
        return fail(EINVAL, "RAM '%s': %s is NULL", shown, mr ? "owner" : "storage");
    }
    if (size == UINT64_MAX || size == 0 || size > max_size) {
        return fail(EINVAL, "RAM '%s': a size of 0x%" PRIx64 " (maximum 0x%" PRIx64 ") is no RAM",
                    shown, size, max_size);
    }
    int result = hostmem_map_anonymous(&source.memory, max_size, shown);
    if (!result) {
        result = ram_region(mr, owner, name, size, &source);
        if (result) {
            hostmem_unmap(&source.memory);
        }
    }
    return result;
}

int memory_region_init_ram(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                           Error **errp)
{
    return error_pass(errp, anonymous_region(mr, owner, name, size, size));
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
                                  rounded_max);

    if (!result) {
        mr->ram_block->resizeable = true;
        mr->ram_block->resized = resized;
    }
    return error_pass(errp, result);
}

static int resize(MemoryRegion *mr, hwaddr newsize)
{
    RAMBlock *block = mr->ram_block;
    hwaddr rounded = hostmem_round(newsize);

    if (!block || !block->resizeable) {
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

int memory_region_init_ram_ptr(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                               void *ptr)
{
    BlockSource source = {.memory = {ptr, (size_t)size}, .fd = -1, .preallocated = true};

    if (!ptr || size == 0 || size - 1 > UINTPTR_MAX - (uintptr_t)ptr) {
        return fail(EINVAL, "RAM '%s': 0x%" PRIx64 " bytes at %p is no memory", name ? name : "",
                    size, ptr);
    }
    return ram_region(mr, owner, name, size, &source);
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
                     hwaddr align, uint32_t ram_flags, int fd, hwaddr offset)
{
    BlockSource source = {.fd = fd, .fd_offset = offset};
    const char *shown = name ? name : "";

    if (ram_flags & ~(RAM_SHARED | RAM_READONLY)) {
        return fail(EINVAL, "RAM '%s': unknown flags 0x%x", shown, ram_flags);
    }
    int result = hostmem_map_fd(&source.memory, size, fd, offset, align, ram_flags & RAM_SHARED,
                                ram_flags & RAM_READONLY, shown);
    if (result) {
        return result;
    }
    result = ram_region(mr, owner, name, size, &source);
    if (result) {
        hostmem_unmap(&source.memory);
        return result;
    }
    mr->ram_block->shared = ram_flags & RAM_SHARED;
    mr->ram_block->readonly = ram_flags & RAM_READONLY;
    mr->state.readonly = ram_flags & RAM_READONLY;
    return 0;
}

int memory_region_init_ram_from_fd(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                                   hwaddr size, uint32_t ram_flags, int fd, hwaddr offset,
                                   Error **errp)
{
    return error_pass(errp, fd_region(mr, owner, name, size, 0, ram_flags, fd, offset));
}

typedef struct OpenedFile {
    int fd;
    bool created;
    off_t grown_from; /* its size before, or -1 */
} OpenedFile;

/* Open @path, made if need be, and @end bytes long if it is shorter and may be written. */
static int open_file(OpenedFile *file, const char *path, const char *name, bool readonly,
                     hwaddr end)
{
    int flags = (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC;
    struct stat st;

    *file = (OpenedFile){.fd = open(path, flags), .grown_from = -1};
    if (file->fd < 0 && errno == ENOENT && !readonly) {
        file->fd = open(path, flags | O_CREAT | O_EXCL, 0644);
        file->created = file->fd >= 0;
    }
    if (file->fd < 0) {
        int err = errno;
        return fail(err, "RAM '%s': cannot open %s: %s", name, path, strerror(err));
    }
    if (!readonly && fstat(file->fd, &st) == 0 && S_ISREG(st.st_mode) && end <= INT64_MAX &&
        (hwaddr)st.st_size < end) {
        if (ftruncate(file->fd, (off_t)end)) {
            int err = errno;
            return fail(err, "RAM '%s': cannot grow %s to %" PRIu64 " bytes: %s", name, path, end,
                        strerror(err));
        }
        file->grown_from = st.st_size;
    }
    return 0;
}

/* Leave the file as it was found. */
static void undo_file(const OpenedFile *file, const char *path)
{
    if (file->fd < 0) {
        return;
    }
    if (file->created) {
        unlink(path);
    } else if (file->grown_from >= 0 && ftruncate(file->fd, file->grown_from)) {
        /* It stays longer than it was: nothing more can be done. */
    }
    close(file->fd);
}

int memory_region_init_ram_from_file(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                                     hwaddr size, hwaddr align, uint32_t ram_flags,
                                     const char *path, hwaddr offset, Error **errp)
{
    OpenedFile file;
    int result = open_file(&file, path, name ? name : "", ram_flags & RAM_READONLY,
                           hwaddr_add_clipped(offset, size));

    if (!result) {
        result = fd_region(mr, owner, name, size, align, ram_flags, file.fd, offset);
    }
    if (result) {
        undo_file(&file, path);
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
        result = anonymous_region(mr, owner, name, size, size);
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
