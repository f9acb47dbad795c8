/* SPDX-License-Identifier: MIT */
#include "import/names.h"

#include <stdlib.h>
#include <string.h>

struct NameEntry {
    struct NameEntry *next;
    uint64_t hash, number;
    const char *text;
    void *value;
};

static uint64_t hash_key(const char *text, uint64_t number)
{
    uint64_t hash = 0xcbf29ce484222325u ^ number * 0x9e3779b97f4a7c15u;

    for (; *text; text++) {
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    }
    return hash ^ hash >> 32;
}

static struct NameEntry *find(const NameTable *table, const char *text, uint64_t number,
                              uint64_t hash)
{
    struct NameEntry *entry = table->buckets ? table->buckets[hash & table->mask] : NULL;

    while (entry &&
           (entry->hash != hash || entry->number != number || strcmp(entry->text, text) != 0)) {
        entry = entry->next;
    }
    return entry;
}

static int grow(NameTable *table)
{
    size_t size = table->buckets ? 2 * (table->mask + 1) : 64;
    struct NameEntry **buckets = calloc(size, sizeof *buckets);

    if (!buckets) {
        return -1;
    }
    for (size_t i = 0; table->buckets && i <= table->mask; i++) {
        for (struct NameEntry *entry = table->buckets[i], *next; entry; entry = next) {
            next = entry->next;
            entry->next = buckets[entry->hash & (size - 1)];
            buckets[entry->hash & (size - 1)] = entry;
        }
    }
    free(table->buckets);
    table->buckets = buckets;
    table->mask = size - 1;
    return 0;
}

void **name_table_slot(NameTable *table, const char *text, uint64_t number)
{
    uint64_t hash = hash_key(text, number);
    struct NameEntry *entry = find(table, text, number, hash);

    if (entry) {
        return &entry->value;
    }
    if ((!table->buckets || table->count > table->mask) && grow(table) < 0) {
        return NULL;
    }
    entry = arena_alloc(&table->arena, sizeof *entry);
    if (!entry) {
        return NULL;
    }
    struct NameEntry **bucket = &table->buckets[hash & table->mask];
    *entry = (struct NameEntry){*bucket, hash, number, text, NULL};
    *bucket = entry;
    table->count++;
    return &entry->value;
}

void *name_table_get(const NameTable *table, const char *text, uint64_t number)
{
    struct NameEntry *entry = find(table, text, number, hash_key(text, number));

    return entry ? entry->value : NULL;
}

void name_table_destroy(NameTable *table)
{
    arena_destroy(&table->arena);
    free(table->buckets);
    *table = (NameTable){.buckets = NULL};
}
