/* SPDX-License-Identifier: MIT */
/*
 * Taking what is dirty.
 *
 *      sync       listeners bring in their marks
 *      take       marks move to the epoch                     (may fail: they move back)
 *      clear      listeners are told
 *      fence      whoever wrote before its mark was taken has written (D2 in ram/dirty.h)
 *
 * What a display takes is an epoch of a part of one region.
 */
#include "base/error.h"
#include "base/range.h"
#include "map/dirty_log.h"

#include <errno.h>
#include <stdlib.h>

typedef struct EpochPart {
    MemoryRegion *mr; /* held */
    DirtySet set;
} EpochPart;

struct DirtyEpoch {
    unsigned client, serial; /* whose epoch it is, and which holder of that number */
    size_t count, max;
    EpochPart *parts; /* those with pages, by region */
};

static unsigned client_serial(const MemorySystem *ms, unsigned client)
{
    return __atomic_load_n(&ms->log_serial[client], __ATOMIC_RELAXED);
}

/* The marks of one part go back, unless who took them has gone. */
static void put_back(const DirtyEpoch *epoch, const EpochPart *part)
{
    if (epoch->serial == client_serial(region_system(part->mr), epoch->client)) {
        dirty_bits_put_back(ram_block_bits(part->mr->ram_block, epoch->client), &part->set);
    }
}

static void epoch_free(DirtyEpoch *epoch)
{
    for (size_t i = 0; i < epoch->count; i++) {
        dirty_set_free(&epoch->parts[i].set);
        memory_region_unref(epoch->parts[i].mr);
    }
    free(epoch->parts);
    free(epoch);
}

void dirty_epoch_commit(DirtyEpoch *epoch)
{
    if (epoch) {
        epoch_free(epoch);
    }
}

void dirty_epoch_rollback(DirtyEpoch *epoch)
{
    for (size_t i = 0; epoch && i < epoch->count; i++) {
        put_back(epoch, &epoch->parts[i]);
    }
    dirty_epoch_commit(epoch);
}

/* Room for one more part; NULL if memory is short. */
static EpochPart *next_part(DirtyEpoch *epoch)
{
    if (epoch->count == epoch->max) {
        size_t max = epoch->max ? 2 * epoch->max : 4;
        EpochPart *parts = realloc(epoch->parts, max * sizeof *parts);
        if (!parts) {
            fail_no_memory("a set of dirty pages");
            return NULL;
        }
        epoch->parts = parts;
        epoch->max = max;
    }
    epoch->parts[epoch->count] = (EpochPart){0};
    return &epoch->parts[epoch->count];
}

/*
 * Take pages @first to @last of @mr's block, as far as it is in use: what is above its length
 * is dirty again when it grows. Context: machine lock held.
 */
static int take_pages(DirtyEpoch *epoch, MemoryRegion *mr, uint64_t first, uint64_t last)
{
    DirtyBits *bits = ram_block_bits(mr->ram_block, epoch->client);

    last = hwaddr_min(last, (mr->ram_block->used_length - 1) >> DIRTY_PAGE_BITS);
    if (!bits || first > last || !dirty_bits_may_have_some(bits)) {
        return 0;
    }
    EpochPart *part = next_part(epoch);
    if (!part) {
        return -ENOMEM;
    }
    int result = dirty_bits_take(bits, first, last, &part->set);
    if (part->set.count && region_ref_if_alive(mr)) {
        part->mr = mr;
        epoch->count++;
    } else {
        dirty_set_free(&part->set);
    }
    return result;
}

static int take_all_blocks(DirtyEpoch *epoch, MemorySystem *ms)
{
    int result = 0;

    for (RAMBlock *block = NULL; !result && (block = ram_list_next(&ms->ram, block));) {
        result = take_pages(epoch, block->mr, 0, UINT64_MAX);
    }
    return result;
}

static int by_region(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const EpochPart *)a)->mr, y = (uintptr_t)((const EpochPart *)b)->mr;

    return x < y ? -1 : x > y;
}

