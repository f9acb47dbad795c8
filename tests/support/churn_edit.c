/* SPDX-License-Identifier: MIT */
/*
 * One random edit. Each kind picks its arguments, edits the model, and then the library if
 * the oracle can still render the model. Where the library may refuse (an alias that
 * could show itself), the model goes back to what it was.
 */
#include "churn.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Picking -------------------------------------------------------------------- */

static int pick_priority(Churn *c)
{
    static const int some[] = {0, 0, 0, 1, -1, 2, 1000, -1000, INT32_MAX, INT32_MIN};

    return some[rng_below(&c->rng, sizeof(some) / sizeof(some[0]))];
}

static int pick_alias(Churn *c)
{
    for (int tries = 0; tries < 20; tries++) {
        int i = churn_pick_region(c);

        if (c->model.region[i].alias != ORACLE_NONE) {
            return i;
        }
    }
    return ORACLE_NONE;
}

/* Whether the model can take the edit; else it goes back. */
static bool bounded(Churn *c, const Oracle *before)
{
    if (churn_model_is_bounded(c)) {
        return true;
    }
    c->model = *before;
    return false;
}

/* ---- The tree ------------------------------------------------------------------- */

static bool is_inside(const Oracle *o, int region, int container)
{
    while (region != ORACLE_NONE && region != container) {
        region = o->region[region].parent;
    }
    return region == container;
}

static void add_region(Churn *c, int parent, int child)
{
    Oracle before = c->model;
    hwaddr addr = churn_pick_address(c);
    int priority = pick_priority(c);
    bool plain = priority == 0 && rng_percent(&c->rng, 50);

    if (c->model.region[parent].alias != ORACLE_NONE) {
        churn_must_refuse(c, memory_region_add_subregion(c->mr[parent], addr, c->mr[child]),
                          -EINVAL);
        return;
    }
    if (c->model.region[child].parent != ORACLE_NONE) {
        int rc = memory_region_add_subregion(c->mr[parent], addr, c->mr[child]);

        if (rc != -EBUSY && rc != -ELOOP) {
            churn_fail(c, "adding a region twice gave %d", rc);
        }
        return;
    }
    if (is_inside(&c->model, parent, child)) {
        churn_must_refuse(c, memory_region_add_subregion(c->mr[parent], addr, c->mr[child]),
                          -ELOOP);
        return;
    }
    oracle_add(&c->model, parent, child, addr, priority);
    if (!bounded(c, &before)) {
        return;
    }
    CHURN_SETTLE(
        c,
        plain ? memory_region_add_subregion(c->mr[parent], addr, c->mr[child])
              : memory_region_add_subregion_overlap(c->mr[parent], addr, c->mr[child], priority),
        &before);
}

static void del_region(Churn *c, int child)
{
    Oracle before = c->model;
    int parent = c->model.region[child].parent;

    if (parent == ORACLE_NONE) {
        churn_must_refuse(c, memory_region_del_subregion(c->mr[churn_pick_region(c)], c->mr[child]),
                          -EINVAL);
        return;
    }
    oracle_del(&c->model, child);
    CHURN_SETTLE(c, memory_region_del_subregion(c->mr[parent], c->mr[child]), &before);
}

static void move_region(Churn *c, int i)
{
    Oracle before = c->model;
    hwaddr addr = churn_pick_address(c);

    oracle_move(&c->model, i, addr);
    if (bounded(c, &before)) {
        CHURN_SETTLE(c, memory_region_set_address(c->mr[i], addr), &before);
    }
}

static void resize_region(Churn *c, int i)
{
    Oracle before = c->model;
    ChurnRegion *region = c->region[i];
    hwaddr size = churn_pick_size(c, false);

    if (region && region->is_resizeable) {
        size = 4096 * (1 + rng_below(&c->rng, 4));
        churn_must_refuse(c, memory_region_set_size(c->mr[i], size), -EINVAL);
    }
    c->model.region[i].size = size;
    if (!bounded(c, &before)) {
        return;
    }
    if (region && region->is_resizeable) {
        CHURN_SETTLE(c, memory_region_ram_resize(c->mr[i], size, NULL), &before);
        return;
    }
    CHURN_SETTLE(c, memory_region_set_size(c->mr[i], size), &before);
}

