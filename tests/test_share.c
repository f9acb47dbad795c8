/* SPDX-License-Identifier: MIT */
/* The list of shareable RAM, against an oracle that looks at every page. */
#include "support/rng.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/machine.h"

#define PAGE 4096U

static int memory_file(hwaddr size)
{
    int fd = memfd_create("ram", MFD_CLOEXEC);

    assert_true(fd >= 0);
    OK(ftruncate(fd, (off_t)size));
    return fd;
}

static void make_shared(MemorySystem *ms, MemoryRegion *mr, const char *name, hwaddr size, int fd,
                        hwaddr offset)
{
    OK(memory_region_init_ram_from_fd(mr, memory_system_owner(ms), name, size, RAM_SHARED, fd,
                                      offset, NULL));
}

static MemoryShareList *list_memory(MemorySystem *ms)
{
    MemoryShareList *list = memory_share_list_create(memory_system_memory(ms), NULL);

    assert_non_null(list);
    return list;
}

static void assert_range(const MemoryShareRange *range, hwaddr addr, hwaddr size, int fd,
                         hwaddr offset, bool readonly)
{
    assert_int_equal(range->guest_addr, addr);
    assert_int_equal(range->size, size);
    assert_int_equal(range->fd, fd);
    assert_int_equal(range->fd_offset, offset);
    assert_int_equal(range->readonly, readonly);
    assert_int_equal(range->page_size, PAGE);
}

static void assert_left_out(const MemoryShareLeftOut *left, hwaddr addr, hwaddr size,
                            MemoryShareReason reason, const MemoryRegion *mr)
{
    assert_int_equal(left->guest_addr, addr);
    assert_int_equal(left->size, size);
    assert_int_equal(left->reason, reason);
    assert_ptr_equal(left->mr, mr);
}

static uint64_t read_zero(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)addr, (void)size;
    return 0;
}

static const MemoryRegionOps ops = {.read = read_zero};

static void a_pc(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion ram, below, above, vga, bios, shadow, flash;
    int fd = memory_file(0x800000);

    (void)state;
    make_shared(ms, &ram, "pc.ram", 0x400000, fd, 0x100000);
    make_alias(ms, &below, &ram, 0, 0x300000);
    make_alias(ms, &above, &ram, 0x300000, 0x100000);
    make_alias(ms, &shadow, &ram, 0xf0000, 0x10000);
    OK(memory_region_set_readonly(&shadow, true));
    OK(memory_region_init_io(&vga, memory_system_owner(ms), &ops, NULL, "vga", 0x20000));
    OK(memory_region_init_rom(&bios, memory_system_owner(ms), "bios", 0x40000, NULL));
    OK(memory_region_init_rom_device(&flash, memory_system_owner(ms), &ops, NULL, "flash", 0x1000,
                                     NULL));
    map_at(ms, 0, &below);
    map_at(ms, 0x100000000, &above);
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), 0xa0000, &vga, 1));
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), 0xf0000, &shadow, 1));
    map_at(ms, 0xfffc0000, &bios);
    map_at(ms, 0xfffb0000, &flash);

    MemoryShareList *list = list_memory(ms);
    assert_int_equal(list->count, 5);
    assert_range(&list->ranges[0], 0, 0xa0000, fd, 0x100000, false);
    assert_range(&list->ranges[1], 0xc0000, 0x30000, fd, 0x1c0000, false);
    assert_range(&list->ranges[2], 0xf0000, 0x10000, fd, 0x1f0000, true);
    assert_range(&list->ranges[3], 0x100000, 0x200000, fd, 0x200000, false);
    assert_range(&list->ranges[4], 0x100000000, 0x100000, fd, 0x400000, false);
    assert_int_equal(list->size, 0x3e0000);
    assert_ptr_equal(list->ranges[4].host, (uint8_t *)memory_region_get_ram_ptr(&ram) + 0x300000);
    assert_ptr_equal(list->ranges[4].mr, &ram);
    assert_int_equal(list->nr_left_out, 2);
    assert_left_out(&list->left_out[0], 0xfffb0000, 0x1000, MEMORY_SHARE_NO_FD, &flash);
    assert_left_out(&list->left_out[1], 0xfffc0000, 0x40000, MEMORY_SHARE_NO_FD, &bios);
    assert_int_equal(list->size_left_out, 0x41000);
    memory_share_list_free(list);

    /* A device that answers by callback is none of the list's business. */
    OK(memory_region_rom_device_set_romd(&flash, false));
    list = list_memory(ms);
    assert_int_equal(list->nr_left_out, 1);
    memory_share_list_free(list);
    memory_share_list_free(NULL);
    machine_end(ms);
}

