/* SPDX-License-Identifier: MIT */
/* Exits of memory and ports, with kvm_run areas that are filled in by hand. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/device.h"
#include "support/kvm_guest.h"

#define DATA_AT 4096

static void set_mmio(Guest *g, hwaddr addr, unsigned len, bool is_write)
{
    g->run->exit_reason = KVM_EXIT_MMIO;
    g->run->mmio.phys_addr = addr;
    g->run->mmio.len = len;
    g->run->mmio.is_write = is_write;
}

static void mmio_write(Guest *g, hwaddr addr, const void *data, unsigned len)
{
    set_mmio(g, addr, len, true);
    memset(g->run->mmio.data, 0xee, sizeof g->run->mmio.data);
    memcpy(g->run->mmio.data, data, len);
    assert_int_equal(kvm_memory_exit(g->kvm, g->run), 1);
}

static uint64_t mmio_read(Guest *g, hwaddr addr, unsigned len)
{
    uint64_t value = 0;

    set_mmio(g, addr, len, false);
    memset(g->run->mmio.data, 0xee, sizeof g->run->mmio.data);
    assert_int_equal(kvm_memory_exit(g->kvm, g->run), 1);
    memcpy(&value, g->run->mmio.data, len);
    return value;
}

static uint8_t *set_ports(Guest *g, bool out, unsigned size, uint16_t port, uint32_t count)
{
    g->run->exit_reason = KVM_EXIT_IO;
    g->run->io.direction = out ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
    g->run->io.size = (uint8_t)size;
    g->run->io.port = port;
    g->run->io.count = count;
    g->run->io.data_offset = DATA_AT;
    return (uint8_t *)g->run + DATA_AT;
}

/* ---- memory ---------------------------------------------------------------------- */

static void check_widths(Guest *g, Device *d)
{
    static const uint8_t data[8] = {0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8};

    for (unsigned len = 1; len <= 8; len++) {
        for (hwaddr offset = 0; offset < 9; offset++) {
            uint64_t value;
            bool one = (len & (len - 1)) == 0;

            device_reset(d);
            uint8_t expected[DEVICE_BYTES];
            memcpy(expected, d->bytes, sizeof expected);
            memcpy(expected + offset, data, len);
            mmio_write(g, DEVICE_AT + offset, data, len);
            assert_memory_equal(d->bytes, expected, sizeof expected);
            assert_true(one ? d->calls == 1 && d->call[0].size == len : d->calls > 1);
            d->calls = 0;
            value = mmio_read(g, DEVICE_AT + offset, len);
            assert_memory_equal(&value, data, len);
            assert_true(one ? d->calls == 1 && d->call[0].size == len : d->calls > 1);
        }
    }
}

static void test_widths(void **state)
{
    Guest *g = guest_start(NULL, false);
    static const enum device_endian orders[] = {DEVICE_LITTLE_ENDIAN, DEVICE_BIG_ENDIAN};

    (void)state;
    for (int i = 0; i < 2; i++) {
        Device *d = any_device(g, orders[i]);
        map_at(g->ms, DEVICE_AT, &d->mr);
        check_widths(g, d);
        unmap(g->ms, &d->mr);
        device_drop(d);
    }
    guest_end(g);
}

static void test_narrow_device(void **state)
{
    Guest *g = guest_start(NULL, false);
    Device *d = device_new(g->ms, "narrow", true); /* 1 to 4 bytes, aligned */

    (void)state;
    OK(device_init(d, DEVICE_BYTES, DEVICE_LITTLE_ENDIAN));
    map_at(g->ms, DEVICE_AT, &d->mr);
    device_reset(d);
    mmio_write(g, DEVICE_AT + 8, "abcdefgh", 8);
    assert_int_equal(d->calls, 2);
    assert_int_equal(d->call[0].size, 4);
    assert_int_equal(d->call[1].addr, 12);
    assert_memory_equal(d->bytes + 8, "abcdefgh", 8);
    unmap(g->ms, &d->mr);
    device_drop(d);
    guest_end(g);
}

static void test_attributes(void **state)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    MemoryRegion root;
    AddressSpace smm;
    KVMMemoryListener listener = {0};

    (void)state;
