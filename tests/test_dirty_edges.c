/* SPDX-License-Identifier: MIT */
/* Dirty tracking while clients, transactions and blocks come and go; and calls that are refused. */
#include "support/dirty_board.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "support/machine.h"

/* ---- Logging that begins and ends in between ------------------------------------------------- */

static void what_counts_is_the_end_of_a_mapping(void **state)
{
    DirtyBoard *b = calloc(1, sizeof *b);
    hwaddr len = 0x2000;

    (void)state;
    board_start(b);
    void *host = address_space_map(b->memory, 0x10800, &len, true, ATTRS);
    board_start_global(b, GLOBAL_DIRTY_MIGRATION);
    OK(address_space_unmap(b->memory, host, len, true, 0x900));
    board_wrote(b, b->memory, 0x10800, 0x900, WRITE_GUEST);
    board_check(b, "logging that began after the map");

    host = address_space_map(b->memory, 0x10800, &len, true, ATTRS);
    board_clean(b);
    board_stop_global(b, GLOBAL_DIRTY_MIGRATION);
    OK(address_space_unmap(b->memory, host, len, true, 0x900));
    board_check(b, "logging that ended before the unmap");
    board_end(b);
    free(b);
}

static void a_cache_follows_logging(void **state)
{
    DirtyBoard *b = calloc(1, sizeof *b);
    MemoryRegionCache cache;

    (void)state;
    board_start(b);
    assert_int_equal(address_space_cache_init(&cache, b->memory, 0x10ffc, 0x100, true), 0x100);
    board_set_log(b, B_RAM, true, DIRTY_MEMORY_CODE);
    address_space_stq_le_cached(&cache, 0, 1, ATTRS, NULL);
    board_wrote(b, b->memory, 0x10ffc, 8, WRITE_GUEST);
    board_check(b, "a cache from before logging");
    board_clean(b);
    board_start_global(b, 1U << DIRTY_MEMORY_VGA);
    board_set_log(b, B_RAM, false, DIRTY_MEMORY_CODE);
    address_space_stq_le_cached(&cache, 0, 1, ATTRS, NULL);
    board_wrote(b, b->memory, 0x10ffc, 8, WRITE_GUEST);
    board_check(b, "a cache, another client");
    address_space_cache_destroy(&cache);
    board_end(b);
    free(b);
}

typedef struct Starter {
    MemorySystem *ms;
    bool started; /* atomic */
} Starter;

static void *start_logging(void *opaque)
{
    Starter *starter = opaque;

    OK(memory_global_dirty_log_start(starter->ms, GLOBAL_DIRTY_MIGRATION, NULL));
    __atomic_store_n(&starter->started, true, __ATOMIC_RELEASE);
    return NULL;
}

/* Who is in a section may be in the middle of a write that is not marked. */
static void starting_waits_for_writers(void **state)
{
    Starter starter = {machine_start(), false};
    pthread_t thread;

    (void)state;
    memory_read_lock();
    OK(pthread_create(&thread, NULL, start_logging, &starter));
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    assert_false(__atomic_load_n(&starter.started, __ATOMIC_ACQUIRE));
    memory_read_unlock();
    OK(pthread_join(thread, NULL));
    assert_true(starter.started);
    machine_end(starter.ms);
}

