/* SPDX-License-Identifier: MIT */
#include "churn.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void churn_fail(Churn *c, const char *format, ...)
{
    va_list args;

    if (c->failed) {
        return;
    }
    c->failed = true;
    fprintf(stderr, "# seed %" PRIu64 " edit %u (%s): ", c->seed, c->edit, c->doing);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n# last error: %s\n# again: soak_oracle 1 %u %" PRIu64 "\n",
            membus_last_error(), c->edit, c->seed);
}

bool churn_model_is_bounded(const Churn *c)
{
    for (int i = 0; i < CHURN_SPACES; i++) {
        OracleView view;

        if (!c->space[i].as) {
            continue;
        }
        if (!oracle_render(&c->model, c->space[i].root, &view)) {
            return false;
        }
        oracle_view_free(&view);
    }
    return true;
}

void churn_open_space(Churn *c, int slot, AddressSpace *as, int root, const char *name)
{
    ChurnSpace *space = &c->space[slot];
    int rc;

    *space = (ChurnSpace){.as = as, .own = name != NULL, .root = root};
    if (name) {
        rc = address_space_init(as, c->mr[root], name);
        if (rc) {
            churn_fail(c, "address_space_init: %d", rc);
            free(as);
            space->as = NULL;
            return;
        }
    }
    mirror_init(&space->mirror, "mirror", rng_percent(&c->rng, 50));
    rc = memory_listener_register(&space->mirror.listener, as);
    if (rc) {
        churn_fail(c, "memory_listener_register: %d", rc);
    }
    mirror_forget_counts(&space->mirror);
    shown_take_space(&space->now, as);
}

void churn_close_space(Churn *c, int slot)
{
    ChurnSpace *space = &c->space[slot];

    if (!space->as) {
        return;
    }
    if (memory_listener_unregister(&space->mirror.listener)) {
        churn_fail(c, "memory_listener_unregister");
    }
    if (space->mirror.error || space->mirror.shown.count || space->mirror.signals) {
        churn_fail(c, "after unregistration the mirror still shows %zu ranges, %u signals; %s",
                   space->mirror.shown.count, space->mirror.signals,
                   space->mirror.error ? space->mirror.error : "no complaint");
    }
    if (address_space_set_history(space->as, 0)) {
        churn_fail(c, "address_space_set_history(0)");
    }
    if (space->own) {
        if (address_space_destroy(space->as)) {
            churn_fail(c, "address_space_destroy");
        }
        ChurnOwnSpace *own = (ChurnOwnSpace *)space->as;

        own->next_closed = c->closed;
        c->closed = own;
    }
    mirror_free(&space->mirror);
    shown_free(&space->now);
    for (unsigned i = 0; i < CHURN_HISTORY; i++) {
        shown_free(&space->past[i]);
    }
    *space = (ChurnSpace){0};
}

static void start_machine(Churn *c)
{
    int system, io;

    c->ms = memory_system_create();
    if (!c->ms) {
        churn_fail(c, "memory_system_create");
        return;
    }
    system = oracle_new(&c->model, UINT64_MAX, false);
    c->mr[system] = get_system_memory(c->ms);
    io = oracle_new(&c->model, 65536, true);
    c->mr[io] = get_system_io(c->ms);
    churn_open_space(c, 0, memory_system_memory(c->ms), system, NULL);
    churn_open_space(c, 1, memory_system_io(c->ms), io, NULL);
}

/* Take everything apart; nothing may be left over and no finaliser may be missing. */
static void end_machine(Churn *c)
{
    int rc;

    c->doing = "teardown";
    for (int i = 0; i < CHURN_SPACES; i++) {
        churn_close_space(c, i);
    }
    for (int i = 0; i < ORACLE_REGIONS; i++) {
        MemoryRegion *container =
            c->model.region[i].live ? memory_region_container(c->mr[i]) : NULL;

        if (container && memory_region_del_subregion(container, c->mr[i])) {
            churn_fail(c, "memory_region_del_subregion of region %d", i);
        }
    }
    for (int i = 0; i < ORACLE_REGIONS; i++) {
        if (c->model.region[i].live && c->region[i]) {
            memory_owner_unref(c->region[i]->owner);
        }
    }
    for (int i = 0; i < CHURN_HELD; i++) {
        flatview_unref(c->held[i].view);
        shown_free(&c->held[i].shown);
    }
    memory_system_drain(c->ms);
    while (c->closed) {
        ChurnOwnSpace *next = c->closed->next_closed;

        free(c->closed);
        c->closed = next;
    }
    if (__atomic_load_n(&c->alive, __ATOMIC_RELAXED)) {
        churn_fail(c, "%u regions were never finalised", c->alive);
    }
    rc = memory_system_destroy(c->ms);
    if (rc) {
        churn_fail(c, "memory_system_destroy: %d", rc);
    }
}

bool churn_run(uint64_t seed, unsigned edits, const ChurnSaboteur *saboteur)
{
    return churn_run_watched(seed, edits, saboteur, NULL);
}

static void nobody(Churn *c, void *opaque)
{
    (void)c;
    (void)opaque;
}

bool churn_run_watched(uint64_t seed, unsigned edits, const ChurnSaboteur *saboteur,
                       const ChurnWatcher *watcher)
{
    static const ChurnWatcher none = {nobody, nobody, nobody, NULL};
    Churn *c = calloc(1, sizeof(*c));
    bool fine;

    if (!c) {
        abort();
    }
    c->seed = seed;
    c->saboteur = saboteur;
    c->watcher = watcher ? watcher : &none;
    c->rng.state = seed;
    c->doing = "build";
    start_machine(c);
    if (!c->failed) {
        c->watcher->begin(c, c->watcher->opaque);
        churn_build(c);
    }
    churn_check(c);
    c->watcher->edited(c, c->watcher->opaque);
    while (!c->failed && c->edit < edits) {
        c->edit++;
        churn_edit(c);
        churn_check(c);
        c->watcher->edited(c, c->watcher->opaque);
    }
    /* a machine that failed is left as it is: its state is the evidence */
    if (!c->failed) {
        c->watcher->end(c, c->watcher->opaque);
        end_machine(c);
    }
    fine = !c->failed;
    if (fine) {
        free(c);
    }
    return fine;
}
