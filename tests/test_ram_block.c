/* SPDX-License-Identifier: MIT */
/* RAM blocks: names, places, life, and what migration hangs on them. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/machine.h"

#define ALIGN 0x40000 /* of places */

static RAMBlock *block_of(const MemoryRegion *mr)
{
    return memory_region_get_ram_block(mr);
}

/* ---- Names ------------------------------------------------------------------------------ */

static void assert_named(MemorySystem *ms, const MemoryRegion *mr, const char *idstr)
{
    assert_string_equal(qemu_ram_get_idstr(block_of(mr)), idstr);
    assert_ptr_equal(qemu_ram_block_by_name(ms, idstr), block_of(mr));
}

static void names_are_unique(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryOwner *vga = memory_owner_create(ms, "0000:00:02.0", NULL, NULL);
    MemoryRegion ram, again, third, vram, twin, odd, empty;

    (void)state;
    make_ram(ms, &ram, "pc.ram", 0x1000);
    make_ram(ms, &again, "pc.ram", 0x1000);
    make_ram(ms, &third, "pc.ram", 0x1000);
    OK(memory_region_init_ram(&vram, vga, "vga.vram", 0x1000, NULL));
    OK(memory_region_init_ram(&twin, vga, "vga.vram", 0x1000, NULL));
    assert_named(ms, &ram, "pc.ram");
    assert_named(ms, &again, "pc.ram#2");
    assert_named(ms, &third, "pc.ram#3");
    assert_named(ms, &vram, "0000:00:02.0/vga.vram");
    assert_named(ms, &twin, "0000:00:02.0/vga.vram#2");

    /* a name that is free again is the next one's */
    OK(memory_region_finalize(&again));
    assert_null(qemu_ram_block_by_name(ms, "pc.ram#2"));
    make_ram(ms, &again, "pc.ram", 0x1000);
    assert_named(ms, &again, "pc.ram#2");
    OK(memory_region_finalize(&ram));
    OK(memory_region_finalize(&third));
    make_ram(ms, &ram, "pc.ram", 0x1000);
    assert_named(ms, &ram, "pc.ram");
    make_ram(ms, &third, "pc.ram", 0x1000);
    assert_named(ms, &third, "pc.ram#3"); /* #2 was never free */

    /* names that look like ours */
    make_ram(ms, &odd, "pc.ram#4", 0x1000);
    assert_named(ms, &odd, "pc.ram#4");
    make_ram(ms, &empty, "pc.ram", 0x1000);
    assert_named(ms, &empty, "pc.ram#5");
    OK(memory_region_finalize(&empty));
    OK(memory_region_finalize(&odd));
    make_ram(ms, &odd, "pc.ram#x", 0x1000);
    OK(memory_region_init_ram(&empty, memory_system_owner(ms), NULL, 0x1000, NULL));
    assert_named(ms, &empty, "");
    assert_null(qemu_ram_block_by_name(ms, "pc"));
    assert_null(qemu_ram_block_by_name(ms, "pc.ram#"));
    memory_owner_unref(vga);
    memory_system_drain(ms);
    assert_null(qemu_ram_block_by_name(ms, "0000:00:02.0/vga.vram"));
    machine_end(ms);
}

/* ---- Fields ----------------------------------------------------------------------------- */

