/* SPDX-License-Identifier: MIT */
/*
 * RAM that is populated in part: the blocks. The state is one bit a block; what anybody is told
 * comes from runs of equal bits, cut to the range at hand and to the section asked for:
 *
 *      blocks       . . # # # . # # . .        # populated
 *      range          [             ]
 *      section              [     ]
 *      told                 ##  ##
 */
#include "map/ram_discard.h"
#include "base/bitmap.h"
#include "base/error.h"
#include "base/range.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- ranges, sections, runs --------------------------------------------------------- */

bool discard_extent(const RamDiscardManager *rdm, const MemoryRegionSection *section,
                    Extent *extent)
{
    hwaddr last = rdm->nr_blocks * rdm->granularity - 1, first = section->offset_within_region;

    if (section->mr != rdm->mr || section->size == 0 || first > last) {
        return false;
    }
    *extent = (Extent){first, hwaddr_min(hwaddr_add_clipped(first, section->size - 1), last)};
    return true;
}

bool discard_clip(const RamDiscardManager *rdm, const MemoryRegionSection *section, Extent *extent)
{
    Extent shown;

    if (!discard_extent(rdm, section, &shown) ||
        !ranges_overlap(shown.first, shown.last, extent->first, extent->last)) {
        return false;
    }
    extent->first = hwaddr_max(shown.first, extent->first);
    extent->last = hwaddr_min(shown.last, extent->last);
    return true;
}

MemoryRegionSection discard_part(const MemoryRegionSection *section, Extent extent)
{
    MemoryRegionSection part = *section;

    part.fv = NULL; /* the view may be gone */
    part.offset_within_region = extent.first;
    part.offset_within_address_space += extent.first - section->offset_within_region;
    part.size = extent.last - extent.first + 1;
    part.last_within_address_space = part.offset_within_address_space + (part.size - 1);
    return part;
}

bool discard_next_run(const RamDiscardManager *rdm, hwaddr from, hwaddr last, bool populated,
                      Extent *run)
{
    if (from > last) {
        return false;
    }
    size_t end = (size_t)(last / rdm->granularity);
    size_t first = bitmap_find(rdm->populated, (size_t)(from / rdm->granularity), end, populated);
    if (first > end) {
        return false;
    }
    size_t stop = bitmap_find(rdm->populated, first, end, !populated);
    run->first = hwaddr_max(first * rdm->granularity, from);
    run->last = hwaddr_min(stop * rdm->granularity - 1, last);
    return true;
}

int discard_replay(const RamDiscardManager *rdm, const MemoryRegionSection *section, Extent extent,
                   bool populated, ReplayRamDiscardState visit, void *opaque)
{
    hwaddr from;
    Extent run;
    int result = 0;

    if (!discard_clip(rdm, section, &extent)) {
        return 0;
    }
    for (from = extent.first; !result && discard_next_run(rdm, from, extent.last, populated, &run);
         from = run.last + 1) {
        MemoryRegionSection part = discard_part(section, run);
        result = visit(&part, opaque);
    }
    return result;
}

static int replay_locked(RamDiscardManager *rdm, const MemoryRegionSection *section, bool populated,
                         ReplayRamDiscardState visit, void *opaque)
{
    machine_lock(rdm->ms);
    bool outer = rdm->notifying;
    rdm->notifying = true;
    int result = discard_replay(rdm, section, (Extent){0, UINT64_MAX}, populated, visit, opaque);
    rdm->notifying = outer;
    machine_unlock(rdm->ms);
    return result;
}

int ram_discard_manager_replay_populated(RamDiscardManager *rdm, const MemoryRegionSection *section,
                                         ReplayRamDiscardState replay_fn, void *opaque)
{
    return replay_locked(rdm, section, true, replay_fn, opaque);
}

int ram_discard_manager_replay_discarded(RamDiscardManager *rdm, const MemoryRegionSection *section,
                                         ReplayRamDiscardState replay_fn, void *opaque)
{
    return replay_locked(rdm, section, false, replay_fn, opaque);
}

