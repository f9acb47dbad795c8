/* SPDX-License-Identifier: MIT */
/*
 * One device in the middle of another, as port 0xcf9 in the PC's 0xcf8: who answers an access whose
 * bytes are several regions'. The model is a table of who is seen at each byte, and the rule of
 * access.h: what answers at the first byte answers all of the chunk, up to its region's end.
 */
#include "support/device.h"
#include "support/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

#define SPACE 64
#define NR_DEVICES 3

typedef struct Seen {
    int device; /* -1: nothing; NR_DEVICES: RAM */
    unsigned offset;
} Seen;

static MemorySystem *ms;
static AddressSpace *as;
static Device
    *devices[NR_DEVICES]; /* 24, 1 and 16 bytes; the last one's accesses may be unaligned */
static MemoryRegion alias, ram;
static const unsigned sizes[NR_DEVICES] = {24, 1, 16}, widest[NR_DEVICES] = {4, 4, 2};
static Seen seen[SPACE + 8];
static uint8_t bytes[NR_DEVICES + 1][DEVICE_BYTES]; /* what the model has of them */

static void show(int device, unsigned at, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        seen[at + i] = (Seen){device, first + i};
    }
}

/*
 * Device 0 at 4, seven bytes of it at 40 through an alias; device 1, a byte, in both; device 2 over
 * the end of 0; RAM right behind the alias, and over one byte of it.
 */
static void build(void)
{
    ms = machine_start();
    as = memory_system_memory(ms);
    for (int i = 0; i < NR_DEVICES; i++) {
        devices[i] = device_new(ms, "dev", i == 1);
        devices[i]->ops.valid.max_access_size = widest[i];
        devices[i]->ops.valid.unaligned = devices[i]->ops.impl.unaligned = i == 2;
        OK(device_init(devices[i], sizes[i], DEVICE_LITTLE_ENDIAN));
    }
    MemoryRegion *root = get_system_memory(ms);
    make_alias(ms, &alias, &devices[0]->mr, 3, 7);
    make_ram(ms, &ram, "ram", 4096);
    OK(memory_region_add_subregion(root, 4, &devices[0]->mr));
    OK(memory_region_add_subregion_overlap(root, 9, &devices[1]->mr, 1));
    OK(memory_region_add_subregion_overlap(root, 23, &devices[2]->mr, 1));
    OK(memory_region_add_subregion_overlap(root, 40, &alias, 2));
    OK(memory_region_add_subregion_overlap(root, 46, &ram, 3));
    for (unsigned i = 0; i < SPACE + 8; i++) {
        seen[i].device = -1;
    }
    show(0, 4, 0, 24);
    show(1, 9, 0, 1);
    show(2, 23, 0, 16);
    show(0, 40, 3, 7);
    show(NR_DEVICES, 46, 0, SPACE + 8 - 46);
}

static void dismantle(void)
{
    MemoryRegion *mapped[] = {&devices[0]->mr, &devices[1]->mr, &devices[2]->mr, &alias, &ram};

    for (unsigned i = 0; i < 5; i++) {
        unmap(ms, mapped[i]);
    }
    memory_region_finalize(&alias);
    memory_region_finalize(&ram);
    for (int i = 0; i < NR_DEVICES; i++) {
        device_drop(devices[i]);
    }
    machine_end(ms);
}

/* How many of @len bytes at @at go to one device at once. */
static unsigned chunk(unsigned at, unsigned len)
{
    Seen s = seen[at];

    if (s.device < 0 || s.device == NR_DEVICES) {
        return 1;
    }
    unsigned c = widest[s.device];
    while (c > len || s.offset + c > sizes[s.device] || (s.device != 2 && s.offset % c)) {
        c /= 2;
    }
    return c;
}

static bool transfer(unsigned at, uint8_t *buf, unsigned len, bool is_write)
{
    bool good = true;

    while (len) {
        Seen s = seen[at];
        unsigned c = chunk(at, len);
        if (s.device < 0) {
            good = false;
            buf[0] = is_write ? buf[0] : 0;
        } else if (is_write) {
            memcpy(bytes[s.device] + s.offset, buf, c);
        } else {
            memcpy(buf, bytes[s.device] + s.offset, c);
        }
        at += c;
        buf += c;
        len -= c;
    }
    return good;
}

/* Loads and stores: one access as wide as it is, where the region has all of it. */
static bool single(unsigned at, uint8_t *buf, unsigned size, bool is_write)
{
    Seen s = seen[at];

    if (s.device < 0 || s.device == NR_DEVICES || s.offset + size > sizes[s.device]) {
        return transfer(at, buf, size, is_write);
    }
    if (size <= widest[s.device] && (s.device == 2 || s.offset % size == 0)) {
        return transfer(at, buf, size, is_write);
    }
    memset(buf, 0, is_write ? 0 : size);
    return false;
}

