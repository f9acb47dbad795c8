/* SPDX-License-Identifier: MIT */
/*
 * membus diff - what moved, appeared, vanished or changed between two maps.
 *
 * The flat views of address spaces of the same name are compared from one border of either to the
 * next. Pieces that differ in the same way and continue each other are one change. What vanished
 * here and appeared there, the same part of a region of the same name, moved.
 */
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef enum Kind { APPEARED, VANISHED, CHANGED, MOVED } Kind;

static const char *const kind_names[] = {"appeared", "vanished", "changed", "moved"};

typedef struct Change {
    Kind kind;
    MemoryRegionSection before, after; /* mr NULL: none */
    bool dropped;                      /* part of a move that is told elsewhere */
} Change;

typedef struct Changes {
    Change *items;
    size_t count, max;
    bool failed;
} Changes;

/* ---- comparing two views ------------------------------------------------------------ */

/* The part of @s from @first to @last; of nothing, nothing. */
static MemoryRegionSection cut(const MemoryRegionSection *s, hwaddr first, hwaddr last)
{
    MemoryRegionSection part = *s;

    if (s->mr) {
        part.offset_within_region += first - s->offset_within_address_space;
        part.offset_within_address_space = first;
        part.last_within_address_space = last;
    }
    return part;
}

static bool looks_same(const MemoryRegionSection *a, const MemoryRegionSection *b)
{
    return memory_region_priority(a->mr) == memory_region_priority(b->mr) &&
           strcmp(mtree_type(a->mr, a->readonly, a->nonvolatile, a->romd),
                  mtree_type(b->mr, b->readonly, b->nonvolatile, b->romd)) == 0 &&
           strcmp(memory_region_name(a->mr), memory_region_name(b->mr)) == 0;
}

static bool same_place(const MemoryRegionSection *a, const MemoryRegionSection *b)
{
    return a->offset_within_region == b->offset_within_region && looks_same(a, b);
}

/* Whether @next goes on where @s ends, in the same region. */
static bool continues(const MemoryRegionSection *s, const MemoryRegionSection *next)
{
    if (!s->mr || !next->mr) {
        return s->mr == next->mr;
    }
    hwaddr size = s->last_within_address_space - s->offset_within_address_space + 1;
    return s->mr == next->mr &&
           s->last_within_address_space + 1 == next->offset_within_address_space &&
           s->offset_within_region + size == next->offset_within_region && looks_same(s, next);
}

static void add_change(Changes *changes, const MemoryRegionSection *before,
                       const MemoryRegionSection *after)
{
    Change *latest = changes->count ? &changes->items[changes->count - 1] : NULL;

    if (latest && continues(&latest->before, before) && continues(&latest->after, after)) {
        latest->before.last_within_address_space = before->last_within_address_space;
        latest->after.last_within_address_space = after->last_within_address_space;
        return;
    }
    if (changes->count == changes->max) {
        size_t max = changes->max ? 2 * changes->max : 32;
        Change *grown = reallocarray(changes->items, max, sizeof *grown);
        if (!grown) {
            changes->failed = true;
            return;
        }
        changes->items = grown;
        changes->max = max;
    }
    Kind kind = !before->mr ? APPEARED : !after->mr ? VANISHED : CHANGED;
    changes->items[changes->count++] = (Change){kind, *before, *after, false};
}

typedef struct Cursor {
    const FlatView *view;
    MemoryRegionSection section; /* the first that ends at the position or above; mr NULL: none */
} Cursor;

static void seek(Cursor *cursor, hwaddr at)
{
    if (cursor->view && !flatview_next(cursor->view, at, &cursor->section)) {
        cursor->section = (MemoryRegionSection){.mr = NULL};
    }
}

/* What covers @at, cut to begin there; lowers *@last to its end, or to the end of the gap. */
static MemoryRegionSection covering(const Cursor *cursor, hwaddr at, hwaddr *last)
{
    const MemoryRegionSection *s = &cursor->section;
    hwaddr end = UINT64_MAX;
    bool covers = s->mr && s->offset_within_address_space <= at;

    if (s->mr) {
        end = covers ? s->last_within_address_space : s->offset_within_address_space - 1;
    }
    *last = end < *last ? end : *last;
    return covers ? *s : (MemoryRegionSection){.mr = NULL};
}

