/* SPDX-License-Identifier: MIT */
#include "map/dirty_log.h"

#include "base/error.h"
#include "base/range.h"
#include "base/text.h"
#include "map/edit.h"
#include "map/topology.h"
#include "sync/rcu.h"

#include <errno.h>
#include <inttypes.h>

/* ---- what a block marks --------------------------------------------------------------- */

static int add_clients(RAMBlock *block, unsigned clients)
{
    int result = 0;

    for (; clients && !result; clients &= clients - 1) {
        result = ram_block_add_client(block, (unsigned)__builtin_ctz(clients));
    }
    return result;
}

static void set_log_mask(RAMBlock *block, unsigned mask)
{
    __atomic_store_n(&block->log_mask, (uint8_t)mask, __ATOMIC_RELEASE);
}

void region_update_log(MemoryRegion *mr)
{
    RAMBlock *block = mr->ram_block;
    uint8_t mask = memory_region_get_dirty_log_mask(mr);

    if (!block || block->log_mask == mask) {
        return;
    }
    set_log_mask(block, block->log_mask | mask);
    region_system(mr)->log_ends |= block->log_mask != mask;
}

void log_transaction_ended(MemorySystem *ms)
{
    if (!ms->log_ends) {
        return;
    }
    ms->log_ends = false;
    for (RAMBlock *block = NULL; (block = ram_list_next(&ms->ram, block));) {
        set_log_mask(block, memory_region_get_dirty_log_mask(block->mr));
    }
}

static void update_all_blocks(MemorySystem *ms)
{
    for (RAMBlock *block = NULL; (block = ram_list_next(&ms->ram, block));) {
        region_update_log(block->mr);
    }
}

int memory_region_set_log(MemoryRegion *mr, bool log, unsigned client)
{
    MemorySystem *ms = region_system(mr);
    int result = 0;

    machine_lock(ms);
    if (client >= DIRTY_MEMORY_NUM) {
        result = fail(EINVAL, "region '%s': no dirty-memory client %u", mr->name, client);
    } else if (!mr->ram && !mr->rom_device) {
        result = fail(EINVAL, "region '%s' is not RAM: its writes cannot be logged", mr->name);
    } else if (log && mr->ram_block) {
        result = ram_block_add_client(mr->ram_block, client);
    }
    MemoryRegionState state = mr->state;
    state.dirty_log_mask = (uint8_t)(log ? state.dirty_log_mask | 1U << client
                                         : state.dirty_log_mask & ~(1U << client));
    if (!result && state.dirty_log_mask != mr->state.dirty_log_mask) {
        result = region_change(mr, &state);
    }
    machine_unlock(ms);
    return result;
}

/* ---- clients ---------------------------------------------------------------------------- */

static const char *const builtin_names[DIRTY_MEMORY_FIRST_FREE] = {
    [DIRTY_MEMORY_VGA] = "VGA",
    [DIRTY_MEMORY_CODE] = "CODE",
    [DIRTY_MEMORY_MIGRATION] = "MIGRATION",
};

static void forget_marks(MemorySystem *ms, unsigned client)
{
    for (RAMBlock *block = NULL; (block = ram_list_next(&ms->ram, block));) {
        DirtyBits *bits = ram_block_bits(block, client);
        if (bits) {
            dirty_bits_clear(bits, 0, bits->pages - 1);
        }
    }
}

int dirty_client_register(MemorySystem *ms, const char *name)
{
    unsigned client = DIRTY_MEMORY_FIRST_FREE;

    while (client < DIRTY_MEMORY_NUM && ms->log_clients[client]) {
        client++;
    }
    if (client == DIRTY_MEMORY_NUM) {
        return fail(ENOSPC, "dirty-memory client '%s': all %d are taken", name ? name : "",
                    DIRTY_MEMORY_NUM - DIRTY_MEMORY_FIRST_FREE);
    }
    ms->log_clients[client] = text_copy(name);
    if (!ms->log_clients[client]) {
        return fail_no_memory("the name of a dirty-memory client");
    }
    forget_marks(ms, client);
    return (int)client;
}

int memory_dirty_client_register(MemorySystem *ms, const char *name, Error **errp)
{
    machine_lock(ms);
    int result = dirty_client_register(ms, name);
    machine_unlock(ms);
    return result < 0 ? error_pass(errp, result) : result;
}

void dirty_client_unregister(MemorySystem *ms, unsigned client)
{
    free(ms->log_clients[client]);
    ms->log_clients[client] = NULL;
    __atomic_fetch_add(&ms->log_serial[client], 1, __ATOMIC_RELAXED);
}