static void fields_have_accessors(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion shared, given, grows;
    static uint8_t bytes[3000];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int fd = memfd_create("membus-test", 0);

    (void)state;
    assert_true(fd >= 0 && ftruncate(fd, (off_t)(3 * page)) == 0);
    OK(memory_region_init_ram_from_fd(&shared, memory_system_owner(ms), "shared", 2 * page,
                                      RAM_SHARED | RAM_READONLY, fd, page, NULL));
    assert_int_equal(qemu_ram_get_flags(block_of(&shared)), RAM_SHARED | RAM_READONLY);
    assert_int_equal(qemu_ram_get_fd(block_of(&shared)), fd);
    assert_int_equal(qemu_ram_get_fd_offset(block_of(&shared)), page);
    assert_int_equal(qemu_ram_pagesize(block_of(&shared)), page);
    OK(memory_region_init_ram_ptr(&given, memory_system_owner(ms), "given", sizeof(bytes), bytes));
    assert_int_equal(qemu_ram_get_flags(block_of(&given)), RAM_PREALLOC);
    assert_int_equal(qemu_ram_get_fd(block_of(&given)), -1);
    assert_ptr_equal(qemu_ram_get_host_addr(block_of(&given)), bytes);
    assert_int_equal(qemu_ram_get_used_length(block_of(&given)), sizeof(bytes));
    OK(memory_region_init_resizeable_ram(&grows, memory_system_owner(ms), "grows", 1, 3 * page,
                                         NULL, NULL));
    assert_int_equal(qemu_ram_get_flags(block_of(&grows)), RAM_RESIZEABLE);
    assert_int_equal(qemu_ram_get_used_length(block_of(&grows)), page);
    assert_int_equal(qemu_ram_get_max_length(block_of(&grows)), 3 * page);
    assert_int_equal(ram_block_pages_offset(block_of(&grows)), 0);
    ram_block_set_pages_offset(block_of(&grows), 1ULL << 40);
    assert_true(ram_block_pages_offset(block_of(&grows)) == 1ULL << 40);
    machine_end(ms);
}

static void bitmaps_come_on_request(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion ram, little;
    Error *err = NULL;
    RAMBlock *block;
    RAMBitmap *map;
    uint8_t byte;

    (void)state;
    make_ram(ms, &ram, "ram", 0x1001000); /* 4097 pages */
    block = block_of(&ram);
    for (unsigned kind = 0; kind < RAM_BITMAP_NUM; kind++) {
        assert_null(ram_block_bitmap(block, kind));
        OK(ram_block_bitmap_alloc(block, kind, 4 * kind, NULL));
        map = ram_block_bitmap(block, kind);
        assert_int_equal(map->shift, 4 * kind);
        assert_int_equal(map->nr_bits, (4097 + (1U << 4 * kind) - 1) >> 4 * kind);
        for (size_t i = 0; i < (map->nr_bits + 63) / 64; i++) {
            assert_int_equal(map->bits[i], 0);
            map->bits[i] = ~0UL;
        }
        REFUSED(-EEXIST, ram_block_bitmap_alloc(block, kind, 0, &err));
        assert_string_equal(error_get_pretty(err), membus_last_error());
        error_free(err);
    }
    ram_block_bitmap_free(block, RAM_CLEAR_BMAP);
    ram_block_bitmap_free(block, RAM_CLEAR_BMAP);
    assert_null(ram_block_bitmap(block, RAM_CLEAR_BMAP));
    OK(ram_block_bitmap_alloc(block, RAM_CLEAR_BMAP, RAM_BITMAP_MAX_SHIFT, NULL));
    assert_int_equal(ram_block_bitmap(block, RAM_CLEAR_BMAP)->nr_bits, 1);
    REFUSED(-EINVAL, ram_block_bitmap_alloc(block, RAM_BITMAP_NUM, 0, NULL));
    REFUSED(-EINVAL, ram_block_bitmap_alloc(block, RAM_BMAP, RAM_BITMAP_MAX_SHIFT + 1, NULL));
    assert_null(ram_block_bitmap(block, RAM_BITMAP_NUM));
    ram_block_bitmap_free(block, RAM_BITMAP_NUM);
    OK(memory_region_init_ram_ptr(&little, memory_system_owner(ms), "little", 1, &byte));
    OK(ram_block_bitmap_alloc(block_of(&little), RAM_BMAP, 0, NULL));
    assert_int_equal(ram_block_bitmap(block_of(&little), RAM_BMAP)->nr_bits, 1);

    assert_null(ram_block_colo_cache(block));
    OK(ram_block_colo_cache_alloc(block, NULL));
    uint8_t *copy = ram_block_colo_cache(block);
    assert_true(copy[0] == 0 && copy[0x1000fff] == 0);
    memset(copy, 1, 0x1001000);
    REFUSED(-EEXIST, ram_block_colo_cache_alloc(block, NULL));
    ram_block_colo_cache_free(block);
    ram_block_colo_cache_free(block);
    assert_null(ram_block_colo_cache(block));
    OK(ram_block_colo_cache_alloc(block, NULL)); /* goes with the block */
    machine_end(ms);
}

