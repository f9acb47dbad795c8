/* SPDX-License-Identifier: MIT */
/*
 * membus find - who answers at an address and why, and who is hidden there.
 *
 *     0x00000000000c9000 in memory: pc.ram (rom) at offset 0xc9000
 *       system + 0xc9000
 *       └─ alias pam-rom (prio 1) + 0x1000
 *          └─ pc.ram + 0xc9000
 *     hidden there:
 *       pc.ram (ram) at offset 0xc9000
 *         system > alias ram-below-4g (prio 0) > pc.ram
 *         by alias pam-rom: priority 1 over 0 of ram-below-4g
 */
#include "history.h"

#include <membus/error.h>
#include <membus/system.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const MemoryPathStep *end_of(const MemoryCandidate *c)
{
    return &c->path[c->steps - 1];
}

static const char *type_of(const MemoryCandidate *c)
{
    const MemoryRegion *mr = end_of(c)->mr;

    return mtree_type(mr, c->readonly, c->nonvolatile, memory_region_is_romd(mr));
}

/* ---- text ------------------------------------------------------------------------ */

/* A step is one to a subregion, where its priority counts, or from an alias to its target. */
static bool is_subregion(const MemoryCandidate *c, unsigned i)
{
    return i > 0 && !memory_region_alias_target(c->path[i - 1].mr);
}

static void print_step(const MemoryCandidate *c, unsigned i)
{
    const MemoryRegion *mr = c->path[i].mr;

    printf("%s%s", memory_region_alias_target(mr) ? "alias " : "", memory_region_name(mr));
    if (is_subregion(c, i)) {
        printf(" (prio %d)", memory_region_priority(mr));
    }
}

static void print_way(const MemoryCandidate *c)
{
    for (unsigned i = 0; i < c->steps; i++) {
        printf("  %*s%s", i ? (int)(3 * (i - 1)) : 0, "", i ? "└─ " : "");
        print_step(c, i);
        printf(" + 0x%" PRIx64 "\n", c->path[i].offset);
    }
}

static void print_reason(const MemoryCandidate *winner, const MemoryCandidate *c)
{
    const MemoryRegion *front = winner->path[c->parting].mr;
    const char *alias = memory_region_alias_target(front) ? "alias " : "";

    switch (c->reason) {
    case HIDDEN_BY_PRIORITY:
        printf("    by %s%s: priority %d over %d of %s\n", alias, memory_region_name(front),
               memory_region_priority(front), memory_region_priority(c->path[c->parting].mr),
               memory_region_name(c->path[c->parting].mr));
        break;
    case HIDDEN_BY_LATER:
        printf("    by %s%s: priority %d as %s, but added later\n", alias,
               memory_region_name(front), memory_region_priority(front),
               memory_region_name(c->path[c->parting].mr));
        break;
    case HIDDEN_BY_CHILD:
        printf("    by its subregion %s%s\n", alias, memory_region_name(front));
        break;
    default:
        break;
    }
}

static void print_hidden(const Options *options, const MemoryCandidate *winner,
                         const MemoryCandidate *c)
{
    printf("  %s (%s) at offset 0x%" PRIx64 "\n    %s", memory_region_name(end_of(c)->mr),
           type_of(c), end_of(c)->offset, color(options, COLOR_FAINT));
    for (unsigned i = 0; i < c->steps; i++) {
        fputs(i ? " > " : "", stdout);
        print_step(c, i);
    }
    printf("%s\n", color(options, COLOR_PLAIN));
    print_reason(winner, c);
}

static void print_explanation(const Options *options, AddressSpace *space,
                              const MemoryExplanation *ex)
{
    const char *head = color(options, COLOR_HEAD), *plain = color(options, COLOR_PLAIN);

    if (ex->count == 0) {
        printf("0x%016" PRIx64 " in %s: %sunassigned%s\n", ex->addr, address_space_name(space),
               head, plain);
        return;
    }
    const MemoryCandidate *winner = &ex->candidates[0];
    printf("0x%016" PRIx64 " in %s: %s%s%s (%s) at offset 0x%" PRIx64 "\n", ex->addr,
           address_space_name(space), head, memory_region_name(end_of(winner)->mr), plain,
           type_of(winner), end_of(winner)->offset);
    print_way(winner);
    if (ex->count > 1) {
        puts("hidden there:");
    }
    for (unsigned i = 1; i < ex->count; i++) {
        print_hidden(options, winner, &ex->candidates[i]);
    }
}

/* ---- JSON ------------------------------------------------------------------------ */

