/* SPDX-License-Identifier: MIT */
/* What each kind of region answers, and what an access across their borders gives. */
#include "support/device.h"
#include "support/guest.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

static const MemTxAttrs debug_attrs = {.debug = 1};
static const MemTxAttrs memory_attrs = {.memory = 1};

static MemTxResult read_at(MemorySystem *ms, hwaddr addr, void *buf, hwaddr len)
{
    return address_space_read(memory_system_memory(ms), addr, ATTRS, buf, len);
}

static MemTxResult write_at(MemorySystem *ms, hwaddr addr, const void *buf, hwaddr len)
{
    return address_space_write(memory_system_memory(ms), addr, ATTRS, buf, len);
}

static void ram_keeps_what_is_written(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion ram;
    uint8_t bytes[32], *host;
    MemTxResult result;

    (void)state;
    make_ram(ms, &ram, "ram", 0x3000);
    map_at(ms, 0x1000, &ram);
    host = memory_region_get_ram_ptr(&ram);
    assert_non_null(host);
    for (unsigned offset = 0xff0; offset < 0x1010; offset++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            for (int big = 0; big < 2; big++) {
                uint64_t value = 0x0123456789abcdef >> (64 - 8 * size);

                result = 0x80;
                guest_store(as, 0x1000 + offset, value, size, big, ATTRS, &result);
                assert_int_equal(result, MEMTX_OK);
                assert_true(bytes_to_value(host + offset, size, big) == value);
                result = 0x80;
                assert_true(guest_load(as, 0x1000 + offset, size, big, ATTRS, &result) == value);
                assert_int_equal(result, MEMTX_OK);
                assert_true(guest_load(as, 0x1000 + offset, size, big, ATTRS, NULL) == value);
            }
        }
    }
    memset(bytes, 0x5a, sizeof(bytes));
    assert_int_equal(address_space_rw(as, 0x1ffc, ATTRS, bytes, sizeof(bytes), true), MEMTX_OK);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(address_space_rw(as, 0x1ffc, ATTRS, bytes, sizeof(bytes), false), MEMTX_OK);
    assert_int_equal(bytes[31], 0x5a);
    assert_int_equal(address_space_set(as, 0x1100, 0xc7, 0x2000, ATTRS), MEMTX_OK);
    assert_int_equal(host[0x100], 0xc7);
    assert_int_equal(host[0x20ff], 0xc7);
    assert_int_not_equal(host[0x2100], 0xc7);
    machine_end(ms);
}

static void nothing_answers_in_a_gap(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    uint8_t bytes[16];
    MemTxResult result = 0;

    (void)state;
    memset(bytes, 0x77, sizeof(bytes));
    assert_int_equal(read_at(ms, 0x5000, bytes, sizeof(bytes)), MEMTX_DECODE_ERROR);
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        assert_int_equal(bytes[i], 0);
    }
    assert_int_equal(write_at(ms, 0x5000, bytes, sizeof(bytes)), MEMTX_DECODE_ERROR);
    assert_int_equal(address_space_set(as, 0x5000, 1, 100, ATTRS), MEMTX_DECODE_ERROR);
    assert_true(address_space_ldq_le(as, UINT64_MAX - 7, ATTRS, &result) == 0);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    assert_false(address_space_access_valid(as, 0x5000, 4, false, ATTRS));
    assert_int_equal(read_at(ms, 0x5000, bytes, 0), MEMTX_OK); /* no byte, no error */
    machine_end(ms);
}

static void unassigned_ports_read_ones(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *io = memory_system_io(ms);
    MemTxResult result = 0x80;
    uint8_t bytes[4] = {0};

    (void)state;
    for (unsigned size = 1; size <= 4; size *= 2) {
        assert_true(guest_load(io, 0x3f8, size, false, ATTRS, &result) ==
                    UINT64_MAX >> (64 - 8 * size));
        assert_int_equal(result, MEMTX_OK);
        guest_store(io, 0x3f8, 0, size, false, ATTRS, &result);
        assert_int_equal(result, MEMTX_OK);
    }
    assert_int_equal(address_space_read(io, 0x60, ATTRS, bytes, 4), MEMTX_OK);
    assert_int_equal(bytes[3], 0xff);
    address_space_ldub(io, 65536, ATTRS, &result); /* no port at all */
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    machine_end(ms);
}