static void reasons(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryOwner *board = memory_system_owner(ms);
    MemoryRegion anonymous, unbacked, private, readonly, bar;
    _Alignas(4096) static uint8_t memory[PAGE];
    int fd = memory_file(PAGE), fd2 = memory_file(PAGE);

    (void)state;
    make_ram(ms, &anonymous, "anonymous", PAGE);
    OK(memory_region_init_ram_unbacked(&unbacked, board, "unbacked", PAGE));
    OK(memory_region_init_ram_from_fd(&private, board, "private", PAGE, 0, fd, 0, NULL));
    OK(memory_region_init_ram_from_fd(&readonly, board, "readonly", PAGE, RAM_SHARED | RAM_READONLY,
                                      fd2, 0, NULL));
    OK(memory_region_init_ram_device_ptr(&bar, board, "bar", PAGE, memory));
    map_at(ms, 0x0000, &anonymous);
    map_at(ms, 0x2000, &unbacked);
    map_at(ms, 0x4000, &private);
    map_at(ms, 0x6000, &readonly);
    map_at(ms, 0x8000, &bar);
    MemoryShareList *list = list_memory(ms);
    assert_int_equal(list->count, 1);
    assert_range(&list->ranges[0], 0x6000, PAGE, fd2, 0, true);
    assert_int_equal(list->nr_left_out, 3);
    assert_left_out(&list->left_out[0], 0x0000, PAGE, MEMORY_SHARE_NO_FD, &anonymous);
    assert_left_out(&list->left_out[1], 0x2000, PAGE, MEMORY_SHARE_NO_MEMORY, &unbacked);
    assert_left_out(&list->left_out[2], 0x4000, PAGE, MEMORY_SHARE_PRIVATE, &private);
    for (MemoryShareReason reason = MEMORY_SHARE_NO_MEMORY; reason <= MEMORY_SHARE_PART_PAGE;
         reason++) {
        assert_string_not_equal(memory_share_reason(reason), "unknown");
    }
    memory_share_list_free(list);
    machine_end(ms);
}

/* What divides ranges in the view but not in memory does not divide them here. */
static void neighbours_merge(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion ram, part[4];
    int fd = memory_file(0x10000);

    (void)state;
    make_shared(ms, &ram, "ram", 0x10000, fd, 0);
    for (unsigned i = 0; i < 4; i++) {
        make_alias(ms, &part[i], &ram, i * 0x1800, 0x1800);
        map_at(ms, 0x100000 + i * 0x1800, &part[i]);
    }
    OK(memory_region_set_nonvolatile(&part[1], true));
    MemoryShareList *list = list_memory(ms);
    assert_int_equal(list->count, 1);
    assert_range(&list->ranges[0], 0x100000, 0x6000, fd, 0, false);
    assert_int_equal(list->nr_left_out, 0);
    memory_share_list_free(list);

    /* Unmergeable ones stay apart, and what is then less than a page is lost. */
    OK(memory_region_set_unmergeable(&part[1], true));
    list = list_memory(ms);
    assert_int_equal(list->count, 3);
    assert_range(&list->ranges[0], 0x100000, 0x1000, fd, 0, false);
    assert_range(&list->ranges[1], 0x102000, 0x1000, fd, 0x2000, false);
    assert_range(&list->ranges[2], 0x103000, 0x3000, fd, 0x3000, false);
    assert_int_equal(list->nr_left_out, 2);
    assert_left_out(&list->left_out[0], 0x101000, 0x800, MEMORY_SHARE_PART_PAGE, &ram);
    assert_left_out(&list->left_out[1], 0x101800, 0x800, MEMORY_SHARE_PART_PAGE, &ram);
    memory_share_list_free(list);
    OK(memory_region_set_unmergeable(&part[1], false));

    /* Swapped, they are neighbours in one only. */
    OK(memory_region_set_alias_offset(&part[2], 0x8000));
    list = list_memory(ms);
    assert_int_equal(list->count, 3);
    assert_range(&list->ranges[1], 0x103000, 0x1000, fd, 0x8000, false);
    memory_share_list_free(list);
    machine_end(ms);
}

