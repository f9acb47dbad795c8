/* SPDX-License-Identifier: MIT */
/*
 * membus log - the commits of a trace, and what each changed.
 *
 *        0  +0.000000               memory, cpu-memory-0: 23 appeared; I/O: 41 appeared
 *        1  +0.001834 at 0xfffd41ac  memory, cpu-memory-0: 1 changed
 */
#include "changes.h"
#include "history.h"

#include <membus/error.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Log {
    const Options *options;
    MapTraceState *state;
    bool *told; /* spaces of the record at hand that an earlier one stands for */
    bool any;   /* something of the record has been printed */
    json_t *commits;
} Log;

static bool concerns(const Log *log, const MapTraceSpace *space)
{
    return (space->changed || space->made || space->ended) &&
           (!log->options->as_name || strcmp(space->name, log->options->as_name) == 0);
}

static bool get_changes(const Log *log, size_t index, Changes *changes)
{
    MapTraceChange c;

    if (map_trace_state_change(log->state, index, &c)) {
        return false;
    }
    *changes = compare_ranges(c.removed, c.nr_removed, c.added, c.nr_added);
    return !changes->failed;
}

/* ---- text ---------------------------------------------------------------------------- */

static bool same_changes(const Changes *a, const Changes *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        const Change *x = &a->items[i], *y = &b->items[i];
        if (x->kind != y->kind || x->dropped != y->dropped || x->before.first != y->before.first ||
            x->before.last != y->before.last || x->before.region != y->before.region ||
            x->before.offset != y->before.offset || x->before.type != y->before.type ||
            x->after.first != y->after.first || x->after.last != y->after.last ||
            x->after.region != y->after.region || x->after.offset != y->after.offset ||
            x->after.type != y->after.type) {
            return false;
        }
    }
    return true;
}

static void print_summary(const MapTraceSpace *space, const Changes *changes)
{
    unsigned long counts[NR_KINDS] = {0};
    const char *separator = ": ";

    for (size_t i = 0; i < changes->count; i++) {
        counts[changes->items[i].kind] += !changes->items[i].dropped;
    }
    for (unsigned kind = 0; kind < NR_KINDS; kind++) {
        if (counts[kind]) {
            printf("%s%lu %s", separator, counts[kind], kind_names[kind]);
            separator = ", ";
        }
    }
    if (changes->count == 0 && !space->ended) {
        fputs(space->made ? ": nothing" : ": the same ranges of another view", stdout);
    }
}

static void print_space_name(const Log *log, const MapTraceSpace *space, const char *separator)
{
    bool start = map_trace_state_record(log->state).number == 0;

    fputs(separator, stdout);
    print_text(stdout, space->name);
    fputs(space->ended ? " (ended)" : space->made && !start ? " (made)" : "", stdout);
}

/* The spaces after @index that show the same view and changed in the same way stand with it. */
static bool print_others(Log *log, size_t index, const MapTraceSpace *space, const Changes *changes)
{
    for (size_t i = index + 1; i < map_trace_state_spaces(log->state); i++) {
        MapTraceSpace other = map_trace_state_space(log->state, i);
        Changes theirs = {.items = NULL};
        if (log->told[i] || !concerns(log, &other) || other.view != space->view ||
            other.ended != space->ended) {
            continue;
        }
        if (!get_changes(log, i, &theirs)) {
            free(theirs.items);
            return false;
        }
        log->told[i] = same_changes(changes, &theirs);
        free(theirs.items);
        if (log->told[i]) {
            print_space_name(log, &other, ", ");
        }
    }
    return true;
}

static bool print_space(Log *log, size_t index, const MapTraceSpace *space)
{
    Changes changes = {.items = NULL};
    bool good = get_changes(log, index, &changes);

    if (good) {
        print_space_name(log, space, !log->options->verbose && log->any ? "; " : "");
        good = print_others(log, index, space, &changes);
        if (log->options->verbose) {
            putchar('\n');
            print_changes(log->options, &changes);
        } else {
            print_summary(space, &changes);
        }
        log->any = true;
    }
    free(changes.items);
    return good;
}

