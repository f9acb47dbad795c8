/* SPDX-License-Identifier: MIT */
/*
 * membus ram - the memory of a map: each RAM and ROM region, and where address spaces see it.
 *
 *     pc.ram: ram, 1 GiB
 *       memory, cpu-memory-0
 *         0000000000000000-000000000009ffff @0000000000000000 (ram, 640 KiB)
 *         00000000000c0000-00000000000cafff @00000000000c0000 (rom, 44 KiB)
 *     ...
 *     memory, cpu-memory-0: 1 GiB in 15 ranges, ram 1073082368, rom 659456 bytes
 */
#include "tool.h"

#include <membus/system.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Address spaces that show the same view. */
typedef struct View {
    FlatView *view;
    AddressSpace **spaces;
    size_t nr_spaces, nr_ranges;
    hwaddr size, readonly; /* bytes of memory in it; of those that the guest cannot write */
} View;

/* A range of a view that a region answers. */
typedef struct Sight {
    size_t region, view; /* indexes */
    MemoryRegionSection section;
} Sight;

typedef struct Region {
    MemoryRegion *mr;
    size_t order; /* of discovery */
} Region;

typedef struct Census {
    View *views;
    size_t nr_views;
    Region *regions; /* sorted by mr, later by order */
    size_t nr_regions, max_regions;
    Sight *sights; /* sorted by region, view, address */
    size_t nr_sights, max_sights;
    MemoryRegion **walk; /* regions in the order in which they were come to */
    size_t nr_walk, max_walk, walked;
    json_t *seen; /* a key for each of these */
    size_t view;  /* at work */
    bool failed;
} Census;

static bool is_memory(const MemoryRegion *mr)
{
    return memory_region_is_ram(mr) || memory_region_is_rom_device(mr);
}

/* Room for one more element; fails the census if memory is short. */
static bool make_room(Census *census, void **array, size_t count, size_t *max, size_t size)
{
    if (count == *max) {
        size_t more = *max ? 2 * *max : 64;
        void *grown = reallocarray(*array, more, size);
        census->failed |= !grown;
        if (!grown) {
            return false;
        }
        *array = grown;
        *max = more;
    }
    return !census->failed;
}

/* ---- which regions there are -------------------------------------------------------- */

/* Put @mr at the end of what the walk has yet to look at, unless it was there before. */
static bool note_region(MemoryRegion *mr, void *opaque)
{
    Census *census = opaque;
    char key[32];

    snprintf(key, sizeof key, "%p", (void *)mr);
    if (!json_object_get(census->seen, key) &&
        make_room(census, (void **)&census->walk, census->nr_walk, &census->max_walk,
                  sizeof *census->walk)) {
        census->failed |= json_object_set_new(census->seen, key, json_true()) != 0;
        census->walk[census->nr_walk++] = mr;
    }
    return census->failed;
}

/* All that the walk leads to, what is disabled included; trees may be of any depth. */
static void find_regions(Census *census)
{
    while (census->walked < census->nr_walk && !census->failed) {
        MemoryRegion *mr = census->walk[census->walked++];
        if (memory_region_alias_target(mr)) {
            note_region(memory_region_alias_target(mr), census);
        }
        memory_region_for_each_subregion(mr, note_region, census);
        if (is_memory(mr) && make_room(census, (void **)&census->regions, census->nr_regions,
                                       &census->max_regions, sizeof *census->regions)) {
            census->regions[census->nr_regions] = (Region){mr, census->nr_regions};
            census->nr_regions++;
        }
    }
}

static int by_pointer(const void *a, const void *b)
{
    const Region *x = a, *y = b;

    return (uintptr_t)x->mr < (uintptr_t)y->mr ? -1 : x->mr != y->mr;
}

static int by_order(const void *a, const void *b)
{
    const Region *x = a, *y = b;

    return x->order < y->order ? -1 : x->order > y->order;
}

/* ---- where they are seen -------------------------------------------------------------- */

