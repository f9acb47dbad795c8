/* SPDX-License-Identifier: MIT */
/*
 * region.h - the tree of memory regions that devices and boards edit.
 *
 * A region is made with one of the memory_region_init functions in storage that the caller
 * embeds, put into a container with memory_region_add_subregion, and ends with its owner. The
 * names and argument orders are those of QEMU's memory API; docs/qemu-compat.md lists every
 * difference.
 *
 * All functions that change a region or the tree take the machine lock and may be called from a
 * device callback. Outside a transaction each of them is one of its own: when it returns,
 * readers see the change. They return 0 or a negative errno, and on an error the tree and every
 * view are as they were:
 *   -EINVAL  the arguments make no sense (each function says when)
 *   -EBUSY   called from a listener's callback, which may not edit the map
 *   -ELOOP   children or aliases would lead back to the region without end, or
 *            nest deeper than MEMORY_REGION_MAX_DEPTH
 *   -ENOMEM  memory is short
 */
#ifndef MEMBUS_REGION_H
#define MEMBUS_REGION_H

#include <membus/types.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MEMORY_REGION_MAX_DEPTH 256

/*
 * How an MMIO device answers. The table is const and outlives the region.
 */
struct MemoryRegionOps {
    /*
     * Read @size bytes at @addr, an offset into the region; the value is in the low bytes.
     * Context: machine lock (not for lockless regions), RCU reader.
     */
    uint64_t (*read)(void *opaque, hwaddr addr, unsigned size);
    /* Write the low @size bytes of @data. Context: as read. */
    void (*write)(void *opaque, hwaddr addr, uint64_t data, unsigned size);
    /* The same with attributes and a result; used if read (write) is NULL. */
    MemTxResult (*read_with_attrs)(void *opaque, hwaddr addr, uint64_t *data, unsigned size,
                                   MemTxAttrs attrs);
    MemTxResult (*write_with_attrs)(void *opaque, hwaddr addr, uint64_t data, unsigned size,
                                    MemTxAttrs attrs);

    enum device_endian endianness;

    /* What the guest may do; anything else is MEMTX_DECODE_ERROR. */
    struct {
        unsigned min_access_size; /* bytes, power of two; 0: 1 */
        unsigned
            max_access_size; /* bytes, power of two; 0: no limit for one access; block transfers
                                     are cut to 4 */
        bool unaligned;      /* accesses need not be aligned to their size */
        /* Further refusals by address, size and direction; NULL: none. */
        bool (*accepts)(void *opaque, hwaddr addr, unsigned size, bool is_write, MemTxAttrs attrs);
    } valid;

    /* What the callbacks implement; the library makes every valid access from these. */
    struct {
        /*
         * Bytes, powers of two; 0: 1, and 4; at most 8. An access narrower than the minimum is made
         * that wide on an aligned window, past the region's end if its size is no multiple of it.
         */
        unsigned min_access_size;
        unsigned max_access_size;
        bool unaligned; /* callbacks take unaligned addresses; needs valid.unaligned */
    } impl;
};

/* An eventfd that the kernel or a listener signals for a write. */
typedef struct EventNotifier {
    int fd;
} EventNotifier;

/*
 * All that an edit of the map can change about a region. Private.
 */
typedef struct MemoryRegionState {
    MemoryRegion *container;
    hwaddr addr; /* in the container */
    hwaddr size;
    hwaddr alias_offset;
    uint64_t sequence; /* order of adding: later wins ties */
    struct RegionSignals *signals;
    int32_t priority;
    bool enabled, readonly, nonvolatile, unmergeable, romd_mode;
    uint8_t dirty_log_mask;
} MemoryRegionState;

/*
 * A region. Private: use the functions; the layout is here so that it can be embedded.
 */
struct MemoryRegion {
    /* what an access needs; constant while the region is mapped */
    const MemoryRegionOps *ops;
    void *opaque;
    MemoryOwner *owner;
    RAMBlock *ram_block;
    uint8_t plain_read_sizes,
        plain_write_sizes; /* widths (bits 1, 2, 4, 8) that are one bare callback */
    bool big_endian;       /* the device's byte order, resolved */
    bool terminates, ram, rom_device, ram_device;
    bool lockless;
    bool flush_coalesced; /* changes any time; atomic */
    hwaddr size_now;      /* state.size for accesses; changes any time; atomic */
    bool device_memory;   /* the area for memory devices: snapshots leave it, and what is in it */
    const void *guard;    /* what the re-entrancy guard takes for one device; NULL: not guarded */

