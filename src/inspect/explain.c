/* SPDX-License-Identifier: MIT */
/*
 * Who answers at an address, and who would if the ones before were not there.
 *
 * The painter (map/render.c) fills a window front to back; here one address is followed in the same
 * order, but the walk does not end at the first answer:
 *
 *     system ─┬─ prio 1  alias pam-rom ── pc.ram        1st: answers
 *             ├─ prio 0  alias ram-below-4g ── pc.ram   2nd: of lower priority
 *             └─ prio -1 pci ── pc.rom                  3rd
 *
 * Two paths part at siblings of one container, or where one ends in a region whose subregion the
 * other goes on to; that place is the reason.
 */
#include "base/arena.h"
#include "base/error.h"
#include "base/interval.h"
#include "base/range.h"

#include <membus/inspect.h>
#include <membus/system.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CANDIDATES 4096
#define MAX_STEPS 200000

typedef struct Explainer {
    MemoryExplanation *ex;
    Arena arena;
    size_t max;
    MemoryPathStep path[MEMORY_REGION_MAX_DEPTH];
    unsigned depth, steps;
    int error;
} Explainer;

static hwaddr last_of(const MemoryRegion *mr)
{
    return mr->state.size == UINT64_MAX ? UINT64_MAX : mr->state.size - 1;
}

static void add_candidate(Explainer *e, bool readonly, bool nonvolatile)
{
    MemoryExplanation *ex = e->ex;

    if (ex->count == MAX_CANDIDATES) {
        e->error = fail(E2BIG, "0x%llx: more than %d regions answer there",
                        (unsigned long long)ex->addr, MAX_CANDIDATES);
        return;
    }
    if (ex->count == e->max) {
        size_t max = e->max ? 2 * e->max : 8;
        MemoryCandidate *grown = reallocarray(ex->candidates, max, sizeof *grown);
        if (!grown) {
            e->error = fail_no_memory("an explanation");
            return;
        }
        ex->candidates = grown;
        e->max = max;
    }
    MemoryPathStep *path = malloc(e->depth * sizeof *path);
    if (!path) {
        e->error = fail_no_memory("an explanation");
        return;
    }
    memcpy(path, e->path, e->depth * sizeof *path);
    ex->candidates[ex->count++] = (MemoryCandidate){
        .steps = e->depth, .path = path, .readonly = readonly, .nonvolatile = nonvolatile};
}

static void walk(Explainer *e, MemoryRegion *mr, hwaddr offset, bool readonly, bool nonvolatile);

typedef struct Covering {
    Explainer *e;
    MemoryRegion **regions;
    size_t count, max;
} Covering;

static bool collect(IntervalNode *node, void *opaque)
{
    Covering *covering = opaque;

    if (covering->count == covering->max) {
        size_t max = 2 * covering->max;
        MemoryRegion **regions = arena_alloc(&covering->e->arena, max * sizeof(MemoryRegion *));
        if (!regions) {
            covering->e->error = fail_no_memory("an explanation");
            return true;
        }
        memcpy(regions, covering->regions, covering->count * sizeof(MemoryRegion *));
        covering->regions = regions;
        covering->max = max;
    }
    covering->regions[covering->count++] = container_of(node, MemoryRegion, in_container);
    return false;
}

static int front_first(const void *a, const void *b)
{
    const MemoryRegion *x = *(MemoryRegion *const *)a, *y = *(MemoryRegion *const *)b;

    if (x->state.priority != y->state.priority) {
        return x->state.priority > y->state.priority ? -1 : 1;
    }
    return x->state.sequence > y->state.sequence ? -1 : 1;
}

static void walk_children(Explainer *e, MemoryRegion *mr, hwaddr offset, bool readonly,
                          bool nonvolatile)
{
    MemoryRegion *few[8];
    Covering covering = {e, few, 0, sizeof few / sizeof *few};

    interval_for_each_overlap(mr->children, offset, offset, collect, &covering);
    if (covering.count > 1) {
        qsort(covering.regions, covering.count, sizeof *covering.regions, front_first);
    }
    for (size_t i = 0; i < covering.count && !e->error; i++) {
        MemoryRegion *child = covering.regions[i];
        walk(e, child, offset - child->state.addr, readonly, nonvolatile);
    }
}

static void walk(Explainer *e, MemoryRegion *mr, hwaddr offset, bool readonly, bool nonvolatile)
{
    if (!mr->state.enabled || mr->state.size == 0 || offset > last_of(mr)) {
        return;
    }
    if (e->depth == MEMORY_REGION_MAX_DEPTH || ++e->steps > MAX_STEPS) {
        e->error = fail(e->steps > MAX_STEPS ? E2BIG : ELOOP,
                        "0x%llx: region '%s': too many ways lead on from here",
                        (unsigned long long)e->ex->addr, memory_region_name(mr));
        return;
    }
    e->path[e->depth++] = (MemoryPathStep){mr, offset};
    readonly |= mr->state.readonly;
    nonvolatile |= mr->state.nonvolatile;
    if (mr->alias) {
        if (offset <= UINT64_MAX - mr->state.alias_offset) {
            walk(e, mr->alias, offset + mr->state.alias_offset, readonly, nonvolatile);
        }
    } else {
        walk_children(e, mr, offset, readonly, nonvolatile);
        if (mr->terminates && !e->error) {
            add_candidate(e, readonly, nonvolatile);
        }
    }
    e->depth--;
}

static void give_reason(const MemoryCandidate *winner, MemoryCandidate *candidate)
{
    unsigned i = 0;

    while (i < winner->steps && i < candidate->steps &&
           winner->path[i].mr == candidate->path[i].mr &&
           winner->path[i].offset == candidate->path[i].offset) {
        i++;
    }
    candidate->parting = i;
    if (candidate == winner) {
        candidate->reason = HIDDEN_NOT;
    } else if (i == candidate->steps) {
        candidate->reason = HIDDEN_BY_CHILD;
    } else {
        int32_t ours = candidate->path[i].mr->state.priority;
        int32_t theirs = winner->path[i].mr->state.priority;
        candidate->reason = theirs > ours ? HIDDEN_BY_PRIORITY : HIDDEN_BY_LATER;
    }
}

MemoryExplanation *address_space_explain(AddressSpace *as, hwaddr addr)
{
    Explainer *e = calloc(1, sizeof *e);
    MemoryExplanation *ex = calloc(1, sizeof *ex);

    if (!e || !ex) {
        free(e);
        free(ex);
        fail_no_memory("an explanation");
        return NULL;
    }
    ex->addr = addr;
    e->ex = ex;
    memory_system_lock(as->ms);
    hwaddr base = as->root->state.addr; /* a view begins at its root's own address */
    if (addr >= base) {
        walk(e, as->root, addr - base, false, false);
    }
    for (unsigned i = 0; i < ex->count; i++) {
        give_reason(&ex->candidates[0], &ex->candidates[i]);
    }
    memory_system_unlock(as->ms);
    arena_destroy(&e->arena);
    if (e->error) {
        memory_explanation_free(ex);
        ex = NULL;
    }
    free(e);
    return ex;
}

void memory_explanation_free(MemoryExplanation *ex)
{
    if (!ex) {
        return;
    }
    for (unsigned i = 0; i < ex->count; i++) {
        free(ex->candidates[i].path);
    }
    free(ex->candidates);
    free(ex);
}
