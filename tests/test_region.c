/* SPDX-License-Identifier: MIT */
/* Editing the tree: what is refused leaves everything as it was and says why. */
#include "support/shown.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

#define SIZE_2_64 UINT64_MAX

static uint64_t read_zero(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)addr, (void)size;
    return 0;
}

static void write_nowhere(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque, (void)addr, (void)data, (void)size;
}

static const MemoryRegionOps fine_ops = {.read = read_zero, .write = write_nowhere};

/* What one call may not change: what the address space shows, and its very view. */
typedef struct Before {
    Shown shown;
    uint64_t id;
} Before;

static Before remember(MemorySystem *ms)
{
    Before b = {0};
    FlatView *view = address_space_get_flatview(memory_system_memory(ms));

    assert_true(shown_take(&b.shown, view));
    b.id = flatview_id(view);
    flatview_unref(view);
    return b;
}

static void assert_unchanged(MemorySystem *ms, Before *b)
{
    FlatView *view = address_space_get_flatview(memory_system_memory(ms));
    FlatView *fresh = address_space_render(memory_system_memory(ms));
    Shown now = {0};

    assert_true(shown_take(&now, view) && shown_equal(&now, &b->shown));
    assert_true(flatview_id(view) == b->id);
    assert_true(flatview_equal(view, fresh));
    flatview_unref(view);
    flatview_unref(fresh);
    shown_free(&now);
    shown_free(&b->shown);
}

static void regions_answer_questions(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryOwner *owner = memory_system_owner(ms);
    MemoryRegion box, io, ram, flash, window;

    (void)state;
    make_container(ms, &box, "box", 0x10000);
    OK(memory_region_init_io(&io, owner, &fine_ops, NULL, "regs", 0x100));
    make_ram(ms, &ram, "ram", 0x2000);
    OK(memory_region_init_rom_device(&flash, owner, &fine_ops, NULL, "flash", 0x1000, NULL));
    make_alias(ms, &window, &ram, 0x800, 0x1000);
    assert_string_equal(memory_region_name(&io), "regs");
    assert_true(memory_region_size(&ram) == 0x2000);
    assert_ptr_equal(memory_region_owner(&io), owner);
    assert_false(memory_region_is_terminating(&box));
    assert_true(memory_region_is_terminating(&io) && memory_region_is_terminating(&ram) &&
                memory_region_is_terminating(&flash));
    assert_false(memory_region_is_terminating(&window));
    assert_true(memory_region_is_ram(&ram) && !memory_region_is_rom(&ram));
    assert_false(memory_region_is_ram(&io));
    assert_true(memory_region_is_rom_device(&flash) && memory_region_is_romd(&flash));
    assert_ptr_equal(memory_region_alias_target(&window), &ram);
    assert_true(memory_region_alias_offset(&window) == 0x800);
    assert_null(memory_region_alias_target(&ram));
    assert_null(memory_region_get_ram_ptr(&io));
    assert_int_equal(memory_region_get_fd(&ram), -1);
    assert_true(memory_region_is_enabled(&io) && !memory_region_is_mapped(&io));
    OK(memory_region_add_subregion_overlap(&box, 0x4000, &io, -7));
    assert_true(memory_region_is_mapped(&io));
    assert_ptr_equal(memory_region_container(&io), &box);
    assert_true(memory_region_address(&io) == 0x4000);
    assert_int_equal(memory_region_priority(&io), -7);
    assert_true(memory_region_present(&box, 0x40ff));
    assert_false(memory_region_present(&box, 0x4100));
    assert_false(memory_region_present(&box, 0x3fff));
    assert_int_equal(memory_region_get_dirty_log_mask(&ram), 0);
    OK(memory_region_set_log(&ram, true, DIRTY_MEMORY_VGA));
    assert_int_equal(memory_region_get_dirty_log_mask(&ram), 1 << DIRTY_MEMORY_VGA);
    OK(memory_region_set_log(&ram, false, DIRTY_MEMORY_VGA));
    assert_int_equal(memory_region_get_dirty_log_mask(&ram), 0);
    OK(memory_region_set_nonvolatile(&ram, true));
    OK(memory_region_set_unmergeable(&ram, true));
    OK(memory_region_set_readonly(&ram, true));
    assert_true(memory_region_is_nonvolatile(&ram) && memory_region_is_unmergeable(&ram) &&
                memory_region_is_readonly(&ram) && memory_region_is_rom(&ram));
    OK(memory_region_set_address(&window, 0x99)); /* for later */
    assert_true(memory_region_address(&window) == 0x99);
    machine_end(ms);
}

