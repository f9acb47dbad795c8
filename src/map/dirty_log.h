/* SPDX-License-Identifier: MIT */
/* dirty_log.h - who logs what. See membus/dirty.h and ram/log.h. */
#ifndef MAP_DIRTY_LOG_H
#define MAP_DIRTY_LOG_H

#include "map/system.h"
#include "ram/log.h"

#include <membus/dirty.h>

/*
 * Bring what the access path marks for @mr's block in line with who logs it: at once for who is
 * new and has bits; when the transaction has ended for who is not to log it any more, since it
 * may end otherwise, and listeners that are told may have marks to bring in.
 * Context: machine lock held.
 */
void region_update_log(MemoryRegion *mr);
void log_transaction_ended(MemorySystem *ms);

/* Refuse a client that is not registered, or not the program's to use. */
int dirty_client_check(MemorySystem *ms, unsigned client);

/* As the public functions of like names, for any client. Context: machine lock held. */
int dirty_client_register(MemorySystem *ms, const char *name);
void dirty_client_unregister(MemorySystem *ms, unsigned client);
int dirty_log_start(MemorySystem *ms, unsigned clients); /* without the wait */
int dirty_log_stop(MemorySystem *ms, unsigned clients);

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
/* The same for one that is being registered (unregistered) while all RAM is logged. */
int listener_log_global_start(MemoryListener *listener);
void listener_log_global_stop(MemoryListener *listener);

#endif