static bool print_record(Log *log)
{
    MapTraceRecord record = map_trace_state_record(log->state);
    size_t count = map_trace_state_spaces(log->state);
    bool good = true;

    free(log->told);
    log->told = calloc(count + 1, sizeof(bool));
    log->any = false;
    good = log->told;
    for (size_t i = 0; i < count && good; i++) {
        MapTraceSpace space = map_trace_state_space(log->state, i);
        if (log->told[i] || !concerns(log, &space)) {
            continue;
        }
        if (!log->any) {
            printf("%s%6zu%s  ", color(log->options, COLOR_HEAD), record.number,
                   color(log->options, COLOR_PLAIN));
            print_moment(&record);
            fputs(log->options->verbose ? "\n" : "  ", stdout);
        }
        good = print_space(log, i, &space);
    }
    if (log->any) {
        putchar('\n');
    }
    return good;
}

/* ---- JSON ---------------------------------------------------------------------------- */

static bool describe_record(Log *log)
{
    MapTraceRecord record = map_trace_state_record(log->state);
    json_t *spaces = json_array();
    bool good = true;

    for (size_t i = 0; i < map_trace_state_spaces(log->state) && good; i++) {
        MapTraceSpace space = map_trace_state_space(log->state, i);
        Changes changes = {.items = NULL};
        if (!concerns(log, &space)) {
            continue;
        }
        good = get_changes(log, i, &changes);
        if (good) {
            json_array_append_new(spaces,
                                  json_pack("{s:o, s:b, s:b, s:o}", "name", json_text(space.name),
                                            "made", space.made, "ended", space.ended, "changes",
                                            json_changes(&changes)));
        }
        free(changes.items);
    }
    if (good && (json_array_size(spaces) || !log->options->as_name)) {
        json_t *object = json_pack("{s:I}", "number", (json_int_t)record.number);
        describe_moment(object, &record);
        json_object_set(object, "spaces", spaces);
        json_array_append_new(log->commits, object);
    }
    json_decref(spaces);
    return good;
}

/* -------------------------------------------------------------------------------------- */

static bool has_space(const TraceSource *source, const char *name)
{
    MapTraceState *state = trace_source_state(source, map_trace_count(source->file) - 1);
    bool found = false;

    for (size_t i = 0; state && i < map_trace_state_spaces(state) && !found; i++) {
        found = strcmp(map_trace_state_space(state, i).name, name) == 0;
    }
    if (state && !found) {
        complain("%s: no address space is called '%s'", source->path, name);
    }
    map_trace_state_free(state);
    return found;
}

static int print_log(const Options *options, const TraceSource *source)
{
    Log log = {.options = options, .commits = json_array()};
    size_t last = source->given ? source->number : map_trace_count(source->file) - 1;

    if (options->as_name && !has_space(source, options->as_name)) {
        json_decref(log.commits);
        return EXIT_TROUBLE;
    }
    log.state = trace_source_state(source, source->given ? last : 0);
    bool good = log.state;
    while (good) {
        good = options->json ? describe_record(&log) : print_record(&log);
        if (!good || map_trace_state_record(log.state).number == last) {
            break;
        }
        good = map_trace_state_next(log.state, NULL) == 1;
    }
    if (log.state && !good) {
        complain("out of memory");
    }
    map_trace_state_free(log.state);
    free(log.told);
    bool cut = map_trace_truncated(source->file);
    if (good && cut) {
        complain("%s: the record after commit %zu is cut off", source->path,
                 map_trace_count(source->file) - 1);
    }
    int status = EXIT_TROUBLE;
    if (good) {
        status =
            !options->json
                ? finish_output(EXIT_SAME)
                : print_json(json_pack("{s:I, s:b, s:O}", "began",
                                       (json_int_t)(map_trace_began(source->file) / 1000000000U),
                                       "cut_off", cut, "commits", log.commits),
                             EXIT_SAME);
    }
    json_decref(log.commits);
    return status;
}

static int run(const Options *options)
{
    TraceSource source;
    int result = open_trace(&source, options->positional[0]);

    if (result == 0) {
        bool there = access(options->positional[0], R_OK) == 0;
        complain("%s: %s", options->positional[0],
                 there ? "not a trace of a memory map" : strerror(errno));
    }
    int status = result == 1 ? print_log(options, &source) : EXIT_TROUBLE;
    close_trace(&source);
    return status;
}

const Command cmd_log = {
    .name = "log",
    .arguments = "TRACE[@N]",
    .summary = "List the commits of a trace, or one, and what they changed",
    .options = "  -v, --verbose  every change, as `membus diff` prints it\n",
    .min_sources = 1,
    .max_sources = 1,
    .takes_as = true,
    .takes_verbose = true,
    .run = run,
};
