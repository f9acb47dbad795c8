/* SPDX-License-Identifier: MIT */
/*
 * The k-th allocation of a call that KVM has a part in fails, for every k: the call is refused with
 * -ENOMEM, what the guest finds is as it was, and the same call works afterwards.
 */
#include "support/kvm_board.h"
#include "support/saboteur.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

#define PAGE 4096

static void check_result(const char *what, unsigned long k, int result, unsigned long failed)
{
    if (result && !(failed && result == -ENOMEM && *membus_last_error())) {
        fail_msg("%s, allocation %lu: %d '%s'", what, k, result, membus_last_error());
    }
}

/* Whether there was an allocation to fail. */
static bool create_once(unsigned long k, bool for_good)
{
    KvmBoard *b = calloc(1, sizeof *b);
    Error *err = NULL;

    kvm_board_start(b, 64);
    kvm_destroy(b->kvm);
    KVMConfig config = kvm_fake_config(b->fake);
    saboteur_arm(k, for_good);
    b->kvm = kvm_create(b->ms, &config, &err);
    unsigned long failed = saboteur_disarm();
    check_result("kvm_create", k, b->kvm ? 0 : err ? error_get_errno(err) : -ENOMEM, failed);
    error_free(err);
    if (!b->kvm) {
        b->kvm = kvm_create(b->ms, &config, NULL);
        assert_non_null(b->kvm);
    }
    kvm_board_end(b);
    free(b);
    return failed;
}

static bool register_once(unsigned long k, bool for_good)
{
    KvmBoard *b = calloc(1, sizeof *b);
    AddressSpace *as;

    kvm_board_start(b, 64);
    as = memory_system_memory(b->ms);
    saboteur_arm(k, for_good);
    int result = kvm_memory_listener_register(b->kvm, &b->listener, as, 0, "kvm");
    unsigned long failed = saboteur_disarm();
    check_result("kvm_memory_listener_register", k, result, failed);
    if (result) {
        assert_int_equal(kvm_fake_slots(b->fake, 0), 0);
        OK(kvm_memory_listener_register(b->kvm, &b->listener, as, 0, "kvm"));
    }
    kvm_board_follows(b, "registration", k);
    saboteur_arm(1, true);
    kvm_memory_listener_unregister(&b->listener);
    saboteur_disarm();
    kvm_board_end(b);
    free(b);
    return failed;
}

static bool vcpu_once(unsigned long k, bool for_good)
{
    KvmBoard *b = calloc(1, sizeof *b);

    kvm_board_start(b, 64);
    saboteur_arm(k, for_good);
    KVMVcpu *cpu = kvm_vcpu_create(b->kvm, 0, NULL);
    unsigned long failed = saboteur_disarm();
    check_result("kvm_vcpu_create", k, cpu ? 0 : -ENOMEM, failed);
    kvm_vcpu_destroy(cpu);
    kvm_board_end(b);
    free(b);
    return failed;
}

static void heal(KvmBoard *b)
{
    unsigned long failed = saboteur_disarm();

    b->failed = failed > b->failed ? failed : b->failed; /* of all since it was armed */
}

static bool change_once(unsigned c, bool back, unsigned long k, bool for_good)
{
    KvmBoard *b = calloc(1, sizeof *b);
    const KvmChange *change = &kvm_changes[c];
    KvmFound before, after;

    kvm_board_start(b, 64);
    OK(kvm_memory_listener_register(b->kvm, &b->listener, memory_system_memory(b->ms), 0, "kvm"));
    if (back) {
        OK(change->change(b, false));
    }
    kvm_board_slots(b, &before);
    b->heal = heal;
    saboteur_arm(k, for_good);
    int result = change->change(b, back);
    heal(b);
    unsigned long failed = b->failed;
    kvm_board_slots(b, &after);
    check_result(change->name, k, result, failed);
    if (result) {
        if (!kvm_board_same(&before, &after)) {
            fail_msg("%s, allocation %lu: the slots are not as they were", change->name, k);
        }
        OK(change->change(b, back));
    }
    kvm_board_follows(b, change->name, k);
    OK(change->change(b, !back));
    kvm_board_follows(b, change->name, k);
    kvm_memory_listener_unregister(&b->listener);
    kvm_board_end(b);
    free(b);
    return failed;
}

/* A page that was written while its slot was logged is dirty, though memory was short then. */
static bool lose_once(unsigned long k, bool for_good)
{
    KvmBoard *b = calloc(1, sizeof *b);
    uint32_t data = 1;

    kvm_board_start(b, 64);
    OK(kvm_memory_listener_register(b->kvm, &b->listener, memory_system_memory(b->ms), 0, "kvm"));
    memory_region_reset_dirty(&b->ram, 0, UINT64_MAX, DIRTY_MEMORY_VGA);
    for (unsigned page = 0; page < 16; page += 3) {
        assert_int_equal(kvm_fake_guest_write(b->fake, 0, 0, page * PAGE, &data, 4), KVM_FAKE_DONE);
    }
    saboteur_arm(k, for_good);
    int result = memory_region_del_subregion(get_system_memory(b->ms), &b->ram);
    unsigned long failed = saboteur_disarm();
    check_result("memory_region_del_subregion", k, result, failed);
    if (result) {
        OK(memory_region_del_subregion(get_system_memory(b->ms), &b->ram));
    }
    for (unsigned page = 0; page < 16; page++) {
        bool dirty = memory_region_get_dirty(&b->ram, page * PAGE, 1, DIRTY_MEMORY_VGA);
        if (page % 3 == 0 && !dirty) {
            fail_msg("allocation %lu: page %u was lost", k, page);
        }
    }
    map_at(b->ms, 0, &b->ram);
    kvm_memory_listener_unregister(&b->listener);
    kvm_board_end(b);
    free(b);
    return failed;
}

static void fail_all(bool (*once)(unsigned long k, bool for_good), unsigned least)
{
    for (unsigned for_good = 0; for_good < 2; for_good++) {
        unsigned long k = 1;
        while (once(k, for_good)) {
            assert_true(++k < 1000);
        }
        assert_true(k > least);
    }
}

static void making_a_vm(void **state)
{
    (void)state;
    fail_all(create_once, 1);
}

static void registration(void **state)
{
    (void)state;
    fail_all(register_once, 8);
}

static void making_a_vcpu(void **state)
{
    (void)state;
    fail_all(vcpu_once, 1);
}

static void changes(void **state)
{
    unsigned long failed = 0;

    (void)state;
    for (unsigned c = 0; c < KVM_CHANGES - 1; c++) { /* the last one asserts its steps */
        for (unsigned how = 0; how < 4; how++) {
            unsigned long k = 1;
            while (change_once(c, how & 1, k, how & 2)) {
                assert_true(++k < 1000);
            }
            failed += k - 1;
        }
    }
    print_message("# %lu failing allocations\n", failed);
    assert_true(failed > 50);
}

static void dirty_pages_of_what_goes(void **state)
{
    (void)state;
    fail_all(lose_once, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(making_a_vm),
        cmocka_unit_test(registration),
        cmocka_unit_test(making_a_vcpu),
        cmocka_unit_test(changes),
        cmocka_unit_test(dirty_pages_of_what_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
