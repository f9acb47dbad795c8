/* SPDX-License-Identifier: MIT */
#include "shown.h"

#include <membus/error.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- traces -------------------------------------------------------------------------- */

/* Whether @path is a regular file that begins as a trace does. Others must not be read twice. */
static bool is_trace(const char *path)
{
    char begin[8];
    struct stat st;

    if (stat(path, &st) || !S_ISREG(st.st_mode)) {
        return false;
    }
    FILE *in = fopen(path, "re");
    size_t got = in ? fread(begin, 1, sizeof begin, in) : 0;
    if (in) {
        fclose(in);
    }
    return map_trace_recognise(begin, got);
}

static bool exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

/* The moment after the @, false if it is none. */
static bool parse_moment(const char *text, const MapTraceFile *file, size_t *number)
{
    char *end;

    if (strcmp(text, "last") == 0) {
        *number = map_trace_count(file) - 1;
        return true;
    }
    errno = 0;
    *number = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno;
}

static int open_file(TraceSource *source, const char *moment)
{
    Error *error = NULL;

    source->file = map_trace_open(source->path, &error);
    if (!source->file) {
        complain("%s", error_get_pretty(error));
        error_free(error);
        return -1;
    }
    size_t last = map_trace_count(source->file) - 1;
    source->number = last;
    source->given = moment;
    if (moment && !parse_moment(moment, source->file, &source->number)) {
        complain("%s@%s: a moment of a trace is a commit's number or `last`", source->path, moment);
        return -1;
    }
    if (source->number > last) {
        complain("%s@%s: the last commit is %zu", source->path, moment, last);
        return -1;
    }
    return 1;
}

int open_trace(TraceSource *source, const char *argument)
{
    const char *moment = NULL;

    *source = (TraceSource){.path = strdup(argument)};
    if (!source->path) {
        complain("out of memory");
        return -1;
    }
    char *at = strrchr(source->path, '@');
    if (at && !exists(argument)) {
        *at = '\0';
        moment = argument + (at + 1 - source->path);
    }
    int result = is_trace(source->path) ? open_file(source, moment) : 0;
    if (result != 1) {
        close_trace(source);
    }
    return result;
}

int open_source_trace(const Options *options, unsigned index, TraceSource *source)
{
    int result = open_trace(source, options->positional[index]);

    if (result == 1 && options->flat_files[index]) {
        complain("--flat: it is for the text of a map, and %s is a trace", source->path);
        close_trace(source);
        result = -1;
    }
    return result;
}

MapTraceState *trace_source_state(const TraceSource *source, size_t number)
{
    Error *error = NULL;
    MapTraceState *state = map_trace_state(source->file, number, &error);

    if (!state) {
        complain("%s", error_get_pretty(error));
        error_free(error);
    }
    return state;
}

void close_trace(TraceSource *source)
{
    map_trace_close(source->file);
    free(source->path);
    *source = (TraceSource){.path = NULL};
}

/* ---- both kinds of source ---------------------------------------------------------------- */

MapTraceRange section_range(const MemoryRegionSection *s)
{
    return (MapTraceRange){
        .first = s->offset_within_address_space,
        .last = s->last_within_address_space,
        .offset = s->offset_within_region,
        .name = memory_region_name(s->mr),
        .type = mtree_type(s->mr, s->readonly, s->nonvolatile, s->romd),
        .priority = memory_region_priority(s->mr),
        .region = (size_t)(uintptr_t)s->mr,
        .romd = s->romd,
        .readonly = s->readonly,
        .nonvolatile = s->nonvolatile,
        .unmergeable = s->unmergeable,
        .dirty_log_mask = s->dirty_log_mask,
    };
}

static void count_section(const MemoryRegionSection *section, void *opaque)
{
    (void)section;
    ++*(size_t *)opaque;
}

static void put_section(const MemoryRegionSection *section, void *opaque)
{
    MapTraceRange **next = opaque;

    *(*next)++ = section_range(section);
}

static MapTraceRange *copy_view(AddressSpace *as, size_t *count)
{
    FlatView *view = address_space_get_flatview(as);

    *count = 0;
    for_each_range(view, count_section, count);
    MapTraceRange *ranges = calloc(*count + 1, sizeof *ranges), *next = ranges;
    if (ranges) {
        for_each_range(view, put_section, &next);
    }
    flatview_unref(view);
    return ranges;
}

static bool load_import(Shown *shown, const Options *options, unsigned index)
{
    const char *path = options->positional[index];

    shown->import = load_source(options, index);
    size_t count;
    AddressSpace **spaces =
        shown->import ? select_spaces(shown->import, path, options->as_name, &count) : NULL;
    if (!spaces) {
        return false;
    }
    shown->spaces = calloc(count + 1, sizeof *shown->spaces);
    shown->owned = calloc(count + 1, sizeof *shown->owned);
    bool good = shown->spaces && shown->owned;
    for (size_t i = 0; i < count && good; i++) {
        ShownSpace *space = &shown->spaces[shown->count];
        space->name = address_space_name(spaces[i]);
        shown->owned[i] = copy_view(spaces[i], &space->count);
        space->ranges = shown->owned[i];
        good = space->ranges;
        shown->nr_owned = ++shown->count;
    }
    free(spaces);
    if (!good) {
        complain("out of memory");
    }
    return good;
}

static bool load_trace(Shown *shown, const Options *options)
{
    shown->state = trace_source_state(&shown->trace, shown->trace.number);
    if (!shown->state) {
        return false;
    }
    size_t all = map_trace_state_spaces(shown->state);
    shown->spaces = calloc(all + 1, sizeof *shown->spaces);
    bool good = shown->spaces;
    for (size_t i = 0; i < all && good; i++) {
        MapTraceSpace space = map_trace_state_space(shown->state, i);
        if (space.alive && (!options->as_name || strcmp(space.name, options->as_name) == 0)) {
            ShownSpace *to = &shown->spaces[shown->count++];
            to->name = space.name;
            to->ranges = map_trace_state_ranges(shown->state, i, &to->count);
            good = to->ranges;
        }
    }
    if (!good) {
        complain("out of memory");
    } else if (options->as_name && shown->count == 0) {
        complain("%s@%zu: no address space is called '%s'", shown->trace.path, shown->trace.number,
                 options->as_name);
        good = false;
    }
    return good;
}

bool load_shown(Shown *shown, const Options *options, unsigned index)
{
    *shown = (Shown){.spaces = NULL};
    int result = open_source_trace(options, index, &shown->trace);
    return result < 0    ? false
           : result == 0 ? load_import(shown, options, index)
                         : load_trace(shown, options);
}

void release_shown(Shown *shown)
{
    for (size_t i = 0; i < shown->nr_owned; i++) {
        free(shown->owned[i]);
    }
    free(shown->owned);
    free(shown->spaces);
    map_trace_state_free(shown->state);
    close_trace(&shown->trace);
    memory_import_free(shown->import);
}

/* ---- output --------------------------------------------------------------------------- */

void print_range(const MapTraceRange *r)
{
    printf("%016" PRIx64 "-%016" PRIx64 " (prio %d, %s): ", r->first, r->last, r->priority,
           r->type);
    print_text(stdout, r->name);
    if (r->offset) {
        printf(" @%016" PRIx64, r->offset);
    }
}

json_t *json_range(const MapTraceRange *r)
{
    return json_pack("{s:o, s:o, s:i, s:s, s:o, s:o}", "first", json_hwaddr(r->first), "last",
                     json_hwaddr(r->last), "priority", r->priority, "type", r->type, "name",
                     json_text(r->name), "offset", json_hwaddr(r->offset));
}
