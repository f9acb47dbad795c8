/* SPDX-License-Identifier: MIT */
/* The memory of a block that only the guest can reach. */
#include "base/error.h"
#include "ram/block.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

int qemu_ram_get_guest_memfd(const RAMBlock *block)
{
    return block->guest_memfd;
}

hwaddr qemu_ram_get_guest_memfd_offset(const RAMBlock *block)
{
    return block->guest_memfd_offset;
}

static int check_range(const RAMBlock *block, hwaddr start, hwaddr length)
{
    if (block->guest_memfd < 0) {
        return fail(EINVAL, "RAM '%s' has no guest_memfd", block->idstr);
    }
    if (start > block->max_length || length > block->max_length - start) {
        return fail(EINVAL,
                    "RAM '%s': 0x%" PRIx64 " private bytes at 0x%" PRIx64
                    " are not within its 0x%" PRIx64,
                    block->idstr, length, start, block->max_length);
    }
    if ((start | length) & (hostmem_page_size() - 1)) {
        return fail(EINVAL,
                    "RAM '%s': 0x%" PRIx64 " private bytes at 0x%" PRIx64
                    " are not whole host pages",
                    block->idstr, length, start);
    }
    return 0;
}

int ram_block_discard_guest_memfd_range(RAMBlock *block, hwaddr start, hwaddr length)
{
    int result = check_range(block, start, length);

    if (result || length == 0) {
        return result;
    }
    if (fallocate(block->guest_memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)(block->guest_memfd_offset + start), (off_t)length)) {
        int err = errno;
        return fail(err,
                    "RAM '%s': cannot give back 0x%" PRIx64 " private bytes at 0x%" PRIx64 ": %s",
                    block->idstr, length, start, strerror(err));
    }
    return 0;
}