typedef struct Visit {
    MemoryRegion *seen[8];
    unsigned count, stop_at;
} Visit;

static bool visit(MemoryRegion *sub, void *opaque)
{
    Visit *v = opaque;

    v->seen[v->count++] = sub;
    return v->count == v->stop_at;
}

static void subregions_are_visited_in_order(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion box, sub[6];
    Visit v = {0};

    (void)state;
    make_container(ms, &box, "box", 0x1000);
    for (int i = 0; i < 6; i++) {
        make_container(ms, &sub[i], "sub", 0x10);
    }
    OK(memory_region_add_subregion(&box, 0x200, &sub[0]));
    OK(memory_region_add_subregion(&box, 0x100, &sub[1]));
    OK(memory_region_add_subregion_overlap(&box, 0x100, &sub[2], -1));
    OK(memory_region_add_subregion_overlap(&box, 0x100, &sub[3], 5));
    OK(memory_region_add_subregion(&box, 0x100, &sub[4])); /* newer than 1 */
    OK(memory_region_add_subregion(&box, 0, &sub[5]));
    assert_false(memory_region_for_each_subregion(&box, visit, &v));
    assert_int_equal(v.count, 6);
    assert_ptr_equal(v.seen[0], &sub[5]);
    assert_ptr_equal(v.seen[1], &sub[3]);
    assert_ptr_equal(v.seen[2], &sub[4]);
    assert_ptr_equal(v.seen[3], &sub[1]);
    assert_ptr_equal(v.seen[4], &sub[2]);
    assert_ptr_equal(v.seen[5], &sub[0]);
    v = (Visit){.stop_at = 2};
    assert_true(memory_region_for_each_subregion(&box, visit, &v));
    assert_int_equal(v.count, 2);
    machine_end(ms);
}

static void ill_formed_regions_are_refused(void **state)
{
    MemorySystem *ms = machine_start(), *stranger = machine_start();
    MemoryOwner *owner = memory_system_owner(ms);
    Before before = remember(ms);
    static const MemoryRegionOps impl_unaligned = {.impl.unaligned = true},
                                 impl_three = {.impl.max_access_size = 3},
                                 impl_sixteen = {.impl.max_access_size = 16},
                                 impl_twisted = {.impl = {4, 2, false}},
                                 valid_twisted = {.valid = {8, 4, false, NULL}},
                                 valid_five = {.valid.min_access_size = 5};
    static const MemoryRegionOps *const ill[] = {&impl_unaligned, &impl_three,    &impl_sixteen,
                                                 &impl_twisted,   &valid_twisted, &valid_five};
    MemoryRegion mr, there;
    Error *err = NULL;
    uint8_t byte;

    (void)state;
    REFUSED(-EINVAL, memory_region_init(NULL, owner, "x", 1));
    REFUSED(-EINVAL, memory_region_init(&mr, NULL, "x", 1));
    for (unsigned i = 0; i < sizeof(ill) / sizeof(ill[0]); i++) {
        REFUSED(-EINVAL, memory_region_init_io(&mr, owner, ill[i], NULL, "x", 16));
        REFUSED(-EINVAL,
                memory_region_init_rom_device(&mr, owner, ill[i], NULL, "x", 0x1000, NULL));
    }
    REFUSED(-EINVAL, memory_region_init_rom_device(&mr, owner, NULL, NULL, "x", 0x1000, NULL));
    REFUSED(-EINVAL, memory_region_init_ram(&mr, owner, "x", 0, &err));
    assert_non_null(err);
    assert_int_equal(error_get_errno(err), -EINVAL);
    assert_string_equal(error_get_pretty(err), membus_last_error());
    error_free(err);
    error_free(NULL);
    REFUSED(-EINVAL, memory_region_init_ram(&mr, owner, "x", SIZE_2_64, NULL));
    assert_true(memory_region_init_ram(&mr, owner, "x", 1ULL << 62, NULL) < 0);
    REFUSED(-EINVAL, memory_region_init_ram_ptr(&mr, owner, "x", 16, NULL));
    REFUSED(-EINVAL, memory_region_init_ram_device_ptr(&mr, owner, "x", 16, NULL));
    REFUSED(-EINVAL,
            memory_region_init_resizeable_ram(&mr, owner, "x", 0x2000, 0x1000, NULL, NULL));
    REFUSED(-EINVAL, memory_region_init_alias(&mr, owner, "x", NULL, 0, 16));
    make_container(stranger, &there, "there", 16);
    REFUSED(-EINVAL, memory_region_init_alias(&mr, owner, "x", &there, 0, 16));
    REFUSED(-EINVAL, memory_region_add_subregion(get_system_memory(ms), 0, &there));
    OK(memory_region_init_ram_ptr(&mr, owner, NULL, 1, &byte));
    assert_string_equal(memory_region_name(&mr), "");
    assert_unchanged(ms, &before);
    machine_end(stranger);
    machine_end(ms);
}

