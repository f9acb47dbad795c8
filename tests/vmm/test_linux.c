/* SPDX-License-Identifier: MIT */
/* --kernel: where a bzImage, an initrd and a command line get to, and images that are none. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/fw_cfg_guest.h"
#include "vmm/fw_cfg.h"

#define RAM_SIZE 0x4000000u /* 64 MiB */
#define SETUP 0x10000u
#define KERNEL 0x100000u

static FakeMachine *f;
static MemoryRegion ram;
static VmmOptions options;
static char folder[] = "/tmp/test_linux.XXXXXX", kernel_path[64], initrd_path[64];
static uint8_t image[20000]; /* a kernel as others make it */

static void put(size_t at, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        image[at + i] = (uint8_t)(value >> 8 * i);
    }
}

static void make_image(void)
{
    for (size_t i = 0; i < sizeof(image); i++) {
        image[i] = (uint8_t)(i * 7 >> 2);
    }
    put(0x1f1, 8, 1); /* sectors of setup, but the first */
    put(0x1fe, 0xaa55, 2);
    memcpy(image + 0x202, "HdrS", 4);
    put(0x206, 0x20f, 2);
    put(0x211, 1, 1);          /* loaded high */
    put(0x22c, 0x7fffffff, 4); /* highest address of an initrd */
    put(0x238, 100, 4);        /* longest command line */
    put(0x258, 0x1000000, 8);  /* where it would run */
    put(0x260, 0x800000, 4);   /* and how much memory it needs there */
}

static void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *out = fopen(path, "wb");

    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

static int setup(void **state)
{
    (void)state;
    f = fake_machine_start();
    MAKE(memory_region_init_ram(&ram, memory_system_owner(f->m.ms), "ram", RAM_SIZE, NULL));
    MAKE(memory_region_add_subregion(get_system_memory(f->m.ms), 0, &ram));
    MAKE(fw_cfg_create(&f->m));
    fake_machine_reset(f);
    f->m.below_4g_size = RAM_SIZE;
    options = (VmmOptions){.kernel = kernel_path};
    f->m.options = &options;
    make_image();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    MAKE(memory_region_del_subregion(get_system_memory(f->m.ms), &ram));
    fake_machine_end(f);
    return 0;
}

static int create(size_t size)
{
    int result;

    write_file(kernel_path, image, size);
    memory_system_lock(f->m.ms);
    result = linux_create(&f->m);
    memory_system_unlock(f->m.ms);
    return result;
}

static uint32_t le32(const uint8_t *at)
{
    return (uint32_t)(at[0] | at[1] << 8 | at[2] << 16) | (uint32_t)at[3] << 24;
}

/* What the ROM's code does: each descriptor is handed to the device. Returns how many. */
static unsigned run_rom(void)
{
    AddressSpace *io = memory_system_io(f->m.ms);
    uint8_t *host = memory_region_get_ram_ptr(&ram), total = 0;
    uint32_t size;
    uint8_t *rom = read_file(f, "genroms/linux.bin", &size);
    unsigned count = 0;

    assert_non_null(rom);
    assert_int_equal(size, 512);
    assert_memory_equal(rom, "\x55\xaa\1\xcb", 4);
    for (unsigned i = 0; i < 512; i++) {
        total = (uint8_t)(total + rom[i]);
    }
    assert_int_equal(total, 0);
    assert_memory_equal(rom + rom[0x1a], "$PnP", 4);
    for (unsigned i = 0; i < 32; i++) {
        total = (uint8_t)(total + rom[rom[0x1a] + i]);
    }
    assert_int_equal(total, 0);
    for (const uint8_t *at = rom + 0xa0; le32(at); at += 16) {
        memcpy(host + 0x7c00, at, 16);
        address_space_stl_be(io, 0x514, 0, ATTRS, NULL);
        address_space_stl_be(io, 0x518, 0x7c00, ATTRS, NULL);
        assert_int_equal(le32(host + 0x7c00), 0);
        count++;
    }
    free(rom);
    return count;
}

static void all_is_put_in_place(void **state)
{
    const uint8_t *host = memory_region_get_ram_ptr(&ram);
    static uint8_t initrd[300001];

    (void)state;
    memset(initrd, 0x77, sizeof(initrd));
    write_file(initrd_path, initrd, sizeof(initrd));
    options.initrd = initrd_path;
    options.append = "console=ttyS0";
    assert_int_equal(create(sizeof(image)), 0);
    assert_int_equal(run_rom(), 4);

    const uint8_t *setup_part = host + SETUP;
    size_t setup_size = 9 * 512;
    assert_int_equal(setup_part[0x210], 0xff);                            /* who loads */
    assert_int_equal(setup_part[0x211], 0x81);                            /* heap */
    assert_int_equal(setup_part[0x224] | setup_part[0x225] << 8, 0xde00); /* its end */
    assert_string_equal((const char *)host + le32(setup_part + 0x228), "console=ttyS0");
    uint32_t addr = le32(setup_part + 0x218);
    assert_int_equal(le32(setup_part + 0x21c), sizeof(initrd));
    assert_in_range(addr, 0x1800000, RAM_SIZE - 0x200000 - sizeof(initrd));
    assert_int_equal(addr % 4096, 0);
    assert_memory_equal(host + addr, initrd, sizeof(initrd));
    assert_memory_equal(host + KERNEL, image + setup_size, sizeof(image) - setup_size);
    assert_memory_equal(setup_part, image, 0x210);
    assert_memory_equal(setup_part + 0x22c, image + 0x22c, setup_size - 0x22c);
}

