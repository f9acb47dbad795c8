/* SPDX-License-Identifier: MIT */
/*
 * Owners live while anything can reach their regions: every view that shows one, every mapping,
 * every container or alias of another owner that holds one has a reference. Links between
 * regions of one owner take none, or an owner would keep itself alive.
 *
 * Finalisers run without the machine lock: an owner that dies is put on ms->dying, and whoever
 * next leaves the lock free in machine_unlock() ends it.
 *
 * RAM blocks are the one thing that readers find without a view or a reference (ram/ram_list.c).
 * They may be in memory that the finaliser frees, so after RAM blocks it waits for a grace
 * period.
 */
#include "base/error.h"
#include "base/text.h"
#include "map/system.h"

#include <stdlib.h>

MemoryOwner *memory_owner_create(MemorySystem *ms, const char *name, MemoryOwnerFinalize *finalize,
                                 void *opaque)
{
    MemoryOwner *owner = malloc(sizeof *owner);
    char *copy = text_copy(name);

    if (!owner || !copy) {
        free(owner);
        free(copy);
        fail_no_memory("an owner");
        return NULL;
    }
    *owner = (MemoryOwner){
        .ms = ms, .name = copy, .finalize = finalize, .opaque = opaque, .references = 1};
    machine_lock(ms);
    owner->next = ms->owners;
    if (owner->next) {
        owner->next->prev = owner;
    }
    ms->owners = owner;
    machine_unlock(ms);
    return owner;
}

/* ---- the end ------------------------------------------------------------------------ */

/* A drain waits for owners that have died and are not ended yet, in whatever thread. */
static void finalisation_begins(MemorySystem *ms)
{
    pthread_mutex_lock(&ms->views_lock);
    ms->finalising++;
    pthread_mutex_unlock(&ms->views_lock);
}

static void finalisation_ends(MemorySystem *ms)
{
    pthread_mutex_lock(&ms->views_lock);
    __atomic_fetch_add(&ms->ended, 1, __ATOMIC_RELAXED);
    if (--ms->finalising == 0) {
        pthread_cond_broadcast(&ms->all_finalised);
    }
    pthread_mutex_unlock(&ms->views_lock);
}

void owners_wait_for_finalisers(MemorySystem *ms)
{
    pthread_mutex_lock(&ms->views_lock);
    while (ms->finalising) {
        pthread_cond_wait(&ms->all_finalised, &ms->views_lock);
    }
    pthread_mutex_unlock(&ms->views_lock);
}

bool owner_retire_ram(MemoryOwner *owner)
{
    bool any = false;

    machine_lock(owner->ms);
    for (MemoryRegion *mr = owner->regions; mr; mr = mr->owner_next) {
        any |= region_retire_ram(mr);
    }
    machine_unlock(owner->ms);
    return any;
}

static void finalize(MemoryOwner *owner)
{
    MemorySystem *ms = owner->ms;

    if (owner->finalize) {
        owner->finalize(owner->opaque);
    }
    free(owner->name);
    free(owner);
    finalisation_ends(ms);
}

static void readers_have_gone(struct rcu_head *head)
{
    rcu_callback_begins();
    finalize(container_of(head, MemoryOwner, rcu));
    rcu_callback_ends();
}

static void owner_end(MemoryOwner *owner)
{
    MemorySystem *ms = owner->ms;

    machine_lock(ms);
    bool had_ram = owner_retire_ram(owner);
    while (owner->regions) {
        region_end(owner->regions);
    }
    *(owner->prev ? &owner->prev->next : &ms->owners) = owner->next;
    if (owner->next) {
        owner->next->prev = owner->prev;
    }
    machine_unlock(ms);
    if (had_ram && owner->finalize) {
        rcu_defer(&owner->rcu, readers_have_gone);
    } else {
        finalize(owner);
    }
}

/*
 * The machine whose dying owners this thread is ending: what dies of that joins the list, instead
 * of nesting ever deeper.
 */
static __thread MemorySystem *reaping;

void machine_unlock(MemorySystem *ms)
{
    bool outermost = ms->lock.depth == 1;

    lock_release(&ms->lock);
    if (!outermost || !__atomic_load_n(&ms->dying, __ATOMIC_RELAXED) || reaping == ms) {
        return;
    }
    MemorySystem *outer = reaping;
    MemoryOwner *owner;
    reaping = ms;
    while ((owner = __atomic_exchange_n(&ms->dying, NULL, __ATOMIC_ACQUIRE))) {
        while (owner) {
            MemoryOwner *next = owner->dying_next;
            owner_end(owner);
            owner = next;
        }
    }
    reaping = outer;
}

void memory_owner_ref(MemoryOwner *owner)
{
    if (owner) {
        __atomic_fetch_add(&owner->references, 1, __ATOMIC_RELAXED);
    }
}

void memory_owner_unref(MemoryOwner *owner)
{
    if (!owner || __atomic_sub_fetch(&owner->references, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    MemorySystem *ms = owner->ms;
    finalisation_begins(ms);
    owner->dying_next = __atomic_load_n(&ms->dying, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&ms->dying, &owner->dying_next, owner, true,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
    if (!lock_held(&ms->lock) && reaping != ms) {
        machine_lock(ms);
        machine_unlock(ms); /* ends it */
    }
}

const char *memory_owner_name(const MemoryOwner *owner)
{
    return owner->name;
}

MemorySystem *memory_owner_system(const MemoryOwner *owner)
{
    return owner->ms;
}

void memory_region_ref(MemoryRegion *mr)
{
    if (!mr) {
        return;
    }
    __atomic_fetch_add(&mr->references, 1, __ATOMIC_RELAXED);
    memory_owner_ref(mr->owner);
}

bool region_ref_if_alive(MemoryRegion *mr)
{
    long references = __atomic_load_n(&mr->owner->references, __ATOMIC_RELAXED);

    do {
        if (references == 0) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&mr->owner->references, &references, references + 1, true,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    __atomic_fetch_add(&mr->references, 1, __ATOMIC_RELAXED);
    return true;
}

void memory_region_unref(MemoryRegion *mr)
{
    if (!mr) {
        return;
    }
    MemoryOwner *owner = mr->owner;

    __atomic_fetch_sub(&mr->references, 1, __ATOMIC_RELEASE);
    memory_owner_unref(owner);
}