bool ram_discard_manager_is_populated(const RamDiscardManager *rdm,
                                      const MemoryRegionSection *section)
{
    Extent extent, run;

    machine_lock(rdm->ms);
    bool populated = discard_extent(rdm, section, &extent) &&
                     !discard_next_run(rdm, extent.first, extent.last, false, &run);
    machine_unlock(rdm->ms);
    return populated;
}

uint64_t ram_discard_manager_get_min_granularity(const RamDiscardManager *rdm,
                                                 const MemoryRegion *mr)
{
    return mr == rdm->mr ? rdm->granularity : 0;
}

bool region_next_populated(MemoryRegion *mr, hwaddr *first, hwaddr *last)
{
    bool found = true;

    if (!__atomic_load_n(&mr->discard_manager, __ATOMIC_RELAXED)) {
        return true;
    }
    machine_lock(region_system(mr));
    if (mr->discard_manager) { /* still */
        Extent run;
        found = discard_next_run(mr->discard_manager, *first, *last, true, &run);
        if (found) {
            *first = run.first;
            *last = run.last;
        }
    }
    machine_unlock(region_system(mr));
    return found;
}

hwaddr ram_discard_manager_populated_size(const RamDiscardManager *rdm)
{
    machine_lock(rdm->ms);
    hwaddr size = rdm->nr_populated * rdm->granularity;
    machine_unlock(rdm->ms);
    return size;
}

/* ---- blocks come and go ------------------------------------------------------------- */

int discard_check_quiet(const RamDiscardManager *rdm)
{
    return rdm->notifying ? fail(EBUSY,
                                 "RAM '%s': what is populated, and who listens, cannot be changed "
                                 "from a listener's callback",
                                 rdm->mr->name)
                          : 0;
}

static int check_range(const RamDiscardManager *rdm, hwaddr offset, hwaddr size, Extent *extent)
{
    hwaddr all = rdm->nr_blocks * rdm->granularity;

    if (size == 0 || offset % rdm->granularity || size % rdm->granularity || offset > all ||
        size > all - offset) {
        return fail(EINVAL,
                    "RAM '%s': 0x%" PRIx64 " bytes at 0x%" PRIx64
                    " are not whole blocks of 0x%" PRIx64 " bytes within its 0x%" PRIx64,
                    rdm->mr->name, size, offset, rdm->granularity, all);
    }
    *extent = (Extent){offset, offset + (size - 1)};
    return discard_check_quiet(rdm);
}

int discard_check(const RamDiscardManager *rdm, hwaddr offset, hwaddr size)
{
    Extent extent;

    return check_range(rdm, offset, size, &extent);
}

/* All of @extent is (not) @populated from now on; @changed blocks were not so before. */
static void mark(RamDiscardManager *rdm, Extent extent, bool populated, size_t changed)
{
    bitmap_assign(rdm->populated, (size_t)(extent.first / rdm->granularity),
                  (size_t)(extent.last / rdm->granularity), populated);
    rdm->nr_populated = populated ? rdm->nr_populated + changed : rdm->nr_populated - changed;
}

static int populate(RamDiscardManager *rdm, hwaddr offset, hwaddr size)
{
    Extent extent, run;
    int result = check_range(rdm, offset, size, &extent);

    if (!result && discard_next_run(rdm, extent.first, extent.last, true, &run)) {
        result = fail(EINVAL, "RAM '%s': 0x%" PRIx64 "-0x%" PRIx64 " is populated already",
                      rdm->mr->name, run.first, run.last);
    }
    if (!result) {
        result = discard_offer(rdm, extent);
    }
    if (!result) {
        mark(rdm, extent, true, (size_t)(size / rdm->granularity));
    }
    return result;
}

static size_t count_populated(const RamDiscardManager *rdm, Extent extent)
{
    Extent run;
    hwaddr from, bytes = 0;

    for (from = extent.first; discard_next_run(rdm, from, extent.last, true, &run);
         from = run.last + 1) {
        bytes += run.last - run.first + 1;
    }
    return (size_t)(bytes / rdm->granularity);
}

static int discard(RamDiscardManager *rdm, hwaddr offset, hwaddr size)
{
    Extent extent;
    int result = check_range(rdm, offset, size, &extent);

    if (!result) {
        discard_take_back(rdm, extent);
        mark(rdm, extent, false, count_populated(rdm, extent));
    }
    return result;
}

