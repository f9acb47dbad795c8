/* SPDX-License-Identifier: MIT */
/*
 * Snapshots: a level of what is kept of RAM (ram/saved.h) and a journal of the map (journal.h).
 *
 * While there are any, all RAM is logged for a client of the library's own. A range that nobody
 * else logs is QUICK_STORE_KEPT: a page's mark says that it has been kept, so that all but the
 * first store to it are plain ones.
 */
#include "base/error.h"
#include "base/range.h"
#include "map/dirty_log.h"
#include "map/journal.h"
#include "map/topology.h"
#include "ram/notifiers.h"
#include "sync/rcu.h"

#include <errno.h>
#include <membus/listener.h>
#include <membus/snapshot.h>
#include <stdlib.h>

struct MemorySnapshot {
    MemorySystem *ms;
    MemorySnapshot *older, *newer;
    SavedLevel level;
    Journal journal;
    bool ended;  /* atomic */
    bool doomed; /* freed from a callback of a take or restore */
};

/* ---- logging ---------------------------------------------------------------------------- */

/* Log all RAM; *@began tells that it was not before. */
static int begin_logging(MemorySystem *ms, bool *began)
{
    int client;

    *began = !ms->snapshots.client_mask;
    if (!*began) {
        return 0;
    }
    client = dirty_client_register(ms, "snapshots");
    if (client < 0) {
        return client;
    }
    ms->snapshots.client_mask = (uint8_t)(1U << client);
    int result = dirty_log_start(ms, ms->snapshots.client_mask);
    if (result) {
        ms->snapshots.client_mask = 0;
        dirty_client_unregister(ms, (unsigned)client);
    }
    return result;
}

/* If memory is short, or in a transaction, it goes on until a snapshot is freed again. */
static void end_logging(MemorySystem *ms)
{
    unsigned mask = ms->snapshots.client_mask;

    if (mask && !ms->snapshots.newest && !ms->snapshots.taking && !dirty_log_stop(ms, mask)) {
        ms->snapshots.client_mask = 0;
        dirty_client_unregister(ms, (unsigned)__builtin_ctz(mask));
    }
}

/* Whether somebody lets the guest write without membus. */
static bool written_past_membus(MemorySystem *ms)
{
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        for (MemoryListener *l = as->first_listener; l; l = l->next) {
            if (l->log_sync || l->log_sync_global || l->log_global_start) {
                return true;
            }
        }
    }
    return false;
}

static bool next_taken(const void *opaque, const MemoryRegion *mr, uint64_t *first, uint64_t *last)
{
    (void)opaque;
    return mr->ram_block && saved_taken(mr->ram_block, first, last);
}

/* ---- the end ------------------------------------------------------------------------------ */

static void end(MemorySnapshot *snapshot)
{
    MemorySystem *ms = snapshot->ms;

    saved_end(&ms->snapshots.saved, &snapshot->level);
    journal_end(ms, &snapshot->journal);
    *(snapshot->newer ? &snapshot->newer->older : &ms->snapshots.newest) = snapshot->older;
    if (snapshot->older) {
        snapshot->older->newer = snapshot->newer;
    }
    end_logging(ms);
}

/* A take or restore is done: what its callbacks have freed ends now. */
static void end_doomed(MemorySystem *ms)
{
    MemorySnapshot *snapshot = ms->snapshots.newest;

    ms->snapshots.at_work = false;
    while (snapshot) {
        MemorySnapshot *older = snapshot->older;
        if (snapshot->doomed) {
            end(snapshot);
            free(snapshot);
        }
        snapshot = older;
    }
}

void memory_snapshot_free(MemorySnapshot *snapshot)
{
    if (snapshot && !memory_snapshot_has_ended(snapshot)) {
        MemorySystem *ms = snapshot->ms;
        machine_lock(ms);
        snapshot->doomed = ms->snapshots.at_work;
        if (snapshot->doomed) {
            snapshot = NULL;
        } else if (!snapshot->ended) {
            end(snapshot);
        }
        machine_unlock(ms);
    }
    free(snapshot);
}

bool memory_snapshot_has_ended(const MemorySnapshot *snapshot)
{
    return __atomic_load_n(&snapshot->ended, __ATOMIC_ACQUIRE);
}

/* ---- take ------------------------------------------------------------------------------- */

static bool can_be_kept(const RAMBlock *block)
{
    return !(block->flags & RAM_READONLY) && !block->mr->ram_device;
}

static int add_blocks(MemorySystem *ms)
{
    unsigned client = (unsigned)__builtin_ctz(ms->snapshots.client_mask);
    int result = 0;

    for (RAMBlock *block = NULL; !result && (block = ram_list_next(&ms->ram, block));) {
        if (can_be_kept(block)) {
            result = saved_add_block(&ms->snapshots.saved, block, client);
        }
    }
    return result;
}

