/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking with an allocator that fails at the k-th call, for each k, once or for good.
 * A call that is refused has changed nothing: what is dirty, who logs, what listeners believe.
 */
#include "support/dirty_board.h"
#include "support/saboteur.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

#define MIGRATION DIRTY_MEMORY_MIGRATION

typedef struct Scene {
    DirtyBoard board;
    MemoryListener listener;
    int started; /* times the listener was told, less those it was told of the end */
    int logging; /* the same of sections */
    DirtyEpoch *epoch;
    DirtyBitmapSnapshot *snapshot;
    MemoryRegion late;
    MemoryListener second;
} Scene;

static Scene *scene_of(MemoryListener *listener)
{
    return (Scene *)(void *)((char *)listener - offsetof(Scene, listener));
}

static bool told_start(MemoryListener *listener, Error **errp)
{
    (void)errp;
    scene_of(listener)->started++;
    return true;
}

static void told_stop(MemoryListener *listener)
{
    scene_of(listener)->started--;
}

static void told_log_start(MemoryListener *listener, MemoryRegionSection *s, int old, int new)
{
    (void)s, (void)old, (void)new;
    scene_of(listener)->logging++;
}

static void told_log_stop(MemoryListener *listener, MemoryRegionSection *s, int old, int new)
{
    (void)s, (void)old, (void)new;
    scene_of(listener)->logging--;
}

/* Two clients log, one all RAM, and there are marks in several blocks. */
static Scene *scene_start(bool global)
{
    Scene *s = calloc(1, sizeof *s);
    DirtyBoard *b = &s->board;

    board_start(b);
    s->listener = (MemoryListener){.log_global_start = told_start,
                                   .log_global_stop = told_stop,
                                   .log_start = told_log_start,
                                   .log_stop = told_log_stop};
    OK(memory_listener_register(&s->listener, b->memory));
    board_set_log(b, B_RAM, true, DIRTY_MEMORY_VGA);
    if (global) {
        board_start_global(b, GLOBAL_DIRTY_MIGRATION);
    }
    for (unsigned region = 0; region < B_REGIONS; region++) {
        memory_region_set_dirty(&b->mr[region], 0x1000, 1);
        board_marked(b, region, 0x1000, 1);
    }
    return s;
}

static void scene_end(Scene *s)
{
    dirty_epoch_commit(s->epoch);
    dirty_bitmap_snapshot_free(s->snapshot);
    OK(memory_listener_unregister(&s->second));
    OK(memory_listener_unregister(&s->listener));
    board_end(&s->board);
    free(s);
}

/* ---- Scenarios: 0 or a negative errno -------------------------------------------------------- */

static int start(Scene *s)
{
    return memory_global_dirty_log_start(s->board.ms, 1U << DIRTY_MEMORY_CODE, NULL);
}

static int stop(Scene *s)
{
    return memory_global_dirty_log_stop(s->board.ms, GLOBAL_DIRTY_MIGRATION, NULL);
}

static int take(Scene *s)
{
    s->epoch = memory_dirty_take(s->board.ms, MIGRATION, NULL);
    return s->epoch ? 0 : -ENOMEM;
}

static int take_snapshot(Scene *s)
{
    s->snapshot =
        memory_region_snapshot_and_clear_dirty(&s->board.mr[B_RAM], 0, UINT64_MAX, MIGRATION);
    return s->snapshot ? 0 : -ENOMEM;
}

static int register_client(Scene *s)
{
    int client = memory_dirty_client_register(s->board.ms, "late", NULL);

    return client < 0 ? client : 0;
}

static int set_log(Scene *s)
{
    return memory_region_set_log(&s->board.mr[B_RAM], true, 5);
}

static int unset_log(Scene *s)
{
    return memory_region_set_log(&s->board.mr[B_RAM], false, DIRTY_MEMORY_VGA);
}

static int make_block(Scene *s)
{
    return memory_region_init_ram(&s->late, memory_system_owner(s->board.ms), "late", 0x2000, NULL);
}

static int grow(Scene *s)
{
    return memory_region_ram_resize(&s->board.mr[B_GROW], 0x5000, NULL);
}

