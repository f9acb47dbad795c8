/* SPDX-License-Identifier: MIT */
/*
 * Dirty logging under KVM against a byte a page, in all three ways: a guest writes, clients begin
 * and end, sync, take, roll back, reset, redraw, and slots are split, moved, replaced and deleted
 * meanwhile. A page that was written while a client logged it must be reported to that client,
 * and nothing else may be but what was written before it began.
 *
 *      0x000000  a, 200 pages; a hole that moves splits it
 *      0x400000  b, 70 pages, which moves
 *      anywhere  a window onto a, in front of both
 *      SMM       all of a, at another address
 *
 * With rings vCPUs have a list of their own, as hardware does (Intel's PML): what they write
 * gets into the ring when the list is full or they leave the guest.
 */
#include "support/kvm_fake.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"
#include "support/rng.h"

enum {
    PAGE = 4096,
    BLOCKS = 2,
    PAGES = 200, /* of the larger one */
    CLIENTS = 3,
    LIST = 12, /* a vCPU's own */
    SEEDS = 40,
    STEPS = 400,
};

#define SMM_AT 0x10000000U

static const unsigned block_pages[BLOCKS] = {PAGES, 70};

typedef struct Write {
    unsigned as_id;
    hwaddr gpa;
} Write;

typedef struct Run {
    KVMDirtyLog mode;
    bool failing; /* ioctls do, now and then: too much may be reported */
    Rng rng;
    KvmFake *fake;
    MemorySystem *ms;
    KVMState *kvm;
    KVMVcpu *cpu;
    KVMMemoryListener memory, smm;
    MemoryRegion block[BLOCKS], window, hole, smm_root, smm_alias;
    AddressSpace smm_space;
    hwaddr b_at, window_at;

    unsigned client[CLIENTS];
    bool everywhere[CLIENTS], logs[CLIENTS][BLOCKS];
    DirtyEpoch *open[CLIENTS];
    uint8_t must[CLIENTS][BLOCKS][PAGES], may[CLIENTS][BLOCKS][PAGES];
    uint8_t written[BLOCKS][PAGES]; /* since somebody was told */
    unsigned long reports, surplus, lists_full, rings_full;

    Write list[LIST];
    unsigned listed;
} Run;

static unsigned below(Run *run, unsigned n)
{
    return rng_below(&run->rng, n);
}

static bool is_logging(const Run *run, unsigned client, unsigned block)
{
    return run->everywhere[client] || run->logs[client][block];
}

/* ---- the guest ------------------------------------------------------------------------- */

static void write_page(Run *run, Write w)
{
    uint8_t byte = 1;
    KvmFakeOutcome outcome;

    while ((outcome = kvm_fake_guest_write(run->fake, 0, w.as_id, w.gpa, &byte, 1)) ==
           KVM_FAKE_RING_FULL) {
        run->rings_full++;
        kvm_dirty_ring_reap(run->kvm);
    }
    assert_int_equal(outcome, KVM_FAKE_DONE);
}

/* The vCPU leaves the guest. */
static void flush_list(Run *run)
{
    for (unsigned i = 0; i < run->listed; i++) {
        write_page(run, run->list[i]);
    }
    run->listed = 0;
}

static void pause_vcpus(void *opaque)
{
    flush_list(opaque);
}

static void resume_vcpus(void *opaque)
{
    (void)opaque;
}

static void note_write(Run *run, uint64_t host)
{
    for (unsigned b = 0; b < BLOCKS; b++) {
        uint64_t page = (host - (uintptr_t)memory_region_get_ram_ptr(&run->block[b])) / PAGE;
        for (unsigned c = 0; page < block_pages[b] && c < CLIENTS; c++) {
            if (is_logging(run, c, b)) {
                run->must[c][b][page] = run->written[b][page] = 1;
            }
        }
    }
}

static void guest_writes(Run *run)
{
    const hwaddr places[] = {0, run->b_at, run->window_at, SMM_AT};
    unsigned place = below(run, 4);
    Write w = {place == 3, places[place] + (hwaddr)below(run, PAGES) * PAGE + below(run, PAGE)};
    KvmFakeSlot slot;

    if (!kvm_fake_find(run->fake, w.as_id, w.gpa, &slot)) {
        return;
    }
    note_write(run, slot.hva + (w.gpa - slot.gpa));
    if (run->mode != KVM_DIRTY_LOG_RING || !(slot.flags & KVM_MEM_LOG_DIRTY_PAGES)) {
        write_page(run, w);
        return;
    }
    if (run->listed == LIST) {
        flush_list(run);
        run->lists_full++;
    }
    run->list[run->listed++] = w;
}

