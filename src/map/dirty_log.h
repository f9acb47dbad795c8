/* SPDX-License-Identifier: MIT */
/* dirty_log.h - who logs what. See membus/dirty.h and ram/log.h. */
#ifndef MAP_DIRTY_LOG_H
#define MAP_DIRTY_LOG_H

#include "map/system.h"
#include "ram/log.h"

#include <membus/dirty.h>

/*
 * Bring what the access path marks for @mr's block in line with who logs it, making the bits
 * that are missing. Returns 0 or -ENOMEM; taking clients away cannot fail.
 * Context: machine lock held.
 */
int region_update_log(MemoryRegion *mr);

/* Runs of pages of a region, from page *@first on; false if there are no more. */
typedef struct TakenPages {
    bool (*next)(const void *opaque, const MemoryRegion *mr, uint64_t *first, uint64_t *last);
    const void *opaque;
} TakenPages;

/* listener_log.c; @mr NULL: all. Context: machine lock held. */
void listeners_log_sync(MemorySystem *ms, const MemoryRegion *mr, bool last_stage);
void listeners_log_after_sync(MemorySystem *ms);
void listeners_log_clear(MemorySystem *ms, const TakenPages *taken);
int listeners_log_global_start(MemorySystem *ms);
void listeners_log_global_stop(MemorySystem *ms);

#endif
