/* SPDX-License-Identifier: MIT */
/* What is left when KVM refuses: every ioctl fails once, and for good; slots run out. */
#include "support/kvm_board.h"
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

#define PAGE 4096

static void heal(KvmBoard *b)
{
    b->failed += kvm_fake_heal(b->fake);
}

/* Call @k fails, @for_good or once. Whether there was such a call. */
static bool fail_once(unsigned c, bool back, unsigned long k, bool for_good)
{
    KvmBoard b;
    KvmFound before, after;

    kvm_board_start(&b, 64);
    OK(kvm_memory_listener_register(b.kvm, &b.listener, memory_system_memory(b.ms), 0, "kvm"));
    if (back) {
        OK(kvm_changes[c].change(&b, false));
    }
    kvm_board_slots(&b, &before);
    b.heal = heal;
    kvm_fake_fail(b.fake, KVM_SET_USER_MEMORY_REGION, k, ENOMEM, for_good);
    int result = kvm_changes[c].change(&b, back);
    heal(&b);
    unsigned long failed = b.failed;
    kvm_board_slots(&b, &after);
    if (failed) {
        if (result != -ENOMEM) {
            fail_msg("%s, call %lu: %d", kvm_changes[c].name, k, result);
        }
        assert_non_null(strstr(membus_last_error(), strerror(ENOMEM)));
        if (!for_good) {
            if (!kvm_board_same(&before, &after)) {
                fail_msg("%s, call %lu: the slots are not as they were", kvm_changes[c].name, k);
            }
            assert_int_equal(b.reports, 0);
        }
        kvm_board_touch(&b); /* what could not be undone heals with whatever comes next */
        kvm_board_follows(&b, kvm_changes[c].name, k);
        OK(kvm_changes[c].change(&b, back)); /* and now it goes */
    } else {
        OK(result);
    }
    kvm_board_follows(&b, kvm_changes[c].name, k);
    OK(kvm_changes[c].change(&b, !back));
    kvm_board_follows(&b, kvm_changes[c].name, k);
    kvm_memory_listener_unregister(&b.listener);
    kvm_board_end(&b);
    return failed;
}

static void every_failing_call_is_undone(void **state)
{
    (void)state;
    for (unsigned c = 0; c < KVM_CHANGES; c++) {
        unsigned calls = 0;
        for (unsigned how = 0; how < 4; how++) {
            unsigned long k = 1;
            while (fail_once(c, how & 1, k, how & 2)) {
                assert_true(++k < 100);
            }
            calls += (unsigned)(k - 1);
        }
        print_message("# %s: %u failing calls\n", kvm_changes[c].name, calls);
        assert_true(calls >= kvm_changes[c].least);
    }
}

static void the_sentence_says_which_call_it_was(void **state)
{
    KvmBoard b;
    char hva[32];

    (void)state;
    kvm_board_start(&b, 64);
    OK(kvm_memory_listener_register(b.kvm, &b.listener, memory_system_memory(b.ms), 0, "kvm"));
    kvm_fake_fail(b.fake, KVM_SET_USER_MEMORY_REGION, 1, ENOMEM, false);
    REFUSED(-ENOMEM, kvm_board_show(&b, false));
    const char *sentence = membus_last_error();
    print_message("# %s\n", sentence);
    snprintf(hva, sizeof hva, "%" PRIxPTR,
             (uintptr_t)memory_region_get_ram_ptr(&b.ram) + 8 * (uintptr_t)PAGE);
    const char *const parts[] = {"slot 4", "0x400000", "0x4000",        hva,
                                 "flags",  "0x1",      strerror(ENOMEM)};
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!strstr(sentence, parts[i])) {
            fail_msg("no '%s' in '%s'", parts[i], sentence);
        }
    }
    kvm_board_end(&b);
}

static void registration_fails_cleanly(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 2; how++) {
        unsigned long failed = 1;
        for (unsigned long k = 1; failed; k++) {
            KvmBoard b;
            kvm_board_start(&b, 64);
            kvm_fake_fail(b.fake, KVM_SET_USER_MEMORY_REGION, k, EFAULT, how);
            int result = kvm_memory_listener_register(b.kvm, &b.listener,
                                                      memory_system_memory(b.ms), 0, "kvm");
            failed = kvm_fake_heal(b.fake);
            assert_int_equal(result, failed ? -EFAULT : 0);
            assert_true(how || !failed || !kvm_fake_slots(b.fake, 0));
            if (failed && !kvm_fake_slots(b.fake, 0)) {
                OK(kvm_memory_listener_register(b.kvm, &b.listener, memory_system_memory(b.ms), 0,
                                                "kvm"));
                kvm_board_follows(&b, "registration", k);
            }
            kvm_memory_listener_unregister(&b.listener);
            kvm_destroy(b.kvm);
            machine_end(b.ms);
            kvm_fake_destroy(b.fake);
        }
    }
}

/* ---- Not enough slots -------------------------------------------------------------------- */

static void exhaustion_is_found_before_anything_changes(void **state)
{
    KvmBoard b;
    KvmFound before, after;

    (void)state;
    kvm_board_start(&b, 5); /* four are in use */
    OK(kvm_memory_listener_register(b.kvm, &b.listener, memory_system_memory(b.ms), 0, "kvm"));
    kvm_board_slots(&b, &before);
    assert_int_equal(before.slots, 4);
    assert_int_equal(kvm_get_free_memslots(b.kvm, 0), 1);
    OK(kvm_board_punch(&b, false)); /* the fifth */
    kvm_fake_forget_calls(b.fake);
    kvm_board_slots(&b, &before);
    REFUSED(-ENOSPC, kvm_board_show(&b, false));
    print_message("# %s\n", membus_last_error());
    assert_non_null(strstr(membus_last_error(), "6 KVM slots"));
    assert_non_null(strstr(membus_last_error(), "there are 5"));
    assert_int_equal(kvm_fake_calls(b.fake, 0), 0);
    kvm_board_slots(&b, &after);
    assert_true(kvm_board_same(&before, &after));
    assert_false(memory_region_present(get_system_memory(b.ms), 0x400000));
    OK(kvm_board_punch(&b, true));
    OK(kvm_board_show(&b, false)); /* fragments make room */
    kvm_board_follows(&b, "exhaustion", 0);
    OK(kvm_board_show(&b, true));
    kvm_memory_listener_unregister(&b.listener);
    kvm_board_end(&b);

    kvm_board_start(&b, 3);
    kvm_fake_forget_calls(b.fake);
    REFUSED(-ENOSPC,
            kvm_memory_listener_register(b.kvm, &b.listener, memory_system_memory(b.ms), 0, "kvm"));
    assert_int_equal(kvm_fake_slot_calls(b.fake), 0);
    kvm_board_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failing_call_is_undone),
        cmocka_unit_test(the_sentence_says_which_call_it_was),
        cmocka_unit_test(registration_fails_cleanly),
        cmocka_unit_test(exhaustion_is_found_before_anything_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