static void note_sight(const MemoryRegionSection *section, void *opaque)
{
    Census *census = opaque;
    View *view = &census->views[census->view];

    if (!is_memory(section->mr) || !make_room(census, (void **)&census->sights, census->nr_sights,
                                              &census->max_sights, sizeof *census->sights)) {
        return;
    }
    Region wanted = {.mr = section->mr};
    const Region *found =
        bsearch(&wanted, census->regions, census->nr_regions, sizeof *census->regions, by_pointer);
    if (!found) {
        return; /* a view shows only what the walk found */
    }
    census->sights[census->nr_sights++] = (Sight){found->order, census->view, *section};
    view->nr_ranges++;
    view->size += section->size;
    view->readonly += section->readonly || section->romd ? section->size : 0;
}

static int by_region(const void *a, const void *b)
{
    const Sight *x = a, *y = b;
    hwaddr first = x->section.offset_within_address_space;
    hwaddr other = y->section.offset_within_address_space;

    if (x->region != y->region) {
        return x->region < y->region ? -1 : 1;
    }
    if (x->view != y->view) {
        return x->view < y->view ? -1 : 1;
    }
    return first < other ? -1 : first > other;
}

static void add_space(Census *census, AddressSpace *space, size_t max_spaces)
{
    FlatView *fv = address_space_get_flatview(space);
    size_t i = 0;

    while (i < census->nr_views && census->views[i].view != fv) {
        i++;
    }
    View *view = &census->views[i];
    if (i == census->nr_views) {
        *view = (View){fv, calloc(max_spaces, sizeof(AddressSpace *)), 0, 0, 0, 0};
        census->nr_views++;
        census->failed |= !view->spaces;
    } else {
        flatview_unref(fv);
    }
    if (view->spaces) {
        view->spaces[view->nr_spaces++] = space;
    }
}

static bool take_census(Census *census, AddressSpace *const *spaces, size_t count)
{
    census->seen = json_object();
    census->views = calloc(count + 1, sizeof *census->views);
    census->failed = !census->seen || !census->views;
    for (size_t i = 0; i < count && !census->failed; i++) {
        add_space(census, spaces[i], count);
        note_region(address_space_root(spaces[i]), census);
        find_regions(census);
    }
    if (census->nr_regions) {
        qsort(census->regions, census->nr_regions, sizeof *census->regions, by_pointer);
    }
    for (census->view = 0; census->view < census->nr_views && !census->failed; census->view++) {
        for_each_range(census->views[census->view].view, note_sight, census);
    }
    if (census->nr_regions) {
        qsort(census->regions, census->nr_regions, sizeof *census->regions, by_order);
    }
    if (census->nr_sights) {
        qsort(census->sights, census->nr_sights, sizeof *census->sights, by_region);
    }
    return !census->failed;
}

static void end_census(Census *census)
{
    for (size_t i = 0; i < census->nr_views; i++) {
        flatview_unref(census->views[i].view);
        free(census->views[i].spaces);
    }
    free(census->views);
    free(census->regions);
    free(census->walk);
    free(census->sights);
    json_decref(census->seen);
}

static const char *own_type(const MemoryRegion *mr)
{
    return mtree_type(mr, memory_region_is_readonly(mr), memory_region_is_nonvolatile(mr),
                      memory_region_is_romd(mr));
}

static const char *seen_type(const MemoryRegionSection *s)
{
    return mtree_type(s->mr, s->readonly, s->nonvolatile, s->romd);
}

/* ---- text ------------------------------------------------------------------------------ */

static void print_names(const View *view)
{
    for (size_t i = 0; i < view->nr_spaces; i++) {
        fputs(i ? ", " : "", stdout);
        print_text(stdout, address_space_name(view->spaces[i]));
    }
}

static void print_range(const MemoryRegionSection *s)
{
    printf("    %016" PRIx64 "-%016" PRIx64 " @%016" PRIx64 " (%s, ",
           s->offset_within_address_space, s->last_within_address_space, s->offset_within_region,
           seen_type(s));
    print_size(s->size);
    puts(")");
}

