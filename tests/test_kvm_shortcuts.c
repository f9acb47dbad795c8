/* SPDX-License-Identifier: MIT */
/* Ioeventfds and coalesced zones in the kernel: what each change asks of it, and no more. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/kvm_guest.h"
#include <sys/eventfd.h>
#include <unistd.h>

static unsigned long eventfd_calls(const Guest *g)
{
    return kvm_fake_calls(g->fake, KVM_IOEVENTFD);
}

static unsigned long zone_calls(const Guest *g)
{
    return kvm_fake_calls(g->fake, KVM_REGISTER_COALESCED_MMIO) +
           kvm_fake_calls(g->fake, KVM_UNREGISTER_COALESCED_MMIO);
}

static EventNotifier notifier_open(void)
{
    EventNotifier e = {eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};

    assert_true(e.fd >= 0);
    return e;
}

/* How often it was signalled since the last time. */
static uint64_t signals(const EventNotifier *e)
{
    uint64_t count;

    return read(e->fd, &count, sizeof count) == sizeof count ? count : 0;
}

static KvmFakeOutcome guest_write(Guest *g, hwaddr addr, uint64_t data, size_t len)
{
    return kvm_fake_guest_write(g->fake, 0, 0, addr, &data, len);
}

static KvmFakeOutcome guest_out(Guest *g, uint16_t port, uint32_t data, unsigned len)
{
    return kvm_fake_guest_out(g->fake, 0, port, &data, len);
}

/* ---- ioeventfds --------------------------------------------------------------------- */

static void test_eventfd(void **state)
{
    Guest *g = guest_start(NULL, true);
    Device *d = any_device(g, DEVICE_LITTLE_ENDIAN);
    EventNotifier one = notifier_open(), two = notifier_open();

    (void)state;
    map_at(g->ms, DEVICE_AT, &d->mr);
    OK(memory_region_add_eventfd(&d->mr, 4, 4, false, 0, &one));
    OK(memory_region_add_eventfd(&d->mr, 8, 2, true, 0x55, &one));
    OK(memory_region_add_eventfd(&d->mr, 8, 2, true, 0x66, &two));
    assert_int_equal(eventfd_calls(g), 3);
    assert_int_equal(guest_write(g, DEVICE_AT + 4, 99, 4), KVM_FAKE_SIGNALLED);
    assert_int_equal(guest_write(g, DEVICE_AT + 4, 99, 2), KVM_FAKE_EXIT);
    assert_int_equal(guest_write(g, DEVICE_AT + 8, 0x55, 2), KVM_FAKE_SIGNALLED);
    assert_int_equal(signals(&one), 2);
    assert_int_equal(guest_write(g, DEVICE_AT + 8, 0x66, 2), KVM_FAKE_SIGNALLED);
    assert_int_equal(signals(&two), 1);
    assert_int_equal(guest_write(g, DEVICE_AT + 8, 0x77, 2), KVM_FAKE_EXIT);

    kvm_fake_forget_calls(g->fake);
    OK(memory_region_set_address(&d->mr, DEVICE_AT + 0x100)); /* moved: away, and there again */
    assert_int_equal(eventfd_calls(g), 6);
    assert_int_equal(guest_write(g, DEVICE_AT + 0x104, 99, 4), KVM_FAKE_SIGNALLED);
    assert_int_equal(guest_write(g, DEVICE_AT + 4, 99, 4), KVM_FAKE_EXIT);

    kvm_fake_forget_calls(g->fake);
    memory_region_transaction_begin(g->ms); /* replaced: another notifier at the same place */
    OK(memory_region_del_eventfd(&d->mr, 4, 4, false, 0, &one));
    OK(memory_region_add_eventfd(&d->mr, 4, 4, false, 0, &two));
    OK(memory_region_transaction_commit(g->ms));
    assert_int_equal(eventfd_calls(g), 2);
    assert_int_equal(guest_write(g, DEVICE_AT + 0x104, 99, 4), KVM_FAKE_SIGNALLED);
    assert_int_equal(signals(&two), 1);

    unmap(g->ms, &d->mr);
    assert_int_equal(kvm_fake_ioeventfds(g->fake), 0);
    device_drop(d);
    guest_end(g);
    close(one.fd);
    close(two.fd);
}

