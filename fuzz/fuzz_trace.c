/* SPDX-License-Identifier: MIT */
/*
 * Hostile traces: whatever the bytes are, they are refused with the place of what is wrong, or can
 * be walked through, forwards and at once, with the same result.
 */
#include <membus/error.h>
#include <membus/trace.h>

#include <stdlib.h>
#include <string.h>

static void must(bool truth)
{
    if (!truth) {
        abort();
    }
}

/* Sorted, in bounds, found by address. */
static size_t look_at(MapTraceState *state, size_t index)
{
    size_t count;
    const MapTraceRange *ranges = map_trace_state_ranges(state, index, &count);
    MapTraceSpace space = map_trace_state_space(state, index);

    must(ranges && space.name && space.root && (space.alive || count == 0));
    for (size_t i = 0; i < count && i < 500; i++) {
        MapTraceRange found;
        must(ranges[i].first <= ranges[i].last && ranges[i].name && ranges[i].type);
        must(i == 0 || ranges[i - 1].last < ranges[i].first);
        must(map_trace_state_lookup(state, index, ranges[i].last, &found));
        must(found.first == ranges[i].first && found.region == ranges[i].region);
    }
    return count;
}

/* What a record changed accounts for the number of ranges. */
static void check_step(MapTraceState *state, size_t *counts, size_t known)
{
    for (size_t i = 0; i < map_trace_state_spaces(state) && i < 50; i++) {
        MapTraceChange change;
        size_t count = look_at(state, i), before = i < known ? counts[i] : 0;
        must(map_trace_state_change(state, i, &change) == 0);
        must(before + change.nr_added == count + change.nr_removed);
        counts[i] = count;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Error *error = NULL;
    MapTraceFile *file = map_trace_open_bytes(data, size, "trace", &error);

    if (!file) {
        must(error && strncmp(error_get_pretty(error), "trace: byte ", 12) == 0);
        error_free(error);
        return 0;
    }
    size_t last = map_trace_count(file) - 1, known = 0;
    size_t *counts = calloc(size, sizeof *counts);
    MapTraceState *at_once = map_trace_state(file, last, &error);
    MapTraceState *state = map_trace_state(file, 0, &error);
    must(counts && state && at_once && !map_trace_state(file, last + 1, NULL));
    /* Looking takes the time of what there is: not at all of it, at each of many records. */
    for (size_t n = 0; n < last && n < 50; n++) {
        check_step(state, counts, known);
        known = map_trace_state_spaces(state);
        must(map_trace_state_next(state, &error) == 1);
    }
    while (map_trace_state_next(state, &error)) {
    }
    must(map_trace_state_record(state).number == last);
    must(map_trace_state_spaces(state) == map_trace_state_spaces(at_once));
    for (size_t i = 0; i < map_trace_state_spaces(state) && i < 50; i++) {
        must(look_at(state, i) == look_at(at_once, i));
    }
    map_trace_state_free(at_once);
    map_trace_state_free(state);
    map_trace_close(file);
    free(counts);
    return 0;
}
