/* SPDX-License-Identifier: MIT */
/* Dirty tracking and listeners: accelerators with logs of their own, order and refusals. */
#include "support/dirty_board.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

/* ---- An accelerator that lets the guest write past membus ---------------------------------- */

enum { CHUNK = 4 }; /* pages that are cleared together */

typedef struct Accel {
    MemoryListener listener;
    DirtyBoard *b;
    uint8_t hidden[B_REGIONS][B_MAX_PAGES], told[B_REGIONS][B_MAX_PAGES];
    unsigned version[B_REGIONS][B_MAX_PAGES]; /* what the guest wrote last */
    Rng rng;
    bool racing; /* the guest writes while logs are cleared */
} Accel;

static void guest_writes(Accel *a, unsigned region, hwaddr page)
{
    a->version[region][page]++;
    a->hidden[region][page] = 1;
}

static void accel_sync(MemoryListener *listener, MemoryRegionSection *section)
{
    Accel *a = (Accel *)listener;
    size_t region = (size_t)(section->mr - a->b->mr);
    hwaddr first = section->offset_within_region / B_PAGE;
    hwaddr last = (section->offset_within_region + section->size - 1) / B_PAGE;
    uint8_t bitmap = 0;

    assert_true(region < B_REGIONS && section->dirty_log_mask);
    for (hwaddr page = first; page <= last; page++) {
        bitmap |= (uint8_t)(a->hidden[region][page] << (page - first));
        a->told[region][page] = a->hidden[region][page];
    }
    ram_block_merge_dirty(memory_region_get_ram_block(section->mr), first * B_PAGE, &bitmap,
                          last - first + 1);
}

static void accel_clear(MemoryListener *listener, MemoryRegionSection *section)
{
    Accel *a = (Accel *)listener;
    size_t region = (size_t)(section->mr - a->b->mr);
    hwaddr first = section->offset_within_region / B_PAGE / CHUNK * CHUNK;
    hwaddr last = (section->offset_within_region + section->size - 1) / B_PAGE | (CHUNK - 1);

    for (hwaddr page = first; page <= last; page++) {
        if (a->racing && rng_percent(&a->rng, 50) && page * B_PAGE < a->b->size[region]) {
            guest_writes(a, (unsigned)region, page);
        }
        if (a->told[region][page]) {
            a->hidden[region][page] = a->told[region][page] = 0;
        }
    }
}

/* What was last read of each page by one client. */
typedef struct Copy {
    unsigned version[B_REGIONS][B_MAX_PAGES];
} Copy;

static void copy_epoch(Accel *a, const DirtyEpoch *epoch, Copy *copy)
{
    DirtyRun run = DIRTY_RUN_INIT;

    while (dirty_epoch_next(epoch, &run)) {
        size_t region = (size_t)(run.mr - a->b->mr);
        for (hwaddr page = run.offset / B_PAGE; page * B_PAGE < run.offset + run.size; page++) {
            copy->version[region][page] = a->version[region][page];
        }
    }
}

static void take_and_copy(Accel *a, unsigned client, Copy *copy, bool fails)
{
    DirtyEpoch *epoch = memory_dirty_take(a->b->ms, client, NULL);

    assert_non_null(epoch);
    if (fails) {
        dirty_epoch_rollback(epoch);
        return;
    }
    copy_epoch(a, epoch, copy);
    dirty_epoch_commit(epoch);
}

static void no_hidden_write_is_lost(void **state)
{
    enum { CLIENTS = 2, STEPS = 3000 };
    static const unsigned client[CLIENTS] = {DIRTY_MEMORY_MIGRATION, DIRTY_MEMORY_CODE};
    DirtyBoard *b = calloc(1, sizeof *b);
    Accel *a = calloc(1, sizeof *a);
    Copy copy[CLIENTS] = {0};

    (void)state;
    board_start(b);
    *a = (Accel){.listener = {.name = "accel", .log_sync = accel_sync, .log_clear = accel_clear},
                 .b = b,
                 .rng = {7},
                 .racing = true};
    OK(memory_listener_register(&a->listener, b->memory));
    board_start_global(b, 1U << client[0] | 1U << client[1]);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned region = rng_below(&a->rng, B_REGIONS), who = rng_below(&a->rng, CLIENTS);
        hwaddr page = rng_below(&a->rng, (unsigned)((b->size[region] + B_PAGE - 1) / B_PAGE));
        if (rng_percent(&a->rng, 70)) {
            guest_writes(a, region, page);
        } else if (rng_percent(&a->rng, 10)) {
            board_set_log(b, region, rng_percent(&a->rng, 50), DIRTY_MEMORY_VGA);
        } else {
            take_and_copy(a, client[who], &copy[who], rng_percent(&a->rng, 30));
        }
    }
    a->racing = false;
    for (unsigned who = 0; who < CLIENTS; who++) {
        take_and_copy(a, client[who], &copy[who], false);
        assert_memory_equal(copy[who].version, a->version, sizeof a->version);
    }
    OK(memory_listener_unregister(&a->listener));
    board_end(b);
    free(a);
    free(b);
}

