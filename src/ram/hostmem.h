/* SPDX-License-Identifier: MIT */
/* hostmem.h - map and unmap host memory. The only file that calls mmap for guests. */
#ifndef RAM_HOSTMEM_H
#define RAM_HOSTMEM_H

#include <membus/types.h>

typedef struct HostMemory {
    uint8_t *host;
    size_t size; /* bytes, host pages */
} HostMemory;

size_t hostmem_page_size(void);

/* @size rounded up to host pages; 0 if that does not fit. */
size_t hostmem_round(hwaddr size);

/*
 * Each returns 0 or a negative errno with its sentence (base/error.h). @name is for the
 * sentence.
 */
int hostmem_map_anonymous(HostMemory *memory, hwaddr size, const char *name);
int hostmem_map_fd(HostMemory *memory, hwaddr size, int fd, hwaddr offset, hwaddr align,
                   bool shared, bool readonly, const char *name);
void hostmem_unmap(HostMemory *memory);

/*
 * Make @size bytes at @host, host pages, read as zeroes; those of private @anonymous memory go
 * back to the host.
 */
void hostmem_clear(uint8_t *host, size_t size, bool anonymous);

#endif
