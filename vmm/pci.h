/* SPDX-License-Identifier: MIT */
/*
 * pci.h - the PCI bus: configuration space, BARs, interrupts, and each device's view of memory.
 */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include "machine.h"

#include <linux/pci_regs.h>

#define PCI_CONFIG_SIZE 256
#define PCI_NR_PINS 4
#define PCI_SLOT(devfn) ((devfn) >> 3)
#define PCI_FUNC(devfn) ((devfn)&7)
#define PCI_DEVFN(slot, function) ((uint8_t)((slot) << 3 | (function)))
#define PCI_NR_BARS 6
#define PCI_ROM_BAR 6

/* Class and subclass. */
enum {
    PCI_CLASS_SCSI = 0x0100,
    PCI_CLASS_VGA = 0x0300,
    PCI_CLASS_HOST_BRIDGE = 0x0600,
    PCI_CLASS_ISA_BRIDGE = 0x0601,
    PCI_CLASS_PCI_BRIDGE = 0x0604,
    PCI_CLASS_OTHER_BRIDGE = 0x0680,
};

typedef struct PciBar {
    MemoryRegion *mr; /* NULL: none */
    uint32_t type;    /* PCI_BASE_ADDRESS_* flags */
    hwaddr size;      /* power of two */
    hwaddr addr;      /* where it is mapped; PCI_BAR_UNMAPPED */
} PciBar;
#define PCI_BAR_UNMAPPED UINT64_MAX

typedef struct PciDevice PciDevice;

/* A bus: that of the host bridge (m->pci), or one behind a bridge. */
struct PciBus {
    Machine *machine;
    PciDevice *bridge;         /* that leads here; NULL: the host's */
    MemoryRegion *memory, *io; /* what BARs are put into */
    PciDevice *devices[256];   /* by devfn */
    /* Of the host's bus: PIRQ A to D. How many pins pull each of them, and who wants to know. */
    unsigned pulled[PCI_NR_PINS];
    void (*set_pirq)(void *opaque, unsigned pirq, bool level);
    void *pirq_opaque;
};

struct PciDevice {
    Device device;
    PciBus *bus;
    uint8_t devfn;
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t wmask[PCI_CONFIG_SIZE];               /* bits that the guest may write */
    uint8_t w1cmask[PCI_CONFIG_SIZE];             /* bits that writing 1 clears */
    uint8_t reset_config[PCI_CONFIG_SIZE];        /* what reset brings back: as it was at realize */
    uint8_t capability_size[PCI_CONFIG_SIZE / 4]; /* of that at 4 * index */
    PciBar bars[PCI_NR_BARS + 1];
    /* What the device reaches: system memory, while the command register says so. */
    AddressSpace dma;
    MemoryRegion bus_master_container, bus_master;
    PciBus *secondary; /* of a bridge */
    bool irq_level;    /* what the device wants of its INTx pin */
    bool irq_pulled;   /* what the bus sees of it */
    /*
     * After a write to @addr to @addr + @len - 1 has been carried out, within its transaction: do
     * as the configuration says now. Called for all of it, too: at reset, and when a write
     * was taken back because the map could not follow. NULL.
     */
    void (*config_written)(PciDevice *pci, unsigned addr, unsigned len);
    /* The same, when its transaction is over: for what is no matter of the map. NULL. */
    void (*config_settled)(PciDevice *pci, unsigned addr, unsigned len);
    void (*config_read)(PciDevice *pci, unsigned addr, unsigned len); /* before it is read; NULL */
    void (*reset)(Device *device); /* the device's own, after the configuration's; NULL */
};

/*
 * Make a device of @size bytes that begins with its PciDevice, at @devfn of bus 0, with the
 * identity given; @dma_name is the name of its address space. -> pci_realize().
 */
void *pci_create(Machine *m, size_t size, const char *name, uint8_t devfn, uint16_t vendor,
                 uint16_t id, uint8_t revision, uint16_t class_code, void (*reset)(Device *device));
/* The same on @bus. */
void *pci_create_on(PciBus *bus, size_t size, const char *name, uint8_t devfn, uint16_t vendor,
                    uint16_t id, uint8_t revision, uint16_t class_code,
                    void (*reset)(Device *device));
/* Say that @mr is BAR @index; its size becomes a power of two. Before pci_realize(). */
int pci_register_bar(PciDevice *pci, unsigned index, uint32_t type, MemoryRegion *mr);
/* Add a capability of @size bytes; returns its offset, 0 if there is no room. */
uint8_t pci_add_capability(PciDevice *pci, uint8_t id, uint8_t size);
/* The configuration is complete: the guest sees the device. */
int pci_realize(PciDevice *pci);
/* What device.unrealize is at first; one of the device's own ends in calling it. */
void pci_unrealize(Device *device);
/* Raise or lower its INTx pin. Context: machine lock. */
void pci_set_irq(PciDevice *pci, bool level);
/*
 * Read or write @len (1, 2, 4) bytes at @addr of the configuration space, as the guest does; what
 * is outside is not there. All that a write changes in the map becomes visible at once. Context:
 * machine lock.
 */
uint32_t pci_config_read(PciDevice *pci, unsigned addr, unsigned len);
void pci_config_write(PciDevice *pci, unsigned addr, uint32_t value, unsigned len);
/* Who answers configuration cycles for (@number, @devfn) below the host's bus; NULL. */
PciDevice *pci_find(PciBus *bus, unsigned number, uint8_t devfn);
/* The address space through which it reaches memory. */
static inline AddressSpace *pci_dma(PciDevice *pci)
{
    return &pci->dma;
}

/* A PCI to PCI bridge at @devfn of the host's bus (pci_bridge.c); its bus, NULL: not made. */
PciBus *pci_bridge_create(Machine *m, uint8_t devfn);

static inline void pci_set_word(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}
static inline uint16_t pci_get_word(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}
static inline void pci_set_long(uint8_t *at, uint32_t value)
{
    pci_set_word(at, (uint16_t)value);
    pci_set_word(at + 2, (uint16_t)(value >> 16));
}
static inline uint32_t pci_get_long(const uint8_t *at)
{
    return pci_get_word(at) | (uint32_t)pci_get_word(at + 2) << 16;
}

#endif
