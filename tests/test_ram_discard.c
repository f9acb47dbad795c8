/* SPDX-License-Identifier: MIT */
/* RAM that is populated in part, and those who are told of it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

#define BLOCK 0x4000ULL
#define BLOCKS 200
#define SIZE (BLOCKS * BLOCK)

/* ---- A listener that checks what it is told -------------------------------------------- */

typedef struct Event {
    bool populate;
    int who;
    hwaddr offset, size, address;
} Event;

static Event events[64];
static size_t nr_events;

typedef struct Watcher {
    RamDiscardListener rdl;
    int who;
    int refusal;          /* 0: agrees */
    hwaddr refuses_at;    /* only parts that hold this offset */
    uint8_t held[BLOCKS]; /* was told it is populated */
    MemoryRegionSection section;
    bool registered;
    bool meddles; /* tries to change the manager from its callback */
} Watcher;

static Watcher *watcher_of(RamDiscardListener *rdl)
{
    return (Watcher *)((char *)rdl - offsetof(Watcher, rdl));
}

static void log_event(const Watcher *w, bool populate, const MemoryRegionSection *s)
{
    if (nr_events < sizeof events / sizeof *events) {
        events[nr_events++] = (Event){populate, w->who, s->offset_within_region, s->size,
                                      s->offset_within_address_space};
    }
    /* A part of the section that was registered. */
    assert_ptr_equal(s->mr, w->section.mr);
    assert_true(s->size > 0);
    assert_true(s->offset_within_region >= w->section.offset_within_region);
    assert_true(s->offset_within_region + s->size <=
                w->section.offset_within_region + w->section.size);
    assert_int_equal(s->offset_within_address_space - w->section.offset_within_address_space,
                     s->offset_within_region - w->section.offset_within_region);
    assert_int_equal(s->last_within_address_space, s->offset_within_address_space + s->size - 1);
}

static void meddle(const Watcher *w)
{
    RamDiscardManager *rdm = w->rdl.manager;
    Watcher other = {.who = 99};

    if (!w->meddles || !rdm) {
        return;
    }
    ram_discard_listener_init(&other.rdl, w->rdl.notify_populate, w->rdl.notify_discard, false);
    REFUSED(-EBUSY, ram_discard_manager_populate(rdm, 0, BLOCK, NULL));
    REFUSED(-EBUSY, ram_discard_manager_discard(rdm, 0, BLOCK, NULL));
    REFUSED(-EBUSY, ram_discard_manager_register_listener(rdm, &other.rdl, &w->section));
    REFUSED(-EBUSY, ram_discard_manager_unregister_listener(rdm, (RamDiscardListener *)&w->rdl));
}

static int on_populate(RamDiscardListener *rdl, MemoryRegionSection *s)
{
    Watcher *w = watcher_of(rdl);
    hwaddr end = s->offset_within_region + s->size;

    meddle(w);
    if (w->refusal && s->offset_within_region <= w->refuses_at && w->refuses_at < end) {
        return w->refusal;
    }
    log_event(w, true, s);
    for (hwaddr at = s->offset_within_region / BLOCK; at <= (end - 1) / BLOCK; at++) {
        assert_false(w->held[at]); /* told once */
        w->held[at] = true;
    }
    return 0;
}

static void on_discard(RamDiscardListener *rdl, MemoryRegionSection *s)
{
    Watcher *w = watcher_of(rdl);
    hwaddr end = s->offset_within_region + s->size;

    meddle(w);
    log_event(w, false, s);
    for (hwaddr at = s->offset_within_region / BLOCK; at <= (end - 1) / BLOCK; at++) {
        assert_true(w->held[at] || rdl->double_discard_supported);
        w->held[at] = false;
    }
}

static void watch(Watcher *w, int who, MemoryRegion *mr, hwaddr offset, hwaddr size, bool twice)
{
    *w = (Watcher){.who = who,
                   .section = {.mr = mr,
                               .offset_within_region = offset,
                               .offset_within_address_space = 0x100000000 + offset,
                               .last_within_address_space = 0x100000000 + offset + size - 1,
                               .size = size}};
    ram_discard_listener_init(&w->rdl, on_populate, on_discard, twice);
    w->rdl.name = "watcher";
}