/* The data to match is what the device's callback would get, whatever its byte order. */
static void test_data_of_big_endian_device(void **state)
{
    Guest *g = guest_start(NULL, false);
    Device *d = any_device(g, DEVICE_BIG_ENDIAN);
    EventNotifier e = notifier_open();

    (void)state;
    OK(memory_region_add_eventfd(&d->mr, 0, 4, true, 0x11223344, &e));
    OK(memory_region_add_eventfd(&d->mr, 8, 1, true, 0xffffff12, &e));
    map_at(g->ms, DEVICE_AT, &d->mr);
    assert_int_equal(guest_write(g, DEVICE_AT, 0x11223344, 4), KVM_FAKE_EXIT);
    address_space_stl_le(memory_system_memory(g->ms), DEVICE_AT, 0x44332211, ATTRS, NULL);
    assert_int_equal(d->call[0].data, 0x11223344);
    assert_int_equal(guest_write(g, DEVICE_AT, 0x44332211, 4), KVM_FAKE_SIGNALLED);
    assert_int_equal(guest_write(g, DEVICE_AT + 8, 0x12, 1), KVM_FAKE_SIGNALLED);
    unmap(g->ms, &d->mr);
    device_drop(d);
    guest_end(g);
    close(e.fd);
}

static void test_any_length(void **state)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    EventNotifier e = notifier_open();

    (void)state;
    for (int has = 0; has < 2; has++) {
        caps.ioeventfd_any_length = has;
        Guest *g = guest_start(&caps, false);
        Device *d = any_device(g, DEVICE_LITTLE_ENDIAN);
        OK(memory_region_add_eventfd(&d->mr, 0, 0, false, 0, &e));
        OK(memory_region_add_eventfd(&d->mr, 8, 0, true, 1, &e)); /* no kernel has that */
        map_at(g->ms, DEVICE_AT, &d->mr);
        assert_int_equal(kvm_fake_ioeventfds(g->fake), has);
        assert_int_equal(guest_write(g, DEVICE_AT, 7, 2), has ? KVM_FAKE_SIGNALLED : KVM_FAKE_EXIT);
        assert_int_equal(guest_write(g, DEVICE_AT + 8, 1, 2), KVM_FAKE_EXIT);
        unmap(g->ms, &d->mr);
        device_drop(d);
        guest_end(g);
    }
    close(e.fd);
}

/* A kernel without any of it: the writes are exits. */
static void test_nothing_there(void **state)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    EventNotifier e = notifier_open();

    (void)state;
    caps.ioeventfd = caps.coalesced_mmio = caps.coalesced_pio = false;
    Guest *g = guest_start(&caps, true);
    KVMVcpu *cpu = kvm_vcpu_create(g->kvm, 0, NULL);
    assert_non_null(cpu);
    Device *d = any_device(g, DEVICE_LITTLE_ENDIAN);
    OK(memory_region_add_eventfd(&d->mr, 0, 4, false, 0, &e));
    OK(memory_region_set_coalescing(&d->mr));
    map_at(g->ms, DEVICE_AT, &d->mr);
    assert_int_equal(eventfd_calls(g) + zone_calls(g), 0);
    assert_int_equal(guest_write(g, DEVICE_AT, 7, 4), KVM_FAKE_EXIT);
    assert_int_equal(kvm_memory_exit(g->kvm, kvm_vcpu_get_run(cpu)), 1);
    assert_int_equal(d->calls, 1);
    unmap(g->ms, &d->mr);
    device_drop(d);
    guest_end(g);
    close(e.fd);
}

