/* SPDX-License-Identifier: MIT */
/*
 * A PCI to PCI bridge: a bus of its own, of which three windows show on the bus above.
 *
 *      bus above   ... pci_bridge_io, pci_bridge_mem, pci_bridge_pref_mem (aliases) ...
 *      behind      pci_bridge_io, pci_bridge_pci: what BARs there are put into
 *
 * A window is from its base register to its limit register; one whose limit is below its base, or
 * whose decoding is off, shows nothing. The numbers of the buses behind it say which
 * configuration cycles it passes on (pci_find()).
 */
#include "pci.h"

#include <errno.h>

typedef struct PciBridge {
    PciDevice pci;
    PciBus bus;
    MemoryRegion io, memory;                         /* behind it */
    MemoryRegion io_window, mem_window, pref_window; /* aliases of them */
} PciBridge;

/* ---- Windows --------------------------------------------------------------------------- */

static int show(MemoryRegion *window, bool decodes, hwaddr base, hwaddr limit)
{
    hwaddr size = !decodes || limit < base     ? 0
                  : limit - base == UINT64_MAX ? UINT64_MAX /* 2^64 */
                                               : limit - base + 1;
    int result = memory_region_set_size(window, size);

    if (!result) {
        result = memory_region_set_alias_offset(window, size ? base : 0);
    }
    return result ? result : memory_region_set_address(window, size ? base : 0);
}

/* The upper twelve bits of a memory base or limit register are those of the address. */
static hwaddr memory_address(const uint8_t *reg)
{
    return (hwaddr)(pci_get_word(reg) & 0xfff0U) << 16;
}

static void config_written(PciDevice *pci, unsigned addr, unsigned len)
{
    PciBridge *bridge = (PciBridge *)pci;
    const uint8_t *config = pci->config;
    uint16_t command = pci_get_word(config + PCI_COMMAND);
    hwaddr io_base = (hwaddr)(config[PCI_IO_BASE] & 0xf0U) << 8;
    hwaddr io_limit = (hwaddr)(config[PCI_IO_LIMIT] & 0xf0U) << 8 | 0xfff;
    hwaddr pref_base = memory_address(config + PCI_PREF_MEMORY_BASE) |
                       (hwaddr)pci_get_long(config + PCI_PREF_BASE_UPPER32) << 32;
    hwaddr pref_limit = memory_address(config + PCI_PREF_MEMORY_LIMIT) | 0xfffff |
                        (hwaddr)pci_get_long(config + PCI_PREF_LIMIT_UPPER32) << 32;

    (void)addr, (void)len;
    show(&bridge->io_window, command & PCI_COMMAND_IO, io_base, io_limit);
    show(&bridge->mem_window, command & PCI_COMMAND_MEMORY,
         memory_address(config + PCI_MEMORY_BASE),
         memory_address(config + PCI_MEMORY_LIMIT) | 0xfffff);
    show(&bridge->pref_window, command & PCI_COMMAND_MEMORY, pref_base, pref_limit);
}

/* ---- Making it ------------------------------------------------------------------------- */

static void set_masks(PciDevice *pci)
{
    static const uint8_t plain[] = {PCI_PRIMARY_BUS, PCI_SECONDARY_BUS, PCI_SUBORDINATE_BUS};

    pci->config[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
    pci_set_long(pci->config + PCI_SUBSYSTEM_VENDOR_ID, 0); /* not in this header */
    for (unsigned i = 0; i < sizeof(plain); i++) {
        pci->wmask[plain[i]] = 0xff;
    }
    pci->wmask[PCI_IO_BASE] = pci->wmask[PCI_IO_LIMIT] = 0xf0;
    pci_set_long(pci->wmask + PCI_MEMORY_BASE, 0xfff0fff0);
    pci_set_long(pci->wmask + PCI_PREF_MEMORY_BASE, 0xfff0fff0);
    pci_set_long(pci->wmask + PCI_PREF_BASE_UPPER32, UINT32_MAX);
    pci_set_long(pci->wmask + PCI_PREF_LIMIT_UPPER32, UINT32_MAX);
    pci_set_long(pci->config + PCI_PREF_MEMORY_BASE,
                 PCI_PREF_RANGE_TYPE_64 << 16 | PCI_PREF_RANGE_TYPE_64);
}

static int make_window(PciBridge *bridge, MemoryRegion *window, const char *name,
                       MemoryRegion *behind, MemoryRegion *above)
{
    Device *device = &bridge->pci.device;
    int result = memory_region_init_alias(window, device->owner, name, behind, 0, 0);

    return result ? result : device_map(device, above, 0, window, 1);
}

static int make_windows(PciBridge *bridge)
{
    PciBus *above = bridge->pci.bus;
    MemoryOwner *owner = bridge->pci.device.owner;
    int result;

    if ((result = memory_region_init(&bridge->io, owner, "pci_bridge_io", (hwaddr)1 << 32)) < 0 ||
        (result = memory_region_init(&bridge->memory, owner, "pci_bridge_pci", UINT64_MAX)) < 0 ||
        (result = make_window(bridge, &bridge->io_window, "pci_bridge_io", &bridge->io,
                              above->io)) < 0 ||
        (result = make_window(bridge, &bridge->mem_window, "pci_bridge_mem", &bridge->memory,
                              above->memory)) < 0) {
        return result;
    }
    return make_window(bridge, &bridge->pref_window, "pci_bridge_pref_mem", &bridge->memory,
                       above->memory);
}

PciBus *pci_bridge_create(Machine *m, uint8_t devfn)
{
    PciBridge *bridge = pci_create(m, sizeof(*bridge), "pci-bridge", devfn, 0x1b36, 0x0001, 0,
                                   PCI_CLASS_PCI_BRIDGE, NULL);

    if (!bridge || make_windows(bridge) < 0) {
        return NULL;
    }
    set_masks(&bridge->pci);
    bridge->pci.config_written = config_written;
    bridge->bus = (PciBus){
        .machine = m, .bridge = &bridge->pci, .memory = &bridge->memory, .io = &bridge->io};
    bridge->pci.secondary = &bridge->bus;
    return pci_realize(&bridge->pci) < 0 ? NULL : &bridge->bus;
}
