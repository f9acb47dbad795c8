/* SPDX-License-Identifier: MIT */
/*
 * ram.h - RAM blocks: the host memory behind regions.
 *
 * A block belongs to the region that made it and ends with it. Its offset is its place in the
 * machine-wide space of RAM addresses (ram_addr_t); places start at multiples of 256 KiB, and
 * those of blocks that are gone are used again.
 *
 * Blocks are found and visited without a lock, while others come and go. "RCU reader" below
 * means: the block, its host memory and what hangs on it live as long as the caller's read
 * section (memory_read_lock(), system.h), or while the caller holds the machine lock or keeps
 * the block's region alive. The region itself may have ended in the meantime: use
 * qemu_ram_ref_region(). Memory that the program gave (memory_region_init_ram_ptr) is the
 * program's to keep until then: it is, until the finaliser of the region's owner; after
 * memory_region_finalize() wait for readers with memory_system_drain() first.
 */
#ifndef MEMBUS_RAM_H
#define MEMBUS_RAM_H

#include <membus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes: what one bit of a page bitmap and of dirty tracking stands for. */
#define RAM_PAGE_SIZE ((hwaddr)4096)

/* ---- Questions. Context: any thread; the block is alive (see above). --------------- */

/*
 * The block's name, unique in the machine: "OWNER/NAME" of a device's region, "NAME" of one of
 * the machine's own (memory_system_owner()) or of an object with a path (an owner whose name
 * begins with a slash: a memory backend), and if that is taken the lowest free of "NAME#2",
 * "NAME#3" and so on: the same for machines that are built in the same order.
 */
MEMBUS_EXPORT const char *qemu_ram_get_idstr(const RAMBlock *block);
MEMBUS_EXPORT void *qemu_ram_get_host_addr(const RAMBlock *block);
MEMBUS_EXPORT ram_addr_t qemu_ram_get_offset(const RAMBlock *block);
/* Bytes: what the region shows, and what it may grow to. All of the latter is host memory. */
MEMBUS_EXPORT hwaddr qemu_ram_get_used_length(const RAMBlock *block);
MEMBUS_EXPORT hwaddr qemu_ram_get_max_length(const RAMBlock *block);
MEMBUS_EXPORT size_t qemu_ram_pagesize(const RAMBlock *block); /* bytes, of the host's pages */
MEMBUS_EXPORT int qemu_ram_get_fd(const RAMBlock *block);      /* -1: none */
MEMBUS_EXPORT hwaddr qemu_ram_get_fd_offset(const RAMBlock *block);
MEMBUS_EXPORT uint32_t qemu_ram_get_flags(const RAMBlock *block); /* RAM_* of region.h */
MEMBUS_EXPORT bool qemu_ram_is_shared(const RAMBlock *block);
MEMBUS_EXPORT bool qemu_ram_is_resizeable(const RAMBlock *block);

/* The block's region, NULL once it has ended. Context: machine lock held. */
MEMBUS_EXPORT MemoryRegion *qemu_ram_get_region(const RAMBlock *block);

/*
 * The same with a reference, to be dropped with memory_region_unref(); NULL if the region has
 * ended or its owner is about to.
 * Context: machine lock.
 */
MEMBUS_EXPORT MemoryRegion *qemu_ram_ref_region(RAMBlock *block);

/* ---- The memory itself -------------------------------------------------------------- */

/*
 * Give the pages of the @length bytes at @start of @block back to the host; read again, they are
 * zero, or what the file of a private mapping holds, and those that held anything are dirty for
 * all who log them. Both are multiples of qemu_ram_pagesize().
 * Returns 0; -EINVAL misaligned or not within the used length; -ENOTSUP for memory that is the
 * caller's or read-only; else as madvise(2) with MADV_REMOVE (shared) or MADV_DONTNEED.
 * Context: any thread; @block is kept alive by the caller.
 */
MEMBUS_EXPORT int ram_block_discard_range(RAMBlock *block, hwaddr start, hwaddr length);

/*
 * Make the @length bytes at @start of @block durable: with the CPU's cache write-back where the
 * block is persistent memory (RAM_PMEM, and the file can be mapped with MAP_SYNC), else with
 * msync(2). Covers what was stored before the call.
 * Returns 0; -EINVAL not within the used length; -ENOTSUP for private memory, which has nowhere
 * to be written to; else as msync(2).
 * Context: any thread; may block; @block is kept alive by the caller.
 */
