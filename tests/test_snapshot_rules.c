/* SPDX-License-Identifier: MIT */
/* What snapshots refuse, whom they tell, and what happens beside them. */
#include <errno.h>
#include <membus/membus.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "support/machine.h"

#define PAGE ((hwaddr)4096)

typedef struct Box {
    MemorySystem *ms;
    AddressSpace *as;
    MemoryRegion ram, side;
    uint8_t *host;
} Box;

static Box *box_start(void)
{
    Box *b = calloc(1, sizeof *b);

    b->ms = machine_start();
    b->as = memory_system_memory(b->ms);
    OK(memory_region_init_ram(&b->ram, memory_system_owner(b->ms), "ram", 64 * PAGE, NULL));
    OK(memory_region_init_ram(&b->side, memory_system_owner(b->ms), "side", 2 * PAGE, NULL));
    OK(memory_region_add_subregion(get_system_memory(b->ms), 0, &b->ram));
    b->host = memory_region_get_ram_ptr(&b->ram);
    return b;
}

static void box_end(Box *b)
{
    OK(memory_region_del_subregion(get_system_memory(b->ms), &b->ram));
    if (memory_region_is_mapped(&b->side)) {
        OK(memory_region_del_subregion(get_system_memory(b->ms), &b->side));
    }
    machine_end(b->ms);
    free(b);
}

static MemorySnapshot *take(Box *b, unsigned flags)
{
    MemorySnapshot *s = memory_snapshot_take(b->ms, flags, NULL);

    if (!s) {
        fail_msg("%s", membus_last_error());
    }
    return s;
}

static void store(Box *b, hwaddr addr, uint64_t value)
{
    address_space_stq_le(b->as, addr, value, ATTRS, NULL);
}

static uint64_t load(Box *b, hwaddr addr)
{
    return address_space_ldq_le(b->as, addr, ATTRS, NULL);
}

static void broken_calls_are_refused(void **state)
{
    Box *b = box_start();
    Error *err = NULL;

    (void)state;
    assert_null(memory_snapshot_take(b->ms, 2, &err));
    assert_int_equal(error_get_errno(err), -EINVAL);
    assert_non_null(strstr(error_get_pretty(err), "0x2"));
    error_free(err);
    memory_system_lock(b->ms);
    assert_null(memory_snapshot_take(b->ms, 0, NULL));
    memory_system_unlock(b->ms);
    memory_read_lock();
    assert_null(memory_snapshot_take(b->ms, 0, NULL));
    memory_read_unlock();
    assert_non_null(strstr(membus_last_error(), "in a read section"));

    MemorySnapshot *first = take(b, 0), *second = take(b, 0);
    assert_string_equal(memory_snapshot_method(first), "on write");
    memory_region_transaction_begin(b->ms);
    REFUSED(-EBUSY, memory_snapshot_restore(first, NULL));
    OK(memory_region_transaction_commit(b->ms));
    REFUSED(-EBUSY, memory_system_destroy(b->ms));
    OK(memory_snapshot_restore(first, NULL));
    assert_false(memory_snapshot_has_ended(first));
    assert_true(memory_snapshot_has_ended(second));
    REFUSED(-EINVAL, memory_snapshot_restore(second, NULL));

    memory_region_transaction_begin(b->ms); /* logging cannot end in it, and goes on */
    memory_snapshot_free(first);
    OK(memory_region_transaction_commit(b->ms));
    store(b, 0x8, 1);
    first = take(b, 0);
    store(b, 0x8, 2);
    OK(memory_snapshot_restore(first, NULL));
    assert_int_equal(load(b, 0x8), 1);
    memory_snapshot_free(first);
    assert_null(memory_dirty_client_name(b->ms, DIRTY_MEMORY_FIRST_FREE));
    memory_snapshot_free(NULL);
    box_end(b);
    memory_snapshot_free(second); /* outlives the machine */
}