static void reservations_are_unassigned(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion reserved, ram;
    uint8_t bytes[4];

    (void)state;
    make_ram(ms, &ram, "ram", 0x2000);
    OK(memory_region_init_io(&reserved, memory_system_owner(ms), NULL, NULL, "reserved", 0x100));
    map_at(ms, 0, &ram);
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), 0x1000, &reserved, 1));
    assert_int_equal(write_at(ms, 0x1000, "abcd", 4), MEMTX_DECODE_ERROR);
    memset(bytes, 1, 4);
    assert_int_equal(read_at(ms, 0x1000, bytes, 4), MEMTX_DECODE_ERROR);
    assert_int_equal(bytes[0] | bytes[1] | bytes[2] | bytes[3], 0);
    assert_int_equal(write_at(ms, 0x1100, "abcd", 4), MEMTX_OK);
    machine_end(ms);
}

static void rom_drops_writes(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion rom, shadow;
    MemTxResult result = 0;
    uint8_t bytes[4];

    (void)state;
    OK(memory_region_init_rom(&rom, memory_system_owner(ms), "rom", 0x1000, NULL));
    assert_true(memory_region_is_rom(&rom));
    map_at(ms, 0x8000, &rom);
    assert_int_equal(address_space_write_rom(as, 0x8000, ATTRS, "code", 4), MEMTX_OK);
    assert_int_not_equal(write_at(ms, 0x8000, "EVIL", 4), MEMTX_OK);
    address_space_stl_le(as, 0x8000, 0, ATTRS, &result);
    assert_int_not_equal(result, MEMTX_OK);
    assert_int_not_equal(address_space_set(as, 0x8000, 0, 4, ATTRS), MEMTX_OK);
    assert_int_equal(read_at(ms, 0x8000, bytes, 4), MEMTX_OK);
    assert_memory_equal(bytes, "code", 4);
    assert_true(address_space_access_valid(as, 0x8000, 4, false, ATTRS));
    assert_false(address_space_access_valid(as, 0x8000, 4, true, ATTRS));
    /* a debugger writes through */
    assert_int_equal(address_space_write(as, 0x8000, debug_attrs, "dbug", 4), MEMTX_OK);
    assert_memory_equal(memory_region_get_ram_ptr(&rom), "dbug", 4);
    /* and a read-only window onto RAM is ROM as well */
    make_alias(ms, &shadow, &rom, 0, 0x1000);
    OK(memory_region_set_readonly(&rom, false));
    OK(memory_region_set_readonly(&shadow, true));
    map_at(ms, 0x10000, &shadow);
    assert_int_equal(write_at(ms, 0x8000, "free", 4), MEMTX_OK);
    assert_int_not_equal(write_at(ms, 0x10000, "EVIL", 4), MEMTX_OK);
    assert_memory_equal(memory_region_get_ram_ptr(&rom), "free", 4);
    machine_end(ms);
}

static void flash_switches_modes(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *d = device_new(ms, "flash", true);
    uint8_t bytes[4];

    (void)state;
    OK(memory_region_init_rom_device(&d->mr, d->owner, &d->ops, d, "flash", 0x1000, NULL));
    assert_true(memory_region_is_rom_device(&d->mr) && memory_region_is_romd(&d->mr));
    map_at(ms, 0x4000, &d->mr);
    assert_int_equal(address_space_write_rom(as, 0x4000, ATTRS, "boot", 4), MEMTX_OK);
    assert_int_equal(read_at(ms, 0x4000, bytes, 4), MEMTX_OK);
    assert_memory_equal(bytes, "boot", 4);
    assert_int_equal(d->calls, 0); /* reads are direct */
    assert_int_equal(write_at(ms, 0x4000, "cmd!", 4), MEMTX_OK);
    assert_int_equal(d->calls, 1); /* writes are commands */
    assert_memory_equal(d->bytes, "cmd!", 4);
    assert_memory_equal(memory_region_get_ram_ptr(&d->mr), "boot", 4);

    OK(memory_region_rom_device_set_romd(&d->mr, false));
    assert_false(memory_region_is_romd(&d->mr));
    device_reset(d);
    assert_int_equal(read_at(ms, 0x4000, bytes, 4), MEMTX_OK);
    assert_int_equal(d->calls, 1);
    assert_memory_equal(bytes, d->bytes, 4);
    assert_int_equal(write_at(ms, 0x4004, "more", 4), MEMTX_OK);
    assert_int_equal(d->calls, 2);
    /* a loader still reaches the contents */
    assert_int_equal(address_space_write_rom(as, 0x4000, ATTRS, "load", 4), MEMTX_OK);
    assert_memory_equal(memory_region_get_ram_ptr(&d->mr), "load", 4);
    unmap(ms, &d->mr);
    device_drop(d);
    machine_end(ms);
}