static void expect(size_t index, bool populate, int who, hwaddr first_block, hwaddr blocks)
{
    assert_true(index < nr_events);
    assert_int_equal(events[index].populate, populate);
    assert_int_equal(events[index].who, who);
    assert_int_equal(events[index].offset, first_block * BLOCK);
    assert_int_equal(events[index].size, blocks * BLOCK);
}

/* ---- A machine with one such region ------------------------------------------------------ */

typedef struct World {
    MemorySystem *ms;
    MemoryRegion mr;
    RamDiscardManager *rdm;
} World;

static int setup(void **state)
{
    World *w = calloc(1, sizeof *w);

    w->ms = machine_start();
    make_ram(w->ms, &w->mr, "dynamic", SIZE);
    w->rdm = ram_discard_manager_create(&w->mr, BLOCK, NULL);
    assert_non_null(w->rdm);
    nr_events = 0;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    World *w = *state;

    ram_discard_manager_destroy(w->rdm);
    memory_system_drain(w->ms);
    OK(memory_region_finalize(&w->mr));
    machine_end(w->ms);
    free(w);
    return 0;
}

/* ---- Cases --------------------------------------------------------------------------------- */

static void managers_are_checked(void **state)
{
    World *w = *state;
    MemoryRegion box, growing, unbacked, other;
    Error *err = NULL;

    make_container(w->ms, &box, "box", SIZE);
    OK(memory_region_init_resizeable_ram(&growing, memory_system_owner(w->ms), "growing", BLOCK,
                                         SIZE, NULL, NULL));
    OK(memory_region_init_ram_unbacked(&unbacked, memory_system_owner(w->ms), "unbacked", SIZE));
    make_ram(w->ms, &other, "other", SIZE);
    assert_null(ram_discard_manager_create(NULL, BLOCK, NULL));
    assert_null(ram_discard_manager_create(&box, BLOCK, &err));
    assert_int_equal(error_get_errno(err), -EINVAL);
    assert_string_equal(error_get_pretty(err),
                        "region 'box' has no host memory: it cannot be populated in part");
    error_free(err);
    assert_null(ram_discard_manager_create(&growing, BLOCK, NULL));
    assert_null(ram_discard_manager_create(&unbacked, BLOCK, NULL));
    assert_null(ram_discard_manager_create(&other, 0, NULL));
    assert_null(ram_discard_manager_create(&other, 3 * BLOCK, NULL));
    assert_null(ram_discard_manager_create(&other, 2 * SIZE, NULL));
    assert_string_equal(membus_last_error(),
                        "RAM 'other': its 0x320000 bytes cannot be managed in blocks of 0x640000 "
                        "(a power of two that divides them)");

    REFUSED(-EINVAL, memory_region_set_ram_discard_manager(&other, w->rdm));
    assert_false(memory_region_has_ram_discard_manager(&w->mr));
    OK(memory_region_set_ram_discard_manager(&w->mr, w->rdm));
    assert_true(memory_region_has_ram_discard_manager(&w->mr));
    assert_ptr_equal(memory_region_get_ram_discard_manager(&w->mr), w->rdm);
    REFUSED(-EBUSY, memory_region_set_ram_discard_manager(&w->mr, w->rdm));
    map_at(w->ms, 0x100000000, &w->mr);
    REFUSED(-EBUSY, memory_region_set_ram_discard_manager(&w->mr, NULL));
    unmap(w->ms, &w->mr);
    OK(memory_region_set_ram_discard_manager(&w->mr, NULL));
    assert_null(memory_region_get_ram_discard_manager(&w->mr));
    assert_int_equal(ram_discard_manager_get_min_granularity(w->rdm, &w->mr), BLOCK);
    assert_int_equal(ram_discard_manager_get_min_granularity(w->rdm, &other), 0);

    /* A managed region stays. */
    REFUSED(-EBUSY, memory_region_finalize(&w->mr));
    OK(memory_region_finalize(&box));
    OK(memory_region_finalize(&growing));
    OK(memory_region_finalize(&unbacked));
    OK(memory_region_finalize(&other));
}

