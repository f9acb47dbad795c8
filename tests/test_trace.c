/* SPDX-License-Identifier: MIT */
/*
 * Traces of random machines under random edits. Beside the trace a naive copy is made of what every
 * address space shows after each record; reading the trace back has to give the copies, at once and
 * step by step, and what each step is said to have changed has to lead from one to the next.
 */
#include "support/churn.h"
#include "support/rng.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/machine.h"

#define NAME_MAX_LENGTH 24
#define SPACES 12
#define RECORDS 600

typedef struct CopyRange {
    hwaddr first, last, offset;
    char name[NAME_MAX_LENGTH], type[12];
    int priority;
    unsigned flags;
} CopyRange;

typedef struct CopySpace {
    char name[NAME_MAX_LENGTH], root[NAME_MAX_LENGTH];
    const FlatView *view; /* only to be compared */
    bool empty;
    CopyRange *range;
    size_t count;
} CopySpace;

typedef struct Copy {
    CopySpace space[SPACES];
    size_t count;
    bool made;
} Copy;

typedef struct Run {
    char path[64];
    MapTrace *trace;
    size_t records; /* how many have been made */
    Copy *copies;   /* by record; not made of those that came in the middle of an edit */
} Run;

static bool count_record(void *opaque, uint64_t *where)
{
    Run *run = opaque;

    *where = 0xffff0000U + 3 * run->records++;
    return run->records % 5 != 0;
}

static CopyRange copy_section(const MemoryRegionSection *s)
{
    CopyRange r = {.first = s->offset_within_address_space,
                   .last = s->last_within_address_space,
                   .offset = s->offset_within_region};

    snprintf(r.name, sizeof r.name, "%s", memory_region_name(s->mr));
    snprintf(r.type, sizeof r.type, "%s", mtree_type(s->mr, s->readonly, s->nonvolatile, s->romd));
    r.priority = memory_region_priority(s->mr);
    r.flags = (unsigned)s->romd | (unsigned)s->readonly << 1 | (unsigned)s->nonvolatile << 2 |
              (unsigned)s->unmergeable << 3 | (unsigned)s->dirty_log_mask << 4;
    return r;
}

static CopyRange copy_read_back(const MapTraceRange *m)
{
    CopyRange r = {.first = m->first, .last = m->last, .offset = m->offset};

    snprintf(r.name, sizeof r.name, "%s", m->name);
    snprintf(r.type, sizeof r.type, "%s", m->type);
    r.priority = m->priority;
    r.flags = (unsigned)m->romd | (unsigned)m->readonly << 1 | (unsigned)m->nonvolatile << 2 |
              (unsigned)m->unmergeable << 3 | (unsigned)m->dirty_log_mask << 4;
    return r;
}

static bool equal(const CopyRange *a, const CopyRange *b)
{
    return a->first == b->first && a->last == b->last && a->offset == b->offset &&
           a->priority == b->priority && a->flags == b->flags && strcmp(a->name, b->name) == 0 &&
           strcmp(a->type, b->type) == 0;
}

/* A region's priority may change while it is shown as before: the record has what it was. */
static bool equal_but_priority(const CopyRange *a, const CopyRange *b)
{
    CopyRange c = *a;

    c.priority = b->priority;
    return equal(&c, b);
}

static bool copy_space(AddressSpace *as, void *opaque)
{
    Copy *copy = opaque;
    CopySpace *space = &copy->space[copy->count++];
    FlatView *view = address_space_get_flatview(as);
    MemoryRegionSection s;
    hwaddr at = 0;

    assert_true(copy->count <= SPACES);
    *space = (CopySpace){.view = view, .empty = !flatview_root(view)};
    snprintf(space->name, sizeof space->name, "%s", address_space_name(as));
    snprintf(space->root, sizeof space->root, "%s", memory_region_name(address_space_root(as)));
    while (flatview_next(view, at, &s)) {
        space->range = reallocarray(space->range, space->count + 1, sizeof *space->range);
        assert_non_null(space->range);
        space->range[space->count++] = copy_section(&s);
        at = s.last_within_address_space + 1;
        if (!at) {
            break;
        }
    }
    flatview_unref(view);
    return false;
}

