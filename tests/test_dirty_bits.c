/* SPDX-License-Identifier: MIT */
/* The bitmap with summaries against an array of bytes. */
#include "support/rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ram/dirty.h"

typedef struct Model {
    DirtyBits *bits;
    uint8_t *dirty; /* a byte a page */
    uint64_t pages;
} Model;

static Model model_make(uint64_t pages)
{
    Model model = {dirty_bits_create(pages), calloc(1, pages), pages};

    assert_non_null(model.bits);
    assert_non_null(model.dirty);
    return model;
}

static void model_free(Model *model)
{
    dirty_bits_destroy(model->bits);
    free(model->dirty);
}

static void random_range(Rng *rng, uint64_t pages, uint64_t *first, uint64_t *last)
{
    static const unsigned spans[] = {1, 2, 63, 64, 65, 130, 4096, 5000, UINT32_MAX};
    uint64_t span = spans[rng_below(rng, 9)];

    *first = rng_next(rng) % pages;
    *last = span > pages - *first ? pages - 1 : *first + rng_next(rng) % span;
}

static void check_set(const Model *model, const DirtySet *set, uint64_t first, uint64_t last)
{
    uint64_t count = 0, at = first, run_first, run_last;

    for (uint64_t page = first; page <= last; page++) {
        count += model->dirty[page];
    }
    assert_int_equal(dirty_set_pages(set), count);
    for (run_first = 0; dirty_set_next(set, &run_first, &run_last); run_first = run_last + 1) {
        assert_true(run_first >= at && run_last <= last && run_first <= run_last);
        for (; at < run_first; at++) {
            assert_int_equal(model->dirty[at], 0);
        }
        for (; at <= run_last; at++) {
            assert_int_equal(model->dirty[at], 1);
        }
        assert_true(at > last || !model->dirty[at]); /* runs are as long as can be */
    }
    for (; at <= last; at++) {
        assert_int_equal(model->dirty[at], 0);
    }
}

static void take(Rng *rng, Model *model, uint64_t first, uint64_t last)
{
    DirtySet set = {0};
    uint64_t some = first + rng_next(rng) % (last - first + 1);

    assert_int_equal(dirty_bits_take(model->bits, first, last, &set), 0);
    check_set(model, &set, first, last);
    assert_int_equal(dirty_set_any(&set, some, some), model->dirty[some]);
    assert_false(dirty_bits_any(model->bits, first, last));
    if (rng_percent(rng, 50)) {
        dirty_bits_put_back(model->bits, &set);
    } else {
        memset(model->dirty + first, 0, last - first + 1);
    }
    dirty_set_free(&set);
}

static void merge(Rng *rng, Model *model, uint64_t first, uint64_t last)
{
    uint64_t pages = last - first + 1;
    uint8_t *bitmap = calloc(1, (pages + 7) / 8 + 1);
    unsigned dense = rng_below(rng, 3), full = rng_below(rng, 3);

    for (uint64_t i = 0; i < pages; i++) {
        bool in_full_run = full && i / (200 * full) % 2;
        if (in_full_run || rng_below(rng, dense ? dense * 3 : 700) == 0) {
            bitmap[i / 8] |= (uint8_t)(1 << i % 8);
            model->dirty[first + i] = 1;
        }
    }
    if (pages % 8) {
        bitmap[pages / 8] |= (uint8_t)(0xff << pages % 8); /* past the end: to be ignored */
    }
    dirty_bits_merge(model->bits, first, bitmap, pages);
    free(bitmap);
}

static void follow(uint64_t pages, unsigned steps, uint64_t seed)
{
    Model model = model_make(pages);
    Rng rng = {seed};
    uint64_t first, last;

    for (unsigned step = 0; step < steps; step++) {
        random_range(&rng, pages, &first, &last);
        switch (rng_below(&rng, 8)) {
        case 0:
            take(&rng, &model, first, last);
            break;
        case 1:
            take(&rng, &model, 0, pages - 1);
            break;
        case 2:
            dirty_bits_clear(model.bits, first, last);
            memset(model.dirty + first, 0, last - first + 1);
            break;
        case 3:
            merge(&rng, &model, first, last);
            break;
        case 4:
            assert_int_equal(dirty_bits_any(model.bits, first, last),
                             memchr(model.dirty + first, 1, last - first + 1) != NULL);
            break;
        default:
            if (rng_percent(&rng, 60)) {
                last = first;
            }
            dirty_bits_mark(model.bits, first, last);
            memset(model.dirty + first, 1, last - first + 1);
            break;
        }
        assert_int_equal(dirty_bits_test(model.bits, first), model.dirty[first]);
    }
    take(&rng, &model, 0, pages - 1);
    model_free(&model);
}

static void follows_a_byte_a_page(void **state)
{
    static const uint64_t sizes[] = {1, 2, 63, 64, 65, 127, 128, 4095, 4096, 4097, 300000};

    (void)state;
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (unsigned seed = 0; seed < 5; seed++) {
            follow(sizes[i], sizes[i] > 5000 ? 200 : 1000, 100 * i + seed);
        }
    }
}

/* A terabyte's summaries lead to what is dirty; looking at each word would take seconds. */
static void a_terabyte_is_taken_by_its_dirty_pages(void **state)
{
    enum { PAGES = 1000, ROUNDS = 200 };
    uint64_t all = (uint64_t)1 << 28, expected[PAGES], first = 0, last;
    DirtyBits *bits = dirty_bits_create(all);

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++, first = 0) {
        DirtySet set = {0};
        for (unsigned i = 0; i < PAGES; i++) {
            expected[i] = i * (all / PAGES) + 3 * round;
            dirty_bits_mark(bits, expected[i], expected[i]);
        }
        assert_int_equal(dirty_bits_take(bits, 0, all - 1, &set), 0);
        assert_int_equal(set.count, PAGES);
        for (unsigned i = 0; i < PAGES; i++, first = last + 1) {
            assert_true(dirty_set_next(&set, &first, &last));
            assert_int_equal(first, expected[i]);
            assert_int_equal(last, expected[i]);
        }
        assert_false(dirty_bits_may_have_some(bits));
        dirty_set_free(&set);
    }
    dirty_bits_destroy(bits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_a_byte_a_page),
        cmocka_unit_test(a_terabyte_is_taken_by_its_dirty_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