static void ranges_are_checked(void **state)
{
    World *w = *state;

    REFUSED(-EINVAL, ram_discard_manager_populate(w->rdm, 0, 0, NULL));
    REFUSED(-EINVAL, ram_discard_manager_populate(w->rdm, 1, BLOCK, NULL));
    REFUSED(-EINVAL, ram_discard_manager_populate(w->rdm, 0, BLOCK + 1, NULL));
    REFUSED(-EINVAL, ram_discard_manager_populate(w->rdm, SIZE, BLOCK, NULL));
    REFUSED(-EINVAL, ram_discard_manager_populate(w->rdm, BLOCK, SIZE, NULL));
    REFUSED(-EINVAL, ram_discard_manager_discard(w->rdm, BLOCK, 0 - BLOCK, NULL));
    assert_string_equal(membus_last_error(),
                        "RAM 'dynamic': 0xffffffffffffc000 bytes at 0x4000 are not whole blocks of "
                        "0x4000 bytes within its 0x320000");
    OK(ram_discard_manager_populate(w->rdm, 2 * BLOCK, 3 * BLOCK, NULL));
    REFUSED(-EINVAL, ram_discard_manager_populate(w->rdm, 4 * BLOCK, BLOCK, NULL));
    REFUSED(-EINVAL, ram_discard_manager_populate(w->rdm, 0, SIZE, NULL));
    assert_string_equal(membus_last_error(), "RAM 'dynamic': 0x8000-0x13fff is populated already");
    assert_int_equal(ram_discard_manager_populated_size(w->rdm), 3 * BLOCK);
    OK(ram_discard_manager_discard(w->rdm, 0, SIZE, NULL));
    assert_int_equal(ram_discard_manager_populated_size(w->rdm), 0);
    OK(ram_discard_manager_populate(w->rdm, 0, SIZE, NULL));
    assert_int_equal(ram_discard_manager_populated_size(w->rdm), SIZE);
}

static void sections_are_clipped(void **state)
{
    World *w = *state;
    Watcher a, b;

    OK(ram_discard_manager_populate(w->rdm, 0, 4 * BLOCK, NULL));
    OK(ram_discard_manager_populate(w->rdm, 6 * BLOCK, 4 * BLOCK, NULL));
    watch(&a, 1, &w->mr, 2 * BLOCK, 6 * BLOCK, false);
    OK(ram_discard_manager_register_listener(w->rdm, &a.rdl, &a.section));
    assert_int_equal(nr_events, 2);
    expect(0, true, 1, 2, 2);
    expect(1, true, 1, 6, 2);

    /* A section that cuts blocks, and one that reaches beyond the region. */
    watch(&b, 2, &w->mr, BLOCK / 2, BLOCK, false);
    OK(ram_discard_manager_register_listener(w->rdm, &b.rdl, &b.section));
    assert_int_equal(events[2].offset, BLOCK / 2);
    assert_int_equal(events[2].size, BLOCK);
    assert_int_equal(events[2].address, 0x100000000 + BLOCK / 2);
    OK(ram_discard_manager_unregister_listener(w->rdm, &b.rdl));
    b.section.size = UINT64_MAX;
    nr_events = 0;
    b.section.offset_within_region = 9 * BLOCK;
    b.section.offset_within_address_space = 0x100000000 + 9 * BLOCK;
    b.section.size = UINT64_MAX - 9 * BLOCK;
    OK(ram_discard_manager_register_listener(w->rdm, &b.rdl, &b.section));
    expect(0, true, 2, 9, 1);

    nr_events = 0;
    OK(ram_discard_manager_discard(w->rdm, 0, SIZE, NULL));
    assert_int_equal(nr_events, 3);
    expect(0, false, 2, 9, 1); /* in reverse */
    expect(1, false, 1, 2, 2);
    expect(2, false, 1, 6, 2);
    nr_events = 0;
    OK(ram_discard_manager_discard(w->rdm, 0, SIZE, NULL)); /* nothing to take back */
    assert_int_equal(nr_events, 0);
    OK(ram_discard_manager_unregister_listener(w->rdm, &a.rdl));
    OK(ram_discard_manager_unregister_listener(w->rdm, &a.rdl));
    OK(ram_discard_manager_unregister_listener(w->rdm, &b.rdl));
    assert_int_equal(nr_events, 0);
}

