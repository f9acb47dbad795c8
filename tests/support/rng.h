/* SPDX-License-Identifier: MIT */
/* rng.h - seeded random numbers (splitmix64), the same on every machine. */
#ifndef TESTS_RNG_H
#define TESTS_RNG_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Rng {
    uint64_t state;
} Rng;

static inline uint64_t rng_next(Rng *rng)
{
    uint64_t z = (rng->state += 0x9e3779b97f4a7c15U);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

/* 0 to @n - 1 */
static inline unsigned rng_below(Rng *rng, unsigned n)
{
    return (unsigned)(rng_next(rng) % n);
}

static inline bool rng_percent(Rng *rng, unsigned percent)
{
    return rng_below(rng, 100) < percent;
}

#endif
