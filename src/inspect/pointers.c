/* SPDX-License-Identifier: MIT */
#include "inspect/pointers.h"

#include <stdint.h>
#include <stdlib.h>

static size_t *bucket_of(const PointerSet *set, const void *item)
{
    uint64_t hash = (uint64_t)(uintptr_t)item * 0x9e3779b97f4a7c15u;

    for (size_t i = (size_t)(hash >> 20) & set->mask;; i = (i + 1) & set->mask) {
        size_t *bucket = &set->buckets[i];
        if (*bucket == 0 || set->items[*bucket - 1] == item) {
            return bucket;
        }
    }
}

static int grow(PointerSet *set)
{
    size_t max = set->max ? 2 * set->max : 32;
    size_t *buckets = calloc(2 * max, sizeof *buckets);
    const void **items = buckets ? reallocarray(set->items, max, sizeof *items) : NULL;

    if (!items) {
        free(buckets);
        return -1;
    }
    free(set->buckets);
    set->items = items;
    set->max = max;
    set->buckets = buckets;
    set->mask = 2 * max - 1;
    for (size_t i = 0; i < set->count; i++) {
        *bucket_of(set, set->items[i]) = i + 1;
    }
    return 0;
}

size_t pointer_set_add(PointerSet *set, const void *item)
{
    if (set->count == set->max && grow(set) < 0) {
        return POINTER_NONE;
    }
    size_t *bucket = bucket_of(set, item);
    if (*bucket == 0) {
        set->items[set->count++] = item;
        *bucket = set->count;
    }
    return *bucket - 1;
}

void pointer_set_destroy(PointerSet *set)
{
    free(set->items);
    free(set->buckets);
    *set = (PointerSet){.items = NULL};
}
