/* SPDX-License-Identifier: MIT */
/*
 * Transactions.
 *
 *      edit ──► map_damage: lift the region's extent ──► windows of lineages
 *        ...                                                   │
 *      commit of the outermost transaction                     ▼
 *        resolve   address spaces whose root may stand for another now find their lineage
 *        prepare   each damaged lineage paints its windows into a new view    (may fail)
 *        ask       listeners that have to do something about it do it         (may refuse)
 *        publish   tell listeners, store the view pointers, tell listeners    (cannot fail)
 *        retire    old views go when their readers have gone
 *
 * Guarantees:
 *  T1  Each edit damages all that it can change: the extent of the region before it and after
 *      it, as seen along all paths at that moment. Two states of the tree thus differ at most
 *      in the windows between them, and so do the first and the last by induction.
 *  T2  An edit that no address space can see has no windows, and its commit does nothing.
 *  T3  Everything that can fail comes before everything that can be seen.
 */
#include "map/topology.h"

#include "base/error.h"
#include "base/range.h"
#include "map/dirty_log.h"
#include "map/lineage.h"
#include "map/listeners.h"
#include "map/render.h"
#include "map/watch.h"

#include <errno.h>

/* ---- lifting damage --------------------------------------------------------------- */

typedef struct Lift {
    MemoryRegion *subject;
    unsigned depth;
    unsigned long steps;
    hwaddr first, last; /* in the region whose aliases are being visited */
    int error;
} Lift;

static void lift(Lift *state, MemoryRegion *mr, hwaddr first, hwaddr last);

static bool lift_through_alias(IntervalNode *node, void *opaque)
{
    Lift *state = opaque;
    MemoryRegion *alias = container_of(node, MemoryRegion, in_target);
    hwaddr offset = alias->state.alias_offset, first = state->first, last = state->last;

    lift(state, alias, first > offset ? first - offset : 0, last - offset);
    state->first = first;
    state->last = last;
    return state->error != 0;
}

static void damage_roots(MemoryRegion *mr, hwaddr first, hwaddr last)
{
    hwaddr addr = mr->state.addr;

    for (AddressSpace *as = mr->spaces; as; as = as->root_link) {
        map_damage_space(as);
    }
    if (mr->lineage && first <= UINT64_MAX - addr) {
        lineage_damage(mr->lineage, first + addr, hwaddr_add_clipped(last, addr));
    }
}

/* [first, last] of @mr, offsets, are seen differently: note it in all that sees @mr. */
static void lift(Lift *state, MemoryRegion *mr, hwaddr first, hwaddr last)
{
    if (state->error || !mr->state.enabled || mr->state.size == 0 || first > region_last(mr)) {
        return;
    }
    if (state->depth == MEMORY_REGION_MAX_DEPTH || ++state->steps > MAP_MAX_STEPS) {
        state->error = fail(ELOOP, "region '%s': seen through '%s' without end",
                            state->subject->name, mr->name);
        return;
    }
    last = hwaddr_min(last, region_last(mr));
    state->depth++;
    damage_roots(mr, first, last);
    if (mr->state.container && first <= UINT64_MAX - mr->state.addr) {
        lift(state, mr->state.container, first + mr->state.addr,
             hwaddr_add_clipped(last, mr->state.addr));
    }
    if (mr->aliases) {
        state->first = first;
        state->last = last;
        interval_for_each_overlap(mr->aliases, first, last, lift_through_alias, state);
    }
    state->depth--;
}

int map_damage(MemoryRegion *mr)
{
    Lift state = {.subject = mr};

    lift(&state, mr, 0, UINT64_MAX);
    return state.error;
}

void map_damage_everything(MemorySystem *ms)
{
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        map_damage_space(as);
        if (as->lineage->root) {
            lineage_damage(as->lineage, 0, UINT64_MAX);
        }
    }
}

void map_damage_space(AddressSpace *as)
{
    as->resolve = true;
    as->ms->resolve = true;
}

void map_damage_all_spaces(MemorySystem *ms)
{
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        map_damage_space(as);
    }
}