static void odd_places(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion ram, window, small;
    int fd = memory_file(0x10000);

    (void)state;
    make_shared(ms, &ram, "ram", 0x10000, fd, 0x0);
    make_alias(ms, &window, &ram, 0x1234, 0x3000);
    make_alias(ms, &small, &ram, 0x800, 0x800);
    map_at(ms, 0x1000, &window);
    map_at(ms, 0x8000, &small);
    MemoryShareList *list = list_memory(ms);
    assert_int_equal(list->count, 1); /* the offset is a page's; the address follows */
    assert_range(&list->ranges[0], 0x1dcc, 0x2000, fd, 0x2000, false);
    assert_ptr_equal(list->ranges[0].host, (uint8_t *)memory_region_get_ram_ptr(&ram) + 0x2000);
    assert_int_equal(list->nr_left_out, 3);
    assert_left_out(&list->left_out[0], 0x1000, 0xdcc, MEMORY_SHARE_PART_PAGE, &ram);
    assert_left_out(&list->left_out[1], 0x3dcc, 0x234, MEMORY_SHARE_PART_PAGE, &ram);
    assert_left_out(&list->left_out[2], 0x8000, 0x800, MEMORY_SHARE_PART_PAGE, &ram);
    memory_share_list_free(list);
    machine_end(ms);
}

static void end_region(void *opaque)
{
    *(bool *)opaque = true;
}

/* What the list names stays until it is freed, whatever becomes of the device. */
static void the_list_holds_it(void **state)
{
    MemorySystem *ms = machine_start();
    bool ended = false;
    MemoryOwner *dimm = memory_owner_create(ms, "dimm", end_region, &ended);
    MemoryRegion ram;
    int fd = memory_file(0x2000);

    (void)state;
    OK(memory_region_init_ram_from_fd(&ram, dimm, "dimm", 0x2000, RAM_SHARED, fd, 0, NULL));
    map_at(ms, 0, &ram);
    MemoryShareList *list = list_memory(ms);
    unmap(ms, &ram);
    memory_owner_unref(dimm);
    MemoryShareList *empty = list_memory(ms);
    assert_int_equal(empty->count, 0);
    memory_share_list_free(empty);
    assert_false(ended);
    memcpy(list->ranges[0].host, "here", 5);
    char found[5];
    assert_int_equal(pread(list->ranges[0].fd, found, 5, (off_t)list->ranges[0].fd_offset), 5);
    assert_string_equal(found, "here");
    memory_share_list_free(list);
    memory_system_drain(ms);
    assert_true(ended);
    machine_end(ms);
}

/* Each kind of host memory, made as users ask for it. */
static void backends(void **state)
{
    static const struct {
        const char *options;
        bool shareable;
        MemoryShareReason reason;
    } kinds[] = {
        {"memory-backend-memfd,id=m,size=64K", true, 0},
        {"memory-backend-memfd,id=m,size=64K,share=on,prealloc=on", true, 0},
        {"memory-backend-memfd,id=m,size=64K,share=off", false, MEMORY_SHARE_PRIVATE},
        {"memory-backend-shm,id=m,size=64K", true, 0},
        {"memory-backend-ram,id=m,size=64K", false, MEMORY_SHARE_NO_FD},
        {"memory-backend-file,id=m,size=64K,mem-path=/tmp,share=on", true, 0},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        MemorySystem *ms = machine_start();
        HostMemoryBackend *backend = host_memory_backend_create(ms, kinds[i].options, NULL);
        if (!backend) {
            fail_msg("%s", membus_last_error());
        }
        MemoryRegion *mr = host_memory_backend_get_memory(backend);
        map_at(ms, 0x10000, mr);
        MemoryShareList *list = list_memory(ms);
        assert_int_equal(list->count, kinds[i].shareable);
        if (kinds[i].shareable) {
            assert_range(&list->ranges[0], 0x10000, 0x10000, memory_region_get_fd(mr), 0, false);
            strcpy(memory_region_get_ram_ptr(mr), "here");
            void *mapped = mmap(NULL, 0x10000, PROT_READ, MAP_SHARED, list->ranges[0].fd,
                                (off_t)list->ranges[0].fd_offset);
            assert_true(mapped != MAP_FAILED);
            assert_string_equal(mapped, "here");
            munmap(mapped, 0x10000);
        } else {
            assert_left_out(&list->left_out[0], 0x10000, 0x10000, kinds[i].reason, mr);
        }
        memory_share_list_free(list);
        unmap(ms, mr);
        memory_system_drain(ms);
        OK(host_memory_backend_destroy(backend, NULL));
        machine_end(ms);
    }
}

