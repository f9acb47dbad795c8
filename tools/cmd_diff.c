/* SPDX-License-Identifier: MIT */
/*
 * membus diff - what moved, appeared, vanished or changed between two maps, or two moments of
 * traces.
 *
 * The flat views of address spaces of the same name are compared; see changes.h.
 */
#include "changes.h"

#include <stdlib.h>
#include <string.h>

/* ---- output ----------------------------------------------------------------------------- */

typedef struct Difference {
    const Options *options;
    json_t *spaces; /* JSON only */
    bool any;
} Difference;

/* Spaces that are in one map only. */
static const char *presence(bool in_a, bool in_b)
{
    return in_a && in_b ? "both" : in_a ? "a" : "b";
}

static void report(Difference *d, const char *name, const ShownSpace *a, const ShownSpace *b,
                   const Changes *changes)
{
    if (changes->count == 0 && a && b) {
        return;
    }
    d->any = true;
    if (d->options->json) {
        json_array_append_new(d->spaces,
                              json_pack("{s:o, s:s, s:o}", "name", json_text(name), "in",
                                        presence(a, b), "changes", json_changes(changes)));
        return;
    }
    printf("%saddress-space: ", color(d->options, COLOR_HEAD));
    print_text(stdout, name);
    printf("%s%s\n", color(d->options, COLOR_PLAIN), !b ? " (vanished)" : !a ? " (appeared)" : "");
    print_changes(d->options, changes);
    putchar('\n');
}

static bool compare_spaces(Difference *d, const ShownSpace *a, const ShownSpace *b)
{
    Changes changes = compare_ranges(a ? a->ranges : NULL, a ? a->count : 0, b ? b->ranges : NULL,
                                     b ? b->count : 0);

    if (!changes.failed) {
        report(d, a ? a->name : b->name, a, b, &changes);
    }
    free(changes.items);
    return !changes.failed;
}

/* ---- which space of A is which of B -------------------------------------------------------- */

/* Spaces of one name are told apart by their order. */
static int by_name(const void *a, const void *b)
{
    const ShownSpace *x = *(const ShownSpace *const *)a, *y = *(const ShownSpace *const *)b;
    int order = strcmp(x->name, y->name);

    return order ? order : (x > y) - (x < y);
}

static const ShownSpace **sorted(const Shown *shown)
{
    const ShownSpace **spaces = calloc(shown->count + 1, sizeof(ShownSpace *));

    for (size_t i = 0; spaces && i < shown->count; i++) {
        spaces[i] = &shown->spaces[i];
    }
    if (spaces) {
        qsort(spaces, shown->count, sizeof(ShownSpace *), by_name);
    }
    return spaces;
}

static bool compare_all(Difference *d, const Shown *a, const Shown *b)
{
    const ShownSpace **x = sorted(a), **y = sorted(b);
    bool good = x && y;

    for (size_t i = 0, j = 0; good && (i < a->count || j < b->count);) {
        int order = i == a->count ? 1 : j == b->count ? -1 : strcmp(x[i]->name, y[j]->name);
        good = compare_spaces(d, order <= 0 ? x[i] : NULL, order >= 0 ? y[j] : NULL);
        i += order <= 0;
        j += order >= 0;
    }
    free(x);
    free(y);
    return good;
}

static int compare_maps(const Options *options, const Shown *a, const Shown *b)
{
    Difference d = {.options = options, .spaces = json_array()};
    int status = EXIT_TROUBLE;

    if (!compare_all(&d, a, b)) {
        complain("out of memory");
    } else if (options->json) {
        status =
            print_json(json_pack("{s:O}", "spaces", d.spaces), d.any ? EXIT_DIFFERENT : EXIT_SAME);
    } else {
        status = finish_output(d.any ? EXIT_DIFFERENT : EXIT_SAME);
    }
    json_decref(d.spaces);
    return status;
}

static int run(const Options *options)
{
    Shown a, b = {.spaces = NULL};
    bool good = load_shown(&a, options, 0) && load_shown(&b, options, 1);
    int status = good ? compare_maps(options, &a, &b) : EXIT_TROUBLE;

    release_shown(&a);
    release_shown(&b);
    return status;
}

const Command cmd_diff = {
    .name = "diff",
    .arguments = "A B",
    .summary = "Tell what moved, appeared, vanished or changed from A to B",
    .options = "               (the first --flat is for A, the second for B)\n",
    .min_sources = 2,
    .max_sources = 2,
    .max_flats = 2,
    .takes_as = true,
    .run = run,
};