/* A device's own memory: loads and stores of the guest's width, in its byte order. */
static void ram_devices_take_exact_widths(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    _Alignas(64) static uint8_t bar[4096];
    MemoryRegion mr;
    MemTxResult result = 0;
    uint8_t bytes[16];

    (void)state;
    memset(bar, 0, sizeof(bar));
    OK(memory_region_init_ram_device_ptr(&mr, memory_system_owner(ms), "bar", sizeof(bar), bar));
    assert_true(memory_region_is_ram_device(&mr) && memory_region_is_ram(&mr));
    map_at(ms, 0x10000, &mr);
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (int big = 0; big < 2; big++) {
            uint64_t value = 0x1122334455667788 >> (64 - 8 * size);

            guest_store(as, 0x10000 + 8 * size, value, size, big, ATTRS, &result);
            assert_int_equal(result, MEMTX_OK);
            assert_true(bytes_to_value(bar + 8 * size, size, big) == value);
            assert_true(guest_load(as, 0x10000 + 8 * size, size, big, ATTRS, &result) == value);
        }
    }
    memcpy(bar + 1, "block of fifteen", 16);
    assert_int_equal(read_at(ms, 0x10001, bytes, 15), MEMTX_OK);
    assert_memory_equal(bytes, "block of fifteen", 15);
    assert_int_equal(write_at(ms, 0x10103, "odd", 3), MEMTX_OK);
    assert_memory_equal(bar + 0x103, "odd", 3);
    machine_end(ms);
}

static void unbacked_ram_answers_with_errors(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion mr;
    uint8_t bytes[8] = {9};

    (void)state;
    OK(memory_region_init_ram_unbacked(&mr, memory_system_owner(ms), "none", 1ULL << 40));
    map_at(ms, 0, &mr);
    assert_true(memory_region_is_ram(&mr));
    assert_null(memory_region_get_ram_ptr(&mr));
    assert_int_equal(read_at(ms, 0x123, bytes, 8), MEMTX_ERROR);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(write_at(ms, 0x123, bytes, 8), MEMTX_ERROR);
    machine_end(ms);
}

static void attributes_reach_devices(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *d = device_new(ms, "dev", true);
    MemTxAttrs attrs = {.secure = 1, .user = 1, .requester_id = 0xbeef};
    MemTxResult result = 0;

    (void)state;
    OK(device_init(d, 16, DEVICE_LITTLE_ENDIAN));
    map_at(ms, 0, &d->mr);
    address_space_ldl_le(as, 0, attrs, &result);
    assert_int_equal(d->calls, 1);
    assert_true(d->call[0].attrs.secure && d->call[0].attrs.user && !d->call[0].attrs.debug);
    assert_int_equal(d->call[0].attrs.requester_id, 0xbeef);
    /* who wants memory only gets no device */
    assert_true(address_space_ldl_le(as, 0, memory_attrs, &result) == 0);
    assert_int_equal(result, MEMTX_ACCESS_ERROR);
    address_space_stl_le(as, 0, 1, memory_attrs, &result);
    assert_int_equal(result, MEMTX_ACCESS_ERROR);
    assert_int_equal(d->calls, 1);
    unmap(ms, &d->mr);
    device_drop(d);
    machine_end(ms);
}

static void results_of_the_pieces_are_ored(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *d = device_new(ms, "dev", true);
    uint8_t bytes[32];

    (void)state;
    d->result = MEMTX_ERROR;
    d->result_at = 8;
    OK(device_init(d, 16, DEVICE_LITTLE_ENDIAN));
    map_at(ms, 0x100, &d->mr);
    assert_int_equal(address_space_read(as, 0x100, ATTRS, bytes, 8), MEMTX_OK);
    device_reset(d);
    assert_int_equal(address_space_read(as, 0x100, ATTRS, bytes, 16), MEMTX_ERROR);
    assert_int_equal(d->calls, 4); /* the rest is done all the same */
    assert_memory_equal(bytes + 12, d->bytes + 12, 4);
    assert_int_equal(address_space_read(as, 0x100, ATTRS, bytes, 24),
                     MEMTX_ERROR | MEMTX_DECODE_ERROR);
    assert_int_equal(address_space_write(as, 0xf8, ATTRS, bytes, 24),
                     MEMTX_ERROR | MEMTX_DECODE_ERROR);
    assert_int_equal(address_space_write(as, 0xf8, memory_attrs, bytes, 24),
                     MEMTX_ACCESS_ERROR | MEMTX_DECODE_ERROR);
    unmap(ms, &d->mr);
    device_drop(d);
    machine_end(ms);
}

