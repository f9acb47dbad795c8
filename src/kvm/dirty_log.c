/* SPDX-License-Identifier: MIT */
/*
 * Dirty pages of the guest, brought in from the kernel.
 *
 * The kernel has a bit for each page of a slot that is logged, and notes only the first write to a
 * page that it has protected. A page's life, where it is cleared by hand (KVM_DIRTY_LOG_MANUAL):
 *
 *      guest    writes            writes             writes
 *      kernel   bit, page open .. (nothing new) ..   |  bit, page open ...
 *      membus          GET: marks, log.bits   CLEAR: page protected
 *      client                                        |  reads the page
 *
 * GET (log_sync) copies the bits and changes nothing: marks of all clients are made of them, and
 * log.bits says which were. CLEAR (log_clear, when a client has taken marks) tells the kernel to
 * drop those bits and protect their pages again; the client reads after it. A page that is cleared
 * too early, since only its neighbour was taken, still has its marks, so clearing goes by stretches
 * of 2^clear_shift pages: one ioctl each, of what log.bits says. clear_bmap says which
 * stretches have any.
 *
 * KVM_DIRTY_LOG_BITMAP: GET protects too, and there is nothing to clear. Rings: dirty_ring.c.
 *
 * What guests write at any moment is not lost:
 *      before GET          it is in the bits
 *      GET to CLEAR        the page is marked, and read after the CLEAR; who does not take it now
 *                          has the mark still; who did not log when GET marked: L3
 *      after CLEAR         a new bit, for the next GET
 *      before delete       GET, with vCPUs kept out from before it until after the delete
 *      before move         the same; whether the kernel keeps the bits does not matter (L3)
 *      before log off      GET; what is written meanwhile nobody wanted
 *      a client leaves     GET, if others stay: L6
 *
 * Guarantees:
 *  L1  Between the last write that a mark stands for and the read of who takes it the page is
 *      protected again: later writes make another mark.
 *  L2  Only what was brought in is cleared.
 *  L3  Nor is it cleared if the marks did not reach all who log now, or the kernel's bits may be
 *      others by now: log.bits is forgotten when a client begins to log, when a slot is moved
 *      or shows another region, and when GET or CLEAR fails. Then the kernel just tells again.
 *  L4  If GET fails all of the slot is marked. If CLEAR fails its pages stay open with their
 *      bits, and come with the next GET.
 *  L5  Marks are a block's, bits a slot's: memory that is seen in several places has a bit in each,
 *      and each is brought in and cleared by itself.
 *  L6  A client that ends its log while others go on has marks of all that was written before,
 *      also where its range is replaced by another in the same commit and the slot stays.
 */
#include "kvm/dirty.h"

#include "base/bitmap.h"
#include "base/error.h"
#include "base/range.h"
#include "kvm/dirty_ring.h"
#include "kvm/ioctl.h"
#include "kvm/uapi.h"

#include <errno.h>
#include <membus/dirty.h>
#include <stdlib.h>
#include <string.h>

/* ---- the kernel's way ------------------------------------------------------------------ */

/* Bitmaps of a VM that was given; whether it has rings can only be tried. */
static int check_no_rings(KVMState *s)
{
    if (s->config.vm_fd >= 0 && s->caps.dirty_ring_max && kvm_try_reset_dirty_rings(s) >= 0) {
        return fail(EBUSY, "KVM: the VM that was given has dirty rings, and no other log");
    }
    return 0;
}

static int set_manual(KVMState *s, bool manual)
{
    int result = kvm_enable_vm_cap(s, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                                   manual ? KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE : 0);

    if (result >= 0) {
        return 0;
    }
    return fail(-result, "KVM cannot switch clearing dirty logs by hand %s: %s",
                manual ? "on" : "off", strerror(-result));
}

static int begin_bitmap(KVMState *s)
{
    int result = check_no_rings(s);

    /* A VM that was given may clear by hand. */
    if (!result && s->config.vm_fd >= 0 && s->caps.manual_dirty_log) {
        result = set_manual(s, false);
    }
    return result;
}

static int begin_manual(KVMState *s)
{
    int result = s->caps.manual_dirty_log
                     ? check_no_rings(s)
                     : fail(ENOTSUP, "KVM cannot clear dirty logs by hand here");

    return result ? result : set_manual(s, true);
}

int dirty_log_init(KVMState *s)
{
    s->dirty_log = s->config.dirty_log;
    if (s->dirty_log == KVM_DIRTY_LOG_AUTO) {
        s->dirty_log = s->caps.manual_dirty_log ? KVM_DIRTY_LOG_MANUAL : KVM_DIRTY_LOG_BITMAP;
    }
    switch (s->dirty_log) {
    case KVM_DIRTY_LOG_MANUAL:
        return begin_manual(s);
    case KVM_DIRTY_LOG_RING:
        return dirty_ring_init(s);
    default:
        return begin_bitmap(s);
    }
}

void dirty_log_end(KVMState *s)
{
    dirty_ring_end(s);
}