static void check_bytes(void)
{
    for (int i = 0; i < NR_DEVICES; i++) {
        assert_memory_equal(devices[i]->bytes, bytes[i], sizes[i]);
    }
    assert_memory_equal(memory_region_get_ram_ptr(&ram), bytes[NR_DEVICES], DEVICE_BYTES);
}

static void start(void)
{
    for (int i = 0; i < NR_DEVICES; i++) {
        for (unsigned k = 0; k < sizes[i]; k++) {
            bytes[i][k] = devices[i]->bytes[k] = (uint8_t)(0x10 + 0x40 * i + (int)k);
        }
    }
    for (unsigned k = 0; k < DEVICE_BYTES; k++) {
        ((uint8_t *)memory_region_get_ram_ptr(&ram))[k] = bytes[NR_DEVICES][k] =
            (uint8_t)(k + 0xd0);
    }
}

static void transfers_follow_the_rule(void **state)
{
    uint8_t got[16], want[16];
    Rng rng = {1};

    (void)state;
    build();
    for (unsigned at = 0; at < SPACE - 12; at++) {
        for (unsigned len = 1; len <= 12; len++) {
            start();
            bool good = transfer(at, want, len, false);
            MemTxResult result = address_space_read(as, at, ATTRS, got, len);
            assert_int_equal(result == MEMTX_OK, good);
            assert_int_equal(address_space_access_valid(as, at, len, false, ATTRS), good);
            assert_memory_equal(got, want, len);
            for (unsigned i = 0; i < len; i++) {
                want[i] = (uint8_t)rng_next(&rng);
            }
            result = address_space_write(as, at, ATTRS, want, len);
            assert_int_equal(result == MEMTX_OK, transfer(at, want, len, true));
            check_bytes();
            memset(want, 0x5a, len);
            address_space_set(as, at, 0x5a, len, ATTRS);
            transfer(at, want, len, true);
            check_bytes();
        }
    }
    dismantle();
}

static uint64_t number(const uint8_t *from, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, from, size); /* the host is little-endian, as the library needs */
    return value;
}

static void loads_and_stores_follow_the_rule(void **state)
{
    uint8_t want[8];
    MemTxResult result;

    (void)state;
    build();
    for (unsigned at = 0; at < SPACE - 8; at++) {
        start();
        bool good = single(at, want, 2, false);
        assert_int_equal(address_space_lduw_le(as, at, ATTRS, &result), number(want, 2));
        assert_int_equal(result == MEMTX_OK, good);
        good = single(at, want, 4, false);
        assert_int_equal(address_space_ldl_le(as, at, ATTRS, &result), number(want, 4));
        assert_int_equal(result == MEMTX_OK, good);
        good = single(at, want, 8, false);
        assert_true(address_space_ldq_le(as, at, ATTRS, &result) == number(want, 8));
        assert_int_equal(result == MEMTX_OK, good);

        memcpy(want, "\x02\x01\x04\x03\x06\x05\x08\x07", 8);
        address_space_stw_le(as, at, 0x0102, ATTRS, &result);
        assert_int_equal(result == MEMTX_OK, single(at, want, 2, true));
        check_bytes();
        address_space_stl_le(as, at, 0x03040102, ATTRS, &result);
        assert_int_equal(result == MEMTX_OK, single(at, want, 4, true));
        check_bytes();
        address_space_stq_le(as, at, UINT64_C(0x0708050603040102), ATTRS, &result);
        assert_int_equal(result == MEMTX_OK, single(at, want, 8, true));
        check_bytes();
    }
    dismantle();
}

