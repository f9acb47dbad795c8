/* SPDX-License-Identifier: MIT */
/* Owners: finalised exactly once, and only when nothing can reach what they own. */
#include "support/device.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

static unsigned finalized; /* of the device under test */

static Device *mapped_device(MemorySystem *ms, hwaddr addr)
{
    Device *d = device_new(ms, "dev", true);

    finalized = 0;
    d->finalized = &finalized;
    OK(device_init(d, 0x100, DEVICE_LITTLE_ENDIAN));
    map_at(ms, addr, &d->mr);
    return d;
}

#define assert_alive()                                                                             \
    do {                                                                                           \
        memory_system_drain(ms);                                                                   \
        assert_int_equal(__atomic_load_n(&finalized, __ATOMIC_RELAXED), 0);                        \
    } while (0)

#define assert_gone()                                                                              \
    do {                                                                                           \
        memory_system_drain(ms);                                                                   \
        assert_int_equal(__atomic_load_n(&finalized, __ATOMIC_RELAXED), 1);                        \
    } while (0)

static void the_last_reference_finalizes(void **state)
{
    MemorySystem *ms = machine_start();
    Device *d = mapped_device(ms, 0);
    MemoryOwner *owner = d->owner;

    (void)state;
    assert_string_equal(memory_owner_name(owner), "dev");
    assert_ptr_equal(memory_owner_system(owner), ms);
    memory_owner_ref(owner);
    device_drop(d);
    unmap(ms, &d->mr);
    assert_alive();
    memory_owner_unref(owner);
    assert_gone();
    memory_owner_unref(NULL);
    memory_owner_ref(NULL);
    machine_end(ms);
}

static void a_container_keeps_its_child(void **state)
{
    MemorySystem *ms = machine_start();
    Device *d = mapped_device(ms, 0);

    (void)state;
    device_drop(d);
    assert_alive();
    assert_int_equal(address_space_ldub(memory_system_memory(ms), 0, ATTRS, NULL), 0x11);
    unmap(ms, &d->mr);
    assert_gone();
    machine_end(ms);
}

static void an_alias_keeps_its_target(void **state)
{
    MemorySystem *ms = machine_start();
    Device *d = mapped_device(ms, 0);
    MemoryRegion window;

    (void)state;
    make_alias(ms, &window, &d->mr, 0, 0x100);
    unmap(ms, &d->mr);
    map_at(ms, 0x1000, &window);
    device_drop(d);
    assert_alive();
    assert_int_equal(address_space_ldub(memory_system_memory(ms), 0x1000, ATTRS, NULL), 0x11);
    unmap(ms, &window);
    assert_alive(); /* it could be added again */
    OK(memory_region_finalize(&window));
    assert_gone();
    machine_end(ms);
}

static void a_held_view_keeps_what_it_shows(void **state)
{
    MemorySystem *ms = machine_start();
    Device *d = mapped_device(ms, 0);
    FlatView *view = address_space_get_flatview(memory_system_memory(ms));
    MemoryRegionSection s;

    (void)state;
    unmap(ms, &d->mr);
    device_drop(d);
    assert_alive();
    assert_true(flatview_lookup(view, 0x80, &s));
    assert_ptr_equal(s.mr, &d->mr);
    assert_string_equal(memory_region_name(s.mr), "device");
    flatview_ref(view);
    flatview_unref(view);
    assert_alive();
    flatview_unref(view);
    assert_gone();
    machine_end(ms);
}

static void the_history_keeps_what_it_shows(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *d = mapped_device(ms, 0);
    MemoryRegion other;
    FlatView *old;
    MemoryRegionSection s;

    (void)state;
    make_container(ms, &other, "box", 0x10);
    OK(address_space_set_history(as, 2));
    unmap(ms, &d->mr);
    device_drop(d);
    assert_alive();
    old = address_space_get_history(as, 1);
    assert_non_null(old);
    assert_true(flatview_lookup(old, 0, &s));
    assert_ptr_equal(s.mr, &d->mr);
    flatview_unref(old);
    assert_null(address_space_get_history(as, 2));
    OK(address_space_set_history(as, 0));
    assert_gone();
    machine_end(ms);
}

static void a_found_region_stays(void **state)
{
    MemorySystem *ms = machine_start();
    Device *d = mapped_device(ms, 0x5000);
    MemoryRegionSection s = memory_region_find(get_system_memory(ms), 0x5010, 0x10);

    (void)state;
    assert_ptr_equal(s.mr, &d->mr);
    assert_true(s.offset_within_region == 0x10 && s.size == 0x10);
    unmap(ms, &d->mr);
    device_drop(d);
    assert_alive();
    memory_region_unref(s.mr);
    assert_gone();
    s = memory_region_find(get_system_memory(ms), 0x5010, 0x10);
    assert_null(s.mr);
    assert_true(s.size == 0);
    machine_end(ms);
}

/* A thread that holds a read section open until told to leave. */
typedef struct Reader {
    AddressSpace *as;
    int in, leave;
    MemoryRegion *mr;
} Reader;

static void *stay_inside(void *opaque)
{
    Reader *r = opaque;
    hwaddr xlat, len = 1;

    memory_read_lock();
    r->mr = address_space_translate(r->as, 0, &xlat, &len, false, ATTRS);
    __atomic_store_n(&r->in, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&r->leave, __ATOMIC_ACQUIRE)) {
        sched_yield();
    }
    if (strcmp(memory_region_name(r->mr), "device") != 0) { /* poisoned? */
        r->mr = NULL;
    }
    memory_read_unlock();
    return NULL;
}

