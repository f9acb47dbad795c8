/* SPDX-License-Identifier: MIT */
/*
 * ram_discard.h - RAM that is populated in part: who manages it, and who has to know.
 *
 * A RAM region may have a RamDiscardManager. It divides the region into blocks of one size,
 * each populated (the guest may use it) or discarded (nobody should touch it, and no memory
 * should be spent on it). Whoever pins the region's pages or walks its contents - a device
 * with its own page tables, a dump, a migration - registers a RamDiscardListener for the
 * section it is interested in, or asks with the replay functions.
 *
 * Populating can be vetoed by a listener and is then rolled back; discarding cannot.
 *
 *      populate [2, 5]:  A ok   B ok   C refuses  ->  B discard, A discard; C's errno
 *
 * Guarantees:
 *  - A listener's calls nest: it is told to discard exactly what it was told is populated
 *    (with double_discard_supported: that and perhaps more around it).
 *  - From registering to unregistering a listener knows the state of its whole section:
 *    registering replays what is populated, unregistering takes it all back.
 *  - Listeners hear populate in the order of registering, discard in reverse.
 *
 * A listener's callbacks must not call functions that change the manager or its listeners; these
 * return -EBUSY there.
 */
#ifndef MEMBUS_RAM_DISCARD_H
#define MEMBUS_RAM_DISCARD_H

#include <membus/space.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct RamDiscardManager RamDiscardManager;
typedef struct RamDiscardListener RamDiscardListener;

/*
 * Told of a part of the listener's section, clipped to it, in multiples of the granularity
 * but for what the section cuts off. Context: machine lock held.
 */
typedef int (*NotifyRamPopulate)(RamDiscardListener *rdl, MemoryRegionSection *section);
typedef void (*NotifyRamDiscard)(RamDiscardListener *rdl, MemoryRegionSection *section);

struct RamDiscardListener {
    /*
     * The part is about to be populated. Returns 0, or a negative errno to refuse; it is then
     * told nothing more of this attempt.
     */
    NotifyRamPopulate notify_populate;
    /* The part is discarded: its memory may be gone already. */
    NotifyRamDiscard notify_discard;
    bool double_discard_supported; /* notify_discard may span what is discarded already */
    const char *name;              /* for messages; may be NULL */

    /* private */
    MemoryRegionSection section;
    RamDiscardManager *manager; /* NULL: not registered */
    RamDiscardListener *prev, *next;
};

/* Fill in @rdl, not registered. Context: any thread. */
MEMBUS_EXPORT void ram_discard_listener_init(RamDiscardListener *rdl, NotifyRamPopulate populate_fn,
                                             NotifyRamDiscard discard_fn,
                                             bool double_discard_supported);

/* ---- For those who must know ------------------------------------------------- */

/*
 * The manager of @mr; NULL: it has none, and all of it is populated. Lives as long as @mr is
 * mapped. Context: machine lock held.
 */
MEMBUS_EXPORT RamDiscardManager *memory_region_get_ram_discard_manager(const MemoryRegion *mr);
MEMBUS_EXPORT bool memory_region_has_ram_discard_manager(const MemoryRegion *mr);

/* Bytes of a block of @mr, which is @rdm's; a power of two. Context: any thread. */
MEMBUS_EXPORT uint64_t ram_discard_manager_get_min_granularity(const RamDiscardManager *rdm,
                                                               const MemoryRegion *mr);

/* Whether all of @section, of @rdm's region, is populated. Context: machine lock. */
MEMBUS_EXPORT bool ram_discard_manager_is_populated(const RamDiscardManager *rdm,
                                                    const MemoryRegionSection *section);

/* Called for one part of a section; nonzero ends the replay. Context: machine lock held. */
typedef int (*ReplayRamDiscardState)(MemoryRegionSection *section, void *opaque);