/* Until the transaction has ended, a write is marked for who logs before it and who will after. */
static void a_transaction_loses_no_mark(void **state)
{
    DirtyBoard *b = calloc(1, sizeof *b);
    MemoryRegionCache cache;

    (void)state;
    board_start(b);
    assert_int_equal(address_space_cache_init(&cache, b->memory, 0x11000, 0x100, true), 0x100);
    board_set_log(b, B_RAM, true, DIRTY_MEMORY_VGA);
    memory_region_transaction_begin(b->ms);
    OK(memory_region_set_log(&b->mr[B_RAM], false, DIRTY_MEMORY_VGA));
    address_space_stq_le(b->memory, 0x12000, 1, ATTRS, NULL);
    board_wrote(b, b->memory, 0x12000, 8, WRITE_GUEST);
    board_check(b, "a store before the commit");
    address_space_stq_le_cached(&cache, 0, 1, ATTRS, NULL);
    board_wrote(b, b->memory, 0x11000, 8, WRITE_GUEST);
    board_check(b, "a cache's store before the commit");
    OK(memory_region_transaction_commit(b->ms));
    b->own_mask[B_RAM] = 0;
    address_space_stq_le_cached(&cache, 0, 1, ATTRS, NULL);
    address_space_stq_le(b->memory, 0x13000, 1, ATTRS, NULL);
    board_check(b, "stores after the commit");

    memory_region_transaction_begin(b->ms); /* what is out of sight has a log mask, too */
    unmap(b->ms, &b->mr[B_NEXT]);
    OK(memory_region_set_log(&b->mr[B_NEXT], true, 6));
    OK(memory_region_set_log(&b->mr[B_NEXT], false, 6));
    OK(memory_region_finalize(&b->mr[B_NEXT]) == -EBUSY ? 0 : 1);
    map_at(b->ms, board_address(B_NEXT), &b->mr[B_NEXT]);
    OK(memory_region_transaction_commit(b->ms));
    memory_region_set_dirty(&b->mr[B_NEXT], 0, 1);
    board_check(b, "a client that came and went in a transaction");
    address_space_cache_destroy(&cache);
    board_end(b);
    free(b);
}

static void a_region_may_end_within_its_transaction(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion *mr = calloc(3, sizeof *mr);

    (void)state;
    for (int i = 0; i < 3; i++) {
        make_ram(ms, &mr[i], "short-lived", 0x1000);
        OK(memory_region_set_log(&mr[i], true, DIRTY_MEMORY_VGA));
    }
    memory_region_transaction_begin(ms);
    for (int i = 0; i < 3; i++) {
        OK(memory_region_set_log(&mr[i], false, DIRTY_MEMORY_VGA));
    }
    OK(memory_region_finalize(&mr[1]));
    OK(memory_region_finalize(&mr[2]));
    OK(memory_region_transaction_commit(ms));
    memory_region_set_dirty(&mr[0], 0, 1);
    assert_false(memory_region_get_dirty(&mr[0], 0, 1, DIRTY_MEMORY_VGA));
    machine_end(ms);
    free(mr);
}

/* ---- Blocks that come and grow --------------------------------------------------------------- */

static void a_block_made_while_all_is_logged_is_dirty(void **state)
{
    static uint8_t bytes[3 * B_PAGE + 5];
    MemorySystem *ms = machine_start();
    MemoryOwner *owner = memory_owner_create(ms, "late", NULL, NULL);
    MemoryRegion mr;
    DirtyRun run = DIRTY_RUN_INIT;

    (void)state;
    OK(memory_global_dirty_log_start(ms, GLOBAL_DIRTY_MIGRATION, NULL));
    OK(memory_region_init_ram_ptr(&mr, owner, "late", sizeof bytes, bytes));
    DirtyEpoch *epoch = memory_dirty_take(ms, DIRTY_MEMORY_MIGRATION, NULL);
    assert_int_equal(dirty_epoch_pages(epoch), 4);
    assert_true(dirty_epoch_next(epoch, &run));
    assert_ptr_equal(run.mr, &mr);
    assert_int_equal(run.offset, 0);
    assert_int_equal(run.size, sizeof bytes); /* not past the program's memory */
    assert_false(dirty_epoch_next(epoch, &run));
    memory_owner_unref(owner); /* the epoch keeps it alive */
    memory_system_drain(ms);
    dirty_epoch_rollback(epoch);
    machine_end(ms);
}