/* ---- Places ----------------------------------------------------------------------------- */

static void places_are_used_again(void **state)
{
    MemorySystem *ms = machine_start();
    static const hwaddr sizes[] = {0x1000, 0xc0000, 0x1000, 0x80000, 0x1000};
    static const hwaddr places[] = {0, ALIGN, 4 * ALIGN, 5 * ALIGN, 7 * ALIGN};
    MemoryRegion ram[5], more[4];

    (void)state;
    for (int i = 0; i < 5; i++) {
        make_ram(ms, &ram[i], "ram", sizes[i]);
        assert_int_equal(memory_region_get_ram_addr(&ram[i]), places[i]);
    }
    OK(memory_region_finalize(&ram[1])); /* a gap of three */
    OK(memory_region_finalize(&ram[3])); /* and one of two */
    make_ram(ms, &more[0], "more", 0x41000);
    assert_int_equal(memory_region_get_ram_addr(&more[0]), 5 * ALIGN);
    make_ram(ms, &more[1], "more", 0x100000); /* fits nowhere: the end */
    assert_int_equal(memory_region_get_ram_addr(&more[1]), 8 * ALIGN);
    make_ram(ms, &more[2], "more", ALIGN);
    assert_int_equal(memory_region_get_ram_addr(&more[2]), ALIGN);
    make_ram(ms, &more[3], "more", ALIGN + 1);
    assert_int_equal(memory_region_get_ram_addr(&more[3]), 2 * ALIGN);
    /* the last one goes: what was behind the one before it is the end now */
    OK(memory_region_finalize(&more[1]));
    OK(memory_region_finalize(&ram[4]));
    make_ram(ms, &ram[4], "more", 0x100000);
    assert_int_equal(memory_region_get_ram_addr(&ram[4]), 7 * ALIGN);
    machine_end(ms);
}

static void the_space_is_finite(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryOwner *board = memory_system_owner(ms);
    MemoryRegion half, rest, more, one;
    uint8_t *nowhere = (uint8_t *)0x1000;

    (void)state;
    OK(memory_region_init_ram_ptr(&half, board, "half", 1ULL << 63, nowhere));
    REFUSED(-ENOSPC, memory_region_init_ram_ptr(&more, board, "more", 1ULL << 63, nowhere));
    assert_non_null(strstr(membus_last_error(), "more"));
    assert_non_null(strstr(membus_last_error(), "0x8000000000000000"));
    OK(memory_region_init_ram_ptr(&rest, board, "rest", (1ULL << 63) - ALIGN, nowhere));
    REFUSED(-ENOSPC, memory_region_init_ram_ptr(&more, board, "more", 1, nowhere));
    assert_null(qemu_ram_block_from_addr(ms, RAM_ADDR_INVALID, NULL));
    OK(memory_region_finalize(&half));
    OK(memory_region_init_ram_ptr(&one, board, "one", 1, nowhere));
    assert_int_equal(memory_region_get_ram_addr(&one), 0);
    REFUSED(-ENOSPC, memory_region_init_ram_ptr(&half, board, "half", 1ULL << 63, nowhere));
    machine_end(ms);
}

/* ---- Life ------------------------------------------------------------------------------- */

static bool is_mapped(void *host)
{
    unsigned char resident;

    return mincore(host, 1, &resident) == 0;
}

