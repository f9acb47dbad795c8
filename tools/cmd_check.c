/* SPDX-License-Identifier: MIT */
/* membus check - render a tree and compare it with what QEMU rendered, line for line. */
#include "tool.h"

#include <stdlib.h>
#include <string.h>

#define SHOWN_LINES 5 /* differing lines printed for one address space */

/* One side of a comparison: lines in order. */
typedef struct Lines {
    char **text; /* ours; owned */
    size_t count, max;
    bool failed;
} Lines;

typedef struct Verdict {
    const char *name;
    size_t ranges;               /* that membus shows */
    const MtreeFlatView *wanted; /* NULL: FLAT has no such space */
    const char *wanted_root;     /* what FLAT says where that is not the space's, else NULL */
    Lines lines;                 /* that membus shows, where they differ */
    bool ok;
} Verdict;

/* A view of FLAT under one of its names; each is given to one space of the tree. */
typedef struct Offer {
    const MtreeFlatView *view;
    const MtreeFlatSpace *space;
    bool taken;
} Offer;

typedef struct Check {
    const Options *options;
    Offer *offers; /* sorted by name, then as in the file */
    size_t nr_offers;
    Verdict *verdicts;
    size_t nr_verdicts;
    unsigned differences;
    AddressSpace *const *spaces; /* as many as verdicts */
} Check;

static void add_line(const MemoryRegionSection *section, void *opaque)
{
    Lines *lines = opaque;

    if (lines->count == lines->max) {
        size_t max = lines->max ? 2 * lines->max : 64;
        char **grown = reallocarray(lines->text, max, sizeof(char *));
        if (!grown) {
            lines->failed = true;
            return;
        }
        lines->text = grown;
        lines->max = max;
    }
    size_t length = mtree_format_section(NULL, 0, section);
    char *text = malloc(length + 1);
    if (!text) {
        lines->failed = true;
        return;
    }
    mtree_format_section(text, length + 1, section);
    lines->text[lines->count++] = text;
}

static void free_lines(Lines *lines)
{
    for (size_t i = 0; i < lines->count; i++) {
        free(lines->text[i]);
    }
    free(lines->text);
    *lines = (Lines){.text = NULL};
}