static void broken_edits_are_refused(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion *system = get_system_memory(ms);
    MemoryRegion box, inner, ram, window, loose;
    Before before;

    (void)state;
    make_container(ms, &box, "box", 0x10000);
    make_container(ms, &inner, "inner", 0x8000);
    make_container(ms, &loose, "loose", 0x1000);
    make_ram(ms, &ram, "ram", 0x1000);
    make_alias(ms, &window, &ram, 0, 0x1000);
    OK(memory_region_add_subregion(system, 0x100000, &box));
    OK(memory_region_add_subregion(&box, 0x1000, &inner));
    OK(memory_region_add_subregion(&inner, 0, &ram));
    OK(memory_region_add_subregion(&box, 0xa000, &window));
    before = remember(ms);

    REFUSED(-EBUSY, memory_region_add_subregion(system, 0, &ram)); /* twice */
    REFUSED(-EBUSY, memory_region_add_subregion(&inner, 0, &ram));
    REFUSED(-EINVAL, memory_region_add_subregion(&window, 0, &loose)); /* into an alias */
    REFUSED(-EINVAL, memory_region_add_subregion_overlap(&window, 0, &loose, 3));
    REFUSED(-EINVAL, memory_region_del_subregion(system, &ram)); /* of another */
    REFUSED(-EINVAL, memory_region_del_subregion(&loose, &window));
    REFUSED(-EINVAL, memory_region_del_subregion(system, &loose)); /* of none */
    REFUSED(-EINVAL, memory_region_add_subregion(&loose, 0, NULL));
    REFUSED(-EINVAL, memory_region_add_subregion(NULL, 0, &loose));
    assert_unchanged(ms, &before);
    machine_end(ms);
}

static void cycles_are_refused(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion a, b, c, self, there;
    Before before;

    (void)state;
    make_container(ms, &a, "a", 0x1000);
    make_container(ms, &b, "b", 0x1000);
    make_container(ms, &c, "c", 0x1000);
    REFUSED(-ELOOP, memory_region_add_subregion(&a, 0, &a));
    OK(memory_region_add_subregion(&a, 0, &b));
    OK(memory_region_add_subregion(&b, 0, &c));
    REFUSED(-ELOOP, memory_region_add_subregion(&c, 0, &a));
    REFUSED(-ELOOP, memory_region_add_subregion(&b, 0, &a));
    map_at(ms, 0, &a);
    before = remember(ms);
    /* a window that shows itself in the same place, at one remove and at two */
    make_alias(ms, &self, &a, 0, 0x1000);
    REFUSED(-ELOOP, memory_region_add_subregion(&c, 0, &self));
    REFUSED(-ELOOP, memory_region_add_subregion(&a, 0, &self));
    make_alias(ms, &there, &b, 0, 0x1000);
    REFUSED(-ELOOP, memory_region_add_subregion(&c, 0, &there));
    assert_unchanged(ms, &before);
    before = remember(ms);
    /* one that ends, since each step is lower */
    OK(memory_region_add_subregion(&a, 0xf00, &self));
    assert_true(memory_region_is_mapped(&self));
    /* ... must not be made endless by a change of its attributes */
    REFUSED(-ELOOP, memory_region_set_address(&self, 0));
    assert_true(memory_region_address(&self) == 0xf00);
    REFUSED(-ELOOP, memory_region_set_alias_offset(&self, 0xf00));
    assert_true(memory_region_alias_offset(&self) == 0);
    OK(memory_region_del_subregion(&a, &self));
    shown_free(&before.shown);
    machine_end(ms);
}

