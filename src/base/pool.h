/* SPDX-License-Identifier: MIT */
/*
 * pool.h - objects of one size, allocated under a lock of the caller's, freed by any thread.
 *
 * Views are made at every commit and freed by another thread after a grace period. The general
 * allocator pays for that with cross-thread frees and, for aligned objects, with a slow path;
 * here a free is one compare-and-swap onto a stack which the allocating side takes whole when
 * it runs dry (taking everything at once, it cannot suffer from ABA). Chunks go back to the
 * system with the pool.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Pool {
    size_t object_size;       /* a multiple of the alignment */
    struct PoolObject *ready; /* the allocating side's */
    struct PoolObject
        *returned; /* pushed by any thread; pairs: pool_free release, pool_alloc acquire */
    struct PoolChunk *chunks;
} Pool;

void pool_init(Pool *pool, size_t object_size);

/* All objects have been freed, or are not used any more. */
void pool_destroy(Pool *pool);

/*
 * An uninitialised object, aligned to a cache line if its size is a multiple of one; NULL if
 * memory is short.
 */
void *pool_alloc(Pool *pool);
void pool_free(Pool *pool, void *object);

#endif