static void print_census(const Options *options, const Census *census)
{
    const char *head = color(options, COLOR_HEAD), *plain = color(options, COLOR_PLAIN);
    const Sight *sight = census->sights, *end = sight ? sight + census->nr_sights : NULL;

    for (size_t i = 0; i < census->nr_regions; i++) {
        const MemoryRegion *mr = census->regions[i].mr;
        size_t view = SIZE_MAX;
        fputs(head, stdout);
        print_text(stdout, memory_region_name(mr));
        printf("%s: %s, ", plain, own_type(mr));
        print_size(memory_region_size(mr));
        puts(sight == end || sight->region != i ? "\n  not visible" : "");
        for (; sight != end && sight->region == i; sight++) {
            if (sight->view != view) {
                view = sight->view;
                fputs("  ", stdout);
                print_names(&census->views[view]);
                putchar('\n');
            }
            print_range(&sight->section);
        }
    }
    if (census->nr_regions) {
        putchar('\n');
    }
    for (size_t i = 0; i < census->nr_views; i++) {
        const View *view = &census->views[i];
        print_names(view);
        fputs(": ", stdout);
        print_size(view->size);
        printf(" in %zu range%s", view->nr_ranges, view->nr_ranges == 1 ? "" : "s");
        if (view->readonly) {
            fputs(", ", stdout);
            print_size(view->readonly);
            fputs(" of it read-only", stdout);
        }
        putchar('\n');
    }
}

/* ---- JSON ------------------------------------------------------------------------------ */

static json_t *describe_names(const View *view)
{
    json_t *names = json_array();

    for (size_t i = 0; i < view->nr_spaces; i++) {
        json_array_append_new(names, json_text(address_space_name(view->spaces[i])));
    }
    return names;
}

static json_t *describe_range(const MemoryRegionSection *s)
{
    return json_pack(
        "{s:o, s:o, s:o, s:s, s:b}", "first", json_hwaddr(s->offset_within_address_space), "last",
        json_hwaddr(s->last_within_address_space), "offset", json_hwaddr(s->offset_within_region),
        "type", seen_type(s), "readonly", s->readonly || s->romd);
}

static int print_census_json(const Census *census)
{
    const Sight *sight = census->sights, *end = sight ? sight + census->nr_sights : NULL;
    json_t *regions = json_array(), *spaces = json_array();

    for (size_t i = 0; i < census->nr_regions; i++) {
        const MemoryRegion *mr = census->regions[i].mr;
        json_t *seen = json_array(), *ranges = NULL;
        size_t view = SIZE_MAX;
        for (; sight != end && sight->region == i; sight++) {
            if (sight->view != view) {
                view = sight->view;
                json_t *object = json_pack("{s:o, s:[]}", "names",
                                           describe_names(&census->views[view]), "ranges");
                ranges = json_object_get(object, "ranges");
                json_array_append_new(seen, object);
            }
            json_array_append_new(ranges, describe_range(&sight->section));
        }
        json_array_append_new(regions,
                              json_pack("{s:o, s:s, s:o, s:o}", "name",
                                        json_text(memory_region_name(mr)), "type", own_type(mr),
                                        "size", json_hwaddr(memory_region_size(mr)), "seen", seen));
    }
    for (size_t i = 0; i < census->nr_views; i++) {
        const View *view = &census->views[i];
        json_array_append_new(
            spaces, json_pack("{s:o, s:I, s:o, s:o}", "names", describe_names(view), "ranges",
                              (json_int_t)view->nr_ranges, "size", json_hwaddr(view->size),
                              "readonly", json_hwaddr(view->readonly)));
    }
    return print_json(json_pack("{s:o, s:o}", "regions", regions, "spaces", spaces), EXIT_SAME);
}

static int run(const Options *options)
{
    MemoryImport *import = load_source(options, 0);
    Census census = {0};
    int status = EXIT_TROUBLE;
    size_t count;

    if (!import) {
        return EXIT_TROUBLE;
    }
    AddressSpace **spaces = select_spaces(import, options->positional[0], options->as_name, &count);
    if (spaces && !take_census(&census, spaces, count)) {
        complain("out of memory");
    } else if (spaces && options->json) {
        status = print_census_json(&census);
    } else if (spaces) {
        print_census(options, &census);
        status = finish_output(EXIT_SAME);
    }
    end_census(&census);
    free(spaces);
    memory_import_free(import);
    return status;
}

const Command cmd_ram = {
    .name = "ram",
    .arguments = "SOURCE",
    .summary = "List RAM and ROM, and where address spaces see them",
    .options = "",
    .min_sources = 1,
    .max_sources = 1,
    .max_flats = 1,
    .takes_as = true,
    .run = run,
};