static void slide_alias(Churn *c, int i)
{
    Oracle before = c->model;
    hwaddr offset = rng_percent(&c->rng, 30) ? 0 : churn_pick_address(c);

    if (i == ORACLE_NONE) {
        return;
    }
    c->model.region[i].alias_offset = offset;
    if (bounded(c, &before)) {
        CHURN_SETTLE(c, memory_region_set_alias_offset(c->mr[i], offset), &before);
    }
}

/* ---- Flags ---------------------------------------------------------------------- */

static void set_enabled(Churn *c, int i, bool on)
{
    Oracle before = c->model;

    c->model.region[i].enabled = on;
    if (bounded(c, &before)) {
        CHURN_SETTLE(c, memory_region_set_enabled(c->mr[i], on), &before);
    }
}

static void set_flag(Churn *c, int i, bool on)
{
    Oracle before = c->model;

    switch (rng_below(&c->rng, 3)) {
    case 0:
        c->model.region[i].readonly = on;
        CHURN_SETTLE(c, memory_region_set_readonly(c->mr[i], on), &before);
        break;
    case 1:
        c->model.region[i].nonvolatile = on;
        CHURN_SETTLE(c, memory_region_set_nonvolatile(c->mr[i], on), &before);
        break;
    default:
        c->model.region[i].unmergeable = on;
        CHURN_SETTLE(c, memory_region_set_unmergeable(c->mr[i], on), &before);
    }
}

static void set_romd(Churn *c, int i, bool on)
{
    Oracle before = c->model;

    if (!c->model.region[i].rom_device) {
        churn_must_refuse(c, memory_region_rom_device_set_romd(c->mr[i], on), -EINVAL);
        return;
    }
    c->model.region[i].romd = on;
    CHURN_SETTLE(c, memory_region_rom_device_set_romd(c->mr[i], on), &before);
}

static void set_log(Churn *c, int i, bool on)
{
    Oracle before = c->model;
    unsigned client = rng_below(&c->rng, 3);
    uint8_t bit = (uint8_t)(1U << client);

    if (!c->model.region[i].rom_device && !(c->region[i] && c->region[i]->is_ram)) {
        churn_must_refuse(c, memory_region_set_log(c->mr[i], on, client), -EINVAL);
        return;
    }
    c->model.region[i].log_mask =
        (uint8_t)(on ? c->model.region[i].log_mask | bit : c->model.region[i].log_mask & ~bit);
    CHURN_SETTLE(c, memory_region_set_log(c->mr[i], on, client), &before);
}

/* A region of the kind that @good likes, out of a few tries. */
static int pick_loggable(Churn *c)
{
    int i = churn_pick_region(c);

    for (int tries = 0;
         tries < 8 && !c->model.region[i].rom_device && !(c->region[i] && c->region[i]->is_ram);
         tries++) {
        i = churn_pick_region(c);
    }
    return i;
}

/* ---- Signals -------------------------------------------------------------------- */

static EventNotifier notifier[ORACLE_SIGNALS] = {{0}, {1}, {2}, {3}};

/* Each has a quarter of the region of its own, so that none is there twice. */
static void add_signal(Churn *c, int i)
{
    Oracle before = c->model;
    OracleRegion *r = &c->model.region[i];
    unsigned k = r->signals;
    OracleSignal s = {.is_eventfd = rng_percent(&c->rng, 50),
                      .at = r->size / ORACLE_SIGNALS * k,
                      .length = 1,
                      .data = k};

    if (k == ORACLE_SIGNALS || r->size < 8 || !r->terminates ||
        (c->region[i] && c->region[i]->is_ram)) {
        return;
    }
    if (!s.is_eventfd) {
        s.length = 1 + rng_next(&c->rng) % (r->size / ORACLE_SIGNALS);
        s.data = 0;
    }
    r->signal[r->signals++] = s;
    if (s.is_eventfd) {
        CHURN_SETTLE(c, memory_region_add_eventfd(c->mr[i], s.at, 1, true, s.data, &notifier[k]),
                     &before);
    } else {
        CHURN_SETTLE(c, memory_region_add_coalescing(c->mr[i], s.at, s.length), &before);
    }
}