static bool next_taken(const void *opaque, const MemoryRegion *mr, uint64_t *first, uint64_t *last)
{
    const DirtyEpoch *epoch = opaque;
    EpochPart key = {.mr = (MemoryRegion *)mr};
    const EpochPart *part =
        epoch->count ? bsearch(&key, epoch->parts, epoch->count, sizeof key, by_region) : NULL;

    return part && dirty_set_next(&part->set, first, last);
}

/* What was taken is complete: tell of it, and let the pages be read. */
static void finish_take(MemorySystem *ms, DirtyEpoch *epoch)
{
    if (epoch->count) {
        qsort(epoch->parts, epoch->count, sizeof *epoch->parts, by_region);
        listeners_log_clear(ms, &(TakenPages){next_taken, epoch});
        sync_fence_heavy();
    }
}

DirtyEpoch *memory_dirty_take(MemorySystem *ms, unsigned client, Error **errp)
{
    DirtyEpoch *epoch = NULL;
    int result = 0;

    machine_lock(ms);
    result = dirty_client_check(ms, client);
    if (!result && !(epoch = calloc(1, sizeof *epoch))) {
        result = fail_no_memory("a set of dirty pages");
    }
    if (!result) {
        epoch->client = client;
        epoch->serial = client_serial(ms, client);
        listeners_log_sync(ms, NULL, false);
        result = take_all_blocks(epoch, ms);
        if (!result) {
            finish_take(ms, epoch);
        }
    }
    machine_unlock(ms);
    if (result) {
        dirty_epoch_rollback(epoch);
        epoch = NULL;
        error_pass(errp, result);
    }
    return epoch;
}

bool dirty_epoch_next(const DirtyEpoch *epoch, DirtyRun *run)
{
    uint64_t first = (run->offset + run->size + RAM_PAGE_SIZE - 1) >> DIRTY_PAGE_BITS, last;

    for (size_t i = run->part; i < epoch->count; i++, first = 0) {
        MemoryRegion *mr = epoch->parts[i].mr;
        if (dirty_set_next(&epoch->parts[i].set, &first, &last)) {
            hwaddr offset = first << DIRTY_PAGE_BITS;
            *run = (DirtyRun){
                .block = mr->ram_block,
                .mr = mr,
                .offset = offset,
                .size = hwaddr_min((last - first + 1) << DIRTY_PAGE_BITS,
                                   mr->ram_block->max_length - offset),
                .part = i,
            };
            return true;
        }
    }
    return false;
}

uint64_t dirty_epoch_pages(const DirtyEpoch *epoch)
{
    uint64_t pages = 0;

    for (size_t i = 0; i < epoch->count; i++) {
        pages += dirty_set_pages(&epoch->parts[i].set);
    }
    return pages;
}

/* ---- one region ------------------------------------------------------------------------- */

/* [addr, addr + size - 1] of @mr's block as pages that exist; false if there are none. */
static bool pages_within(const MemoryRegion *mr, hwaddr addr, hwaddr size, uint64_t *first,
                         uint64_t *last)
{
    const RAMBlock *block = mr->ram_block;

    if (!block || addr >= block->max_length) {
        return false;
    }
    return dirty_pages_of(addr, hwaddr_min(size, block->max_length - addr), first, last);
}

void memory_region_set_dirty(MemoryRegion *mr, hwaddr addr, hwaddr size)
{
    uint64_t first, last;

    if (pages_within(mr, addr, size, &first, &last)) {
        ram_after_write(mr->ram_block, first << DIRTY_PAGE_BITS,
                        (last - first + 1) << DIRTY_PAGE_BITS);
    }
}

bool memory_region_get_dirty(MemoryRegion *mr, hwaddr addr, hwaddr size, unsigned client)
{
    uint64_t first, last;

    if (client >= DIRTY_MEMORY_NUM || !pages_within(mr, addr, size, &first, &last)) {
        return false;
    }
    const DirtyBits *bits = ram_block_bits(mr->ram_block, client);
    return bits && dirty_bits_any(bits, first, last);
}

