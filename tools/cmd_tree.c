/* SPDX-License-Identifier: MIT */
/* membus tree - the tree of regions, as QEMU's `info mtree` prints it. */
#include "tool.h"

#include <membus/system.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON ------------------------------------------------------------------------ */

typedef struct TreeWriter {
    unsigned flags;
    hwaddr base;      /* where the region at hand has its container's address 0 */
    json_t *siblings; /* where the region at hand goes */
    json_t *seen;     /* an object with a key for each alias target met */
    json_t *targets;  /* the blocks of these, in the order of mention */
    MemoryRegion **queue;
    size_t queued, max;
} TreeWriter;

static int queue_target(TreeWriter *w, MemoryRegion *target)
{
    char key[32];

    snprintf(key, sizeof key, "%p", (void *)target);
    if (json_object_get(w->seen, key)) {
        return 0;
    }
    if (w->queued == w->max) {
        size_t max = w->max ? 2 * w->max : 16;
        MemoryRegion **grown = reallocarray(w->queue, max, sizeof(MemoryRegion *));
        if (!grown) {
            return -1;
        }
        w->queue = grown;
        w->max = max;
    }
    w->queue[w->queued++] = target;
    return json_object_set_new(w->seen, key, json_true());
}

static hwaddr last_from(hwaddr first, hwaddr size)
{
    return size == UINT64_MAX ? first + UINT64_MAX : first + (size ? size - 1 : 0);
}

static json_t *describe(const TreeWriter *w, const MemoryRegion *mr, hwaddr first)
{
    const MemoryRegion *target = memory_region_alias_target(mr), *shown = mr;

    while (memory_region_alias_target(shown)) {
        shown = memory_region_alias_target(shown);
    }
    json_t *object = json_pack(
        "{s:o, s:s, s:o, s:o, s:i, s:b}", "name", json_text(memory_region_name(mr)), "type",
        mtree_type(shown, memory_region_is_readonly(shown), memory_region_is_nonvolatile(mr),
                   memory_region_is_romd(shown)),
        "first", json_hwaddr(first), "last", json_hwaddr(last_from(first, memory_region_size(mr))),
        "priority", memory_region_priority(mr), "enabled", memory_region_is_enabled(mr));
    if (!object) {
        return NULL;
    }
    if (target) {
        hwaddr offset = memory_region_alias_offset(mr);
        json_object_set_new(object, "alias",
                            json_pack("{s:o, s:o, s:o}", "target",
                                      json_text(memory_region_name(target)), "first",
                                      json_hwaddr(offset), "last",
                                      json_hwaddr(last_from(offset, memory_region_size(mr)))));
    } else {
        json_object_set_new(object, "terminates", json_boolean(memory_region_is_terminating(mr)));
    }
    if (w->flags & MTREE_OWNER) {
        json_object_set_new(object, "owner", json_text(memory_owner_name(memory_region_owner(mr))));
    }
    return object;
}

/* As visitor: true ends the walk, memory being short. */
static bool write_region(MemoryRegion *mr, void *opaque)
{
    TreeWriter *w = opaque;
    MemoryRegion *target = memory_region_alias_target(mr);
    hwaddr first = w->base + memory_region_address(mr), base = w->base;
    json_t *object = describe(w, mr, first), *children = json_array(), *siblings = w->siblings;

    if (!object || !children || (target && queue_target(w, target) < 0) ||
        json_array_append_new(siblings, object) < 0) {
        json_decref(children);
        return true;
    }
    w->base = first;
    w->siblings = children;
    bool failed = memory_region_for_each_subregion(mr, write_region, w);
    w->base = base;
    w->siblings = siblings;
    if (json_array_size(children) > 0) {
        json_object_set(object, "children", children);
    }
    json_decref(children);
    return failed;
}

static json_t *spaces_by_root(TreeWriter *w, AddressSpace *const *spaces, size_t count)
{
    json_t *blocks = json_array(), *by_root = json_object();
    bool failed = !blocks || !by_root;

    for (size_t i = 0; i < count && !failed; i++) {
        MemoryRegion *root = address_space_root(spaces[i]);
        char key[32];
        snprintf(key, sizeof key, "%p", (void *)root);
        json_t *block = json_object_get(by_root, key);
        if (!block) {
            json_t *tree = json_array();
            w->siblings = tree;
            failed = !tree || write_region(root, w);
            block =
                json_pack("{s:[], s:O?}", "names", "root", tree ? json_array_get(tree, 0) : NULL);
            json_decref(tree);
            failed |= json_array_append_new(blocks, block) < 0 ||
                      json_object_set(by_root, key, block) < 0;
        }
        failed |= json_array_append_new(json_object_get(block, "names"),
                                        json_text(address_space_name(spaces[i]))) < 0;
    }
    json_decref(by_root);
    if (failed) {
        json_decref(blocks);
        return NULL;
    }
    return blocks;
}

static int print_tree_json(AddressSpace *const *spaces, size_t count, MemoryRegion *const *targets,
                           size_t nr_targets, unsigned flags)
{
    TreeWriter w = {.flags = flags, .seen = json_object(), .targets = json_array()};
    bool failed = !w.targets;

    for (size_t i = 0; i < nr_targets; i++) {
        failed |= queue_target(&w, targets[i]) < 0;
    }
    json_t *blocks = spaces_by_root(&w, spaces, count);
    failed |= !blocks;

    w.siblings = w.targets;
    for (size_t i = 0; i < w.queued && !failed; i++) {
        failed = write_region(w.queue[i], &w);
    }
    json_t *root = failed ? NULL : json_pack("{s:O, s:O}", "spaces", blocks, "targets", w.targets);
    json_decref(blocks);
    json_decref(w.targets);
    json_decref(w.seen);
    free(w.queue);
    return print_json(root, EXIT_SAME);
}

/* ---------------------------------------------------------------------------------- */

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
        unsigned flags = memory_import_flags(import);
        size_t nr_targets;
        MemoryRegion *const *targets = memory_import_targets(import, &nr_targets);
        if (options->as_name) {
            nr_targets = 0; /* only what these spaces mention */
        }
        if (options->json) {
            status = print_tree_json(spaces, count, targets, nr_targets, flags);
        } else if (mtree_print_spaces(spaces, count, targets, nr_targets, stdout, flags) == 0) {
            status = finish_output(EXIT_SAME);
        } else {
            complain("the tree could not be printed");
        }
        free(spaces);
    }
    memory_import_free(import);
    return status;
}

const Command cmd_tree = {
    .name = "tree",
    .arguments = "SOURCE",
    .summary = "Print the tree of regions as `info mtree` does",
    .options = "",
    .min_sources = 1,
    .max_sources = 1,
    .max_flats = 1,
    .takes_as = true,
    .run = run,
};
