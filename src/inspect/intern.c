/* SPDX-License-Identifier: MIT */
#include "inspect/intern.h"

#include <stdint.h>
#include <string.h>

typedef struct Key {
    size_t start, length;
    uint32_t hash;
} Key;

/* FNV-1a */
static uint32_t hash_of(const unsigned char *key, size_t length)
{
    uint32_t hash = 2166136261U;

    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ key[i]) * 16777619U;
    }
    return hash;
}

static const Key *key_at(const Interned *table, uint32_t bucket)
{
    return VEC_AT(&table->keys, Key, bucket - 1);
}

static bool grow(Interned *table)
{
    size_t count = table->buckets ? 2 * (table->mask + 1) : 64;
    uint32_t *buckets = calloc(count, sizeof *buckets);

    if (!buckets) {
        return false;
    }
    free(table->buckets);
    table->buckets = buckets;
    table->mask = count - 1;
    for (uint32_t number = 1; number <= table->keys.count; number++) {
        size_t i = key_at(table, number)->hash & table->mask;
        while (buckets[i]) {
            i = (i + 1) & table->mask;
        }
        buckets[i] = number;
    }
    return true;
}

static size_t add(Interned *table, uint32_t *bucket, const void *key, size_t length, uint32_t hash)
{
    if (table->keys.count == UINT32_MAX - 1 || !vec_reserve(&table->bytes, length, 1)) {
        return INTERN_NONE;
    }
    Key *added = vec_add(&table->keys, sizeof *added);
    if (!added) {
        return INTERN_NONE;
    }
    *added = (Key){table->bytes.count, length, hash};
    memcpy(VEC_AT(&table->bytes, char, table->bytes.count), key, length);
    table->bytes.count += length;
    *bucket = (uint32_t)table->keys.count;
    return table->keys.count - 1;
}

size_t intern(Interned *table, const void *key, size_t length, bool *fresh)
{
    uint32_t hash = hash_of(key, length);

    *fresh = false;
    if ((!table->buckets || 2 * table->keys.count > table->mask) && !grow(table)) {
        return INTERN_NONE;
    }
    size_t i = hash & table->mask;
    for (; table->buckets[i]; i = (i + 1) & table->mask) {
        const Key *there = key_at(table, table->buckets[i]);
        if (there->hash == hash && there->length == length &&
            memcmp(VEC_AT(&table->bytes, char, there->start), key, length) == 0) {
            return table->buckets[i] - 1;
        }
    }
    *fresh = true;
    return add(table, &table->buckets[i], key, length, hash);
}

void interned_free(Interned *table)
{
    vec_free(&table->bytes);
    vec_free(&table->keys);
    free(table->buckets);
    *table = (Interned){.buckets = NULL};
}