/* ---- who logs ---------------------------------------------------------------------------- */

/* What was written before may be news to who begins. */
static void begins(Run *run, unsigned client, unsigned block)
{
    for (unsigned page = 0; page < PAGES; page++) {
        run->may[client][block][page] |= run->written[block][page];
    }
}

static void ends(Run *run, unsigned block)
{
    for (unsigned c = 0; c < CLIENTS; c++) {
        if (is_logging(run, c, block)) {
            return;
        }
    }
    memset(run->written[block], 0, PAGES);
}

static void toggle_region(Run *run, unsigned client)
{
    unsigned block = below(run, BLOCKS);
    bool on = !run->logs[client][block], before = is_logging(run, client, block);

    if (memory_region_set_log(&run->block[block], on, run->client[client])) {
        assert_true(run->failing);
        return;
    }
    run->logs[client][block] = on;
    if (!before && on) {
        begins(run, client, block);
    }
    ends(run, block);
}

static void toggle_everywhere(Run *run, unsigned client)
{
    bool on = !run->everywhere[client];

    if (on ? memory_global_dirty_log_start(run->ms, 1U << run->client[client], NULL)
           : memory_global_dirty_log_stop(run->ms, 1U << run->client[client], NULL)) {
        assert_true(run->failing);
        return;
    }
    for (unsigned b = 0; b < BLOCKS; b++) {
        if (on && !is_logging(run, client, b)) {
            begins(run, client, b);
        }
    }
    run->everywhere[client] = on;
    for (unsigned b = 0; b < BLOCKS; b++) {
        ends(run, b);
    }
}

/* ---- what is told ------------------------------------------------------------------------ */

static void reported(Run *run, unsigned client, unsigned block, uint64_t page)
{
    run->reports++;
    run->surplus += !run->must[client][block][page] && !run->may[client][block][page];
    run->must[client][block][page] = run->may[client][block][page] = 0;
    run->written[block][page] = 0;
}

static void nothing_is_missing(const Run *run, unsigned client, unsigned block, unsigned first,
                               unsigned last)
{
    for (unsigned page = first; page <= last && page < block_pages[block]; page++) {
        if (run->must[client][block][page]) {
            fail_msg("client %u: page %u of block %u was not reported", client, page, block);
        }
    }
}

static unsigned block_of(const Run *run, const MemoryRegion *mr)
{
    return mr == &run->block[1];
}

static void take(Run *run, unsigned client)
{
    DirtyEpoch *epoch = memory_dirty_take(run->ms, run->client[client], NULL);

    assert_non_null(epoch);
    for (DirtyRun r = DIRTY_RUN_INIT; dirty_epoch_next(epoch, &r);) {
        for (uint64_t page = r.offset / PAGE; page < (r.offset + r.size) / PAGE; page++) {
            reported(run, client, block_of(run, r.mr), page);
        }
    }
    for (unsigned b = 0; b < BLOCKS; b++) {
        nothing_is_missing(run, client, b, 0, PAGES);
        memset(run->may[client][b], 0, PAGES);
    }
    if (run->open[client]) {
        dirty_epoch_commit(run->open[client]);
    }
    run->open[client] = epoch;
}

static void end_epoch(Run *run, unsigned client)
{
    DirtyEpoch *epoch = run->open[client];

    run->open[client] = NULL;
    if (below(run, 2)) {
        dirty_epoch_commit(epoch);
        return;
    }
    for (DirtyRun r = DIRTY_RUN_INIT; epoch && dirty_epoch_next(epoch, &r);) {
        memset(&run->must[client][block_of(run, r.mr)][r.offset / PAGE], 1, r.size / PAGE);
    }
    dirty_epoch_rollback(epoch);
}

static void redraw(Run *run, unsigned client)
{
    unsigned block = below(run, BLOCKS);
    unsigned first = below(run, block_pages[block]);
    unsigned pages = 1 + below(run, block_pages[block] - first);
    MemoryRegion *mr = &run->block[block];
    DirtyBitmapSnapshot *snapshot = memory_region_snapshot_and_clear_dirty(
        mr, (hwaddr)first * PAGE, (hwaddr)pages * PAGE, run->client[client]);

    assert_non_null(snapshot);
    for (unsigned page = first; page < first + pages; page++) {
        if (memory_region_snapshot_get_dirty(mr, snapshot, (hwaddr)page * PAGE, PAGE)) {
            reported(run, client, block, page);
        }
    }
    nothing_is_missing(run, client, block, first, first + pages - 1);
    dirty_bitmap_snapshot_free(snapshot);
}

