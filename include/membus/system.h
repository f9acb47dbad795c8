/* SPDX-License-Identifier: MIT */
/*
 * system.h - one machine's memory system, its owners and its locks.
 *
 * There are no globals: a MemorySystem owns a machine's RAM list, address spaces, listeners and
 * lock, and several machines live in one process.
 *
 * Two synchronisation rules cover everything:
 *  - THE MACHINE LOCK, one recursive lock per MemorySystem, serialises changes of the map and
 *    the callbacks of devices (lockless regions excepted). membus takes it itself; take it by
 *    hand to make several steps one.
 *  - RCU covers the readers. An access never waits for a change of the map, and what a reader
 *    reached stays alive until the end of its read section.
 */
#ifndef MEMBUS_SYSTEM_H
#define MEMBUS_SYSTEM_H

#include <membus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Make a machine's memory system with the root regions `system` (2^64 bytes, a container) and
 * `io` (65536 ports, unassigned: reads all ones, drops writes) and the address spaces "memory"
 * and "I/O" on them. The first one of a process starts a thread, which ends what no reader is
 * left for. Returns NULL if memory is short or no thread can be had (membus_last_error()).
 * Context: any thread.
 */
MEMBUS_EXPORT MemorySystem *memory_system_create(void);

/*
 * End a memory system; NULL is fine. Its own two address spaces (and their histories) and root
 * regions go with it. The program has destroyed its address spaces, dropped its owners, views
 * and mappings, and no thread still accesses the machine. Waits for readers (as
 * memory_system_drain()).
 *
 * Returns 0, or -EBUSY (nothing but those histories is gone) if owners other than the machine's
 * own, address spaces or views still exist; the error names one.
 * Context: no lock held, outside read sections, may block.
 */
MEMBUS_EXPORT int memory_system_destroy(MemorySystem *ms);

/*
 * Wait until everything that was removed before the call is finalised: all read sections that
 * could reach it have ended and owners whose last reference went with it have run their
 * finalisers.
 * Context: no machine lock held, outside read sections, may block.
 */
MEMBUS_EXPORT void memory_system_drain(MemorySystem *ms);

/*
 * Set the byte order that DEVICE_NATIVE_ENDIAN means; little at creation. Returns 0, -EINVAL
 * for DEVICE_NATIVE_ENDIAN itself, -EBUSY once an MMIO region was initialised.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_system_set_target_endian(MemorySystem *ms, enum device_endian endian);

/* The machine's root regions and address spaces; owned by @ms. */
MEMBUS_EXPORT MemoryRegion *get_system_memory(MemorySystem *ms);
MEMBUS_EXPORT MemoryRegion *get_system_io(MemorySystem *ms);
MEMBUS_EXPORT AddressSpace *memory_system_memory(MemorySystem *ms); /* "memory" */
MEMBUS_EXPORT AddressSpace *memory_system_io(MemorySystem *ms);     /* "I/O" */

/*
 * The machine as an owner, for regions that belong to no device. It lives as long as @ms, and
 * so must the storage of regions that it owns.
 */
MEMBUS_EXPORT MemoryOwner *memory_system_owner(MemorySystem *ms);

/*
 * Take or release the machine lock. Recursive.
 * Context: any thread; outside read sections unless the thread holds the lock already; lock may
 * block.
 */
MEMBUS_EXPORT void memory_system_lock(MemorySystem *ms);
MEMBUS_EXPORT void memory_system_unlock(MemorySystem *ms);
MEMBUS_EXPORT bool memory_system_locked(MemorySystem *ms); /* by this thread */

/*
 * Open or close an RCU read section. Nestable, cheap, never blocks. A thread that makes many
 * accesses in a row keeps one open around them; it must not stay open for ever, since removed
 * regions wait for it.
 * Context: any thread (it is registered on first use), not in signal handlers.
 */
MEMBUS_EXPORT void memory_read_lock(void);
MEMBUS_EXPORT void memory_read_unlock(void);

/*
 * Called when the last reference to an owner is gone: no view, reader, mapping or parent region
 * can reach the owner's regions any more, and they have been finalised. The callback frees the
 * storage.
 * Context: any thread, often the one that waits for readers; no lock held; it must not wait for
 * readers itself.
 */
typedef void MemoryOwnerFinalize(void *opaque);

/*
 * Make an owner (a device, a CPU, the board): every region has one. @name is copied; it is what
 * printers show. @finalize may be NULL. The caller holds the one reference. Returns NULL if
 * memory is short.
 * Context: machine lock.
 */
MEMBUS_EXPORT MemoryOwner *memory_owner_create(MemorySystem *ms, const char *name,
                                               MemoryOwnerFinalize *finalize, void *opaque);

/*
 * Take or drop a reference; NULL is fine. Regions hold references to the owners of what they
 * contain and alias, views to the owners of what they show.
 * Context: any thread; unref may run the finaliser.
 */
MEMBUS_EXPORT void memory_owner_ref(MemoryOwner *owner);
MEMBUS_EXPORT void memory_owner_unref(MemoryOwner *owner);

MEMBUS_EXPORT const char *memory_owner_name(const MemoryOwner *owner);
MEMBUS_EXPORT MemorySystem *memory_owner_system(const MemoryOwner *owner);

#ifdef __cplusplus
}
#endif
#endif