/* What one write would be for twice is refused; what is the same for the kernel is one. */
static void test_collisions(void **state)
{
    Guest *g = guest_start(NULL, false);
    Device *d = any_device(g, DEVICE_LITTLE_ENDIAN);
    EventNotifier one = notifier_open(), two = notifier_open();

    (void)state;
    map_at(g->ms, DEVICE_AT, &d->mr);
    OK(memory_region_add_eventfd(&d->mr, 0, 4, true, 1, &one));
    REFUSED(-EEXIST, memory_region_add_eventfd(&d->mr, 0, 4, false, 0, &two));
    assert_non_null(strstr(membus_last_error(), "ioeventfd at GPA 0x10000"));
    REFUSED(-EEXIST, memory_region_add_eventfd(&d->mr, 0, 4, true, UINT64_C(0x100000001), &two));
    assert_int_equal(kvm_fake_ioeventfds(g->fake), 1);
    OK(memory_region_add_eventfd(&d->mr, 0, 4, true, UINT64_C(0x200000001), &one));
    assert_int_equal(kvm_fake_ioeventfds(g->fake), 1);
    OK(memory_region_del_eventfd(&d->mr, 0, 4, true, 1, &one));
    assert_int_equal(guest_write(g, DEVICE_AT, 1, 4), KVM_FAKE_SIGNALLED);
    OK(memory_region_del_eventfd(&d->mr, 0, 4, true, UINT64_C(0x200000001), &one));
    assert_int_equal(kvm_fake_ioeventfds(g->fake), 0);
    EventNotifier closed = {one.fd};
    close(one.fd);
    REFUSED(-EBADF, memory_region_add_eventfd(&d->mr, 0, 4, true, 1, &closed));
    unmap(g->ms, &d->mr);
    device_drop(d);
    guest_end(g);
    close(two.fd);
}

static void test_ports(void **state)
{
    Guest *g = guest_start(NULL, true);
    Device *d = any_device(g, DEVICE_LITTLE_ENDIAN);
    EventNotifier e = notifier_open();
    KvmFakeCall call;

    (void)state;
    kvm_fake_forget_calls(g->fake);
    OK(memory_region_add_eventfd(&d->mr, 2, 2, true, 0x1234, &e));
    OK(memory_region_add_coalescing(&d->mr, 8, 4));
    OK(memory_region_add_subregion(get_system_io(g->ms), PORT_AT, &d->mr));
    assert_int_equal(kvm_fake_calls(g->fake, 0), 2);
    assert_true(kvm_fake_call(g->fake, 0, &call));
    assert_int_equal(call.ioeventfd.addr, PORT_AT + 2);
    assert_int_equal(call.ioeventfd.flags, KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DATAMATCH);
    assert_true(kvm_fake_call(g->fake, 1, &call));
    assert_int_equal(call.zone.addr, PORT_AT + 8);
    assert_int_equal(call.zone.size, 4);
    assert_int_equal(call.zone.pio, 1);
    assert_int_equal(guest_out(g, PORT_AT + 2, 0x1234, 2), KVM_FAKE_SIGNALLED);
    assert_int_equal(guest_out(g, PORT_AT + 2, 0x1235, 2), KVM_FAKE_EXIT);
    OK(memory_region_del_subregion(get_system_io(g->ms), &d->mr));
    assert_int_equal(kvm_fake_ioeventfds(g->fake) + kvm_fake_zones(g->fake), 0);
    device_drop(d);
    guest_end(g);
    close(e.fd);
}

static void test_smm_has_none(void **state)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    EventNotifier e = notifier_open();
    KVMMemoryListener smm = {0};

    (void)state;
    caps.nr_address_spaces = 2;
    Guest *g = guest_start(&caps, false);
    Device *d = any_device(g, DEVICE_LITTLE_ENDIAN);
    map_at(g->ms, DEVICE_AT, &d->mr);
    OK(memory_region_add_eventfd(&d->mr, 0, 4, false, 0, &e));
    OK(memory_region_set_coalescing(&d->mr));
    guest_register(g, &smm, memory_system_memory(g->ms), KVM_AS_SMM);
    assert_int_equal(kvm_fake_ioeventfds(g->fake), 1);
    assert_int_equal(kvm_fake_zones(g->fake), 1);
    OK(kvm_memory_listener_unregister(&smm));
    assert_int_equal(kvm_fake_ioeventfds(g->fake), 1);
    assert_int_equal(kvm_fake_zones(g->fake), 1);
    unmap(g->ms, &d->mr);
    device_drop(d);
    guest_end(g);
    close(e.fd);
}