/* What has not been brought in yet may come later. */
static void reset(Run *run, unsigned client)
{
    unsigned block = below(run, BLOCKS);
    unsigned first = below(run, block_pages[block]);
    unsigned pages = 1 + below(run, block_pages[block] - first);

    memory_region_reset_dirty(&run->block[block], (hwaddr)first * PAGE, (hwaddr)pages * PAGE,
                              run->client[client]);
    for (unsigned page = first; page < first + pages; page++) {
        run->may[client][block][page] |= run->must[client][block][page] | run->written[block][page];
        run->must[client][block][page] = 0;
    }
}

/* ---- the map ----------------------------------------------------------------------------- */

static hwaddr somewhere(Run *run)
{
    return (below(run, 2) ? 0 : 0x400000U) + (hwaddr)below(run, PAGES) * PAGE;
}

static void edit(Run *run)
{
    switch (below(run, 7)) {
    case 0:
        memory_region_set_enabled(&run->hole, below(run, 2));
        break;
    case 1:
        memory_region_set_address(&run->hole, somewhere(run));
        break;
    case 2:
        memory_region_set_enabled(&run->window, below(run, 2));
        break;
    case 3:
        if (!memory_region_set_address(&run->window, run->window_at)) {
            hwaddr at = somewhere(run);
            run->window_at = memory_region_set_address(&run->window, at) ? run->window_at : at;
        }
        break;
    case 4:
        memory_region_set_alias_offset(&run->window, (hwaddr)below(run, 150) * PAGE);
        break;
    case 5:
        memory_region_set_size(&run->window, (hwaddr)(1 + below(run, 50)) * PAGE);
        break;
    default: {
        hwaddr at = 0x400000U + (hwaddr)below(run, 4) * 0x10000;
        run->b_at = memory_region_set_address(&run->block[1], at) ? run->b_at : at;
    }
    }
}

/* Several at once: ranges are replaced while who logs them changes. */
static void edit_and_toggle(Run *run)
{
    unsigned client = below(run, CLIENTS), block = below(run, BLOCKS);
    bool on = !run->logs[client][block], before = is_logging(run, client, block);

    memory_region_transaction_begin(run->ms);
    memory_region_set_log(&run->block[block], on, run->client[client]);
    memory_region_set_enabled(&run->hole, below(run, 2));
    memory_region_set_address(&run->hole, somewhere(run));
    assert_int_equal(memory_region_transaction_commit(run->ms), 0);
    run->logs[client][block] = on;
    if (!before && on) {
        begins(run, client, block);
    }
    ends(run, block);
}

/* ---- all of it --------------------------------------------------------------------------- */

static int ask_fake(void *opaque, int fd, unsigned long request, void *arg)
{
    int result = kvm_fake_ioctl(opaque, fd, request, arg);

    return result == -1 ? -errno : result;
}

static void make_map(Run *run)
{
    MemorySystem *ms = run->ms;

    make_ram(ms, &run->block[0], "a", PAGES * PAGE);
    make_ram(ms, &run->block[1], "b", (hwaddr)block_pages[1] * PAGE);
    make_alias(ms, &run->window, &run->block[0], (hwaddr)13 * PAGE, (hwaddr)40 * PAGE);
    OK(memory_region_init_io(&run->hole, memory_system_owner(ms), NULL, NULL, "hole",
                             (hwaddr)3 * PAGE));
    run->b_at = 0x400000U;
    run->window_at = 0x410000U;
    map_at(ms, 0, &run->block[0]);
    map_at(ms, run->b_at, &run->block[1]);
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), run->window_at, &run->window, 1));
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), (hwaddr)70 * PAGE, &run->hole,
                                           2));
    make_container(ms, &run->smm_root, "smm", UINT64_MAX);
    make_alias(ms, &run->smm_alias, &run->block[0], 0, PAGES * PAGE);
    OK(memory_region_add_subregion(&run->smm_root, SMM_AT, &run->smm_alias));
    OK(address_space_init(&run->smm_space, &run->smm_root, "smm"));
}