MEMBUS_EXPORT int ram_block_writeback(RAMBlock *block, hwaddr start, hwaddr length);

/* ---- Private memory ------------------------------------------------------------------ */

/*
 * A block may have, beside its host memory, memory of the same size that only the guest can
 * reach: a guest_memfd of the kernel's (kvm_create_guest_memfd(), kvm.h). Which of the two the
 * guest sees at an address is an attribute of that address (kvm_convert_memory()); all starts
 * shared.
 * Accesses of the program, dirty marks, snapshots and dumps are of the shared memory.
 */

/*
 * Give @block the guest_memfd @fd; its memory begins @offset bytes into it, a multiple of
 * the host page. The fd is the block's from now on and closed with it; on an error it stays
 * the caller's. The block's flags have RAM_GUEST_MEMFD then.
 * Returns 0; -EBADF; -EINVAL if the fd does not have qemu_ram_get_max_length() bytes from @offset
 * on, or @block is no plain RAM; -EEXIST if it has one; -EBUSY if its region is mapped, aliased or
 * the root of an address space, has ended, or a transaction is open.
 * Context: machine lock; @block is kept alive by the caller.
 */
MEMBUS_EXPORT int ram_block_set_guest_memfd(RAMBlock *block, int fd, hwaddr offset, Error **errp);
MEMBUS_EXPORT int qemu_ram_get_guest_memfd(const RAMBlock *block); /* -1: none */
MEMBUS_EXPORT hwaddr qemu_ram_get_guest_memfd_offset(const RAMBlock *block);

/*
 * Give the private memory of [@start, @start + @length - 1] back to the host; the guest finds it
 * zero. Multiples of the host page.
 * Returns 0; -EINVAL misaligned, beyond the maximum length, or there is none; else as fallocate(2).
 * Context: any thread; @block is kept alive by the caller.
 */
MEMBUS_EXPORT int ram_block_discard_guest_memfd_range(RAMBlock *block, hwaddr start, hwaddr length);

/* ---- The list ---------------------------------------------------------------------- */

/*
 * Visit the blocks, largest (by maximum length) first, equal ones in the order of making, until
 * @visit returns nonzero, and return that. Blocks that come or go meanwhile may be visited or
 * not.
 * Context: any thread; @visit: RCU reader.
 */
MEMBUS_EXPORT int qemu_ram_foreach_block(MemorySystem *ms,
                                         int (*visit)(RAMBlock *block, void *opaque), void *opaque);

/*
 * A number that is another one whenever a block has come or gone: who remembers it, then visits
 * the blocks, and later finds it unchanged, knows that he has seen them all.
 * Context: any thread.
 */
MEMBUS_EXPORT uint64_t ram_list_version(MemorySystem *ms);

/*
 * The block that @host points into and the offset in it, below the maximum length; NULL if none.
 * Where the program gave the same host memory to several blocks, the one that ends last.
 * @offset may be NULL here and below. Context: RCU reader.
 */
MEMBUS_EXPORT RAMBlock *qemu_ram_block_from_host(MemorySystem *ms, const void *host,
                                                 ram_addr_t *offset);
/* The RAM address of @host, RAM_ADDR_INVALID if none. Context: any thread. */
MEMBUS_EXPORT ram_addr_t qemu_ram_addr_from_host(MemorySystem *ms, const void *host);
/* The block at the RAM address @addr and the offset in it; NULL if none. Context: RCU reader. */
MEMBUS_EXPORT RAMBlock *qemu_ram_block_from_addr(MemorySystem *ms, ram_addr_t addr,
                                                 ram_addr_t *offset);
/* The block named @idstr; NULL if none. Context: RCU reader. */
MEMBUS_EXPORT RAMBlock *qemu_ram_block_by_name(MemorySystem *ms, const char *idstr);

/*
 * The region of the block that @host points into, as qemu_ram_ref_region(), and the offset in
 * it. Context: machine lock.
 */
MEMBUS_EXPORT MemoryRegion *memory_region_from_host(MemorySystem *ms, const void *host,
                                                    ram_addr_t *offset);

