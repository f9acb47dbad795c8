/* SPDX-License-Identifier: MIT */
/* vec.h - a list of equal items in one growing allocation. All zero is an empty one. */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

typedef struct Vec {
    void *items;
    size_t count, max;
} Vec;

/* A new last item of @size bytes, uninitialised; NULL if memory is short. */
static inline void *vec_add(Vec *vec, size_t size)
{
    if (vec->count == vec->max) {
        size_t max = vec->max ? 2 * vec->max : 8;
        void *items = realloc(vec->items, max * size);
        if (!items) {
            return NULL;
        }
        vec->items = items;
        vec->max = max;
    }
    return (char *)vec->items + size * vec->count++;
}

/* Have room for @more items; false if memory is short. */
static inline bool vec_reserve(Vec *vec, size_t more, size_t size)
{
    size_t max = vec->max ? vec->max : 8;

    while (max < vec->count + more) {
        max *= 2;
    }
    void *items = max > vec->max ? realloc(vec->items, max * size) : vec->items;
    if (!items) {
        return false;
    }
    vec->items = items;
    vec->max = max;
    return true;
}

static inline void vec_free(Vec *vec)
{
    free(vec->items);
    *vec = (Vec){0};
}

#define VEC_AT(vec, type, index) (&((type *)(vec)->items)[index])

#endif
