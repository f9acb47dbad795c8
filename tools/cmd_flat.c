/* SPDX-License-Identifier: MIT */
/* membus flat - the flat views, as QEMU's `info mtree -f` prints them. */
#include "tool.h"

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

static int run(const Options *options)
{
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
