/* SPDX-License-Identifier: MIT */
/*
 * The library's KVM code on the model of the kernel: what it believes to have put there is there,
 * through random changes of the map, and a vCPU's access ends where the map says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kvm/uapi.h"
#include "support/machine.h"
#include "support/rng.h"

#define PAGE 0x1000U
#define RAM_SIZE 0x200000U

enum { WINDOWS = 6, STEPS = 3000, SPAN = 64 /* pages */ };

typedef struct World {
    MemorySystem *ms;
    KVMModel *model;
    KVMState *kvm;
    KVMMemoryListener listener;
    MemoryRegion ram, windows[WINDOWS], device;
} World;

static void world_start(World *w)
{
    KVMConfig config = KVM_CONFIG_INIT;

    memset(w, 0, sizeof *w);
    w->ms = machine_start();
    w->model = kvm_model_create(NULL, NULL);
    assert_non_null(w->model);
    config.kernel = kvm_model_kernel(w->model);
    config.kvm_fd = kvm_model_fd(w->model);
    w->kvm = kvm_create(w->ms, &config, NULL);
    assert_non_null(w->kvm);
    assert_true(kvm_capabilities(w->kvm)->manual_dirty_log);
    make_ram(w->ms, &w->ram, "ram", RAM_SIZE);
    OK(memory_region_init_io(&w->device, memory_system_owner(w->ms), NULL, NULL, "device", PAGE));
    OK(memory_region_add_subregion_overlap(get_system_memory(w->ms), 20 * PAGE, &w->device, 3));
    for (unsigned i = 0; i < WINDOWS; i++) {
        make_alias(w->ms, &w->windows[i], &w->ram, i * 0x10000, 16 * PAGE);
        OK(memory_region_add_subregion_overlap(get_system_memory(w->ms), i * 10 * PAGE,
                                               &w->windows[i], (int)i % 3));
    }
    OK(kvm_memory_listener_register(w->kvm, &w->listener, memory_system_memory(w->ms), 0, "kvm"));
}

static void world_end(World *w)
{
    KVMMemorySlot slot;

    kvm_memory_listener_unregister(&w->listener);
    for (hwaddr gpa = 0; gpa < SPAN * PAGE; gpa += PAGE) {
        assert_false(kvm_model_find_slot(w->model, 0, gpa, &slot));
    }
    kvm_destroy(w->kvm);
    kvm_model_destroy(w->model);
    machine_end(w->ms);
}

static bool is_in_model(const KVMSlot *slot, void *opaque)
{
    const World *w = opaque;
    KVMMemorySlot there;

    assert_true(kvm_model_find_slot(w->model, slot->as_id, slot->start_addr, &there));
    assert_int_equal(there.id, slot->slot);
    assert_int_equal(there.base_gfn * PAGE, slot->start_addr);
    assert_int_equal(there.npages * PAGE, slot->memory_size);
    assert_int_equal(there.userspace_addr, (uintptr_t)slot->ram);
    assert_int_equal(there.flags, slot->flags);
    assert_ptr_equal(slot->ram,
                     (char *)memory_region_get_ram_ptr(slot->mr) + slot->offset_within_region);
    return false;
}

static bool count_slot(const KVMMemorySlot *slot, void *opaque)
{
    (void)slot;
    *(unsigned *)opaque += 1;
    return false;
}

static bool keep_entry(const KVMModelEntry *entry, void *opaque)
{
    *(KVMModelEntry *)opaque = *entry;
    return false;
}

/* A read and a write of each page end in the memory that the view has there, or exit. */
static void check_accesses(World *w)
{
    FlatView *view = address_space_get_flatview(memory_system_memory(w->ms));

    for (hwaddr gpa = 0; gpa < SPAN * PAGE; gpa += PAGE) {
        MemoryRegionSection there;
        KVMModelEntry leaf;
        bool ram = flatview_lookup(view, gpa, &there) && memory_region_is_ram(there.mr);
        bool writable = ram && !there.readonly;
        assert_int_equal(kvm_model_fault(w->model, 0, gpa, false) == KVM_FAULT_MMIO, !ram);
        assert_int_equal(kvm_model_fault(w->model, 0, gpa, true) == KVM_FAULT_MMIO, !writable);
        kvm_model_walk(w->model, 0, gpa, keep_entry, &leaf);
        assert_int_equal(leaf.kind == KVM_ENTRY_LEAF, ram);
        if (ram) {
            hwaddr offset = there.offset_within_region + gpa - there.offset_within_address_space;
            assert_int_equal(leaf.hva + (gpa - leaf.first_gfn * PAGE),
                             (uintptr_t)memory_region_get_ram_ptr(&w->ram) + offset);
            assert_int_equal(!!(leaf.spte & KVM_SPTE_WRITE), writable);
        }
    }
    flatview_unref(view);
}

static void edit(World *w, Rng *rng)
{
    MemoryRegion *window = &w->windows[rng_below(rng, WINDOWS)];

    switch (rng_below(rng, 6)) {
    case 0:
        OK(memory_region_set_enabled(window, rng_percent(rng, 60)));
        break;
    case 1:
        OK(memory_region_set_address(window, rng_below(rng, SPAN - 16) * PAGE));
        break;
    case 2:
        OK(memory_region_set_readonly(window, rng_percent(rng, 30)));
        break;
    case 3:
        OK(memory_region_set_alias_offset(window, rng_below(rng, 256) * PAGE));
        break;
    case 4:
        OK(memory_region_set_log(&w->ram, rng_percent(rng, 50), DIRTY_MEMORY_VGA));
        break;
    default:
        OK(memory_region_set_address(&w->device, rng_below(rng, SPAN) * PAGE));
        break;
    }
}

static void the_kernel_has_what_the_library_thinks(void **state)
{
    Rng rng = {1};
    World w;

    (void)state;
    world_start(&w);
    for (unsigned i = 0; i < STEPS; i++) {
        memory_region_transaction_begin(w.ms);
        for (unsigned edits = 1 + rng_below(&rng, 3); edits > 0; edits--) {
            edit(&w, &rng);
        }
        OK(memory_region_transaction_commit(w.ms));
        unsigned there = 0;
        kvm_for_each_slot(w.kvm, is_in_model, &w);
        kvm_model_for_each_slot(w.model, count_slot, &there);
        assert_int_equal(there, kvm_get_max_memslots(w.kvm) - kvm_get_free_memslots(w.kvm, 0));
        check_accesses(&w);
    }
    world_end(&w);
}

static void vcpus_have_their_area(void **state)
{
    World w;

    (void)state;
    world_start(&w);
    KVMVcpu *cpu = kvm_vcpu_create(w.kvm, 0, NULL);
    assert_non_null(cpu);
    kvm_vcpu_get_run(cpu)->immediate_exit = 1;
    kvm_vcpu_destroy(cpu);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_has_what_the_library_thinks),
        cmocka_unit_test(vcpus_have_their_area),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