/* ---- commit: what can fail -------------------------------------------------------- */

static int resolve_space(AddressSpace *as)
{
    MemorySystem *ms = as->ms;
    MemoryRegion *root = render_resolve_root(as->root);
    ViewLineage *lineage = !root ? ms->empty : root->lineage;

    if (!lineage) {
        lineage = lineage_create(ms, root);
        if (!lineage) {
            return -ENOMEM;
        }
    }
    if (lineage != as->lineage) {
        as->next_lineage = lineage;
        as->lineage->users--;
        lineage->users++;
    }
    return 0;
}

static void unresolve_spaces(MemorySystem *ms)
{
    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        ViewLineage *lineage = as->next_lineage;
        if (lineage) {
            as->next_lineage = NULL;
            as->lineage->users++;
            if (--lineage->users == 0 && !lineage->current) {
                lineage_discard(lineage);
            }
        }
    }
}

static int prepare(MemorySystem *ms)
{
    int result = 0;

    if (ms->resolve) {
        for (AddressSpace *as = ms->first_space; as && !result; as = as->next) {
            if (as->resolve) {
                result = resolve_space(as);
            }
        }
    }
    for (ViewLineage *lineage = ms->damaged; lineage && !result; lineage = lineage->damaged_next) {
        if (lineage->users) {
            result = lineage_prepare(lineage);
        }
    }
    return result;
}

static void abandon(MemorySystem *ms)
{
    for (ViewLineage *lineage = ms->damaged; lineage; lineage = lineage->damaged_next) {
        lineage_abort(lineage);
    }
    unresolve_spaces(ms);
}

/* What @as will show. */
static FlatView *next_view(const AddressSpace *as)
{
    const ViewLineage *lineage = as->next_lineage ? as->next_lineage : as->lineage;

    return lineage->prepared ? lineage->prepared : lineage->current;
}

static int ask_space(AddressSpace *as)
{
    FlatView *view = as->first_listener ? next_view(as) : as->view;

    return view == as->view ? 0 : listeners_prepare(as, view);
}

static int ask(MemorySystem *ms)
{
    int result = 0;

    ms->notifying = true;
    if (ms->resolve) {
        for (AddressSpace *as = ms->first_space; as && !result; as = as->next) {
            result = ask_space(as);
        }
    } else {
        for (ViewLineage *lineage = ms->damaged; lineage; lineage = lineage->damaged_next) {
            for (AddressSpace *as = lineage->prepared ? lineage->spaces : NULL; as && !result;
                 as = as->lineage_link) {
                result = ask_space(as);
            }
        }
    }
    if (result) {
        listeners_cancel(ms);
    }
    ms->notifying = false;
    return result;
}

/* ---- commit: what can be seen ----------------------------------------------------- */

/* Move the spaces that resolve elsewhere now; returns whether there were any. */
static bool move_spaces(MemorySystem *ms)
{
    bool moved = false;

    for (AddressSpace *as = ms->first_space; as; as = as->next) {
        ViewLineage *old = as->lineage, *new = as->next_lineage;
        as->resolve = false;
        if (!new) {
            continue;
        }
        lineage_remove_space(as);
        if (!old->spaces && !old->users && old->root) { /* and nobody is about to come */
            old->closing_next = ms->closing;
            ms->closing = old;
        }
        lineage_add_space(new, as);
        as->next_lineage = NULL;
        moved = true;
    }
    ms->resolve = false;
    return moved;
}

/* Readers pair with both stores; whichever they see first does no harm (access/fast.h). */
static void show_view(AddressSpace *as, FlatView *view)
{
    rcu_publish(&as->view, view);
    __atomic_store_n(&as->view_id, view->id, __ATOMIC_RELEASE);
    if (as->history_size) {
        as->history_head = (as->history_head + 1) % as->history_size;
        flatview_unref(as->history[as->history_head]);
        flatview_ref(view);
        as->history[as->history_head] = view;
    }
}

