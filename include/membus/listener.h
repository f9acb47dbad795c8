/* SPDX-License-Identifier: MIT */
/*
 * listener.h - be told of every change of an address space's flat view.
 *
 * One commit that changes what an address space shows calls, in this order:
 *   for each changed address space:  prepare (any may refuse: then cancel, and nothing changes)
 *   begin
 *   for each changed address space:
 *     for each range that went, by ascending address:  coalesced_io_del, region_del
 *     for each range of the new view, ascending:
 *                                  an unchanged one:   region_nop, log_start, log_stop
 *                                  a new one:          region_add, log_start, coalesced_io_add
 *     (the new view becomes visible to readers)
 *     eventfd_del, eventfd_add
 *   commit
 * Listeners hear adds and starts by ascending priority, dels and stops by descending priority.
 * A range that changed in any way but its dirty-log mask is a del and an add. region_nop is
 * called only for listeners that have it, since it walks the whole view; log_start and log_stop
 * come for ranges whose mask changed.
 *
 * Every callback may be NULL. Context of all: machine lock held by membus; they must not edit
 * the map (such a call fails with -EBUSY), sections live until they return.
 */
#ifndef MEMBUS_LISTENER_H
#define MEMBUS_LISTENER_H

#include <membus/space.h>

#ifdef __cplusplus
extern "C" {
#endif

struct MemoryListener {
    /*
     * The view of the listener's address space is going to be @view instead of @old: do what may
     * fail. false refuses, with error_set(): the commit fails and the map stays as it is. cancel
     * tells those who had agreed that another refused. At registration @old is empty, and a
     * refusal that of memory_listener_register(); at unregistration @view is, and nobody can
     * refuse: commit comes whatever is returned.
     */
    bool (*prepare)(MemoryListener *listener, const FlatView *old, const FlatView *view,
                    Error **errp);
    void (*cancel)(MemoryListener *listener);
    void (*begin)(MemoryListener *listener);
    void (*commit)(MemoryListener *listener);
    void (*region_add)(MemoryListener *listener, MemoryRegionSection *section);
    void (*region_del)(MemoryListener *listener, MemoryRegionSection *section);
    void (*region_nop)(MemoryListener *listener, MemoryRegionSection *section);
    /*
     * The section's dirty-log mask went from @old_mask to @new_mask and gained (lost) bits.
     * Marks that log_stop or region_del bring in still count for who loses its bit.
     */
    void (*log_start)(MemoryListener *listener, MemoryRegionSection *section, int old_mask,
                      int new_mask);
    void (*log_stop)(MemoryListener *listener, MemoryRegionSection *section, int old_mask,
                     int new_mask);
    /*
     * Bring in what is known of writes past membus (dirty.h): those to the section, which is
     * logged; all of them, where log_sync is NULL.
     */
    void (*log_sync)(MemoryListener *listener, MemoryRegionSection *section);
    void (*log_sync_global)(MemoryListener *listener, bool last_stage);
    /*
     * A client took marks of the section and will read its memory: log afresh the writes that
     * have been brought in. Those that have not stay for the next time: other clients have yet
     * to hear of them.
     */
    void (*log_clear)(MemoryListener *listener, MemoryRegionSection *section);
    /* All RAM is going to be logged; is not any more. false refuses, with error_set(). */
    bool (*log_global_start)(MemoryListener *listener, Error **errp);
    void (*log_global_stop)(MemoryListener *listener);
    void (*log_global_after_sync)(MemoryListener *listener);
    /* The section is the notifier's place: its address and size (0: any size). */
    void (*eventfd_add)(MemoryListener *listener, MemoryRegionSection *section, bool match_data,
                        uint64_t data, EventNotifier *e);
    void (*eventfd_del)(MemoryListener *listener, MemoryRegionSection *section, bool match_data,
                        uint64_t data, EventNotifier *e);
    void (*coalesced_io_add)(MemoryListener *listener, MemoryRegionSection *section, hwaddr addr,
                             hwaddr len);
    void (*coalesced_io_del)(MemoryListener *listener, MemoryRegionSection *section, hwaddr addr,
                             hwaddr len);

    unsigned priority; /* see above */
    const char *name;  /* for messages; may be NULL */

    /* private */
    AddressSpace *address_space;
    MemoryListener *prev, *next;
    bool prepared; /* agreed to the commit at work */
};

#define MEMORY_LISTENER_PRIORITY_MIN 0
#define MEMORY_LISTENER_PRIORITY_ACCEL 10
#define MEMORY_LISTENER_PRIORITY_DEV_BACKEND 10

/*
 * Bind @listener to @as and replay the current view to it: prepare, begin, region_add, log_start,
 * coalesced_io_add for every range, eventfd_add, commit; before all that log_global_start, if
 * all RAM is being logged. The storage is the caller's until unregistration.
 * -EBUSY if it is registered already or from a listener's callback, or what prepare or
 * log_global_start refused with.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_listener_register(MemoryListener *listener, AddressSpace *as);

/*
 * Take the view back from @listener (prepare, begin, eventfd_del, then log_stop, coalesced_io_del
 * and region_del for every range, commit, log_global_stop) and unbind it. Does nothing if it is
 * not registered.
 * -EBUSY as above.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_listener_unregister(MemoryListener *listener);

#ifdef __cplusplus
}
#endif
#endif