int dirty_client_check(MemorySystem *ms, unsigned client)
{
    if (!memory_dirty_client_name(ms, client)) {
        return fail(EINVAL, "dirty-memory client %u is not registered", client);
    }
    if (ms->snapshots.client_mask >> client & 1) {
        return fail(EINVAL, "dirty-memory client %u is that of snapshots", client);
    }
    return 0;
}

int memory_dirty_client_unregister(MemorySystem *ms, unsigned client, Error **errp)
{
    int result = 0;

    machine_lock(ms);
    if (client >= DIRTY_MEMORY_NUM || !ms->log_clients[client]) {
        result = fail(EINVAL, "dirty-memory client %u is not registered", client);
    } else if (ms->global_log_mask & 1U << client) {
        result =
            fail(EBUSY, "dirty-memory client '%s' logs all RAM still", ms->log_clients[client]);
    } else {
        dirty_client_unregister(ms, client);
    }
    machine_unlock(ms);
    return error_pass(errp, result);
}

const char *memory_dirty_client_name(MemorySystem *ms, unsigned client)
{
    if (client < DIRTY_MEMORY_FIRST_FREE) {
        return builtin_names[client];
    }
    return client < DIRTY_MEMORY_NUM ? ms->log_clients[client] : NULL;
}

/* ---- all RAM ------------------------------------------------------------------------------ */

static int check_clients(MemorySystem *ms, unsigned clients)
{
    for (unsigned rest = clients; rest; rest &= rest - 1) {
        int result = dirty_client_check(ms, (unsigned)__builtin_ctz(rest));
        if (result) {
            return result;
        }
    }
    return clients ? 0 : fail(EINVAL, "logging all RAM needs a dirty-memory client");
}

static int make_bits(MemorySystem *ms, unsigned clients)
{
    int result = 0;

    for (RAMBlock *block = NULL; !result && (block = ram_list_next(&ms->ram, block));) {
        result = add_clients(block, clients);
    }
    return result;
}

/* Have all ranges rendered with what logs all RAM being @mask; on an error it is as before. */
static int show_log_mask(MemorySystem *ms, unsigned mask)
{
    uint8_t before = ms->global_log_mask;
    int result = map_edit_begin(ms);

    if (result) {
        return result;
    }
    ms->global_log_mask = (uint8_t)mask;
    update_all_blocks(ms);
    map_damage_everything(ms);
    result = map_edit_end(ms);
    if (result) {
        ms->global_log_mask = before;
        update_all_blocks(ms);
        map_edit_cancel(ms);
    }
    return result;
}

int dirty_log_start(MemorySystem *ms, unsigned clients)
{
    unsigned before = ms->global_log_mask;
    int result = 0;

    if ((before | clients) == before) {
        return result;
    }
    result = make_bits(ms, clients);
    if (!result && !before) {
        result = listeners_log_global_start(ms);
    }
    if (result) {
        return result;
    }
    result = show_log_mask(ms, before | clients);
    if (result && !before) {
        listeners_log_global_stop(ms);
    }
    return result;
}

int memory_global_dirty_log_start(MemorySystem *ms, unsigned clients, Error **errp)
{
    if (lock_held(&ms->lock) || rcu_inside()) {
        return error_pass(errp,
                          fail(EDEADLK,
                               "logging of all RAM cannot start %s: it waits for "
                               "writers",
                               rcu_inside() ? "in a read section" : "under the machine lock"));
    }
    machine_lock(ms);
    int result = check_clients(ms, clients);
    if (!result) {
        result = dirty_log_start(ms, clients);
    }
    machine_unlock(ms);
    if (!result) {
        rcu_wait();         /* for writers that still see a view without it */
        sync_fence_heavy(); /* and those outside sections: they have written, or see the mask */
    }
    return error_pass(errp, result);
}

int dirty_log_stop(MemorySystem *ms, unsigned clients)
{
    unsigned before = ms->global_log_mask;

    if (!(before & clients)) {
        return 0;
    }
    if (ms->transaction_depth) {
        return fail(EBUSY, "logging of all RAM cannot end within a transaction");
    }
    int result = show_log_mask(ms, before & ~clients);
    if (!result && !ms->global_log_mask) {
        listeners_log_global_stop(ms);
    }
    return result;
}

int memory_global_dirty_log_stop(MemorySystem *ms, unsigned clients, Error **errp)
{
    machine_lock(ms);
    int result = check_clients(ms, clients);
    if (!result) {
        result = dirty_log_stop(ms, clients);
    }
    machine_unlock(ms);
    return error_pass(errp, result);
}

void memory_global_dirty_log_sync(MemorySystem *ms, bool last_stage)
{
    machine_lock(ms);
    listeners_log_sync(ms, NULL, last_stage);
    machine_unlock(ms);
}

void memory_global_after_dirty_log_sync(MemorySystem *ms)
{
    machine_lock(ms);
    listeners_log_after_sync(ms);
    machine_unlock(ms);
}
