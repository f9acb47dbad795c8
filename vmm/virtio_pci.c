/* SPDX-License-Identifier: MIT */
/*
 * The PCI transport of virtio 1.0 (section 4.1), without the legacy one: four structures in BAR 4,
 * found through vendor capabilities, and a window onto them through configuration space; MSI-X
 * in BAR 1.
 */
#include "virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <membus/access.h>
#include <stddef.h>
#include <string.h>

#define PART_SIZE 0x1000U
#define NOTIFY_MULTIPLIER 4U
#define MEMORY_BAR 4
#define MSIX_BAR 1
#define ISR_QUEUE 1
#define ISR_CONFIG 2

enum { PART_COMMON, PART_ISR, PART_DEVICE, PART_NOTIFY, NR_PARTS };

#define TRANSPORT_FEATURES                                                                         \
    (UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC |              \
     UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)

/* ---- State ----------------------------------------------------------------------------- */

static void interrupt(VirtioDevice *device, uint16_t vector, uint8_t isr)
{
    if (msix_enabled(&device->msix)) {
        msix_notify(&device->msix, vector);
        return;
    }
    device->isr |= isr;
    pci_set_irq(&device->pci, true);
}

void virtio_interrupt(VirtioDevice *device, VirtQueue *queue)
{
    interrupt(device, queue->vector, ISR_QUEUE);
}

void virtio_broken(VirtioDevice *device, const char *why)
{
    if (device->status & VIRTIO_CONFIG_S_NEEDS_RESET) {
        return;
    }
    if (!device->complained) {
        vmm_complain("%s needs a reset: %s", device->kind->name, why);
        device->complained = true;
    }
    device->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    if (device->status & VIRTIO_CONFIG_S_DRIVER_OK) {
        interrupt(device, device->config_vector, ISR_CONFIG);
    }
}

bool virtio_is_live(const VirtioDevice *device)
{
    return (device->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
           !(device->status & VIRTIO_CONFIG_S_NEEDS_RESET) &&
           (device->pci.config[PCI_COMMAND] & PCI_COMMAND_MASTER);
}

/* What writing 0 to the status does, and a reset of the machine. */
static void reset_device(VirtioDevice *device)
{
    device->kind->reset(device);
    device->status = device->isr = 0;
    device->accepted = 0;
    device->offered_select = device->accepted_select = 0;
    device->queue_select = 0;
    device->config_vector = MSIX_NO_VECTOR;
    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
        device->queues[i] =
            (VirtQueue){.device = device, .size = VIRTQUEUE_MAX_SIZE, .vector = MSIX_NO_VECTOR};
    }
    pci_set_irq(&device->pci, false);
}

static void set_status(VirtioDevice *device, uint8_t value)
{
    bool offers = !(device->accepted & ~device->offered) && virtio_has(device, VIRTIO_F_VERSION_1);

    if (value == 0) {
        reset_device(device);
        return;
    }
    if (!(device->status & VIRTIO_CONFIG_S_FEATURES_OK) && !offers) {
        value &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK; /* the driver looks whether it stayed */
    }
    bool starts = (value & ~device->status) & VIRTIO_CONFIG_S_DRIVER_OK;
    device->status = (uint8_t)(value | (device->status & (VIRTIO_CONFIG_S_NEEDS_RESET)));
    for (unsigned i = 0; starts && i < device->kind->nr_queues; i++) {
        if (device->queues[i].enabled) {
            device->kind->notified(device, &device->queues[i]); /* what was put there before */
        }
    }
}

/* ---- The common structure -------------------------------------------------------------- */

#define COMMON(field) offsetof(struct virtio_pci_common_cfg, field)

static VirtQueue *selected(VirtioDevice *device)
{
    unsigned index = device->queue_select;

    return index < device->kind->nr_queues ? &device->queues[index] : NULL;
}

static uint32_t half(uint64_t value, unsigned upper)
{
    return (uint32_t)(value >> (upper ? 32 : 0));
}