static void double_discards_come_as_one(void **state)
{
    World *w = *state;
    Watcher a;

    watch(&a, 1, &w->mr, BLOCK, 10 * BLOCK, true);
    OK(ram_discard_manager_register_listener(w->rdm, &a.rdl, &a.section));
    OK(ram_discard_manager_populate(w->rdm, 3 * BLOCK, BLOCK, NULL));
    OK(ram_discard_manager_populate(w->rdm, 6 * BLOCK, BLOCK, NULL));
    nr_events = 0;
    OK(ram_discard_manager_discard(w->rdm, 0, SIZE, NULL));
    assert_int_equal(nr_events, 1);
    expect(0, false, 1, 1, 10);
    OK(ram_discard_manager_discard(w->rdm, 0, SIZE, NULL));
    assert_int_equal(nr_events, 1);
    OK(ram_discard_manager_unregister_listener(w->rdm, &a.rdl));
    assert_int_equal(nr_events, 1);
}

static void a_veto_is_rolled_back(void **state)
{
    World *w = *state;
    Watcher all[4];

    for (int i = 0; i < 4; i++) {
        watch(&all[i], i, &w->mr, 0, SIZE, i & 1);
        OK(ram_discard_manager_register_listener(w->rdm, &all[i].rdl, &all[i].section));
    }
    all[2].refusal = -EPERM;
    all[2].refuses_at = 8 * BLOCK;
    Error *err = NULL;
    assert_int_equal(ram_discard_manager_populate(w->rdm, 7 * BLOCK, 3 * BLOCK, &err), -EPERM);
    assert_string_equal(error_get_pretty(err),
                        "RAM 'dynamic': listener 'watcher' refuses to have 0x1c000-0x27fff "
                        "populated: Operation not permitted");
    error_free(err);
    assert_int_equal(nr_events, 4);
    expect(0, true, 0, 7, 3);
    expect(1, true, 1, 7, 3);
    expect(2, false, 1, 7, 3);
    expect(3, false, 0, 7, 3);
    assert_int_equal(ram_discard_manager_populated_size(w->rdm), 0);
    all[2].refusal = 5; /* no errno */
    REFUSED(-EINVAL, ram_discard_manager_populate(w->rdm, 7 * BLOCK, 3 * BLOCK, NULL));
    OK(ram_discard_manager_populate(w->rdm, 0, 3 * BLOCK, NULL));
    all[2].refusal = 0;
    OK(ram_discard_manager_populate(w->rdm, 7 * BLOCK, 3 * BLOCK, NULL));
    /* Listeners that are left at the end are dismissed. */
    nr_events = 0;
    ram_discard_manager_destroy(w->rdm);
    assert_int_equal(nr_events, 6); /* two parts each, or one */
    for (int i = 0; i < 4; i++) {
        assert_null(all[i].rdl.manager);
        for (int at = 0; at < BLOCKS; at++) {
            assert_false(all[i].held[at]);
        }
    }
    w->rdm = NULL;
}