/* ---- zones ---------------------------------------------------------------------------- */

static void test_zones_joined(void **state)
{
    Guest *g = guest_start(NULL, false);
    Device *d = any_device(g, DEVICE_LITTLE_ENDIAN);

    (void)state;
    map_at(g->ms, DEVICE_AT, &d->mr);
    OK(memory_region_add_coalescing(&d->mr, 0, 8));
    OK(memory_region_add_coalescing(&d->mr, 32, 8));
    assert_int_equal(kvm_fake_zones(g->fake), 2);
    kvm_fake_forget_calls(g->fake);
    OK(memory_region_add_coalescing(&d->mr, 2, 4)); /* inside the first */
    assert_int_equal(zone_calls(g), 0);
    OK(memory_region_add_coalescing(&d->mr, 8, 4)); /* right after it */
    assert_int_equal(zone_calls(g), 2);
    assert_int_equal(kvm_fake_zones(g->fake), 2);
    OK(memory_region_add_coalescing(&d->mr, 4, 40)); /* over all */
    assert_int_equal(kvm_fake_zones(g->fake), 1);
    OK(memory_region_clear_coalescing(&d->mr));
    assert_int_equal(kvm_fake_zones(g->fake), 0);
    unmap(g->ms, &d->mr);
    device_drop(d);
    guest_end(g);
}

/* What covers a part of the region cuts its zone; the rest of the map costs nothing. */
static void test_zone_cut(void **state)
{
    Guest *g = guest_start(NULL, false);
    Device *d = any_device(g, DEVICE_LITTLE_ENDIAN), *far = any_device(g, DEVICE_LITTLE_ENDIAN);
    MemoryRegion cover, huge;

    (void)state;
    OK(memory_region_set_coalescing(&d->mr));
    OK(memory_region_set_coalescing(&far->mr));
    map_at(g->ms, DEVICE_AT, &d->mr);
    map_at(g->ms, DEVICE_AT + 0x100, &far->mr);
    kvm_fake_forget_calls(g->fake);
    make_ram(g->ms, &cover, "cover", 16);
    OK(memory_region_add_subregion_overlap(get_system_memory(g->ms), DEVICE_AT + 16, &cover, 1));
    assert_int_equal(zone_calls(g), 3);
    assert_int_equal(kvm_fake_zones(g->fake), 3);
    unmap(g->ms, &cover);
    assert_int_equal(kvm_fake_zones(g->fake), 2);
    kvm_fake_forget_calls(g->fake);
    OK(memory_region_init_io(&huge, memory_system_owner(g->ms), &d->ops, d, "huge", 1UL << 33));
    OK(memory_region_set_coalescing(&huge)); /* longer than the kernel's can be */
    map_at(g->ms, 1UL << 33, &huge);
    assert_int_equal(zone_calls(g), 0);
    OK(memory_region_clear_coalescing(&huge));
    OK(memory_region_add_coalescing(&huge, 0, 1UL << 31)); /* the kernel would keep it for ever */
    assert_int_equal(zone_calls(g), 0);
    OK(memory_region_clear_coalescing(&huge));
    OK(memory_region_add_coalescing(&huge, 0, INT32_MAX));
    assert_int_equal(kvm_fake_zones(g->fake), 3);
    unmap(g->ms, &huge);
    assert_int_equal(kvm_fake_zones(g->fake), 2);
    unmap(g->ms, &d->mr);
    unmap(g->ms, &far->mr);
    device_drop(d);
    device_drop(far);
    guest_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eventfd),      cmocka_unit_test(test_data_of_big_endian_device),
        cmocka_unit_test(test_any_length),   cmocka_unit_test(test_nothing_there),
        cmocka_unit_test(test_collisions),   cmocka_unit_test(test_ports),
        cmocka_unit_test(test_smm_has_none), cmocka_unit_test(test_zones_joined),
        cmocka_unit_test(test_zone_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