#ifndef KVM_RUN_X86_SMM
#define KVM_RUN_X86_SMM 0
    print_message("there is no SMM here\n");
    skip();
#endif
    caps.nr_address_spaces = 2;
    Guest *g = guest_start(&caps, false);
    Device *everyday = any_device(g, DEVICE_LITTLE_ENDIAN);
    Device *hidden = any_device(g, DEVICE_LITTLE_ENDIAN);
    map_at(g->ms, DEVICE_AT, &everyday->mr);
    mmio_write(g, DEVICE_AT, "x", 1);
    assert_int_equal(everyday->calls, 1);
    assert_false(everyday->call[0].attrs.secure);
    assert_false(everyday->call[0].attrs.unspecified);
    g->run->flags = KVM_RUN_X86_SMM; /* no space for it yet */
    mmio_write(g, DEVICE_AT, "x", 1);
    assert_int_equal(everyday->calls, 2);
    assert_true(everyday->call[1].attrs.secure);

    make_container(g->ms, &root, "smm", UINT64_MAX);
    OK(memory_region_add_subregion(&root, DEVICE_AT, &hidden->mr));
    OK(address_space_init(&smm, &root, "smm"));
    OK(kvm_memory_listener_register(g->kvm, &listener, &smm, KVM_AS_SMM, "smm"));
    mmio_write(g, DEVICE_AT, "x", 1);
    assert_int_equal(everyday->calls, 2);
    assert_int_equal(hidden->calls, 1);
    assert_true(hidden->call[0].attrs.secure);
    g->run->flags = 0;
    mmio_write(g, DEVICE_AT, "x", 1);
    assert_int_equal(everyday->calls, 3);

    OK(kvm_memory_listener_unregister(&listener));
    OK(address_space_destroy(&smm));
    OK(memory_region_del_subregion(&root, &hidden->mr));
    unmap(g->ms, &everyday->mr);
    device_drop(everyday);
    device_drop(hidden);
    guest_end(g);
}

static void test_memory_without_slot(void **state)
{
    Guest *g = guest_start(NULL, false);
    MemoryRegion ram, rom;
    uint8_t byte;

    (void)state;
    make_ram(g->ms, &ram, "ram", 0x100);
    OK(memory_region_init_rom(&rom, memory_system_owner(g->ms), "rom", 0x1000, NULL));
    map_at(g->ms, 0x20010, &ram);
    map_at(g->ms, 0x30000, &rom);
    assert_int_equal(kvm_fake_slots(g->fake, 0), 1); /* of the ROM */
    mmio_write(g, 0x20018, "abcdefgh", 8);
    assert_memory_equal((uint8_t *)memory_region_get_ram_ptr(&ram) + 8, "abcdefgh", 8);
    assert_int_equal(mmio_read(g, 0x20019, 2), 0x6362);
    mmio_write(g, 0x2010e, "wxyz", 4); /* two of them past the end */
    assert_memory_equal((uint8_t *)memory_region_get_ram_ptr(&ram) + 0xfe, "wx", 2);
    assert_int_equal(mmio_read(g, 0x2010e, 4), 0x7877);

    OK(address_space_write_rom(memory_system_memory(g->ms), 0x30000, ATTRS, "R", 1));
    mmio_write(g, 0x30000, "x", 1);
    byte = *(uint8_t *)memory_region_get_ram_ptr(&rom);
    assert_int_equal(byte, 'R');
    assert_int_equal(mmio_read(g, 0x30000, 1), 'R');

    assert_int_equal(mmio_read(g, 0x40000, 8), 0); /* nobody */
    mmio_write(g, 0x40000, "x", 1);
    unmap(g->ms, &ram);
    unmap(g->ms, &rom);
    guest_end(g);
}