static void what_ram_grows_by_is_dirty(void **state)
{
    DirtyBoard *b = calloc(1, sizeof *b);
    BoardSet set;

    (void)state;
    board_start(b);
    board_start_global(b, GLOBAL_DIRTY_MIGRATION);
    OK(memory_region_ram_resize(&b->mr[B_GROW], 0x5000, NULL));
    b->size[B_GROW] = 0x5000;
    board_marked(b, B_GROW, 0x2000, 0x3000);
    board_check(b, "growing");
    OK(memory_region_ram_resize(&b->mr[B_GROW], 0x1000, NULL));
    b->size[B_GROW] = 0x1000;
    DirtyEpoch *epoch = memory_dirty_take(b->ms, DIRTY_MEMORY_MIGRATION, NULL);
    board_take(b, DIRTY_MEMORY_MIGRATION, &set);
    board_check_epoch(b, epoch, &set); /* nothing above the length */
    dirty_epoch_commit(epoch);
    OK(memory_region_ram_resize(&b->mr[B_GROW], 0x3000, NULL));
    b->size[B_GROW] = 0x3000;
    board_marked(b, B_GROW, 0x1000, 0x2000);
    board_check(b, "growing again");
    epoch = memory_dirty_take(b->ms, DIRTY_MEMORY_MIGRATION, NULL);
    board_take(b, DIRTY_MEMORY_MIGRATION, &set);
    board_check_epoch(b, epoch, &set);
    dirty_epoch_commit(epoch);
    board_end(b);
    free(b);
}

/* ---- Sentences ------------------------------------------------------------------------------- */

#define SAYS(code, call, sentence)                                                                 \
    do {                                                                                           \
        assert_int_equal((call), (code));                                                          \
        assert_string_equal(membus_last_error(), (sentence));                                      \
    } while (0)

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
}

static MemorySystem *called_back;
static int stop_result, start_result;

static void edit_from_a_callback(MemoryListener *listener, MemoryRegionSection *section)
{
    (void)listener, (void)section;
    stop_result = memory_global_dirty_log_stop(called_back, 1, NULL);
    start_result = memory_global_dirty_log_start(called_back, 2, NULL);
}

