/* SPDX-License-Identifier: MIT */
/* names.h - a table of pointers under keys (text, number). */
#ifndef IMPORT_NAMES_H
#define IMPORT_NAMES_H

#include "base/arena.h"

#include <stdint.h>

typedef struct NameTable {
    Arena arena;
    struct NameEntry **buckets;
    size_t mask, count;
} NameTable;

/*
 * The place of the pointer under (@text, @number), NULL at first; @text is borrowed. NULL if memory
 * is short.
 */
void **name_table_slot(NameTable *table, const char *text, uint64_t number);

/* The pointer under (@text, @number), or NULL. */
void *name_table_get(const NameTable *table, const char *text, uint64_t number);

void name_table_destroy(NameTable *table);

#endif
