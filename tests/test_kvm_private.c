/* SPDX-License-Identifier: MIT */
/* RAM with a guest_memfd: who may have one, its slots, its dirty pages. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/kvm_host.h"
#include "support/kvm_private.h"

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* ---- who may have one ------------------------------------------- */

static void test_made_by_the_kernel(void **state)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    Guest g;

    (void)state;
    start(&g, caps);
    int fd = new_memfd(&g, SIZE);
    assert_true(is_open(fd));
    close(fd);
    REFUSED(-EINVAL, kvm_create_guest_memfd(g.kvm, SIZE + 1, 0, NULL));
    REFUSED(-EINVAL, kvm_create_guest_memfd(g.kvm, SIZE, 1ULL << 63, NULL));
    end(&g);

    caps.guest_memfd = false;
    start(&g, caps);
    REFUSED(-ENOTSUP, kvm_create_guest_memfd(g.kvm, SIZE, 0, NULL));
    end(&g);
}

static void test_given_to_a_block(void **state)
{
    Guest g;

    (void)state;
    start(&g, with_attributes());
    RAMBlock *block = block_of(&g, "ram");
    int fd = new_memfd(&g, SIZE + PAGE);

    assert_int_equal(qemu_ram_get_guest_memfd(block), -1);
    assert_false(memory_region_has_guest_memfd(&g.ram));
    assert_false(qemu_ram_get_flags(block) & RAM_GUEST_MEMFD);
    REFUSED(-EBADF, ram_block_set_guest_memfd(block, -1, 0, NULL));
    REFUSED(-EINVAL, ram_block_set_guest_memfd(block, fd, 1, NULL));
    REFUSED(-EINVAL, ram_block_set_guest_memfd(block, fd, 2 * PAGE, NULL));
    REFUSED(-EINVAL, ram_block_set_guest_memfd(block, fd, -PAGE, NULL));
    REFUSED(-EINVAL, ram_block_discard_guest_memfd_range(block, 0, PAGE));
    assert_false(memory_region_has_guest_memfd(&g.ram));
    assert_true(is_open(fd));

    OK(ram_block_set_guest_memfd(block, fd, PAGE, NULL));
    assert_int_equal(qemu_ram_get_guest_memfd(block), fd);
    assert_int_equal(qemu_ram_get_guest_memfd_offset(block), PAGE);
    assert_true(memory_region_has_guest_memfd(&g.ram));
    assert_true(qemu_ram_get_flags(block) & RAM_GUEST_MEMFD);
    REFUSED(-EEXIST, ram_block_set_guest_memfd(block, fd, 0, NULL));

    OK(memory_region_finalize(&g.ram));
    memory_system_drain(g.ms);
    assert_false(is_open(fd));
    end(&g);
}

static void test_not_while_it_is_seen(void **state)
{
    Guest g;
    MemoryRegion alias;
    AddressSpace as;

    (void)state;
    start(&g, with_attributes());
    RAMBlock *block = block_of(&g, "ram");
    int fd = new_memfd(&g, SIZE);

    map_at(g.ms, 0, &g.ram);
    REFUSED(-EBUSY, ram_block_set_guest_memfd(block, fd, 0, NULL));
    memory_region_transaction_begin(g.ms);
    unmap(g.ms, &g.ram); /* its slot is still there */
    REFUSED(-EBUSY, ram_block_set_guest_memfd(block, fd, 0, NULL));
    OK(memory_region_transaction_commit(g.ms));

    make_alias(g.ms, &alias, &g.ram, 0, PAGE);
    REFUSED(-EBUSY, ram_block_set_guest_memfd(block, fd, 0, NULL));
    OK(memory_region_finalize(&alias));
    OK(address_space_init(&as, &g.ram, "ram"));
    REFUSED(-EBUSY, ram_block_set_guest_memfd(block, fd, 0, NULL));
    OK(address_space_destroy(&as));
    OK(ram_block_set_guest_memfd(block, fd, 0, NULL));
    end(&g);
}

static void test_only_plain_ram(void **state)
{
    Guest g;
    MemoryRegion rom;

    (void)state;
    start(&g, with_attributes());
    OK(memory_region_init_rom(&rom, memory_system_owner(g.ms), "rom", SIZE, NULL));
    int fd = new_memfd(&g, SIZE);
    REFUSED(-EINVAL, ram_block_set_guest_memfd(block_of(&g, "rom"), fd, 0, NULL));
    close(fd);
    end(&g);
}

/* ---- slots ------------------------------------------- */

static void assert_bound(Guest *g, hwaddr addr, hwaddr size, hwaddr offset)
{
    KVMSlot slot;
    KvmFakeSlot real;

    assert_true(kvm_find_slot(g->kvm, 0, addr, &slot));
    assert_true(kvm_fake_find(g->fake, 0, addr, &real));
    assert_int_equal(slot.start_addr, addr);
    assert_int_equal(slot.memory_size, size);
    assert_int_equal(slot.flags, KVM_MEM_GUEST_MEMFD);
    assert_int_equal(slot.guest_memfd, qemu_ram_get_guest_memfd(block_of(g, "ram")));
    assert_int_equal(slot.guest_memfd_offset, offset);
    assert_int_equal(real.flags, slot.flags);
    assert_int_equal(real.gpa, addr);
    assert_int_equal(real.size, size);
    assert_int_equal(real.guest_memfd_offset, offset);
    assert_ptr_equal((void *)real.hva, slot.ram);
}

