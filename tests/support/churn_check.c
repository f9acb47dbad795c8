/* SPDX-License-Identifier: MIT */
#include "churn.h"
#include <inttypes.h>
#include <string.h>

static void expected_ranges(const Churn *c, const OracleView *view, Shown *shown)
{
    for (size_t i = 0; i < view->count; i++) {
        const OracleRange *r = &view->range[i];

        shown_append(shown, (ShownRange){.mr = c->mr[r->region],
                                         .offset = r->offset,
                                         .first = r->first,
                                         .last = r->last,
                                         .log_mask = r->log_mask,
                                         .romd = r->romd,
                                         .readonly = r->readonly,
                                         .nonvolatile = r->nonvolatile,
                                         .unmergeable = r->unmergeable});
    }
}

static void compare(Churn *c, int slot, const char *what, const Shown *is, const Shown *should)
{
    if (!c->failed && !shown_equal(is, should)) {
        churn_fail(c, "space %d: %s is not what the oracle says", slot, what);
        shown_print(stderr, what, is);
        shown_print(stderr, "oracle", should);
    }
}

/* Look up each edge and its neighbours. */
static void check_lookups(Churn *c, const FlatView *view, const OracleView *oracle)
{
    for (size_t i = 0; i < oracle->edges; i++) {
        for (int d = -1; d <= 1; d++) {
            hwaddr addr = oracle->edge[i] + (hwaddr)(int64_t)d;
            const OracleRange *next = oracle_view_next(oracle, addr);
            bool covered = next && next->first <= addr;
            MemoryRegionSection section, after;
            bool hit = flatview_lookup(view, addr, &section);
            bool more = flatview_next(view, addr, &after);

            if (hit != covered || more != (next != NULL) ||
                (hit && (section.mr != c->mr[next->region] ||
                         section.offset_within_address_space != next->first ||
                         section.last_within_address_space != next->last ||
                         section.offset_within_region != next->offset)) ||
                (more && (after.offset_within_address_space != next->first ||
                          after.last_within_address_space != next->last)) ||
                (!hit && section.mr) || (!more && after.mr)) {
                churn_fail(c, "flatview_lookup/next at %" PRIx64, addr);
                return;
            }
        }
    }
}

static void check_counts(Churn *c, int slot, const Shown *before, const Shown *now)
{
    Mirror *m = &c->space[slot].mirror;
    unsigned went = 0, came = 0, stayed = 0;

    for (size_t i = 0; i < before->count; i++) {
        went += !shown_find(now, &before->range[i]);
    }
    for (size_t i = 0; i < now->count; i++) {
        bool was = shown_find(before, &now->range[i]) != NULL;

        stayed += was;
        came += !was;
    }
    if (m->error) {
        churn_fail(c, "space %d: the listener was told nonsense: %s", slot, m->error);
    } else if (m->dels != went || m->adds != came) {
        churn_fail(c, "space %d: %u dels for %u ranges that went, %u adds for %u that came", slot,
                   m->dels, went, m->adds, came);
    } else if (m->listener.region_nop && (went || came) && m->nops != stayed) {
        churn_fail(c, "space %d: %u nops for %u ranges that stayed", slot, m->nops, stayed);
    }
    mirror_forget_counts(m);
}

/* The mirror has exactly the ioeventfds and coalesced ranges that the oracle's ranges show. */
static void check_signals(Churn *c, int slot, const OracleView *oracle)
{
    Mirror *m = &c->space[slot].mirror;
    Mirror should = {0};

    for (size_t i = 0; i < oracle->count; i++) {
        const OracleRegion *r = &c->model.region[oracle->range[i].region];

        for (unsigned k = 0; k < r->signals; k++) {
            MirrorSignal s = {.is_eventfd = r->signal[k].is_eventfd, .data = r->signal[k].data};

            if (oracle_signal_shows(&oracle->range[i], &r->signal[k], &s.addr, &s.length)) {
                mirror_put_signal(&should, s);
            }
        }
    }
    if (should.signals != m->signals) {
        churn_fail(c, "space %d: %u signals instead of %u", slot, m->signals, should.signals);
    }
    for (unsigned i = 0; !c->failed && i < m->signals; i++) {
        if (!mirror_take_signal(&should, m->signal[i])) {
            churn_fail(c, "space %d: the listener has a signal at %" PRIx64 " too many", slot,
                       m->signal[i].addr);
        }
    }
}

