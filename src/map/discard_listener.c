/* SPDX-License-Identifier: MIT */
/*
 * RAM that is populated in part: those who are told. Registering and populating tell in order and,
 * when refused, take back what was told before the refusal. While anybody is told, the manager
 * does not change.
 */
#include "base/error.h"
#include "map/ram_discard.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void ram_discard_listener_init(RamDiscardListener *rdl, NotifyRamPopulate populate_fn,
                               NotifyRamDiscard discard_fn, bool double_discard_supported)
{
    *rdl = (RamDiscardListener){.notify_populate = populate_fn,
                                .notify_discard = discard_fn,
                                .double_discard_supported = double_discard_supported};
}

static const Extent everything = {0, UINT64_MAX};

/* ---- telling one listener ----------------------------------------------------------- */

static const char *name_of(const RamDiscardListener *rdl)
{
    return rdl->name ? rdl->name : "";
}

/* Tell @rdl that all of @extent, now discarded, gets populated. Returns what it says. */
static int offer(RamDiscardManager *rdm, RamDiscardListener *rdl, Extent extent)
{
    if (!discard_clip(rdm, &rdl->section, &extent)) {
        return 0;
    }
    MemoryRegionSection part = discard_part(&rdl->section, extent);
    return rdl->notify_populate(rdl, &part);
}

/* The sentence for a refused offer, when no callback can replace it any more. */
static int refused(const RamDiscardManager *rdm, const RamDiscardListener *rdl, Extent extent,
                   int result)
{
    int err = result < 0 ? -result : EINVAL;

    discard_clip(rdm, &rdl->section, &extent);
    return fail(err,
                "RAM '%s': listener '%s' refuses to have 0x%" PRIx64 "-0x%" PRIx64 " populated: %s",
                rdm->mr->name, name_of(rdl), extent.first, extent.last, strerror(err));
}

/* Take the offer back from @rdl, which took it. */
static void withdraw(RamDiscardManager *rdm, RamDiscardListener *rdl, Extent extent)
{
    if (discard_clip(rdm, &rdl->section, &extent)) {
        MemoryRegionSection part = discard_part(&rdl->section, extent);
        rdl->notify_discard(rdl, &part);
    }
}

static int tell_discarded(MemoryRegionSection *part, void *opaque)
{
    RamDiscardListener *rdl = opaque;

    rdl->notify_discard(rdl, part);
    return 0;
}

/* Take from @rdl what of @extent is populated. */
static void take_back(RamDiscardManager *rdm, RamDiscardListener *rdl, Extent extent)
{
    Extent run;

    if (!rdl->double_discard_supported) {
        discard_replay(rdm, &rdl->section, extent, true, tell_discarded, rdl);
    } else if (discard_clip(rdm, &rdl->section, &extent) &&
               discard_next_run(rdm, extent.first, extent.last, true, &run)) {
        withdraw(rdm, rdl, extent);
    }
}

/* ---- listeners come and go ---------------------------------------------------------- */

static int check_listener(const RamDiscardManager *rdm, const RamDiscardListener *rdl,
                          const MemoryRegionSection *section)
{
    Extent extent;

    if (!rdl->notify_populate || !rdl->notify_discard) {
        return fail(EINVAL, "RAM '%s': listener '%s' lacks notify_populate or notify_discard",
                    rdm->mr->name, name_of(rdl));
    }
    if (rdl->manager) {
        return fail(EBUSY, "RAM '%s': listener '%s' is registered already, for RAM '%s'",
                    rdm->mr->name, name_of(rdl), rdl->manager->mr->name);
    }
    if (!discard_extent(rdm, section, &extent)) {
        return fail(EINVAL, "RAM '%s': the section of listener '%s' shows nothing of it",
                    rdm->mr->name, name_of(rdl));
    }
    return discard_check_quiet(rdm);
}

static void enlist(RamDiscardManager *rdm, RamDiscardListener *rdl)
{
    rdl->manager = rdm;
    rdl->next = NULL;
    rdl->prev = rdm->last;
    *(rdm->last ? &rdm->last->next : &rdm->first) = rdl;
    rdm->last = rdl;
}

static void delist(RamDiscardManager *rdm, RamDiscardListener *rdl)
{
    *(rdl->prev ? &rdl->prev->next : &rdm->first) = rdl->next;
    *(rdl->next ? &rdl->next->prev : &rdm->last) = rdl->prev;
    rdl->prev = rdl->next = NULL;
    rdl->manager = NULL;
}

/* Offer @rdl all that is populated; on a refusal it has nothing. */
static int offer_populated(RamDiscardManager *rdm, RamDiscardListener *rdl)
{
    hwaddr from, last = rdm->nr_blocks * rdm->granularity - 1;
    Extent run;

    for (from = 0; discard_next_run(rdm, from, last, true, &run); from = run.last + 1) {
        int result = offer(rdm, rdl, run);
        if (result) {
            if (run.first) {
                take_back(rdm, rdl, (Extent){0, run.first - 1});
            }
            return refused(rdm, rdl, run, result);
        }
    }
    return 0;
}

int ram_discard_manager_register_listener(RamDiscardManager *rdm, RamDiscardListener *rdl,
                                          const MemoryRegionSection *section)
{
    machine_lock(rdm->ms);
    int result = check_listener(rdm, rdl, section);
    if (!result) {
        rdl->section = *section;
        rdm->notifying = true;
        result = offer_populated(rdm, rdl);
        rdm->notifying = false;
    }
    if (!result) {
        enlist(rdm, rdl);
    }
    machine_unlock(rdm->ms);
    return result;
}

static void dismiss(RamDiscardManager *rdm, RamDiscardListener *rdl)
{
    rdm->notifying = true;
    take_back(rdm, rdl, everything);
    rdm->notifying = false;
    delist(rdm, rdl);
}

int ram_discard_manager_unregister_listener(RamDiscardManager *rdm, RamDiscardListener *rdl)
{
    int result = 0;

    machine_lock(rdm->ms);
    if (rdl->manager && rdl->manager != rdm) {
        result = fail(EINVAL, "RAM '%s': listener '%s' is registered for RAM '%s'", rdm->mr->name,
                      name_of(rdl), rdl->manager->mr->name);
    } else if (rdl->manager) {
        result = discard_check_quiet(rdm);
        if (!result) {
            dismiss(rdm, rdl);
        }
    }
    machine_unlock(rdm->ms);
    return result;
}

/* ---- telling all ---------------------------------------------------------------------- */

int discard_offer(RamDiscardManager *rdm, Extent extent)
{
    RamDiscardListener *rdl = rdm->first;
    int result = 0;

    rdm->notifying = true;
    while (rdl && !(result = offer(rdm, rdl, extent))) {
        rdl = rdl->next;
    }
    if (result) {
        for (RamDiscardListener *had = rdl->prev; had; had = had->prev) {
            withdraw(rdm, had, extent);
        }
        result = refused(rdm, rdl, extent, result);
    }
    rdm->notifying = false;
    return result;
}

void discard_take_back(RamDiscardManager *rdm, Extent extent)
{
    rdm->notifying = true;
    for (RamDiscardListener *rdl = rdm->last; rdl; rdl = rdl->prev) {
        take_back(rdm, rdl, extent);
    }
    rdm->notifying = false;
}

void discard_dismiss_all(RamDiscardManager *rdm)
{
    while (rdm->last) {
        dismiss(rdm, rdm->last);
    }
}
