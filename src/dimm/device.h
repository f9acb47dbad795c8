/* SPDX-License-Identifier: MIT */
/* device.h - memory devices, of whatever kind, and the area that they are in. */
#ifndef DIMM_DEVICE_H
#define DIMM_DEVICE_H

#include "base/interval.h"
#include "map/system.h"

#include <membus/memory_device.h>
#include <membus/ram_discard.h>

/* The area of a machine; ms->memory_devices. */
typedef struct MemoryDevices {
    MemorySystem *ms;
    MemoryOwner *owner; /* ends with it */
    MemoryRegion region;
    hwaddr base, last; /* guest addresses */
    hwaddr limit;      /* bytes of all devices together */
    unsigned slots;
    unsigned anonymous;       /* devices without an id, ever */
    IntervalNode *by_address; /* MemoryDeviceState.place */
} MemoryDevices;

/* What a kind of device is. */
typedef struct MemoryDeviceClass {
    const char *type; /* as options name it */
    bool has_slot;
    /*
     * Check @config and fill in md->region, md->align and the kind's own part; @md has its memdev
     * and a common alignment. On an error unrealize() is called all the same.
     */
    int (*realize)(MemoryDeviceState *md, const MemoryDeviceConfig *config);
    /* The last step before @md is mapped; may be NULL. */
    int (*prepare)(MemoryDeviceState *md);
    /* May @md be unmapped? May be NULL. */
    int (*check_unplug)(const MemoryDeviceState *md);
    /* @md is not mapped (any more). May be NULL. */
    void (*unrealize)(MemoryDeviceState *md);
    void (*query)(const MemoryDeviceState *md, MemoryDeviceInfo *info); /* may be NULL */
} MemoryDeviceClass;

extern const MemoryDeviceClass memory_device_dimm, memory_device_nvdimm, memory_device_virtio_mem;

struct MemoryDeviceState {
    const MemoryDeviceClass *class;
    MemoryDeviceKind kind;
    MemoryDevices *area;
    MemoryOwner *owner; /* of its own regions; ends with it */
    char *id;
    HostMemoryBackend *memdev;
    MemoryRegion *memory; /* the backend's */
    MemoryRegion *region; /* what is mapped */
    hwaddr align;
    IntervalNode place; /* guest addresses */
    int slot;
    unsigned node;
    bool hotplugged;
    union {
        struct {
            MemoryRegion alias;
            hwaddr label_size;
            bool unarmed;
        } nvdimm;
        struct {
            RamDiscardManager *blocks;
            hwaddr block_size, requested;
        } virtio_mem;
    };
};

/* Where a device goes. @what names it in the sentence. Context: machine lock held. */
int area_find_address(MemoryDevices *area, const char *what, const hwaddr *hint, hwaddr align,
                      hwaddr size, hwaddr *addr);
/* The slot to use; @wanted -1: any. */
int area_find_slot(MemoryDevices *area, const char *what, int wanted, int *slot);

/* Refuse @md unless it is of @kind. */
int device_check_kind(const MemoryDeviceState *md, MemoryDeviceKind kind);

#endif