/* What was the newest view moves one back if there is another now. */
static void check_history(Churn *c, int slot, const FlatView *view, const Shown *now)
{
    ChurnSpace *space = &c->space[slot];
    Shown taken = {0};

    if (space->view_id != flatview_id(view) && space->history) {
        Shown oldest = space->past[space->history - 1];

        memmove(&space->past[1], &space->past[0], (space->history - 1) * sizeof(oldest));
        space->past[0] = oldest;
        space->past[0].count = 0;
        for (size_t i = 0; i < now->count; i++) {
            shown_append(&space->past[0], now->range[i]);
        }
        space->pasts = space->pasts < space->history ? space->pasts + 1 : space->history;
    }
    space->view_id = flatview_id(view);
    for (unsigned back = 0; !c->failed && back <= space->history; back++) {
        FlatView *old = address_space_get_history(space->as, back);
        bool kept = space->history ? back < space->pasts : back == 0;

        if (space->history && !old != !kept) {
            churn_fail(c, "space %d: history %u back is %skept", slot, back, kept ? "not " : "");
        } else if (space->history && old &&
                   (!shown_take(&taken, old) || !shown_equal(&taken, &space->past[back]))) {
            churn_fail(c, "space %d: history %u back shows something else", slot, back);
        }
        flatview_unref(old);
    }
    shown_free(&taken);
}

/* Sometimes keep the view, sometimes compare it with one that was kept. */
static void hold_or_compare(Churn *c, FlatView *view, const Shown *now)
{
    ChurnHeld *held = &c->held[rng_below(&c->rng, CHURN_HELD)];

    if (held->view && !shown_diff_is_right(held->view, view)) {
        churn_fail(c, "flatview_diff from a held view is wrong");
    }
    if (held->view && !shown_diff_is_right(view, held->view)) {
        churn_fail(c, "flatview_diff to a held view is wrong");
    }
    if (rng_percent(&c->rng, 20)) {
        flatview_unref(held->view);
        flatview_ref(view);
        held->view = view;
        held->shown.count = 0;
        for (size_t i = 0; i < now->count; i++) {
            shown_append(&held->shown, now->range[i]);
        }
    }
}

static void check_space(Churn *c, int slot)
{
    ChurnSpace *space = &c->space[slot];
    FlatView *view = address_space_get_flatview(space->as);
    FlatView *fresh = address_space_render(space->as);
    Shown is = {0}, rendered = {0}, should = {0};
    OracleView oracle;

    if (!view || !fresh || !oracle_render(&c->model, space->root, &oracle)) {
        churn_fail(c, "space %d: no view, no render or no oracle", slot);
        flatview_unref(view);
        flatview_unref(fresh);
        return;
    }
    expected_ranges(c, &oracle, &should);
    if (!shown_take(&is, view) || !shown_take(&rendered, fresh)) {
        churn_fail(c, "space %d: a view contradicts itself", slot);
    }
    compare(c, slot, "the fresh render", &rendered, &should);
    compare(c, slot, "the view", &is, &should);
    compare(c, slot, "the mirror", &space->mirror.shown, &should);
    if (!c->failed) {
        int root = oracle_resolve_root(&c->model, space->root);
        MemoryRegion *expected = root == ORACLE_NONE ? NULL : c->mr[root];

        if (should.count && flatview_root(view) != expected) {
            churn_fail(c, "space %d: the view's root is not what the root resolves to", slot);
        }
        if (!flatview_equal(view, fresh) || !flatview_equal(fresh, view)) {
            churn_fail(c, "space %d: flatview_equal denies what is equal", slot);
        }
        check_lookups(c, view, &oracle);
        check_counts(c, slot, &space->now, &should);
        check_signals(c, slot, &oracle);
        check_history(c, slot, view, &should);
        hold_or_compare(c, view, &should);
    }
    shown_free(&space->now);
    space->now = should;
    shown_free(&is);
    shown_free(&rendered);
    oracle_view_free(&oracle);
    flatview_unref(view);
    flatview_unref(fresh);
}

