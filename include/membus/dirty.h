/* SPDX-License-Identifier: MIT */
/*
 * dirty.h - which pages of RAM were written, for several clients at once.
 *
 * A client (the display, a code cache, migration, a snapshot, a recorder ...) asks for logging
 * of a region (memory_region_set_log(), region.h) or of all RAM (memory_global_dirty_log_start()).
 * From then on every write through membus marks its pages (RAM_PAGE_SIZE bytes each) for
 * that client: stores, transfers, unmap, caches, write_rom. So do listeners that let a guest
 * write without membus (KVM), when they are asked to (log_sync), with memory_region_set_dirty()
 * or ram_block_merge_dirty(). A write through a pointer that the program has from elsewhere is
 * for the program to tell: memory_region_set_dirty() after it.
 *
 * A client takes what is dirty as an epoch and then, when what it did with the pages has
 * succeeded, commits it, or rolls it back: then the pages are dirty again beside those written
 * since. Writers may go on all the while: a page is marked after it was written, so who takes a
 * mark and reads the page has what was written, or finds the page in the next epoch.
 *
 * Where no client logs, writes cost nothing more. Marks are per region, so what is written
 * through any alias or address space counts.
 */
#ifndef MEMBUS_DIRTY_H
#define MEMBUS_DIRTY_H

#include <membus/ram.h>
#include <membus/region.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Beside DIRTY_MEMORY_VGA, _CODE and _MIGRATION (region.h): those that programs register. */
#define DIRTY_MEMORY_FIRST_FREE 3

/* ---- Clients ------------------------------------------------------------------ */

/*
 * Take a client number for the program's own use, nothing being dirty for it. @name is copied.
 * Returns the number (DIRTY_MEMORY_FIRST_FREE to DIRTY_MEMORY_NUM - 1), -ENOSPC if all are
 * taken, or -ENOMEM.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_dirty_client_register(MemorySystem *ms, const char *name, Error **errp);
/*
 * Give it back. -EINVAL if it is not registered, -EBUSY while all RAM is logged for it. Regions
 * that log it by themselves should be told not to before. Epochs of it may end later; what is
 * rolled back then is nobody's.
 */
MEMBUS_EXPORT int memory_dirty_client_unregister(MemorySystem *ms, unsigned client, Error **errp);
/* "VGA", "CODE", "MIGRATION", the name it was registered with, or NULL. */
MEMBUS_EXPORT const char *memory_dirty_client_name(MemorySystem *ms, unsigned client);

/* ---- All RAM -------------------------------------------------------------------- */

#define GLOBAL_DIRTY_MIGRATION (1U << DIRTY_MEMORY_MIGRATION)

/*
 * Log all RAM for the clients in @clients (bits 1 << client), blocks that are made later
 * included (those begin dirty). When it returns, every write that is not marked has been
 * finished. Listeners hear log_global_start if nobody logged all RAM before, and any of them
 * may refuse. Returns 0, that refusal, -EINVAL, -EDEADLK from within a read section or with the
 * machine lock held, or -ENOMEM; on an error nothing is logged that was not before.
 * Context: no machine lock held, outside read sections, may block.
 */
MEMBUS_EXPORT int memory_global_dirty_log_start(MemorySystem *ms, unsigned clients, Error **errp);
/*
 * End it. Marks stay until they are taken. -EINVAL, -EBUSY from a listener's callback or within
 * a transaction, -ENOMEM (logging goes on then).
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_global_dirty_log_stop(MemorySystem *ms, unsigned clients, Error **errp);
/*
 * Have listeners bring in what they know (log_sync for every range that is logged, else
 * log_sync_global). memory_dirty_take() does it by itself. Then tell that it is done
 * (log_global_after_sync).
 * Context: machine lock.
 */
MEMBUS_EXPORT void memory_global_dirty_log_sync(MemorySystem *ms, bool last_stage);
MEMBUS_EXPORT void memory_global_after_dirty_log_sync(MemorySystem *ms);

/* ---- Epochs ---------------------------------------------------------------------- */

