/* SPDX-License-Identifier: MIT */
#include "map/system.h"

#include "base/error.h"
#include "map/edit.h"
#include "map/lineage.h"
#include "map/ops.h"
#include "map/region.h"
#include "sync/rcu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IO_PORTS 65536

static bool make_empty_view(MemorySystem *ms)
{
    ms->empty = lineage_create(ms, NULL);
    if (!ms->empty || lineage_prepare(ms->empty)) {
        return false;
    }
    lineage_publish(ms->empty);
    ms->damaged = NULL;
    ms->empty->damaged = false;
    ms->empty->nr_windows = 0;
    return true;
}

static bool make_roots(MemorySystem *ms)
{
    if (region_init(&ms->system_region, ms->board, "system", UINT64_MAX) ||
        region_init(&ms->io_region, ms->board, "io", IO_PORTS)) {
        return false;
    }
    ms->io_region.terminates = true;
    ops_install(&ms->io_region, &ops_unassigned_ports, NULL);
    return address_space_init(&ms->memory_space, &ms->system_region, "memory") == 0 &&
           address_space_init(&ms->io_space, &ms->io_region, "I/O") == 0;
}

/* Undo what memory_system_create() did as far as it came. */
static void tear_down(MemorySystem *ms)
{
    if (ms->memory_space.name) {
        address_space_destroy(&ms->memory_space);
    }
    if (ms->io_space.name) {
        address_space_destroy(&ms->io_space);
    }
    if (ms->board) {
        owner_retire_ram(ms->board); /* so that the drain waits for it, too */
    }
    memory_system_drain(ms);
    memory_owner_unref(ms->board);
    if (ms->empty) {
        FlatView *view = ms->empty->current;
        ms->empty->closed = true;
        if (view) {
            flatview_unref(view);
        } else {
            lineage_discard(ms->empty);
        }
    }
    for (unsigned client = 0; client < DIRTY_MEMORY_NUM; client++) {
        free(ms->log_clients[client]);
    }
    arena_destroy(&ms->scratch);
    pool_destroy(&ms->nodes);
    pool_destroy(&ms->ranges);
    pool_destroy(&ms->views);
    saved_destroy(&ms->snapshots.saved);
    pthread_cond_destroy(&ms->all_finalised);
    pthread_mutex_destroy(&ms->views_lock);
    pthread_mutex_destroy(&ms->lock.mutex);
    free(ms);
}

MemorySystem *memory_system_create(void)
{
    int err = rcu_start();
    if (err) {
        fail(err, "a memory system: its thread cannot be started: %s", strerror(err));
        return NULL;
    }
    MemorySystem *ms = calloc(1, sizeof *ms);
    if (!ms) {
        fail_no_memory("a memory system");
        return NULL;
    }
    pthread_mutex_init(&ms->lock.mutex, NULL);
    pthread_mutex_init(&ms->views_lock, NULL);
    pthread_cond_init(&ms->all_finalised, NULL);
    saved_init(&ms->snapshots.saved);
    pool_init(&ms->nodes, sizeof(ViewNode));
    pool_init(&ms->ranges, (sizeof(FlatRange) + 63) & ~(size_t)63);
    pool_init(&ms->views, sizeof(FlatView));
    ms->board = memory_owner_create(ms, "machine", NULL, NULL);
    if (!ms->board || !make_empty_view(ms) || !make_roots(ms)) {
        tear_down(ms);
        return NULL;
    }
    return ms;
}

/* Something of the program's that must go before the machine can; 0 if nothing is left. */
static int check_idle(MemorySystem *ms)
{
    if (ms->snapshots.newest) {
        return fail(EBUSY, "a snapshot still exists");
    }
    if (ms->watches) {
        return fail(EBUSY, "a trace of the map is still under way");
    }
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        if (as != &ms->memory_space && as != &ms->io_space) {
            return fail(EBUSY, "address space '%s' still exists", as->name);
        }
        if (as->maps) {
            return fail(EBUSY, "address space '%s' has active mappings", as->name);
        }
    }
    return 0;
}