static void check_sharing(Churn *c)
{
    for (int i = 0; i < CHURN_SPACES; i++) {
        int root = c->space[i].as ? oracle_resolve_root(&c->model, c->space[i].root) : ORACLE_NONE;

        if (root == ORACLE_NONE) {
            continue; /* what shows nothing may have an empty view of its own */
        }
        for (int k = i + 1; k < CHURN_SPACES; k++) {
            if (c->space[k].as && oracle_resolve_root(&c->model, c->space[k].root) == root &&
                c->space[i].view_id != c->space[k].view_id) {
                churn_fail(c, "spaces %d and %d have one root and two views", i, k);
            }
        }
    }
}

static void check_held(Churn *c)
{
    ChurnHeld *held = &c->held[rng_below(&c->rng, CHURN_HELD)];
    Shown is = {0};

    if (held->view && (!shown_take(&is, held->view) || !shown_equal(&is, &held->shown))) {
        churn_fail(c, "a held view has changed");
        shown_print(stderr, "now", &is);
        shown_print(stderr, "then", &held->shown);
    }
    shown_free(&is);
}

static int space_of_top(const Churn *c, int region, hwaddr *addr, bool *beyond)
{
    for (;;) { /* a view starts at its root's own address, so that one counts as well */
        hwaddr sum = *addr + c->model.region[region].addr;

        *beyond = *beyond || sum < *addr;
        *addr = sum;
        if (c->model.region[region].parent == ORACLE_NONE) {
            break;
        }
        region = c->model.region[region].parent;
    }
    for (int i = 0; i < CHURN_SPACES; i++) {
        if (c->space[i].as && c->space[i].root == region) {
            return i;
        }
    }
    return -1;
}

/* memory_region_find from a random region for a random window. */
static void check_find(Churn *c)
{
    int region = (int)rng_below(&c->rng, (unsigned)c->model.used);
    hwaddr offset = rng_below(&c->rng, 24) * c->unit + rng_below(&c->rng, 3);
    hwaddr size = 1 + rng_below(&c->rng, 8) * c->unit;
    hwaddr addr = offset;
    hwaddr last, first;
    bool beyond = false;
    const ShownRange *hit = NULL;
    MemoryRegionSection s;
    int slot;

    if (!c->model.region[region].live) {
        return;
    }
    slot = space_of_top(c, region, &addr, &beyond);
    if (beyond) {
        return; /* past 2^64: nothing is promised */
    }
    last = addr + (size - 1) < addr ? UINT64_MAX : addr + (size - 1);
    for (size_t i = 0; slot >= 0 && !hit && i < c->space[slot].now.count; i++) {
        const ShownRange *r = &c->space[slot].now.range[i];

        hit = r->last >= addr && r->first <= last ? r : NULL;
    }
    s = memory_region_find(c->mr[region], offset, size);
    if (!hit) {
        if (s.mr || s.size) {
            churn_fail(c, "memory_region_find found what is not there at %" PRIx64, addr);
        }
        return;
    }
    first = hit->first > addr ? hit->first : addr;
    last = hit->last < last ? hit->last : last;
    if (s.mr != hit->mr || s.offset_within_address_space != first ||
        s.last_within_address_space != last || s.size != last - first + 1 ||
        s.offset_within_region != hit->offset + (first - hit->first) ||
        s.readonly != hit->readonly || s.nonvolatile != hit->nonvolatile || s.romd != hit->romd) {
        churn_fail(c, "memory_region_find at %" PRIx64 " gave %" PRIx64 "-%" PRIx64, addr,
                   s.offset_within_address_space, s.last_within_address_space);
    }
    memory_region_unref(s.mr);
}

void churn_check(Churn *c)
{
    for (int i = 0; !c->failed && i < CHURN_SPACES; i++) {
        if (c->space[i].as) {
            check_space(c, i);
        }
    }
    if (!c->failed) {
        check_sharing(c);
        check_held(c);
        check_find(c);
    }
}
