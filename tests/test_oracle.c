/* SPDX-License-Identifier: MIT */
/*
 * Random trees and edits against the oracle: a fixed small part of what fuzz/soak_oracle does.
 */
#include "support/churn.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- The oracle itself, on trees small enough to be checked by eye --------------- */

static void oracle_paints_priorities_and_ties(void **state)
{
    Oracle o = {0};
    int root = oracle_new(&o, 100, false);
    int low = oracle_new(&o, 50, true), high = oracle_new(&o, 10, true);
    int tie = oracle_new(&o, 10, true);
    OracleView v;

    (void)state;
    oracle_add(&o, root, high, 20, 1);
    oracle_add(&o, root, low, 10, 0);
    oracle_add(&o, root, tie, 55, 0);
    assert_true(oracle_render(&o, root, &v));
    assert_int_equal(v.count, 4);
    assert_int_equal(v.range[0].region, low);
    assert_int_equal(v.range[0].last, 19);
    assert_int_equal(v.range[1].region, high);
    assert_int_equal(v.range[2].region, low);
    assert_int_equal(v.range[2].offset, 20);
    assert_int_equal(v.range[2].last, 54);
    assert_int_equal(v.range[3].region, tie);
    assert_int_equal(v.range[3].last, 64);
    oracle_view_free(&v);
}

static void oracle_follows_aliases_to_the_top(void **state)
{
    Oracle o = {0};
    int root = oracle_new(&o, UINT64_MAX, false);
    int ram = oracle_new(&o, 100, true);
    int window = oracle_new_alias(&o, ram, 90, 50);
    OracleView v;

    (void)state;
    oracle_add(&o, root, window, UINT64_MAX - 4, 0);
    assert_true(oracle_render(&o, root, &v));
    assert_int_equal(v.count, 1);
    assert_true(v.range[0].last == UINT64_MAX);
    assert_int_equal(v.range[0].offset, 90);
    oracle_view_free(&v);
    o.region[window].addr = 7; /* ten bytes of the fifty are there */
    assert_true(oracle_render(&o, root, &v));
    assert_int_equal(v.range[0].last, 16);
    oracle_view_free(&v);
}

static void oracle_gives_up_on_endless_aliases(void **state)
{
    Oracle o = {0};
    int root = oracle_new(&o, 100, false);
    int self = oracle_new_alias(&o, root, 0, 100);
    OracleView v;

    (void)state;
    oracle_add(&o, root, self, 0, 0);
    assert_true(oracle_has_cycle(&o));
    assert_false(oracle_render(&o, root, &v));
    o.region[self].addr = 60; /* sees itself 60 lower: ends after one step */
    assert_true(oracle_render(&o, root, &v));
    assert_int_equal(v.count, 0);
    oracle_view_free(&v);
}

/* ---- The library -------------------------------------------------------------------- */

static void churn_seeds(uint64_t first, unsigned trees, unsigned edits)
{
    for (unsigned i = 0; i < trees; i++) {
        assert_true(churn_run(first + i, edits, NULL));
    }
}

static void trees_render_as_the_oracle_says(void **state)
{
    (void)state;
    churn_seeds(100000, 250, 0);
}

static void edits_keep_the_views_right(void **state)
{
    (void)state;
    churn_seeds(1, 150, 60);
}

static void long_lives_keep_the_views_right(void **state)
{
    (void)state;
    churn_seeds(5000, 4, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oracle_paints_priorities_and_ties),
        cmocka_unit_test(oracle_follows_aliases_to_the_top),
        cmocka_unit_test(oracle_gives_up_on_endless_aliases),
        cmocka_unit_test(trees_render_as_the_oracle_says),
        cmocka_unit_test(edits_keep_the_views_right),
        cmocka_unit_test(long_lives_keep_the_views_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
