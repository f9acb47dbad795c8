/* SPDX-License-Identifier: MIT */
/*
 * Who gets a guest_memfd: RAM that nobody sees yet. So no listener has told anybody of it without,
 * and a range's memory is one thing for as long as it is shown.
 */
#include "base/error.h"
#include "map/system.h"
#include "ram/block.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

static int check_unseen(const MemorySystem *ms, const RAMBlock *block)
{
    const MemoryRegion *mr = block->mr;

    if (!mr) {
        return fail(EBUSY, "RAM '%s' has ended", block->idstr);
    }
    if (mr->state.container || mr->aliases || mr->spaces) {
        return fail(EBUSY, "RAM '%s' is mapped: its guest_memfd cannot change", block->idstr);
    }
    if (ms->transaction_depth) {
        return fail(EBUSY, "RAM '%s': no guest_memfd within a transaction", block->idstr);
    }
    return 0;
}

static int check_kind(const RAMBlock *block)
{
    if (block->guest_memfd >= 0) {
        return fail(EEXIST, "RAM '%s' has a guest_memfd already", block->idstr);
    }
    if (block->mr->state.readonly || block->mr->rom_device || block->mr->ram_device) {
        return fail(EINVAL, "'%s' is no plain RAM: it cannot have a guest_memfd", block->idstr);
    }
    return 0;
}

static int check_file(const RAMBlock *block, int fd, hwaddr offset)
{
    struct stat file;

    if (fstat(fd, &file)) {
        return fail(errno, "RAM '%s': guest_memfd %d is no open file: %s", block->idstr, fd,
                    strerror(errno));
    }
    if (offset & (hostmem_page_size() - 1)) {
        return fail(EINVAL, "RAM '%s': guest_memfd offset 0x%" PRIx64 " is not in whole host pages",
                    block->idstr, offset);
    }
    if (file.st_size < 0 || offset > (hwaddr)file.st_size ||
        block->max_length > (hwaddr)file.st_size - offset) {
        return fail(EINVAL,
                    "RAM '%s': a guest_memfd of 0x%" PRIx64 " bytes does not have 0x%" PRIx64
                    " from 0x%" PRIx64 " on",
                    block->idstr, (hwaddr)file.st_size, block->max_length, offset);
    }
    return 0;
}

int ram_block_set_guest_memfd(RAMBlock *block, int fd, hwaddr offset, Error **errp)
{
    MemorySystem *ms = container_of(block->list, MemorySystem, ram);

    machine_lock(ms);
    int result = check_unseen(ms, block);
    if (!result) {
        result = check_kind(block);
    }
    if (!result) {
        result = check_file(block, fd, offset);
    }
    if (!result) {
        block->guest_memfd = fd;
        block->guest_memfd_offset = offset;
        block->flags |= RAM_GUEST_MEMFD;
    }
    machine_unlock(ms);
    return error_pass(errp, result);
}

bool memory_region_has_guest_memfd(const MemoryRegion *mr)
{
    return mr->ram_block && mr->ram_block->guest_memfd >= 0;
}
