/* SPDX-License-Identifier: MIT */
/*
 * The PIIX3, south bridge: which ISA interrupt each PCI interrupt is, and the reset control port.
 */
#include "devices.h"

#include <errno.h>

#define REG_PIRQRC 0x60 /* A to D, a byte each */
#define PIRQRC_OFF 0x80

enum { /* RCR, port 0xcf9 */
       RCR_HARD = 0x02,
       RCR_RESET = 0x04,
};

typedef struct Piix3 {
    PciDevice pci;
    MemoryRegion reset_control;
    uint8_t rcr;
    uint16_t raised; /* ISA interrupts that a PIRQ raises, 1 << irq */
} Piix3;

/* ---- PIRQ routing ---------------------------------------------------------------------- */

/* The ISA interrupts that PIRQs can be: 0, 1, 2, 8 and 13 are taken. */
#define ROUTABLE 0xdef8U

static void route(Piix3 *piix)
{
    const uint8_t *pirqrc = piix->pci.config + REG_PIRQRC;
    uint16_t raised = 0;

    for (unsigned i = 0; i < PCI_NR_PINS; i++) {
        if (piix->pci.bus->pulled[i] && !(pirqrc[i] & PIRQRC_OFF)) {
            raised |= (uint16_t)(1U << (pirqrc[i] & 0xf) & ROUTABLE);
        }
    }
    uint16_t changed = raised ^ piix->raised;
    piix->raised = raised;
    for (unsigned irq = 0; changed; irq++, changed = (uint16_t)(changed >> 1)) {
        if (changed & 1) {
            machine_set_irq(piix->pci.device.machine, irq, raised >> irq & 1);
        }
    }
}

static void set_pirq(void *opaque, unsigned pirq, bool level)
{
    (void)pirq, (void)level;
    route(opaque);
}

static void config_written(PciDevice *pci, unsigned addr, unsigned len)
{
    if (addr < REG_PIRQRC + PCI_NR_PINS && addr + len > REG_PIRQRC) {
        route((Piix3 *)pci);
    }
}

/* ---- Reset control --------------------------------------------------------------------- */

static uint64_t reset_control_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)addr, (void)size;
    return ((Piix3 *)opaque)->rcr;
}

static void reset_control_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Piix3 *piix = opaque;

    (void)addr, (void)size;
    if (data & RCR_RESET) {
        machine_request(piix->pci.device.machine, MACHINE_RESET, 0);
    }
    piix->rcr = (uint8_t)(data & RCR_HARD);
}

static const MemoryRegionOps reset_control_ops = {
    .read = reset_control_read,
    .write = reset_control_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

/* ---- Making it ------------------------------------------------------------------------- */

static void reset(Device *device)
{
    ((Piix3 *)device)->rcr = 0;
}

static void unrealize(Device *device)
{
    Piix3 *piix = (Piix3 *)device;

    piix->pci.bus->set_pirq = NULL;
    pci_unrealize(device);
}

/* Registers that are not 0 at reset. */
static const struct {
    uint8_t at, value;
} defaults[] = {
    {0x4c, 0x4d},                                           /* I/O recovery */
    {0x4e, 0x03},                                           /* X-bus chip select */
    {0x60, 0x80}, {0x61, 0x80}, {0x62, 0x80}, {0x63, 0x80}, /* PIRQRC: off */
    {0x69, 0x02},                                           /* top of memory */
    {0x70, 0x80},                                           /* motherboard device routing */
    {0x76, 0x0c}, {0x77, 0x0c},                             /* its DMA */
    {0x78, 0x02},                                           /* chip select */
    {0xa0, 0x08},                                           /* SMI control */
    {0xa8, 0x0f},                                           /* clock throttle */
};

int piix3_create(Machine *m)
{
    Piix3 *piix = pci_create(m, sizeof(*piix), "PIIX3", PCI_DEVFN(1, 0), 0x8086, 0x7000, 0,
                             PCI_CLASS_ISA_BRIDGE, reset);

    if (!piix) {
        return -ENOMEM;
    }
    piix->pci.device.unrealize = unrealize;
    piix->pci.config_written = config_written;
    piix->pci.config[PCI_HEADER_TYPE] = 0x80; /* more functions follow */
    pci_set_word(piix->pci.config + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM);
    for (unsigned i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
        piix->pci.config[defaults[i].at] = defaults[i].value;
    }
    m->pci->set_pirq = set_pirq;
    m->pci->pirq_opaque = piix;
    int result = memory_region_init_io(&piix->reset_control, piix->pci.device.owner,
                                       &reset_control_ops, piix, "piix3-reset-control", 1);
    if (!result) {
        result =
            device_map(&piix->pci.device, get_system_io(m->ms), 0xcf9, &piix->reset_control, 1);
    }
    return result ? result : pci_realize(&piix->pci);
}