static uint32_t read_queue(const VirtQueue *queue, hwaddr offset)
{
    switch (offset) {
    case COMMON(queue_size):
        return queue->size;
    case COMMON(queue_msix_vector):
        return queue->vector;
    case COMMON(queue_enable):
        return queue->enabled;
    case COMMON(queue_notify_off):
        return (uint32_t)(queue - queue->device->queues);
    case COMMON(queue_desc_lo):
    case COMMON(queue_desc_hi):
        return half(queue->desc, offset == COMMON(queue_desc_hi));
    case COMMON(queue_avail_lo):
    case COMMON(queue_avail_hi):
        return half(queue->avail, offset == COMMON(queue_avail_hi));
    case COMMON(queue_used_lo):
    case COMMON(queue_used_hi):
        return half(queue->used, offset == COMMON(queue_used_hi));
    default:
        return 0;
    }
}

static uint32_t read_common(VirtioDevice *device, hwaddr offset)
{
    const VirtQueue *queue = selected(device);

    switch (offset) {
    case COMMON(device_feature_select):
        return device->offered_select;
    case COMMON(device_feature):
        return device->offered_select < 2 ? half(device->offered, device->offered_select) : 0;
    case COMMON(guest_feature_select):
        return device->accepted_select;
    case COMMON(guest_feature):
        return device->accepted_select < 2 ? half(device->accepted, device->accepted_select) : 0;
    case COMMON(msix_config):
        return device->config_vector;
    case COMMON(num_queues):
        return device->kind->nr_queues;
    case COMMON(device_status):
        return device->status;
    case COMMON(queue_select):
        return device->queue_select;
    default:
        return queue ? read_queue(queue, offset) : 0;
    }
}

static void set_half(uint64_t *value, bool upper, uint32_t data)
{
    *value = upper ? (uint64_t)data << 32 | (uint32_t)*value : (*value >> 32) << 32 | data;
}

static uint16_t vector_of(const VirtioDevice *device, uint32_t data)
{
    return data < device->msix.nr_vectors ? (uint16_t)data : MSIX_NO_VECTOR;
}

static void enable_queue(VirtQueue *queue)
{
    if (queue->desc % 16 || queue->avail % 2 || queue->used % 4) {
        virtio_broken(queue->device, "a ring is not aligned");
        return;
    }
    queue->enabled = true;
}

/* The layout of a queue is fixed once it is enabled. */
static void write_queue(VirtQueue *queue, hwaddr offset, uint32_t data)
{
    if (offset == COMMON(queue_msix_vector)) {
        queue->vector = vector_of(queue->device, data);
        return;
    }
    if (queue->enabled) {
        return;
    }
    switch (offset) {
    case COMMON(queue_size):
        if (data && data <= VIRTQUEUE_MAX_SIZE && !(data & (data - 1))) {
            queue->size = (uint16_t)data;
        }
        break;
    case COMMON(queue_enable):
        if (data == 1) {
            enable_queue(queue);
        }
        break;
    case COMMON(queue_desc_lo):
    case COMMON(queue_desc_hi):
        set_half(&queue->desc, offset == COMMON(queue_desc_hi), data);
        break;
    case COMMON(queue_avail_lo):
    case COMMON(queue_avail_hi):
        set_half(&queue->avail, offset == COMMON(queue_avail_hi), data);
        break;
    case COMMON(queue_used_lo):
    case COMMON(queue_used_hi):
        set_half(&queue->used, offset == COMMON(queue_used_hi), data);
        break;
    default:
        break;
    }
}

static void write_common(VirtioDevice *device, hwaddr offset, uint32_t data)
{
    VirtQueue *queue = selected(device);

    switch (offset) {
    case COMMON(device_feature_select):
        device->offered_select = data;
        break;
    case COMMON(guest_feature_select):
        device->accepted_select = data;
        break;
    case COMMON(guest_feature):
        if (device->accepted_select < 2 && !(device->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
            set_half(&device->accepted, device->accepted_select, data);
        }
        break;
    case COMMON(msix_config):
        device->config_vector = vector_of(device, data);
        break;
    case COMMON(device_status):
        set_status(device, (uint8_t)data);
        break;
    case COMMON(queue_select):
        device->queue_select = (uint16_t)data;
        break;
    default:
        if (queue) {
            write_queue(queue, offset, data);
        }
    }
}

static uint64_t common_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)size;
    return ((VirtioDevice *)opaque)->busy ? 0 : read_common(opaque, addr);
}