static void their_client_is_nobody_elses(void **state)
{
    Box *b = box_start();
    unsigned client = DIRTY_MEMORY_FIRST_FREE;
    MemorySnapshot *s = take(b, 0);

    (void)state;
    assert_string_equal(memory_dirty_client_name(b->ms, client), "snapshots");
    store(b, 8, 1);
    assert_null(memory_dirty_take(b->ms, client, NULL));
    REFUSED(-EINVAL, memory_global_dirty_log_start(b->ms, 1U << client, NULL));
    REFUSED(-EINVAL, memory_global_dirty_log_stop(b->ms, 1U << client, NULL));
    REFUSED(-EBUSY, memory_dirty_client_unregister(b->ms, client, NULL));
    assert_null(memory_region_snapshot_and_clear_dirty(&b->ram, 0, PAGE, client));
    memory_region_reset_dirty(&b->ram, 0, PAGE, client);
    OK(memory_snapshot_restore(s, NULL));
    assert_int_equal(load(b, 8), 0);
    memory_snapshot_free(s);
    assert_null(memory_dirty_client_name(b->ms, client));

    int taken[8], n = 0;
    while ((taken[n] = memory_dirty_client_register(b->ms, "x", NULL)) >= 0) {
        n++;
    }
    assert_null(memory_snapshot_take(b->ms, 0, NULL));
    assert_non_null(strstr(membus_last_error(), "snapshots"));
    while (n--) {
        OK(memory_dirty_client_unregister(b->ms, (unsigned)taken[n], NULL));
    }
    box_end(b);
}

static void writes_past_membus_are_found(void **state)
{
    Box *b = box_start();
    MemorySnapshot *s = take(b, 0);
    uint64_t bitmap = 1U << 5;

    (void)state;
    store(b, 0, 7);
    b->host[3 * PAGE] = 1; /* nobody was asked before */
    memory_region_set_dirty(&b->ram, 3 * PAGE, 1);
    REFUSED(-ENODATA, memory_snapshot_restore(s, NULL));
    assert_non_null(strstr(membus_last_error(), "0x3000 of RAM 'ram'"));
    assert_int_equal(load(b, 0), 7); /* nothing has changed */
    store(b, 3 * PAGE + 8, 9);       /* and a later write does not make it look kept */
    REFUSED(-ENODATA, memory_snapshot_restore(s, NULL));

    MemorySnapshot *above = take(b, 0); /* is as good as any */
    store(b, 3 * PAGE, 5);
    OK(memory_snapshot_restore(above, NULL));
    assert_int_equal(b->host[3 * PAGE], 1);
    REFUSED(-ENODATA, memory_snapshot_restore(s, NULL));
    memory_snapshot_free(s);
    OK(memory_snapshot_restore(above, NULL));
    ram_block_merge_dirty(memory_region_get_ram_block(&b->ram), 0, &bitmap, 64);
    REFUSED(-ENODATA, memory_snapshot_restore(above, NULL));
    memory_snapshot_free(above);

    s = take(b, 0); /* all is forgotten with the last one */
    memory_region_prepare_write(&b->ram, 5 * PAGE, UINT64_MAX);
    b->host[63 * PAGE] = 1;
    memory_region_set_dirty(&b->ram, 63 * PAGE, 1);
    OK(memory_snapshot_restore(s, NULL));
    assert_int_equal(b->host[63 * PAGE], 0);
    memory_snapshot_free(s);
    box_end(b);
}

static void what_is_lost_is_not_found_above(void **state)
{
    Box *b = box_start();
    MemorySnapshot *low = take(b, 0);

    (void)state;
    b->host[3 * PAGE] = 1;
    memory_region_set_dirty(&b->ram, 3 * PAGE, 1);
    MemorySnapshot *high = take(b, 0);
    store(b, 3 * PAGE, 5); /* kept there, but that is not what it was for the other */
    memory_snapshot_free(high);
    REFUSED(-ENODATA, memory_snapshot_restore(low, NULL));
    memory_snapshot_free(low);
    box_end(b);
}

/* RAM that an eager level has never seen, below one that has it. */
static void ram_that_came_later_is_copied_whole(void **state)
{
    Box *b = box_start();
    uint8_t *side = memory_region_get_ram_ptr(&b->side);
    MemoryRegion late;

    (void)state;
    MemorySnapshot *low = take(b, MEMORY_SNAPSHOT_EAGER);
    OK(memory_region_init_ram(&late, memory_system_owner(b->ms), "late", 2 * PAGE, NULL));
    OK(memory_region_add_subregion(get_system_memory(b->ms), 0x500000, &late));
    store(b, 0x500000, 1);
    store(b, 0x501000, 7);
    MemorySnapshot *middle = take(b, 0);
    store(b, 0x500000, 2);
    memory_snapshot_free(middle);
    MemorySnapshot *high = take(b, MEMORY_SNAPSHOT_EAGER);
    store(b, 0x500000, 3);
    store(b, 0x501000, 8);
    OK(memory_snapshot_restore(high, NULL));
    assert_int_equal(load(b, 0x501000), 7);
    assert_int_equal(load(b, 0x500000), 2);
    OK(memory_snapshot_restore(low, NULL));
    assert_null(memory_region_container(&late));
    assert_int_equal(side[0], 0);
    memory_snapshot_free(low);
    memory_snapshot_free(high);
    box_end(b);
}