/*
 * Call @replay_fn for each populated (discarded) part of @section, of @rdm's region, in
 * ascending order, adjacent blocks as one. Returns what the last call returned, 0 without any.
 * @replay_fn must not populate or discard.
 * Context: machine lock.
 */
MEMBUS_EXPORT int ram_discard_manager_replay_populated(RamDiscardManager *rdm,
                                                       const MemoryRegionSection *section,
                                                       ReplayRamDiscardState replay_fn,
                                                       void *opaque);
MEMBUS_EXPORT int ram_discard_manager_replay_discarded(RamDiscardManager *rdm,
                                                       const MemoryRegionSection *section,
                                                       ReplayRamDiscardState replay_fn,
                                                       void *opaque);

/*
 * Register @rdl for @section, which is copied, and tell it of each populated part. The storage
 * of @rdl is the caller's until it is unregistered or @rdm ends.
 * Returns 0; -EINVAL if @section is not of @rdm's region or empty, or a callback is missing;
 * -EBUSY if @rdl is registered, or from a listener's callback; or the errno with which @rdl
 * refused a part: those that it took are discarded again, and it is not registered.
 * Context: machine lock.
 */
MEMBUS_EXPORT int ram_discard_manager_register_listener(RamDiscardManager *rdm,
                                                        RamDiscardListener *rdl,
                                                        const MemoryRegionSection *section);

/*
 * Discard all that @rdl holds as populated and forget it. 0 too if @rdl is not registered;
 * -EINVAL if it is with another manager; -EBUSY from a listener's callback.
 * Context: machine lock.
 */
MEMBUS_EXPORT int ram_discard_manager_unregister_listener(RamDiscardManager *rdm,
                                                          RamDiscardListener *rdl);

/* ---- For those who manage ------------------------------------------------------ */

/*
 * Make a manager of @mr with blocks of @granularity bytes, all discarded. @mr is kept alive
 * until ram_discard_manager_destroy(). Returns NULL: EINVAL if @mr is no RAM with host memory, is
 * resizeable, @granularity is no power of two or @mr's size no multiple of it; ENOMEM.
 * Context: machine lock.
 */
MEMBUS_EXPORT RamDiscardManager *ram_discard_manager_create(MemoryRegion *mr, hwaddr granularity,
                                                            Error **errp);

/*
 * End @rdm; NULL is fine. Listeners that are left are told to discard what they hold and are
 * then not registered; its region has no manager any more. Not from a listener's callback.
 * Context: machine lock.
 */
MEMBUS_EXPORT void ram_discard_manager_destroy(RamDiscardManager *rdm);

/*
 * Make @rdm the manager of @mr before @mr is mapped; NULL: none any more. -EINVAL if @rdm was made
 * of another region, -EBUSY if @mr is in a container, is shown by an alias or an address space, or
 * has a manager.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_region_set_ram_discard_manager(MemoryRegion *mr, RamDiscardManager *rdm);

/*
 * Populate the @size bytes at @offset of @rdm's region, multiples of the granularity and all
 * discarded so far. -EINVAL otherwise, -EBUSY from a listener's callback, or the errno of the
 * listener that refused; the others have then been told to discard it.
 * Context: machine lock.
 */
MEMBUS_EXPORT int ram_discard_manager_populate(RamDiscardManager *rdm, hwaddr offset, hwaddr size,
                                               Error **errp);

/*
 * Discard what is populated of the @size bytes at @offset, multiples of the granularity. Giving
 * the memory back is the caller's (ram_block_discard_range()). -EINVAL, -EBUSY as above.
 * Context: machine lock.
 */
MEMBUS_EXPORT int ram_discard_manager_discard(RamDiscardManager *rdm, hwaddr offset, hwaddr size,
                                              Error **errp);

/* Bytes that are populated. Context: machine lock. */
MEMBUS_EXPORT hwaddr ram_discard_manager_populated_size(const RamDiscardManager *rdm);

#ifdef __cplusplus
}
#endif
#endif