static void deep_trees_are_refused(void **state)
{
    enum { DEEP = MEMORY_REGION_MAX_DEPTH + 50 };
    MemorySystem *ms = machine_start();
    MemoryRegion *box = calloc(DEEP, sizeof(*box)), beside;
    int rc = 0, i;

    (void)state;
    for (i = 0; i < DEEP; i++) {
        make_container(ms, &box[i], "box", 0x1000);
    }
    make_container(ms, &beside, "beside", 0x1000);
    map_at(ms, 0x1000, &beside); /* so that `system` is more than its only child */
    map_at(ms, 0, &box[0]);
    for (i = 1; i < DEEP && !rc; i++) {
        rc = memory_region_add_subregion(&box[i - 1], 0, &box[i]);
    }
    assert_int_equal(rc, -ELOOP);
    assert_true(i > MEMORY_REGION_MAX_DEPTH / 2 && i <= MEMORY_REGION_MAX_DEPTH + 2);
    /* nor by joining two that are allowed alone */
    for (int k = DEEP - 1; k > i + 1; k--) {
        OK(memory_region_add_subregion(&box[k - 1], 0, &box[k]));
    }
    REFUSED(-ELOOP, memory_region_add_subregion(&box[i - 3], 0, &box[i + 1]));
    machine_end(ms);
    free(box);
}

static void attributes_of_the_wrong_kind_are_refused(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryOwner *owner = memory_system_owner(ms);
    MemoryRegion box, io, ram, grow, window;
    Before before;
    Error *err = NULL;
    EventNotifier e = {.fd = 1};

    (void)state;
    make_container(ms, &box, "box", 0x1000);
    OK(memory_region_init_io(&io, owner, &fine_ops, NULL, "io", 0x100));
    make_ram(ms, &ram, "ram", 0x1000);
    make_alias(ms, &window, &ram, 0, 0x1000);
    OK(memory_region_init_resizeable_ram(&grow, owner, "grow", 0x1000, 0x4000, NULL, NULL));
    map_at(ms, 0, &ram);
    map_at(ms, 0x1000, &io);
    map_at(ms, 0x8000, &grow);
    before = remember(ms);
    REFUSED(-EINVAL, memory_region_set_size(&ram, 0x2000));
    REFUSED(-EINVAL, memory_region_set_alias_offset(&ram, 0));
    REFUSED(-EINVAL, memory_region_set_alias_offset(&box, 0));
    REFUSED(-EINVAL, memory_region_rom_device_set_romd(&io, false));
    REFUSED(-EINVAL, memory_region_rom_device_set_romd(&ram, false));
    REFUSED(-EINVAL, memory_region_ram_resize(&ram, 0x2000, &err));
    assert_non_null(err);
    error_free(err);
    REFUSED(-EINVAL, memory_region_ram_resize(&grow, 0x5000, NULL));
    REFUSED(-EINVAL, memory_region_set_log(&io, true, DIRTY_MEMORY_VGA));
    REFUSED(-EINVAL, memory_region_set_log(&box, true, DIRTY_MEMORY_VGA));
    REFUSED(-EINVAL, memory_region_set_log(&ram, true, DIRTY_MEMORY_NUM));
    REFUSED(-EINVAL, memory_region_add_coalescing(&io, 0xf0, 0x11));
    REFUSED(-EINVAL, memory_region_add_coalescing(&io, UINT64_MAX, 2));
    REFUSED(-EINVAL, memory_region_add_eventfd(&io, 0, 3, false, 0, &e));
    REFUSED(-EINVAL, memory_region_add_eventfd(&io, 0xfe, 4, false, 0, &e));
    REFUSED(-ENOENT, memory_region_del_eventfd(&io, 0, 4, false, 0, &e));
    assert_int_equal(memory_region_get_dirty_log_mask(&ram), 0);
    assert_unchanged(ms, &before);
    OK(memory_region_add_eventfd(&io, 0, 4, true, 7, &e));
    REFUSED(-EEXIST, memory_region_add_eventfd(&io, 0, 4, true, 7, &e));
    REFUSED(-ENOENT, memory_region_del_eventfd(&io, 0, 4, true, 8, &e));
    OK(memory_region_del_eventfd(&io, 0, 4, true, 7, &e));
    machine_end(ms);
}