static void set_flag(void *opaque)
{
    *(bool *)opaque = true;
}

/* A device that is known to two levels is held as often as it should be. */
static void owners_end_when_nobody_knows_them(void **state)
{
    for (int order = 0; order < 4; order++) {
        Box *b = box_start();
        MemoryRegion mr;
        bool ended = false;
        MemoryOwner *owner = memory_owner_create(b->ms, "device", set_flag, &ended);

        (void)state;
        OK(memory_region_init_ram(&mr, owner, "plugged", PAGE, NULL));
        OK(memory_region_add_subregion(get_system_memory(b->ms), 0x300000, &mr));
        MemorySnapshot *low = take(b, 0);
        OK(memory_region_set_address(&mr, 0x400000));
        MemorySnapshot *high = take(b, 0);
        OK(memory_region_del_subregion(get_system_memory(b->ms), &mr));
        memory_owner_unref(owner);
        memory_system_drain(b->ms);
        assert_false(ended);
        memory_snapshot_free(order % 2 ? low : high);
        MemorySnapshot *left = order % 2 ? high : low;
        if (order / 2) {
            OK(memory_snapshot_restore(left, NULL));
            assert_int_equal(memory_region_address(&mr), order % 2 ? 0x400000 : 0x300000);
            store(b, memory_region_address(&mr), 1);
            OK(memory_region_del_subregion(get_system_memory(b->ms), &mr));
        }
        memory_system_drain(b->ms);
        assert_false(ended);
        memory_snapshot_free(left);
        memory_system_drain(b->ms);
        assert_true(ended);
        box_end(b);
    }
}

/* An accelerator: its guest writes to memory, and says so when it is asked. */
typedef struct Accel {
    MemoryListener listener;
    Box *box;
    uint64_t wrote; /* pages */
    unsigned cleared;
    MemorySnapshot *snapshot; /* to be restored from the callback */
    int result;
} Accel;

static void accel_sync(MemoryListener *listener, MemoryRegionSection *section)
{
    Accel *a = (Accel *)listener;

    ram_block_merge_dirty(memory_region_get_ram_block(section->mr), 0, &a->wrote, 64);
    a->wrote = 0;
    if (a->snapshot) {
        a->result = memory_snapshot_restore(a->snapshot, NULL);
    }
}

static void accel_clear(MemoryListener *listener, MemoryRegionSection *section)
{
    (void)section;
    ((Accel *)listener)->cleared++;
}

static void accel_write(Accel *a, unsigned page, uint8_t value)
{
    a->box->host[page * PAGE] = value;
    a->wrote |= 1ULL << page;
}

static void accelerators_make_it_eager(void **state)
{
    Box *b = box_start();
    Accel a = {.listener = {.log_sync = accel_sync, .log_clear = accel_clear}, .box = b};

    (void)state;
    b->host[2 * PAGE] = 22;
    OK(memory_listener_register(&a.listener, b->as));
    MemorySnapshot *low = take(b, 0);
    assert_string_equal(memory_snapshot_method(low), "eager");
    accel_write(&a, 2, 1);
    accel_write(&a, 9, 1);
    store(b, 3 * PAGE, 3);
    MemorySnapshot *high = take(b, 0);
    assert_true(a.cleared > 0);
    accel_write(&a, 2, 2);
    accel_write(&a, 10, 2);
    OK(memory_snapshot_restore(high, NULL));
    assert_int_equal(b->host[2 * PAGE], 1);
    assert_int_equal(b->host[9 * PAGE], 1);
    assert_int_equal(b->host[10 * PAGE], 0);
    assert_int_equal(b->host[3 * PAGE], 3);
    accel_write(&a, 10, 2);
    a.snapshot = low;
    memory_global_dirty_log_sync(b->ms, false);
    assert_int_equal(a.result, -EBUSY);
    a.snapshot = NULL;
    memory_snapshot_free(high);
    OK(memory_snapshot_restore(low, NULL));
    assert_int_equal(b->host[2 * PAGE], 22);
    assert_int_equal(b->host[3 * PAGE], 0);
    assert_int_equal(b->host[9 * PAGE], 0);
    assert_int_equal(b->host[10 * PAGE], 0);
    memory_snapshot_free(low);

    OK(memory_listener_unregister(&a.listener));
    low = take(b, 0); /* one that comes later is found out */
    OK(memory_listener_register(&a.listener, b->as));
    accel_write(&a, 20, 1);
    REFUSED(-ENODATA, memory_snapshot_restore(low, NULL));
    OK(memory_listener_unregister(&a.listener));
    memory_snapshot_free(low);
    box_end(b);
}

