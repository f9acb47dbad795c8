/* SPDX-License-Identifier: MIT */
/*
 * PCI functions: making them, their configuration space, and what it shows in the map.
 *
 * A write to configuration space changes bytes; apply() then brings the map in line with them:
 * BARs, the bus master window, and what the device itself derives (PAM segments, say). All of it
 * is one transaction, so a CPU sees a BAR at its old place or at its new one. If the
 * map cannot follow (KVM has no slot left), the bytes are taken back.
 */
#include "pci.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define COMMAND_WRITABLE                                                                           \
    (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR |                 \
     PCI_COMMAND_INTX_DISABLE)

static bool is_bridge(const PciDevice *pci)
{
    return (pci->config[PCI_HEADER_TYPE] & 0x7f) == PCI_HEADER_TYPE_BRIDGE;
}

static uint16_t command(const PciDevice *pci)
{
    return pci_get_word(pci->config + PCI_COMMAND);
}

/* ---- BARs ------------------------------------------------------------------------------ */

static unsigned bar_register(const PciDevice *pci, unsigned index)
{
    if (index == PCI_ROM_BAR) {
        return is_bridge(pci) ? PCI_ROM_ADDRESS1 : PCI_ROM_ADDRESS;
    }
    return PCI_BASE_ADDRESS_0 + 4 * index;
}