    /* what renders */
    MemoryRegionState state;
    MemoryRegion *alias;         /* the target, NULL: no alias */
    IntervalNode in_container;   /* [addr, addr + size - 1] in the container's index */
    IntervalNode in_target;      /* an alias's window, in the target's index */
    IntervalNode *children;      /* index of the subregions */
    size_t nr_shown;             /* subregions that are enabled and not empty */
    uintptr_t shown_xor;         /* their addresses, xor-ed: of one, its address */
    IntervalNode *aliases;       /* index of the aliases of this region */
    struct ViewLineage *lineage; /* the views rendered from this region */
    AddressSpace *spaces;        /* address spaces with this root */
    struct RamDiscardManager *discard_manager; /* NULL: all of it is populated */
    struct JournalEntry *journal;              /* what snapshots know of its state */

    /* life */
    MemoryRegion *owner_prev, *owner_next;
    char *name; /* NULL: not initialised */
    long references;
};

/* ---- Making regions --------------------------------------------------------
 *
 * Common to all: @mr is uninitialised storage that lives as long as @owner.
 * @owner is not NULL (memory_system_owner() stands for the board). @name is copied; NULL is "".
 * @size is in bytes, UINT64_MAX for 2^64; 0 is a region that shows nothing.
 * -EINVAL if @owner or @mr is NULL, -ENOMEM. RAM and ROM also: -ENOSPC if the space of RAM
 * addresses is full, -EBUSY from a RAM block notifier's callback (ram.h).
 * Context: machine lock.
 */

/* A container: only its children answer. */
MEMBUS_EXPORT int memory_region_init(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                                     hwaddr size);

/*
 * A device's registers. @ops NULL makes a reservation: it keeps the range taken (translations
 * and lookups name it), and accesses, mappings and caches find nothing there.
 * -EINVAL for ill-formed @ops: a size that is no power of two or above 8
 * (impl), min above max, impl.unaligned without valid.unaligned, a direction with no callback
 * at all is allowed and refuses every such access.
 */
MEMBUS_EXPORT int memory_region_init_io(MemoryRegion *mr, MemoryOwner *owner,
                                        const MemoryRegionOps *ops, void *opaque, const char *name,
                                        hwaddr size);

/*
 * RAM that membus allocates: anonymous, zero, private; rounded up to the host page. @errp may
 * be NULL here and below. -EINVAL for size 0 or 2^64; else as mmap(2).
 */
MEMBUS_EXPORT int memory_region_init_ram(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                                         hwaddr size, Error **errp);

/*
 * RAM that can grow and shrink between 1 and @max_size bytes (memory_region_ram_resize).
 * @resized is told after the commit of a change, with the machine lock held, and may edit the
 * map; may be NULL.
 */
MEMBUS_EXPORT int memory_region_init_resizeable_ram(
    MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size, hwaddr max_size,
    void (*resized)(const char *idstr, hwaddr length, void *host), Error **errp);

/*
 * RAM at @ptr, which the caller owns and keeps until the owner's finaliser, or after
 * memory_region_finalize() until no reader is left (memory_system_drain()). -EINVAL for NULL.
 */
MEMBUS_EXPORT int memory_region_init_ram_ptr(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                                             hwaddr size, void *ptr);

#define RAM_SHARED (1U << 0)      /* MAP_SHARED: writes reach the file and other processes */
#define RAM_READONLY (1U << 1)    /* map the file read-only; the region is, for ever */
#define RAM_PREALLOC (1U << 2)    /* the memory is the caller's, who keeps it */
#define RAM_RESIZEABLE (1U << 3)  /* memory_region_ram_resize() may change its length */
#define RAM_NORESERVE (1U << 4)   /* no swap space is set aside for it */
#define RAM_GUEST_MEMFD (1U << 5) /* has private memory, too: ram_block_set_guest_memfd() */
#define RAM_PMEM (1U << 6)        /* persistent: flushed with ram_block_writeback() */
#define RAM_NAMED_FILE (1U << 7)  /* backed by a file with a name */

/*
 * RAM from @fd at @offset (bytes, host-page aligned). @ram_flags: RAM_SHARED, RAM_READONLY. The
 * fd stays open until the region ends and is then closed by membus; on error it is the
 * caller's.
 * -EINVAL misaligned offset or file shorter than the region, else as mmap(2).
 */
MEMBUS_EXPORT int memory_region_init_ram_from_fd(MemoryRegion *mr, MemoryOwner *owner,
                                                 const char *name, hwaddr size, uint32_t ram_flags,
                                                 int fd, hwaddr offset, Error **errp);

