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

/*
 * A terminating region over @config's memory, which it takes over; on an error it is the
 * caller's still. Lengths that are 0 are the region's.
 */
static int ram_region(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                      RAMBlockConfig config)
{
    int result = region_init(mr, owner, name, size);

    if (result) {
        return result;
    }
    machine_lock(owner->ms);
    config.owner = owner == owner->ms->board ? NULL : owner->name;
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
    int result = hostmem_map_anonymous(&config.memory, max_size, shown);
    if (!result) {
        result = ram_region(mr, owner, name, size, config);
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
                                  rounded_max, RAM_RESIZEABLE);

    if (!result) {
        mr->ram_block->resized = resized;
    }
    return error_pass(errp, result);
}

int memory_region_init_ram_ptr(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                               void *ptr)
{
    RAMBlockConfig config = {.memory = {ptr, (size_t)size}, .fd = -1, .flags = RAM_PREALLOC};

    if (!ptr || size == 0 || size - 1 > UINTPTR_MAX - (uintptr_t)ptr) {
        return fail(EINVAL, "RAM '%s': 0x%" PRIx64 " bytes at %p is no memory", name ? name : "",
                    size, ptr);
    }
    return ram_region(mr, owner, name, size, config);
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
    RAMBlockConfig config = {.fd = fd, .fd_offset = offset, .flags = ram_flags};
    const char *shown = name ? name : "";

    if (ram_flags & ~(RAM_SHARED | RAM_READONLY)) {
        return fail(EINVAL, "RAM '%s': unknown flags 0x%x", shown, ram_flags);
    }
    int result = hostmem_map_fd(&config.memory, size, fd, offset, align, ram_flags & RAM_SHARED,
                                ram_flags & RAM_READONLY, shown);
    if (result) {
        return result;
    }
    result = ram_region(mr, owner, name, size, config);
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
