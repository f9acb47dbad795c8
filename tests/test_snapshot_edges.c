/* SPDX-License-Identifier: MIT */
/* Snapshots where their life meets that of other things: logging, callbacks, memory devices. */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/dimm.h"

#define PAGE ((hwaddr)4096)

static MemoryRegion ram;
static uint8_t *host;

static void box_start(void)
{
    OK(memory_region_init_ram(&ram, memory_system_owner(ms), "ram", 64 * PAGE, NULL));
    OK(memory_region_add_subregion(get_system_memory(ms), 0, &ram));
    host = memory_region_get_ram_ptr(&ram);
}

static void box_end(void)
{
    OK(memory_region_del_subregion(get_system_memory(ms), &ram));
}

static MemorySnapshot *take(unsigned flags)
{
    MemorySnapshot *s = memory_snapshot_take(ms, flags, NULL);

    if (!s) {
        fail_msg("%s", membus_last_error());
    }
    return s;
}

static void store(hwaddr addr, uint64_t value)
{
    address_space_stq_le(memory_system_memory(ms), addr, value, ATTRS, NULL);
}

static uint64_t load(hwaddr addr)
{
    return address_space_ldq_le(memory_system_memory(ms), addr, ATTRS, NULL);
}

/* What was written before a take is no mark of having been kept since. */
static void marks_from_before_the_first_are_forgotten(void **state)
{
    (void)state;
    box_start();
    memory_snapshot_free(take(0)); /* the block is known from now on */
    for (unsigned eager = 0; eager < 2; eager++) {
        MemorySnapshot *s = take(0);
        memory_region_transaction_begin(ms);
        memory_snapshot_free(s); /* logging goes on */
        OK(memory_region_transaction_commit(ms));
        store(3 * PAGE, 1);
        s = take(eager ? MEMORY_SNAPSHOT_EAGER : 0);
        store(3 * PAGE, 2);
        store(4 * PAGE, 2);
        OK(memory_snapshot_restore(s, NULL));
        assert_int_equal(host[3 * PAGE], 1);
        assert_int_equal(host[4 * PAGE], 0);
        memory_snapshot_free(s);
    }
    box_end();
}

/* Devices stay plugged, or not, whatever snapshots bring back around them. */
static void memory_devices_stay_as_they_are(void **state)
{
    (void)state;
    box_start();
    backend("memory-backend-ram,id=m0,size=2M");
    backend("memory-backend-ram,id=m1,size=2M");
    backend("memory-backend-ram,id=m2,size=2M");
    MemoryDeviceState *kept = add("pc-dimm,id=kept,memdev=m0");
    MemoryDeviceState *gone = add("pc-dimm,id=gone,memdev=m1");
    MemoryRegion *region = memory_device_get_memory_region(gone);
    hwaddr addr = addr_of(gone);
    store(addr_of(kept), 5);

    MemorySnapshot *s = take(0);
    memory_region_set_enabled(region, false); /* known to the snapshot before it is unplugged */
    OK(memory_device_del(gone, NULL));
    MemoryDeviceState *added = add("virtio-mem-pci,id=added,memdev=m2,requested-size=2M");
    assert_int_equal(addr_of(added), addr);
    OK(virtio_mem_plug(added, addr, 2 * MiB, NULL));
    store(addr, 7);
    assert_int_equal(load(addr), 7);
    store(addr_of(kept), 6);
    memory_region_set_enabled(&ram, false);
    for (unsigned round = 0; round < 2; round++) {
        OK(memory_snapshot_restore(s, NULL));
        assert_int_equal(load(addr), 0); /* their RAM comes back like all RAM */
        assert_int_equal(load(addr_of(kept)), 5);
        assert_true(memory_region_is_mapped(memory_device_get_memory_region(added)));
        assert_false(memory_region_is_mapped(region));
    }
    store(0, 1);
    assert_int_equal(host[0], 1);
    memory_snapshot_free(s);
    box_end(); /* and all can be unplugged */
}

static void the_area_for_them_stays_too(void **state)
{
    (void)state;
    OK(memory_devices_finalize(ms, NULL));
    MemorySnapshot *none = take(0);
    OK(memory_devices_init(ms, BASE, GiB, 4, NULL));
    backend("memory-backend-ram,id=m0,size=2M");
    MemoryDeviceState *md = add("pc-dimm,id=d0,memdev=m0");
    MemorySnapshot *some = take(0);
    OK(memory_device_del(md, NULL));
    OK(memory_devices_finalize(ms, NULL));
    OK(memory_snapshot_restore(some, NULL));
    assert_int_equal(load(BASE), 0);
    assert_null(memory_devices_region(ms));
    memory_snapshot_free(some);
    OK(memory_devices_init(ms, BASE, GiB, 4, NULL));
    md = add("pc-dimm,id=d0,memdev=m0");
    OK(memory_snapshot_restore(none, NULL));
    store(BASE, 3);
    assert_int_equal(load(BASE), 3);
    memory_snapshot_free(none);
}

