/* SPDX-License-Identifier: MIT */
/*
 * Address spaces that a guest sees: who may be one, what is left of one that fails or ends, and
 * whatever order things end in.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/kvm_machine.h"

static void test_registration_refused(void **state)
{
    Guest g;
    MemorySystem *other = machine_start();
    KVMMemoryListener one = {0}, two = {0}, ports = {0};

    (void)state;
    start(&g, NULL);
    AddressSpace *memory = memory_system_memory(g.ms);
    REFUSED(-EINVAL, kvm_memory_listener_register(g.kvm, &one, memory, 1, "smm"));
    REFUSED(-EINVAL, kvm_memory_listener_register(g.kvm, &one, memory, -2, "what"));
    REFUSED(-EINVAL,
            kvm_memory_listener_register(g.kvm, &one, memory_system_memory(other), 0, "x"));
    OK(kvm_memory_listener_register(g.kvm, &one, memory, 0, "one"));
    REFUSED(-EBUSY, kvm_memory_listener_register(g.kvm, &two, memory, 0, "two"));
    assert_non_null(strstr(membus_last_error(), "'one'"));
    REFUSED(-EBUSY, kvm_memory_listener_register(g.kvm, &one, memory, 0, "one"));
    REFUSED(-EBUSY, kvm_memory_listener_register(g.kvm, &one, memory, KVM_AS_PORTS, "one"));
    OK(kvm_memory_listener_register(g.kvm, &ports, memory_system_io(g.ms), KVM_AS_PORTS, NULL));

    OK(kvm_memory_listener_unregister(&one));
    OK(kvm_memory_listener_unregister(&one));
    OK(kvm_memory_listener_unregister(&two));
    OK(kvm_memory_listener_register(g.kvm, &two, memory, 0, "two")); /* free again */
    end(&g);
    machine_end(other);
}