/* One access that takes several callbacks: each may fail, none is forgotten. */
static void results_of_the_steps_are_ored(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);

    (void)state;
    for (hwaddr failing = 0; failing < 4; failing++) {
        Device *d = device_new(ms, "bytes", true);
        MemTxResult result = 0;

        d->ops.impl.max_access_size = 1;
        d->result = MEMTX_ERROR;
        d->result_at = failing;
        OK(device_init(d, 16, DEVICE_LITTLE_ENDIAN));
        map_at(ms, 0, &d->mr);
        address_space_ldl_le(as, 0, ATTRS, &result);
        assert_int_equal(result, MEMTX_ERROR);
        assert_int_equal(d->calls, 4);
        address_space_stl_le(as, 0, 0x44434241, ATTRS, &result);
        assert_int_equal(result, MEMTX_ERROR);
        assert_memory_equal(d->bytes, "ABCD", 4);
        address_space_ldl_le(as, 4, ATTRS, &result);
        assert_int_equal(result, MEMTX_OK);
        unmap(ms, &d->mr);
        device_drop(d);
    }
    machine_end(ms);
}

static void accesses_cross_borders(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *d = device_new(ms, "dev", true);
    MemoryRegion left, right;
    uint8_t bytes[32], *l, *r;
    MemTxResult result = 0x80;

    (void)state;
    make_ram(ms, &left, "left", 0x1000);
    make_ram(ms, &right, "right", 0x1000);
    OK(device_init(d, 8, DEVICE_LITTLE_ENDIAN));
    map_at(ms, 0, &left);
    map_at(ms, 0x1000, &d->mr); /* left | device 8 | gap 8 | right */
    map_at(ms, 0x1010, &right);
    l = memory_region_get_ram_ptr(&left);
    r = memory_region_get_ram_ptr(&right);
    memcpy(l + 0xff8, "LEFTside", 8);
    memcpy(r, "RIGHTone", 8);
    memset(bytes, 0x77, sizeof(bytes));
    assert_int_equal(address_space_read(as, 0xff8, ATTRS, bytes, 32), MEMTX_DECODE_ERROR);
    assert_memory_equal(bytes, "LEFTside", 8);
    assert_memory_equal(bytes + 8, d->bytes, 8);
    assert_memory_equal(bytes + 16, "\0\0\0\0\0\0\0\0", 8);
    assert_memory_equal(bytes + 24, "RIGHTone", 8);
    memset(bytes, 0xab, sizeof(bytes));
    assert_int_equal(address_space_write(as, 0xff8, ATTRS, bytes, 32), MEMTX_DECODE_ERROR);
    assert_int_equal(l[0xfff] & d->bytes[0] & d->bytes[7] & r[0] & r[7], 0xab);
    /* one load over RAM | device: the bytes in their order */
    memcpy(l + 0xffe, "\x12\x34", 2);
    device_reset(d);
    assert_true(address_space_ldl_be(as, 0xffe, ATTRS, &result) ==
                (0x12340000U | bytes_to_value(d->bytes, 2, true)));
    assert_int_equal(result, MEMTX_OK);
    address_space_stq_le(as, 0xffc, 0x8877665544332211, ATTRS, &result);
    assert_int_equal(result, MEMTX_OK);
    assert_memory_equal(l + 0xffc, "\x11\x22\x33\x44", 4);
    assert_memory_equal(d->bytes, "\x55\x66\x77\x88", 4);
    unmap(ms, &d->mr);
    device_drop(d);
    machine_end(ms);
}