static void common_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)size;
    if (!((VirtioDevice *)opaque)->busy) {
        write_common(opaque, addr, (uint32_t)data);
    }
}

/* ---- The other structures -------------------------------------------------------------- */

static uint64_t isr_read(void *opaque, hwaddr addr, unsigned size)
{
    VirtioDevice *device = opaque;
    uint8_t isr = device->isr;

    (void)size;
    if (addr || device->busy) {
        return 0;
    }
    device->isr = 0;
    pci_set_irq(&device->pci, false);
    return isr;
}

static uint64_t device_read(void *opaque, hwaddr addr, unsigned size)
{
    VirtioDevice *device = opaque;

    (void)size;
    return device->busy ? 0 : device->kind->read_config(device, (unsigned)addr);
}

/* Where it is written says which queue. */
static void notify_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    VirtioDevice *device = opaque;
    hwaddr index = addr / NOTIFY_MULTIPLIER;

    (void)data, (void)size;
    if (!device->busy && index < device->kind->nr_queues && device->queues[index].enabled &&
        virtio_is_live(device)) {
        device->kind->notified(device, &device->queues[index]);
    }
}

/* What has no callback reads as 0, and is not written. */
static const MemoryRegionOps part_ops[NR_PARTS] = {
    [PART_COMMON] = {.read = common_read, .write = common_write},
    [PART_ISR] = {.read = isr_read, .impl.max_access_size = 1},
    [PART_DEVICE] = {.read = device_read, .impl.max_access_size = 1},
    [PART_NOTIFY] = {.write = notify_write},
};

/* ---- The window through configuration space -------------------------------------------- */

#define WINDOW_DATA sizeof(struct virtio_pci_cap)

/* The access that the window's registers describe, one that it takes; NULL: none. */
static MemoryRegion *window_target(VirtioDevice *device, hwaddr *offset, MemOp *op)
{
    const uint8_t *cap = device->pci.config + device->access_capability;
    uint32_t at = pci_get_long(cap + VIRTIO_PCI_CAP_OFFSET);
    uint32_t len = pci_get_long(cap + VIRTIO_PCI_CAP_LENGTH);

    if (cap[VIRTIO_PCI_CAP_BAR] != MEMORY_BAR || (len != 1 && len != 2 && len != 4) || at % len ||
        at >= NR_PARTS * PART_SIZE) {
        return NULL;
    }
    *offset = at % PART_SIZE;
    *op = len == 4 ? MO_32 : len == 2 ? MO_16 : MO_8;
    return &device->parts[at / PART_SIZE];
}

static bool touches_window(const VirtioDevice *device, unsigned addr, unsigned len)
{
    unsigned data = device->access_capability + (unsigned)WINDOW_DATA;

    return addr < data + 4 && addr + len > data;
}

static void config_read(PciDevice *pci, unsigned addr, unsigned len)
{
    VirtioDevice *device = (VirtioDevice *)pci;
    uint64_t value = 0;
    hwaddr offset;
    MemOp op;
    MemoryRegion *target =
        touches_window(device, addr, len) ? window_target(device, &offset, &op) : NULL;

    if (target) {
        memory_region_dispatch_read(target, offset, &value, op, (MemTxAttrs){0});
        pci_set_long(pci->config + device->access_capability + WINDOW_DATA, (uint32_t)value);
    }
}

static void config_settled(PciDevice *pci, unsigned addr, unsigned len)
{
    VirtioDevice *device = (VirtioDevice *)pci;
    hwaddr offset;
    MemOp op;
    MemoryRegion *target =
        touches_window(device, addr, len) ? window_target(device, &offset, &op) : NULL;

    if (target) {
        memory_region_dispatch_write(
            target, offset, pci_get_long(pci->config + device->access_capability + WINDOW_DATA), op,
            (MemTxAttrs){0});
    }
    msix_config_written(&device->msix);
}