static void alone_it_boots_too(void **state)
{
    uint32_t size;
    uint8_t *order;

    (void)state;
    assert_int_equal(create(sizeof(image)), 0);
    assert_int_equal(run_rom(), 3);
    const uint8_t *setup_part = (uint8_t *)memory_region_get_ram_ptr(&ram) + SETUP;
    assert_int_equal(le32(setup_part + 0x218), 0);
    assert_int_equal(le32(setup_part + 0x21c), 0);
    order = read_file(f, "bootorder", &size);
    assert_string_equal((char *)order, "/rom@genroms/linux.bin");
    free(order);
}

/* Nothing that is refused leaves anything behind. */
static void refused(int err)
{
    uint32_t size;

    assert_int_equal(create(sizeof(image)), -err);
    assert_int_equal(find_file(f, "genroms/linux.bin", &size), 0);
    make_image();
}

static void images_that_are_none(void **state)
{
    static const size_t sizes[] = {0, 1, 0x1ff, 0x202, 0x263, 0x264, 9 * 512};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        assert_int_equal(create(sizes[i]), -ENOEXEC);
    }
    put(0x1fe, 0x55aa, 2);
    refused(ENOEXEC);
    put(0x205, 's', 1);
    refused(ENOEXEC);
    put(0x206, 0x209, 2);
    refused(ENOEXEC);
    put(0x211, 0, 1);
    refused(ENOEXEC);
    put(0x1f1, 255, 1);
    refused(ENOEXEC);
    put(0x1f1, 120, 1); /* more than there is room for, were it in the file */
    refused(ENOEXEC);
    put(0x1f1, 0, 1); /* stands for 4 */
    assert_int_equal(create(sizeof(image)), 0);
}

static void images_that_do_not_fit(void **state)
{
    (void)state;
    put(0x260, RAM_SIZE, 4);
    refused(ENOSPC);
    put(0x258, UINT64_MAX - 3, 8);
    refused(ENOSPC);
    f->m.below_4g_size = KERNEL;
    refused(ENOSPC);
    f->m.below_4g_size = RAM_SIZE;
    options.append = "0123456789012345678901234567890123456789012345678901234567890123456789"
                     "0123456789012345678901234567891";
    refused(E2BIG);
    put(0x238, UINT32_MAX, 4);
    static char long_line[0x2001];
    memset(long_line, 'x', sizeof(long_line) - 1);
    options.append = long_line;
    refused(E2BIG);
}

static void initrds_that_do_not_fit(void **state)
{
    (void)state;
    write_file(initrd_path, image, 10000);
    options.initrd = initrd_path;
    put(0x22c, 10000, 4); /* not above this */
    refused(ENOSPC);
    put(0x22c, 0x1800000 + 9998, 4);
    refused(ENOSPC);
    assert_int_equal(truncate(initrd_path, RAM_SIZE), 0);
    refused(ENOSPC);
    assert_int_equal(truncate(initrd_path, UINT32_MAX), 0);
    refused(EINVAL);
    write_file(initrd_path, image, 10000);
    put(0x22c, 0x1800000 + 9999, 4);
    assert_int_equal(create(sizeof(image)), 0);
    assert_int_equal(run_rom(), 4);
    const uint8_t *host = memory_region_get_ram_ptr(&ram);
    assert_int_equal(le32(host + SETUP + 0x218), 0x1800000);
    assert_memory_equal(host + 0x1800000, image, 512 - 16);
}

static void files_that_cannot_be_read(void **state)
{
    char nothing[64];

    (void)state;
    snprintf(nothing, sizeof(nothing), "%s/none", folder);
    options.initrd = nothing;
    refused(ENOENT);
    options.initrd = folder;
    refused(EINVAL);
    options = (VmmOptions){.kernel = "/dev/zero"};
    refused(EINVAL);
    options = (VmmOptions){.append = "quiet"};
    refused(EINVAL);
    options = (VmmOptions){0};
    assert_int_equal(create(0), 0);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(kernel_path, sizeof(kernel_path), "%s/kernel", folder);
    snprintf(initrd_path, sizeof(initrd_path), "%s/initrd", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(kernel_path);
    unlink(initrd_path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_is_put_in_place, setup, teardown),
        cmocka_unit_test_setup_teardown(alone_it_boots_too, setup, teardown),
        cmocka_unit_test_setup_teardown(images_that_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(images_that_do_not_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(initrds_that_do_not_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(files_that_cannot_be_read, setup, teardown),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
