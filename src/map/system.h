/* SPDX-License-Identifier: MIT */
/* system.h - what a MemorySystem and a MemoryOwner consist of. */
#ifndef MAP_SYSTEM_H
#define MAP_SYSTEM_H

#include "base/arena.h"
#include "base/pool.h"
#include "ram/ram_list.h"
#include "ram/saved.h"
#include "sync/lock.h"

#include <membus/region.h>
#include <membus/space.h>
#include <membus/system.h>

struct MemoryOwner {
    MemorySystem *ms;
    char *name;
    MemoryOwnerFinalize *finalize;
    void *opaque;
    long references;
    MemoryRegion *regions;
    MemoryOwner *prev, *next; /* all of the machine */
    MemoryOwner *dying_next;
    struct rcu_head rcu;
};

typedef struct Journal Journal;

/* See snapshot.c. */
typedef struct Snapshots {
    SavedStack saved;
    struct MemorySnapshot *newest;
    Journal *journal;    /* the newest's */
    unsigned taking;     /* threads that are about to take one */
    bool at_work;        /* one is being taken or restored: none ends from a callback */
    uint8_t client_mask; /* the client that logs for them, 0: none */
} Snapshots;

struct MemorySystem {
    Lock lock; /* the machine lock: guards everything here but what says otherwise */
    unsigned transaction_depth;
    bool notifying;           /* listeners are being called: the map must not be edited */
    unsigned callback_begins; /* transactions that they opened all the same */
    void (*flush_coalesced)(
        void *opaque); /* deliver the writes kept back; NULL: nobody keeps any */
    void *flush_opaque;
    bool target_big_endian, endian_used;
    uint64_t sequence;

    MemoryOwner *owners;
    MemoryOwner *dying; /* atomic stack: owners whose finaliser waits for the lock to be free */
    MemoryOwner *board;
    MemoryRegion system_region, io_region;
    AddressSpace memory_space, io_space;
    AddressSpace *first_space, *last_space;

    /* flat views: see flatview.h, lineage.h, topology.c */
    Pool nodes, ranges, views;
    Arena scratch;               /* of the commit at work */
    struct ViewLineage *damaged; /* those with windows to paint */
    struct ViewLineage *empty;   /* of address spaces that show nothing */
    bool resolve;                /* an address space has `resolve` set */
    struct MapWatch *watches;    /* watch.h */
    struct ViewLineage *closing; /* lost their last space in the commit at work */
    unsigned keep_times;         /* address spaces that keep a history */
    pthread_mutex_t views_lock;  /* guards the chains of living views; innermost */
    unsigned long nr_views;      /* living; views_lock */
    unsigned long finalising;    /* owners that died and are not ended; views_lock */
    unsigned long ended;         /* views and owners that ever ended, for drains; atomic */
    pthread_cond_t all_finalised;

    RamList ram;
    uint8_t global_log_mask;               /* clients that log all RAM */
    bool log_ends;                         /* a block loses clients when the transaction ends */
    char *log_clients[DIRTY_MEMORY_NUM];   /* names of the registered ones */
    unsigned log_serial[DIRTY_MEMORY_NUM]; /* how many had the number before; atomic */
    struct HostMemoryBackend *first_backend, *last_backend;
    struct MemoryDevices *memory_devices; /* dimm/device.h; NULL: none */
    Snapshots snapshots;
};

static inline MemorySystem *region_system(const MemoryRegion *mr)
{
    return mr->owner->ms;
}

/* The offset of the last byte of a region that is not empty. */
static inline hwaddr region_last(const MemoryRegion *mr)
{
    return mr->state.size == UINT64_MAX ? UINT64_MAX : mr->state.size - 1;
}

/* Release the machine lock; what died meanwhile is finalised once it is free. */
void machine_unlock(MemorySystem *ms);

static inline void machine_lock(MemorySystem *ms)
{
    lock_take(&ms->lock);
}

/* Wait until every owner that has died is ended. Context: no lock held. */
void owners_wait_for_finalisers(MemorySystem *ms);

/* Take references unless @mr's owner has died. Context: machine lock held. */
bool region_ref_if_alive(MemoryRegion *mr);

/*
 * Retire the RAM block of every region of @owner; returns whether there was one.
 * Context: machine lock.
 */
bool owner_retire_ram(MemoryOwner *owner);

/* End a region (region.c); retire its RAM block, if it has one. Context: machine lock held. */
void region_end(MemoryRegion *mr);
bool region_retire_ram(MemoryRegion *mr);

/* The outermost commit is done: lengths of RAM follow (ram_resize.c). Context: as above. */
void ram_resizes_committed(MemorySystem *ms);

#endif