static bool is_64_bit(const PciBar *bar)
{
    return !(bar->type & PCI_BASE_ADDRESS_SPACE_IO) &&
           (bar->type & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
}

/*
 * Where the registers put the BAR. As on a real QEMU, neither address 0 nor an address that ends
 * the space is one: that is what sizing leaves in the registers for a while.
 */
static hwaddr bar_wanted(const PciDevice *pci, unsigned index)
{
    const PciBar *bar = &pci->bars[index];
    const uint8_t *reg = pci->config + bar_register(pci, index);
    hwaddr addr = pci_get_long(reg), top = UINT32_MAX;
    bool decodes;

    if (index == PCI_ROM_BAR) {
        decodes = (addr & PCI_ROM_ADDRESS_ENABLE) && (command(pci) & PCI_COMMAND_MEMORY);
    } else if (bar->type & PCI_BASE_ADDRESS_SPACE_IO) {
        decodes = command(pci) & PCI_COMMAND_IO;
    } else {
        decodes = command(pci) & PCI_COMMAND_MEMORY;
    }
    if (is_64_bit(bar)) {
        addr |= (hwaddr)pci_get_long(reg + 4) << 32;
        top = UINT64_MAX;
    }
    addr &= ~(bar->size - 1);
    return decodes && addr && bar->size - 1 < top - addr ? addr : PCI_BAR_UNMAPPED;
}

static MemoryRegion *bar_container(const PciDevice *pci, const PciBar *bar)
{
    return bar->type & PCI_BASE_ADDRESS_SPACE_IO ? pci->bus->io : pci->bus->memory;
}

static int bar_move(PciDevice *pci, PciBar *bar, hwaddr addr)
{
    MemoryRegion *container = bar_container(pci, bar);
    int result = 0;

    if (addr == bar->addr) {
        return 0;
    }
    if (bar->addr != PCI_BAR_UNMAPPED) {
        result = memory_region_del_subregion(container, bar->mr);
    }
    if (!result) {
        bar->addr = PCI_BAR_UNMAPPED;
        if (addr != PCI_BAR_UNMAPPED) {
            result = memory_region_add_subregion_overlap(container, addr, bar->mr, 1);
        }
    }
    if (!result) {
        bar->addr = addr;
    }
    return result;
}

/* ---- Carrying out what the configuration says ------------------------------------------ */

static void update_irq(PciDevice *pci)
{
    bool pull = pci->irq_level && !(command(pci) & PCI_COMMAND_INTX_DISABLE);
    unsigned pin = (pci->config[PCI_INTERRUPT_PIN] - 1U) % PCI_NR_PINS;
    PciDevice *at = pci;

    if (pull == pci->irq_pulled || !pci->config[PCI_INTERRUPT_PIN]) {
        return;
    }
    pci->irq_pulled = pull;
    for (; at->bus->bridge; at = at->bus->bridge) { /* a bridge turns them by the slot */
        pin = (pin + PCI_SLOT(at->devfn)) % PCI_NR_PINS;
    }
    PciBus *bus = at->bus;
    pin = (pin + PCI_SLOT(at->devfn) + PCI_NR_PINS - 1) % PCI_NR_PINS; /* slot 1's A is PIRQ A */
    bus->pulled[pin] += pull ? 1U : -1U;
    if (bus->set_pirq && bus->pulled[pin] == (pull ? 1 : 0)) {
        bus->set_pirq(bus->pirq_opaque, pin, pull);
    }
}

static int apply(PciDevice *pci, unsigned addr, unsigned len)
{
    int result = 0;

    for (unsigned i = 0; i <= PCI_ROM_BAR && !result; i++) {
        if (pci->bars[i].mr) {
            result = bar_move(pci, &pci->bars[i], bar_wanted(pci, i));
        }
    }
    if (!result) {
        result = memory_region_set_enabled(&pci->bus_master, command(pci) & PCI_COMMAND_MASTER);
    }
    if (pci->config_written) {
        pci->config_written(pci, addr, len);
    }
    update_irq(pci);
    return result;
}

/*
 * Bring the machine in line with the configuration, of which @len bytes at @addr are new; on an
 * error go back to @before.
 */
static void follow(PciDevice *pci, unsigned addr, unsigned len, const uint8_t *before)
{
    MemorySystem *ms = pci->device.machine->ms;

    memory_region_transaction_begin(ms);
    int result = apply(pci, addr, len);
    if (result || memory_region_transaction_commit(ms)) {
        vmm_complain("%s: the map cannot follow its registers: %s", pci->device.name,
                     membus_last_error());
        memcpy(pci->config, before, sizeof(pci->config));
        apply(pci, 0, PCI_CONFIG_SIZE);
        /* What was there before asks for nothing but some memory to render it. */
        while (memory_region_transaction_commit(ms)) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
    }
}

/* ---- Configuration cycles -------------------------------------------------------------- */

static bool inside(unsigned addr, unsigned len)
{
    return len >= 1 && len <= 4 && addr <= PCI_CONFIG_SIZE - len;
}

uint32_t pci_config_read(PciDevice *pci, unsigned addr, unsigned len)
{
    uint32_t value = 0;

    if (!inside(addr, len)) {
        return UINT32_MAX;
    }
    if (pci->config_read) {
        pci->config_read(pci, addr, len);
    }
    for (unsigned i = 0; i < len; i++) {
        value |= (uint32_t)pci->config[addr + i] << 8 * i;
    }
    return value;
}

void pci_config_write(PciDevice *pci, unsigned addr, uint32_t value, unsigned len)
{
    uint8_t before[PCI_CONFIG_SIZE];

    if (!inside(addr, len)) {
        return;
    }
    memcpy(before, pci->config, sizeof(before));
    for (unsigned i = 0; i < len; i++) {
        unsigned at = addr + i;
        uint8_t byte = (uint8_t)(value >> 8 * i), writable = pci->wmask[at];
        pci->config[at] = (uint8_t)((pci->config[at] & ~writable) | (byte & writable));
        pci->config[at] = (uint8_t)(pci->config[at] & ~(byte & pci->w1cmask[at]));
    }
    follow(pci, addr, len, before);
    if (pci->config_settled) {
        pci->config_settled(pci, addr, len);
    }
}

/* The bridge on @bus that leads towards bus @number. */
static PciDevice *find_bridge(const PciBus *bus, unsigned number)
{
    for (unsigned i = 0; i < 256; i++) {
        PciDevice *pci = bus->devices[i];
        if (pci && pci->secondary && number >= pci->config[PCI_SECONDARY_BUS] &&
            number <= pci->config[PCI_SUBORDINATE_BUS]) {
            return pci;
        }
    }
    return NULL;
}

PciDevice *pci_find(PciBus *bus, unsigned number, uint8_t devfn)
{
    unsigned here = 0;

    while (number != here) { /* each turn goes down the tree that the board built */
        PciDevice *bridge = find_bridge(bus, number);
        if (!bridge) {
            return NULL;
        }
        bus = bridge->secondary;
        here = bridge->config[PCI_SECONDARY_BUS];
    }
    return bus->devices[devfn];
}

/* ---- Interrupts ------------------------------------------------------------------------ */

void pci_set_irq(PciDevice *pci, bool level)
{
    pci->irq_level = level;
    pci->config[PCI_STATUS] = (uint8_t)(level ? pci->config[PCI_STATUS] | PCI_STATUS_INTERRUPT
                                              : pci->config[PCI_STATUS] & ~PCI_STATUS_INTERRUPT);
    update_irq(pci);
}

/* ---- Life ------------------------------------------------------------------------------ */

static void reset(Device *device)
{
    PciDevice *pci = (PciDevice *)device;
    uint8_t before[PCI_CONFIG_SIZE];

    pci_set_irq(pci, false);
    memcpy(before, pci->config, sizeof(before));
    memcpy(pci->config, pci->reset_config, sizeof(pci->config));
    follow(pci, 0, PCI_CONFIG_SIZE, before);
    if (pci->reset) {
        pci->reset(device);
    }
}

void pci_unrealize(Device *device)
{
    PciDevice *pci = (PciDevice *)device;

    pci_set_irq(pci, false);
    for (unsigned i = 0; i <= PCI_ROM_BAR; i++) {
        if (pci->bars[i].mr) {
            bar_move(pci, &pci->bars[i], PCI_BAR_UNMAPPED);
        }
    }
    if (pci->bus->devices[pci->devfn] == pci) {
        pci->bus->devices[pci->devfn] = NULL;
    }
    address_space_destroy(&pci->dma);
}

static int make_bus_master(PciDevice *pci)
{
    Device *device = &pci->device;
    MemoryRegion *system = get_system_memory(device->machine->ms);
    int result;

    if ((result = memory_region_init(&pci->bus_master_container, device->owner,
                                     "bus master container", UINT64_MAX)) < 0 ||
        (result = memory_region_init_alias(&pci->bus_master, device->owner, "bus master", system, 0,
                                           UINT64_MAX)) < 0 ||
        (result = memory_region_set_enabled(&pci->bus_master, false)) < 0 ||
        (result = device_map(device, &pci->bus_master_container, 0, &pci->bus_master, 0)) < 0) {
        return result;
    }
    return address_space_init(&pci->dma, &pci->bus_master_container, device->name);
}

void *pci_create_on(PciBus *bus, size_t size, const char *name, uint8_t devfn, uint16_t vendor,
                    uint16_t id, uint8_t revision, uint16_t class_code,
                    void (*device_reset)(Device *device))
{
    PciDevice *bridge = bus->bridge;
    char path[64]; /* names the owner, and so the RAM blocks: 0000:00:02.0/vga.vram */

    snprintf(path, sizeof(path), "%s:%02x.%x",
             bridge ? memory_owner_name(bridge->device.owner) : "0000:00", PCI_SLOT(devfn),
             PCI_FUNC(devfn));
    PciDevice *pci = device_create(bus->machine, size, path, reset);
    if (!pci) {
        return NULL;
    }
    pci->device.name = name;
    pci->reset = device_reset;
    pci->bus = bus;
    pci->devfn = devfn;
    pci_set_word(pci->config + PCI_VENDOR_ID, vendor);
    pci_set_word(pci->config + PCI_DEVICE_ID, id);
    pci->config[PCI_REVISION_ID] = revision;
    pci_set_word(pci->config + PCI_CLASS_DEVICE, class_code);
    pci_set_word(pci->config + PCI_SUBSYSTEM_VENDOR_ID, 0x1af4);
    pci_set_word(pci->config + PCI_SUBSYSTEM_ID, 0x1100);
    pci_set_word(pci->wmask + PCI_COMMAND, COMMAND_WRITABLE);
    pci->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
    pci->wmask[PCI_INTERRUPT_LINE] = 0xff;
    memset(pci->wmask + PCI_STD_HEADER_SIZEOF, 0xff, PCI_CONFIG_SIZE - PCI_STD_HEADER_SIZEOF);
    if (make_bus_master(pci)) {
        return NULL;
    }
    pci->device.unrealize = pci_unrealize;
    return pci;
}

void *pci_create(Machine *m, size_t size, const char *name, uint8_t devfn, uint16_t vendor,
                 uint16_t id, uint8_t revision, uint16_t class_code,
                 void (*device_reset)(Device *device))
{
    return pci_create_on(m->pci, size, name, devfn, vendor, id, revision, class_code, device_reset);
}

int pci_register_bar(PciDevice *pci, unsigned index, uint32_t type, MemoryRegion *mr)
{
    bool io = type & PCI_BASE_ADDRESS_SPACE_IO, rom = index == PCI_ROM_BAR;
    PciBar *bar = &pci->bars[index];
    unsigned reg = bar_register(pci, index);
    hwaddr size = io ? 4 : rom ? 2048 : 16;

    while (size < memory_region_size(mr) && size < (hwaddr)1 << 62) {
        size <<= 1;
    }
    bar->mr = mr;
    bar->type = type;
    bar->size = size;
    bar->addr = PCI_BAR_UNMAPPED;
    uint64_t mask = ~(size - 1) | (rom ? PCI_ROM_ADDRESS_ENABLE : 0);
    pci_set_long(pci->config + reg, type);
    pci_set_long(pci->wmask + reg, (uint32_t)mask);
    if (is_64_bit(bar)) {
        pci_set_long(pci->wmask + reg + 4, (uint32_t)(mask >> 32));
    } else if (size > (hwaddr)1 << 31) {
        return error_set(NULL, EINVAL, "BAR %u of %s is too large for 32 bits", index,
                         pci->device.name);
    }
    return 0;
}

uint8_t pci_add_capability(PciDevice *pci, uint8_t id, uint8_t size)
{
    unsigned at = PCI_STD_HEADER_SIZEOF;

    /* Each one is put before the others in the list, and after them in space. */
    for (uint8_t cap = pci->config[PCI_CAPABILITY_LIST]; cap; cap = pci->config[cap + 1]) {
        unsigned end = cap + pci->capability_size[cap / 4];
        at = end > at ? end : at;
    }
    at = (at + 3) & ~3U;
    if (at + size > PCI_CONFIG_SIZE) {
        return 0;
    }
    pci->config[at] = id;
    pci->config[at + 1] = pci->config[PCI_CAPABILITY_LIST];
    pci->config[PCI_CAPABILITY_LIST] = (uint8_t)at;
    pci->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    pci->capability_size[at / 4] = size;
    memset(pci->wmask + at, 0, size);
    return (uint8_t)at;
}

int pci_realize(PciDevice *pci)
{
    memcpy(pci->reset_config, pci->config, sizeof(pci->config));
    if (pci->bus->devices[pci->devfn]) {
        return error_set(NULL, EBUSY, "PCI slot %u.%u of %s is taken", PCI_SLOT(pci->devfn),
                         PCI_FUNC(pci->devfn), pci->device.name);
    }
    pci->bus->devices[pci->devfn] = pci;
    return 0;
}