static void copy_free(Copy *copy)
{
    for (size_t i = 0; i < copy->count; i++) {
        free(copy->space[i].range);
    }
    *copy = (Copy){.count = 0};
}

static void run_edited(Churn *c, void *opaque)
{
    Run *run = opaque;
    Copy *copy = &run->copies[run->records - 1];

    assert_true(run->records <= RECORDS);
    copy_free(copy);
    memory_system_for_each_address_space(c->ms, copy_space, copy);
    copy->made = true;
}

static void run_begin(Churn *c, void *opaque)
{
    Run *run = opaque;
    const MapTraceConfig config = {.where = count_record, .opaque = run};

    run->trace = map_trace_create(c->ms, run->path, &config, NULL);
    assert_non_null(run->trace);
    assert_int_equal(run->records, 1);
    run_edited(c, opaque);
}

static void run_end(Churn *c, void *opaque)
{
    Run *run = opaque;

    (void)c;
    OK(map_trace_stop(run->trace, NULL));
}

/* ---- reading back -------------------------------------------------------------------- */

static void check_space(MapTraceState *state, size_t index, const CopySpace *copy)
{
    MapTraceSpace space = map_trace_state_space(state, index);
    size_t count;
    const MapTraceRange *ranges = map_trace_state_ranges(state, index, &count);

    assert_non_null(ranges);
    assert_string_equal(space.name, copy->name);
    assert_string_equal(space.root, copy->root);
    assert_int_equal(space.view == SIZE_MAX, copy->empty);
    assert_int_equal(count, copy->count);
    for (size_t i = 0; i < count; i++) {
        CopyRange r = copy_read_back(&ranges[i]);
        MapTraceRange found;
        if (!equal_but_priority(&r, &copy->range[i])) {
            fail_msg("record %zu, %s: range %zu is not as it was",
                     map_trace_state_record(state).number, space.name, i);
        }
        assert_true(map_trace_state_lookup(state, index, r.last, &found));
        assert_int_equal(found.first, r.first);
        bool bare = r.first && (i == 0 || ranges[i - 1].last != r.first - 1);
        assert_int_equal(r.first && !map_trace_state_lookup(state, index, r.first - 1, &found),
                         bare);
    }
}

static void check_state(MapTraceState *state, const Copy *copy)
{
    size_t k = 0, index[SPACES];

    for (size_t i = 0; i < map_trace_state_spaces(state); i++) {
        size_t count;
        if (map_trace_state_space(state, i).alive) {
            assert_true(k < copy->count);
            check_space(state, i, &copy->space[k]);
            index[k++] = i;
        } else {
            assert_non_null(map_trace_state_ranges(state, i, &count));
            assert_int_equal(count, 0);
        }
    }
    assert_int_equal(k, copy->count);
    for (size_t i = 0; i < k; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_int_equal(copy->space[i].view == copy->space[j].view,
                             map_trace_state_space(state, index[i]).view ==
                                 map_trace_state_space(state, index[j]).view);
        }
    }
}

/* Find @range in @list, and take it out. */
static bool take_out(CopyRange *list, size_t *count, const CopyRange *range)
{
    for (size_t i = 0; i < *count; i++) {
        if (equal(&list[i], range)) {
            list[i] = list[--*count];
            return true;
        }
    }
    return false;
}

/* What the record took from and brought to the ranges of before gives those of now. */
static void check_change(MapTraceState *state, size_t index, const CopyRange *before,
                         size_t nr_before)
{
    MapTraceChange change;
    size_t count, n = nr_before;

    OK(map_trace_state_change(state, index, &change));
    const MapTraceRange *ranges = map_trace_state_ranges(state, index, &count);
    CopyRange *list = calloc(nr_before + change.nr_added + 1, sizeof *list);
    assert_non_null(list);
    if (nr_before) {
        memcpy(list, before, nr_before * sizeof *list);
    }
    assert_true(map_trace_state_space(state, index).changed ||
                (!change.nr_removed && !change.nr_added));
    for (size_t i = 0; i < change.nr_removed; i++) {
        CopyRange r = copy_read_back(&change.removed[i]);
        assert_true(take_out(list, &n, &r));
        assert_true(i == 0 || change.removed[i - 1].last < r.first);
    }
    for (size_t i = 0; i < change.nr_added; i++) {
        CopyRange r = copy_read_back(&change.added[i]);
        for (size_t j = 0; j < change.nr_removed; j++) {
            CopyRange other = copy_read_back(&change.removed[j]);
            assert_false(equal(&r, &other));
        }
        list[n++] = r;
    }
    assert_int_equal(n, count);
    for (size_t i = 0; i < count; i++) {
        CopyRange r = copy_read_back(&ranges[i]);
        assert_true(take_out(list, &n, &r));
    }
    free(list);
}

