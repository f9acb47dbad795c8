/* SPDX-License-Identifier: MIT */
#include "base/arena.h"

#include <stdlib.h>

#define CHUNK_BYTES (16 * 1024)

struct ArenaChunk {
    struct ArenaChunk *next;
    size_t size; /* of bytes[] */
    _Alignas(max_align_t) char bytes[];
};

void *arena_alloc(Arena *arena, size_t size)
{
    size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    if (!arena->chunks || arena->chunks->size - arena->used < size) {
        size_t bytes = size > CHUNK_BYTES ? size : CHUNK_BYTES;
        struct ArenaChunk *chunk = malloc(sizeof *chunk + bytes);
        if (!chunk) {
            return NULL;
        }
        chunk->size = bytes;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        arena->used = 0;
    }
    void *result = arena->chunks->bytes + arena->used;
    arena->used += size;
    return result;
}

void arena_reset(Arena *arena)
{
    while (arena->chunks && arena->chunks->next) {
        struct ArenaChunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        free(chunk);
    }
    arena->used = 0;
}

void arena_destroy(Arena *arena)
{
    arena_reset(arena);
    free(arena->chunks);
    arena->chunks = NULL;
}
