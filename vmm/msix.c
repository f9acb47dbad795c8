/* SPDX-License-Identifier: MIT */
/* Message-signalled interrupts: the table, the pending bits, and sending one. */
#include "msix.h"

#include <membus/access.h>
#include <string.h>

enum { ENTRY_ADDRESS, ENTRY_ADDRESS_HIGH, ENTRY_DATA, ENTRY_CONTROL };

#define ENTRY_SIZE 16U
#define PBA_OFFSET 0x800
#define BAR_SIZE 0x1000

static uint16_t control(const Msix *msix)
{
    return pci_get_word(msix->pci->config + msix->capability + PCI_MSIX_FLAGS);
}

bool msix_enabled(const Msix *msix)
{
    return control(msix) & PCI_MSIX_FLAGS_ENABLE;
}

static bool is_masked(const Msix *msix, unsigned vector)
{
    return (control(msix) & PCI_MSIX_FLAGS_MASKALL) ||
           (msix->entries[vector][ENTRY_CONTROL] & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

void msix_notify(Msix *msix, unsigned vector)
{
    if (vector >= msix->nr_vectors || !msix_enabled(msix)) {
        return;
    }
    if (is_masked(msix, vector)) {
        msix->pending |= 1U << vector;
        return;
    }
    const uint32_t *entry = msix->entries[vector];
    MemTxAttrs attrs = {.requester_id = msix->pci->devfn};
    msix->pending &= ~(1U << vector);
    address_space_stl_le(pci_dma(msix->pci),
                         entry[ENTRY_ADDRESS] | (hwaddr)entry[ENTRY_ADDRESS_HIGH] << 32,
                         entry[ENTRY_DATA], attrs, NULL);
}

void msix_config_written(Msix *msix)
{
    for (unsigned i = 0; i < msix->nr_vectors; i++) {
        if (msix->pending >> i & 1 && !is_masked(msix, i)) {
            msix_notify(msix, i);
        }
    }
}

/* ---- What the guest sees --------------------------------------------------------------- */

static uint64_t table_read(void *opaque, hwaddr addr, unsigned size)
{
    const Msix *msix = opaque;

    (void)size;
    return msix->entries[addr / ENTRY_SIZE][addr % ENTRY_SIZE / 4];
}

static void table_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Msix *msix = opaque;

    (void)size;
    msix->entries[addr / ENTRY_SIZE][addr % ENTRY_SIZE / 4] = (uint32_t)data;
    msix_config_written(msix);
}

static uint64_t pba_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)size;
    return addr ? 0 : ((Msix *)opaque)->pending;
}

static const MemoryRegionOps table_ops = {
    .read = table_read,
    .write = table_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 4, .max_access_size = 8},
    .impl = {.min_access_size = 4, .max_access_size = 4},
};

/* Read-only. */
static const MemoryRegionOps pba_ops = {
    .read = pba_read,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 4, .max_access_size = 8},
    .impl = {.min_access_size = 4, .max_access_size = 4},
};

void msix_reset(Msix *msix)
{
    memset(msix->entries, 0, sizeof(msix->entries));
    msix->pending = 0;
    for (unsigned i = 0; i < msix->nr_vectors; i++) {
        msix->entries[i][ENTRY_CONTROL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
    }
}

int msix_init(Msix *msix, PciDevice *pci, unsigned vectors, unsigned bar, const char *name)
{
    Device *device = &pci->device;
    uint8_t cap = pci_add_capability(pci, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
    int result;

    msix->pci = pci;
    msix->capability = cap;
    msix->nr_vectors = vectors;
    msix_reset(msix);
    pci_set_word(pci->config + cap + PCI_MSIX_FLAGS, (uint16_t)(vectors - 1));
    pci_set_long(pci->config + cap + PCI_MSIX_TABLE, bar);
    pci_set_long(pci->config + cap + PCI_MSIX_PBA, PBA_OFFSET | bar);
    pci_set_word(pci->wmask + cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    if ((result = memory_region_init(&msix->bar, device->owner, name, BAR_SIZE)) < 0 ||
        (result = memory_region_init_io(&msix->table, device->owner, &table_ops, msix, "msix-table",
                                        vectors * ENTRY_SIZE)) < 0 ||
        (result = device_map(device, &msix->bar, 0, &msix->table, 0)) < 0 ||
        (result = memory_region_init_io(&msix->pba, device->owner, &pba_ops, msix, "msix-pba", 8)) <
            0 ||
        (result = device_map(device, &msix->bar, PBA_OFFSET, &msix->pba, 0)) < 0) {
        return result;
    }
    return pci_register_bar(pci, bar, 0, &msix->bar);
}
