/* SPDX-License-Identifier: MIT */
/* range.h - arithmetic on closed ranges [first, last] of 64-bit addresses. */
#ifndef BASE_RANGE_H
#define BASE_RANGE_H

#include <membus/types.h>

static inline hwaddr hwaddr_min(hwaddr a, hwaddr b)
{
    return a < b ? a : b;
}

static inline hwaddr hwaddr_max(hwaddr a, hwaddr b)
{
    return a > b ? a : b;
}

/* a + b, at most UINT64_MAX */
static inline hwaddr hwaddr_add_clipped(hwaddr a, hwaddr b)
{
    hwaddr sum;

    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static inline bool ranges_overlap(hwaddr first1, hwaddr last1, hwaddr first2, hwaddr last2)
{
    return first1 <= last2 && first2 <= last1;
}

/* The size of [first, last] as the API gives it: UINT64_MAX also for 2^64. */
static inline hwaddr range_size(hwaddr first, hwaddr last)
{
    return hwaddr_add_clipped(last - first, 1);
}

#endif