static void test_slots_are_split_and_moved(void **state)
{
    Guest g;
    MemoryRegion hole;

    (void)state;
    start_private(&g, 0x100000);
    assert_bound(&g, 0x100000, SIZE, PAGE);
    OK(memory_region_init_io(&hole, memory_system_owner(g.ms), NULL, NULL, "hole", PAGE));
    OK(memory_region_add_subregion_overlap(get_system_memory(g.ms), 0x104000, &hole, 1));
    assert_bound(&g, 0x100000, 4 * PAGE, PAGE);
    assert_bound(&g, 0x105000, 11 * PAGE, 6 * PAGE);

    memory_region_transaction_begin(g.ms); /* the kernel moves none of them */
    OK(memory_region_del_subregion(get_system_memory(g.ms), &hole));
    OK(memory_region_set_address(&g.ram, 0x102000));
    OK(memory_region_transaction_commit(g.ms));
    assert_bound(&g, 0x102000, SIZE, PAGE);
    OK(memory_region_set_address(&g.ram, 0x200000));
    assert_bound(&g, 0x200000, SIZE, PAGE);
    assert_int_equal(kvm_fake_slots(g.fake, 0), 1);
    unmap(g.ms, &g.ram);
    assert_int_equal(kvm_fake_slots(g.fake, 0), 0);
    end(&g);
}

static void test_read_only_is_shared_only(void **state)
{
    Guest g;
    KvmFakeSlot slot;

    (void)state;
    start_private(&g, 0);
    OK(memory_region_set_readonly(&g.ram, true));
    assert_true(kvm_fake_find(g.fake, 0, 0, &slot));
    assert_int_equal(slot.flags, KVM_MEM_READONLY);
    assert_int_equal(slot.guest_memfd, -1);
    OK(memory_region_set_readonly(&g.ram, false));
    assert_bound(&g, 0, SIZE, PAGE);
    end(&g);
}

static void test_twice_is_refused(void **state)
{
    Guest g;
    MemoryRegion alias;

    (void)state;
    start_private(&g, 0);
    make_alias(g.ms, &alias, &g.ram, 0, 2 * PAGE);
    assert_true(memory_region_add_subregion(get_system_memory(g.ms), 0x100000, &alias) < 0);
    assert_non_null(strstr(membus_last_error(), "GUEST_MEMFD"));
    assert_bound(&g, 0, SIZE, PAGE);
    assert_int_equal(kvm_fake_slots(g.fake, 0), 1);
    end(&g);
}

/* A block of another VM's, say. */
static void test_kernel_without(void **state)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    Guest g;
    KVMSlot slot;

    (void)state;
    caps.guest_memfd = caps.user_memory2 = false;
    start(&g, caps);
    int fd = memfd_create("stand-in", MFD_CLOEXEC);
    OK(ftruncate(fd, SIZE));
    OK(ram_block_set_guest_memfd(block_of(&g, "ram"), fd, 0, NULL));
    REFUSED(-ENOTSUP, memory_region_add_subregion(get_system_memory(g.ms), 0, &g.ram));
    assert_non_null(strstr(membus_last_error(), "GUEST_MEMFD"));
    assert_false(kvm_find_slot(g.kvm, 0, 0, &slot));
    assert_false(memory_region_is_mapped(&g.ram));
    end(&g);
}

static void test_resizing(void **state)
{
    Guest g;
    MemoryRegion vram;
    uint8_t byte = 7;

    (void)state;
    start(&g, with_attributes());
    OK(memory_region_init_resizeable_ram(&vram, memory_system_owner(g.ms), "vram", 4 * PAGE, SIZE,
                                         NULL, NULL));
    int small = new_memfd(&g, 4 * PAGE);
    REFUSED(-EINVAL, ram_block_set_guest_memfd(block_of(&g, "vram"), small, 0, NULL));
    close(small);
    give_memfd(&g, "vram", SIZE);
    map_at(g.ms, 0, &vram);
    OK(memory_region_ram_resize(&vram, 8 * PAGE, NULL));

    OK(kvm_convert_memory(g.kvm, 0, 8 * PAGE, true, NULL));
    assert_int_equal(kvm_fake_guest_write_private(g.fake, 0, PAGE, &byte, 1), KVM_FAKE_DONE);
    assert_int_equal(kvm_fake_guest_write_private(g.fake, 0, 7 * PAGE, &byte, 1), KVM_FAKE_DONE);
    OK(memory_region_ram_resize(&vram, 4 * PAGE, NULL));
    OK(memory_region_ram_resize(&vram, 8 * PAGE, NULL));
    assert_int_equal(kvm_fake_guest_read_private(g.fake, 0, PAGE, &byte, 1), KVM_FAKE_DONE);
    assert_int_equal(byte, 7);
    assert_int_equal(kvm_fake_guest_read_private(g.fake, 0, 7 * PAGE, &byte, 1), KVM_FAKE_DONE);
    assert_int_equal(byte, 0); /* what was cut off and comes back is new */
    end(&g);
}