static json_t *describe_way(const MemoryCandidate *c)
{
    json_t *path = json_array();

    for (unsigned i = 0; i < c->steps; i++) {
        const MemoryRegion *mr = c->path[i].mr;
        bool alias = memory_region_alias_target(mr);
        json_t *step =
            json_pack("{s:o, s:s, s:o}", "name", json_text(memory_region_name(mr)), "kind",
                      alias               ? "alias"
                      : i + 1 == c->steps ? "region"
                                          : "container",
                      "offset", json_hwaddr(c->path[i].offset));
        if (is_subregion(c, i)) {
            json_object_set_new(step, "priority", json_integer(memory_region_priority(mr)));
        }
        json_array_append_new(path, step);
    }
    return path;
}

static json_t *describe_candidate(const MemoryCandidate *winner, const MemoryCandidate *c)
{
    static const char *const reasons[] = {[HIDDEN_BY_PRIORITY] = "priority",
                                          [HIDDEN_BY_LATER] = "later",
                                          [HIDDEN_BY_CHILD] = "child"};
    const MemoryRegion *mr = end_of(c)->mr;
    json_t *object =
        json_pack("{s:o, s:s, s:o, s:i, s:o}", "region", json_text(memory_region_name(mr)), "type",
                  type_of(c), "offset", json_hwaddr(end_of(c)->offset), "priority",
                  memory_region_priority(mr), "path", describe_way(c));

    if (object && c->reason != HIDDEN_NOT) {
        json_object_set_new(object, "hidden",
                            json_pack("{s:o, s:s, s:i}", "by",
                                      json_text(memory_region_name(winner->path[c->parting].mr)),
                                      "reason", reasons[c->reason], "parting", (int)c->parting));
    }
    return object;
}

static json_t *describe_explanation(AddressSpace *space, const MemoryExplanation *ex)
{
    json_t *candidates = json_array();

    for (unsigned i = 0; i < ex->count; i++) {
        json_array_append_new(candidates,
                              describe_candidate(&ex->candidates[0], &ex->candidates[i]));
    }
    return json_pack("{s:o, s:o}", "name", json_text(address_space_name(space)), "candidates",
                     candidates);
}

/* ---------------------------------------------------------------------------------- */

static int explain(const Options *options, AddressSpace *const *spaces, size_t count, hwaddr addr)
{
    json_t *list = json_array();
    int status = EXIT_SAME;

    for (size_t i = 0; i < count && status == EXIT_SAME; i++) {
        MemorySystem *ms = address_space_system(spaces[i]);
        memory_system_lock(ms);
        MemoryExplanation *ex = address_space_explain(spaces[i], addr);
        if (!ex) {
            complain("%s: %s", address_space_name(spaces[i]), membus_last_error());
            status = EXIT_TROUBLE;
        } else if (options->json) {
            json_array_append_new(list, describe_explanation(spaces[i], ex));
        } else {
            print_explanation(options, spaces[i], ex);
        }
        memory_explanation_free(ex);
        memory_system_unlock(ms);
    }
    if (options->json && status == EXIT_SAME) {
        return print_json(json_pack("{s:o, s:o}", "address", json_hwaddr(addr), "spaces", list),
                          EXIT_SAME);
    }
    json_decref(list);
    return status == EXIT_SAME ? finish_output(EXIT_SAME) : status;
}

static int run(const Options *options)
{
    hwaddr addr;

    if (!parse_address(options->positional[1], &addr)) {
        return EXIT_TROUBLE;
    }
    TraceSource source;
    int is_trace = open_source_trace(options, 0, &source);
    if (is_trace) {
        int result = is_trace < 0 ? EXIT_TROUBLE : find_in_trace(options, &source, addr);
        close_trace(&source);
        return result;
    }
    MemoryImport *import = load_source(options, 0);
    if (!import) {
        return EXIT_TROUBLE;
    }
    size_t count;
    AddressSpace **spaces = choose_spaces(import, options->positional[0], options->as_name, &count);
    int status = spaces ? explain(options, spaces, count, addr) : EXIT_TROUBLE;
    free(spaces);
    memory_import_free(import);
    return status;
}

const Command cmd_find = {
    .name = "find",
    .arguments = "SOURCE ADDRESS",
    .summary = "Say who answers at ADDRESS and why, and who is hidden there",
    .options = "               (without it: `memory`, or the first if there is none)\n",
    .min_sources = 2,
    .max_sources = 2,
    .max_flats = 1,
    .takes_as = true,
    .run = run,
};
