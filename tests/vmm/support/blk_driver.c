/* SPDX-License-Identifier: MIT */
/* A driver for the virtio disk. */
#include "blk_driver.h"

#include <stddef.h>

#define COMMON(field) (d->common + offsetof(struct virtio_pci_common_cfg, field))

uint64_t guest_load(PciBoard *b, hwaddr addr, unsigned size)
{
    uint8_t bytes[8] = {0};
    uint64_t value = 0;

    address_space_read(memory_system_memory(b->m.ms), addr, ATTRS, bytes, size);
    for (unsigned i = 0; i < size; i++) {
        value |= (uint64_t)bytes[i] << 8 * i;
    }
    return value;
}

void guest_store(PciBoard *b, hwaddr addr, unsigned size, uint64_t value)
{
    uint8_t bytes[8];

    for (unsigned i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> 8 * i);
    }
    address_space_write(memory_system_memory(b->m.ms), addr, ATTRS, bytes, size);
}

void blk_driver_find(BlkDriver *d, PciBoard *b, uint32_t at)
{
    *d = (BlkDriver){.b = b, .at = at};
    config_writel(b, at, 0x14, 0x90000000);
    config_writel(b, at, 0x20, 0x80000000);
    config_writel(b, at, 0x24, 0);
    config_writew(b, at, 4, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    unsigned cap = config_readb(b, at, 0x34);
    for (unsigned left = 16; cap && left; left--, cap = config_readb(b, at, cap + 1)) {
        if (config_readb(b, at, cap) != PCI_CAP_ID_VNDR) {
            continue;
        }
        hwaddr where = 0x80000000 + config_readl(b, at, cap + 8);
        switch (config_readb(b, at, cap + 3)) {
        case VIRTIO_PCI_CAP_COMMON_CFG:
            d->common = where;
            break;
        case VIRTIO_PCI_CAP_NOTIFY_CFG:
            d->notify = where;
            break;
        case VIRTIO_PCI_CAP_ISR_CFG:
            d->isr = where;
            break;
        case VIRTIO_PCI_CAP_DEVICE_CFG:
            d->device = where;
            break;
        default:
            break;
        }
    }
    guest_store(b, COMMON(device_status), 1, 0);
}

uint8_t blk_driver_status(BlkDriver *d)
{
    return (uint8_t)guest_load(d->b, COMMON(device_status), 1);
}

bool blk_driver_start(BlkDriver *d, uint64_t features)
{
    PciBoard *b = d->b;

    d->features = features | UINT64_C(1) << VIRTIO_F_VERSION_1;
    d->next_avail = d->next_used = 0;
    guest_store(b, COMMON(device_status), 1, 3);
    for (unsigned i = 0; i < 2; i++) {
        guest_store(b, COMMON(guest_feature_select), 4, i);
        guest_store(b, COMMON(guest_feature), 4, d->features >> 32 * i);
    }
    guest_store(b, COMMON(device_status), 1, 0xb);
    if (!(blk_driver_status(d) & VIRTIO_CONFIG_S_FEATURES_OK)) {
        return false;
    }
    for (unsigned i = 0; i < 0x1000; i += 8) {
        guest_store(b, AVAIL + i, 8, 0);
        guest_store(b, USED + i, 8, 0);
    }
    guest_store(b, COMMON(queue_select), 2, 0);
    guest_store(b, COMMON(queue_size), 2, QUEUE_SIZE);
    guest_store(b, COMMON(queue_msix_vector), 2, 1);
    guest_store(b, COMMON(queue_desc_lo), 8, DESC);
    guest_store(b, COMMON(queue_avail_lo), 8, AVAIL);
    guest_store(b, COMMON(queue_used_lo), 8, USED);
    guest_store(b, COMMON(queue_enable), 2, 1);
    guest_store(b, COMMON(device_status), 1, 0xf);
    return true;
}

void blk_driver_descriptor(BlkDriver *d, hwaddr table, unsigned index, hwaddr addr, uint32_t len,
                           unsigned flags, unsigned next)
{
    guest_store(d->b, table + 16 * index, 8, addr);
    guest_store(d->b, table + 16 * index + 8, 4, len);
    guest_store(d->b, table + 16 * index + 12, 2, flags);
    guest_store(d->b, table + 16 * index + 14, 2, next);
}

void blk_driver_kick(BlkDriver *d, unsigned head)
{
    guest_store(d->b, AVAIL + 4 + 2U * (d->next_avail % QUEUE_SIZE), 2, head);
    guest_store(d->b, AVAIL + 2, 2, ++d->next_avail);
    guest_store(d->b, d->notify, 2, 0);
}

int blk_driver_wait(BlkDriver *d, uint32_t *len)
{
    for (unsigned i = 0; i < 200; i++) {
        if (guest_load(d->b, USED + 2, 2) != d->next_used) {
            hwaddr slot = USED + 4 + 8U * (d->next_used++ % QUEUE_SIZE);
            *len = (uint32_t)guest_load(d->b, slot + 4, 4);
            return (int)guest_load(d->b, slot, 4);
        }
        if (blk_driver_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET) {
            break;
        }
        pci_board_serve(d->b, 10);
    }
    return -1;
}

int blk_driver_request(BlkDriver *d, uint32_t type, uint64_t sector, const uint32_t *lens,
                       unsigned count, bool indirect)
{
    hwaddr table = indirect ? TABLE : DESC, at = BUFFERS;
    unsigned write = type == VIRTIO_BLK_T_OUT ? 0 : VRING_DESC_F_WRITE;
    uint32_t len;

    guest_store(d->b, HEADER, 4, type);
    guest_store(d->b, HEADER + 4, 4, 0);
    guest_store(d->b, HEADER + 8, 8, sector);
    guest_store(d->b, STATUS, 1, 0xee);
    blk_driver_descriptor(d, table, 0, HEADER, 16, VRING_DESC_F_NEXT, 1);
    for (unsigned i = 0; i < count; i++) {
        blk_driver_descriptor(d, table, 1 + i, at, lens[i], VRING_DESC_F_NEXT | write, 2 + i);
        at += lens[i] + 512;
    }
    blk_driver_descriptor(d, table, 1 + count, STATUS, 1, VRING_DESC_F_WRITE, 0);
    if (indirect) {
        blk_driver_descriptor(d, DESC, 5, TABLE, 16 * (count + 2), VRING_DESC_F_INDIRECT, 0);
    }
    blk_driver_kick(d, indirect ? 5 : 0);
    if (blk_driver_wait(d, &len) != (indirect ? 5 : 0)) {
        return -1;
    }
    return (int)guest_load(d->b, STATUS, 1);
}