static void accel_log_stop(MemoryListener *listener, MemoryRegionSection *section, int old, int new)
{
    section->dirty_log_mask = (uint8_t)old;
    (void)new;
    accel_sync(listener, section);
}

static void accel_region_del(MemoryListener *listener, MemoryRegionSection *section)
{
    if (section->dirty_log_mask) {
        accel_sync(listener, section);
    }
}

/* What only the accelerator knows comes in when a section or its logging goes. */
static void marks_come_in_at_the_last_moment(void **state)
{
    DirtyBoard *b = calloc(1, sizeof *b);
    Accel *a = calloc(1, sizeof *a);

    (void)state;
    board_start(b);
    *a = (Accel){.listener = {.log_sync = accel_sync,
                              .log_stop = accel_log_stop,
                              .region_del = accel_region_del},
                 .b = b};
    OK(memory_listener_register(&a->listener, b->memory));
    board_set_log(b, B_RAM, true, DIRTY_MEMORY_VGA);
    board_start_global(b, GLOBAL_DIRTY_MIGRATION);
    guest_writes(a, B_RAM, 3);
    board_stop_global(b, GLOBAL_DIRTY_MIGRATION);
    b->dirty[B_RAM][DIRTY_MEMORY_VGA][3] = b->dirty[B_RAM][DIRTY_MEMORY_MIGRATION][3] = 1;
    board_check(b, "the end of logging all RAM");
    guest_writes(a, B_RAM, 5);
    board_set_log(b, B_RAM, false, DIRTY_MEMORY_VGA);
    b->dirty[B_RAM][DIRTY_MEMORY_VGA][5] = 1;
    board_check(b, "the end of a region's logging");
    memset(a->hidden, 0, sizeof a->hidden);
    board_set_log(b, B_NEXT, true, DIRTY_MEMORY_VGA);
    guest_writes(a, B_NEXT, 1);
    unmap(b->ms, &b->mr[B_NEXT]);
    b->dirty[B_NEXT][DIRTY_MEMORY_VGA][1] = 1;
    board_check(b, "a region that was taken out");
    guest_writes(a, B_NEXT, 0);
    map_at(b->ms, board_address(B_NEXT), &b->mr[B_NEXT]);
    OK(memory_listener_unregister(&a->listener));
    b->dirty[B_NEXT][DIRTY_MEMORY_VGA][0] = 1;
    board_check(b, "a listener that was unregistered");
    board_end(b);
    free(a);
    free(b);
}

/* ---- Who is told what, in which order ------------------------------------------------------- */

static char trace[4096];

typedef struct Witness {
    MemoryListener listener;
    bool refuses, silently;
} Witness;

static void note(MemoryListener *listener, const char *what, const MemoryRegionSection *s)
{
    size_t used = strlen(trace);

    snprintf(trace + used, sizeof trace - used, "%s%s%s", used ? " " : "",
             listener->name ? listener->name : "?", what);
    used = strlen(trace);
    if (s) {
        snprintf(trace + used, sizeof trace - used, ":%llx+%llx",
                 (unsigned long long)s->offset_within_address_space, (unsigned long long)s->size);
    }
}

static bool note_start(MemoryListener *listener, Error **errp)
{
    Witness *w = (Witness *)listener;

    note(listener, "-start", NULL);
    if (w->refuses && !w->silently) {
        error_set(errp, ENOSPC, "no ring");
    }
    return !w->refuses;
}

static void note_stop(MemoryListener *listener)
{
    note(listener, "-stop", NULL);
}

static void note_log_start(MemoryListener *listener, MemoryRegionSection *s, int old, int new)
{
    (void)old, (void)new;
    note(listener, "-on", s);
}

static void note_log_stop(MemoryListener *listener, MemoryRegionSection *s, int old, int new)
{
    (void)old, (void)new;
    note(listener, "-off", s);
}

static void note_sync(MemoryListener *listener, MemoryRegionSection *s)
{
    note(listener, "-sync", s);
}