static void test_registration_that_fails(void **state)
{
    Guest g;
    KVMMemoryListener kml = {0};
    MemoryRegion a, b, c;

    (void)state;
    start(&g, NULL);
    make_ram(g.ms, &a, "a", SIZE);
    make_ram(g.ms, &b, "b", SIZE);
    make_ram(g.ms, &c, "c", SIZE);
    map_at(g.ms, 0, &a);
    map_at(g.ms, 0x100000, &b);
    map_at(g.ms, 0x200000, &c);
    for (unsigned k = 1; k <= 3; k++) {
        kvm_fake_fail(g.fake, KVM_SET_USER_MEMORY_REGION, k, EEXIST, false);
        REFUSED(-EEXIST,
                kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
        assert_int_equal(kvm_fake_heal(g.fake), 1);
        assert_int_equal(kvm_fake_slots(g.fake, 0), 0);
        assert_null(kml.kvm);
    }
    OK(kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
    assert_int_equal(kvm_fake_slots(g.fake, 0), 3);
    assert_int_equal(kvm_get_free_memslots(g.kvm, 0), 509);
    assert_int_equal(kvm_get_free_memslots(g.kvm, 1), 512);
    OK(kvm_memory_listener_unregister(&kml));
    assert_int_equal(kvm_fake_slots(g.fake, 0), 0);
    end(&g);
}

static void test_too_many_slots(void **state)
{
    Guest g;
    KVMConfig config = begin(&g, NULL);
    KVMMemoryListener kml = {0};
    MemoryRegion a, b;

    (void)state;
    config.max_slots = 1;
    g.kvm = kvm_create(g.ms, &config, NULL);
    assert_non_null(g.kvm);
    assert_int_equal(kvm_get_max_memslots(g.kvm), 1);
    make_ram(g.ms, &a, "a", SIZE);
    make_ram(g.ms, &b, "b", SIZE);
    map_at(g.ms, 0, &a);
    map_at(g.ms, 0x100000, &b);
    unsigned long calls = kvm_fake_slot_calls(g.fake);
    REFUSED(-ENOSPC,
            kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
    assert_int_equal(kvm_fake_slot_calls(g.fake), calls);
    end(&g);
}

static void test_space_destroyed_first(void **state)
{
    Guest g;
    KVMMemoryListener kml = {0};
    MemoryRegion root, ram;
    AddressSpace as;

    (void)state;
    start(&g, NULL);
    make_container(g.ms, &root, "root", UINT64_MAX);
    make_ram(g.ms, &ram, "ram", SIZE);
    OK(memory_region_add_subregion(&root, 0x1000, &ram));
    OK(address_space_init(&as, &root, "as"));
    OK(kvm_memory_listener_register(g.kvm, &kml, &as, 0, "kvm"));
    assert_int_equal(kvm_fake_slots(g.fake, 0), 1);
    OK(address_space_destroy(&as));
    assert_int_equal(kvm_fake_slots(g.fake, 0), 0);
    assert_int_equal(kvm_get_free_memslots(g.kvm, 0), 512);
    OK(kvm_memory_listener_unregister(&kml));
    OK(kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
    end(&g);
}

static void test_destroyed_with_all_left(void **state)
{
    Guest g;
    KVMMemoryListener memory = {0}, smm = {0}, ports = {0};
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    MemoryRegion ram;

    (void)state;
    caps.nr_address_spaces = 2;
    start(&g, &caps);
    make_ram(g.ms, &ram, "ram", SIZE);
    map_at(g.ms, 0, &ram);
    OK(kvm_memory_listener_register(g.kvm, &memory, memory_system_memory(g.ms), KVM_AS_MEMORY,
                                    "m"));
    OK(kvm_memory_listener_register(g.kvm, &smm, memory_system_memory(g.ms), KVM_AS_SMM, "s"));
    OK(kvm_memory_listener_register(g.kvm, &ports, memory_system_io(g.ms), KVM_AS_PORTS, "p"));
    assert_int_equal(kvm_fake_slots(g.fake, 0), 1);
    assert_int_equal(kvm_fake_slots(g.fake, 1), 1);
    KVMVcpu *cpus[3];
    for (unsigned i = 0; i < 3; i++) {
        cpus[i] = kvm_vcpu_create(g.kvm, i, NULL);
        assert_non_null(cpus[i]);
    }
    kvm_vcpu_destroy(cpus[1]);
    kvm_vcpu_destroy(NULL);
    OK(kvm_destroy(g.kvm));
    assert_null(memory.kvm);
    assert_null(smm.kvm);
    assert_null(ports.kvm);
    unmap(g.ms, &ram); /* nobody follows any more */
    g.kvm = NULL;
    end(&g);
}

/* The kernel refuses to let go: the program is told, and nothing leaks. */
static void test_slots_that_stay(void **state)
{
    Guest g;
    KVMMemoryListener kml = {0};
    MemoryRegion a, b;

    (void)state;
    start(&g, NULL);
    make_ram(g.ms, &a, "a", SIZE);
    make_ram(g.ms, &b, "b", SIZE);
    map_at(g.ms, 0, &a);
    map_at(g.ms, 0x100000, &b);
    OK(memory_region_set_log(&a, true, DIRTY_MEMORY_VGA));
    OK(kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
    kvm_fake_fail(g.fake, 0, 1, EIO, true);
    OK(kvm_memory_listener_unregister(&kml));
    assert_true(kvm_fake_heal(g.fake) > 0);
    assert_true(g.reports >= 2); /* one for each slot */
    assert_int_equal(kvm_fake_slots(g.fake, 0), 2);
    assert_null(kml.kvm);
    end(&g);
}

/* It fails once: the second try takes it out. */
static void test_slots_that_go_at_last(void **state)
{
    Guest g;
    KVMMemoryListener kml = {0};
    MemoryRegion a, b;

    (void)state;
    for (unsigned k = 1; k <= 2; k++) {
        start(&g, NULL);
        make_ram(g.ms, &a, "a", SIZE);
        make_ram(g.ms, &b, "b", SIZE);
        map_at(g.ms, 0, &a);
        map_at(g.ms, 0x100000, &b);
        kml = (KVMMemoryListener){0};
        OK(kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
        kvm_fake_fail(g.fake, KVM_SET_USER_MEMORY_REGION, k, EIO, false);
        OK(kvm_memory_listener_unregister(&kml));
        assert_int_equal(kvm_fake_slots(g.fake, 0), 0);
        end(&g);
    }
}

typedef struct Meddler {
    MemoryListener listener;
    KVMState *kvm;
    KVMMemoryListener *kml;
    int destroyed, unregistered, registered;
} Meddler;

static void meddle(MemoryListener *listener)
{
    Meddler *m = (Meddler *)listener;
    KVMMemoryListener more = {0};

    m->destroyed = kvm_destroy(m->kvm);
    m->unregistered = kvm_memory_listener_unregister(m->kml);
    m->registered =
        kvm_memory_listener_register(m->kvm, &more, listener->address_space, KVM_AS_PORTS, "more");
}

static void test_from_a_callback(void **state)
{
    Guest g;
    KVMMemoryListener kml = {0};
    MemoryRegion ram;

    (void)state;
    start(&g, NULL);
    make_ram(g.ms, &ram, "ram", SIZE);
    OK(kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
    Meddler m = {.listener = {.commit = meddle}, .kvm = g.kvm, .kml = &kml};
    OK(memory_listener_register(&m.listener, memory_system_memory(g.ms)));
    map_at(g.ms, 0, &ram);
    assert_int_equal(m.destroyed, -EBUSY);
    assert_int_equal(m.unregistered, -EBUSY);
    assert_int_equal(m.registered, -EBUSY);
    assert_int_equal(kvm_fake_slots(g.fake, 0), 1);
    OK(memory_listener_unregister(&m.listener));
    end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registration_refused),
        cmocka_unit_test(test_registration_that_fails),
        cmocka_unit_test(test_too_many_slots),
        cmocka_unit_test(test_space_destroyed_first),
        cmocka_unit_test(test_destroyed_with_all_left),
        cmocka_unit_test(test_slots_that_stay),
        cmocka_unit_test(test_slots_that_go_at_last),
        cmocka_unit_test(test_from_a_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
