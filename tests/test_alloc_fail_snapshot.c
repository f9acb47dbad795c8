/* SPDX-License-Identifier: MIT */
/*
 * Snapshots where memory is short: each call is run with its first allocation failing, its second
 * and so on, until none fails. What is refused has changed nothing and works when there is memory
 * again; writes and frees cannot be refused, and what they cost is found by the restore, never
 * restored wrongly.
 */
#include "support/saboteur.h"
#include "support/shown.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

#define PAGE ((hwaddr)4096)
#define BYTES (1100 * PAGE) /* more than one leaf of a table */

typedef struct Box {
    MemorySystem *ms;
    AddressSpace *as;
    MemoryRegion ram, grow, box, device;
    uint8_t *host;
    MemorySnapshot *low, *high, *made;
    uint8_t *at_low, *at_high; /* what RAM was */
    Shown shown_low;
} Box;

static void store(Box *b, hwaddr page, uint64_t value)
{
    address_space_stq_le(b->as, page * PAGE, value, ATTRS, NULL);
}

static void remember(Box *b, uint8_t **bytes)
{
    *bytes = malloc(BYTES);
    memcpy(*bytes, b->host, BYTES);
}

static void box_start(Box *b, unsigned flags)
{
    *b = (Box){.ms = machine_start()};
    MemoryOwner *board = memory_system_owner(b->ms);
    b->as = memory_system_memory(b->ms);
    OK(memory_region_init_ram(&b->ram, board, "ram", BYTES, NULL));
    OK(memory_region_init_resizeable_ram(&b->grow, board, "grow", PAGE, 8 * PAGE, NULL, NULL));
    OK(memory_region_init(&b->box, board, "box", 0x10000));
    OK(memory_region_init_io(&b->device, board, NULL, NULL, "device", PAGE));
    OK(memory_region_add_subregion(get_system_memory(b->ms), 0, &b->ram));
    OK(memory_region_add_subregion(get_system_memory(b->ms), 0x10000000, &b->grow));
    OK(memory_region_add_subregion(get_system_memory(b->ms), 0x20000000, &b->box));
    OK(memory_region_add_subregion(&b->box, 0, &b->device));
    b->host = memory_region_get_ram_ptr(&b->ram);
    store(b, 3, 3);
    store(b, 700, 7);
    assert_true(shown_take_space(&b->shown_low, b->as));
    remember(b, &b->at_low);
    b->low = memory_snapshot_take(b->ms, flags & 1 ? MEMORY_SNAPSHOT_EAGER : 0, NULL);
    assert_non_null(b->low);
    store(b, 3, 4);
    store(b, 4, 4);
    OK(memory_region_set_enabled(&b->box, false));
    remember(b, &b->at_high);
    b->high = memory_snapshot_take(b->ms, flags & 2 ? MEMORY_SNAPSHOT_EAGER : 0, NULL);
    assert_non_null(b->high);
    store(b, 4, 5);
    store(b, 5, 5);
    OK(memory_region_ram_resize(&b->grow, 4 * PAGE, NULL));
}

static void box_end(Box *b)
{
    memory_snapshot_free(b->made);
    memory_snapshot_free(b->high);
    memory_snapshot_free(b->low);
    OK(memory_region_del_subregion(get_system_memory(b->ms), &b->ram));
    OK(memory_region_del_subregion(get_system_memory(b->ms), &b->grow));
    OK(memory_region_del_subregion(get_system_memory(b->ms), &b->box));
    machine_end(b->ms);
    shown_free(&b->shown_low);
    free(b->at_low);
    free(b->at_high);
}

/* Both snapshots still give what they should. */
static void check_restores(Box *b)
{
    Shown now = {0};

    if (b->high) {
        OK(memory_snapshot_restore(b->high, NULL));
        assert_memory_equal(b->host, b->at_high, BYTES);
    }
    if (b->low) {
        OK(memory_snapshot_restore(b->low, NULL));
        assert_memory_equal(b->host, b->at_low, BYTES);
        assert_true(shown_take_space(&now, b->as));
        assert_int_equal(now.count, b->shown_low.count);
        for (size_t i = 0; i < now.count; i++) {
            assert_true(shown_range_same_place(&now.range[i], &b->shown_low.range[i]));
        }
        shown_free(&now);
    }
}

