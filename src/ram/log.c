/* SPDX-License-Identifier: MIT */
#include "ram/log.h"

#include <errno.h>

void ram_mark(const RAMBlock *block, unsigned mask, hwaddr offset, hwaddr len)
{
    unsigned clients = mask;
    uint64_t first, last;

    if (!dirty_pages_of(offset, len, &first, &last)) {
        return;
    }
    for (; mask; mask &= mask - 1) {
        DirtyBits *bits = ram_block_bits(block, (unsigned)__builtin_ctz(mask));
        if (bits) {
            dirty_bits_mark(bits, first, last);
        }
    }
    ram_marked(block, clients);
}

int ram_block_add_client(RAMBlock *block, unsigned client)
{
    if (ram_block_bits(block, client)) {
        return 0;
    }
    DirtyBits *bits = dirty_bits_create((block->max_length + RAM_PAGE_SIZE - 1) >> DIRTY_PAGE_BITS);
    if (!bits) {
        return -ENOMEM;
    }
    __atomic_store_n(&block->dirty[client], bits, __ATOMIC_RELEASE); /* pairs: ram_block_bits() */
    return 0;
}

int ram_begin_log(RAMBlock *block, unsigned clients)
{
    for (unsigned rest = clients; rest; rest &= rest - 1) {
        if (ram_block_add_client(block, (unsigned)__builtin_ctz(rest))) {
            return -ENOMEM;
        }
    }
    block->log_mask = (uint8_t)clients;
    ram_mark(block, clients, 0, block->used_length);
    return 0;
}