/*
 * RAM from the file @path (in a directory: an unnamed one), created or grown to @size if shorter,
 * at @offset (bytes, host-page aligned). @align: alignment of the host address, a power of two, 0
 * for what suits the size. Errors as open(2), ftruncate(2), mmap(2), and -EINVAL; the file is then
 * as it was.
 */
MEMBUS_EXPORT int memory_region_init_ram_from_file(MemoryRegion *mr, MemoryOwner *owner,
                                                   const char *name, hwaddr size, hwaddr align,
                                                   uint32_t ram_flags, const char *path,
                                                   hwaddr offset, Error **errp);

/*
 * RAM in name only: it renders, prints and is found as RAM, but no memory is behind it and
 * every access is MEMTX_ERROR. For tools that look at maps.
 */
MEMBUS_EXPORT int memory_region_init_ram_unbacked(MemoryRegion *mr, MemoryOwner *owner,
                                                  const char *name, hwaddr size);

/* RAM that the guest cannot write; fill it with address_space_write_rom or the host pointer. */
MEMBUS_EXPORT int memory_region_init_rom(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                                         hwaddr size, Error **errp);

/*
 * ROM device (flash): in romd mode, as it starts, reads are direct and writes call @ops; else
 * both call @ops. @ops as for memory_region_init_io, not NULL.
 */
MEMBUS_EXPORT int memory_region_init_rom_device(MemoryRegion *mr, MemoryOwner *owner,
                                                const MemoryRegionOps *ops, void *opaque,
                                                const char *name, hwaddr size, Error **errp);

/*
 * As memory_region_init_rom_device over no memory (see _ram_unbacked): @ops answer in either
 * mode.
 */
MEMBUS_EXPORT int memory_region_init_rom_device_unbacked(MemoryRegion *mr, MemoryOwner *owner,
                                                         const MemoryRegionOps *ops, void *opaque,
                                                         const char *name, hwaddr size);

/*
 * A device's memory mapped at @ptr (a PCI BAR, say): accessed with loads and stores of exactly
 * the guest's width, 1 to 8 bytes, aligned; never memcpy.
 * @ptr as for _ram_ptr.
 */
MEMBUS_EXPORT int memory_region_init_ram_device_ptr(MemoryRegion *mr, MemoryOwner *owner,
                                                    const char *name, hwaddr size, void *ptr);

/*
 * A window of @size bytes onto @orig from @offset. What lies outside @orig is not there.
 * @orig's owner is kept alive.
 * -EINVAL if @orig is NULL or of another MemorySystem.
 */
MEMBUS_EXPORT int memory_region_init_alias(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                                           MemoryRegion *orig, hwaddr offset, hwaddr size);

/*
 * End a region before its owner ends. Its subregions are taken out of it.
 * -EBUSY if it is in a container, the root of an address space, the target of
 * an alias, or still within reach of a view, a mapping, a snapshot or a reader.
 * -EBUSY also from a listener's or a RAM block notifier's callback.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_region_finalize(MemoryRegion *mr);

/* ---- The tree -------------------------------------------------------------- */

/*
 * Put @subregion into @mr at @offset, with priority 0 and the promise that it overlaps no
 * sibling (not enforced: the one added last wins).
 * -EINVAL if @mr is an alias or the two belong to different MemorySystems,
 * -EBUSY if @subregion is in a container already, -ELOOP if @mr is inside
 * @subregion, or an alias would show itself without end.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_region_add_subregion(MemoryRegion *mr, hwaddr offset,
                                              MemoryRegion *subregion);

/* The same where overlaps are meant: the higher @priority wins, on a tie the one added last. */
MEMBUS_EXPORT int memory_region_add_subregion_overlap(MemoryRegion *mr, hwaddr offset,
                                                      MemoryRegion *subregion, int priority);

/*
 * Take @subregion out of @mr. -EINVAL if it is not in @mr. Readers may still be in it: see
 * memory_region_ref.
 */
MEMBUS_EXPORT int memory_region_del_subregion(MemoryRegion *mr, MemoryRegion *subregion);

/* ---- Attributes. Each takes effect at the commit of the outermost transaction. */

/* A disabled region and all in it acts as if it were not there. */
MEMBUS_EXPORT int memory_region_set_enabled(MemoryRegion *mr, bool enabled);
/*
 * Move @mr in its container; counts as added anew. Without a container it sets the offset for
 * later.
 */
MEMBUS_EXPORT int memory_region_set_address(MemoryRegion *mr, hwaddr addr);
/* Resize a region without host memory; -EINVAL for one with (memory_region_ram_resize). */
MEMBUS_EXPORT int memory_region_set_size(MemoryRegion *mr, hwaddr size);
/* Slide an alias's window; -EINVAL for any other region. */
MEMBUS_EXPORT int memory_region_set_alias_offset(MemoryRegion *mr, hwaddr offset);
/*
 * Passed down to all that shows through @mr, as the two below. -EINVAL to make writable what is
 * mapped with RAM_READONLY.
 */
