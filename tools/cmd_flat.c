/* SPDX-License-Identifier: MIT */
/* membus flat - the flat views, as QEMU's `info mtree -f` prints them. */
#include "shown.h"

#include <stdlib.h>
#include <string.h>

static void add_range(const MemoryRegionSection *section, void *opaque)
{
    json_array_append_new(opaque, json_section(section));
}

static json_t *describe_view(const FlatView *view)
{
    MemoryRegion *root = flatview_root(view);
    json_t *ranges = json_array();

    if (ranges) {
        for_each_range(view, add_range, ranges);
    }
    return json_pack("{s:[], s:o?, s:o}", "spaces", "root",
                     root ? json_text(memory_region_name(root)) : NULL, "ranges", ranges);
}

static int print_flat_json(AddressSpace *const *spaces, size_t count)
{
    json_t *views = json_array(), *by_view = json_object();

    for (size_t i = 0; i < count; i++) {
        FlatView *view = address_space_get_flatview(spaces[i]);
        char key[32];
        snprintf(key, sizeof key, "%p", (void *)view);
        json_t *object = json_object_get(by_view, key);
        if (!object) {
            object = describe_view(view);
            json_array_append_new(views, object);
            json_object_set(by_view, key, object);
        }
        json_array_append_new(
            json_object_get(object, "spaces"),
            json_pack("{s:o, s:o}", "name", json_text(address_space_name(spaces[i])), "root",
                      json_text(memory_region_name(address_space_root(spaces[i])))));
        flatview_unref(view);
    }
    json_decref(by_view);
    return print_json(json_pack("{s:o}", "views", views), EXIT_SAME);
}

/* ---- of a trace ---------------------------------------------------------------------- */

/* The spaces from @first on that share its view, in order; false after the last. */
static bool next_sharing(const Options *options, const MapTraceState *state, size_t first,
                         size_t *index)
{
    size_t view = map_trace_state_space(state, first).view;

    while (++*index < map_trace_state_spaces(state)) {
        MapTraceSpace space = map_trace_state_space(state, *index);
        if (space.alive && space.view == view &&
            (!options->as_name || strcmp(space.name, options->as_name) == 0)) {
            return true;
        }
    }
    return false;
}

/* Whether the view of space @index is told with an earlier one's, or not at all. */
static bool is_told(const Options *options, const MapTraceState *state, size_t index)
{
    size_t earlier = (size_t)-1;

    return !next_sharing(options, state, index, &earlier) || earlier != index;
}

static void print_trace_view(const Options *options, MapTraceState *state, size_t index,
                             size_t number)
{
    const char *root = map_trace_state_space(state, index).view_root;
    size_t count, i = index - 1;
    const MapTraceRange *ranges = map_trace_state_ranges(state, index, &count);

    printf("FlatView #%zu\n", number);
    while (next_sharing(options, state, index, &i)) {
        MapTraceSpace space = map_trace_state_space(state, i);
        fputs(" AS \"", stdout);
        print_text(stdout, space.name);
        fputs("\", root: ", stdout);
        print_text(stdout, space.root);
        if (space.alias) {
            fputs(", alias ", stdout);
            print_text(stdout, space.alias);
        }
        putchar('\n');
    }
    fputs(" Root memory region: ", stdout);
    print_text(stdout, root ? root : "(none)");
    putchar('\n');
    for (size_t k = 0; ranges && k < count; k++) {
        fputs("  ", stdout);
        print_range(&ranges[k]);
        putchar('\n');
    }
    puts(count ? "" : "  No rendered FlatView\n");
}

static json_t *describe_trace_view(const Options *options, MapTraceState *state, size_t index)
{
    const char *root = map_trace_state_space(state, index).view_root;
    size_t count, i = index - 1;
    const MapTraceRange *ranges = map_trace_state_ranges(state, index, &count);
    json_t *spaces = json_array(), *list = json_array();

    while (next_sharing(options, state, index, &i)) {
        MapTraceSpace space = map_trace_state_space(state, i);
        json_array_append_new(spaces, json_pack("{s:o, s:o}", "name", json_text(space.name), "root",
                                                json_text(space.root)));
    }
    for (size_t k = 0; ranges && k < count; k++) {
        json_array_append_new(list, json_range(&ranges[k]));
    }
    return json_pack("{s:o, s:o?, s:o}", "spaces", spaces, "root", root ? json_text(root) : NULL,
                     "ranges", list);
}

static int print_trace(const Options *options, const TraceSource *source)
{
    MapTraceState *state = trace_source_state(source, source->number);
    json_t *views = json_array();
    size_t number = 0;

    for (size_t i = 0; state && i < map_trace_state_spaces(state); i++) {
        if (is_told(options, state, i)) {
            continue;
        }
        if (options->json) {
            json_array_append_new(views, describe_trace_view(options, state, i));
        } else {
            print_trace_view(options, state, i, number);
        }
        number++;
    }
    map_trace_state_free(state);
    int status = EXIT_TROUBLE;
    if (state && options->as_name && number == 0) {
        complain("%s@%zu: no address space is called '%s'", source->path, source->number,
                 options->as_name);
    } else if (state) {
        status = options->json ? print_json(json_pack("{s:O}", "views", views), EXIT_SAME)
                               : finish_output(EXIT_SAME);
    }
    json_decref(views);
    return status;
}

/* ---------------------------------------------------------------------------------------- */

static int run(const Options *options)
{
    TraceSource source;
    int is_trace = open_source_trace(options, 0, &source);
    if (is_trace) {
        int result = is_trace < 0 ? EXIT_TROUBLE : print_trace(options, &source);
        close_trace(&source);
        return result;
    }
    MemoryImport *import = load_source(options, 0);
    int status = EXIT_TROUBLE;
    size_t count;

    if (!import) {
        return EXIT_TROUBLE;
    }
    AddressSpace **spaces = select_spaces(import, options->positional[0], options->as_name, &count);
    if (spaces) {
        if (options->json) {
            status = print_flat_json(spaces, count);
        } else if (mtree_print_spaces(spaces, count, NULL, 0, stdout, MTREE_FLAT) == 0) {
            status = finish_output(EXIT_SAME);
        } else {
            complain("the flat views could not be printed");
        }
        free(spaces);
    }
    memory_import_free(import);
    return status;
}

const Command cmd_flat = {
    .name = "flat",
    .arguments = "SOURCE",
    .summary = "Print the flat views as `info mtree -f` does",
    .options = "",
    .min_sources = 1,
    .max_sources = 1,
    .max_flats = 1,
    .takes_as = true,
    .run = run,
};