static void a_reader_is_waited_for(void **state)
{
    MemorySystem *ms = machine_start();
    Device *d = mapped_device(ms, 0);
    Reader r = {.as = memory_system_memory(ms)};
    pthread_t thread;

    (void)state;
    OK(pthread_create(&thread, NULL, stay_inside, &r));
    while (!__atomic_load_n(&r.in, __ATOMIC_ACQUIRE)) {
        sched_yield();
    }
    unmap(ms, &d->mr); /* at once: nobody waits here */
    device_drop(d);
    for (int i = 0; i < 200; i++) {
        sched_yield();
        assert_int_equal(__atomic_load_n(&finalized, __ATOMIC_RELAXED), 0);
    }
    __atomic_store_n(&r.leave, 1, __ATOMIC_RELEASE);
    OK(pthread_join(thread, NULL));
    assert_ptr_equal(r.mr, &d->mr);
    assert_gone();
    machine_end(ms);
}

/* One owner, several regions: finalised when the last of them is out of reach. */
static void an_owner_waits_for_all_its_regions(void **state)
{
    MemorySystem *ms = machine_start();
    Device *d = mapped_device(ms, 0);
    MemoryRegion *second = calloc(1, sizeof(*second));

    (void)state;
    OK(memory_region_init_ram(second, d->owner, "second", 0x1000, NULL));
    map_at(ms, 0x10000, second);
    device_drop(d);
    unmap(ms, &d->mr);
    assert_alive();
    unmap(ms, second);
    assert_gone();
    free(second);
    machine_end(ms);
}

static void what_is_inside_a_dead_container_is_let_go(void **state)
{
    MemorySystem *ms = machine_start();
    Device *d = mapped_device(ms, 0), *bus = device_new(ms, "bus", false);
    unsigned bus_finalized = 0;

    (void)state;
    bus->finalized = &bus_finalized;
    OK(memory_region_init(&bus->mr, bus->owner, "bus", 0x10000));
    unmap(ms, &d->mr);
    OK(memory_region_add_subregion(&bus->mr, 0x100, &d->mr));
    map_at(ms, 0x100000, &bus->mr);
    device_drop(d);
    unmap(ms, &bus->mr);
    device_drop(bus);
    memory_system_drain(ms);
    memory_system_drain(ms); /* the bus's end let go of the device */
    assert_int_equal(bus_finalized, 1);
    assert_gone();
    machine_end(ms);
}

static void disabled_and_moved_regions_stay(void **state)
{
    MemorySystem *ms = machine_start();
    Device *d = mapped_device(ms, 0);

    (void)state;
    device_drop(d);
    OK(memory_region_set_enabled(&d->mr, false));
    assert_alive();
    OK(memory_region_set_address(&d->mr, 0x2000));
    OK(memory_region_set_enabled(&d->mr, true));
    assert_alive();
    unmap(ms, &d->mr);
    assert_gone();
    machine_end(ms);
}

/* A commit of many removals, each owner finalised once. */
static void many_go_at_once(void **state)
{
    enum { MANY = 300 };
    MemorySystem *ms = machine_start();
    Device *d[MANY];
    unsigned counts[MANY] = {0};

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        d[i] = device_new(ms, "one", i & 1);
        d[i]->finalized = &counts[i];
        OK(device_init(d[i], 0x10, DEVICE_LITTLE_ENDIAN));
        map_at(ms, i * 0x20, &d[i]->mr);
    }
    memory_region_transaction_begin(ms);
    for (unsigned i = 0; i < MANY; i++) {
        unmap(ms, &d[i]->mr);
        device_drop(d[i]);
    }
    OK(memory_region_transaction_commit(ms));
    memory_system_drain(ms);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(counts[i], 1);
    }
    machine_end(ms);
}

/* A region that was never mapped goes with its owner. */
static void unmapped_regions_go_with_their_owner(void **state)
{
    MemorySystem *ms = machine_start();
    Device *d = device_new(ms, "unmapped", true);

    (void)state;
    finalized = 0;
    d->finalized = &finalized;
    OK(memory_region_init_ram(&d->mr, d->owner, "ram", 0x100000, NULL));
    device_drop(d);
    assert_gone();
    machine_end(ms);
}

static void a_machine_in_use_is_not_destroyed(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = calloc(1, sizeof(*as));
    Device *d = mapped_device(ms, 0);
    FlatView *view;

    (void)state;
    REFUSED(-EBUSY, memory_system_destroy(ms));
    assert_non_null(strstr(membus_last_error(), "dev")); /* the error names one */
    unmap(ms, &d->mr);
    device_drop(d);
    memory_system_drain(ms);
    OK(address_space_init(as, get_system_memory(ms), "dma"));
    REFUSED(-EBUSY, memory_system_destroy(ms));
    assert_non_null(strstr(membus_last_error(), "dma"));
    OK(address_space_destroy(as));
    memory_system_drain(ms);
    free(as);
    view = address_space_get_flatview(memory_system_memory(ms));
    REFUSED(-EBUSY, memory_system_destroy(ms));
    flatview_unref(view);
    OK(memory_system_destroy(ms));
    OK(memory_system_destroy(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_reference_finalizes),
        cmocka_unit_test(a_container_keeps_its_child),
        cmocka_unit_test(an_alias_keeps_its_target),
        cmocka_unit_test(a_held_view_keeps_what_it_shows),
        cmocka_unit_test(the_history_keeps_what_it_shows),
        cmocka_unit_test(a_found_region_stays),
        cmocka_unit_test(a_reader_is_waited_for),
        cmocka_unit_test(an_owner_waits_for_all_its_regions),
        cmocka_unit_test(what_is_inside_a_dead_container_is_let_go),
        cmocka_unit_test(disabled_and_moved_regions_stay),
        cmocka_unit_test(many_go_at_once),
        cmocka_unit_test(unmapped_regions_go_with_their_owner),
        cmocka_unit_test(a_machine_in_use_is_not_destroyed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