static void registering_is_all_or_nothing(void **state)
{
    World *w = *state;
    Watcher a, b;
    MemoryRegion other;

    OK(ram_discard_manager_populate(w->rdm, 1 * BLOCK, BLOCK, NULL));
    OK(ram_discard_manager_populate(w->rdm, 3 * BLOCK, BLOCK, NULL));
    OK(ram_discard_manager_populate(w->rdm, 5 * BLOCK, BLOCK, NULL));
    watch(&a, 1, &w->mr, 0, SIZE, false);
    a.refusal = -ENOSPC;
    a.refuses_at = 5 * BLOCK;
    REFUSED(-ENOSPC, ram_discard_manager_register_listener(w->rdm, &a.rdl, &a.section));
    assert_int_equal(nr_events, 4);
    expect(2, false, 1, 1, 1);
    expect(3, false, 1, 3, 1);
    assert_null(a.rdl.manager);
    a.refusal = 0;
    OK(ram_discard_manager_register_listener(w->rdm, &a.rdl, &a.section));
    REFUSED(-EBUSY, ram_discard_manager_register_listener(w->rdm, &a.rdl, &a.section));

    make_ram(w->ms, &other, "other", SIZE);
    RamDiscardManager *second = ram_discard_manager_create(&other, BLOCK, NULL);
    assert_non_null(second);
    REFUSED(-EINVAL, ram_discard_manager_unregister_listener(second, &a.rdl));
    watch(&b, 2, &w->mr, 0, SIZE, false);
    REFUSED(-EINVAL, ram_discard_manager_register_listener(second, &b.rdl, &b.section));
    watch(&b, 2, &w->mr, 0, 0, false);
    REFUSED(-EINVAL, ram_discard_manager_register_listener(w->rdm, &b.rdl, &b.section));
    watch(&b, 2, &w->mr, SIZE, BLOCK, false);
    REFUSED(-EINVAL, ram_discard_manager_register_listener(w->rdm, &b.rdl, &b.section));
    watch(&b, 2, &w->mr, 0, SIZE, false);
    b.rdl.notify_discard = NULL;
    REFUSED(-EINVAL, ram_discard_manager_register_listener(w->rdm, &b.rdl, &b.section));
    ram_discard_manager_destroy(second);
    ram_discard_manager_destroy(NULL);
    OK(memory_region_finalize(&other));
    OK(ram_discard_manager_unregister_listener(w->rdm, &a.rdl));
}

static void callbacks_cannot_meddle(void **state)
{
    World *w = *state;
    Watcher a;

    watch(&a, 1, &w->mr, 0, SIZE, false);
    OK(ram_discard_manager_register_listener(w->rdm, &a.rdl, &a.section));
    a.meddles = true;
    OK(ram_discard_manager_populate(w->rdm, 0, 2 * BLOCK, NULL));
    OK(ram_discard_manager_discard(w->rdm, 0, BLOCK, NULL));
    OK(ram_discard_manager_unregister_listener(w->rdm, &a.rdl));
    OK(ram_discard_manager_register_listener(w->rdm, &a.rdl, &a.section));
    OK(ram_discard_manager_unregister_listener(w->rdm, &a.rdl));
}

/* ---- Many random steps against arrays ---------------------------------------------------- */

static uint64_t seed;

static unsigned below(unsigned n)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(seed >> 33) % n;
}

typedef struct Seen {
    uint8_t blocks[BLOCKS];
    int calls;
} Seen;

static int see(MemoryRegionSection *s, void *opaque)
{
    Seen *seen = opaque;
    hwaddr end = s->offset_within_region + s->size;

    seen->calls++;
    for (hwaddr at = s->offset_within_region; at < end; at += BLOCK) {
        assert_false(seen->blocks[at / BLOCK]);
        seen->blocks[at / BLOCK] = 1;
    }
    return 0;
}

static int stop_at_once(MemoryRegionSection *s, void *opaque)
{
    (void)s;
    return ++((Seen *)opaque)->calls == 1 ? 42 : 0;
}