static void test_address_space_gone(void **state)
{
    Guest *g = guest_start(NULL, false);
    KVMMemoryListener listener = {0};
    MemoryRegion ram, own;
    AddressSpace *as = calloc(1, sizeof *as);

    (void)state;
    OK(kvm_memory_listener_unregister(&g->memory));
    make_ram(g->ms, &ram, "ram", 0x100);
    make_ram(g->ms, &own, "own", 0x100);
    map_at(g->ms, 0, &own);
    mmio_write(g, 0, "m", 1); /* the machine's own is what there is */
    assert_int_equal(*(uint8_t *)memory_region_get_ram_ptr(&own), 'm');

    OK(address_space_init(as, &ram, "own"));
    OK(kvm_memory_listener_register(g->kvm, &listener, as, KVM_AS_MEMORY, "memory"));
    mmio_write(g, 0, "a", 1);
    assert_int_equal(*(uint8_t *)memory_region_get_ram_ptr(&ram), 'a');
    OK(address_space_destroy(as));
    memory_system_drain(g->ms);
    memset(as, 0xdd, sizeof *as);
    free(as);
    assert_int_equal(mmio_read(g, 0, 1), 0);
    mmio_write(g, 0, "x", 1);
    OK(kvm_memory_listener_unregister(&listener));
    assert_int_equal(mmio_read(g, 0, 1), 'm');
    unmap(g->ms, &own);
    guest_end(g);
}

/* The kernel does not give up what a space shows: as long as the space is there it answers. */
static void test_address_space_that_stays(void **state)
{
    Guest *g = guest_start(NULL, true);
    KVMMemoryListener listener = {0};
    MemoryRegion ram, port;
    AddressSpace *as = calloc(1, sizeof *as);

    (void)state;
    OK(kvm_memory_listener_unregister(&g->memory));
    make_ram(g->ms, &ram, "ram", 0x1000);
    make_ram(g->ms, &port, "port", 0x100);
    OK(address_space_init(as, &ram, "own"));
    OK(kvm_memory_listener_register(g->kvm, &listener, as, KVM_AS_MEMORY, "memory"));
    kvm_fake_fail(g->fake, KVM_SET_USER_MEMORY_REGION, 1, EIO, true);
    REFUSED(-EIO, memory_region_set_enabled(&ram, false));
    OK(memory_region_add_subregion(get_system_io(g->ms), PORT_AT, &port)); /* another's commit */
    mmio_write(g, 0, "a", 1);
    assert_int_equal(*(uint8_t *)memory_region_get_ram_ptr(&ram), 'a');

    OK(address_space_destroy(as));
    memory_system_drain(g->ms);
    memset(as, 0xdd, sizeof *as);
    free(as);
    assert_int_equal(mmio_read(g, 0, 1), 0);
    kvm_fake_heal(g->fake);
    OK(kvm_memory_listener_unregister(&listener));
    assert_int_equal(kvm_fake_slots(g->fake, 0), 1); /* told twice, reported and forgotten */
    OK(memory_region_del_subregion(get_system_io(g->ms), &port));
    guest_end(g);
}

/* ---- ports --------------------------------------------------------------------------- */

static void test_ports(void **state)
{
    Guest *g = guest_start(NULL, false);
    Device *d = any_device(g, DEVICE_LITTLE_ENDIAN);
    KVMMemoryListener ports = {0};

    (void)state;
    OK(memory_region_add_subregion(get_system_io(g->ms), PORT_AT, &d->mr));
    for (int registered = 0; registered < 2; registered++) {
        for (unsigned size = 1; size <= 4; size *= 2) {
            device_reset(d);
            memcpy(set_ports(g, true, size, PORT_AT + 4, 1), "\xa1\xa2\xa3\xa4", 4);
            assert_int_equal(kvm_memory_exit(g->kvm, g->run), 1);
            assert_int_equal(d->calls, 1);
            assert_int_equal(d->call[0].size, size);
            assert_memory_equal(d->bytes + 4, "\xa1\xa2\xa3\xa4", size);
            assert_false(d->call[0].attrs.unspecified);
            uint8_t *data = set_ports(g, false, size, PORT_AT + 4, 1);
            memset(data, 0xee, 5);
            assert_int_equal(kvm_memory_exit(g->kvm, g->run), 1);
            assert_memory_equal(data, "\xa1\xa2\xa3\xa4", size);
            assert_int_equal(data[size], 0xee);
        }
        uint8_t *data = set_ports(g, false, 4, 0x7777, 1); /* nobody: a bus that floats */
        memset(data, 0, 4);
        assert_int_equal(kvm_memory_exit(g->kvm, g->run), 1);
        assert_memory_equal(data, "\xff\xff\xff\xff", 4);
        if (!registered) {
            OK(kvm_memory_listener_register(g->kvm, &ports, memory_system_io(g->ms), KVM_AS_PORTS,
                                            "ports"));
        }
    }
    OK(memory_region_del_subregion(get_system_io(g->ms), &d->mr));
    device_drop(d);
    guest_end(g);
}

