/* SPDX-License-Identifier: MIT */
/*
 * memory_device.h - memory that is plugged and unplugged while the machine runs.
 *
 * A machine may have an area for memory devices, the region "device-memory", laid out as QEMU
 * lays it out: behind the machine's own RAM, as long as all devices may be together, and 1 GiB a
 * slot longer, so that every device finds room whatever its alignment is.
 *
 *      base (1 GiB aligned on a PC)                       base + size + slots x 1 GiB
 *      |  d0 (dimm)  |   | d1 (nvdimm) | v0 (virtio-mem) |               |
 *
 * A device puts a host memory backend (hostmem.h) there, at an address that is asked for or, first
 * fit, the lowest that is free and aligned. There are three kinds:
 *   dimm        the whole backend;
 *   nvdimm      the same, non-volatile, with a label area cut off at the end that the guest reads
 *               and writes through its firmware only; nvdimm_flush() makes stores durable;
 *   virtio-mem  a backend that is populated in part, block by block, as the host requests and the
 *               guest agrees; its region has a RamDiscardManager (ram_discard.h).
 * dimms and nvdimms take one of the machine's slots each.
 *
 * Adding and removing are one edit of the map each: listeners see one commit, and on an error
 * nothing has changed. After removal the guest cannot reach the memory; it lives on, with the
 * backend, for as long as readers and mappings hold it.
 *
 * A snapshot (snapshot.h) has the map and the contents, not the devices. Restoring one takes the
 * memory of a device that was added since out of the map, and the device is still to be removed;
 * memory of one that was removed comes back, to be taken out of memory_devices_region() before its
 * backend is used again. Which blocks of a virtio-mem are plugged stays as it is.
 */
#ifndef MEMBUS_MEMORY_DEVICE_H
#define MEMBUS_MEMORY_DEVICE_H

#include <membus/hostmem.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct MemoryDeviceState MemoryDeviceState;

#define MEMORY_DEVICES_MAX_SLOTS 256
#define MEMORY_DEVICES_MAX_NODES 128

/* Added to the area for each slot. Boards align its base to this, too. */
#define MEMORY_DEVICES_SLOT_ROOM (1ULL << 30)

/* ---- The area ------------------------------------------------------------------ */

/*
 * Give @ms an area for memory devices: at @base of the system memory, for devices of @size bytes
 * together (a VMM's maxmem less its RAM), of which @slots take a slot. @base and @size are
 * multiples of 4 KiB.
 * Returns 0; -EBUSY if there is one; -EINVAL for a misaligned value, size 0, more than
 * MEMORY_DEVICES_MAX_SLOTS, or an area that does not fit below 2^64; -ENOMEM.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_devices_init(MemorySystem *ms, hwaddr base, hwaddr size, unsigned slots,
                                      Error **errp);

/*
 * End the area; fine without one. To be called before memory_system_destroy(). -EBUSY while there
 * are devices.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_devices_finalize(MemorySystem *ms, Error **errp);

/* The region "device-memory"; NULL: there is no area. Context: machine lock. */
MEMBUS_EXPORT MemoryRegion *memory_devices_region(MemorySystem *ms);

/*
 * Where a device of @size bytes aligned to @align (a power of two) would go: at *@hint if @hint is
 * not NULL, else first fit. *@addr is set on success.
 * Returns 0; -ENODEV without an area; -EINVAL for a size of 0 or no multiple of @align, or a
 * misaligned hint; -ERANGE for a hint outside the area; -EEXIST if another device is in the way
 * (the error names it and its range); -ENOSPC if no gap is large enough.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_device_get_free_addr(MemorySystem *ms, const hwaddr *hint, hwaddr align,
                                              hwaddr size, hwaddr *addr, Error **errp);

/* Bytes of guest memory that dimms and plugged blocks make up. Context: machine lock. */
MEMBUS_EXPORT hwaddr memory_devices_plugged_size(MemorySystem *ms);

/* ---- Adding and removing ------------------------------------------------------- */

