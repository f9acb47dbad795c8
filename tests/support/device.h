/* SPDX-License-Identifier: MIT */
/*
 * device.h - a device that is nothing but bytes, and writes down every call it gets.
 *
 * Whatever its byte order and widths, a guest that goes through the library must see the bytes
 * in their order: that is the model all access tests compare with.
 */
#ifndef TESTS_DEVICE_H
#define TESTS_DEVICE_H

#include <membus/membus.h>

#define DEVICE_BYTES 64
#define DEVICE_CALLS 64

typedef struct DeviceCall {
    hwaddr addr;
    uint64_t data; /* as the callback got or gave it */
    unsigned size;
    bool is_write;
    bool locked; /* the machine lock was held */
    MemTxAttrs attrs;
} DeviceCall;

typedef struct Device {
    MemoryRegion mr;
    MemoryRegionOps ops;
    MemoryOwner *owner;
    uint8_t bytes[DEVICE_BYTES];
    bool big;           /* how the callbacks put bytes into words */
    MemTxResult result; /* what the callbacks answer (with attributes only) */
    hwaddr result_at;   /* ... at this address; UINT64_MAX: everywhere */
    DeviceCall call[DEVICE_CALLS];
    unsigned calls;      /* may exceed DEVICE_CALLS */
    unsigned *finalized; /* counted up by the finaliser; may be NULL */
    void (*hook)(struct Device *device, hwaddr addr, bool is_write); /* runs in each callback */
    void *context;                                                   /* of the hook */
} Device;

/*
 * A device on the heap with callbacks that take attributes (or not), owned by a MemoryOwner of
 * its own that frees it. Fill in the rest of ->ops, then device_init.
 */
Device *device_new(MemorySystem *ms, const char *name, bool with_attrs);
/* memory_region_init_io; @target: what native order means. */
int device_init(Device *device, hwaddr size, enum device_endian target);
/* Drop the reference; the storage goes when nobody reaches it any more. */
void device_drop(Device *device);
/* Bytes 0x11, 0x22 ... and no calls. */
void device_reset(Device *device);

#endif
