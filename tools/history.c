/* SPDX-License-Identifier: MIT */
/*
 * Who answers at an address at a moment of a trace, and who did before and after.
 *
 *     0x00000000000f0000 in memory after commit 12: pc.ram (ram) at offset 0xf0000
 *         0-11   +0.000000              pc.bios (rom) at offset 0x30000
 *       * 12-    +0.004211 at 0xfd2a1   pc.ram (ram) at offset 0xf0000
 */
#include "history.h"

#include <membus/error.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The same region answers, or none, from one commit to another. */
typedef struct Period {
    MapTraceRecord from;
    size_t to;           /* the last record of it */
    bool alive;          /* the address space is there */
    MapTraceRange range; /* name NULL: nobody answers */
} Period;

typedef struct History {
    size_t index;
    const char *name;
    Period *periods;
    size_t count, max;
} History;

static bool same_answer(const MapTraceRange *a, const MapTraceRange *b, hwaddr addr)
{
    if (!a->name || !b->name) {
        return a->name == b->name;
    }
    return a->region == b->region && strcmp(a->type, b->type) == 0 &&
           a->offset + (addr - a->first) == b->offset + (addr - b->first);
}

static bool note_answer(History *h, const MapTraceState *state, hwaddr addr)
{
    MapTraceRecord record = map_trace_state_record(state);
    Period *latest = h->count ? &h->periods[h->count - 1] : NULL;
    bool alive = map_trace_state_space(state, h->index).alive;
    MapTraceRange range;

    map_trace_state_lookup(state, h->index, addr, &range);
    if (latest && latest->alive == alive && same_answer(&latest->range, &range, addr)) {
        return true;
    }
    if (h->count == h->max) {
        size_t max = h->max ? 2 * h->max : 16;
        Period *grown = reallocarray(h->periods, max, sizeof *grown);
        if (!grown) {
            return false;
        }
        h->periods = grown;
        h->max = max;
    }
    if (h->count) {
        h->periods[h->count - 1].to = record.number - 1;
    }
    h->periods[h->count++] = (Period){record, record.number, alive, range};
    return true;
}

/* ---- which spaces ---------------------------------------------------------------------- */

/* Those called --as; without it `memory`, or the first. */
static History *choose_histories(const Options *options, const MapTraceState *last, size_t *count)
{
    size_t all = map_trace_state_spaces(last), first = 0;
    History *list = calloc(all + 1, sizeof *list);
    const char *name = options->as_name ? options->as_name : "memory";

    *count = 0;
    for (size_t i = 0; list && i < all; i++) {
        const char *found = map_trace_state_space(last, i).name;
        bool wanted = strcmp(found, name) == 0;
        first = wanted && !*count ? i : first;
        if (wanted && (options->as_name || !*count)) {
            list[(*count)++] = (History){.index = i, .name = found};
        }
    }
    if (list && !*count && !options->as_name && all) {
        list[(*count)++] = (History){.name = map_trace_state_space(last, first).name};
    }
    return list;
}

/* Walk all records; *@state is left at the last, or freed. */
static bool walk(const TraceSource *source, History *list, size_t count, hwaddr addr)
{
    MapTraceState *state = trace_source_state(source, 0);
    bool good = state;
    int more = 1;

    while (good && more == 1) {
        for (size_t i = 0; i < count && good; i++) {
            if (list[i].index < map_trace_state_spaces(state)) {
                MapTraceSpace space = map_trace_state_space(state, list[i].index);
                good = !(space.changed || space.made || space.ended) ||
                       note_answer(&list[i], state, addr);
            }
        }
        more = good ? map_trace_state_next(state, NULL) : -1;
    }
    size_t last = map_trace_count(source->file) - 1;
    for (size_t i = 0; i < count; i++) {
        if (list[i].count) {
            list[i].periods[list[i].count - 1].to = last;
        }
    }
    if (state && more < 0) {
        complain("out of memory");
    }
    map_trace_state_free(state);
    return good && more == 0;
}

/* ---- output -------------------------------------------------------------------------- */

void print_moment(const MapTraceRecord *record)
{
    printf("+%" PRIu64 ".%06u", record->time / 1000000000U,
           (unsigned)(record->time % 1000000000U / 1000U));
    if (record->has_where) {
        printf(" at 0x%" PRIx64, record->where);
    }
}

void describe_moment(json_t *object, const MapTraceRecord *record)
{
    json_object_set_new(object, "time", json_integer((json_int_t)record->time));
    if (record->has_where) {
        json_object_set_new(object, "where", json_hwaddr(record->where));
    }
}