static int register_listener(Scene *s)
{
    return memory_listener_register(&s->second, s->board.memory);
}

static const struct {
    const char *name;
    int (*run)(Scene *s);
    unsigned least; /* allocations; views come from pools */
} scenarios[] = {
    {"memory_global_dirty_log_start", start, 7},
    {"memory_global_dirty_log_stop", stop, 0},
    {"memory_dirty_take", take, 1},
    {"memory_region_snapshot_and_clear_dirty", take_snapshot, 1},
    {"memory_dirty_client_register", register_client, 1},
    {"memory_region_set_log on", set_log, 1},
    {"memory_region_set_log off", unset_log, 0},
    {"memory_region_init_ram", make_block, 3},
    {"memory_region_ram_resize", grow, 0},
    {"memory_listener_register", register_listener, 0},
};

/* Whether the scenario made as many allocations as the one that was to fail. */
static bool run_once(unsigned scenario, bool global, unsigned long k, bool for_good)
{
    const char *name = scenarios[scenario].name;
    Scene *s = scene_start(global);
    DirtyBoard *b = &s->board;
    int started = s->started, logging = s->logging;

    saboteur_arm(k, for_good);
    int result = scenarios[scenario].run(s);
    unsigned long failed = saboteur_disarm();
    if (result && !(failed && result == -ENOMEM && *membus_last_error())) {
        fail_msg("%s, allocation %lu: %d '%s'", name, k, result, membus_last_error());
    }
    if (result) {
        board_check(b, name);
        assert_int_equal(s->started, started);
        assert_int_equal(s->logging, logging);
        for (unsigned region = 0; region < B_REGIONS; region++) {
            assert_int_equal(memory_region_get_dirty_log_mask(&b->mr[region]),
                             b->own_mask[region] | b->global_mask);
            memory_region_set_dirty(&b->mr[region], 0, 1); /* for who logs, and nobody else */
            board_marked(b, region, 0, 1);
        }
        address_space_stb(b->memory, board_address(B_RAM) + 0x2000, 1, ATTRS, NULL);
        board_marked(b, B_RAM, 0x2000, 1);
        board_check(b, name);
        OK(scenarios[scenario].run(s));
    }
    scene_end(s);
    return failed;
}

static void every_call_survives_every_failure(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        for (unsigned how = 0; how < 4; how++) {
            unsigned long k = 1;
            while (run_once(i, how & 1, k, how & 2)) {
                assert_true(++k < 1000);
            }
            assert_true(k > scenarios[i].least);
        }
    }
}

/* A take that fails midway has put back what it had; so a save that fails loses no page. */
static void a_failed_take_puts_everything_back(void **state)
{
    enum { BLOCKS = 12, PAGES = 1000 };
    MemorySystem *ms = machine_start();
    MemoryRegion *mr = calloc(BLOCKS, sizeof *mr);
    DirtyEpoch *epoch = NULL;
    unsigned long k;

    (void)state;
    for (unsigned i = 0; i < BLOCKS; i++) {
        make_ram(ms, &mr[i], "ram", PAGES * B_PAGE * 64);
        OK(memory_region_set_log(&mr[i], true, MIGRATION));
        for (hwaddr page = 0; page < PAGES; page++) { /* a word each: the sets have to grow */
            memory_region_set_dirty(&mr[i], page * 64 * B_PAGE, 1);
        }
    }
    for (k = 1; !epoch; k++) {
        saboteur_arm(k, k % 2);
        epoch = memory_dirty_take(ms, MIGRATION, NULL);
        saboteur_disarm();
        for (unsigned i = 0; i < BLOCKS && !epoch; i++) {
            for (hwaddr page = 0; page < PAGES; page++) {
                assert_true(memory_region_get_dirty(&mr[i], page * 64 * B_PAGE, 1, MIGRATION));
            }
        }
    }
    assert_true(k > 5 * BLOCKS);
    assert_int_equal(dirty_epoch_pages(epoch), BLOCKS * PAGES);
    dirty_epoch_commit(epoch);
    machine_end(ms);
    free(mr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_survives_every_failure),
        cmocka_unit_test(a_failed_take_puts_everything_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
