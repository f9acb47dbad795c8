/* SPDX-License-Identifier: MIT */
/* bitmap.h - bits in 64-bit words, by closed ranges [first, last]. */
#ifndef BASE_BITMAP_H
#define BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITMAP_WORDS(bits) (((bits) + 63) / 64)

/* Make every bit of [first, last] @value. */
void bitmap_assign(uint64_t *words, size_t first, size_t last, bool value);

/* The lowest bit of [first, last] that is @value, or last + 1. */
size_t bitmap_find(const uint64_t *words, size_t first, size_t last, bool value);

#endif
