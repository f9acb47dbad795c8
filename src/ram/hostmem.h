/* SPDX-License-Identifier: MIT */
/* hostmem.h - map and unmap host memory. The only file that calls mmap for guests. */
#ifndef RAM_HOSTMEM_H
#define RAM_HOSTMEM_H

#include <membus/types.h>

typedef struct HostMemory {
    uint8_t *host;
    size_t size;      /* bytes, whole pages of the memory */
    void *area;       /* the reservation that it lies in, guard pages included */
    size_t area_size; /* bytes */
    bool synchronous; /* MAP_SYNC: what left the CPU's caches is durable */
} HostMemory;

/* What to map. */
typedef struct HostMapping {
    const char *name; /* for the sentence */
    hwaddr size;      /* bytes; rounded up to pages */
    hwaddr align;     /* of the host address: a power of two; 0: what suits the size */
    size_t page_size; /* bytes; 0: the host page */
    int fd;           /* -1: anonymous memory */
    hwaddr fd_offset; /* bytes, whole pages */
    bool shared;      /* MAP_SHARED */
    bool readonly;    /* of a file */
    bool no_reserve;  /* MAP_NORESERVE */
    bool synchronous; /* MAP_SYNC, where the file can */
} HostMapping;

size_t hostmem_page_size(void);

/* @size rounded up to host pages; 0 if that does not fit. */
size_t hostmem_round(hwaddr size);

/* The page size of the memory that @fd gives: the huge page of a hugetlbfs, else the host page. */
size_t hostmem_fd_page_size(int fd);

/*
 * Map with a page that cannot be touched on each side. Returns 0 or a negative errno with its
 * sentence (base/error.h).
 */
int hostmem_map(HostMemory *memory, const HostMapping *mapping);

/* Nothing is left in @memory, so that a second call does nothing. */
void hostmem_unmap(HostMemory *memory);

/*
 * Make @size bytes at @host, host pages, read as zeroes; those of private @anonymous memory go
 * back to the host.
 */
void hostmem_clear(uint8_t *host, size_t size, bool anonymous);

#endif