static void nothing_wraps_at_the_top(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion top, bottom;
    uint8_t bytes[16];
    MemTxResult result = 0;

    (void)state;
    make_ram(ms, &top, "top", 0x1000);
    make_ram(ms, &bottom, "bottom", 0x1000);
    map_at(ms, UINT64_MAX - 0xfff, &top);
    map_at(ms, 0, &bottom);
    memset(memory_region_get_ram_ptr(&top), 0x11, 0x1000);
    memset(memory_region_get_ram_ptr(&bottom), 0x22, 0x1000);
    assert_true(address_space_ldq_le(as, UINT64_MAX - 7, ATTRS, &result) == 0x1111111111111111);
    assert_int_equal(result, MEMTX_OK);
    assert_int_equal(address_space_ldub(as, UINT64_MAX, ATTRS, &result), 0x11);
    assert_int_equal(result, MEMTX_OK);
    /* past the end nothing answers: it must not come round to 0 */
    memset(bytes, 0x77, sizeof(bytes));
    assert_int_equal(address_space_read(as, UINT64_MAX - 7, ATTRS, bytes, 16), MEMTX_DECODE_ERROR);
    assert_int_equal(bytes[7], 0x11);
    assert_int_equal(bytes[8], 0);
    assert_int_equal(address_space_write(as, UINT64_MAX - 3, ATTRS, bytes, 16), MEMTX_DECODE_ERROR);
    assert_int_equal(*(uint8_t *)memory_region_get_ram_ptr(&bottom), 0x22);
    address_space_ldq_le(as, UINT64_MAX - 3, ATTRS, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    address_space_stq_le(as, UINT64_MAX - 3, 0, ATTRS, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    assert_int_equal(*(uint8_t *)memory_region_get_ram_ptr(&bottom), 0x22);
    assert_false(address_space_access_valid(as, UINT64_MAX - 7, 16, false, ATTRS));
    assert_true(address_space_access_valid(as, UINT64_MAX - 7, 8, false, ATTRS));
    machine_end(ms);
}

static void loaders_write_memory_and_skip_devices(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *d = device_new(ms, "dev", true);
    MemoryRegion rom, ram;

    (void)state;
    OK(memory_region_init_rom(&rom, memory_system_owner(ms), "rom", 0x1000, NULL));
    make_ram(ms, &ram, "ram", 0x1000);
    OK(device_init(d, 0x10, DEVICE_LITTLE_ENDIAN));
    map_at(ms, 0, &rom);
    map_at(ms, 0x1000, &d->mr);
    map_at(ms, 0x1010, &ram);
    address_space_write_rom(as, 0xffc, ATTRS, "ABCDxxxxxxxxxxxxxxxxEFGH", 24);
    assert_int_equal(d->calls, 0);
    assert_memory_equal((char *)memory_region_get_ram_ptr(&rom) + 0xffc, "ABCD", 4);
    assert_memory_equal(memory_region_get_ram_ptr(&ram), "EFGH", 4);
    unmap(ms, &d->mr);
    device_drop(d);
    machine_end(ms);
}

static void translate_names_who_answers(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion ram, window;
    hwaddr xlat = 0, len = 0x10000;

    (void)state;
    make_ram(ms, &ram, "ram", 0x4000);
    make_alias(ms, &window, &ram, 0x1000, 0x2000);
    map_at(ms, 0x100000, &window);
    memory_read_lock();
    assert_ptr_equal(address_space_translate(as, 0x100800, &xlat, &len, false, ATTRS), &ram);
    assert_true(xlat == 0x1800 && len == 0x1800);
    len = 4;
    assert_ptr_equal(address_space_translate(as, 0x100800, &xlat, &len, true, ATTRS), &ram);
    assert_true(len == 4);
    len = 0x1000000;
    assert_null(address_space_translate(as, 0xff000, &xlat, &len, false, ATTRS));
    assert_true(len == 0x1000);
    memory_read_unlock();
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ram_keeps_what_is_written),
        cmocka_unit_test(nothing_answers_in_a_gap),
        cmocka_unit_test(unassigned_ports_read_ones),
        cmocka_unit_test(reservations_are_unassigned),
        cmocka_unit_test(rom_drops_writes),
        cmocka_unit_test(flash_switches_modes),
        cmocka_unit_test(ram_devices_take_exact_widths),
        cmocka_unit_test(unbacked_ram_answers_with_errors),
        cmocka_unit_test(attributes_reach_devices),
        cmocka_unit_test(results_of_the_pieces_are_ored),
        cmocka_unit_test(results_of_the_steps_are_ored),
        cmocka_unit_test(accesses_cross_borders),
        cmocka_unit_test(nothing_wraps_at_the_top),
        cmocka_unit_test(loaders_write_memory_and_skip_devices),
        cmocka_unit_test(translate_names_who_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