static int take(MemorySystem *ms, MemorySnapshot *snapshot)
{
    SavedStack *stack = &ms->snapshots.saved;

    snapshot->level.eager |= written_past_membus(ms);
    listeners_log_sync(ms, NULL, false);
    int result = add_blocks(ms);
    if (!result) {
        result = saved_take_prepare(stack, &snapshot->level);
    }
    if (result) {
        return result;
    }
    listeners_log_clear(ms, &(TakenPages){next_taken, NULL});
    result = saved_take_commit(stack, &snapshot->level);
    if (result) {
        saved_end(stack, &snapshot->level);
        return result;
    }
    journal_begin(ms, &snapshot->journal);
    snapshot->older = ms->snapshots.newest;
    if (snapshot->older) {
        snapshot->older->newer = snapshot;
    }
    ms->snapshots.newest = snapshot;
    return 0;
}

static int begin_and_take(MemorySystem *ms, MemorySnapshot *snapshot)
{
    bool began;

    machine_lock(ms);
    ms->snapshots.taking++;
    int result = begin_logging(ms, &began);
    machine_unlock(ms);
    if (!result && began) {
        rcu_wait();         /* for who still writes through a view without logging */
        sync_fence_heavy(); /* and for who writes outside of sections */
    }
    machine_lock(ms);
    ms->snapshots.taking--;
    if (!result) {
        ms->snapshots.at_work = true;
        result = take(ms, snapshot);
        end_doomed(ms);
    }
    if (result) {
        end_logging(ms);
    }
    machine_unlock(ms);
    return result;
}

MemorySnapshot *memory_snapshot_take(MemorySystem *ms, unsigned flags, Error **errp)
{
    MemorySnapshot *snapshot = NULL;
    int result;

    if (flags & ~MEMORY_SNAPSHOT_EAGER) {
        result = fail(EINVAL, "unknown flags 0x%x for a snapshot", flags);
    } else if (lock_held(&ms->lock) || rcu_inside()) {
        result = fail(EDEADLK, "a snapshot cannot be taken %s: it waits for readers",
                      rcu_inside() ? "in a read section" : "under the machine lock");
    } else if (!(snapshot = calloc(1, sizeof *snapshot))) {
        result = fail_no_memory("a snapshot");
    } else {
        snapshot->ms = ms;
        snapshot->level.eager = flags & MEMORY_SNAPSHOT_EAGER;
        result = begin_and_take(ms, snapshot);
    }
    if (result) {
        free(snapshot);
        error_pass(errp, result);
        return NULL;
    }
    return snapshot;
}

/* ---- restore ------------------------------------------------------------------------------ */

static int check_restorable(const MemorySnapshot *snapshot)
{
    MemorySystem *ms = snapshot->ms;

    if (snapshot->ended) {
        return fail(EINVAL, "the snapshot ended when an older one was restored");
    }
    if (ms->notifying || ms->transaction_depth) {
        return fail(EBUSY, "a snapshot cannot be restored %s",
                    ms->notifying ? "from a listener's callback" : "in a transaction");
    }
    return ram_notifiers_check_idle(&ms->ram);
}

static void end_newer(MemorySnapshot *snapshot)
{
    MemorySystem *ms = snapshot->ms;

    while (ms->snapshots.newest != snapshot) {
        MemorySnapshot *newest = ms->snapshots.newest;
        ms->snapshots.newest = newest->older;
        newest->older = newest->newer = NULL;
        if (newest->doomed) {
            free(newest);
        } else {
            __atomic_store_n(&newest->ended, true, __ATOMIC_RELEASE);
        }
    }
    snapshot->newer = NULL;
}

static int restore(MemorySystem *ms, MemorySnapshot *snapshot)
{
    SavedStack *stack = &ms->snapshots.saved;

    listeners_log_sync(ms, NULL, false);
    int result = saved_restore_prepare(stack, &snapshot->level);
    if (result) {
        return result;
    }
    result = journal_restore(ms, &snapshot->journal);
    if (result) {
        saved_restore_cancel(stack);
        return result;
    }
    listeners_log_clear(ms, &(TakenPages){next_taken, NULL});
    saved_restore_commit(stack, &snapshot->level);
    end_newer(snapshot);
    return 0;
}

int memory_snapshot_restore(MemorySnapshot *snapshot, Error **errp)
{
    MemorySystem *ms = snapshot->ms;
    int result;

    if (memory_snapshot_has_ended(snapshot)) {
        return error_pass(errp, check_restorable(snapshot));
    }
    machine_lock(ms);
    result = check_restorable(snapshot);
    if (!result) {
        ms->snapshots.at_work = true;
        result = restore(ms, snapshot);
        end_doomed(ms);
        ram_resizes_committed(ms);
    }
    machine_unlock(ms);
    return error_pass(errp, result);
}

/* ---- questions, and writes past membus ------------------------------------------------------ */

const char *memory_snapshot_method(const MemorySnapshot *snapshot)
{
    return snapshot->level.eager ? "eager" : "on write";
}

void memory_region_prepare_write(MemoryRegion *mr, hwaddr addr, hwaddr size)
{
    RAMBlock *block = mr->ram_block;

    if (block && addr < block->max_length) {
        ram_before_write(block, addr, hwaddr_min(size, block->max_length - addr));
    }
}