static void note_sync_global(MemoryListener *listener, bool last_stage)
{
    note(listener, last_stage ? "-last" : "-all", NULL);
}

static void note_clear(MemoryListener *listener, MemoryRegionSection *s)
{
    note(listener, "-clear", s);
}

static void note_after(MemoryListener *listener)
{
    note(listener, "-after", NULL);
}

static void expect_trace(const char *expected)
{
    assert_string_equal(trace, expected);
    trace[0] = 0;
}

static Witness witness(const char *name, unsigned priority)
{
    return (Witness){.listener = {.name = name,
                                  .priority = priority,
                                  .log_global_start = note_start,
                                  .log_global_stop = note_stop,
                                  .log_global_after_sync = note_after}};
}

/* One RAM region seen twice: at 0, and from the middle of its page 1 at 0x10400. */
typedef struct Bench {
    MemorySystem *ms;
    AddressSpace *as;
    MemoryRegion ram, window;
} Bench;

static void bench_start(Bench *b)
{
    b->ms = machine_start();
    b->as = memory_system_memory(b->ms);
    make_ram(b->ms, &b->ram, "ram", 0x4000);
    make_alias(b->ms, &b->window, &b->ram, 0x1800, 0x1000);
    map_at(b->ms, 0, &b->ram);
    map_at(b->ms, 0x10400, &b->window);
    trace[0] = 0;
}

static void starts_go_up_and_stops_go_down(void **state)
{
    Witness low = witness("low", 1), high = witness("high", 9), mid = witness("mid", 5);
    Bench b;

    (void)state;
    bench_start(&b);
    OK(memory_listener_register(&mid.listener, b.as));
    OK(memory_listener_register(&high.listener, b.as));
    OK(memory_listener_register(&low.listener, b.as));
    expect_trace("");
    high.listener.log_start = low.listener.log_start = note_log_start;
    high.listener.log_stop = low.listener.log_stop = note_log_stop;
    OK(memory_global_dirty_log_start(b.ms, 1, NULL));
    expect_trace("low-start mid-start high-start low-on:0+4000 high-on:0+4000 "
                 "low-on:10400+1000 high-on:10400+1000");
    OK(memory_global_dirty_log_start(b.ms, 1, NULL)); /* again: nothing */
    expect_trace("");
    high.listener.log_start = NULL;
    OK(memory_global_dirty_log_start(b.ms, 6, NULL));
    expect_trace("low-on:0+4000 low-on:10400+1000");
    OK(memory_global_dirty_log_stop(b.ms, 3, NULL));
    expect_trace("high-off:0+4000 low-off:0+4000 high-off:10400+1000 low-off:10400+1000");
    OK(memory_global_dirty_log_stop(b.ms, 4, NULL));
    expect_trace("high-off:0+4000 low-off:0+4000 high-off:10400+1000 low-off:10400+1000 "
                 "high-stop mid-stop low-stop");
    OK(memory_global_dirty_log_stop(b.ms, 4, NULL));
    expect_trace("");
    memory_global_after_dirty_log_sync(b.ms);
    expect_trace("low-after mid-after high-after");
    OK(memory_listener_unregister(&mid.listener));
    OK(memory_listener_unregister(&low.listener));
    OK(memory_listener_unregister(&high.listener));
    machine_end(b.ms);
}

static void a_refusal_leaves_nothing_behind(void **state)
{
    Witness low = witness("low", 1), mid = witness("mid", 5), high = witness("high", 9);
    Error *err = NULL;
    Bench b;

    (void)state;
    bench_start(&b);
    OK(memory_listener_register(&low.listener, b.as));
    OK(memory_listener_register(&mid.listener, b.as));
    OK(memory_listener_register(&high.listener, b.as));
    mid.refuses = true;
    assert_int_equal(memory_global_dirty_log_start(b.ms, 5, &err), -ENOSPC);
    expect_trace("low-start mid-start low-stop");
    assert_string_equal(error_get_pretty(err),
                        "listener 'mid' of address space 'memory' cannot log all RAM: no ring");
    error_free(err);
    mid.silently = true;
    mid.listener.name = NULL;
    assert_int_equal(memory_global_dirty_log_start(b.ms, 5, NULL), -EIO);
    assert_string_equal(membus_last_error(),
                        "listener '' of address space 'memory' cannot log all RAM: no reason");
    expect_trace("low-start ?-start low-stop");
    assert_int_equal(memory_region_get_dirty_log_mask(&b.ram), 0);
    memory_region_set_dirty(&b.ram, 0, 1);
    assert_false(memory_region_get_dirty(&b.ram, 0, 1, 0));

    /* One that comes later is told, too, and may refuse. */
    OK(memory_listener_unregister(&mid.listener));
    OK(memory_global_dirty_log_start(b.ms, 1, NULL));
    expect_trace("low-start high-start");
    mid.listener.name = "mid";
    mid.silently = false;
    assert_int_equal(memory_listener_register(&mid.listener, b.as), -ENOSPC);
    assert_string_equal(membus_last_error(),
                        "listener 'mid' of address space 'memory' cannot log all RAM: no ring");
    expect_trace("mid-start");
    mid.refuses = false;
    mid.listener.log_start = note_log_start;
    mid.listener.log_stop = note_log_stop;
    OK(memory_listener_register(&mid.listener, b.as));
    expect_trace("mid-start mid-on:0+4000 mid-on:10400+1000");
    OK(memory_listener_unregister(&mid.listener));
    expect_trace("mid-off:0+4000 mid-off:10400+1000 mid-stop");
    OK(memory_global_dirty_log_stop(b.ms, 1, NULL));
    expect_trace("high-stop low-stop");
    OK(memory_listener_unregister(&low.listener));
    OK(memory_listener_unregister(&high.listener));
    machine_end(b.ms);
}

