/* SPDX-License-Identifier: MIT */
/*
 * The 82441FX host bridge: configuration ports, PAM (shadow memory) and SMRAM registers.
 *
 * Each of the 13 PAM segments has four aliases in `system`, above RAM and PCI, of which the two
 * bits of its register let one show:
 *
 *      WE RE
 *       0  0   pam-pci of `pci`: what is on the bus (the firmware's ROM)
 *       0  1   pam-rom of pc.ram: read-only, what shadowing ends with
 *       1  0   pam-pci of pc.ram: the data sheet reads the bus and writes memory. One alias
 *              cannot; it shows memory to both, as QEMU's does
 *       1  1   pam-ram of pc.ram
 */
#include "devices.h"

#include <errno.h>

enum { /* registers in configuration space */
       REG_PAM = 0x59,
       REG_SMRAM = 0x72,
};

enum {                          /* SMRAM */
       SMRAM_C_BASE_SEG = 0x02, /* 0xa0000 to 0xbffff */
       SMRAM_ENABLE = 0x08,
       SMRAM_LOCK = 0x10,
       SMRAM_OPEN = 0x40,
       SMRAM_WRITABLE = 0x7f,
       SMRAM_WRITABLE_LOCKED = SMRAM_WRITABLE & ~(SMRAM_OPEN | SMRAM_LOCK | SMRAM_ENABLE),
};

#define SMRAM_BASE 0xa0000
#define SMRAM_SIZE 0x20000
#define NR_PAM 13
#define NR_PAM_MODES 4

struct HostBridge {
    PciDevice pci;
    PciBus bus;
    uint32_t address; /* CONFADD */
    MemoryRegion conf_idx, conf_data;
    MemoryRegion smram_region;
    MemoryRegion pam[NR_PAM][NR_PAM_MODES];
};

/* ---- Configuration ports: mechanism 1 -------------------------------------------------- */

#define CONFADD_ENABLE 0x80000000U

static uint64_t conf_idx_read(void *opaque, hwaddr addr, unsigned size)
{
    const HostBridge *bridge = opaque;

    return addr == 0 && size == 4 ? bridge->address : UINT32_MAX;
}

/* Only all 32 bits at once are the register: other writes are cycles on the bus, for nobody. */
static void conf_idx_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    HostBridge *bridge = opaque;

    if (addr == 0 && size == 4) {
        bridge->address = (uint32_t)data;
    }
}

static const MemoryRegionOps conf_idx_ops = {
    .read = conf_idx_read,
    .write = conf_idx_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

static PciDevice *selected(HostBridge *bridge)
{
    uint32_t address = bridge->address;

    return address & CONFADD_ENABLE
               ? pci_find(&bridge->bus, address >> 16 & 0xff, (uint8_t)(address >> 8))
               : NULL;
}

static uint64_t conf_data_read(void *opaque, hwaddr addr, unsigned size)
{
    HostBridge *bridge = opaque;
    PciDevice *pci = selected(bridge);

    return pci ? pci_config_read(pci, (bridge->address & 0xfc) + (unsigned)addr, size) : UINT32_MAX;
}

static void conf_data_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    HostBridge *bridge = opaque;
    PciDevice *pci = selected(bridge);

    if (pci) {
        pci_config_write(pci, (bridge->address & 0xfc) + (unsigned)addr, (uint32_t)data, size);
    }
}