MEMBUS_EXPORT int memory_region_set_readonly(MemoryRegion *mr, bool readonly);
MEMBUS_EXPORT int memory_region_set_nonvolatile(MemoryRegion *mr, bool nonvolatile);
/* Ranges of @mr do not merge with their neighbours. */
MEMBUS_EXPORT int memory_region_set_unmergeable(MemoryRegion *mr, bool unmergeable);
/* Switch a ROM device between direct reads and callbacks; -EINVAL for any other region. */
MEMBUS_EXPORT int memory_region_rom_device_set_romd(MemoryRegion *mr, bool romd_mode);
/*
 * Set the length of resizeable RAM, rounded up to its page size. RAM block notifiers (ram.h) are
 * told at once; views, qemu_ram_get_used_length() and then the region's `resized` callback
 * follow at the commit. What the guest had below the new length is kept; RAM that a view did not
 * show before reads as zeroes, also where it was cut off earlier. What is cut off stays memory
 * for the readers, mappings and caches that are in it.
 * -EINVAL for 0, above the maximum or for other regions, -EBUSY from a RAM block notifier; on an
 * error notifiers are told the old length again.
 */
MEMBUS_EXPORT int memory_region_ram_resize(MemoryRegion *mr, hwaddr newsize, Error **errp);

#define DIRTY_MEMORY_VGA 0
#define DIRTY_MEMORY_CODE 1
#define DIRTY_MEMORY_MIGRATION 2
#define DIRTY_MEMORY_NUM 8

/*
 * Ask for (or end) dirty logging of @mr by @client, 0 to DIRTY_MEMORY_NUM - 1. Listeners get
 * log_start and log_stop. A write that another thread is in the middle of meanwhile may not be
 * marked; memory_system_drain() waits for such. -EINVAL for an unknown client or a region that
 * is not RAM or a ROM device.
 */
MEMBUS_EXPORT int memory_region_set_log(MemoryRegion *mr, bool log, unsigned client);
MEMBUS_EXPORT uint8_t memory_region_get_dirty_log_mask(const MemoryRegion *mr);

/*
 * Callbacks of @mr run without the machine lock (but for coalesced writes), and without the
 * re-entrancy guard. -EBUSY once it is mapped.
 */
MEMBUS_EXPORT int memory_region_enable_lockless_io(MemoryRegion *mr);
/* Let @mr's device reach @mr again through DMA. -EBUSY once it is mapped. */
MEMBUS_EXPORT int memory_region_disable_reentrancy_guard(MemoryRegion *mr);

/* ---- Coalesced I/O and ioeventfds: ranges that listeners are told of --------- */

/*
 * Coalesce all of @mr's writes; one part of it (bytes); none. -EINVAL if the part is not inside
 * @mr. Such writes come late, in their order, with the machine lock held whatever @mr is, and also
 * while the map is being changed, be it by a callback of @mr: one that changes the map itself may
 * then be refused (-EBUSY).
 */
MEMBUS_EXPORT int memory_region_set_coalescing(MemoryRegion *mr);
MEMBUS_EXPORT int memory_region_add_coalescing(MemoryRegion *mr, hwaddr offset, hwaddr size);
MEMBUS_EXPORT int memory_region_clear_coalescing(MemoryRegion *mr);
/* Whether coalesced writes must be flushed before an access to @mr (implied by coalescing). */
MEMBUS_EXPORT int memory_region_set_flush_coalesced(MemoryRegion *mr);
MEMBUS_EXPORT int memory_region_clear_flush_coalesced(MemoryRegion *mr);

/*
 * Signal @e for writes of @size bytes (1, 2, 4, 8; 0: any) at @addr in @mr, if @match_data only
 * those of @data (as the device's callback would get it). The notifier stays the caller's, its fd
 * open and the same, until memory_region_del_eventfd is committed, and while there is a snapshot
 * that has it. Who signals is a listener (KVM); where none does, the write comes to @mr's callback.
 * -EINVAL for a bad size or a place outside @mr, -EEXIST (-ENOENT) if the same is there already
 * (is not there).
 */
MEMBUS_EXPORT int memory_region_add_eventfd(MemoryRegion *mr, hwaddr addr, unsigned size,
                                            bool match_data, uint64_t data, EventNotifier *e);