typedef enum MemoryDeviceKind {
    MEMORY_DEVICE_DIMM,
    MEMORY_DEVICE_NVDIMM,
    MEMORY_DEVICE_VIRTIO_MEM,
} MemoryDeviceKind;

/* What a device is made of. Start from MEMORY_DEVICE_CONFIG_INIT. */
typedef struct MemoryDeviceConfig {
    MemoryDeviceKind kind;
    const char *id;            /* unique; a letter, then letters, digits, -._; NULL or "": none */
    HostMemoryBackend *memdev; /* claimed for the life of the device */
    hwaddr addr;               /* guest address; 0: first fit */
    int slot;                  /* dimm, nvdimm; -1: the lowest that is free */
    unsigned node;             /* guest NUMA node */
    bool hotplugged;           /* after the start of the machine; to be shown only */
    hwaddr label_size;         /* nvdimm: bytes, 0 or 128 KiB at least */
    bool unarmed;              /* nvdimm: stores are not durable; needed for a read-only backend */
    hwaddr block_size;         /* virtio-mem: power of two, 1 MiB at least; 0: 2 MiB or the page */
    hwaddr requested_size;     /* virtio-mem: bytes that the guest should have plugged */
} MemoryDeviceConfig;

#define MEMORY_DEVICE_CONFIG_INIT ((MemoryDeviceConfig){.slot = -1, .hotplugged = true})

/*
 * Make a device of @ms, claim its backend and map it. Its address is aligned to the larger of
 * the backend's page size and its `align` option; to 2 MiB where its memory is anonymous, so that
 * the host can use huge pages; and to the blocks of virtio-mem, whose backend is emptied. The size
 * of a dimm or virtio-mem is a multiple of that; an nvdimm's is rounded down to it.
 *
 * Returns the device, which lives until memory_device_del(), or NULL; error_get_errno() is
 *   ENODEV   there is no area, or no backend was given
 *   EBUSY    the backend is in use; the slot is taken; called from a listener's callback
 *   ENOSPC   no slot is free; the area's size is used up; no gap is large enough
 *   EEXIST   another device has the id, or is in the way (named with its range)
 *   ERANGE   the address is not in the area
 *   EINVAL   a NULL argument, an id that is none (or above 127 bytes), misaligned address or size,
 *            a slot or node that does not exist, a label area or block size that is too small, a
 *            read-only backend (nvdimm without `unarmed`, virtio-mem)
 *   ENOTSUP  virtio-mem over memory that cannot be given back: the caller's, or a private mapping
 *            of a file
 *   ENOMEM   (the backend of a virtio-mem may have been emptied)
 * Context: machine lock.
 */
MEMBUS_EXPORT MemoryDeviceState *
memory_device_add_config(MemorySystem *ms, const MemoryDeviceConfig *config, Error **errp);

/*
 * The same from text, as VMM users give it, in the form of host_memory_config_parse() (the kind
 * alone or after driver=):
 *      pc-dimm,id=d0,memdev=m0,addr=0x100000000,slot=2,node=0
 *      nvdimm,id=n0,memdev=m1,label-size=128K,unarmed=on
 *      virtio-mem-pci,id=v0,memdev=m2,memaddr=0x140000000,requested-size=1G,block-size=2M
 * EINVAL names the key and the value, too; ENODEV the backend that does not exist.
 * Context: machine lock.
 */
MEMBUS_EXPORT MemoryDeviceState *memory_device_add(MemorySystem *ms, const char *options,
                                                   Error **errp);

/*
 * Unmap @md, release its backend and end it, as when the guest has agreed to let it go; NULL is
 * fine. RAM discard listeners of a virtio-mem that are left after the commit are forgotten. No
 * snapshot brings it back (snapshot.h).
 * -EBUSY: from a listener's callback; a virtio-mem with plugged blocks, or, within a transaction,
 * with RAM discard listeners, which are to go when they see that it does. -ENOMEM.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_device_del(MemoryDeviceState *md, Error **errp);

/* ---- Questions. Context: machine lock held, for a stable answer ----------------- */

