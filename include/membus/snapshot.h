/* SPDX-License-Identifier: MIT */
/*
 * snapshot.h - put a machine's RAM and map back to what they were: for fuzzers and debuggers.
 *
 * A snapshot is taken in the time of what changed since the one before it and a glance at each
 * RAM block, and restored in the time of what changed since it was taken, whatever the size of RAM
 * and the number of regions.
 * Snapshots nest: each is taken on top of those that there are, any can be restored, and any
 * can be freed.
 *
 * What comes back are the contents of RAM, ROM and ROM devices, the regions' containers,
 * addresses, sizes and other attributes (region.h), and with them all views; listeners are told
 * in one commit. Who logs dirty pages stays as it is, and finds the restored pages dirty.
 * Not part of it: device memory (memory_region_init_ram_device_ptr), the state of devices,
 * address spaces, listeners. Regions that were taken out of the map since the take are kept alive
 * and come back; those that were put in are taken out again. Memory devices (memory_device.h) and
 * their area are the exception: they stay where they are now, plugged or unplugged, with the
 * blocks of a virtio-mem; only what is in their memory goes back.
 *
 * Regions that were edited since the take are held, with their owners, until the snapshot is
 * restored or freed: no finaliser runs before. The EventNotifiers of their ioeventfds, which may
 * come back, have to live as long.
 *
 * How RAM is kept:
 *   on write  a page is copied before its first write. All writes through membus are seen.
 *   eagerly   all pages with anything in them are copied at the take, on top of another such
 *             snapshot those that changed. Chosen where a listener lets the guest write past
 *             membus and reports it later (it has log_sync, log_sync_global or log_global_start),
 *             or by MEMORY_SNAPSHOT_EAGER.
 * Pages are RAM_PAGE_SIZE bytes. Copies stay with a snapshot after it was restored, so that
 * a page which is written in each round is copied in the first.
 *
 * Pointers into RAM. Memory that is mapped for writing (address_space_map(), a cache) is kept
 * as long as it is mapped. Before a write through a pointer from elsewhere
 * (memory_region_get_ram_ptr()) call memory_region_prepare_write(), after it
 * memory_region_set_dirty(). A page that was reported changed and had not been kept, or for whose
 * copy memory was short (the write itself goes on), makes a restore fail with -ENODATA.
 *
 * Snapshots take one of the clients of dirty.h while there are any.
 */
#ifndef MEMBUS_SNAPSHOT_H
#define MEMBUS_SNAPSHOT_H

#include <membus/region.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct MemorySnapshot MemorySnapshot;

#define MEMORY_SNAPSHOT_EAGER (1U << 0)

/*
 * Take a snapshot of @ms. The machine is stopped: no access is under way in another thread (else
 * the snapshot may have a part of it). @flags: MEMORY_SNAPSHOT_EAGER or 0. Waits for readers.
 * NULL: -EINVAL for other flags, -EDEADLK from within a read section or with the machine lock
 * held, -ENOSPC if no dirty-memory client is free, a listener's refusal to log, -ENOMEM.
 * Context: no machine lock held, outside read sections, may block.
 */
MEMBUS_EXPORT MemorySnapshot *memory_snapshot_take(MemorySystem *ms, unsigned flags, Error **errp);

/*
 * Put the machine, which is stopped, back to what it was when @snapshot was taken. @snapshot
 * stays, to be restored again; later ones end: all that can be done with them is to free them.
 * -EINVAL if @snapshot has ended so; -ENODATA if a page is not known any more (see above);
 * -EBUSY in a transaction or from a listener's or a notifier's callback; -ENOMEM. On an error
 * nothing has changed.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_snapshot_restore(MemorySnapshot *snapshot, Error **errp);

/*
 * Free @snapshot; the others can be restored as before. NULL is fine. All have to be freed before
 * memory_system_destroy(), but for those that have ended. With the last one logging ends; from
 * within a transaction or a callback it goes on until the last one is freed another time. What a
 * callback frees while one is being taken or restored goes when that is done.
 * Context: machine lock.
 */
MEMBUS_EXPORT void memory_snapshot_free(MemorySnapshot *snapshot);

/* Whether @snapshot can be restored no more, since an older one was. Context: any thread. */
MEMBUS_EXPORT bool memory_snapshot_has_ended(const MemorySnapshot *snapshot);
/* How it keeps RAM: "on write" or "eager". Context: any thread. */
MEMBUS_EXPORT const char *memory_snapshot_method(const MemorySnapshot *snapshot);

/*
 * Keep [@addr, @addr + @size - 1] of @mr, which is about to be written to past membus. What is not
 * in @mr is left out. Context: any thread that holds @mr alive.
 */
MEMBUS_EXPORT void memory_region_prepare_write(MemoryRegion *mr, hwaddr addr, hwaddr size);

#ifdef __cplusplus
}
#endif
#endif
