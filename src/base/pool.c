/* SPDX-License-Identifier: MIT */
#include "base/pool.h"

#include <stdint.h>
#include <stdlib.h>

#define CACHE_LINE 64
#define CHUNK_BYTES (64 * 1024)

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#endif

#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#define hide(object, size) ASAN_POISON_MEMORY_REGION(object, size)
#define show(object, size) ASAN_UNPOISON_MEMORY_REGION(object, size)
#else
#define hide(object, size) ((void)(object), (void)(size))
#define show(object, size) ((void)(object), (void)(size))
#endif

struct PoolObject {
    struct PoolObject *next;
};

struct PoolChunk {
    _Alignas(CACHE_LINE) struct PoolChunk *next;
    _Alignas(CACHE_LINE) char objects[];
};

void pool_init(Pool *pool, size_t object_size)
{
    *pool = (Pool){.object_size = object_size};
}

void pool_destroy(Pool *pool)
{
    while (pool->chunks) {
        struct PoolChunk *chunk = pool->chunks;
        pool->chunks = chunk->next;
        show(chunk, CHUNK_BYTES);
        free(chunk);
    }
}

static struct PoolObject *carve_chunk(Pool *pool)
{
    struct PoolChunk *chunk = aligned_alloc(CACHE_LINE, CHUNK_BYTES);
    struct PoolObject *list = NULL;

    if (!chunk) {
        return NULL;
    }
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    size_t count = (CHUNK_BYTES - sizeof *chunk) / pool->object_size;
    for (size_t i = count; i-- > 0;) {
        struct PoolObject *object = (void *)(chunk->objects + i * pool->object_size);
        object->next = list;
        list = object;
        hide(object + 1, pool->object_size - sizeof *object);
    }
    return list;
}

void *pool_alloc(Pool *pool)
{
    struct PoolObject *object = pool->ready;

    if (!object) {
        object = __atomic_exchange_n(&pool->returned, NULL, __ATOMIC_ACQUIRE);
    }
    if (!object) {
        object = carve_chunk(pool);
    }
    if (!object) {
        return NULL;
    }
    pool->ready = object->next;
    show(object, pool->object_size);
    return object;
}

void pool_free(Pool *pool, void *freed)
{
    struct PoolObject *object = freed;
    struct PoolObject *next = __atomic_load_n(&pool->returned, __ATOMIC_RELAXED);

    hide(object + 1, pool->object_size - sizeof *object);
    do {
        object->next = next;
    } while (!__atomic_compare_exchange_n(&pool->returned, &next, object, true, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
}
