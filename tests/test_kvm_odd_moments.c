/* SPDX-License-Identifier: MIT */
/*
 * Odd moments: changes that are refused halfway, kernels that refuse to take something back, and
 * what happens to regions and address spaces after that.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/kvm_machine.h"

static uint64_t read_five(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)addr, (void)size;
    return 0x55;
}

static const MemoryRegionOps five = {.read = read_five};

/* What a vCPU gets that reads a byte at @addr by an exit. */
static uint8_t read_by_exit(const Guest *g, hwaddr addr)
{
    struct kvm_run *run = calloc(1, 3 * PAGE);

    assert_non_null(run);
    run->exit_reason = KVM_EXIT_MMIO;
    run->mmio.phys_addr = addr;
    run->mmio.len = 1;
    assert_int_equal(kvm_memory_exit(g->kvm, run), 1);
    uint8_t value = run->mmio.data[0];
    free(run);
    return value;
}

/* A change that would leave nothing is refused: exits are served as before. */
static void test_exits_after_a_refusal(void **state)
{
    Guest g;
    KVMMemoryListener memory = {0}, ports = {0};
    MemoryRegion ram, device;

    (void)state;
    start(&g, NULL);
    make_ram(g.ms, &ram, "ram", SIZE);
    OK(memory_region_init_io(&device, memory_system_owner(g.ms), &five, NULL, "five", PAGE));
    map_at(g.ms, 0, &ram);
    map_at(g.ms, 0x100000, &device);
    OK(kvm_memory_listener_register(g.kvm, &memory, memory_system_memory(g.ms), 0, "memory"));
    assert_int_equal(read_by_exit(&g, 0x100000), 0x55);
    kvm_fake_fail(g.fake, KVM_SET_USER_MEMORY_REGION, 1, EIO, false);
    REFUSED(-EIO, memory_region_set_enabled(get_system_memory(g.ms), false));
    assert_int_equal(kvm_fake_heal(g.fake), 1);
    OK(kvm_memory_listener_register(g.kvm, &ports, memory_system_io(g.ms), KVM_AS_PORTS, "ports"));
    assert_int_equal(read_by_exit(&g, 0x100000), 0x55);
    end(&g);
}

/* An address space goes while the kernel refuses to let go of its slots. */
static void test_space_that_the_kernel_holds(void **state)
{
    Guest g;
    KVMMemoryListener kml = {0};
    MemoryRegion root, ram;
    AddressSpace *as = calloc(1, sizeof *as);

    (void)state;
    start(&g, NULL);
    make_container(g.ms, &root, "root", UINT64_MAX);
    make_ram(g.ms, &ram, "ram", SIZE);
    OK(memory_region_set_log(&ram, true, DIRTY_MEMORY_VGA));
    OK(memory_region_add_subregion(&root, 0x1000, &ram));
    OK(address_space_init(as, &root, "as"));
    OK(kvm_memory_listener_register(g.kvm, &kml, as, 0, "kvm"));
    kvm_fake_fail(g.fake, KVM_SET_USER_MEMORY_REGION, 1, EIO, true);
    OK(address_space_destroy(as));
    assert_true(kvm_fake_heal(g.fake));
    assert_true(g.reports > 0);
    memory_system_drain(g.ms);
    free(as);
    assert_int_equal(read_by_exit(&g, 0x1000), 0);
    OK(memory_region_del_subregion(&root, &ram));
    OK(memory_region_finalize(&ram));
    memset(&ram, 0xee, sizeof ram);
    OK(kvm_memory_listener_unregister(&kml));
    end(&g);
}