static void update_space(AddressSpace *as)
{
    FlatView *old = as->view, *new = next_view(as);

    if (old != new) {
        listeners_tell_ranges(as, old, new);
        show_view(as, new);
        listeners_tell_eventfds(as, old, new);
        TELL_WATCHES(as->ms, shown, as, old, new);
    }
}

static bool anything_prepared(const MemorySystem *ms)
{
    for (ViewLineage *lineage = ms->damaged; lineage; lineage = lineage->damaged_next) {
        if (lineage->prepared) {
            return true;
        }
    }
    return false;
}

static void publish(MemorySystem *ms)
{
    bool moved = ms->resolve && move_spaces(ms);

    if (!moved && !anything_prepared(ms)) {
        return;
    }
    ms->notifying = true;
    listeners_begin(ms);
    if (moved) {
        for (AddressSpace *as = ms->first_space; as; as = as->next) {
            update_space(as);
        }
    } else {
        for (ViewLineage *lineage = ms->damaged; lineage; lineage = lineage->damaged_next) {
            for (AddressSpace *as = lineage->prepared ? lineage->spaces : NULL; as;
                 as = as->lineage_link) {
                update_space(as);
            }
        }
    }
    listeners_commit(ms);
    ms->notifying = false;
}

static void forget_damage(MemorySystem *ms)
{
    while (ms->damaged) {
        ViewLineage *lineage = ms->damaged;
        ms->damaged = lineage->damaged_next;
        lineage->damaged = false;
        lineage->nr_windows = 0;
    }
}

static void retire_old_views(MemorySystem *ms)
{
    for (ViewLineage *lineage = ms->damaged; lineage; lineage = lineage->damaged_next) {
        if (lineage->prepared) {
            lineage_publish(lineage);
        }
    }
    forget_damage(ms);
    while (ms->closing) {
        ViewLineage *lineage = ms->closing;
        ms->closing = lineage->closing_next;
        lineage_close(lineage);
    }
}

static int commit(MemorySystem *ms)
{
    if (!ms->damaged && !ms->resolve) {
        return 0;
    }
    int result = prepare(ms);
    if (!result) {
        result = ask(ms);
    }
    if (result) {
        abandon(ms);
        return result;
    }
    publish(ms);
    retire_old_views(ms);
    return 0;
}

/* ---- transactions ----------------------------------------------------------------- */

int map_edit_begin(MemorySystem *ms)
{
    machine_lock(ms);
    if (ms->notifying) {
        machine_unlock(ms);
        return fail(EBUSY, "the map cannot be changed from a listener's callback");
    }
    ms->transaction_depth++;
    return 0;
}

static void tell_ended(MemorySystem *ms)
{
    if (ms->watches) {
        ms->notifying = true;
        TELL_WATCHES(ms, ended);
        ms->notifying = false;
    }
}

int map_edit_end(MemorySystem *ms)
{
    bool outermost = ms->transaction_depth == 1;
    int result = outermost ? commit(ms) : 0;

    if (!result) {
        ms->transaction_depth--;
        if (outermost) {
            tell_ended(ms);
            ram_resizes_committed(ms);
            log_transaction_ended(ms);
        }
        machine_unlock(ms);
    }
    return result;
}

void map_edit_cancel(MemorySystem *ms)
{
    forget_damage(ms);
    if (--ms->transaction_depth == 0) {
        tell_ended(ms);
        log_transaction_ended(ms);
    }
    machine_unlock(ms);
}

void memory_region_transaction_begin(MemorySystem *ms)
{
    machine_lock(ms);
    ++*(ms->notifying ? &ms->callback_begins : &ms->transaction_depth);
}

int memory_region_transaction_commit(MemorySystem *ms)
{
    if (!lock_held(&ms->lock) || !(ms->notifying ? ms->callback_begins : ms->transaction_depth)) {
        return fail(EINVAL, "memory_region_transaction_commit without a begin");
    }
    if (ms->notifying) { /* empty: edits were refused */
        ms->callback_begins--;
        machine_unlock(ms);
        return 0;
    }
    return map_edit_end(ms);
}