MEMBUS_EXPORT int memory_region_del_eventfd(MemoryRegion *mr, hwaddr addr, unsigned size,
                                            bool match_data, uint64_t data, EventNotifier *e);

/* ---- Transactions ----------------------------------------------------------- */

/*
 * Between begin and the matching commit no change is visible to readers or listeners; the
 * outermost commit makes all of them visible at once. Nestable. The machine lock is held in
 * between.
 *
 * commit returns 0, -EINVAL without a begin, or -ENOMEM, -ELOOP or what a listener refused with
 * (KVM without a free slot, say): then nothing has become visible and the transaction is still
 * open, to be committed again or undone and committed.
 * Context: machine lock.
 */
MEMBUS_EXPORT void memory_region_transaction_begin(MemorySystem *ms);
MEMBUS_EXPORT int memory_region_transaction_commit(MemorySystem *ms);

/* ---- Questions. Context: machine lock held for a stable answer. ------------- */

MEMBUS_EXPORT const char *memory_region_name(const MemoryRegion *mr);
MEMBUS_EXPORT hwaddr memory_region_size(const MemoryRegion *mr);
MEMBUS_EXPORT MemoryOwner *memory_region_owner(const MemoryRegion *mr);
MEMBUS_EXPORT bool memory_region_is_ram(const MemoryRegion *mr);  /* RAM, ROM or RAM device */
MEMBUS_EXPORT bool memory_region_is_rom(const MemoryRegion *mr);  /* read-only RAM */
MEMBUS_EXPORT bool memory_region_is_romd(const MemoryRegion *mr); /* ROM device in romd mode */
MEMBUS_EXPORT bool memory_region_is_rom_device(const MemoryRegion *mr); /* in either mode */
MEMBUS_EXPORT bool memory_region_is_ram_device(const MemoryRegion *mr);
MEMBUS_EXPORT bool memory_region_is_nonvolatile(const MemoryRegion *mr);
MEMBUS_EXPORT bool memory_region_is_readonly(const MemoryRegion *mr); /* its own flag */
MEMBUS_EXPORT bool memory_region_is_unmergeable(const MemoryRegion *mr);
MEMBUS_EXPORT bool memory_region_is_terminating(const MemoryRegion *mr); /* answers itself */
MEMBUS_EXPORT bool memory_region_is_enabled(const MemoryRegion *mr);
MEMBUS_EXPORT bool memory_region_is_mapped(const MemoryRegion *mr); /* in a container */
MEMBUS_EXPORT hwaddr memory_region_address(const MemoryRegion *mr); /* in its container */
MEMBUS_EXPORT int memory_region_priority(const MemoryRegion *mr);
MEMBUS_EXPORT MemoryRegion *memory_region_container(const MemoryRegion *mr);
MEMBUS_EXPORT MemoryRegion *memory_region_alias_target(const MemoryRegion *mr); /* NULL: no alias */
MEMBUS_EXPORT hwaddr memory_region_alias_offset(const MemoryRegion *mr);

/* Whether a subregion of @container covers @addr (an offset in it). */
MEMBUS_EXPORT bool memory_region_present(MemoryRegion *container, hwaddr addr);

/*
 * Visit the subregions of @mr by address, then falling priority, then newest first, until
 * @visit returns true. Returns what the last @visit returned. The visitor must not edit the
 * tree.
 */
MEMBUS_EXPORT bool memory_region_for_each_subregion(const MemoryRegion *mr,
                                                    bool (*visit)(MemoryRegion *sub, void *opaque),
                                                    void *opaque);

/*
 * Host memory of a RAM region or ROM device, NULL for other regions. Lives as long as the
 * region; go through address_space_map for guest addresses.
 */
MEMBUS_EXPORT void *memory_region_get_ram_ptr(const MemoryRegion *mr);
MEMBUS_EXPORT ram_addr_t memory_region_get_ram_addr(const MemoryRegion *mr);
MEMBUS_EXPORT int memory_region_get_fd(const MemoryRegion *mr); /* -1: none */
/* Whether it is RAM with private memory (ram_block_set_guest_memfd(), ram.h). */
MEMBUS_EXPORT bool memory_region_has_guest_memfd(const MemoryRegion *mr);
MEMBUS_EXPORT RAMBlock *memory_region_get_ram_block(const MemoryRegion *mr);

/*
 * Keep @mr's owner alive, or stop: for use beyond a read section. NULL is fine.
 * Context: any thread; a ref needs @mr to be alive by other means.
 */
MEMBUS_EXPORT void memory_region_ref(MemoryRegion *mr);
MEMBUS_EXPORT void memory_region_unref(MemoryRegion *mr);

#ifdef __cplusplus
}
#endif
#endif