static void syncs_and_clears_name_what_is_logged(void **state)
{
    Witness low = witness("low", 1), high = witness("high", 9);
    MemoryRegion other;
    Bench b;

    (void)state;
    bench_start(&b);
    make_ram(b.ms, &other, "other", 0x2000);
    map_at(b.ms, 0x20000, &other);
    low.listener.log_sync = note_sync;
    low.listener.log_sync_global = note_sync_global; /* not asked: it has log_sync */
    high.listener.log_sync_global = note_sync_global;
    high.listener.log_clear = note_clear;
    OK(memory_listener_register(&low.listener, b.as));
    OK(memory_listener_register(&high.listener, b.as));
    memory_global_dirty_log_sync(b.ms, true);
    expect_trace("high-last");
    OK(memory_region_set_log(&b.ram, true, DIRTY_MEMORY_VGA));
    memory_global_dirty_log_sync(b.ms, false);
    expect_trace("low-sync:0+4000 low-sync:10400+1000 high-all");
    OK(memory_region_set_log(&other, true, DIRTY_MEMORY_CODE));
    memory_region_set_dirty(&b.ram, 0x1000, 0x2000); /* pages 1 and 2: half of each in the window */
    memory_region_set_dirty(&b.ram, 0x3fff, 1);
    DirtyBitmapSnapshot *snapshot =
        memory_region_snapshot_and_clear_dirty(&b.ram, 0, UINT64_MAX, DIRTY_MEMORY_VGA);
    assert_true(memory_region_snapshot_get_dirty(&b.ram, snapshot, 0x2fff, 1));
    assert_false(memory_region_snapshot_get_dirty(&b.ram, snapshot, 0, 0x1000));
    dirty_bitmap_snapshot_free(snapshot);
    expect_trace("low-sync:0+4000 low-sync:10400+1000 high-all "
                 "high-clear:1000+3000 high-clear:10400+1000");
    address_space_stb(b.as, 0x113ff, 1, ATTRS, NULL); /* the window's last byte */
    DirtyEpoch *epoch = memory_dirty_take(b.ms, DIRTY_MEMORY_VGA, NULL);
    assert_int_equal(dirty_epoch_pages(epoch), 1);
    dirty_epoch_rollback(epoch);
    expect_trace("low-sync:0+4000 low-sync:10400+1000 low-sync:20000+2000 high-all "
                 "high-clear:2000+1000 high-clear:10c00+800");
    memory_region_reset_dirty(&b.ram, 0x1900, 0x10, DIRTY_MEMORY_VGA);
    expect_trace("high-clear:1000+1000 high-clear:10400+800");
    assert_true(memory_region_get_dirty(&b.ram, 0, 0x4000, DIRTY_MEMORY_VGA));
    assert_null(memory_dirty_take(b.ms, 5, NULL)); /* refused: nobody is asked */
    expect_trace("");
    OK(memory_listener_unregister(&low.listener));
    OK(memory_listener_unregister(&high.listener));
    machine_end(b.ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_hidden_write_is_lost),
        cmocka_unit_test(marks_come_in_at_the_last_moment),
        cmocka_unit_test(starts_go_up_and_stops_go_down),
        cmocka_unit_test(a_refusal_leaves_nothing_behind),
        cmocka_unit_test(syncs_and_clears_name_what_is_logged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