/* Take out an ioeventfd if the last one is one, else all coalesced ranges. */
static void del_signal(Churn *c, int i)
{
    Oracle before = c->model;
    OracleRegion *r = &c->model.region[i];
    OracleSignal s;
    unsigned kept = 0;

    if (!r->signals) {
        return;
    }
    s = r->signal[r->signals - 1];
    if (s.is_eventfd) {
        r->signals--;
        CHURN_SETTLE(c,
                     memory_region_del_eventfd(c->mr[i], s.at, 1, true, s.data, &notifier[s.data]),
                     &before);
        return;
    }
    while (kept < r->signals && r->signal[kept].is_eventfd) {
        kept++;
    }
    for (unsigned k = kept; k < r->signals; k++) {
        if (r->signal[k].is_eventfd) {
            return; /* the rows must stay where they are: later */
        }
    }
    r->signals = kept;
    CHURN_SETTLE(c, memory_region_clear_coalescing(c->mr[i]), &before);
}

/* ---- Address spaces ------------------------------------------------------------- */

static void edit_spaces(Churn *c)
{
    int slot = 2 + (int)rng_below(&c->rng, CHURN_SPACES - 2);
    ChurnSpace *space = &c->space[slot];
    ChurnOwnSpace *own;
    OracleView view;
    int root = churn_pick_region(c);

    if (space->as) {
        churn_close_space(c, slot);
        return;
    }
    if (!oracle_render(&c->model, root, &view)) {
        return;
    }
    oracle_view_free(&view);
    own = calloc(1, sizeof(*own));
    if (!own) {
        abort();
    }
    churn_open_space(c, slot, &own->as, root, "churn");
}

static void edit_history(Churn *c)
{
    ChurnSpace *space = &c->space[rng_below(&c->rng, CHURN_SPACES)];
    unsigned keep = rng_below(&c->rng, CHURN_HISTORY + 1);

    if (!space->as) {
        return;
    }
    if (address_space_set_history(space->as, keep)) {
        churn_fail(c, "address_space_set_history(%u)", keep);
    }
    if (!space->history && keep) { /* it starts with the view of now */
        space->past[0].count = 0;
        for (size_t i = 0; i < space->now.count; i++) {
            shown_append(&space->past[0], space->now.range[i]);
        }
        space->pasts = 1;
    }
    space->history = keep;
    space->pasts = space->pasts < keep ? space->pasts : keep;
}

/* Commit; an alias that shows itself without end is disabled until it goes through. */
static void commit(Churn *c)
{
    int rc;

    churn_arm(c);
    rc = memory_region_transaction_commit(c->ms);
    churn_disarm(c);
    if (rc == -ENOMEM && c->saboteur) { /* still open: there is memory again */
        rc = memory_region_transaction_commit(c->ms);
    }
    for (int i = 0; rc == -ELOOP && i < c->model.used; i++) {
        if (c->model.region[i].live && oracle_reaches(&c->model, i, i) &&
            c->model.region[i].alias != ORACLE_NONE) {
            set_enabled(c, i, false);
            rc = memory_region_transaction_commit(c->ms);
        }
    }
    if (rc) {
        churn_fail(c, "commit gave %d", rc);
    }
}

/* ---- Dice ----------------------------------------------------------------------- */

