/* SPDX-License-Identifier: MIT */
/* pointers.h - a set of pointers that keeps the order in which they came. */
#ifndef INSPECT_POINTERS_H
#define INSPECT_POINTERS_H

#include <stddef.h>

typedef struct PointerSet {
    const void **items; /* in order */
    size_t count, max;
    size_t *buckets; /* open addressing: 1 + index in items, 0: free */
    size_t mask;
} PointerSet;

#define POINTER_NONE ((size_t)-1)

/* The index of @item, which joins the set unless it is in it; POINTER_NONE if memory is short. */
size_t pointer_set_add(PointerSet *set, const void *item);
void pointer_set_destroy(PointerSet *set);

#endif