int ram_discard_manager_populate(RamDiscardManager *rdm, hwaddr offset, hwaddr size, Error **errp)
{
    machine_lock(rdm->ms);
    int result = populate(rdm, offset, size);
    machine_unlock(rdm->ms);
    return error_pass(errp, result);
}

int ram_discard_manager_discard(RamDiscardManager *rdm, hwaddr offset, hwaddr size, Error **errp)
{
    machine_lock(rdm->ms);
    int result = discard(rdm, offset, size);
    machine_unlock(rdm->ms);
    return error_pass(errp, result);
}

/* ---- life --------------------------------------------------------------------------- */

static int check_region(const MemoryRegion *mr, hwaddr granularity)
{
    if (!mr || !mr->name || !mr->ram || !mr->ram_block) {
        return fail(EINVAL, "region '%s' has no host memory: it cannot be populated in part",
                    mr && mr->name ? mr->name : "");
    }
    if (mr->ram_block->flags & RAM_RESIZEABLE) {
        return fail(EINVAL, "RAM '%s' is resizeable: it cannot be populated in part", mr->name);
    }
    if (granularity == 0 || (granularity & (granularity - 1)) || mr->state.size % granularity) {
        return fail(EINVAL,
                    "RAM '%s': its 0x%" PRIx64 " bytes cannot be managed in blocks of 0x%" PRIx64
                    " (a power of two that divides them)",
                    mr->name, mr->state.size, granularity);
    }
    return 0;
}

RamDiscardManager *ram_discard_manager_create(MemoryRegion *mr, hwaddr granularity, Error **errp)
{
    if (check_region(mr, granularity)) {
        error_pass(errp, -EINVAL);
        return NULL;
    }
    size_t nr_blocks = (size_t)(mr->state.size / granularity);
    RamDiscardManager *rdm = malloc(sizeof *rdm);
    uint64_t *bits = calloc(BITMAP_WORDS(nr_blocks), sizeof *bits);

    if (!rdm || !bits) {
        free(rdm);
        free(bits);
        error_pass(errp, fail_no_memory("a RAM discard manager"));
        return NULL;
    }
    *rdm = (RamDiscardManager){.ms = region_system(mr),
                               .mr = mr,
                               .granularity = granularity,
                               .nr_blocks = nr_blocks,
                               .populated = bits};
    memory_region_ref(mr);
    return rdm;
}

void ram_discard_manager_destroy(RamDiscardManager *rdm)
{
    if (!rdm) {
        return;
    }
    MemorySystem *ms = rdm->ms;

    machine_lock(ms);
    discard_dismiss_all(rdm);
    if (rdm->mr->discard_manager == rdm) {
        __atomic_store_n(&rdm->mr->discard_manager, NULL, __ATOMIC_RELAXED);
    }
    memory_region_unref(rdm->mr);
    free(rdm->populated);
    free(rdm);
    machine_unlock(ms);
}

int memory_region_set_ram_discard_manager(MemoryRegion *mr, RamDiscardManager *rdm)
{
    MemorySystem *ms = region_system(mr);
    int result = 0;

    machine_lock(ms);
    if (rdm && rdm->mr != mr) {
        result = fail(EINVAL, "RAM '%s': the discard manager is that of RAM '%s'", mr->name,
                      rdm->mr->name);
    } else if (mr->state.container) {
        result = fail(EBUSY, "RAM '%s' is in '%s': its discard manager cannot change", mr->name,
                      mr->state.container->name);
    } else if (mr->aliases || mr->spaces) {
        result = fail(EBUSY, "RAM '%s' is mapped through an %s: its discard manager cannot change",
                      mr->name, mr->aliases ? "alias" : "address space");
    } else if (rdm && mr->discard_manager) {
        result = fail(EBUSY, "RAM '%s' has a discard manager already", mr->name);
    } else {
        __atomic_store_n(&mr->discard_manager, rdm, __ATOMIC_RELAXED);
    }
    machine_unlock(ms);
    return result;
}

RamDiscardManager *memory_region_get_ram_discard_manager(const MemoryRegion *mr)
{
    return mr->discard_manager;
}

bool memory_region_has_ram_discard_manager(const MemoryRegion *mr)
{
    return mr->discard_manager != NULL;
}