typedef struct DirtyEpoch DirtyEpoch;

/* Bytes in a row of one block: whole pages, or up to its end. Begin with DIRTY_RUN_INIT. */
typedef struct DirtyRun {
    RAMBlock *block;
    MemoryRegion *mr;
    hwaddr offset, size; /* bytes, in the block and the region alike */
    size_t part;         /* private */
} DirtyRun;
#define DIRTY_RUN_INIT ((DirtyRun){0})

/*
 * Take what is dirty for @client in all RAM: listeners are synchronised, the marks move to the
 * epoch, listeners are told (log_clear). Takes time in proportion to what is dirty and to the
 * number of blocks. The blocks that it names stay alive. NULL: -EINVAL, or -ENOMEM and all is
 * dirty as before.
 * Context: machine lock.
 */
MEMBUS_EXPORT DirtyEpoch *memory_dirty_take(MemorySystem *ms, unsigned client, Error **errp);
/* The next run: by block, then ascending. False if there is none. Context: any thread. */
MEMBUS_EXPORT bool dirty_epoch_next(const DirtyEpoch *epoch, DirtyRun *run);
MEMBUS_EXPORT uint64_t dirty_epoch_pages(const DirtyEpoch *epoch);
/* End @epoch: all is done with its pages. NULL is fine. Context: any thread. */
MEMBUS_EXPORT void dirty_epoch_commit(DirtyEpoch *epoch);
/* End @epoch: its pages are dirty again. NULL is fine; cannot fail. Context: any thread. */
MEMBUS_EXPORT void dirty_epoch_rollback(DirtyEpoch *epoch);

/* ---- One region ------------------------------------------------------------------ */

/*
 * Mark [@addr, @addr + @size - 1], offsets in @mr, for every client that logs @mr. What is not
 * in @mr is left out; for what is no RAM (an alias, say) that is all. Context: any thread that
 * holds @mr alive.
 */
MEMBUS_EXPORT void memory_region_set_dirty(MemoryRegion *mr, hwaddr addr, hwaddr size);
/* Whether a page of it is marked for @client. */
MEMBUS_EXPORT bool memory_region_get_dirty(MemoryRegion *mr, hwaddr addr, hwaddr size,
                                           unsigned client);
/* Forget @client's marks there; listeners are told (log_clear). Context: machine lock. */
MEMBUS_EXPORT void memory_region_reset_dirty(MemoryRegion *mr, hwaddr addr, hwaddr size,
                                             unsigned client);
/*
 * The same for all clients that log @block, from a little-endian bitmap whose first bit is the
 * page at @offset (bytes, a multiple of RAM_PAGE_SIZE), as the kernel gives it; @pages bits.
 * Pages outside the block are left out. Context: any thread that holds the block alive.
 */
MEMBUS_EXPORT void ram_block_merge_dirty(RAMBlock *block, hwaddr offset, const void *bitmap,
                                         uint64_t pages);

/*
 * Take @client's marks in [@addr, @addr + @size - 1] of @mr, for a display to redraw what
 * changed: listeners are synchronised first and told after (log_clear). To be freed with
 * dirty_bitmap_snapshot_free(). NULL if memory is short (nothing is taken then).
 * Context: machine lock.
 */
typedef struct DirtyEpoch DirtyBitmapSnapshot;
MEMBUS_EXPORT DirtyBitmapSnapshot *
memory_region_snapshot_and_clear_dirty(MemoryRegion *mr, hwaddr addr, hwaddr size, unsigned client);
/* Whether a page of [@addr, @addr + @size - 1] of @mr was dirty in @snapshot, which is of @mr. */
MEMBUS_EXPORT bool memory_region_snapshot_get_dirty(MemoryRegion *mr,
                                                    const DirtyBitmapSnapshot *snapshot,
                                                    hwaddr addr, hwaddr size);
/* NULL is fine. */
MEMBUS_EXPORT void dirty_bitmap_snapshot_free(DirtyBitmapSnapshot *snapshot);

#ifdef __cplusplus
}
#endif
#endif