static void regions_in_use_are_not_finalized(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion box, sub, window, target, root;
    AddressSpace as = {0};

    (void)state;
    make_container(ms, &box, "box", 0x1000);
    make_container(ms, &sub, "sub", 0x1000);
    make_container(ms, &target, "target", 0x1000);
    make_container(ms, &root, "root", 0x1000);
    make_alias(ms, &window, &target, 0, 0x1000);
    OK(address_space_init(&as, &root, "as"));
    OK(memory_region_add_subregion(&box, 0, &sub));
    REFUSED(-EBUSY, memory_region_finalize(&sub));
    REFUSED(-EBUSY, memory_region_finalize(&target));
    REFUSED(-EBUSY, memory_region_finalize(&root));
    assert_ptr_equal(memory_region_container(&sub), &box);
    OK(memory_region_finalize(&box)); /* takes sub out */
    assert_false(memory_region_is_mapped(&sub));
    OK(memory_region_finalize(&window));
    OK(memory_region_finalize(&target));
    OK(memory_region_finalize(&sub));
    OK(address_space_destroy(&as));
    memory_system_drain(ms);
    OK(memory_region_finalize(&root));
    machine_end(ms);
}

static void sizes_reach_both_ends(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion all, none, top;
    MemoryRegionSection s;
    Shown shown = {0};

    (void)state;
    OK(memory_region_init_io(&all, memory_system_owner(ms), &fine_ops, NULL, "all", SIZE_2_64));
    OK(memory_region_init_io(&none, memory_system_owner(ms), &fine_ops, NULL, "none", 0));
    OK(memory_region_init_io(&top, memory_system_owner(ms), &fine_ops, NULL, "top", 0x1000));
    map_at(ms, 0, &all);
    assert_true(shown_take_space(&shown, as));
    assert_int_equal(shown.count, 1);
    assert_true(shown.range[0].first == 0 && shown.range[0].last == UINT64_MAX);
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), 5, &none, 1));
    assert_true(shown_take_space(&shown, as));
    assert_int_equal(shown.count, 1);
    /* hangs over the top: clipped, does not come round */
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), UINT64_MAX - 0xf, &top, 1));
    assert_true(shown_take_space(&shown, as));
    assert_int_equal(shown.count, 2);
    assert_true(shown.range[1].first == UINT64_MAX - 0xf && shown.range[1].last == UINT64_MAX);
    OK(memory_region_set_address(&all, 0x10));
    assert_true(shown_take_space(&shown, as));
    assert_true(shown.range[0].first == 0x10 && shown.range[0].offset == 0);
    OK(memory_region_set_size(&none, 1));
    s = memory_region_find(get_system_memory(ms), 0, SIZE_2_64);
    assert_ptr_equal(s.mr, &none);
    assert_true(s.offset_within_address_space == 5 && s.size == 1);
    memory_region_unref(s.mr);
    shown_free(&shown);
    machine_end(ms);
}

static void transactions_show_all_at_once(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion a, b;
    MemTxResult result = 0;

    (void)state;
    make_ram(ms, &a, "a", 0x1000);
    make_ram(ms, &b, "b", 0x1000);
    REFUSED(-EINVAL, memory_region_transaction_commit(ms));
    assert_false(memory_system_locked(ms));
    memory_region_transaction_begin(ms);
    assert_true(memory_system_locked(ms));
    map_at(ms, 0, &a);
    memory_region_transaction_begin(ms);
    map_at(ms, 0x1000, &b);
    OK(memory_region_transaction_commit(ms));
    address_space_ldub(as, 0, ATTRS, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    assert_true(memory_region_is_mapped(&a)); /* the tree itself has changed */
    OK(memory_region_transaction_commit(ms));
    assert_false(memory_system_locked(ms));
    address_space_ldq_le(as, 0xffc, ATTRS, &result);
    assert_int_equal(result, MEMTX_OK);
    REFUSED(-EINVAL, memory_region_transaction_commit(ms));
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions_answer_questions),
        cmocka_unit_test(subregions_are_visited_in_order),
        cmocka_unit_test(ill_formed_regions_are_refused),
        cmocka_unit_test(broken_edits_are_refused),
        cmocka_unit_test(cycles_are_refused),
        cmocka_unit_test(deep_trees_are_refused),
        cmocka_unit_test(attributes_of_the_wrong_kind_are_refused),
        cmocka_unit_test(regions_in_use_are_not_finalized),
        cmocka_unit_test(sizes_reach_both_ends),
        cmocka_unit_test(transactions_show_all_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