/* ---- dirty pages ------------------------------------------- */

static uint64_t take(Guest *g)
{
    DirtyEpoch *epoch = memory_dirty_take(g->ms, DIRTY_MEMORY_VGA, NULL);

    assert_non_null(epoch);
    uint64_t pages = dirty_epoch_pages(epoch);
    dirty_epoch_commit(epoch);
    return pages;
}

static void test_all_counts_as_dirty(void **state)
{
    Guest g;

    (void)state;
    start_private(&g, 0);
    unsigned long calls = kvm_fake_slot_calls(g.fake);

    OK(memory_region_set_log(&g.ram, true, DIRTY_MEMORY_VGA));
    assert_int_equal(kvm_fake_slot_calls(g.fake), calls); /* flags cannot change */
    assert_int_equal(take(&g), 16);
    assert_int_equal(take(&g), 16);
    unmap(g.ms, &g.ram); /* what was written since, too */
    assert_int_equal(take(&g), 16);
    assert_int_equal(take(&g), 0);
    map_at(g.ms, 0, &g.ram);
    take(&g);
    OK(memory_region_set_log(&g.ram, false, DIRTY_MEMORY_VGA));
    assert_int_equal(take(&g), 16); /* up to the end of logging */
    assert_int_equal(take(&g), 0);
    assert_int_equal(kvm_fake_calls(g.fake, KVM_GET_DIRTY_LOG), 0);
    assert_int_equal(g.reports, 0);
    end(&g);
}

/* ---- the running kernel ------------------------------------------- */

static void test_running_kernel(void **state)
{
    KvmHost host;
    const char *why = NULL;
    MemorySystem *ms = machine_start();
    KVMMemoryListener kml = {0};
    MemoryRegion ram;
    Guest g = {.ms = ms};

    (void)state;
    if (!kvm_host_open(&host, &why)) {
        machine_end(ms);
        print_message("no /dev/kvm: %s\n", why);
        skip();
    }
    KVMConfig config = KVM_CONFIG_INIT;
    config.kvm_fd = host.kvm;
    config.vm_fd = host.vm;
    g.kvm = kvm_create(ms, &config, NULL);
    assert_non_null(g.kvm);
    KVMCapabilities caps = *kvm_capabilities(g.kvm);
    if (!caps.guest_memfd || !caps.user_memory2) {
        OK(kvm_destroy(g.kvm));
        kvm_host_close(&host);
        machine_end(ms);
        print_message("this kernel has no guest_memfd\n");
        skip();
    }
    assert_true(kvm_host_start(&host, &why));
    make_ram(ms, &ram, "ram", SIZE);
    give_memfd(&g, "ram", SIZE);
    OK(kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(ms), 0, "kvm"));
    map_at(ms, 0x10000, &ram);
    OK(memory_region_set_log(&ram, true, DIRTY_MEMORY_VGA));
    assert_int_equal(kvm_host_store(&host, 0x12004, 0x42, 1), KVM_FAKE_DONE);
    assert_int_equal(((uint8_t *)memory_region_get_ram_ptr(&ram))[0x2004], 0x42);
    assert_int_equal(take(&g), 16);

    OK(memory_region_set_address(&ram, 0x14000)); /* over itself: delete and create */
    assert_int_equal(kvm_host_store(&host, 0x16004, 0x43, 1), KVM_FAKE_DONE);
    assert_int_equal(((uint8_t *)memory_region_get_ram_ptr(&ram))[0x2004], 0x43);
    OK(memory_region_set_readonly(&ram, true));
    OK(memory_region_set_readonly(&ram, false));
    assert_int_equal(kvm_host_store(&host, 0x17000, 0x44, 1), KVM_FAKE_DONE);

    int converted = kvm_convert_memory(g.kvm, 0x14000, PAGE, true, NULL);
    if (!caps.memory_attributes) {
        print_message("# this kernel has no memory attributes: conversions not tried\n");
        assert_int_equal(converted, -ENOTSUP);
    } else {
        OK(converted);
        OK(kvm_convert_memory(g.kvm, 0x14000, PAGE, false, NULL));
    }
    OK(kvm_destroy(g.kvm));
    kvm_host_close(&host);
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_by_the_kernel),
        cmocka_unit_test(test_given_to_a_block),
        cmocka_unit_test(test_not_while_it_is_seen),
        cmocka_unit_test(test_only_plain_ram),
        cmocka_unit_test(test_slots_are_split_and_moved),
        cmocka_unit_test(test_read_only_is_shared_only),
        cmocka_unit_test(test_twice_is_refused),
        cmocka_unit_test(test_kernel_without),
        cmocka_unit_test(test_resizing),
        cmocka_unit_test(test_all_counts_as_dirty),
        cmocka_unit_test(test_running_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