/* A view that is NULL shows nothing. */
static void compare_views(const FlatView *a, const FlatView *b, Changes *changes)
{
    Cursor before = {.view = a}, after = {.view = b};
    hwaddr at = 0;

    for (;;) {
        hwaddr last = UINT64_MAX;
        seek(&before, at);
        seek(&after, at);
        MemoryRegionSection x = covering(&before, at, &last), y = covering(&after, at, &last);
        x = cut(&x, at, last);
        y = cut(&y, at, last);
        if ((x.mr || y.mr) && !(x.mr && y.mr && same_place(&x, &y))) {
            add_change(changes, &x, &y);
        }
        if (last == UINT64_MAX) {
            return;
        }
        at = last + 1;
    }
}

/* ---- moves ---------------------------------------------------------------------------- */

static const MemoryRegionSection *only_side(const Change *change)
{
    return change->kind == APPEARED ? &change->after : &change->before;
}

static int compare_numbers(hwaddr a, hwaddr b)
{
    return (a > b) - (a < b);
}

/* Which of @a and @b shows which part of which region; 0 if both show the same. */
static int compare_parts(const MemoryRegionSection *a, const MemoryRegionSection *b)
{
    int order = strcmp(memory_region_name(a->mr), memory_region_name(b->mr));

    if (order == 0) {
        order = compare_numbers(a->offset_within_region, b->offset_within_region);
    }
    if (order == 0) {
        order = compare_numbers(a->last_within_address_space - a->offset_within_address_space,
                                b->last_within_address_space - b->offset_within_address_space);
    }
    if (order == 0) {
        order = strcmp(mtree_type(a->mr, a->readonly, a->nonvolatile, a->romd),
                       mtree_type(b->mr, b->readonly, b->nonvolatile, b->romd));
    }
    return order;
}

/* Vanished before appeared parts, each by address. */
static int by_part(const void *a, const void *b)
{
    const Change *x = *(Change *const *)a, *y = *(Change *const *)b;
    int order = compare_parts(only_side(x), only_side(y));

    if (order == 0) {
        order = (x->kind == APPEARED) - (y->kind == APPEARED);
    }
    return order ? order : (x > y) - (x < y);
}

static void join_moves(Changes *changes)
{
    Change **order = calloc(changes->count + 1, sizeof(Change *));
    size_t count = 0;

    if (!order) {
        changes->failed = true;
        return;
    }
    for (size_t i = 0; i < changes->count; i++) {
        if (changes->items[i].kind == APPEARED || changes->items[i].kind == VANISHED) {
            order[count++] = &changes->items[i];
        }
    }
    qsort(order, count, sizeof(Change *), by_part);
    /* In a run of equal parts the vanished come first: pair them with the appeared in order. */
    for (size_t start = 0, end; start < count; start = end) {
        size_t appeared = start;
        for (end = start;
             end < count && compare_parts(only_side(order[start]), only_side(order[end])) == 0;
             end++) {
            appeared += order[end]->kind == VANISHED;
        }
        for (size_t i = start, j = appeared; i < appeared && j < end; i++, j++) {
            order[i]->kind = MOVED;
            order[i]->after = order[j]->after;
            order[j]->dropped = true;
        }
    }
    free(order);
}

/* ---- output ----------------------------------------------------------------------------- */

typedef struct Difference {
    const Options *options;
    json_t *spaces; /* JSON only */
    bool any;
} Difference;

static void print_section(const MemoryRegionSection *s)
{
    size_t length = mtree_format_section(NULL, 0, s);
    char *line = malloc(length + 1);

    if (line) {
        mtree_format_section(line, length + 1, s);
        fputs(line + 2, stdout);
    } else {
        fputs("(out of memory)", stdout);
    }
    free(line);
}

static void print_change(const Options *options, const Change *change)
{
    static const Color colors[] = {COLOR_GOOD, COLOR_BAD, COLOR_CHANGED, COLOR_CHANGED};

    printf("  %s%s%s ", color(options, colors[change->kind]), kind_names[change->kind],
           color(options, COLOR_PLAIN));
    if (change->before.mr) {
        print_section(&change->before);
    }
    if (change->before.mr && change->after.mr) {
        fputs("\n       to ", stdout);
    }
    if (change->after.mr) {
        print_section(&change->after);
    }
    putchar('\n');
}

static json_t *describe_change(const Change *change)
{
    json_t *object = json_pack("{s:s}", "kind", kind_names[change->kind]);

    if (change->before.mr) {
        json_object_set_new(object, "before", json_section(&change->before));
    }
    if (change->after.mr) {
        json_object_set_new(object, "after", json_section(&change->after));
    }
    return object;
}