/* The second slot fails, and the first one stays; then its region ends. */
static void test_region_that_the_kernel_holds(void **state)
{
    Guest g;
    KVMMemoryListener kml = {0};
    MemoryRegion ram, other;
    KVMConfig config = begin(&g, NULL);

    (void)state;
    config.max_slot_size = SIZE / 2;
    g.kvm = kvm_create(g.ms, &config, NULL);
    assert_non_null(g.kvm);
    make_ram(g.ms, &ram, "ram", SIZE);
    make_ram(g.ms, &other, "other", PAGE);
    OK(memory_region_set_log(&ram, true, DIRTY_MEMORY_VGA));
    OK(kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
    kvm_fake_fail(g.fake, KVM_SET_USER_MEMORY_REGION, 2, EIO, true);
    REFUSED(-EIO, memory_region_add_subregion(get_system_memory(g.ms), 0, &ram));
    assert_int_equal(kvm_fake_heal(g.fake), 2);
    assert_int_equal(kvm_fake_slots(g.fake, 0), 1);
    memory_system_drain(g.ms);
    OK(memory_region_finalize(&ram));
    memset(&ram, 0xee, sizeof ram);
    memory_global_dirty_log_sync(g.ms, false);
    map_at(g.ms, 0x100000, &other);
    assert_int_equal(kvm_fake_slots(g.fake, 0), 1);
    end(&g);
}

/* Two changes of one stretch that reaches the end of the address space. */
static void test_stretch_at_the_end(void **state)
{
    Guest g;
    KVMMemoryListener kml = {0};
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    MemoryRegion ram, part[3];

    (void)state;
    caps.gpa_bits = 64;
    start(&g, &caps);
    make_ram(g.ms, &ram, "ram", 8 * PAGE);
    for (unsigned i = 0; i < 3; i++) {
        make_alias(g.ms, &part[i], &ram, 2 * i * PAGE, (i < 2 ? 2 : 4) * PAGE);
        OK(memory_region_set_nonvolatile(&part[i], i == 1));
        OK(memory_region_set_enabled(&part[i], i == 1));
        map_at(g.ms, UINT64_MAX - (8 - 2 * i) * PAGE + 1, &part[i]);
    }
    OK(kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
    memory_region_transaction_begin(g.ms);
    OK(memory_region_set_enabled(&part[0], true));
    OK(memory_region_set_enabled(&part[2], true));
    OK(memory_region_transaction_commit(g.ms));
    assert_int_equal(kvm_fake_slots(g.fake, 0), 3);
    end(&g);
}

static bool unplug(const KVMSlot *slot, void *opaque)
{
    unsigned *visited = opaque;

    ++*visited;
    return memory_region_set_enabled(slot->mr, false) != 0;
}

/* Who visits slots may change the map. */
static void test_visitor_that_edits(void **state)
{
    Guest g;
    KVMMemoryListener kml = {0};
    MemoryRegion a, b;
    unsigned visited = 0;

    (void)state;
    start(&g, NULL);
    make_ram(g.ms, &a, "a", SIZE);
    make_ram(g.ms, &b, "b", SIZE);
    map_at(g.ms, 0, &a);
    map_at(g.ms, 0x100000, &b);
    OK(kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
    assert_false(kvm_for_each_slot(g.kvm, unplug, &visited));
    assert_int_equal(visited, 2);
    assert_int_equal(kvm_fake_slots(g.fake, 0), 0);
    end(&g);
}

/* A kernel that takes any slot: the fake looks through all of them each time. */
static int take_any_slot(void *opaque, int fd, unsigned long request, void *arg)
{
    return request == KVM_SET_USER_MEMORY_REGION ? 0 : kvm_fake_ioctl(opaque, fd, request, arg);
}

#define MIRRORS 20000U
#define MIRRORS_AT 0x100000000

static bool visit_mirror(const KVMSlot *slot, void *opaque)
{
    unsigned *visited = opaque;

    assert_int_equal(slot->start_addr, MIRRORS_AT + 2 * *visited * PAGE);
    ++*visited;
    return false;
}

/* Any slot could be moved to any place: the search for the best has an end. */
static void test_many_slots_of_one_page(void **state)
{
    Guest g;
    KVMMemoryListener kml = {0};
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    MemoryRegion ram, box, *mirrors = calloc(MIRRORS, sizeof *mirrors);
    unsigned visited = 0;

    (void)state;
    caps.nr_memslots = MIRRORS;
    KVMConfig config = begin(&g, &caps);
    config.kernel.ioctl = take_any_slot;
    g.kvm = kvm_create(g.ms, &config, NULL);
    assert_non_null(g.kvm);
    assert_non_null(mirrors);
    make_ram(g.ms, &ram, "ram", PAGE);
    make_container(g.ms, &box, "box", 2 * MIRRORS * PAGE);
    for (unsigned i = 0; i < MIRRORS; i++) {
        make_alias(g.ms, &mirrors[i], &ram, 0, PAGE);
        OK(memory_region_add_subregion(&box, 2 * i * PAGE, &mirrors[i]));
    }
    map_at(g.ms, 0, &box);
    OK(kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
    OK(memory_region_set_address(&box, MIRRORS_AT));
    assert_false(kvm_for_each_slot(g.kvm, visit_mirror, &visited));
    assert_int_equal(visited, MIRRORS);
    end(&g);
    free(mirrors);
}

/* A hole that was punched and closed leaves three slots, which are one when room is needed. */
static void test_fragments_make_room(void **state)
{
    Guest g;
    KVMMemoryListener kml = {0};
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    MemoryRegion ram, hole, more;

    (void)state;
    caps.nr_memslots = 3;
    start(&g, &caps);
    make_ram(g.ms, &ram, "ram", SIZE);
    make_ram(g.ms, &more, "more", SIZE);
    OK(memory_region_init_io(&hole, memory_system_owner(g.ms), NULL, NULL, "hole", PAGE));
    map_at(g.ms, 0, &ram);
    OK(kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
    OK(memory_region_add_subregion_overlap(get_system_memory(g.ms), PAGE, &hole, 1));
    unmap(g.ms, &hole);
    assert_int_equal(kvm_fake_slots(g.fake, 0), 3);
    map_at(g.ms, 0x100000, &more);
    assert_int_equal(kvm_fake_slots(g.fake, 0), 2);
    end(&g);
}

/* The same where nothing has to be told of what is there. */
static void test_layout_afresh_in_parts(void **state)
{
    Guest g;
    KVMMemoryListener kml = {0};
    MemoryRegion ram, hole, more;
    KVMConfig config = begin(&g, NULL);

    (void)state;
    config.max_slots = 5;
    config.max_slot_size = SIZE / 4;
    g.kvm = kvm_create(g.ms, &config, NULL);
    assert_non_null(g.kvm);
    make_ram(g.ms, &ram, "ram", SIZE);
    make_ram(g.ms, &more, "more", PAGE);
    OK(memory_region_init_io(&hole, memory_system_owner(g.ms), NULL, NULL, "hole", PAGE));
    map_at(g.ms, 0, &ram);
    OK(kvm_memory_listener_register(g.kvm, &kml, memory_system_memory(g.ms), 0, "kvm"));
    assert_int_equal(kvm_fake_slots(g.fake, 0), 4);
    OK(memory_region_add_subregion_overlap(get_system_memory(g.ms), SIZE / 2, &hole, 1));
    unmap(g.ms, &hole);
    assert_int_equal(kvm_fake_slots(g.fake, 0), 5);
    kvm_fake_forget_calls(g.fake);
    map_at(g.ms, 0x100000, &more);
    assert_int_equal(kvm_fake_slots(g.fake, 0), 5);
    assert_int_equal(kvm_fake_slot_calls(g.fake), 4); /* two go, one comes; and `more` */
    end(&g);
}

static KVMVcpu *cpu_inside;

static int kick_inside(void *opaque, unsigned cpu, struct kvm_run *run)
{
    (void)opaque, (void)cpu;
    kvm_vcpu_kick(cpu_inside);
    return run->immediate_exit ? -EINTR : 0;
}

static void nothing(void *opaque)
{
    (void)opaque;
}

/* A kick works where the program keeps vCPUs out by itself, too. */
static void test_kick_with_hooks(void **state)
{
    Guest g;
    KVMConfig config = begin(&g, NULL);

    (void)state;
    signal(SIGUSR1, SIG_DFL);
    config.pause_vcpus = config.resume_vcpus = nothing;
    g.kvm = kvm_create(g.ms, &config, NULL);
    assert_non_null(g.kvm);
    cpu_inside = kvm_vcpu_create(g.kvm, 0, NULL);
    assert_non_null(cpu_inside);
    kvm_fake_on_run(g.fake, kick_inside, NULL);
    assert_int_equal(kvm_vcpu_run(cpu_inside), -EINTR);
    end(&g);
}

/* A kick that comes late ends no other system call of the vCPU's thread. */
static void test_kick_restarts_calls(void **state)
{
    Guest g;
    struct sigaction action;

    (void)state;
    signal(SIGUSR1, SIG_DFL);
    start(&g, NULL);
    assert_int_equal(sigaction(SIGUSR1, NULL, &action), 0);
    assert_ptr_not_equal(action.sa_handler, SIG_DFL);
    assert_true(action.sa_flags & SA_RESTART);
    end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exits_after_a_refusal),
        cmocka_unit_test(test_space_that_the_kernel_holds),
        cmocka_unit_test(test_region_that_the_kernel_holds),
        cmocka_unit_test(test_stretch_at_the_end),
        cmocka_unit_test(test_visitor_that_edits),
        cmocka_unit_test(test_many_slots_of_one_page),
        cmocka_unit_test(test_fragments_make_room),
        cmocka_unit_test(test_layout_afresh_in_parts),
        cmocka_unit_test(test_kick_with_hooks),
        cmocka_unit_test(test_kick_restarts_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