static void edit_once(Churn *c)
{
    bool on = rng_percent(&c->rng, 50);
    unsigned dice = rng_below(&c->rng, 100);

    if (dice < 22) {
        c->doing = "add";
        add_region(c, churn_pick_region(c), churn_pick_region(c));
    } else if (dice < 30) {
        c->doing = "del";
        del_region(c, churn_pick_region(c));
    } else if (dice < 36) {
        int i = churn_pick_region(c);
        int parent = c->model.region[i].parent;

        c->doing = "del and add anew";
        if (parent != ORACLE_NONE) {
            memory_region_transaction_begin(c->ms);
            del_region(c, i);
            add_region(c, parent, i);
            commit(c);
        }
    } else if (dice < 48) {
        c->doing = "set_address";
        move_region(c, churn_pick_region(c));
    } else if (dice < 56) {
        c->doing = "set_size";
        resize_region(c, churn_pick_region(c));
    } else if (dice < 68) {
        c->doing = "set_enabled";
        set_enabled(c, churn_pick_region(c), on || rng_percent(&c->rng, 40));
    } else if (dice < 76) {
        c->doing = "set_alias_offset";
        slide_alias(c, pick_alias(c));
    } else if (dice < 84) {
        c->doing = "a flag";
        set_flag(c, churn_pick_region(c), on);
    } else if (dice < 87) {
        c->doing = "set_romd";
        set_romd(c, pick_loggable(c), on);
    } else if (dice < 91) {
        c->doing = "set_log";
        set_log(c, pick_loggable(c), on);
    } else if (dice < 95) {
        c->doing = "a signal";
        (on ? add_signal : del_signal)(c, churn_pick_region(c));
    } else if (dice < 98) {
        c->doing = "init";
        churn_make_region(c);
    } else {
        c->doing = "unref";
        churn_kill_region(c);
    }
}

/* Several edits, nested at random: nothing shows before the last commit. */
static void edit_in_transaction(Churn *c)
{
    unsigned edits = 2 + rng_below(&c->rng, 6), depth = 1;
    uint64_t id[CHURN_SPACES] = {0};

    for (int i = 0; i < CHURN_SPACES; i++) {
        id[i] = c->space[i].view_id;
    }
    memory_region_transaction_begin(c->ms);
    for (; edits && !c->failed; edits--) {
        if (rng_percent(&c->rng, 30)) {
            memory_region_transaction_begin(c->ms);
            depth++;
        } else if (depth > 1 && rng_percent(&c->rng, 40)) {
            commit(c);
            depth--;
        }
        edit_once(c);
        for (int i = 0; i < CHURN_SPACES; i++) {
            FlatView *view = c->space[i].as ? address_space_get_flatview(c->space[i].as) : NULL;

            if (view && flatview_id(view) != id[i]) {
                churn_fail(c, "space %d has a new view within a transaction", i);
            }
            flatview_unref(view);
        }
    }
    while (depth--) {
        commit(c);
    }
    c->doing = "a transaction";
}

void churn_edit(Churn *c)
{
    unsigned dice = rng_below(&c->rng, 100);

    if (dice < 4) {
        c->doing = "address spaces";
        edit_spaces(c);
    } else if (dice < 7) {
        c->doing = "history";
        edit_history(c);
    } else if (dice < 30) {
        edit_in_transaction(c);
    } else {
        edit_once(c);
    }
}

void churn_build(Churn *c)
{
    static const uint64_t units[] = {1,          16,     100,      0x800,        0x1000,
                                     0x3000,     0x8000, 0x200000, (1ULL << 30), 1ULL << 40,
                                     1ULL << 58, 0x1800};
    unsigned regions = 4 + rng_below(&c->rng, 20);

    c->unit = units[rng_below(&c->rng, sizeof(units) / sizeof(units[0]))];
    for (unsigned i = 0; i < regions && !c->failed; i++) {
        int region = churn_make_region(c);
        int parent = rng_percent(&c->rng, 40) ? 0 : churn_pick_region(c);

        if (region != ORACLE_NONE && rng_percent(&c->rng, 85)) {
            add_region(c, parent, region);
        }
        if (rng_percent(&c->rng, 15)) {
            set_enabled(c, churn_pick_region(c), false);
        }
        if (rng_percent(&c->rng, 15)) {
            set_flag(c, churn_pick_region(c), true);
        }
    }
    edit_spaces(c);
    edit_spaces(c);
    for (int i = 0; i < CHURN_SPACES; i++) { /* what was told so far is not counted */
        if (c->space[i].as) {
            shown_take_space(&c->space[i].now, c->space[i].as);
            mirror_forget_counts(&c->space[i].mirror);
        }
    }
}
