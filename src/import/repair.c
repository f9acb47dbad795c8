/* SPDX-License-Identifier: MIT */
/*
 * Where the built machine shows something else than the flat dump, one of the guesses was wrong.
 * Which one, the explanation of the address tells:
 *
 *     shown      wanted               so
 *     x          y, hidden by x       their paths part at siblings of one priority: y's came later;
 *                                     else x is a container
 *     x          nothing, or unknown  x is a container, if nothing has shown it to answer
 *     x as ram   x as rom             the innermost alias on the way is read-only, or is not
 *
 * A correction may bring forth the next difference; so the machine is built again until nothing
 * changes.
 */
#include "import/evidence.h"
#include "import/record.h"

#include "base/interval.h"
#include "base/range.h"

#include <membus/inspect.h>
#include <membus/system.h>

#include <string.h>

#define MAX_PLACES 4096    /* looked into for one space in one round */
#define MAX_NAMESAKES 1024 /* views compared for one space */

typedef struct Repair {
    AddressSpace *space;
    unsigned places;
    bool changed;
} Repair;

static ImportNode *node_of(const MemoryRegion *mr)
{
    return container_of((MemoryRegion *)mr, ImportNode, mr);
}

static const ImportNode *region_of(const MemoryCandidate *candidate)
{
    return node_of(candidate->path[candidate->steps - 1].mr);
}

static bool is_wanted(const MemoryCandidate *candidate, const MtreeFlatRange *want, hwaddr addr)
{
    const MemoryPathStep *end = &candidate->path[candidate->steps - 1];

    return end->offset == want->offset + (addr - want->first) &&
           memory_region_priority(end->mr) == want->priority &&
           strcmp(memory_region_name(end->mr), want->name) == 0;
}

static bool is_read_only(const char *type)
{
    return strcmp(type, "rom") == 0 || strcmp(type, "nv-rom") == 0;
}

/* The right region, but not its type. */
static bool correct_type(const MemoryCandidate *winner, const MtreeFlatRange *want)
{
    bool readonly = is_read_only(want->type);

    for (unsigned i = winner->steps; i-- > 0;) {
        ImportNode *node = node_of(winner->path[i].mr);
        if (node->is_alias && node->readonly != readonly) {
            node->readonly = readonly;
            return true;
        }
        if (node->is_alias && readonly) {
            return false;
        }
    }
    return false;
}

/* Nothing says that @winner answers: it was only taken for granted. */
static bool withdraw(const MemoryCandidate *winner)
{
    ImportNode *node = (ImportNode *)region_of(winner);

    if (node->seen) {
        return false;
    }
    if (node->type == IMPORT_IO || (node->type == IMPORT_ROM && node->children)) {
        node->terminates = false;
        return true;
    }
    if (node->first == node->last && !node->empty) {
        node->empty = true;
        return true;
    }
    return false;
}

static bool prefer(const MemoryCandidate *winner, const MemoryCandidate *wanted)
{
    if (wanted->reason == HIDDEN_BY_LATER) {
        const ImportNode *front = node_of(winner->path[wanted->parting].mr);
        ImportNode *behind = node_of(wanted->path[wanted->parting].mr);
        if (behind->rank <= front->rank) {
            behind->rank = front->rank + 1;
            return true;
        }
        return false;
    }
    return withdraw(winner);
}

static void correct(Repair *r, hwaddr addr, const MtreeFlatRange *want)
{
    if (r->places++ == MAX_PLACES) {
        return;
    }
    MemoryExplanation *ex = address_space_explain(r->space, addr);
    if (!ex || ex->count == 0) {
        memory_explanation_free(ex);
        return;
    }
    const MemoryCandidate *winner = &ex->candidates[0], *wanted = NULL;
    for (unsigned i = 0; want && i < ex->count && !wanted; i++) {
        if (is_wanted(&ex->candidates[i], want, addr)) {
            wanted = &ex->candidates[i];
        }
    }
    bool changed = wanted == winner ? correct_type(winner, want)
                   : wanted         ? prefer(winner, wanted)
                                    : withdraw(winner);
    r->changed |= changed;
    memory_explanation_free(ex);
}

static bool shows_wanted(const MemoryRegionSection *s, const MtreeFlatRange *want)
{
    return s->offset_within_address_space - s->offset_within_region == want->first - want->offset &&
           memory_region_priority(s->mr) == want->priority &&
           strcmp(mtree_type(s->mr, s->readonly, s->nonvolatile, s->romd), want->type) == 0 &&
           strcmp(memory_region_name(s->mr), want->name) == 0;
}

/*
 * Walk both views in step: the built one and the dump's, from one border of either to the next.
 * Returns whether they are the same; with @repair, corrects guesses on the way.
 */
static bool compare(const FlatView *view, const MtreeFlatView *dump, Repair *repair)
{
    size_t i = 0;
    hwaddr at = 0;
    bool same = true;

    for (;;) {
        MemoryRegionSection s;
        bool more = flatview_next(view, at, &s);
        while (i < dump->nr_ranges && dump->ranges[i].last < at) {
            i++;
        }
        const MtreeFlatRange *want = i < dump->nr_ranges ? &dump->ranges[i] : NULL;
        if (!more && !want) {
            return same;
        }
        hwaddr shown_first = more ? hwaddr_max(s.offset_within_address_space, at) : UINT64_MAX;
        hwaddr want_first = want ? hwaddr_max(want->first, at) : UINT64_MAX;
        hwaddr first = hwaddr_min(shown_first, want_first);
        bool in_shown = more && shown_first == first, in_want = want && want_first == first;
        hwaddr last = in_shown ? s.last_within_address_space : shown_first - 1;
        last = hwaddr_min(last, in_want ? want->last : want_first - 1);
        if (!more && !in_shown && in_want) {
            last = want->last;
        } else if (!want && in_shown) {
            last = s.last_within_address_space;
        }
        if (!in_shown || !in_want || !shows_wanted(&s, want)) {
            same = false;
            if (!repair) {
                return false;
            }
            correct(repair, first, in_want ? want : NULL);
        }
        if (last == UINT64_MAX) {
            return same;
        }
        at = last + 1;
    }
}

/*
 * Names repeat. Of the dump's views for the name of space @number, the first that no other space
 * has, or NULL if one is the same as @view.
 */
static FlatSpace *differing_view(AddressSpace *space, size_t number, const FlatView *view,
                                 FlatIndex *index)
{
    FlatSpace *candidate = name_table_get(&index->spaces, address_space_name(space), 0);
    FlatSpace *open = NULL;

    for (unsigned n = 0; candidate && n < MAX_NAMESAKES; candidate = candidate->next, n++) {
        if (candidate->taken) {
            continue;
        }
        if (compare(view, mtree_flat_view(index->flat, candidate->view), NULL)) {
            candidate->taken = number + 1;
            return NULL;
        }
        open = open ? open : candidate;
    }
    return open;
}

bool import_repair(MemoryImport *import, FlatIndex *index)
{
    bool changed = false;

    for (FlatSpace *space = index->all_spaces; space; space = space->next_any) {
        space->taken = 0;
    }
    for (size_t i = 0; i < import->nr_spaces; i++) {
        AddressSpace *space = import->spaces[i];
        FlatView *view = address_space_get_flatview(space);
        FlatSpace *dump = differing_view(space, i, view, index);
        if (dump) {
            Repair repair = {.space = space};
            compare(view, mtree_flat_view(index->flat, dump->view), &repair);
            changed |= repair.changed;
        }
        flatview_unref(view);
    }
    return changed;
}