static const MemoryRegionOps conf_data_ops = {
    .read = conf_data_read,
    .write = conf_data_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

/* ---- PAM and SMRAM --------------------------------------------------------------------- */

/* Segment 0 is the 64 KiB at 0xf0000, the others are 16 KiB each from 0xc0000. */
static hwaddr pam_base(unsigned segment)
{
    return segment ? 0xc0000 + 0x4000 * (hwaddr)(segment - 1) : 0xf0000;
}

static hwaddr pam_size(unsigned segment)
{
    return segment ? 0x4000 : 0x10000;
}

/* Its RE (1) and WE (2) bits: two segments to a register, the lower half of the first unused. */
static unsigned pam_mode(const HostBridge *bridge, unsigned segment)
{
    return bridge->pci.config[REG_PAM + (segment + 1) / 2] >> (segment % 2 ? 0 : 4) & 3;
}

static void update_pam(HostBridge *bridge)
{
    for (unsigned i = 0; i < NR_PAM; i++) {
        for (unsigned mode = 0; mode < NR_PAM_MODES; mode++) {
            memory_region_set_enabled(&bridge->pam[i][mode], mode == pam_mode(bridge, i));
        }
    }
}

/*
 * OPEN shows SMRAM to everybody; LOCK closes it, and holds it so until reset. Both work while
 * ENABLE is set, so that is locked, too. CLOSE (data accesses of SMM go to the bus, fetches to
 * memory) is kept, and nothing else: an access does not say which it is.
 */
static void update_smram(HostBridge *bridge)
{
    Machine *m = bridge->pci.device.machine;
    uint8_t *reg = &bridge->pci.config[REG_SMRAM];
    bool enabled = *reg & SMRAM_ENABLE;
    bool locked = enabled && (*reg & SMRAM_LOCK);

    if (locked) {
        *reg = (uint8_t)(*reg & ~SMRAM_OPEN);
    }
    bridge->pci.wmask[REG_SMRAM] = locked ? SMRAM_WRITABLE_LOCKED : SMRAM_WRITABLE;
    memory_region_set_enabled(&m->smram, enabled);
    memory_region_set_enabled(&bridge->smram_region, !(enabled && (*reg & SMRAM_OPEN)));
}

static void config_written(PciDevice *pci, unsigned addr, unsigned len)
{
    HostBridge *bridge = (HostBridge *)pci;

    if (addr < REG_PAM + 7 && addr + len > REG_PAM) {
        update_pam(bridge);
    }
    if (addr <= REG_SMRAM && addr + len > REG_SMRAM) {
        update_smram(bridge);
    }
}

static void reset(Device *device)
{
    ((HostBridge *)device)->address = 0;
}

/* ---- Making it ------------------------------------------------------------------------- */

static int make_pam(HostBridge *bridge)
{
    static const char *const names[NR_PAM_MODES] = {"pam-pci", "pam-rom", "pam-pci", "pam-ram"};
    Device *device = &bridge->pci.device;
    Machine *m = device->machine;
    int result = 0;

    for (unsigned i = 0; i < NR_PAM * NR_PAM_MODES && !result; i++) {
        unsigned segment = i / NR_PAM_MODES, mode = i % NR_PAM_MODES;
        MemoryRegion *mr = &bridge->pam[segment][mode];
        result =
            memory_region_init_alias(mr, device->owner, names[mode], mode ? m->ram : &m->pci_memory,
                                     pam_base(segment), pam_size(segment));
        if (!result && mode == 1) {
            result = memory_region_set_readonly(mr, true);
        }
        if (!result) {
            result = memory_region_set_enabled(mr, mode == 0);
        }
        if (!result) {
            result = device_map(device, get_system_memory(m->ms), pam_base(segment), mr, 1);
        }
    }
    return result;
}

static int make_smram(HostBridge *bridge)
{
    Device *device = &bridge->pci.device;
    Machine *m = device->machine;
    int result;

    if ((result = memory_region_init_alias(&bridge->smram_region, device->owner, "smram-region",
                                           &m->pci_memory, SMRAM_BASE, SMRAM_SIZE)) < 0 ||
        (result = device_map(device, get_system_memory(m->ms), SMRAM_BASE, &bridge->smram_region,
                             1)) < 0 ||
        (result = memory_region_init(&m->smram, device->owner, "smram", (hwaddr)1 << 32)) < 0 ||
        (result = memory_region_set_enabled(&m->smram, false)) < 0 ||
        (result = memory_region_init_alias(&m->smram_low, device->owner, "smram-low", m->ram,
                                           SMRAM_BASE, SMRAM_SIZE)) < 0) {
        return result;
    }
    return device_map(device, &m->smram, SMRAM_BASE, &m->smram_low, 0);
}

int i440fx_create(Machine *m)
{
    PciBus bus = {.machine = m, .memory = &m->pci_memory, .io = get_system_io(m->ms)};
    HostBridge *bridge = pci_create_on(&bus, sizeof(*bridge), "i440FX", PCI_DEVFN(0, 0), 0x8086,
                                       0x1237, 2, PCI_CLASS_HOST_BRIDGE, reset);

    if (!bridge) {
        return -ENOMEM;
    }
    bridge->bus = bus;
    bridge->pci.bus = &bridge->bus;
    bridge->pci.config_written = config_written;
    bridge->pci.config[REG_SMRAM] = SMRAM_C_BASE_SEG;
    bridge->pci.wmask[REG_SMRAM] = SMRAM_WRITABLE;
    m->pci = &bridge->bus;
    m->host_bridge = bridge;

    Device *device = &bridge->pci.device;
    int result;
    if ((result = make_pam(bridge)) < 0 || (result = make_smram(bridge)) < 0 ||
        (result = device_map_ports(device, &bridge->conf_idx, &conf_idx_ops, "pci-conf-idx", 0xcf8,
                                   4)) < 0 ||
        (result = device_map_ports(device, &bridge->conf_data, &conf_data_ops, "pci-conf-data",
                                   0xcfc, 4)) < 0) {
        return result;
    }
    return pci_realize(&bridge->pci);
}