static bool refuse_logging(MemoryListener *listener, Error **errp)
{
    (void)listener;
    error_set(errp, ENOSYS, "no log here");
    return false;
}

static void a_listener_may_refuse(void **state)
{
    Box *b = box_start();
    MemoryListener listener = {.log_global_start = refuse_logging, .name = "stubborn"};

    (void)state;
    OK(memory_listener_register(&listener, b->as));
    assert_null(memory_snapshot_take(b->ms, 0, NULL));
    assert_non_null(strstr(membus_last_error(), "no log here"));
    assert_null(memory_dirty_client_name(b->ms, DIRTY_MEMORY_FIRST_FREE));
    OK(memory_listener_unregister(&listener));
    memory_snapshot_free(take(b, 0));
    box_end(b);
}

static void device_memory_and_read_only_memory_are_left_alone(void **state)
{
    Box *b = box_start();
    static uint8_t bar[4096];
    MemoryRegion device;

    (void)state;
    OK(memory_region_init_ram_device_ptr(&device, memory_system_owner(b->ms), "bar", sizeof bar,
                                         bar));
    OK(memory_region_add_subregion(get_system_memory(b->ms), 0x100000, &device));
    MemorySnapshot *s = take(b, MEMORY_SNAPSHOT_EAGER);
    store(b, 0x100008, 0x55);
    store(b, 0x8, 0x55);
    OK(memory_snapshot_restore(s, NULL));
    assert_int_equal(load(b, 0x100008), 0x55);
    assert_int_equal(load(b, 0x8), 0);
    memory_snapshot_free(s);
    OK(memory_region_del_subregion(get_system_memory(b->ms), &device));
    box_end(b);
}

/* What is not edited is not touched, and what is comes in one commit. */
typedef struct Counter {
    MemoryListener listener;
    unsigned begins, adds, dels;
} Counter;

static void count_begin(MemoryListener *listener)
{
    ((Counter *)listener)->begins++;
}

static void count_add(MemoryListener *listener, MemoryRegionSection *section)
{
    (void)section;
    ((Counter *)listener)->adds++;
}

static void count_del(MemoryListener *listener, MemoryRegionSection *section)
{
    (void)section;
    ((Counter *)listener)->dels++;
}

static void the_map_comes_back_in_one_commit(void **state)
{
    Box *b = box_start();
    Counter c = {
        .listener = {.begin = count_begin, .region_add = count_add, .region_del = count_del}};

    (void)state;
    MemorySnapshot *s = take(b, 0);
    OK(memory_listener_register(&c.listener, b->as));
    OK(memory_region_add_subregion(get_system_memory(b->ms), 0x100000, &b->side));
    for (int i = 0; i < 100; i++) {
        OK(memory_region_set_address(&b->side, 0x100000 + (hwaddr)i * PAGE));
        OK(memory_region_set_enabled(&b->ram, i % 2));
    }
    REFUSED(-EBUSY, memory_region_finalize(&b->side));
    OK(memory_region_del_subregion(get_system_memory(b->ms), &b->side));
    REFUSED(-EBUSY, memory_region_finalize(&b->side)); /* the snapshot knows it */
    OK(memory_region_add_subregion(get_system_memory(b->ms), 0x200000, &b->side));
    c.begins = c.adds = c.dels = 0;
    OK(memory_snapshot_restore(s, NULL));
    assert_int_equal(c.begins, 1);
    assert_int_equal(c.adds, 0);
    assert_int_equal(c.dels, 1);
    assert_null(memory_region_container(&b->side));
    OK(memory_snapshot_restore(s, NULL));
    assert_int_equal(c.begins, 1);
    OK(memory_listener_unregister(&c.listener));
    memory_snapshot_free(s);
    box_end(b);
}