void ram_block_merge_dirty(RAMBlock *block, hwaddr offset, const void *bitmap, uint64_t pages)
{
    unsigned mask = __atomic_load_n(&block->log_mask, __ATOMIC_RELAXED), clients = mask;
    uint64_t first = offset >> DIRTY_PAGE_BITS;
    uint64_t end = (block->max_length + RAM_PAGE_SIZE - 1) >> DIRTY_PAGE_BITS;

    for (; mask && first < end; mask &= mask - 1) {
        DirtyBits *bits = ram_block_bits(block, (unsigned)__builtin_ctz(mask));
        if (bits) {
            dirty_bits_merge(bits, first, bitmap, hwaddr_min(pages, end - first));
        }
    }
    ram_marked(block, clients);
}

/* ---- displays --------------------------------------------------------------------------- */

static int take_region(DirtyBitmapSnapshot *snapshot, MemoryRegion *mr, hwaddr addr, hwaddr size)
{
    uint64_t first, last;

    if (!pages_within(mr, addr, size, &first, &last)) {
        return 0;
    }
    listeners_log_sync(region_system(mr), mr, false);
    int result = take_pages(snapshot, mr, first, last);
    if (!result) {
        finish_take(region_system(mr), snapshot);
    }
    return result;
}

DirtyBitmapSnapshot *memory_region_snapshot_and_clear_dirty(MemoryRegion *mr, hwaddr addr,
                                                            hwaddr size, unsigned client)
{
    MemorySystem *ms = region_system(mr);
    DirtyBitmapSnapshot *snapshot;

    if (client >= DIRTY_MEMORY_NUM || ms->snapshots.client_mask >> client & 1) {
        fail(EINVAL, "region '%s': no dirty-memory client %u", mr->name, client);
        return NULL;
    }
    snapshot = calloc(1, sizeof *snapshot);
    if (!snapshot) {
        fail_no_memory("a set of dirty pages");
        return NULL;
    }
    snapshot->client = client;
    machine_lock(ms);
    if (take_region(snapshot, mr, addr, size)) {
        epoch_free(snapshot);
        snapshot = NULL;
    }
    machine_unlock(ms);
    return snapshot;
}

bool memory_region_snapshot_get_dirty(MemoryRegion *mr, const DirtyBitmapSnapshot *snapshot,
                                      hwaddr addr, hwaddr size)
{
    uint64_t first, last;

    return snapshot->count && snapshot->parts[0].mr == mr &&
           pages_within(mr, addr, size, &first, &last) &&
           dirty_set_any(&snapshot->parts[0].set, first, last);
}

void dirty_bitmap_snapshot_free(DirtyBitmapSnapshot *snapshot)
{
    dirty_epoch_commit(snapshot);
}

typedef struct Run {
    const MemoryRegion *mr;
    uint64_t first, last;
} Run;

static bool next_of_run(const void *opaque, const MemoryRegion *mr, uint64_t *first, uint64_t *last)
{
    const Run *run = opaque;

    if (mr != run->mr || *first > run->last) {
        return false;
    }
    *first = *first > run->first ? *first : run->first;
    *last = run->last;
    return true;
}

void memory_region_reset_dirty(MemoryRegion *mr, hwaddr addr, hwaddr size, unsigned client)
{
    MemorySystem *ms = region_system(mr);
    Run run = {.mr = mr};

    if (client >= DIRTY_MEMORY_NUM || !pages_within(mr, addr, size, &run.first, &run.last)) {
        return;
    }
    machine_lock(ms);
    bool snapshots = ms->snapshots.client_mask >> client & 1;
    DirtyBits *bits = snapshots ? NULL : ram_block_bits(mr->ram_block, client);
    if (bits) {
        dirty_bits_clear(bits, run.first, run.last);
        listeners_log_clear(ms, &(TakenPages){next_of_run, &run});
        sync_fence_heavy();
    }
    machine_unlock(ms);
}
