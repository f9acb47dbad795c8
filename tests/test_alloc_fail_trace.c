/* SPDX-License-Identifier: MIT */
/*
 * Traces where memory is short. Writing: each allocation of a commit fails in turn; a trace that
 * lost something says so at its end, one that does not has all. Reading: each call is refused, and
 * works when there is memory again.
 */
#include "support/saboteur.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/machine.h"

#define PAGE ((hwaddr)4096)

static char path[64];

typedef struct Box {
    MemorySystem *ms;
    MemoryRegion ram, device[40];
    AddressSpace cpu;
} Box;

static void box_start(Box *b)
{
    *b = (Box){.ms = machine_start()};
    snprintf(path, sizeof path, "/tmp/membus-trace-fail-%ld", (long)getpid());
    make_ram(b->ms, &b->ram, "ram", 4 * PAGE);
    for (unsigned i = 0; i < 40; i++) {
        char name[64]; /* long, so that tables have to grow */
        snprintf(name, sizeof name, "a device with a name that is long, number %u", i);
        OK(memory_region_init_io(&b->device[i], memory_system_owner(b->ms), NULL, NULL, name,
                                 PAGE));
    }
    map_at(b->ms, 0, &b->ram);
}

static void box_end(Box *b)
{
    unmap(b->ms, &b->ram);
    machine_end(b->ms);
    unlink(path);
}

/* One commit with everything in it. */
static int edit(Box *b)
{
    int result = 0;

    memory_region_transaction_begin(b->ms);
    for (unsigned i = 0; i < 40 && !result; i++) {
        result = memory_region_add_subregion(get_system_memory(b->ms), (8 + 2 * i) * PAGE,
                                             &b->device[i]);
    }
    if (!result) {
        result = address_space_init(&b->cpu, get_system_memory(b->ms), "cpu");
    }
    return memory_region_transaction_commit(b->ms);
}

static void undo(Box *b)
{
    for (unsigned i = 0; i < 40; i++) {
        if (memory_region_is_mapped(&b->device[i])) {
            unmap(b->ms, &b->device[i]);
        }
    }
    if (b->cpu.name) {
        OK(address_space_destroy(&b->cpu));
    }
}

static size_t ranges_at_end(void)
{
    MapTraceFile *file = map_trace_open(path, NULL);
    size_t count;

    assert_non_null(file);
    MapTraceState *s = map_trace_state(file, map_trace_count(file) - 1, NULL);
    assert_non_null(map_trace_state_ranges(s, 0, &count));
    map_trace_state_free(s);
    map_trace_close(file);
    return count;
}

static void a_commit_never_fails_for_its_trace(void **state)
{
    unsigned lost = 0;
    (void)state;

    for (unsigned long k = 1;; k++) {
        Box b;
        box_start(&b);
        MapTrace *trace = map_trace_create(b.ms, path, NULL, NULL);
        assert_non_null(trace);
        saboteur_arm(k, k % 2);
        int result = edit(&b);
        unsigned long failed = saboteur_disarm();
        if (result) {
            assert_int_equal(result, -ENOMEM);
            memory_region_transaction_commit(b.ms); /* again, with memory */
        }
        int stopped = map_trace_stop(trace, NULL);
        if (stopped) {
            assert_int_equal(stopped, -ENOMEM);
            assert_true(failed);
            lost++;
        } else {
            FlatView *view = address_space_get_flatview(memory_system_memory(b.ms));
            MemoryRegionSection s;
            size_t count = 0;
            for (hwaddr at = 0; flatview_next(view, at, &s); at = s.last_within_address_space + 1) {
                count++;
            }
            flatview_unref(view);
            assert_int_equal(ranges_at_end(), count);
        }
        undo(&b);
        box_end(&b);
        if (!failed) {
            break;
        }
    }
    assert_true(lost > 5);
}

static void a_trace_that_cannot_begin_is_none(void **state)
{
    (void)state;
    for (unsigned long k = 1;; k++) {
        Box b;
        Error *err = NULL;
        box_start(&b);
        OK(edit(&b));
        saboteur_arm(k, false);
        MapTrace *trace = map_trace_create(b.ms, path, NULL, &err);
        unsigned long failed = saboteur_disarm();
        assert_int_equal(!trace, failed != 0);
        if (!trace) {
            assert_int_equal(error_get_errno(err), -ENOMEM);
            error_free(err);
        }
        OK(map_trace_stop(trace, NULL));
        undo(&b);
        box_end(&b);
        if (!failed) {
            break;
        }
    }
}

/* Everything a reader does, until something fails. Returns whether all went well. */
static bool read_all(void)
{
    MapTraceFile *file = map_trace_open(path, NULL);
    MapTraceState *s = file ? map_trace_state(file, 0, NULL) : NULL;
    bool good = s;
    int more = 1;

    while (good && more == 1) {
        for (size_t i = 0; i < map_trace_state_spaces(s) && good; i++) {
            size_t count;
            MapTraceChange change;
            good =
                map_trace_state_ranges(s, i, &count) && map_trace_state_change(s, i, &change) == 0;
        }
        more = good ? map_trace_state_next(s, NULL) : 1;
        good = good && more >= 0;
    }
    map_trace_state_free(s);
    map_trace_close(file);
    return good;
}

static void readers_say_that_memory_is_short(void **state)
{
    Box b;
    (void)state;

    box_start(&b);
    MapTrace *trace = map_trace_create(b.ms, path, NULL, NULL);
    OK(edit(&b));
    undo(&b);
    OK(map_trace_stop(trace, NULL));
    for (unsigned long k = 1;; k++) {
        saboteur_arm(k, false);
        bool good = read_all();
        unsigned long failed = saboteur_disarm();
        if (!failed) {
            assert_true(good);
            break;
        }
        assert_false(good);
        assert_true(read_all());
    }
    box_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_commit_never_fails_for_its_trace),
        cmocka_unit_test(a_trace_that_cannot_begin_is_none),
        cmocka_unit_test(readers_say_that_memory_is_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