static void cycles_in_between_are_undone(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion a, b;

    (void)state;
    make_container(ms, &a, "a", 0x10000);
    make_container(ms, &b, "b", 0x10000);
    OK(memory_region_add_subregion(get_system_memory(ms), 0, &a));
    OK(memory_region_add_subregion(&a, 0, &b));
    MemorySnapshot *s = memory_snapshot_take(ms, 0, NULL);
    assert_non_null(s);
    OK(memory_region_del_subregion(&a, &b)); /* now the other way round */
    OK(memory_region_del_subregion(get_system_memory(ms), &a));
    OK(memory_region_add_subregion(&b, 0, &a));
    OK(memory_region_add_subregion(get_system_memory(ms), 0, &b));
    OK(memory_snapshot_restore(s, NULL));
    assert_ptr_equal(memory_region_container(&b), &a);
    assert_ptr_equal(memory_region_container(&a), get_system_memory(ms));
    memory_snapshot_free(s);
    OK(memory_region_del_subregion(&a, &b));
    OK(memory_region_del_subregion(get_system_memory(ms), &a));
    machine_end(ms);
}

/*
 * Writers that do not stop when they should: what is restored may then be anything they wrote,
 * but nothing breaks, and once they have stopped all is as always.
 */
typedef struct Writer {
    Box *box;
    unsigned number;
    bool stop; /* atomic */
} Writer;

static void *write_on(void *opaque)
{
    Writer *w = opaque;
    uint64_t i = w->number;

    while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
        hwaddr addr = i * 40503 % 64 * PAGE + 8 * w->number;
        store(w->box, addr, i++);
        if (i % 64 == 0) {
            hwaddr len = PAGE;
            void *host = address_space_map(w->box->as, addr & ~(PAGE - 1), &len, true, ATTRS);
            if (host) {
                OK(address_space_unmap(w->box->as, host, len, true, 0));
            }
        }
    }
    return NULL;
}

static void writers_that_go_on_break_nothing(void **state)
{
    Box *b = box_start();
    Writer writers[2] = {{b, 1, false}, {b, 2, false}};
    pthread_t threads[2];
    uint8_t *before = malloc(64 * 4096);

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_on, &writers[i]), 0);
    }
    for (int round = 0; round < 60; round++) {
        MemorySnapshot *low = take(b, round % 3 ? 0 : MEMORY_SNAPSHOT_EAGER);
        MemorySnapshot *high = take(b, round % 2 ? 0 : MEMORY_SNAPSHOT_EAGER);
        memory_snapshot_restore(high, NULL);
        if (round % 2) {
            memory_snapshot_restore(low, NULL);
        }
        memory_snapshot_free(low);
        memory_snapshot_free(high);
    }
    for (int i = 0; i < 2; i++) {
        __atomic_store_n(&writers[i].stop, true, __ATOMIC_RELAXED);
        pthread_join(threads[i], NULL);
    }
    MemorySnapshot *s = take(b, 0);
    memcpy(before, b->host, 64 * 4096);
    for (hwaddr page = 0; page < 64; page++) {
        store(b, page * PAGE + 16, page + 99);
    }
    OK(memory_snapshot_restore(s, NULL));
    assert_memory_equal(before, b->host, 64 * 4096);
    memory_snapshot_free(s);
    free(before);
    box_end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_calls_are_refused),
        cmocka_unit_test(their_client_is_nobody_elses),
        cmocka_unit_test(writes_past_membus_are_found),
        cmocka_unit_test(what_is_lost_is_not_found_above),
        cmocka_unit_test(ram_that_came_later_is_copied_whole),
        cmocka_unit_test(owners_end_when_nobody_knows_them),
        cmocka_unit_test(accelerators_make_it_eager),
        cmocka_unit_test(a_listener_may_refuse),
        cmocka_unit_test(device_memory_and_read_only_memory_are_left_alone),
        cmocka_unit_test(the_map_comes_back_in_one_commit),
        cmocka_unit_test(cycles_in_between_are_undone),
        cmocka_unit_test(writers_that_go_on_break_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
