/* SPDX-License-Identifier: MIT */
/*
 * arena.h - memory for the length of one operation: allocated piece by piece, given back at
 * once.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

typedef struct Arena {
    struct ArenaChunk *chunks; /* the one in use first */
    size_t used;               /* bytes of it */
} Arena;

/* @size bytes, aligned for any object, uninitialised; NULL if memory is short. */
void *arena_alloc(Arena *arena, size_t size);

/* Give back everything, keeping one chunk for the next operation. */
void arena_reset(Arena *arena);
void arena_destroy(Arena *arena);

#endif