/* ---- Notifiers ----------------------------------------------------------------------- */

/*
 * Who has to know all host memory of the guest (to pin it, say). A callback may be NULL. Sizes
 * are bytes, @max_size those that stay mapped at @host however the block is resized.
 *
 * A block is told of while its region is made, so before the guest can reach it; its removal when
 * no view, mapping or cache shows it any more. The memory is there still during that call and
 * goes when the last reader has gone. A new length is told before the region has it, and the old
 * one again if the change fails. Notifiers are told in the order of registration; those that are
 * left when the machine ends are told of the removals then.
 * Context of the callbacks: machine lock held; they must not make, end or resize RAM or add or
 * remove notifiers (-EBUSY).
 */
typedef struct RAMBlockNotifier RAMBlockNotifier;
struct RAMBlockNotifier {
    void (*ram_block_added)(RAMBlockNotifier *n, void *host, size_t size, size_t max_size);
    void (*ram_block_removed)(RAMBlockNotifier *n, void *host, size_t size, size_t max_size);
    void (*ram_block_resized)(RAMBlockNotifier *n, void *host, size_t old_size, size_t new_size);
    RAMBlockNotifier *next; /* private */
};

/*
 * Add @n, which stays the caller's and in place until it is removed: it is told of the blocks
 * there are, largest first. Remove it: it is told that they go. -EEXIST (-ENOENT) if it is (is not)
 * registered.
 * Context: machine lock.
 */
MEMBUS_EXPORT int ram_block_notifier_add(MemorySystem *ms, RAMBlockNotifier *n);
MEMBUS_EXPORT int ram_block_notifier_remove(MemorySystem *ms, RAMBlockNotifier *n);

/* ---- What migration hangs on a block. Freed with the block at the latest. --------------- */

#define RAM_BITMAP_MAX_SHIFT 40U

typedef enum RAMBitmapKind {
    RAM_BMAP,        /* pages to be sent */
    RAM_CLEAR_BMAP,  /* stretches of pages whose dirty log is not cleared in the kernel yet */
    RAM_FILE_BMAP,   /* pages that a file-mapped snapshot has */
    RAM_RECEIVEDMAP, /* pages that have arrived (postcopy) */
    RAM_BITMAP_NUM
} RAMBitmapKind;

typedef struct RAMBitmap {
    unsigned shift;      /* a bit stands for 2^shift pages of RAM_PAGE_SIZE */
    size_t nr_bits;      /* for the maximum length */
    unsigned long *bits; /* the lowest is the first page; who shares them uses atomics */
} RAMBitmap;

/*
 * Give @block the bitmap @kind, all zero, with one bit for 2^@shift pages. -EINVAL for a bad
 * @kind or a @shift above RAM_BITMAP_MAX_SHIFT, -EEXIST if it has one, -ENOMEM.
 * Context: any thread.
 */
MEMBUS_EXPORT int ram_block_bitmap_alloc(RAMBlock *block, RAMBitmapKind kind, unsigned shift,
                                         Error **errp);
/* NULL if there is none. Context: RCU reader. */
MEMBUS_EXPORT RAMBitmap *ram_block_bitmap(RAMBlock *block, RAMBitmapKind kind);
/* Take it off, if there is one; it is freed after all read sections. Context: any thread. */
MEMBUS_EXPORT void ram_block_bitmap_free(RAMBlock *block, RAMBitmapKind kind);

/*
 * The same for a second copy of all of @block's memory, zero at first: -EEXIST, -ENOMEM, else as
 * mmap(2).
 */
MEMBUS_EXPORT int ram_block_colo_cache_alloc(RAMBlock *block, Error **errp);
MEMBUS_EXPORT void *ram_block_colo_cache(RAMBlock *block);
MEMBUS_EXPORT void ram_block_colo_cache_free(RAMBlock *block);

/* Where in a file-mapped snapshot the block's pages are (bytes); 0 at first. */
MEMBUS_EXPORT void ram_block_set_pages_offset(RAMBlock *block, hwaddr offset);
MEMBUS_EXPORT hwaddr ram_block_pages_offset(const RAMBlock *block);

#ifdef __cplusplus
}
#endif
#endif