/* Spaces that are in one map only. */
static const char *presence(bool in_a, bool in_b)
{
    return in_a && in_b ? "both" : in_a ? "a" : "b";
}

static void report(Difference *d, const char *name, AddressSpace *a, AddressSpace *b,
                   const Changes *changes)
{
    if (changes->count == 0 && a && b) {
        return;
    }
    d->any = true;
    if (d->options->json) {
        json_t *list = json_array();
        for (size_t i = 0; i < changes->count; i++) {
            if (!changes->items[i].dropped) {
                json_array_append_new(list, describe_change(&changes->items[i]));
            }
        }
        json_array_append_new(d->spaces, json_pack("{s:o, s:s, s:o}", "name", json_text(name), "in",
                                                   presence(a, b), "changes", list));
        return;
    }
    printf("%saddress-space: %s%s%s\n", color(d->options, COLOR_HEAD), name,
           color(d->options, COLOR_PLAIN),
           !b   ? " (vanished)"
           : !a ? " (appeared)"
                : "");
    for (size_t i = 0; i < changes->count; i++) {
        if (!changes->items[i].dropped) {
            print_change(d->options, &changes->items[i]);
        }
    }
    putchar('\n');
}

static bool compare_spaces(Difference *d, AddressSpace *a, AddressSpace *b)
{
    FlatView *before = a ? address_space_get_flatview(a) : NULL;
    FlatView *after = b ? address_space_get_flatview(b) : NULL;
    Changes changes = {.items = NULL};

    compare_views(before, after, &changes);
    join_moves(&changes);
    if (!changes.failed) {
        report(d, address_space_name(a ? a : b), a, b, &changes);
    }
    free(changes.items);
    flatview_unref(before);
    flatview_unref(after);
    return !changes.failed;
}

/* ---- which space of A is which of B -------------------------------------------------------- */

typedef struct Entry {
    AddressSpace *space;
    size_t position;
} Entry;

/* Spaces of one name are told apart by their order. */
static int by_name(const void *a, const void *b)
{
    const Entry *x = a, *y = b;
    int order = strcmp(address_space_name(x->space), address_space_name(y->space));

    return order ? order : (x->position > y->position) - (x->position < y->position);
}

static Entry *sorted(AddressSpace *const *spaces, size_t count)
{
    Entry *entries = calloc(count + 1, sizeof *entries);

    for (size_t i = 0; entries && i < count; i++) {
        entries[i] = (Entry){spaces[i], i};
    }
    if (entries) {
        qsort(entries, count, sizeof *entries, by_name);
    }
    return entries;
}

static bool compare_all(Difference *d, AddressSpace *const *a, size_t nr_a, AddressSpace *const *b,
                        size_t nr_b)
{
    Entry *x = sorted(a, nr_a), *y = sorted(b, nr_b);
    bool good = x && y;

    for (size_t i = 0, j = 0; good && (i < nr_a || j < nr_b);) {
        int order = i == nr_a ? 1
                    : j == nr_b
                        ? -1
                        : strcmp(address_space_name(x[i].space), address_space_name(y[j].space));
        good = compare_spaces(d, order <= 0 ? x[i].space : NULL, order >= 0 ? y[j].space : NULL);
        i += order <= 0;
        j += order >= 0;
    }
    free(x);
    free(y);
    return good;
}

static int compare_maps(const Options *options, const MemoryImport *a, const MemoryImport *b)
{
    Difference d = {.options = options, .spaces = json_array()};
    size_t nr_a, nr_b;
    AddressSpace **x = select_spaces(a, options->positional[0], options->as_name, &nr_a);
    AddressSpace **y = x ? select_spaces(b, options->positional[1], options->as_name, &nr_b) : NULL;
    int status = EXIT_TROUBLE;

    if (x && y) {
        if (!compare_all(&d, x, nr_a, y, nr_b)) {
            complain("out of memory");
        } else if (options->json) {
            status = print_json(json_pack("{s:O}", "spaces", d.spaces),
                                d.any ? EXIT_DIFFERENT : EXIT_SAME);
        } else {
            status = finish_output(d.any ? EXIT_DIFFERENT : EXIT_SAME);
        }
    }
    json_decref(d.spaces);
    free(x);
    free(y);
    return status;
}

static int run(const Options *options)
{
    MemoryImport *a = load_source(options, 0);
    MemoryImport *b = a ? load_source(options, 1) : NULL;
    int status = a && b ? compare_maps(options, a, b) : EXIT_TROUBLE;

    memory_import_free(a);
    memory_import_free(b);
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
