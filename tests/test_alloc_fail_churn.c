/* SPDX-License-Identifier: MIT */
/*
 * Random machines under random edits while allocations fail: what a commit allocates depends on
 * what its pools have left, so no list of single calls finds every place.
 */
#include "support/churn.h"
#include "support/saboteur.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/machine.h"

static void a_machine_is_made_whole_or_not_at_all(void **state)
{
    (void)state;
    for (int for_good = 0; for_good < 2; for_good++) {
        for (unsigned long k = 1;; k++) {
            unsigned long failed;
            MemorySystem *ms;

            saboteur_arm(k, for_good);
            ms = memory_system_create();
            failed = saboteur_disarm();
            if (ms) {
                machine_end(ms);
            } else {
                assert_true(failed && *membus_last_error());
            }
            if (!failed) {
                assert_true(k > 1); /* it does allocate: the wrapping works */
                break;
            }
        }
    }
}

static unsigned long failures;

/* One of the next few allocations fails. */
static void arm(Rng *rng)
{
    unsigned few = rng_percent(rng, 70) ? 2 : 12;

    saboteur_arm(1 + rng_below(rng, few), rng_percent(rng, 30));
}

static void disarm(void)
{
    failures += saboteur_disarm();
}

static void edits_survive_failures(void **state)
{
    static const ChurnSaboteur saboteur = {arm, disarm};

    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        assert_true(churn_run(seed, 60, &saboteur));
    }
    assert_true(failures > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_is_made_whole_or_not_at_all),
        cmocka_unit_test(edits_survive_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