/* ---- at random ------------------------------------------------------------------------- */

#define WORLD 64U /* pages */
#define HALF 0x800U

/* Which byte of the file answers at @addr, -1: none. */
static int64_t file_byte(AddressSpace *as, hwaddr addr, bool *readonly)
{
    MemoryRegionSection section;
    FlatView *view = address_space_get_flatview(as);
    int64_t byte = -1;

    if (flatview_lookup(view, addr, &section) && memory_region_get_fd(section.mr) >= 0) {
        byte =
            (int64_t)(section.offset_within_region + (addr - section.offset_within_address_space));
        *readonly = section.readonly;
    }
    flatview_unref(view);
    return byte;
}

/* Every half page of the world is in the list or not, as it should. */
static void check_world(MemorySystem *ms, uint8_t *host)
{
    AddressSpace *as = memory_system_memory(ms);
    MemoryShareList *list = list_memory(ms);
    hwaddr size = 0, left_out = 0;
    bool ro = false, other = false;

    for (hwaddr addr = 0; addr < WORLD * PAGE; addr += HALF) {
        int64_t byte = file_byte(as, addr, &ro);
        bool whole = false;
        if (byte >= 0) { /* the other half of the file's page must be beside it */
            hwaddr beside = byte % PAGE ? addr - HALF : addr + HALF;
            whole =
                beside < WORLD * PAGE &&
                file_byte(as, beside, &other) == byte + (byte % PAGE ? -(int)HALF : (int)HALF) &&
                other == ro;
        }
        const MemoryShareRange *found = NULL;
        for (size_t i = 0; i < list->count; i++) {
            if (addr - list->ranges[i].guest_addr < list->ranges[i].size) {
                assert_null(found);
                found = &list->ranges[i];
            }
        }
        assert_int_equal(found != NULL, whole);
        if (found) {
            assert_int_equal(found->fd_offset + (addr - found->guest_addr), byte);
            assert_ptr_equal((uint8_t *)found->host + (addr - found->guest_addr), host + byte);
            assert_int_equal(found->readonly, ro);
            size += HALF;
        } else if (byte >= 0) {
            left_out += HALF;
        }
    }
    assert_int_equal(list->size, size);
    assert_int_equal(list->size_left_out, left_out);
    for (size_t i = 1; i < list->count; i++) { /* joined where they can be */
        const MemoryShareRange *a = &list->ranges[i - 1], *b = &list->ranges[i];
        assert_true(a->guest_addr + a->size <= b->guest_addr);
        assert_false(a->guest_addr + a->size == b->guest_addr && a->readonly == b->readonly &&
                     a->fd_offset + a->size == b->fd_offset);
    }
    memory_share_list_free(list);
}

static void random_windows(void **state)
{
    Rng rng = {42};

    (void)state;
    for (unsigned round = 0; round < 50; round++) {
        MemorySystem *ms = machine_start();
        MemoryRegion ram, windows[12];
        make_shared(ms, &ram, "ram", WORLD * PAGE, memory_file(WORLD * PAGE), 0);
        for (unsigned i = 0; i < 12; i++) {
            hwaddr size = HALF * (1 + rng_below(&rng, 12));
            hwaddr addr = HALF * rng_below(&rng, 2 * WORLD - 13);
            hwaddr offset = rng_percent(&rng, 60) ? addr : HALF * rng_below(&rng, 2 * WORLD - 13);
            make_alias(ms, &windows[i], &ram, offset, size);
            OK(memory_region_set_readonly(&windows[i], rng_percent(&rng, 20)));
            OK(memory_region_add_subregion_overlap(get_system_memory(ms), addr, &windows[i],
                                                   (int)rng_below(&rng, 4)));
        }
        check_world(ms, memory_region_get_ram_ptr(&ram));
        machine_end(ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pc),
        cmocka_unit_test(reasons),
        cmocka_unit_test(neighbours_merge),
        cmocka_unit_test(odd_places),
        cmocka_unit_test(the_list_holds_it),
        cmocka_unit_test(backends),
        cmocka_unit_test(random_windows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
