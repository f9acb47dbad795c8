/* SPDX-License-Identifier: MIT */
/* Memory that becomes private, and shared again: what the guest sees, and what goes back. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/kvm_private.h"

static uint8_t host_byte(Guest *g, hwaddr offset)
{
    return ((volatile uint8_t *)memory_region_get_ram_ptr(&g->ram))[offset];
}

static uint8_t private_byte(Guest *g, hwaddr addr)
{
    uint8_t byte = 0xff;

    assert_int_equal(kvm_fake_guest_read_private(g->fake, 0, addr, &byte, 1), KVM_FAKE_DONE);
    return byte;
}

static void test_there_and_back(void **state)
{
    Guest g;
    uint8_t shared = 0x11, secret = 0x22;

    (void)state;
    start_private(&g, 0x100000);
    memset(memory_region_get_ram_ptr(&g.ram), shared, SIZE);

    OK(kvm_convert_memory(g.kvm, 0x102000, 3 * PAGE, true, NULL));
    assert_false(kvm_fake_is_private(g.fake, 0x101000));
    assert_true(kvm_fake_is_private(g.fake, 0x102000));
    assert_true(kvm_fake_is_private(g.fake, 0x104000));
    assert_false(kvm_fake_is_private(g.fake, 0x105000));
    assert_int_equal(host_byte(&g, 0x1fff), shared); /* only what was converted is given back */
    assert_int_equal(host_byte(&g, 0x2000), 0);
    assert_int_equal(host_byte(&g, 0x4fff), 0);
    assert_int_equal(host_byte(&g, 0x5000), shared);
    for (hwaddr addr = 0x102000; addr < 0x105000; addr += PAGE) {
        assert_int_equal(private_byte(&g, addr), 0);
        assert_int_equal(kvm_fake_guest_write_private(g.fake, 0, addr, &secret, 1), KVM_FAKE_DONE);
    }

    OK(kvm_convert_memory(g.kvm, 0x103000, PAGE, false, NULL));
    assert_false(kvm_fake_is_private(g.fake, 0x103000));
    OK(kvm_convert_memory(g.kvm, 0x103000, PAGE, true, NULL));
    assert_int_equal(private_byte(&g, 0x102000), secret);
    assert_int_equal(private_byte(&g, 0x103000), 0);
    assert_int_equal(private_byte(&g, 0x104000), secret);
    assert_int_equal(g.reports, 0);
    end(&g);
}

static void test_across_blocks(void **state)
{
    Guest g;
    MemoryRegion more;

    (void)state;
    start_private(&g, 0);
    make_ram(g.ms, &more, "more", SIZE);
    give_memfd(&g, "more", SIZE);
    map_at(g.ms, SIZE, &more);
    memset(memory_region_get_ram_ptr(&g.ram), 1, SIZE);
    memset(memory_region_get_ram_ptr(&more), 1, SIZE);
    OK(kvm_convert_memory(g.kvm, SIZE - PAGE, 3 * PAGE, true, NULL));
    assert_int_equal(host_byte(&g, SIZE - PAGE - 1), 1);
    assert_int_equal(host_byte(&g, SIZE - PAGE), 0);
    const uint8_t *host = memory_region_get_ram_ptr(&more);
    assert_int_equal(host[2 * PAGE - 1], 0);
    assert_int_equal(host[2 * PAGE], 1);
    end(&g);
}

/* What is the program's is not given back. */
static void test_memory_of_the_program(void **state)
{
    Guest g;
    MemoryRegion given;
    uint8_t *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    memset(memory, 1, SIZE);
    start(&g, with_attributes());
    OK(memory_region_init_ram_ptr(&given, memory_system_owner(g.ms), "given", SIZE, memory));
    give_memfd(&g, "given", SIZE);
    map_at(g.ms, 0, &given);
    OK(kvm_convert_memory(g.kvm, 0, SIZE, true, NULL));
    assert_int_equal(memory[0], 1);
    assert_int_equal(g.reports, 0);
    end(&g);
    munmap(memory, SIZE);
}

/* The host does not take it back: the conversion is done all the same, and the program told. */
static void test_not_given_back(void **state)
{
    Guest g;
    char path[32];

    (void)state;
    start(&g, with_attributes());
    int fd = new_memfd(&g, SIZE);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int no_writing = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(dup2(no_writing, fd), fd);
    close(no_writing);
    OK(ram_block_set_guest_memfd(block_of(&g, "ram"), fd, 0, NULL));
    map_at(g.ms, 0, &g.ram);
    OK(kvm_convert_memory(g.kvm, 0, SIZE, true, NULL));
    assert_int_equal(g.reports, 0);
    OK(kvm_convert_memory(g.kvm, 0, SIZE, false, NULL));
    assert_false(kvm_fake_is_private(g.fake, 0));
    assert_int_equal(g.reports, 1);
    end(&g);
}

static void test_refusals(void **state)
{
    Guest g;
    MemoryRegion plain;

    (void)state;
    start_private(&g, 0x100000);
    make_ram(g.ms, &plain, "plain", SIZE);
    map_at(g.ms, 0x100000 + SIZE, &plain);
    kvm_fake_forget_calls(g.fake);
    memset(memory_region_get_ram_ptr(&g.ram), 1, SIZE);

    REFUSED(-EINVAL, kvm_convert_memory(g.kvm, 0x100000, 0, true, NULL));
    REFUSED(-EINVAL, kvm_convert_memory(g.kvm, 0x100001, PAGE, true, NULL));
    REFUSED(-EINVAL, kvm_convert_memory(g.kvm, 0x100000, PAGE + 1, true, NULL));
    REFUSED(-EINVAL, kvm_convert_memory(g.kvm, -PAGE, 2 * PAGE, true, NULL));
    REFUSED(-EINVAL, kvm_convert_memory(g.kvm, -PAGE, PAGE, true, NULL));
    REFUSED(-EINVAL, kvm_convert_memory(g.kvm, 0xff000, 2 * PAGE, true, NULL));     /* a hole */
    REFUSED(-EINVAL, kvm_convert_memory(g.kvm, 0x100000, SIZE + PAGE, true, NULL)); /* plain */
    assert_int_equal(kvm_fake_calls(g.fake, KVM_SET_MEMORY_ATTRIBUTES), 0);

    kvm_fake_fail(g.fake, KVM_SET_MEMORY_ATTRIBUTES, 1, EIO, false);
    Error *err = NULL;
    REFUSED(-EIO, kvm_convert_memory(g.kvm, 0x100000, PAGE, true, &err));
    assert_non_null(strstr(error_get_pretty(err), "0x100000"));
    error_free(err);
    assert_int_equal(host_byte(&g, 0), 1);

    OK(kvm_memory_listener_unregister(&g.kml));
    REFUSED(-EINVAL, kvm_convert_memory(g.kvm, 0x100000, PAGE, true, NULL));
    end(&g);

    start(&g, KVM_FAKE_CAPS_INIT);
    give_memfd(&g, "ram", SIZE);
    map_at(g.ms, 0, &g.ram);
    REFUSED(-ENOTSUP, kvm_convert_memory(g.kvm, 0, PAGE, true, NULL));
    end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_across_blocks),
        cmocka_unit_test(test_memory_of_the_program),
        cmocka_unit_test(test_not_given_back),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
