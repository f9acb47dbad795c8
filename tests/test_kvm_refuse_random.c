/* SPDX-License-Identifier: MIT */
/*
 * Random edits under a kernel that fails at random: what was refused leaves slots and view as
 * they were, in both of a guest's address spaces; an undo that failed, too, is made up for by the
 * next change.
 */
#include "support/kvm_scene.h"
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

#define PAGE ((uint64_t)KVM_ORACLE_PAGE)
#define SPACES 2
#define SLOTS 256
#define SEEDS 12
#define EDITS 250

typedef struct Weak {
    KvmScene scene;
    KvmFake *fake;
    KVMState *kvm;
    KVMMemoryListener listener[SPACES];
    unsigned reports, paused, refused, left;
    uint64_t seed;
    unsigned edit;
} Weak;

static void count_report(void *opaque, const Error *err)
{
    (void)err;
    ((Weak *)opaque)->reports++;
}

static void pause_vcpus(void *opaque)
{
    ((Weak *)opaque)->paused++;
}

static void resume_vcpus(void *opaque)
{
    ((Weak *)opaque)->paused--;
}

static AddressSpace *space_of(Weak *w, int as_id)
{
    return as_id ? &w->scene.smm : memory_system_memory(w->scene.ms);
}

static void start(Weak *w, uint64_t seed)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;

    memset(w, 0, sizeof *w);
    w->seed = seed;
    kvm_scene_start(&w->scene, seed, 0);
    caps.nr_memslots = SLOTS - 1;
    caps.nr_address_spaces = SPACES;
    w->fake = kvm_fake_create(&caps);
    assert_non_null(w->fake);
    KVMConfig config = kvm_fake_config(w->fake);
    config.max_slot_size = 4 * PAGE;
    config.report = count_report;
    config.pause_vcpus = pause_vcpus;
    config.resume_vcpus = resume_vcpus;
    config.opaque = w;
    w->kvm = kvm_create(w->scene.ms, &config, NULL);
    assert_non_null(w->kvm);
    for (int i = 0; i < SPACES; i++) {
        OK(kvm_memory_listener_register(w->kvm, &w->listener[i], space_of(w, i), i, "kvm"));
    }
}

static void end(Weak *w)
{
    OK(kvm_destroy(w->kvm));
    for (unsigned i = 0; i < SPACES; i++) {
        assert_int_equal(kvm_fake_slots(w->fake, i), 0);
    }
    kvm_scene_end(&w->scene);
    kvm_fake_destroy(w->fake);
}

/* What membus tells of its slots is so, whatever happened. */
static bool is_in_fake(const KVMSlot *slot, void *opaque)
{
    Weak *w = opaque;
    KvmFakeSlot found;

    assert_true(kvm_fake_slot(w->fake, slot->as_id, slot->slot, &found));
    assert_int_equal(found.gpa, slot->start_addr);
    assert_int_equal(found.size, slot->memory_size);
    assert_int_equal(found.hva, (uintptr_t)slot->ram);
    assert_int_equal(found.flags, slot->flags);
    return false;
}

static void check_table(Weak *w)
{
    kvm_for_each_slot(w->kvm, is_in_fake, w);
    for (unsigned i = 0; i < SPACES; i++) {
        assert_int_equal(kvm_get_free_memslots(w->kvm, i), SLOTS - 1 - kvm_fake_slots(w->fake, i));
    }
    assert_int_equal(w->paused, 0);
}

static void check_view(Weak *w)
{
    static KvmFakeSlot slot[SLOTS];

    for (int i = 0; i < SPACES; i++) {
        KvmPages wanted = {.base = w->scene.base}, found = wanted;
        FlatView *view = address_space_get_flatview(space_of(w, i));
        unsigned slots = kvm_fake_copy_slots(w->fake, (unsigned)i, slot, SLOTS);
        assert_true(kvm_oracle_view(&wanted, view, true));
        flatview_unref(view);
        assert_true(kvm_oracle_slots(&found, slot, slots));
        int page = kvm_oracle_difference(&wanted, &found);
        if (page >= 0) {
            fail_msg("seed %" PRIu64 ", edit %u: page %d of space %d is not as the view shows it",
                     w->seed, w->edit, page, i);
        }
    }
}

/* One edit, or several in a transaction that is tried again; whether the first try went through. */
static bool edit(Weak *w, bool several)
{
    int in[K_REGIONS];

    memcpy(in, w->scene.in, sizeof in);
    if (!several) {
        int result = kvm_scene_edit(&w->scene);
        if (result) {
            memcpy(w->scene.in, in, sizeof in);
            assert_int_equal(result, -EIO);
        }
        return !result;
    }
    memory_region_transaction_begin(w->scene.ms);
    for (unsigned i = 0; i < 4; i++) {
        OK(kvm_scene_edit(&w->scene));
    }
    int result = memory_region_transaction_commit(w->scene.ms);
    if (result) {
        assert_int_equal(result, -EIO);
        check_table(w);
        kvm_fake_heal(w->fake);
        OK(memory_region_transaction_commit(w->scene.ms));
    }
    return !result;
}

static void step(Weak *w)
{
    bool for_good = rng_percent(&w->scene.rng, 30), several = rng_percent(&w->scene.rng, 40);
    unsigned reports = w->reports;

    w->scene.did[0] = 0;
    kvm_fake_fail(w->fake, KVM_SET_USER_MEMORY_REGION, 1 + rng_below(&w->scene.rng, 8), EIO,
                  for_good);
    bool refused = !edit(w, several);
    kvm_fake_heal(w->fake);
    check_table(w);
    w->refused += refused;
    if (w->reports == reports || several) {
        check_view(w);
        return;
    }
    w->left++; /* a change that both spaces see */
    OK(memory_region_set_enabled(&w->scene.board, !memory_region_is_enabled(&w->scene.board)));
    OK(memory_region_set_enabled(&w->scene.board, !memory_region_is_enabled(&w->scene.board)));
    check_table(w);
    check_view(w);
}

static void refused_changes_leave_no_trace(void **state)
{
    unsigned refused = 0, left = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        Weak w;
        start(&w, seed);
        for (w.edit = 0; w.edit < EDITS; w.edit++) {
            step(&w);
        }
        refused += w.refused;
        left += w.left;
        end(&w);
    }
    print_message("# %u changes: %u refused, of which %u could not be undone\n", SEEDS * EDITS,
                  refused, left);
    assert_true(refused > SEEDS * EDITS / 20 && left > SEEDS * EDITS / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_changes_leave_no_trace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