/* No device writes to ROM: each byte goes to the ROM that is seen there, or nowhere. */
static void writes_to_rom_go_by_bytes(void **state)
{
    MemoryRegion rom, over;
    uint8_t *rom_bytes, *over_bytes;

    (void)state;
    ms = machine_start();
    as = memory_system_memory(ms);
    Device *d = device_new(ms, "flash", true), *io = device_new(ms, "io", true);
    OK(memory_region_init_rom_device(&d->mr, d->owner, &d->ops, d, "flash", 4096, NULL));
    OK(device_init(io, 8, DEVICE_LITTLE_ENDIAN));
    OK(memory_region_init_rom(&rom, memory_system_owner(ms), "rom", 4096, NULL));
    make_ram(ms, &over, "over", 4096);
    map_at(ms, 0, &d->mr);
    map_at(ms, 0x2000, &io->mr);
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), 0xffe, &over, 1));
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), 0x2006, &rom, 1));
    rom_bytes = memory_region_get_ram_ptr(&rom);
    over_bytes = memory_region_get_ram_ptr(&over);

    address_space_write_rom(as, 0xffc, ATTRS, "abcd", 4);
    assert_memory_equal((uint8_t *)memory_region_get_ram_ptr(&d->mr) + 0xffc, "ab\0", 4);
    assert_memory_equal(over_bytes, "cd", 2);
    address_space_write_rom(as, 0x2004, ATTRS, "efgh", 4);
    assert_memory_equal(rom_bytes, "gh", 2);
    assert_int_equal(d->calls + io->calls, 0);

    address_space_stl_le(as, 0xffc, 1, ATTRS, NULL); /* but this is the flash's, all of it */
    assert_int_equal(d->calls, 1);
    assert_int_equal(d->call[0].size, 4);
    assert_memory_equal(over_bytes, "cd", 2);
    uint16_t ends = address_space_lduw_le(as, 0xffd, ATTRS, NULL); /* reads of it are of memory */
    assert_int_equal(ends, 'b' | 'c' << 8);

    MemoryRegion *mapped[] = {&d->mr, &io->mr, &over, &rom};
    for (unsigned i = 0; i < 4; i++) {
        unmap(ms, mapped[i]);
    }
    memory_region_finalize(&rom);
    memory_region_finalize(&over);
    device_drop(d);
    device_drop(io);
    machine_end(ms);
}

/* Nor does the question take the time of an access. */
static void a_large_region_is_judged_at_once(void **state)
{
    const hwaddr size = UINT64_C(1) << 50;

    (void)state;
    ms = machine_start();
    as = memory_system_memory(ms);
    Device *large = device_new(ms, "large", true), *small = device_new(ms, "small", true);
    OK(device_init(large, size, DEVICE_LITTLE_ENDIAN));
    OK(device_init(small, 1, DEVICE_LITTLE_ENDIAN));
    map_at(ms, 0, &large->mr);
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), size - 6, &small->mr, 1));
    assert_true(address_space_access_valid(as, 1, size - 1, true, ATTRS));
    assert_false(address_space_access_valid(as, 1, size, true, ATTRS));
    unmap(ms, &large->mr);
    unmap(ms, &small->mr);
    device_drop(large);
    device_drop(small);
    machine_end(ms);
}

/* Ports at which nobody is keep nobody from those behind, nor does what is only reserved. */
static void nothing_is_no_device(void **state)
{
    MemoryRegion reserved;
    uint8_t got[4];

    (void)state;
    ms = machine_start();
    Device *d = device_new(ms, "dev", true);
    OK(device_init(d, 2, DEVICE_LITTLE_ENDIAN));
    OK(memory_region_init_io(&reserved, memory_system_owner(ms), NULL, NULL, "reserved", 4));
    OK(memory_region_add_subregion(get_system_io(ms), 0x92, &d->mr));
    OK(memory_region_add_subregion(get_system_memory(ms), 0x90, &reserved));
    OK(address_space_read(memory_system_io(ms), 0x90, ATTRS, got, 4));
    assert_memory_equal(got, "\xff\xff\x11\x22", 4);
    uint32_t value = address_space_ldl_le(memory_system_io(ms), 0x91, ATTRS, NULL);
    assert_int_equal(value, 0xff2211ff);
    OK(memory_region_del_subregion(get_system_io(ms), &d->mr));
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), 0x92, &d->mr, 1));
    address_space_read(memory_system_memory(ms), 0x90, ATTRS, got, 4);
    assert_memory_equal(got, "\0\0\x11\x22", 4);
    unmap(ms, &d->mr);
    unmap(ms, &reserved);
    memory_region_finalize(&reserved);
    device_drop(d);
    machine_end(ms);
}

/* The end of a region that has been made smaller is its end. */
static void a_region_ends_where_it_ends_now(void **state)
{
    (void)state;
    build();
    start();
    OK(memory_region_set_size(&devices[0]->mr, 6));
    uint32_t value = address_space_ldl_le(as, 8, ATTRS, NULL); /* its last two, then nothing */
    assert_int_equal(value, 0x1514);
    OK(memory_region_set_size(&devices[0]->mr, 24));
    value = address_space_ldl_le(as, 8, ATTRS, NULL);
    assert_int_equal(value, 0x17161514);
    dismantle();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transfers_follow_the_rule),
        cmocka_unit_test(loads_and_stores_follow_the_rule),
        cmocka_unit_test(writes_to_rom_go_by_bytes),
        cmocka_unit_test(a_large_region_is_judged_at_once),
        cmocka_unit_test(nothing_is_no_device),
        cmocka_unit_test(a_region_ends_where_it_ends_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