/* Go from record 0 to the last. */
static void check_steps(const MapTraceFile *file, const Copy *copies)
{
    MapTraceState *state = map_trace_state(file, 0, NULL);
    size_t last = map_trace_count(file) - 1, known = 0, number = 0;
    CopyRange *before[200] = {NULL};
    size_t counts[200] = {0};
    uint64_t time = 0;
    int more;

    do {
        MapTraceRecord record = map_trace_state_record(state);
        assert_int_equal(record.number, number);
        assert_true(record.time >= time);
        assert_int_equal(record.has_where, (number + 1) % 5 != 0);
        assert_int_equal(record.where, record.has_where ? 0xffff0000U + 3 * number : 0);
        time = record.time;
        if (copies[number].made) {
            check_state(state, &copies[number]);
        }
        assert_true(map_trace_state_spaces(state) < 200);
        for (size_t i = 0; i < map_trace_state_spaces(state); i++) {
            assert_int_equal(map_trace_state_space(state, i).made, i >= known);
            check_change(state, i, before[i], counts[i]);
            const MapTraceRange *ranges = map_trace_state_ranges(state, i, &counts[i]);
            before[i] = reallocarray(before[i], counts[i] + 1, sizeof(CopyRange));
            for (size_t k = 0; k < counts[i]; k++) {
                before[i][k] = copy_read_back(&ranges[k]);
            }
        }
        known = map_trace_state_spaces(state);
        number++;
        more = map_trace_state_next(state, NULL);
    } while (more == 1);
    assert_int_equal(more, 0);
    assert_int_equal(number, last + 1);
    for (size_t i = 0; i < 200; i++) {
        free(before[i]);
    }
    map_trace_state_free(state);
}

static void read_back(Run *run, Rng *rng)
{
    Error *err = NULL;
    MapTraceFile *file = map_trace_open(run->path, &err);

    if (!file) {
        fail_msg("%s", error_get_pretty(err));
    }
    assert_false(map_trace_truncated(file));
    assert_int_equal(map_trace_count(file), run->records);
    check_steps(file, run->copies);
    for (unsigned i = 0; i < 3; i++) {
        size_t number = rng_below(rng, (unsigned)run->records);
        MapTraceState *state = map_trace_state(file, number, NULL);
        assert_non_null(state);
        assert_int_equal(map_trace_state_record(state).number, number);
        if (run->copies[number].made) {
            check_state(state, &run->copies[number]);
        }
        map_trace_state_free(state);
    }
    map_trace_close(file);
}

static void random_run(uint64_t seed, unsigned edits)
{
    Run run = {.copies = calloc(RECORDS + 1, sizeof(Copy))};
    const ChurnWatcher watcher = {run_begin, run_edited, run_end, &run};
    Rng rng = {.state = seed};

    assert_non_null(run.copies);
    snprintf(run.path, sizeof run.path, "/tmp/membus-trace-%ld", (long)getpid());
    assert_true(churn_run_watched(seed, edits, NULL, &watcher));
    read_back(&run, &rng);
    unlink(run.path);
    for (size_t i = 0; i <= RECORDS; i++) {
        copy_free(&run.copies[i]);
    }
    free(run.copies);
}

static void what_is_read_back_is_what_was(void **state)
{
    (void)state;
    for (uint64_t seed = 700; seed < 800; seed++) {
        random_run(seed, 60);
    }
}

static void long_lives_are_read_back(void **state)
{
    (void)state;
    for (uint64_t seed = 9000; seed < 9003; seed++) {
        random_run(seed, 500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_back_is_what_was),
        cmocka_unit_test(long_lives_are_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
