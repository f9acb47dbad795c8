/* SPDX-License-Identifier: MIT */
/* ram_discard.h - the two halves of a RamDiscardManager: its blocks and its listeners. */
#ifndef MAP_RAM_DISCARD_H
#define MAP_RAM_DISCARD_H

#include "map/system.h"

#include <membus/ram_discard.h>

struct RamDiscardManager {
    MemorySystem *ms;
    MemoryRegion *mr;   /* a reference is held */
    hwaddr granularity; /* bytes of a block */
    size_t nr_blocks, nr_populated;
    uint64_t *populated; /* a bit per block */
    RamDiscardListener *first, *last;
    bool notifying;
};

/* A range of bytes of the region. */
typedef struct Extent {
    hwaddr first, last;
} Extent;

/* ---- ram_discard.c: blocks. Context of all: machine lock held ------------------------ */

/* What @section shows of @rdm's region; false if nothing. */
bool discard_extent(const RamDiscardManager *rdm, const MemoryRegionSection *section,
                    Extent *extent);

/* Cut @extent to @section; false if nothing is left. */
bool discard_clip(const RamDiscardManager *rdm, const MemoryRegionSection *section, Extent *extent);

/* The part of @section that is @extent. */
MemoryRegionSection discard_part(const MemoryRegionSection *section, Extent extent);

/*
 * The first run of blocks from @from on that are (not) @populated, cut to [@from, @last]; false if
 * there is none.
 */
bool discard_next_run(const RamDiscardManager *rdm, hwaddr from, hwaddr last, bool populated,
                      Extent *run);

/* Visit the parts of @section that lie in @extent and are (not) @populated. */
int discard_replay(const RamDiscardManager *rdm, const MemoryRegionSection *section, Extent extent,
                   bool populated, ReplayRamDiscardState visit, void *opaque);

/*
 * Cut the bytes [*@first, *@last] of @mr to the first run in them that is populated; false: none
 * is. Without a manager all is populated, and no lock is taken. Context: machine lock.
 */
bool region_next_populated(MemoryRegion *mr, hwaddr *first, hwaddr *last);

/* -EBUSY if somebody is being told of something. */
int discard_check_quiet(const RamDiscardManager *rdm);

/* Whether these blocks can be changed now: as ram_discard_manager_discard(). */
int discard_check(const RamDiscardManager *rdm, hwaddr offset, hwaddr size);

/* ---- discard_listener.c: listeners. Context: as above ----------------------------------- */

/* Offer @extent, now discarded, to all listeners in order; on a refusal none has it. */
int discard_offer(RamDiscardManager *rdm, Extent extent);

/* Take what of @extent is populated from all listeners, in reverse. */
void discard_take_back(RamDiscardManager *rdm, Extent extent);

/* Take everything from all listeners and forget them. */
void discard_dismiss_all(RamDiscardManager *rdm);

#endif