/* References that the machine's own spaces and roots hold, and nobody else. */
static int check_views(MemorySystem *ms)
{
    FlatView *own[] = {ms->memory_space.view, ms->io_space.view, ms->empty->current};
    unsigned long distinct = 0;

    for (unsigned i = 0; i < 3; i++) {
        bool seen = false;
        for (unsigned k = 0; k < i; k++) {
            seen |= own[k] == own[i];
        }
        distinct += !seen;
        if (__atomic_load_n(&own[i]->references, __ATOMIC_ACQUIRE) != 1) {
            return fail(EBUSY, "a flat view of '%s' is still held",
                        own[i]->lineage->root ? own[i]->lineage->root->name : "(none)");
        }
    }
    return ms->nr_views == distinct ? 0 : fail(EBUSY, "an older flat view is still held");
}

/* References to the board that @view holds: one a range, and one for its lineage's root. */
static long board_references(const MemorySystem *ms, const FlatView *view)
{
    const MemoryRegion *root = view->lineage->root;
    long count = root && root->owner == ms->board;
    hwaddr at = 0;

    for (const FlatRange *range; (range = flatview_from(view, at)); at = range->last + 1) {
        count += range->mr->owner == ms->board;
        if (range->last == UINT64_MAX) {
            break;
        }
    }
    return count;
}

static int check_owners(MemorySystem *ms)
{
    const FlatView *memory = ms->memory_space.view, *io = ms->io_space.view;
    long expected = 1 + 2; /* its own, and one for the root of each space */

    for (MemoryOwner *owner = ms->owners; owner; owner = owner->next) {
        if (owner != ms->board) {
            return fail(EBUSY, "owner '%s' still exists", owner->name);
        }
    }
    expected += board_references(ms, memory) + (io == memory ? 0 : board_references(ms, io));
    if (__atomic_load_n(&ms->board->references, __ATOMIC_ACQUIRE) != expected) {
        return fail(EBUSY, "a region of the machine's own is still held (a cache, a lookup)");
    }
    return 0;
}

/* Finalisers may take away more, which then has finalisers: until nothing changes any more. */
static void drain_all(MemorySystem *ms)
{
    unsigned long before;

    do {
        before = __atomic_load_n(&ms->ended, __ATOMIC_RELAXED);
        memory_system_drain(ms);
    } while (__atomic_load_n(&ms->ended, __ATOMIC_RELAXED) != before);
}

int memory_system_destroy(MemorySystem *ms)
{
    if (!ms) {
        return 0;
    }
    address_space_set_history(&ms->memory_space, 0);
    address_space_set_history(&ms->io_space, 0);
    drain_all(ms);
    machine_lock(ms);
    int result = check_idle(ms);
    if (!result) {
        result = check_views(ms);
    }
    if (!result) {
        result = check_owners(ms);
    }
    machine_unlock(ms);
    if (!result) {
        tear_down(ms);
    }
    return result;
}

void memory_system_drain(MemorySystem *ms)
{
    rcu_drain();
    owners_wait_for_finalisers(ms);
}

int memory_system_set_target_endian(MemorySystem *ms, enum device_endian endian)
{
    int result = 0;

    machine_lock(ms);
    if (endian != DEVICE_BIG_ENDIAN && endian != DEVICE_LITTLE_ENDIAN) {
        result = fail(EINVAL, "a machine's byte order is big or little, not %d", (int)endian);
    } else if (ms->endian_used) {
        result = fail(EBUSY, "the byte order is set before the first MMIO region is made");
    } else {
        ms->target_big_endian = endian == DEVICE_BIG_ENDIAN;
    }
    machine_unlock(ms);
    return result;
}

MemoryRegion *get_system_memory(MemorySystem *ms)
{
    return &ms->system_region;
}

MemoryRegion *get_system_io(MemorySystem *ms)
{
    return &ms->io_region;
}

AddressSpace *memory_system_memory(MemorySystem *ms)
{
    return &ms->memory_space;
}

AddressSpace *memory_system_io(MemorySystem *ms)
{
    return &ms->io_space;
}

MemoryOwner *memory_system_owner(MemorySystem *ms)
{
    return ms->board;
}

void memory_system_lock(MemorySystem *ms)
{
    machine_lock(ms);
}

void memory_system_unlock(MemorySystem *ms)
{
    machine_unlock(ms);
}

bool memory_system_locked(MemorySystem *ms)
{
    return lock_held(&ms->lock);
}

void memory_read_lock(void)
{
    rcu_enter();
}

void memory_read_unlock(void)
{
    rcu_leave();
}