static bool same_lines(const Lines *lines, const MtreeFlatView *view)
{
    if (lines->count != view->nr_ranges) {
        return false;
    }
    for (size_t i = 0; i < lines->count; i++) {
        if (strcmp(lines->text[i], view->ranges[i].text) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- which view of FLAT is whose ---------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    const Offer *x = a, *y = b;
    int order = strcmp(x->space->name, y->space->name);

    return order ? order : (x->space->line > y->space->line) - (x->space->line < y->space->line);
}

static bool collect_offers(Check *check, const MtreeFlat *flat)
{
    size_t count = 0;

    for (size_t i = 0; i < mtree_flat_count(flat); i++) {
        count += mtree_flat_view(flat, i)->nr_spaces;
    }
    check->offers = calloc(count + 1, sizeof *check->offers);
    if (!check->offers) {
        return false;
    }
    for (size_t i = 0; i < mtree_flat_count(flat); i++) {
        const MtreeFlatView *view = mtree_flat_view(flat, i);
        for (size_t j = 0; j < view->nr_spaces; j++) {
            check->offers[check->nr_offers++] = (Offer){view, &view->spaces[j], false};
        }
    }
    qsort(check->offers, check->nr_offers, sizeof *check->offers, by_name);
    return true;
}

static Offer *first_offer(const Check *check, const char *name)
{
    size_t low = 0, high = check->nr_offers;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(check->offers[middle].space->name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < check->nr_offers && strcmp(check->offers[low].space->name, name) == 0
               ? &check->offers[low]
               : NULL;
}

/* FLAT calls a space's root by its name, and an alias's target after it. */
static bool same_root(const MemoryRegion *root, const char *text)
{
    const MemoryRegion *target = memory_region_alias_target(root);
    const char *name = memory_region_name(root);
    size_t length = strlen(name);

    if (strncmp(text, name, length) != 0) {
        return false;
    }
    text += length;
    return target ? strncmp(text, ", alias ", 8) == 0 &&
                        strcmp(text + 8, memory_region_name(target)) == 0
                  : *text == '\0';
}

/* Names repeat: equal views are given away first (@equal), then what is left in order. */
static void take_offer(const Check *check, Verdict *verdict, const MemoryRegion *root, bool equal)
{
    Offer *offer = first_offer(check, verdict->name);
    const Offer *end = check->offers + check->nr_offers;

    for (; offer && offer < end && strcmp(offer->space->name, verdict->name) == 0; offer++) {
        bool alike = same_root(root, offer->space->root);
        if (!offer->taken && (!equal || (alike && same_lines(&verdict->lines, offer->view)))) {
            offer->taken = true;
            verdict->wanted = offer->view;
            verdict->wanted_root = alike ? NULL : offer->space->root;
            verdict->ok = equal;
            return;
        }
    }
}

static bool compare_spaces(Check *check, AddressSpace *const *spaces, size_t count)
{
    check->verdicts = calloc(count + 1, sizeof *check->verdicts);
    check->nr_verdicts = count;
    check->spaces = spaces;
    if (!check->verdicts) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        Verdict *verdict = &check->verdicts[i];
        FlatView *view = address_space_get_flatview(spaces[i]);
        verdict->name = address_space_name(spaces[i]);
        for_each_range(view, add_line, &verdict->lines);
        flatview_unref(view);
        if (verdict->lines.failed) {
            return false;
        }
        verdict->ranges = verdict->lines.count;
        take_offer(check, verdict, address_space_root(spaces[i]), true);
        if (verdict->ok) {
            free_lines(&verdict->lines);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!check->verdicts[i].ok) {
            take_offer(check, &check->verdicts[i], address_space_root(spaces[i]), false);
            check->differences++;
        }
    }
    for (size_t i = 0; i < check->nr_offers; i++) {
        const char *only = check->options->as_name;
        const Offer *offer = &check->offers[i];
        check->differences += !offer->taken && (!only || strcmp(only, offer->space->name) == 0);
    }
    return true;
}

/* ---- what differs ------------------------------------------------------------------- */

typedef void DifferenceFn(const MtreeFlatRange *wanted, const char *ours, void *opaque);

static int order_of(const char *ours, const MtreeFlatRange *wanted)
{
    /* Lines begin with two blanks and the address in 16 digits, so text compares as numbers do. */
    return strncmp(ours, wanted->text, 2 + 16);
}

/* Call @fn for each line that only one side has, by address, up to SHOWN_LINES of them. */
static void for_each_difference(const Verdict *verdict, DifferenceFn *fn, void *opaque)
{
    const MtreeFlatView *view = verdict->wanted;
    size_t i = 0, j = 0, wanted_count = view ? view->nr_ranges : 0;
    unsigned shown = 0;

    while ((i < verdict->lines.count || j < wanted_count) && shown < SHOWN_LINES) {
        const char *ours = i < verdict->lines.count ? verdict->lines.text[i] : NULL;
        const MtreeFlatRange *wanted = j < wanted_count ? &view->ranges[j] : NULL;
        int order = !ours ? 1 : !wanted ? -1 : order_of(ours, wanted);
        if (order == 0 && strcmp(ours, wanted->text) == 0) {
            i++;
            j++;
            continue;
        }
        fn(order >= 0 ? wanted : NULL, order <= 0 ? ours : NULL, opaque);
        shown++;
        i += order <= 0;
        j += order >= 0;
    }
}

static void print_difference(const MtreeFlatRange *wanted, const char *ours, void *opaque)
{
    const Check *check = opaque;
    const char *plain = color(check->options, COLOR_PLAIN);

    if (wanted) {
        printf("  %s:%lu: %s-%s%s\n", shown_name(check->options->positional[1]), wanted->line,
               color(check->options, COLOR_BAD), wanted->text, plain);
    }
    if (ours) {
        printf("  membus: %s+%s%s\n", color(check->options, COLOR_GOOD), ours, plain);
    }
}

static void print_silent_leaf(const MemoryRegion *mr, void *opaque)
{
    size_t *printed = opaque;

    if (!*printed) {
        printf("note: FLAT shows these leaves nowhere, so they are taken for empty containers:\n");
    }
    ++*printed;
    if (!memory_region_container(mr)) {
        printf("  %s, which is in no other region\n", memory_region_name(mr));
        return;
    }
    printf("  %s at offset 0x%llx of %s\n", memory_region_name(mr),
           (unsigned long long)memory_region_address(mr),
           memory_region_name(memory_region_container(mr)));
}

static void print_silent_leaves(const Check *check)
{
    size_t printed = 0;

    for_each_silent_leaf(check->spaces, check->nr_verdicts, print_silent_leaf, &printed);
}

static void print_verdicts(Check *check)
{
    const char *good = color(check->options, COLOR_GOOD), *bad = color(check->options, COLOR_BAD);
    const char *plain = color(check->options, COLOR_PLAIN);

    for (size_t i = 0; i < check->nr_verdicts; i++) {
        const Verdict *verdict = &check->verdicts[i];
        if (verdict->ok) {
            printf("%sok%s      %s (%zu ranges)\n", good, plain, verdict->name, verdict->ranges);
            continue;
        }
        printf("%sdiffers%s %s%s\n", bad, plain, verdict->name,
               verdict->wanted ? "" : ": not in FLAT");
        if (verdict->wanted_root) {
            printf("  its root is '%s', in FLAT '%s'\n",
                   memory_region_name(address_space_root(check->spaces[i])), verdict->wanted_root);
        }
        if (verdict->wanted) {
            for_each_difference(verdict, print_difference, check);
        }
    }
    for (size_t i = 0; i < check->nr_offers; i++) {
        const Offer *offer = &check->offers[i];
        const char *only = check->options->as_name;
        if (!offer->taken && (!only || strcmp(only, offer->space->name) == 0)) {
            printf("%sdiffers%s %s: not in TREE (%s:%lu)\n", bad, plain, offer->space->name,
                   shown_name(check->options->positional[1]), offer->space->line);
        }
    }
    print_silent_leaves(check);
    printf("%zu address spaces, %u differ\n", check->nr_verdicts, check->differences);
}

static void add_json_silent_leaf(const MemoryRegion *mr, void *opaque)
{
    json_array_append_new(
        opaque, json_pack("{s:o, s:o, s:o}", "name", json_text(memory_region_name(mr)), "container",
                          json_text(memory_region_container(mr)
                                        ? memory_region_name(memory_region_container(mr))
                                        : ""),
                          "offset", json_hwaddr(memory_region_address(mr))));
}

static void add_json_difference(const MtreeFlatRange *wanted, const char *ours, void *opaque)
{
    json_t *entry = json_object();

    if (wanted) {
        json_object_set_new(entry, "flat", json_text(wanted->text));
        json_object_set_new(entry, "line", json_integer((json_int_t)wanted->line));
    }
    if (ours) {
        json_object_set_new(entry, "membus", json_text(ours));
    }
    json_array_append_new(opaque, entry);
}

static json_t *describe_verdicts(const Check *check)
{
    json_t *spaces = json_array(), *missing = json_array();

    for (size_t i = 0; i < check->nr_verdicts; i++) {
        const Verdict *verdict = &check->verdicts[i];
        json_t *entry = json_pack("{s:o, s:b, s:i}", "name", json_text(verdict->name), "ok",
                                  verdict->ok, "ranges", (int)verdict->ranges);
        if (!verdict->ok) {
            json_t *differences = json_array();
            json_object_set_new(entry, "in_flat", json_boolean(verdict->wanted != NULL));
            if (verdict->wanted_root) {
                json_object_set_new(entry, "flat_root", json_text(verdict->wanted_root));
            }
            if (verdict->wanted) {
                for_each_difference(verdict, add_json_difference, differences);
            }
            json_object_set_new(entry, "differences", differences);
        }
        json_array_append_new(spaces, entry);
    }
    for (size_t i = 0; i < check->nr_offers; i++) {
        const Offer *offer = &check->offers[i];
        const char *only = check->options->as_name;
        if (!offer->taken && (!only || strcmp(only, offer->space->name) == 0)) {
            json_array_append_new(missing, json_text(offer->space->name));
        }
    }
    json_t *silent = json_array();
    for_each_silent_leaf(check->spaces, check->nr_verdicts, add_json_silent_leaf, silent);
    return json_pack("{s:b, s:o, s:o, s:o}", "ok", check->differences == 0, "spaces", spaces,
                     "not_in_tree", missing, "taken_for_containers", silent);
}

/* ---------------------------------------------------------------------------------- */

static int run_check(Check *check, const MemoryImport *import, const MtreeFlat *flat)
{
    const Options *options = check->options;
    size_t count;
    AddressSpace **spaces = select_spaces(import, options->positional[0], options->as_name, &count);
    int status = EXIT_TROUBLE;

    if (!spaces) {
        return EXIT_TROUBLE;
    }
    if (!collect_offers(check, flat) || !compare_spaces(check, spaces, count)) {
        complain("out of memory");
    } else {
        status = check->differences ? EXIT_DIFFERENT : EXIT_SAME;
        if (options->json) {
            status = print_json(describe_verdicts(check), status);
        } else {
            print_verdicts(check);
            status = finish_output(status);
        }
    }
    free(spaces);
    return status;
}

static int run(const Options *options)
{
    Check check = {.options = options};
    MtreeFlat *flat = load_flat(options->positional[1]);
    MemoryImport *import = flat ? load_tree(options->positional[0], flat) : NULL;
    int status = import ? run_check(&check, import, flat) : EXIT_TROUBLE;

    for (size_t i = 0; check.verdicts && i < check.nr_verdicts; i++) {
        free_lines(&check.verdicts[i].lines);
    }
    free(check.verdicts);
    free(check.offers);
    memory_import_free(import);
    mtree_flat_free(flat);
    return status;
}

const Command cmd_check = {
    .name = "check",
    .arguments = "TREE FLAT",
    .summary = "Render TREE and compare it with FLAT, QEMU's `info mtree -f`",
    .options = "",
    .min_sources = 2,
    .max_sources = 2,
    .takes_as = true,
    .run = run,
};
