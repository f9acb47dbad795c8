/* SPDX-License-Identifier: MIT */
/*
 * virtio.h - virtio 1.0 devices on PCI: queues (virtio.c), the PCI transport (virtio_pci.c), and
 * what a kind of device adds.
 *
 * The driver in the guest is not trusted. A queue that makes no sense is never followed: the
 * device says DEVICE_NEEDS_RESET and stands still until the driver resets it.
 */
#ifndef VMM_VIRTIO_H
#define VMM_VIRTIO_H

#include "msix.h"

#define VIRTQUEUE_MAX_SIZE 256
#define VIRTIO_MAX_QUEUES 1

typedef struct VirtioDevice VirtioDevice;

typedef struct VirtQueue {
    VirtioDevice *device;
    uint16_t size; /* power of two, as the driver chose it */
    uint16_t vector;
    bool enabled;
    uint64_t desc, avail, used; /* guest addresses, as the device sees them */
    uint16_t next_avail, next_used;
    uint16_t in_flight; /* chains taken and not given back */
} VirtQueue;

/* A chain of descriptors: what the device reads, then what it writes. */
typedef struct VirtElement {
    uint16_t head;
    unsigned nr_out, nr_in; /* of segments: those to read come first */
    struct VirtSegment {
        hwaddr addr;
        uint32_t len; /* bytes, not 0 */
    } segments[VIRTQUEUE_MAX_SIZE];
    uint64_t out_len, in_len; /* bytes */
} VirtElement;

/* What a kind of virtio device adds. Context of all: machine lock. */
typedef struct VirtioKind {
    const char *name;          /* of the device and its address space */
    const char *msix_name;     /* of BAR 1 */
    const char *part_names[4]; /* of the regions in BAR 4: common, isr, device, notify */
    uint16_t id;               /* PCI device */
    uint16_t class_code;
    unsigned nr_queues;
    /* The byte at @offset of the device's configuration. */
    uint8_t (*read_config)(VirtioDevice *device, unsigned offset);
    void (*notified)(VirtioDevice *device, VirtQueue *queue);
    void (*reset)(VirtioDevice *device); /* forget all requests: nothing of them comes any more */
} VirtioKind;

struct VirtioDevice {
    PciDevice pci;
    const VirtioKind *kind;
    Msix msix;
    MemoryRegion bar, parts[4];
    uint8_t access_capability; /* the window through configuration space */

    uint64_t offered, accepted; /* feature bits */
    uint32_t offered_select, accepted_select;
    uint8_t status, isr;
    uint16_t config_vector, queue_select;
    VirtQueue queues[VIRTIO_MAX_QUEUES];
    /*
     * It is at work on its queues: what it writes to may be itself, and is then refused, as
     * membus does where a callback of the device is being run.
     */
    bool busy;
    bool complained; /* of a driver that makes no sense: once is enough */
};

/* ---- virtio_pci.c ---------------------------------------------------------------------- */

/*
 * Make a device of @size bytes that begins with its VirtioDevice on @bus, with @features beside
 * those of the transport. NULL: not made.
 */
void *virtio_create(PciBus *bus, size_t size, const VirtioKind *kind, uint8_t devfn,
                    uint64_t features);
static inline bool virtio_has(const VirtioDevice *device, unsigned feature)
{
    return device->accepted >> feature & 1;
}
/* The driver has set it up, and it is allowed to reach memory. */
bool virtio_is_live(const VirtioDevice *device);
/* Something makes no sense: have the driver reset it. */
void virtio_broken(VirtioDevice *device, const char *why);
void virtio_interrupt(VirtioDevice *device, VirtQueue *queue);

/* ---- virtio.c -------------------------------------------------------------------------- */

/* Take the next chain: 1, 0 if there is none, -1 if the device is broken now. */
int virtqueue_pop(VirtQueue *queue, VirtElement *element);
/* The one that was taken last is to be taken again. */
void virtqueue_unpop(VirtQueue *queue);
/* Give it back, @len bytes having been written, and interrupt the driver if it wants that. */
void virtqueue_push(VirtQueue *queue, const VirtElement *element, uint32_t len);

/*
 * Copy between @buf and the @len bytes at @offset of what the device reads (writes) in @element;
 * false if they are not there, or not in memory.
 */
bool virtio_read_out(VirtioDevice *device, const VirtElement *element, uint64_t offset, void *buf,
                     size_t len);
bool virtio_write_in(VirtioDevice *device, const VirtElement *element, uint64_t offset, void *buf,
                     size_t len);

#endif