static void broken_calls_are_refused(void **state)
{
    MemoryListener listener = {.log_sync = edit_from_a_callback};
    Error *err = NULL;
    Bench b;

    (void)state;
    bench_start(&b);
    assert_string_equal(memory_dirty_client_name(b.ms, DIRTY_MEMORY_VGA), "VGA");
    assert_string_equal(memory_dirty_client_name(b.ms, DIRTY_MEMORY_CODE), "CODE");
    assert_string_equal(memory_dirty_client_name(b.ms, DIRTY_MEMORY_MIGRATION), "MIGRATION");
    assert_null(memory_dirty_client_name(b.ms, 3));
    assert_null(memory_dirty_client_name(b.ms, UINT32_MAX));
    for (int i = 3; i < DIRTY_MEMORY_NUM; i++) {
        assert_int_equal(memory_dirty_client_register(b.ms, i == 3 ? NULL : "recorder", NULL), i);
    }
    assert_string_equal(memory_dirty_client_name(b.ms, 3), "");
    assert_string_equal(memory_dirty_client_name(b.ms, 7), "recorder");
    assert_int_equal(memory_dirty_client_register(b.ms, "late", &err), -ENOSPC);
    assert_string_equal(error_get_pretty(err), "dirty-memory client 'late': all 5 are taken");
    error_free(err);
    OK(memory_dirty_client_unregister(b.ms, 5, NULL));
    SAYS(-EINVAL, memory_dirty_client_unregister(b.ms, 5, NULL),
         "dirty-memory client 5 is not registered");
    SAYS(-EINVAL, memory_dirty_client_unregister(b.ms, 2, NULL),
         "dirty-memory client 2 is not registered");
    SAYS(-EINVAL, memory_dirty_client_unregister(b.ms, 8, NULL),
         "dirty-memory client 8 is not registered");
    SAYS(-EINVAL, memory_global_dirty_log_start(b.ms, 1U << 5 | 1, NULL),
         "dirty-memory client 5 is not registered");
    SAYS(-EINVAL, memory_global_dirty_log_start(b.ms, 1U << 31, NULL),
         "dirty-memory client 31 is not registered");
    SAYS(-EINVAL, memory_global_dirty_log_start(b.ms, 0, NULL),
         "logging all RAM needs a dirty-memory client");
    SAYS(-EINVAL, memory_global_dirty_log_stop(b.ms, 0, NULL),
         "logging all RAM needs a dirty-memory client");
    assert_null(memory_dirty_take(b.ms, 5, &err));
    assert_int_equal(error_get_errno(err), -EINVAL);
    assert_string_equal(error_get_pretty(err), "dirty-memory client 5 is not registered");
    error_free(err);
    assert_null(memory_dirty_take(b.ms, UINT32_MAX, NULL));
    assert_null(memory_region_snapshot_and_clear_dirty(&b.ram, 0, 1, 8));
    assert_string_equal(membus_last_error(), "region 'ram': no dirty-memory client 8");
    SAYS(-EINVAL, memory_region_set_log(&b.ram, true, 8), "region 'ram': no dirty-memory client 8");
    SAYS(-EINVAL, memory_region_set_log(&b.window, true, 0),
         "region 'alias' is not RAM: its writes cannot be logged");
    assert_false(memory_region_get_dirty(&b.ram, 0, 1, 8));
    memory_region_reset_dirty(&b.ram, 0, 1, 8);

    memory_read_lock();
    SAYS(-EDEADLK, memory_global_dirty_log_start(b.ms, 1, NULL),
         "logging of all RAM cannot start in a read section: it waits for writers");
    memory_read_unlock();
    memory_system_lock(b.ms);
    SAYS(-EDEADLK, memory_global_dirty_log_start(b.ms, 1, NULL),
         "logging of all RAM cannot start under the machine lock: it waits for writers");
    memory_system_unlock(b.ms);
    OK(memory_global_dirty_log_start(b.ms, 1U << 7 | 1, NULL));
    SAYS(-EBUSY, memory_dirty_client_unregister(b.ms, 7, NULL),
         "dirty-memory client 'recorder' logs all RAM still");
    memory_region_transaction_begin(b.ms);
    SAYS(-EBUSY, memory_global_dirty_log_stop(b.ms, 1, NULL),
         "logging of all RAM cannot end within a transaction");
    OK(memory_region_transaction_commit(b.ms));
    called_back = b.ms;
    OK(memory_listener_register(&listener, b.as));
    memory_global_dirty_log_sync(b.ms, false);
    assert_int_equal(stop_result, -EBUSY);
    assert_int_equal(start_result, -EDEADLK);
    assert_int_equal(memory_region_get_dirty_log_mask(&b.ram), 0x81);
    OK(memory_listener_unregister(&listener));
    dirty_epoch_commit(NULL);
    dirty_epoch_rollback(NULL);
    dirty_bitmap_snapshot_free(NULL);

    DirtyEpoch *epoch = memory_dirty_take(b.ms, 7, NULL);
    assert_int_equal(dirty_epoch_pages(epoch), 0);
    dirty_epoch_commit(epoch);
    memory_region_set_dirty(&b.ram, 0, 1);
    epoch = memory_dirty_take(b.ms, 7, NULL);
    assert_int_equal(memory_system_destroy(b.ms), -EBUSY); /* the epoch holds its region */
    SAYS(-EBUSY,
         (unmap(b.ms, &b.window), memory_region_finalize(&b.window), unmap(b.ms, &b.ram),
          memory_system_drain(b.ms), memory_region_finalize(&b.ram)),
         "region 'ram' is still within reach of a view, a mapping, a snapshot or a reader");
    dirty_epoch_commit(epoch);
    OK(memory_region_finalize(&b.ram));
    machine_end(b.ms); /* which still logs all RAM */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_counts_is_the_end_of_a_mapping),
        cmocka_unit_test(a_cache_follows_logging),
        cmocka_unit_test(starting_waits_for_writers),
        cmocka_unit_test(a_transaction_loses_no_mark),
        cmocka_unit_test(a_region_may_end_within_its_transaction),
        cmocka_unit_test(a_block_made_while_all_is_logged_is_dirty),
        cmocka_unit_test(what_ram_grows_by_is_dirty),
        cmocka_unit_test(broken_calls_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