static void begin(Run *run, KVMDirtyLog mode, unsigned seed, bool failing)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;

    *run = (Run){.mode = mode, .failing = failing, .rng = {seed}};
    caps.nr_address_spaces = 2;
    caps.ring_reserved = 200; /* of 256: rings run full */
    run->fake = kvm_fake_create(&caps);
    assert_non_null(run->fake);
    run->ms = machine_start();
    make_map(run);
    KVMConfig config = kvm_fake_config(run->fake);
    config.kernel.ioctl = ask_fake;
    config.dirty_log = mode;
    config.dirty_ring_entries = 256;
    config.reap_interval_ms = seed % 2 ? 1 : 1000;
    config.clear_shift = 6;
    config.max_slot_size = (hwaddr)(seed % 3 ? 64 : 128) * PAGE;
    config.pause_vcpus = pause_vcpus;
    config.resume_vcpus = resume_vcpus;
    config.opaque = run;
    run->kvm = kvm_create(run->ms, &config, NULL);
    assert_non_null(run->kvm);
    run->cpu = kvm_vcpu_create(run->kvm, 0, NULL);
    assert_non_null(run->cpu);
    OK(kvm_memory_listener_register(run->kvm, &run->memory, memory_system_memory(run->ms),
                                    KVM_AS_MEMORY, "memory"));
    OK(kvm_memory_listener_register(run->kvm, &run->smm, &run->smm_space, KVM_AS_SMM, "smm"));
    run->client[0] = DIRTY_MEMORY_VGA;
    run->client[1] = DIRTY_MEMORY_MIGRATION;
    run->client[2] = (unsigned)memory_dirty_client_register(run->ms, "third", NULL);
}

static void end(Run *run)
{
    for (unsigned c = 0; c < CLIENTS; c++) {
        take(run, c);
        dirty_epoch_commit(run->open[c]);
    }
    flush_list(run);
    kvm_destroy(run->kvm);
    OK(address_space_destroy(&run->smm_space));
    machine_end(run->ms);
    kvm_fake_destroy(run->fake);
}

static void fail_something(Run *run)
{
    static const unsigned long requests[] = {KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG,
                                             KVM_RESET_DIRTY_RINGS, KVM_SET_USER_MEMORY_REGION};

    kvm_fake_fail(run->fake, requests[below(run, 4)], 1 + below(run, 3), ENOMEM, false);
}

static void step(Run *run)
{
    unsigned client = below(run, CLIENTS), choice = below(run, 100);

    if (choice < 55) {
        for (unsigned n = below(run, 10); n; n--) {
            guest_writes(run);
        }
    } else if (choice < 63) {
        take(run, client);
    } else if (choice < 68) {
        end_epoch(run, client);
    } else if (choice < 72) {
        redraw(run, client);
    } else if (choice < 76) {
        reset(run, client);
    } else if (choice < 80) {
        toggle_region(run, client);
    } else if (choice < 83) {
        toggle_everywhere(run, client);
    } else if (choice < 86) {
        memory_global_dirty_log_sync(run->ms, false);
    } else if (choice < 88) {
        kvm_dirty_ring_reap(run->kvm);
    } else if (choice < 91 && !run->failing) {
        edit_and_toggle(run);
    } else {
        edit(run);
    }
    if (run->failing && !below(run, 20)) {
        fail_something(run);
    }
}

static void run_all(KVMDirtyLog mode, bool failing)
{
    unsigned long reports = 0, surplus = 0, lists = 0, rings = 0;
    Run *run = malloc(sizeof *run);

    assert_non_null(run);
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        begin(run, mode, seed, failing);
        for (unsigned i = 0; i < STEPS; i++) {
            step(run);
        }
        kvm_fake_heal(run->fake);
        end(run);
        if (!failing && run->surplus) {
            fail_msg("seed %u: %lu of %lu pages were reported for nothing", seed, run->surplus,
                     run->reports);
        }
        reports += run->reports;
        surplus += run->surplus;
        lists += run->lists_full;
        rings += run->rings_full;
    }
    print_message("# %lu pages reported, %lu of them for nothing; lists full %lu, rings %lu\n",
                  reports, surplus, lists, rings);
    assert_true(reports > 1000);
    free(run);
}

typedef struct Way {
    KVMDirtyLog mode;
    bool failing;
} Way;

static void test_way(void **state)
{
    const Way *way = *state;

    run_all(way->mode, way->failing);
}

int main(void)
{
    static Way ways[] = {
        {KVM_DIRTY_LOG_BITMAP, false}, {KVM_DIRTY_LOG_MANUAL, false}, {KVM_DIRTY_LOG_RING, false},
        {KVM_DIRTY_LOG_BITMAP, true},  {KVM_DIRTY_LOG_MANUAL, true},  {KVM_DIRTY_LOG_RING, true},
    };
    const struct CMUnitTest tests[] = {
        {"bitmap", test_way, NULL, NULL, &ways[0]},
        {"manual", test_way, NULL, NULL, &ways[1]},
        {"ring", test_way, NULL, NULL, &ways[2]},
        {"bitmap_failing", test_way, NULL, NULL, &ways[3]},
        {"manual_failing", test_way, NULL, NULL, &ways[4]},
        {"ring_failing", test_way, NULL, NULL, &ways[5]},
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
