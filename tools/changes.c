/* SPDX-License-Identifier: MIT */
#include "changes.h"

#include <stdlib.h>
#include <string.h>

const char *const kind_names[NR_KINDS] = {"appeared", "vanished", "changed", "moved"};

/* ---- comparing two lists ------------------------------------------------------------ */

/* The part of @s from @first to @last; of nothing, nothing. */
static MapTraceRange cut(const MapTraceRange *s, hwaddr first, hwaddr last)
{
    MapTraceRange part = *s;

    if (s->name) {
        part.offset += first - s->first;
        part.first = first;
        part.last = last;
    }
    return part;
}

static bool looks_same(const MapTraceRange *a, const MapTraceRange *b)
{
    return a->priority == b->priority && strcmp(a->type, b->type) == 0 &&
           strcmp(a->name, b->name) == 0;
}

static bool same_place(const MapTraceRange *a, const MapTraceRange *b)
{
    return a->offset == b->offset && looks_same(a, b);
}

/* Whether @next goes on where @s ends, in the same region. */
static bool continues(const MapTraceRange *s, const MapTraceRange *next)
{
    if (!s->name || !next->name) {
        return s->name == next->name;
    }
    hwaddr size = s->last - s->first + 1;
    return s->region == next->region && s->last + 1 == next->first &&
           s->offset + size == next->offset && looks_same(s, next);
}

static void add_change(Changes *changes, const MapTraceRange *before, const MapTraceRange *after)
{
    Change *latest = changes->count ? &changes->items[changes->count - 1] : NULL;

    if (latest && continues(&latest->before, before) && continues(&latest->after, after)) {
        latest->before.last = before->last;
        latest->after.last = after->last;
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
    Kind kind = !before->name ? APPEARED : !after->name ? VANISHED : CHANGED;
    changes->items[changes->count++] = (Change){kind, *before, *after, false};
}

typedef struct Cursor {
    const MapTraceRange *next, *end; /* the first that ends at the position or above */
} Cursor;

static void seek(Cursor *cursor, hwaddr at)
{
    while (cursor->next < cursor->end && cursor->next->last < at) {
        cursor->next++;
    }
}

/* What covers @at, cut to begin there; lowers *@last to its end, or to the end of the gap. */
static MapTraceRange covering(const Cursor *cursor, hwaddr at, hwaddr *last)
{
    const MapTraceRange *r = cursor->next < cursor->end ? cursor->next : NULL;
    hwaddr end = UINT64_MAX;
    bool covers = r && r->first <= at;

    if (r) {
        end = covers ? r->last : r->first - 1;
    }
    *last = end < *last ? end : *last;
    return covers ? *r : (MapTraceRange){.name = NULL};
}

static void compare(Cursor before, Cursor after, Changes *changes)
{
    hwaddr at = 0;

    for (;;) {
        hwaddr last = UINT64_MAX;
        seek(&before, at);
        seek(&after, at);
        MapTraceRange x = covering(&before, at, &last), y = covering(&after, at, &last);
        x = cut(&x, at, last);
        y = cut(&y, at, last);
        if ((x.name || y.name) && !(x.name && y.name && same_place(&x, &y))) {
            add_change(changes, &x, &y);
        }
        if (last == UINT64_MAX) {
            return;
        }
        at = last + 1;
    }
}

/* ---- moves ---------------------------------------------------------------------------- */

static const MapTraceRange *only_side(const Change *change)
{
    return change->kind == APPEARED ? &change->after : &change->before;
}

static int compare_numbers(hwaddr a, hwaddr b)
{
    return (a > b) - (a < b);
}

/* Which of @a and @b shows which part of which region; 0 if both show the same. */
static int compare_parts(const MapTraceRange *a, const MapTraceRange *b)
{
    int order = strcmp(a->name, b->name);

    if (order == 0) {
        order = compare_numbers(a->offset, b->offset);
    }
    if (order == 0) {
        order = compare_numbers(a->last - a->first, b->last - b->first);
    }
    if (order == 0) {
        order = strcmp(a->type, b->type);
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

Changes compare_ranges(const MapTraceRange *a, size_t nr_a, const MapTraceRange *b, size_t nr_b)
{
    Changes changes = {.items = NULL};

    compare((Cursor){a, nr_a ? a + nr_a : a}, (Cursor){b, nr_b ? b + nr_b : b}, &changes);
    join_moves(&changes);
    return changes;
}

/* ---- output --------------------------------------------------------------------------- */

static void print_change(const Options *options, const Change *change)
{
    static const Color colors[] = {COLOR_GOOD, COLOR_BAD, COLOR_CHANGED, COLOR_CHANGED};

    printf("  %s%s%s ", color(options, colors[change->kind]), kind_names[change->kind],
           color(options, COLOR_PLAIN));
    if (change->before.name) {
        print_range(&change->before);
    }
    if (change->before.name && change->after.name) {
        fputs("\n       to ", stdout);
    }
    if (change->after.name) {
        print_range(&change->after);
    }
    putchar('\n');
}

void print_changes(const Options *options, const Changes *changes)
{
    for (size_t i = 0; i < changes->count; i++) {
        if (!changes->items[i].dropped) {
            print_change(options, &changes->items[i]);
        }
    }
}

static json_t *describe_change(const Change *change)
{
    json_t *object = json_pack("{s:s}", "kind", kind_names[change->kind]);

    if (change->before.name) {
        json_object_set_new(object, "before", json_range(&change->before));
    }
    if (change->after.name) {
        json_object_set_new(object, "after", json_range(&change->after));
    }
    return object;
}

json_t *json_changes(const Changes *changes)
{
    json_t *list = json_array();

    for (size_t i = 0; i < changes->count; i++) {
        if (!changes->items[i].dropped) {
            json_array_append_new(list, describe_change(&changes->items[i]));
        }
    }
    return list;
}
