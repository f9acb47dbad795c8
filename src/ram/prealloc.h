/* SPDX-License-Identifier: MIT */
/* prealloc.h - bring memory in now, so that it is there when the guest comes. */
#ifndef RAM_PREALLOC_H
#define RAM_PREALLOC_H

#include <membus/hostmem.h>

typedef struct Prealloc {
    const char *name; /* for sentences */
    uint8_t *host;
    size_t size, page_size; /* bytes */
    int fd;                 /* -1: anonymous */
    bool shared, readonly;
    unsigned threads; /* 0: one per CPU, at most 16 */
    const unsigned long
        *nodes; /* the NUMA nodes it is bound to, HOST_MEMORY_MAX_NODES bits; or NULL */
    HostMemoryProgress *progress; /* or NULL */
    void *progress_opaque;
} Prealloc;

/*
 * Returns 0, or -ENOMEM or -ENOSPC with its sentence: before anything is touched where it can be
 * known, and never by a signal.
 */
int prealloc(const Prealloc *work);

/*
 * Touch each page without MADV_POPULATE, which Linux has since 5.14. 0 or a positive errno, with
 * @*done bytes touched before. The contents stay, whoever else writes at the same time.
 */
int prealloc_touch(uint8_t *host, size_t size, size_t page, bool readonly, size_t *done);

#endif