static void test_ports_have_no_slots(void **state)
{
    Guest *g = guest_start(NULL, false);
    KVMMemoryListener ports = {0};
    MemoryRegion ram;

    (void)state;
    make_ram(g->ms, &ram, "ram", 0x1000);
    OK(memory_region_add_subregion(get_system_io(g->ms), 0x1000, &ram));
    kvm_fake_forget_calls(g->fake);
    OK(kvm_memory_listener_register(g->kvm, &ports, memory_system_io(g->ms), KVM_AS_PORTS,
                                    "ports"));
    assert_int_equal(kvm_fake_calls(g->fake, 0), 0);
    OK(memory_region_del_subregion(get_system_io(g->ms), &ram));
    guest_end(g);
}

/* A register that counts: each read is the next number. */
static uint64_t count_up(void *opaque, hwaddr addr, unsigned size)
{
    uint64_t *counter = opaque;

    (void)addr;
    return ++*counter * (size == 2 ? 0x101 : 1);
}

static void note_sum(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    uint64_t *sum = opaque;

    (void)addr;
    *sum = *sum * 31 + value + (uint64_t)size * 1000;
}

static void test_string_io(void **state)
{
    static const MemoryRegionOps ops = {
        .read = count_up, .write = note_sum, .endianness = DEVICE_LITTLE_ENDIAN};
    Guest *g = guest_start(NULL, false);
    uint64_t counter = 0;
    MemoryRegion mr;

    (void)state;
    OK(memory_region_init_io(&mr, memory_system_owner(g->ms), &ops, &counter, "fifo", 4));
    OK(memory_region_add_subregion(get_system_io(g->ms), PORT_AT, &mr));
    uint8_t *data = set_ports(g, false, 2, PORT_AT, 1000);
    assert_int_equal(kvm_memory_exit(g->kvm, g->run), 1);
    assert_int_equal(counter, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        uint16_t value;
        memcpy(&value, data + 2 * (size_t)i, 2);
        assert_int_equal(value, (uint16_t)((i + 1) * 0x101));
    }
    data = set_ports(g, true, 1, PORT_AT, 3);
    memcpy(data, "\x01\x02\x03\x04", 4);
    counter = 0;
    assert_int_equal(kvm_memory_exit(g->kvm, g->run), 1);
    assert_int_equal(counter, (1001 * 31 + 1002) * 31 + 1003);
    set_ports(g, true, 1, PORT_AT, 0);
    counter = 0;
    assert_int_equal(kvm_memory_exit(g->kvm, g->run), 1);
    assert_int_equal(counter, 0);
    OK(memory_region_del_subregion(get_system_io(g->ms), &mr));
    guest_end(g);
}

/* ---- what makes no sense, and what is not ours ---------------------------------------------- */

static void test_malformed(void **state)
{
    Guest *g = guest_start(NULL, false);

    (void)state;
    set_mmio(g, DEVICE_AT, 0, true);
    REFUSED(-EIO, kvm_memory_exit(g->kvm, g->run));
    set_mmio(g, DEVICE_AT, 9, false);
    REFUSED(-EIO, kvm_memory_exit(g->kvm, g->run));
    set_mmio(g, DEVICE_AT, UINT32_MAX, false);
    REFUSED(-EIO, kvm_memory_exit(g->kvm, g->run));
    static const unsigned sizes[] = {0, 3, 5, 8, 255};
    for (unsigned i = 0; i < 5; i++) {
        set_ports(g, true, sizes[i], PORT_AT, 1);
        REFUSED(-EIO, kvm_memory_exit(g->kvm, g->run));
    }
    uint32_t room = (uint32_t)(g->run_size - DATA_AT) / 4;
    set_ports(g, false, 4, PORT_AT, room);
    assert_int_equal(kvm_memory_exit(g->kvm, g->run), 1);
    set_ports(g, false, 4, PORT_AT, room + 1);
    REFUSED(-EIO, kvm_memory_exit(g->kvm, g->run));
    set_ports(g, false, 4, PORT_AT, UINT32_MAX);
    REFUSED(-EIO, kvm_memory_exit(g->kvm, g->run));
    set_ports(g, false, 4, PORT_AT, 1);
    g->run->io.data_offset = g->run_size - 3;
    REFUSED(-EIO, kvm_memory_exit(g->kvm, g->run));
    g->run->io.data_offset = UINT64_MAX - 1;
    REFUSED(-EIO, kvm_memory_exit(g->kvm, g->run));
    guest_end(g);
}

