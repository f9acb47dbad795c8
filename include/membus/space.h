/* SPDX-License-Identifier: MIT */
/*
 * space.h - address spaces and the flat views they resolve to.
 *
 * An address space is a root region as one initiator sees it. Its flat view is the sorted list
 * of non-overlapping ranges that the tree resolves to. A view is a value: it never changes, so
 * hold one as long as you like, look into it and compare it with another; what it shows stays
 * alive meanwhile.
 */
#ifndef MEMBUS_SPACE_H
#define MEMBUS_SPACE_H

#include <membus/region.h>
#include <pthread.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * An address space. Private: use the functions; the layout is here so that it can be embedded.
 */
struct AddressSpace {
    FlatView *view;   /* RCU; NULL before init */
    uint64_t view_id; /* that view's number; see access/fast.h */
    MemorySystem *ms;
    char *name;
    MemoryRegion *root;
    struct ViewLineage *lineage,
        *next_lineage;           /* whose view it shows; will show after the commit */
    AddressSpace *lineage_link;  /* spaces that share the lineage */
    AddressSpace **lineage_back; /* what points here */
    AddressSpace *root_link;     /* spaces with the same root */
    AddressSpace *prev, *next;   /* all of the machine */
    MemoryListener *first_listener, *last_listener; /* ascending priority */
    bool resolve;                                   /* the root may resolve elsewhere now */
    FlatView **history;                             /* ring of held views, newest at history_head */
    unsigned history_size, history_head;
    pthread_mutex_t maps_lock;        /* guards the rest */
    IntervalNode *maps;               /* active mappings, by host address */
    size_t bounce_used, bounce_limit; /* bytes */
    struct MemoryMapClient *map_clients, *woken_clients;
};

/* A part of a flat view. */
struct MemoryRegionSection {
    MemoryRegion *mr;                   /* who answers; NULL: nobody */
    FlatView *fv;                       /* the view; NULL where there is none */
    hwaddr offset_within_region;        /* of the first byte */
    hwaddr offset_within_address_space; /* the first byte */
    hwaddr last_within_address_space;   /* the last byte */
    hwaddr size;                        /* in bytes; UINT64_MAX also stands for 2^64 */
    bool romd;                          /* ROM device in romd mode */
    bool readonly;
    bool nonvolatile;
    bool unmergeable;
    uint8_t dirty_log_mask;
};

/*
 * Make an address space of @root, whose machine it joins. @name is copied; names need not be
 * unique. The storage is the caller's until address_space_destroy and a drain. Within a
 * transaction the space shows nothing until the commit. Returns 0, -EINVAL for a NULL argument,
 * -ENOMEM, -ELOOP, or -EBUSY from a listener's callback.
 * Context: machine lock.
 */
MEMBUS_EXPORT int address_space_init(AddressSpace *as, MemoryRegion *root, const char *name);

/*
 * End an address space: listeners still bound to it are unregistered, its history is dropped.
 * Accesses that are under way may still use the old view; free @as only after
 * memory_system_drain().
 * -EBUSY if mappings (address_space_map) are still active.
 * Context: machine lock.
 */
MEMBUS_EXPORT int address_space_destroy(AddressSpace *as);

MEMBUS_EXPORT const char *address_space_name(const AddressSpace *as);
MEMBUS_EXPORT MemoryRegion *address_space_root(const AddressSpace *as);
MEMBUS_EXPORT MemorySystem *address_space_system(const AddressSpace *as);

/*
 * Visit the machine's address spaces, oldest first, until @visit returns true. Context: machine
 * lock.
 */
MEMBUS_EXPORT bool
memory_system_for_each_address_space(MemorySystem *ms,
                                     bool (*visit)(AddressSpace *as, void *opaque), void *opaque);

/*
 * The lowest range of the flat view of @mr's tree that overlaps [@addr, @addr + @size - 1]
 * (offsets in
 * @mr), clipped to it, with a reference held on its region: memory_region_unref(section.mr). mr
 * NULL and size 0 if nothing is there, or if no address space has the top of @mr's tree as its
 * root.
 * Context: any thread.
 */
MEMBUS_EXPORT MemoryRegionSection memory_region_find(MemoryRegion *mr, hwaddr addr, hwaddr size);

/* ---- Views ------------------------------------------------------------------ */

/* Hold @as's current view; release with flatview_unref. Context: any thread. */
MEMBUS_EXPORT FlatView *address_space_get_flatview(AddressSpace *as);
/* Hold or release a view. unref accepts NULL. Context: any thread. */
MEMBUS_EXPORT void flatview_ref(FlatView *view);
MEMBUS_EXPORT void flatview_unref(FlatView *view);

/*
 * The root that the view was rendered from (after resolving), NULL for the empty view. Two
 * address spaces that resolve to the same root share one view: compare the FlatView pointers.
 */
MEMBUS_EXPORT MemoryRegion *flatview_root(const FlatView *view);
/*
 * A number that only this view has in the process. Among the views of one root later ones have
 * higher numbers.
 */
MEMBUS_EXPORT uint64_t flatview_id(const FlatView *view);
/* When the view was published, CLOCK_MONOTONIC in ns; 0 where no history was being kept. */
MEMBUS_EXPORT uint64_t flatview_time(const FlatView *view);

/*
 * The range that covers @addr; the first range that ends at @addr or above. Returns false
 * (section zeroed) if there is none. @section borrows from @view.
 * Context: @view held, or RCU reader.
 */
MEMBUS_EXPORT bool flatview_lookup(const FlatView *view, hwaddr addr, MemoryRegionSection *section);
MEMBUS_EXPORT bool flatview_next(const FlatView *view, hwaddr addr, MemoryRegionSection *section);

/*
 * One difference between two views: @before or @after is NULL for a range that appeared or
 * vanished.
 */
typedef void FlatViewDiffFn(const MemoryRegionSection *before, const MemoryRegionSection *after,
                            void *opaque);

/*
 * Call @fn for every range of @a that @b has not, every one of @b that @a has not (both whole,
 * ascending by first address), and once with both for a range that differs in its dirty-log
 * mask only. Takes time in proportion to what differs if both come from one address space.
 * Context: both views held.
 */
MEMBUS_EXPORT void flatview_diff(const FlatView *a, const FlatView *b, FlatViewDiffFn *fn,
                                 void *opaque);

/* Whether both show the same. */
MEMBUS_EXPORT bool flatview_equal(const FlatView *a, const FlatView *b);

/*
 * Render @as's tree afresh, apart from the incremental views: for tests and doubts. To be
 * released with flatview_unref. NULL if memory is short.
 * Context: machine lock, outside transactions.
 */
MEMBUS_EXPORT FlatView *address_space_render(AddressSpace *as);

/*
 * Keep the last @views views of @as, the current one included; 0 ends it. -ENOMEM.
 * Context: machine lock.
 */
MEMBUS_EXPORT int address_space_set_history(AddressSpace *as, unsigned views);
/*
 * Hold the view that @as showed @back changes of its view ago (0: now); NULL if it is not kept.
 * Context: machine lock.
 */
MEMBUS_EXPORT FlatView *address_space_get_history(AddressSpace *as, unsigned back);

#ifdef __cplusplus
}
#endif
#endif