static void print_answer(const Options *options, const Period *period, hwaddr addr)
{
    const MapTraceRange *r = &period->range;
    const char *head = color(options, COLOR_HEAD), *plain = color(options, COLOR_PLAIN);

    if (!period->alive) {
        printf("%sno such address space%s", head, plain);
    } else if (!r->name) {
        printf("%sunassigned%s", head, plain);
    } else {
        fputs(head, stdout);
        print_text(stdout, r->name);
        printf("%s (%s) at offset 0x%" PRIx64, plain, r->type, r->offset + (addr - r->first));
    }
}

static bool covers(const Period *period, size_t number)
{
    return period->from.number <= number && number <= period->to;
}

static void print_history(const Options *options, const History *h, size_t number, hwaddr addr)
{
    Period none = {.alive = false};
    const Period *now = &none;

    for (size_t i = 0; i < h->count; i++) {
        now = covers(&h->periods[i], number) ? &h->periods[i] : now;
    }
    printf("0x%016" PRIx64 " in ", addr);
    print_text(stdout, h->name);
    printf(" after commit %zu: ", number);
    print_answer(options, now, addr);
    putchar('\n');
    for (size_t i = 0; i < h->count; i++) {
        const Period *p = &h->periods[i];
        char commits[48];
        bool open = i + 1 == h->count;
        int length = open ? snprintf(commits, sizeof commits, "%zu-", p->from.number)
                     : p->to == p->from.number
                         ? snprintf(commits, sizeof commits, "%zu", p->to)
                         : snprintf(commits, sizeof commits, "%zu-%zu", p->from.number, p->to);
        printf("  %c %s%*s  ", p == now ? '*' : ' ', commits, length < 9 ? 9 - length : 0, "");
        fputs(color(options, COLOR_FAINT), stdout);
        print_moment(&p->from);
        printf("%s  ", color(options, COLOR_PLAIN));
        print_answer(options, p, addr);
        putchar('\n');
    }
}

static json_t *describe_answer(const Period *period, hwaddr addr)
{
    const MapTraceRange *r = &period->range;

    if (!r->name) {
        return json_null();
    }
    return json_pack("{s:o, s:s, s:o, s:i}", "region", json_text(r->name), "type", r->type,
                     "offset", json_hwaddr(r->offset + (addr - r->first)), "priority", r->priority);
}

static json_t *describe_history(const History *h, size_t number, hwaddr addr)
{
    json_t *list = json_array(), *answer = NULL;

    for (size_t i = 0; i < h->count; i++) {
        const Period *p = &h->periods[i];
        json_t *object =
            json_pack("{s:I, s:I}", "from", (json_int_t)p->from.number, "to", (json_int_t)p->to);
        describe_moment(object, &p->from);
        json_object_set_new(object, "alive", json_boolean(p->alive));
        json_object_set_new(object, "answer", describe_answer(p, addr));
        if (covers(p, number)) {
            answer = describe_answer(p, addr);
        }
        json_array_append_new(list, object);
    }
    return json_pack("{s:o, s:o, s:o}", "name", json_text(h->name), "answer",
                     answer ? answer : json_null(), "history", list);
}

static int report(const Options *options, const TraceSource *source, const History *list,
                  size_t count, hwaddr addr)
{
    if (options->json) {
        json_t *spaces = json_array();
        for (size_t i = 0; i < count; i++) {
            json_array_append_new(spaces, describe_history(&list[i], source->number, addr));
        }
        return print_json(json_pack("{s:o, s:I, s:o}", "address", json_hwaddr(addr), "commit",
                                    (json_int_t)source->number, "spaces", spaces),
                          EXIT_SAME);
    }
    for (size_t i = 0; i < count; i++) {
        print_history(options, &list[i], source->number, addr);
    }
    return finish_output(EXIT_SAME);
}

int find_in_trace(const Options *options, const TraceSource *source, hwaddr addr)
{
    MapTraceState *last = trace_source_state(source, map_trace_count(source->file) - 1);
    int status = EXIT_TROUBLE;
    size_t count = 0;

    if (!last) {
        return EXIT_TROUBLE;
    }
    History *list = choose_histories(options, last, &count);
    map_trace_state_free(last);
    if (!list) {
        complain("out of memory");
    } else if (!count) {
        complain("%s: no address space is called '%s'", source->path,
                 options->as_name ? options->as_name : "memory");
    } else if (walk(source, list, count, addr)) {
        status = report(options, source, list, count, addr);
    }
    for (size_t i = 0; i < count; i++) {
        free(list[i].periods);
    }
    free(list);
    return status;
}
