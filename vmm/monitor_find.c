/* SPDX-License-Identifier: MIT */
/* The monitor: who answers at an address, and who is hidden there. */
#include "monitor.h"

#include <errno.h>
#include <inttypes.h>
#include <membus/inspect.h>
#include <string.h>

static void print_path(const MemoryCandidate *c, FILE *out)
{
    for (unsigned i = 0; i < c->steps; i++) {
        MemoryRegion *mr = c->path[i].mr;
        bool alias = memory_region_alias_target(mr) != NULL;
        fprintf(out, "%s%s%s", i ? " > " : "    ", alias ? "alias " : "", memory_region_name(mr));
        /* What an alias looks at has no priority here. */
        if (i > 0 && memory_region_container(mr) == c->path[i - 1].mr) {
            fprintf(out, " (prio %d)", memory_region_priority(mr));
        }
    }
    fputc('\n', out);
}

static const char *hidden_by(MemoryHiddenReason reason)
{
    return reason == HIDDEN_BY_PRIORITY ? "which has a higher priority"
           : reason == HIDDEN_BY_LATER  ? "which was added later"
                                        : "which is in it";
}

static const char *type_of(const MemoryCandidate *c, const MemoryRegion *mr)
{
    return mtree_type(mr, c->readonly, c->nonvolatile, memory_region_is_romd(mr));
}

static void print_explanation(const MemoryExplanation *ex, const char *space, FILE *out)
{
    fprintf(out, "0x%016" PRIx64 " in %s: ", ex->addr, space);
    if (ex->count == 0) {
        fputs("unassigned\n", out);
    }
    for (unsigned i = 0; i < ex->count; i++) {
        const MemoryCandidate *c = &ex->candidates[i];
        const MemoryPathStep *last = &c->path[c->steps - 1];
        fprintf(out, "%s%s (%s) at offset 0x%" PRIx64 "\n", i == 0 ? "" : "  ",
                memory_region_name(last->mr), type_of(c, last->mr), last->offset);
        print_path(c, out);
        if (c->reason != HIDDEN_NOT) {
            fprintf(out, "    hidden by %s, %s\n",
                    memory_region_name(ex->candidates[0].path[c->parting].mr),
                    hidden_by(c->reason));
        }
        if (i == 0 && ex->count > 1) {
            fputs("hidden there:\n", out);
        }
    }
}

static json_t *list_path(const MemoryCandidate *c)
{
    json_t *path = json_array();

    for (unsigned i = 0; i < c->steps; i++) {
        json_array_append_new(path, json_pack("{s:o, s:o}", "name",
                                              monitor_json_text(memory_region_name(c->path[i].mr)),
                                              "offset", monitor_json_address(c->path[i].offset)));
    }
    return path;
}

static json_t *list_candidates(const MemoryExplanation *ex, const char *space)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < ex->count; i++) {
        const MemoryCandidate *c = &ex->candidates[i];
        const MemoryPathStep *last = &c->path[c->steps - 1];
        json_array_append_new(list,
                              json_pack("{s:o, s:s, s:o, s:o}", "region",
                                        monitor_json_text(memory_region_name(last->mr)), "type",
                                        type_of(c, last->mr), "offset",
                                        monitor_json_address(last->offset), "path", list_path(c)));
    }
    return json_pack("{s:o, s:o, s:o}", "address", monitor_json_address(ex->addr), "space",
                     monitor_json_text(space), "candidates", list);
}

typedef struct SpaceByName {
    const char *name;
    AddressSpace *as;
} SpaceByName;

static bool is_called(AddressSpace *as, void *opaque)
{
    SpaceByName *wanted = opaque;
    bool is_it = strcmp(address_space_name(as), wanted->name) == 0;

    wanted->as = is_it ? as : NULL;
    return is_it;
}

int monitor_find(MonitorCall *call)
{
    MemorySystem *ms = call->machine->ms;
    SpaceByName space = {call->args[1].given ? call->args[1].text : "memory", NULL};
    int result = 0;

    memory_system_lock(ms);
    MemoryExplanation *ex = NULL;
    if (!memory_system_for_each_address_space(ms, is_called, &space)) {
        result = error_set(&call->err, ENOENT, "no address space is called '%s'", space.name);
    } else if (!(ex = address_space_explain(space.as, call->args[0].number))) {
        result = error_set(&call->err, ENOMEM, "%s", membus_last_error());
    } else if (call->json) {
        result = monitor_set_result(call, list_candidates(ex, space.name));
    } else {
        print_explanation(ex, space.name, call->out);
    }
    memory_explanation_free(ex);
    memory_system_unlock(ms);
    return result;
}
