/* SPDX-License-Identifier: MIT */
#include "base/bitmap.h"

/* The bits of word @index that are in [first, last], which reaches into it. */
static uint64_t mask_of(size_t index, size_t first, size_t last)
{
    uint64_t mask = UINT64_MAX;

    if (index == first / 64) {
        mask <<= first % 64;
    }
    if (index == last / 64) {
        mask &= UINT64_MAX >> (63 - last % 64);
    }
    return mask;
}

void bitmap_assign(uint64_t *words, size_t first, size_t last, bool value)
{
    for (size_t i = first / 64; i <= last / 64; i++) {
        uint64_t mask = mask_of(i, first, last);
        words[i] = value ? words[i] | mask : words[i] & ~mask;
    }
}

size_t bitmap_find(const uint64_t *words, size_t first, size_t last, bool value)
{
    for (size_t i = first / 64; i <= last / 64; i++) {
        uint64_t found = (value ? words[i] : ~words[i]) & mask_of(i, first, last);
        if (found) {
            return i * 64 + (size_t)__builtin_ctzll(found);
        }
    }
    return last + 1;
}