/* ---- a slot's log ------------------------------------------------------------------------ */

static uint64_t pages_of(const KVMState *s, hwaddr size)
{
    return size / s->page_size;
}

static uint64_t stretches_of(const KVMState *s, hwaddr size)
{
    return ((pages_of(s, size) - 1) >> s->config.clear_shift) + 1;
}

int slot_log_alloc(const KVMState *s, hwaddr size, SlotLog *log)
{
    if (s->dirty_log == KVM_DIRTY_LOG_RING) {
        return 0;
    }
    log->bits = calloc(BITMAP_WORDS(pages_of(s, size)), sizeof(uint64_t));
    if (s->dirty_log == KVM_DIRTY_LOG_MANUAL) {
        log->clear_bmap = calloc(BITMAP_WORDS(stretches_of(s, size)), sizeof(uint64_t));
    }
    if (!log->bits || (s->dirty_log == KVM_DIRTY_LOG_MANUAL && !log->clear_bmap)) {
        slot_log_free(log);
        return fail_no_memory("the dirty log of a KVM slot");
    }
    return 0;
}

void slot_log_free(SlotLog *log)
{
    free(log->bits);
    free(log->clear_bmap);
    *log = (SlotLog){0};
}

/* Pages of stretch @stretch in a slot of @size bytes. */
static uint64_t stretch_pages(const KVMState *s, hwaddr size, uint64_t stretch, uint64_t *first)
{
    *first = stretch << s->config.clear_shift;
    return hwaddr_min(pages_of(s, size) - *first, 1ULL << s->config.clear_shift);
}

static void forget_stretch(const KVMState *s, hwaddr size, SlotLog *log, uint64_t stretch)
{
    uint64_t first, pages = stretch_pages(s, size, stretch, &first);

    memset(&log->bits[first / 64], 0, BITMAP_WORDS(pages) * sizeof(uint64_t));
    bitmap_assign(log->clear_bmap, stretch, stretch, false);
}

/* The first stretch of [@first, @last] that has something to clear, or @last + 1. */
static uint64_t next_stretch(const SlotLog *log, uint64_t first, uint64_t last)
{
    return first <= last ? bitmap_find(log->clear_bmap, first, last, true) : first;
}

void slot_log_forget(const KVMState *s, hwaddr size, SlotLog *log)
{
    if (!log->clear_bmap) {
        return;
    }
    uint64_t last = stretches_of(s, size) - 1;
    for (uint64_t at = next_stretch(log, 0, last); at <= last;
         at = next_stretch(log, at + 1, last)) {
        forget_stretch(s, size, log, at);
    }
}

/* What there is to clear, after GET. */
static void note_stretches(const KVMState *s, Slot *slot)
{
    hwaddr size = slot->info.memory_size;

    for (uint64_t i = 0, first; i < stretches_of(s, size); i++) {
        uint64_t last = stretch_pages(s, size, i, &first) + first - 1;
        bitmap_assign(slot->log.clear_bmap, i, i,
                      bitmap_find(slot->log.bits, first, last, true) <= last);
    }
}

/* ---- marks come in ----------------------------------------------------------------------- */

void slot_mark_dirty(const KVMState *s, const KVMSlot *slot, uint64_t first, uint64_t count)
{
    if (slot->mr) {
        memory_region_set_dirty(slot->mr, slot->offset_within_region + first * s->page_size,
                                count * s->page_size);
    }
}

/* A page of the host may be several of the block's, or parts of two. */
static void mark_runs(const KVMState *s, const Slot *slot)
{
    uint64_t last = pages_of(s, slot->info.memory_size) - 1;

    for (uint64_t at = 0, end; at <= last; at = end) {
        at = bitmap_find(slot->log.bits, at, last, true);
        if (at > last) {
            return;
        }
        end = bitmap_find(slot->log.bits, at, last, false);
        slot_mark_dirty(s, &slot->info, at, end - at);
    }
}

static void mark_bits(const KVMState *s, const Slot *slot)
{
    const KVMSlot *info = &slot->info;

    if (s->page_size == RAM_PAGE_SIZE && info->offset_within_region % RAM_PAGE_SIZE == 0) {
        ram_block_merge_dirty(info->mr->ram_block, info->offset_within_region, slot->log.bits,
                              pages_of(s, info->memory_size));
    } else {
        mark_runs(s, slot);
    }
}

static void mark_all(const KVMState *s, const Slot *slot)
{
    slot_mark_dirty(s, &slot->info, 0, pages_of(s, slot->info.memory_size));
}

static void get_dirty_log(KVMState *s, Slot *slot)
{
    int result = kvm_get_dirty_log(s, &slot->info, slot->log.bits);

    if (result) {
        mark_all(s, slot); /* L4 */
        kvm_report(s, result);
        memset(slot->log.bits, 0, BITMAP_WORDS(pages_of(s, slot->info.memory_size)) * 8);
    } else {
        mark_bits(s, slot);
    }
    if (slot->log.clear_bmap) {
        note_stretches(s, slot);
    }
}