static void set_memory_fault(Guest *g, uint64_t flags, uint64_t gpa, uint64_t size)
{
    uint64_t fault[3] = {flags, gpa, size};

    g->run->exit_reason = KVM_EXIT_MEMORY_FAULT;
    memcpy(g->run->padding, fault, sizeof fault);
}

static void test_other_exits(void **state)
{
    static const uint32_t others[] = {KVM_EXIT_UNKNOWN, KVM_EXIT_HLT, KVM_EXIT_SHUTDOWN,
                                      KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR};
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;

    (void)state;
    caps.memory_attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE;
    Guest *g = guest_start(&caps, false);
    for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++) {
        g->run->exit_reason = others[i];
        assert_int_equal(kvm_memory_exit(g->kvm, g->run), 0);
    }
    g->run->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
    assert_int_equal(kvm_memory_exit(g->kvm, g->run), 1);
    set_memory_fault(g, KVM_MEMORY_EXIT_FLAG_PRIVATE, 0x10000, 0x1000); /* nothing is there */
    REFUSED(-EINVAL, kvm_memory_exit(g->kvm, g->run));
    set_memory_fault(g, 1, 0x10000, 0x1000);
    assert_int_equal(kvm_memory_exit(g->kvm, g->run), 0);

    MemoryRegion ram;
    make_ram(g->ms, &ram, "ram", 0x4000);
    int fd = kvm_create_guest_memfd(g->kvm, 0x4000, 0, NULL);
    assert_true(fd >= 0);
    OK(ram_block_set_guest_memfd(memory_region_get_ram_block(&ram), fd, 0, NULL));
    map_at(g->ms, 0x10000, &ram);
    set_memory_fault(g, KVM_MEMORY_EXIT_FLAG_PRIVATE, 0x11000, 0x1000);
    assert_int_equal(kvm_memory_exit(g->kvm, g->run), 1);
    assert_true(kvm_fake_is_private(g->fake, 0x11000));
    assert_false(kvm_fake_is_private(g->fake, 0x12000));
    set_memory_fault(g, 0, 0x11000, 0x1000);
    assert_int_equal(kvm_memory_exit(g->kvm, g->run), 1);
    assert_false(kvm_fake_is_private(g->fake, 0x11000));
    unmap(g->ms, &ram);
    guest_end(g);
}

static int run_fails(void *opaque, unsigned cpu, struct kvm_run *run)
{
    const uint32_t *reason = opaque;

    (void)cpu;
    run->exit_reason = *reason;
    return -EFAULT;
}

/* KVM_RUN fails with EFAULT also when there is an exit to be served. */
static void test_run_into_memory_fault(void **state)
{
    Guest *g = guest_start(NULL, false);
    KVMVcpu *cpu = kvm_vcpu_create(g->kvm, 0, NULL);
    uint32_t reason = KVM_EXIT_MEMORY_FAULT;

    (void)state;
    assert_non_null(cpu);
    kvm_fake_on_run(g->fake, run_fails, &reason);
    assert_int_equal(kvm_vcpu_run(cpu), 0);
    reason = KVM_EXIT_UNKNOWN;
    assert_int_equal(kvm_vcpu_run(cpu), -EFAULT);
    guest_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_narrow_device),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_memory_without_slot),
        cmocka_unit_test(test_address_space_gone),
        cmocka_unit_test(test_address_space_that_stays),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_ports_have_no_slots),
        cmocka_unit_test(test_string_io),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_other_exits),
        cmocka_unit_test(test_run_into_memory_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