static void check_replay(World *w, const uint8_t *truth, hwaddr first, hwaddr count)
{
    Seen populated = {0}, discarded = {0}, stopped = {0};
    MemoryRegionSection s = {
        .mr = &w->mr, .offset_within_region = first * BLOCK, .size = count * BLOCK};
    int runs[2] = {0, 0};
    bool all = true;

    OK(ram_discard_manager_replay_populated(w->rdm, &s, see, &populated));
    OK(ram_discard_manager_replay_discarded(w->rdm, &s, see, &discarded));
    for (hwaddr at = 0; at < BLOCKS; at++) {
        bool in = at >= first && at < first + count;
        assert_int_equal(populated.blocks[at], in && truth[at]);
        assert_int_equal(discarded.blocks[at], in && !truth[at]);
        all = all && (!in || truth[at]);
        runs[truth[at]] += in && (at == first || truth[at] != truth[at - 1]);
    }
    assert_int_equal(populated.calls, runs[1]);
    assert_int_equal(discarded.calls, runs[0]);
    assert_int_equal(ram_discard_manager_is_populated(w->rdm, &s), all);
    assert_int_equal(ram_discard_manager_replay_populated(w->rdm, &s, stop_at_once, &stopped),
                     runs[1] ? 42 : 0);
    assert_int_equal(stopped.calls, runs[1] ? 1 : 0);
}

static void check_held(const Watcher *w, const uint8_t *truth)
{
    hwaddr first = w->section.offset_within_region / BLOCK, count = w->section.size / BLOCK;

    for (hwaddr at = 0; at < BLOCKS; at++) {
        assert_int_equal(w->held[at],
                         w->registered && at >= first && at < first + count && truth[at]);
    }
}

static void random_listener(World *w, Watcher *one, int who)
{
    if (one->registered) {
        OK(ram_discard_manager_unregister_listener(w->rdm, &one->rdl));
        one->registered = false;
        return;
    }
    hwaddr first = below(BLOCKS), count = 1 + below(BLOCKS - (unsigned)first);
    watch(one, who, &w->mr, first * BLOCK, count * BLOCK, below(2));
    one->refusal = below(4) ? 0 : -ENOMEM;
    one->refuses_at = below(BLOCKS) * BLOCK;
    one->registered = ram_discard_manager_register_listener(w->rdm, &one->rdl, &one->section) == 0;
}

static void random_steps(void **state)
{
    World *w = *state;
    static Watcher watchers[6];
    uint8_t truth[BLOCKS] = {0};
    int populates = 0, vetoes = 0;

    memset(watchers, 0, sizeof watchers);
    seed = 7;
    for (int step = 0; step < 4000; step++) {
        hwaddr first = below(BLOCKS), count = 1 + below(below(8) ? 6 : BLOCKS);
        count = first + count > BLOCKS ? BLOCKS - first : count;
        unsigned what = below(10);
        if (what < 5) {
            Watcher *moody = &watchers[below(6)];
            moody->refusal = below(3) ? 0 : -ENOMEM;
            moody->refuses_at = (first + below((unsigned)count)) * BLOCK;
            bool free = true;
            for (hwaddr at = first; at < first + count; at++) {
                free = free && !truth[at];
            }
            int result = ram_discard_manager_populate(w->rdm, first * BLOCK, count * BLOCK, NULL);
            assert_true(result == 0 || (free ? result == -ENOMEM : result == -EINVAL));
            assert_true(free || result);
            if (!result) {
                memset(truth + first, 1, count);
                populates++;
            }
            vetoes += result == -ENOMEM;
        } else if (what < 8) {
            OK(ram_discard_manager_discard(w->rdm, first * BLOCK, count * BLOCK, NULL));
            memset(truth + first, 0, count);
        } else if (what < 9) {
            int who = (int)below(6);
            random_listener(w, &watchers[who], who);
        } else {
            check_replay(w, truth, first, count);
        }
        hwaddr total = 0;
        for (int at = 0; at < BLOCKS; at++) {
            total += truth[at];
        }
        assert_int_equal(ram_discard_manager_populated_size(w->rdm), total * BLOCK);
        for (int i = 0; i < 6; i++) {
            check_held(&watchers[i], truth);
        }
    }
    assert_in_range(populates, 100, 4000);
    assert_in_range(vetoes, 20, 4000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(managers_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(sections_are_clipped, setup, teardown),
        cmocka_unit_test_setup_teardown(double_discards_come_as_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_veto_is_rolled_back, setup, teardown),
        cmocka_unit_test_setup_teardown(registering_is_all_or_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(callbacks_cannot_meddle, setup, teardown),
        cmocka_unit_test_setup_teardown(random_steps, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
