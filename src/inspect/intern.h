/* SPDX-License-Identifier: MIT */
/* intern.h - numbers for byte strings: equal ones have one number, counted from 0. */
#ifndef INSPECT_INTERN_H
#define INSPECT_INTERN_H

#include "base/vec.h"

#include <stdint.h>

typedef struct Interned {
    Vec bytes;         /* all keys */
    Vec keys;          /* where in bytes each is */
    uint32_t *buckets; /* open addressing: 1 + number, 0: free */
    size_t mask;
} Interned;

#define INTERN_NONE SIZE_MAX

/* The number of @key, @length bytes; *@fresh: it is new. INTERN_NONE if memory is short. */
size_t intern(Interned *table, const void *key, size_t length, bool *fresh);
void interned_free(Interned *table);

#endif
