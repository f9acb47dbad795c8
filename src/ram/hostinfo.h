/* SPDX-License-Identifier: MIT */
/* hostinfo.h - what the host's kernel says of its memory. */
#ifndef RAM_HOSTINFO_H
#define RAM_HOSTINFO_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The number after @key at the start of a line of a file, or, with @key NULL, the one that the file
 * begins with. The path is made as by printf(3).
 */
bool hostinfo_number(uint64_t *value, const char *key, const char *path, ...)
    __attribute__((format(printf, 3, 4)));

/* How much memory can be had before the system kills for it, and what sets that limit. */
typedef struct AvailableMemory {
    uint64_t bytes;
    char limit[192];
} AvailableMemory;

/*
 * @root is put before every path ("" but in tests). @nodes, a set of @nr_nodes bits or NULL: on
 * these NUMA nodes only.
 */
AvailableMemory hostinfo_available(const char *root, const unsigned long *nodes, unsigned nr_nodes);

#endif