/* A snapshot that moves along above one that stays costs what differs, not how often it moved. */
static void a_moving_snapshot_costs_no_history(void **state)
{
    MemorySnapshot *before = NULL;
    size_t held = 0;

    (void)state;
    box_start();
    host[5 * PAGE] = 55;
    MemorySnapshot *base = take(0);
    for (unsigned round = 0; round < 2000; round++) {
        MemorySnapshot *now = take(0);
        memory_snapshot_free(before);
        before = now;
        for (unsigned i = 0; i < 4; i++) {
            store((round + i * i) % 64 * PAGE, round + 1);
        }
        if (round == 200) {
            held = mallinfo2().uordblks; /* 0 where a sanitizer has its own malloc */
        }
    }
    assert_in_range(mallinfo2().uordblks, 0, held + 4096);
    OK(memory_snapshot_restore(base, NULL));
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(host[i * PAGE], i == 5 ? 55 : 0);
    }
    memory_snapshot_free(before);
    memory_snapshot_free(base);
    box_end();
}

/* Memory that is given back, or grows, was zero for the most part: that takes no copies. */
static void zeroes_take_no_copies(void **state)
{
    static MemoryRegion big;

    (void)state;
    OK(memory_region_init_ram(&big, memory_system_owner(ms), "big", 256 * MiB, NULL));
    uint8_t *bytes = memory_region_get_ram_ptr(&big);
    bytes[77 * PAGE] = 7;
    MemorySnapshot *s = take(0);
    struct mallinfo2 before = mallinfo2();
    OK(ram_block_discard_range(memory_region_get_ram_block(&big), 0, 256 * MiB));
    struct mallinfo2 after = mallinfo2();
    assert_in_range(after.uordblks + after.hblkhd, 0, before.uordblks + before.hblkhd + 8 * MiB);
    assert_int_equal(bytes[77 * PAGE], 0);
    OK(memory_snapshot_restore(s, NULL));
    assert_int_equal(bytes[77 * PAGE], 7);
    memory_snapshot_free(s);
}

/* ---- frees from callbacks ------------------------------------------------------------------ */

typedef struct Freer {
    MemoryListener listener;
    RAMBlockNotifier notifier;
    MemorySnapshot *victims[3];
} Freer;

static void free_them(Freer *f)
{
    for (unsigned i = 0; i < 3; i++) {
        memory_snapshot_free(f->victims[i]);
        f->victims[i] = NULL;
    }
}

static void on_commit(MemoryListener *listener)
{
    free_them((Freer *)listener);
}

static void on_sync(MemoryListener *listener, MemoryRegionSection *section)
{
    (void)section;
    free_them((Freer *)listener);
}

static void on_resize(RAMBlockNotifier *notifier, void *block_host, size_t old, size_t new)
{
    (void)block_host;
    (void)old;
    (void)new;
    free_them((Freer *)((char *)notifier - offsetof(Freer, notifier)));
}

/* The older, the one that is restored, and a newer are freed while it is being restored. */
static void callbacks_may_free(void **state)
{
    Freer f = {.notifier = {.ram_block_resized = on_resize}};
    static MemoryRegion other;

    (void)state;
    box_start();
    OK(memory_region_init_resizeable_ram(&other, memory_system_owner(ms), "other", PAGE, 4 * PAGE,
                                         NULL, NULL));
    OK(memory_region_add_subregion(get_system_memory(ms), 1 * MiB, &other));
    OK(ram_block_notifier_add(ms, &f.notifier));
    for (unsigned way = 0; way < 8; way++) {
        f.listener =
            way & 1 ? (MemoryListener){.log_sync = on_sync} : (MemoryListener){.commit = on_commit};
        bool notifier = way & 2, retake = way & 4;
        OK(memory_listener_register(&f.listener, memory_system_memory(ms)));
        MemorySnapshot *s[4];
        for (unsigned i = 0; i < 4; i++) {
            s[i] = take(0);
            store(i * PAGE, i + 1);
            OK(memory_region_ram_resize(&other, (1 + (i + 1) % 4) * PAGE, NULL));
        }
        if (!notifier) {
            OK(ram_block_notifier_remove(ms, &f.notifier));
        }
        memcpy(f.victims, s + 1, sizeof f.victims);
        if (retake) {
            MemorySnapshot *again = take(0);
            store(9 * PAGE, 9);
            OK(memory_snapshot_restore(again, NULL));
            assert_int_equal(load(9 * PAGE), 0);
            memory_snapshot_free(again);
        } else {
            OK(memory_snapshot_restore(s[2], NULL));
            assert_int_equal(load(1 * PAGE), 2);
            assert_int_equal(load(2 * PAGE), 0);
            assert_int_equal(memory_region_size(&other), 3 * PAGE);
        }
        free_them(&f);
        if (!notifier) {
            OK(ram_block_notifier_add(ms, &f.notifier));
        }
        OK(memory_snapshot_restore(s[0], NULL));
        assert_int_equal(load(0), 0);
        assert_int_equal(load(1 * PAGE), 0);
        assert_int_equal(memory_region_size(&other), PAGE);
        memory_snapshot_free(s[0]);
        assert_null(memory_dirty_client_name(ms, DIRTY_MEMORY_FIRST_FREE));
        OK(memory_listener_unregister(&f.listener));
    }
    OK(ram_block_notifier_remove(ms, &f.notifier));
    OK(memory_region_del_subregion(get_system_memory(ms), &other));
    box_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(marks_from_before_the_first_are_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(a_moving_snapshot_costs_no_history, setup, teardown),
        cmocka_unit_test_setup_teardown(zeroes_take_no_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(callbacks_may_free, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_devices_stay_as_they_are, setup, teardown),
        cmocka_unit_test_setup_teardown(the_area_for_them_stays_too, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