void slot_collect_dirty(KVMState *s, Slot *slot)
{
    if (slot_is_unloggable(&slot->info)) {
        mark_all(s, slot);
    } else if (s->rings) {
        kvm_dirty_ring_reap(s);
    } else {
        get_dirty_log(s, slot);
    }
}

/* ---- callbacks --------------------------------------------------------------------------- */

static KvmSpace *space_of(MemoryListener *listener)
{
    return container_of(listener, KVMMemoryListener, listener)->space;
}

/* The next slot of @section after @slot; with NULL the first. */
static Slot *next_slot(const KvmSpace *space, const MemoryRegionSection *section, const Slot *slot)
{
    hwaddr first = section->offset_within_address_space;
    hwaddr last = section->last_within_address_space;

    if (slot && slot_last(slot) >= last) {
        return NULL;
    }
    return space_first_overlap(space, slot ? slot_last(slot) + 1 : first, last);
}

static void on_log_sync(MemoryListener *listener, MemoryRegionSection *section)
{
    KvmSpace *space = space_of(listener);

    for (Slot *slot = NULL; (slot = next_slot(space, section, slot));) {
        if (slot_loses_writes(&slot->info)) {
            slot_collect_dirty(space->s, slot);
        }
    }
}

/* Once for all address spaces: rings are not of one. */
static void on_log_sync_global(MemoryListener *listener, bool last_stage)
{
    KVMState *s = space_of(listener)->s;

    (void)last_stage;
    if (&s->listeners->listener == listener) {
        dirty_ring_sync(s);
    }
}

static void on_begin(MemoryListener *listener)
{
    dirty_ring_begin_commit(space_of(listener)->s);
}

/* Clients that are going to leave are still to hear of what was written before (L6). */
static void bring_in_for_who_leaves(MemoryListener *listener, MemoryRegionSection *section)
{
    KvmSpace *space = space_of(listener);
    const MemoryRegion *mr = section->mr;
    unsigned stays = memory_region_get_dirty_log_mask(mr);

    if (!mr->ram_block || !(mr->ram_block->log_mask & ~stays)) {
        return;
    }
    if (space->s->rings) {
        dirty_ring_sync_once(space->s);
    } else {
        on_log_sync(listener, section);
    }
}

static void on_log_stop(MemoryListener *listener, MemoryRegionSection *section, int old_mask,
                        int new_mask)
{
    (void)old_mask;
    (void)new_mask;
    bring_in_for_who_leaves(listener, section);
}

/* A client that has not had the marks of what was brought in (L3). */
static void on_log_start(MemoryListener *listener, MemoryRegionSection *section, int old_mask,
                         int new_mask)
{
    KvmSpace *space = space_of(listener);

    (void)old_mask;
    (void)new_mask;
    for (Slot *slot = NULL; (slot = next_slot(space, section, slot));) {
        slot_log_forget(space->s, slot->info.memory_size, &slot->log);
    }
}

static void clear_stretch(KVMState *s, Slot *slot, uint64_t stretch)
{
    hwaddr size = slot->info.memory_size;
    uint64_t first, pages = stretch_pages(s, size, stretch, &first);
    int result =
        kvm_clear_dirty_log(s, &slot->info, first, (uint32_t)pages, &slot->log.bits[first / 64]);

    if (result) {
        kvm_report(s, result);
    }
    forget_stretch(s, size, &slot->log, stretch); /* if it failed, too: L3, L4 */
}

static void on_log_clear(MemoryListener *listener, MemoryRegionSection *section)
{
    KvmSpace *space = space_of(listener);
    KVMState *s = space->s;

    for (Slot *slot = NULL; (slot = next_slot(space, section, slot));) {
        if (!slot->log.clear_bmap) {
            continue;
        }
        hwaddr start = slot->info.start_addr;
        hwaddr from = hwaddr_max(section->offset_within_address_space, start) - start;
        hwaddr to = hwaddr_min(section->last_within_address_space, slot_last(slot)) - start;
        uint64_t first = from / s->page_size >> s->config.clear_shift;
        uint64_t last = to / s->page_size >> s->config.clear_shift;
        for (uint64_t at = next_stretch(&slot->log, first, last); at <= last;
             at = next_stretch(&slot->log, at + 1, last)) {
            clear_stretch(s, slot, at);
        }
    }
}

void dirty_set_callbacks(const KVMState *s, MemoryListener *listener)
{
    listener->log_stop = on_log_stop;
    listener->region_del = bring_in_for_who_leaves;
    switch (s->dirty_log) {
    case KVM_DIRTY_LOG_RING:
        listener->begin = on_begin;
        listener->log_sync_global = on_log_sync_global;
        break;
    case KVM_DIRTY_LOG_MANUAL:
        listener->log_start = on_log_start;
        listener->log_clear = on_log_clear;
        listener->log_sync = on_log_sync;
        break;
    default:
        listener->log_sync = on_log_sync;
    }
}