typedef int Scenario(Box *b);

static int take_lazy(Box *b)
{
    b->made = memory_snapshot_take(b->ms, 0, NULL);
    return b->made ? 0 : -ENOMEM;
}

static int take_eager(Box *b)
{
    b->made = memory_snapshot_take(b->ms, MEMORY_SNAPSHOT_EAGER, NULL);
    return b->made ? 0 : -ENOMEM;
}

static int restore_high(Box *b)
{
    return memory_snapshot_restore(b->high, NULL);
}

static int restore_low(Box *b)
{
    int result = memory_snapshot_restore(b->low, NULL);

    assert_int_equal(memory_snapshot_has_ended(b->high), result == 0);
    if (!result) {
        memory_snapshot_free(b->high);
        b->high = NULL;
    }
    return result;
}

static int edit(Box *b)
{
    return memory_region_set_address(&b->device, 0x3000);
}

static int take_out(Box *b)
{
    int result = memory_region_del_subregion(&b->box, &b->device);

    return result ? result : memory_region_add_subregion(&b->box, 0x4000, &b->device);
}

static int set_cache_up(Box *b)
{
    MemoryRegionCache cache;
    int64_t result = address_space_cache_init(&cache, b->as, 900 * PAGE, PAGE, true);

    if (result < 0) {
        assert_null(cache.mr);
        return (int)result;
    }
    cache.ptr[5] = 5;
    address_space_cache_destroy(&cache);
    return 0;
}

static const struct {
    const char *name;
    Scenario *run;
    bool may_lose; /* a page that could not be kept */
} scenarios[] = {
    {"take", take_lazy, false},
    {"take, eager", take_eager, false},
    {"restore the newest", restore_high, false},
    {"restore an older one", restore_low, false},
    {"edit", edit, false},
    {"take out and add", take_out, false},
    {"a cache", set_cache_up, true},
};

static bool run_once(const char *name, Scenario *run, bool may_lose, unsigned flags,
                     unsigned long k, bool for_good)
{
    Box box, *b = &box;

    box_start(b, flags);
    saboteur_arm(k, for_good);
    int rc = run(b);
    unsigned long failed = saboteur_disarm();
    if (rc && (!failed || rc != -ENOMEM || !*membus_last_error())) {
        fail_msg("%s, allocation %lu: %d %s", name, k, rc, membus_last_error());
    }
    if (rc) {
        rc = run(b);
        if (rc && !(may_lose && rc == -ENODATA)) {
            fail_msg("%s: does not work again after %lu: %d %s", name, k, rc, membus_last_error());
        }
    }
    if (may_lose && failed) {
        if (b->high && memory_snapshot_restore(b->high, NULL) == 0) {
            assert_memory_equal(b->host, b->at_high, BYTES);
        }
    } else {
        check_restores(b);
    }
    box_end(b);
    return failed;
}

static void every_call_survives_every_failure(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        for (unsigned flags = 0; flags < 4; flags++) {
            for (int for_good = 0; for_good < 2; for_good++) {
                unsigned long k = 1;
                while (run_once(scenarios[i].name, scenarios[i].run, scenarios[i].may_lose, flags,
                                k, for_good)) {
                    assert_true(++k < 10000);
                }
            }
        }
    }
}