static void a_reader_keeps_the_memory(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion *mr = malloc(sizeof(*mr)); /* so that nothing of it is touched later */
    int fd = memfd_create("membus-test", 0);
    uint8_t *host;

    (void)state;
    assert_true(mr && fd >= 0 && ftruncate(fd, 0x1000) == 0);
    OK(memory_region_init_ram_from_fd(mr, memory_system_owner(ms), "ram", 0x1000, RAM_SHARED, fd, 0,
                                      NULL));
    host = memory_region_get_ram_ptr(mr);
    host[7] = 77;
    memory_read_lock();
    RAMBlock *block = qemu_ram_block_from_host(ms, host, NULL);
    assert_non_null(block);
    OK(ram_block_bitmap_alloc(block, RAM_BMAP, 0, NULL));
    RAMBitmap *map = ram_block_bitmap(block, RAM_BMAP);
    ram_block_bitmap_free(block, RAM_BMAP);
    uint64_t version = ram_list_version(ms);
    OK(memory_region_finalize(mr));
    free(mr);
    assert_true(ram_list_version(ms) != version);
    assert_null(qemu_ram_block_from_host(ms, host, NULL));
    usleep(30000); /* a grace period would have ended, were it not for us */
    assert_int_equal(host[7], 77);
    assert_int_equal(map->bits[0], 0);
    assert_string_equal(qemu_ram_get_idstr(block), "ram");
    assert_null(qemu_ram_get_region(block));
    assert_null(qemu_ram_ref_region(block));
    assert_true(fcntl(fd, F_GETFD) >= 0);
    memory_read_unlock();
    memory_system_drain(ms);
    assert_false(is_mapped(host));
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    machine_end(ms);
}

typedef struct Dimm {
    MemoryRegion mr;
    MemoryOwner *owner;
    uint8_t bytes[0x1000];
    bool *gone;
} Dimm;

static void end_dimm(void *opaque)
{
    Dimm *dimm = opaque;

    *dimm->gone = true;
    memset(dimm, 0xdd, sizeof(*dimm));
    free(dimm);
}

static void a_finaliser_waits_for_readers(void **state)
{
    MemorySystem *ms = machine_start();
    Dimm *dimm = calloc(1, sizeof(*dimm));
    bool gone = false;
    ram_addr_t offset;

    (void)state;
    dimm->gone = &gone;
    dimm->owner = memory_owner_create(ms, "dimm0", end_dimm, dimm);
    OK(memory_region_init_ram_ptr(&dimm->mr, dimm->owner, "ram", sizeof(dimm->bytes), dimm->bytes));
    dimm->bytes[9] = 99;
    memory_read_lock();
    uint8_t *bytes = dimm->bytes;
    RAMBlock *block = qemu_ram_block_by_name(ms, "dimm0/ram");
    assert_ptr_equal(qemu_ram_get_host_addr(block), bytes);
    memory_system_lock(ms);
    memory_owner_unref(dimm->owner); /* dead, and not ended before the lock is free */
    assert_ptr_equal(qemu_ram_block_from_host(ms, bytes, NULL), block);
    assert_null(qemu_ram_ref_region(block));
    assert_null(memory_region_from_host(ms, bytes + 1, &offset));
    memory_system_unlock(ms);
    assert_null(qemu_ram_block_from_host(ms, bytes, NULL));
    usleep(30000);
    assert_false(gone);
    assert_int_equal(bytes[9], 99);
    memory_read_unlock();
    memory_system_drain(ms);
    assert_true(gone);
    machine_end(ms);
}

static void a_found_region_can_be_held(void **state)
{
    MemorySystem *ms = machine_start();
    Dimm *dimm = calloc(1, sizeof(*dimm));
    bool gone = false;
    ram_addr_t offset = 0;

    (void)state;
    dimm->gone = &gone;
    dimm->owner = memory_owner_create(ms, "dimm0", end_dimm, dimm);
    OK(memory_region_init_ram_ptr(&dimm->mr, dimm->owner, "ram", sizeof(dimm->bytes), dimm->bytes));
    MemoryRegion *mr = memory_region_from_host(ms, dimm->bytes + 5, &offset);
    assert_ptr_equal(mr, &dimm->mr);
    assert_int_equal(offset, 5);
    REFUSED(-EBUSY, memory_region_finalize(mr));
    memory_owner_unref(dimm->owner);
    memory_system_drain(ms);
    assert_false(gone);
    assert_int_equal(memory_region_size(mr), sizeof(dimm->bytes));
    memory_region_unref(mr);
    memory_system_drain(ms);
    assert_true(gone);
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(fields_have_accessors),
        cmocka_unit_test(bitmaps_come_on_request),
        cmocka_unit_test(places_are_used_again),
        cmocka_unit_test(the_space_is_finite),
        cmocka_unit_test(a_reader_keeps_the_memory),
        cmocka_unit_test(a_finaliser_waits_for_readers),
        cmocka_unit_test(a_found_region_can_be_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
