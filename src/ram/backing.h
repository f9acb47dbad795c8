/* SPDX-License-Identifier: MIT */
/* backing.h - the host memory that a HostMemoryConfig describes: opened, mapped, set up. */
#ifndef RAM_BACKING_H
#define RAM_BACKING_H

#include "ram/hostfile.h"
#include "ram/hostmem.h"

#include <membus/hostmem.h>

typedef struct Backing {
    HostFile file; /* fd -1: none */
    HostMemory memory;
    size_t page_size; /* bytes */
    uint32_t flags;   /* RAM_* (region.h) of the block */
} Backing;

/*
 * Make the memory of @config, which backend_config_check() has passed and whose `share` is what
 * holds. Preallocation takes its time. Returns 0 or a negative errno with its sentence; then
 * nothing is left behind.
 */
int backing_create(Backing *backing, const HostMemoryConfig *config);

/* Give all of it back; files are left as they were found. */
void backing_undo(Backing *backing);

#endif