/* The very first take: nothing of it is left. */
static bool first_take(unsigned flags, unsigned long k, bool for_good)
{
    MemorySystem *ms = machine_start();
    MemoryRegion ram;

    OK(memory_region_init_ram(&ram, memory_system_owner(ms), "ram", BYTES, NULL));
    OK(memory_region_add_subregion(get_system_memory(ms), 0, &ram));
    memset(memory_region_get_ram_ptr(&ram), 5, 600 * 4096);
    saboteur_arm(k, for_good);
    MemorySnapshot *s = memory_snapshot_take(ms, flags, NULL);
    unsigned long failed = saboteur_disarm();
    if (!s) {
        assert_true(failed);
        assert_true(*membus_last_error());
        s = memory_snapshot_take(ms, flags, NULL);
        assert_non_null(s);
    }
    address_space_stq_le(memory_system_memory(ms), 8, 1, ATTRS, NULL);
    OK(memory_snapshot_restore(s, NULL));
    assert_int_equal(((uint8_t *)memory_region_get_ram_ptr(&ram))[8], 5);
    memory_snapshot_free(s);
    assert_null(memory_dirty_client_name(ms, DIRTY_MEMORY_FIRST_FREE));
    OK(memory_region_del_subregion(get_system_memory(ms), &ram));
    machine_end(ms);
    return failed;
}

static void a_first_take_leaves_nothing_behind(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 2; flags++) {
        unsigned long k = 1;
        while (first_take(flags ? MEMORY_SNAPSHOT_EAGER : 0, k, true)) {
            assert_true(++k < 10000);
        }
    }
}

/* A write goes on without memory, and the restore tells. */
static bool write_without_memory(unsigned flags, unsigned long k)
{
    Box box, *b = &box;

    box_start(b, flags);
    saboteur_arm(k, true);
    store(b, 1000, 0x77);
    store(b, 20, 0x78);
    unsigned long failed = saboteur_disarm();
    assert_int_equal(b->host[1000 * PAGE], 0x77);
    int rc = memory_snapshot_restore(b->high, NULL);
    if (rc) {
        assert_true(failed);
        assert_int_equal(rc, -ENODATA);
        assert_non_null(strstr(membus_last_error(), "of RAM 'ram'"));
        assert_int_equal(b->host[1000 * PAGE], 0x77);
    } else {
        assert_memory_equal(b->host, b->at_high, BYTES);
    }
    /* The one below knows nothing better, and must not claim to. */
    rc = memory_snapshot_restore(b->low, NULL);
    assert_true(rc == 0 || rc == -ENODATA);
    if (!rc) {
        assert_memory_equal(b->host, b->at_low, BYTES);
    }
    box_end(b);
    return failed;
}

static void writes_go_on_and_restores_tell(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 4; flags++) {
        for (unsigned long k = 1; write_without_memory(flags, k);) {
            assert_true(++k < 1000);
        }
    }
}

/* Frees cannot fail; what is left is right, or says that it is not. */
static bool free_without_memory(unsigned flags, bool older, unsigned long k)
{
    Box box, *b = &box;

    box_start(b, flags);
    saboteur_arm(k, true);
    memory_snapshot_free(older ? b->low : b->high);
    unsigned long failed = saboteur_disarm();
    *(older ? &b->low : &b->high) = NULL;
    MemorySnapshot *left = older ? b->high : b->low;
    int rc = memory_snapshot_restore(left, NULL);
    assert_true(rc == 0 || (failed && rc == -ENODATA));
    if (!rc) {
        assert_memory_equal(b->host, older ? b->at_high : b->at_low, BYTES);
    }
    saboteur_arm(k, true);
    memory_snapshot_free(left);
    failed += saboteur_disarm();
    *(older ? &b->high : &b->low) = NULL;
    store(b, 50, 50); /* logging may still be on; a new one starts from nothing all the same */
    MemorySnapshot *next = memory_snapshot_take(b->ms, 0, NULL);
    assert_non_null(next);
    store(b, 50, 51);
    OK(memory_snapshot_restore(next, NULL));
    assert_int_equal(b->host[50 * PAGE], 50);
    memory_snapshot_free(next);
    assert_null(memory_dirty_client_name(b->ms, DIRTY_MEMORY_FIRST_FREE));
    box_end(b);
    return failed;
}

static void frees_need_no_memory(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 8; flags++) {
        for (unsigned long k = 1; free_without_memory(flags % 4, flags / 4, k);) {
            assert_true(++k < 1000);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_survives_every_failure),
        cmocka_unit_test(a_first_take_leaves_nothing_behind),
        cmocka_unit_test(writes_go_on_and_restores_tell),
        cmocka_unit_test(frees_need_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