/* ---- Making it ------------------------------------------------------------------------- */

/* A capability that says where structure @type is, @size bytes long. Its offset. */
static uint8_t add_structure(VirtioDevice *device, uint8_t type, unsigned part, size_t size)
{
    uint8_t at = pci_add_capability(&device->pci, PCI_CAP_ID_VNDR, (uint8_t)size);
    uint8_t *cap = device->pci.config + at;

    cap[VIRTIO_PCI_CAP_LEN] = (uint8_t)size;
    cap[VIRTIO_PCI_CAP_CFG_TYPE] = type;
    if (type != VIRTIO_PCI_CAP_PCI_CFG) {
        cap[VIRTIO_PCI_CAP_BAR] = MEMORY_BAR;
        pci_set_long(cap + VIRTIO_PCI_CAP_OFFSET, part * PART_SIZE);
        pci_set_long(cap + VIRTIO_PCI_CAP_LENGTH, PART_SIZE);
    }
    return at;
}

static void add_capabilities(VirtioDevice *device)
{
    PciDevice *pci = &device->pci;
    size_t plain = sizeof(struct virtio_pci_cap);

    add_structure(device, VIRTIO_PCI_CAP_COMMON_CFG, PART_COMMON, plain);
    add_structure(device, VIRTIO_PCI_CAP_ISR_CFG, PART_ISR, plain);
    add_structure(device, VIRTIO_PCI_CAP_DEVICE_CFG, PART_DEVICE, plain);
    uint8_t at = add_structure(device, VIRTIO_PCI_CAP_NOTIFY_CFG, PART_NOTIFY,
                               sizeof(struct virtio_pci_notify_cap));
    pci_set_long(pci->config + at + plain, NOTIFY_MULTIPLIER);

    at = add_structure(device, VIRTIO_PCI_CAP_PCI_CFG, 0, plain + 4);
    device->access_capability = at;
    pci->wmask[at + VIRTIO_PCI_CAP_BAR] = 0xff;
    memset(pci->wmask + at + VIRTIO_PCI_CAP_OFFSET, 0xff, 12); /* offset, length, data */
}

static int make_bar(VirtioDevice *device)
{
    Device *owner = &device->pci.device;
    int result = memory_region_init(&device->bar, owner->owner, "virtio-pci", NR_PARTS * PART_SIZE);

    for (unsigned i = 0; i < NR_PARTS && !result; i++) {
        result = memory_region_init_io(&device->parts[i], owner->owner, &part_ops[i], device,
                                       device->kind->part_names[i], PART_SIZE);
        if (!result) {
            result = device_map(owner, &device->bar, i * PART_SIZE, &device->parts[i], 0);
        }
    }
    return result ? result
                  : pci_register_bar(&device->pci, MEMORY_BAR,
                                     PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH,
                                     &device->bar);
}

static void reset(Device *device)
{
    reset_device((VirtioDevice *)device);
    msix_reset(&((VirtioDevice *)device)->msix);
}

void *virtio_create(PciBus *bus, size_t size, const VirtioKind *kind, uint8_t devfn,
                    uint64_t features)
{
    VirtioDevice *device =
        pci_create_on(bus, size, kind->name, devfn, 0x1af4, kind->id, 1, kind->class_code, reset);

    if (!device) {
        return NULL;
    }
    device->kind = kind;
    device->offered = features | TRANSPORT_FEATURES;
    device->pci.config[PCI_INTERRUPT_PIN] = 1;
    device->pci.config_read = config_read;
    device->pci.config_settled = config_settled;
    add_capabilities(device);
    if (make_bar(device) < 0 || msix_init(&device->msix, &device->pci, kind->nr_queues + 1,
                                          MSIX_BAR, kind->msix_name) < 0) {
        return NULL;
    }
    return device;
}