/* What `info memory-devices` knows of a device. Strings are the device's. */
typedef struct MemoryDeviceInfo {
    MemoryDeviceKind kind;
    const char *id;     /* "": none */
    const char *memdev; /* id of the backend */
    hwaddr addr;        /* guest address */
    hwaddr size;        /* bytes that the guest may use: of a virtio-mem, what is plugged */
    int slot;           /* -1: virtio-mem has none */
    unsigned node;
    bool hotplugged, hotpluggable;
    hwaddr label_size;                           /* nvdimm */
    bool unarmed;                                /* nvdimm */
    hwaddr requested_size, max_size, block_size; /* virtio-mem: bytes */
} MemoryDeviceInfo;

/* Fill in @info. */
MEMBUS_EXPORT void memory_device_query(const MemoryDeviceState *md, MemoryDeviceInfo *info);

/* The device of @ms with @id; NULL: none. */
MEMBUS_EXPORT MemoryDeviceState *memory_device_find(MemorySystem *ms, const char *id);

/*
 * Visit the devices of @ms by address until @visit returns true; returns whether it did. @visit
 * must not add or remove devices.
 */
MEMBUS_EXPORT bool memory_devices_for_each(MemorySystem *ms,
                                           bool (*visit)(MemoryDeviceState *md, void *opaque),
                                           void *opaque);

/* The region that is mapped: the backend's, or of an nvdimm an alias of it. */
MEMBUS_EXPORT MemoryRegion *memory_device_get_memory_region(MemoryDeviceState *md);
MEMBUS_EXPORT HostMemoryBackend *memory_device_get_backend(MemoryDeviceState *md);

/* ---- nvdimm ---------------------------------------------------------------------- */

/*
 * Make the @size bytes at @offset of @md durable, as ram_block_writeback(); if @size is 0, all of
 * it and its labels. -EINVAL for another kind of device or a range outside, -EROFS for an unarmed
 * one, else as ram_block_writeback().
 * Context: may block; no lock is taken, and @md is not removed meanwhile.
 */
MEMBUS_EXPORT int nvdimm_flush(MemoryDeviceState *md, hwaddr offset, hwaddr size, Error **errp);

/*
 * Read or write @size bytes at @offset of the label area. A write is durable when it returns if
 * the memory can be (nvdimm_flush()). -EINVAL for another kind of device or a range outside
 * the area, -EROFS to write to an unarmed device, else as ram_block_writeback().
 * Context: as above.
 */
MEMBUS_EXPORT int nvdimm_read_label_data(MemoryDeviceState *md, void *buf, hwaddr size,
                                         hwaddr offset, Error **errp);
MEMBUS_EXPORT int nvdimm_write_label_data(MemoryDeviceState *md, const void *buf, hwaddr size,
                                          hwaddr offset, Error **errp);

/* ---- virtio-mem ------------------------------------------------------------------ */

/*
 * Ask for @size bytes, a multiple of the block size, to be plugged. It is for the guest to follow.
 * -EINVAL for another kind of device, a misaligned size or one above the backend's.
 * Context: machine lock.
 */
MEMBUS_EXPORT int virtio_mem_set_requested_size(MemoryDeviceState *md, hwaddr size, Error **errp);

/*
 * The guest's requests: plug or unplug the blocks of [@addr, @addr + @size - 1], guest addresses;
 * unplug all. What is unplugged goes back to the host.
 * Returns 0; -EINVAL for another kind of device, or a range that is not whole blocks of the device,
 * or not all unplugged (plugged) so far; plug only: -ENOSPC if more than the requested size would
 * be plugged, and the errno of the RamDiscardListener that refused; unplug only: as
 * ram_block_discard_range(); -EBUSY from a RamDiscardListener's callback.
 * Context: machine lock.
 */
MEMBUS_EXPORT int virtio_mem_plug(MemoryDeviceState *md, hwaddr addr, hwaddr size, Error **errp);
MEMBUS_EXPORT int virtio_mem_unplug(MemoryDeviceState *md, hwaddr addr, hwaddr size, Error **errp);
MEMBUS_EXPORT int virtio_mem_unplug_all(MemoryDeviceState *md, Error **errp);

#ifdef __cplusplus
}
#endif
#endif
