/* SPDX-License-Identifier: MIT */
/*
 * The PIIX4's power management function: where ACPI's registers and the SMBus are seen, and the
 * ports through which the guest asks for a system management interrupt.
 *
 * Nothing is on the SMBus: each transfer ends in a device error.
 */
#include "acpi_pm.h"
#include "devices.h"

#include <errno.h>
#include <string.h>

#define REG_PMBA 0x40      /* base of the power management registers */
#define REG_DEVACTB 0x58   /* what causes SMIs */
#define REG_PMREGMISC 0x80 /* whether they are seen */
#define REG_SMBBA 0x90     /* base of the SMBus's registers */
#define REG_SMBHSTCFG 0xd2 /* whether they are seen */
#define BASE_MASK 0xffc0
#define DEVACTB_APMC_EN (1U << 25)
#define PMREGMISC_PMIOSE 0x01
#define SMBHSTCFG_ENABLE 0x01

#define GPE_BASE 0xafe0
#define ACPI_ENABLE 0xf1 /* to APMC, as the ACPI tables tell the guest */
#define ACPI_DISABLE 0xf0

enum { APM_CONTROL, APM_STATUS };

enum { SMB_STATUS = 0, SMB_CONTROL = 2, SMB_SIZE = 0x40 };
#define SMB_STATUS_DEVICE_ERROR 0x04
#define SMB_STATUS_BITS 0x1f
#define SMB_CONTROL_START 0x40

struct Piix4Pm {
    PciDevice pci;
    AcpiPm acpi;
    MemoryRegion window; /* piix4-pm */
    MemoryRegion apm_port, smbus;
    uint8_t apm[2];
    uint8_t smb[8];
};

/* ---- Where things are ------------------------------------------------------------------  */

static int place(MemoryRegion *mr, uint32_t base, bool enabled)
{
    int result = memory_region_set_address(mr, base & BASE_MASK);

    return result < 0 ? result : memory_region_set_enabled(mr, enabled);
}

static void config_written(PciDevice *pci, unsigned addr, unsigned len)
{
    Piix4Pm *pm = (Piix4Pm *)pci;
    const uint8_t *config = pci->config;

    (void)addr;
    (void)len;
    if (place(&pm->window, pci_get_word(config + REG_PMBA),
              config[REG_PMREGMISC] & PMREGMISC_PMIOSE) < 0 ||
        place(&pm->smbus, pci_get_word(config + REG_SMBBA),
              config[REG_SMBHSTCFG] & SMBHSTCFG_ENABLE) < 0) {
        vmm_complain("%s: %s", pci->device.name, membus_last_error());
    }
}

/* ---- System management interrupts ------------------------------------------------------- */

static bool has_smm(Machine *m)
{
    return m->kind->has_smm && m->kind->has_smm(m);
}

static uint64_t apm_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)size;
    return ((Piix4Pm *)opaque)->apm[addr];
}

static void apm_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Piix4Pm *pm = opaque;
    Machine *m = pm->pci.device.machine;

    (void)size;
    pm->apm[addr] = (uint8_t)data;
    if (addr != APM_CONTROL) {
        return;
    }
    if (data == ACPI_ENABLE || data == ACPI_DISABLE) {
        acpi_pm_set_sci_enabled(&pm->acpi, data == ACPI_ENABLE);
    }
    if (pci_get_long(pm->pci.config + REG_DEVACTB) & DEVACTB_APMC_EN && has_smm(m)) {
        Cpu *cpu = cpu_current();
        m->kind->smi(cpu ? cpu : m->cpus[0]);
    }
}

static const MemoryRegionOps apm_ops = {
    .read = apm_read,
    .write = apm_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

/* ---- The SMBus -------------------------------------------------------------------------- */

static uint64_t smbus_read(void *opaque, hwaddr addr, unsigned size)
{
    Piix4Pm *pm = opaque;

    (void)size;
    return addr < sizeof pm->smb ? pm->smb[addr] : 0;
}

static void smbus_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Piix4Pm *pm = opaque;
    uint8_t value = (uint8_t)data;

    (void)size;
    if (addr == SMB_STATUS) {
        pm->smb[SMB_STATUS] &= (uint8_t) ~(value & SMB_STATUS_BITS);
    } else if (addr < sizeof pm->smb) {
        pm->smb[addr] = addr == SMB_CONTROL ? value & (uint8_t)~SMB_CONTROL_START : value;
    }
    if (addr == SMB_CONTROL && value & SMB_CONTROL_START) {
        pm->smb[SMB_STATUS] |= SMB_STATUS_DEVICE_ERROR;
    }
}

static const MemoryRegionOps smbus_ops = {
    .read = smbus_read,
    .write = smbus_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

/* ---- Making ----------------------------------------------------------------------------- */

void piix4_pm_send_gpe(Machine *m, unsigned bit)
{
    if (m->pm) {
        acpi_pm_send_gpe(&m->pm->acpi, bit);
    }
}

static void reset(Device *device)
{
    Piix4Pm *pm = (Piix4Pm *)device;

    memset(pm->apm, 0, sizeof pm->apm);
    memset(pm->smb, 0, sizeof pm->smb);
    acpi_pm_reset(&pm->acpi);
}

static void unrealize(Device *device)
{
    Piix4Pm *pm = (Piix4Pm *)device;

    acpi_pm_stop(&pm->acpi);
    device->machine->pm = NULL;
    pci_unrealize(device);
}

/* As after reset. What has an effect is set up here; the rest (0x44 to 0x7f) are plain bytes. */
static void init_config(PciDevice *pci)
{
    uint8_t *config = pci->config, *wmask = pci->wmask;

    pci_set_word(config + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM | PCI_STATUS_FAST_BACK);
    config[PCI_INTERRUPT_PIN] = 1;
    memset(wmask + REG_PMBA, 0, 4);
    pci_set_word(wmask + REG_PMBA, BASE_MASK);
    config[REG_PMBA] = PCI_BASE_ADDRESS_SPACE_IO;
    memset(wmask + REG_SMBBA, 0, 4);
    pci_set_word(wmask + REG_SMBBA, BASE_MASK);
    pci_set_word(config + REG_SMBBA, 0xb100 | PCI_BASE_ADDRESS_SPACE_IO);
    config[REG_SMBHSTCFG] = SMBHSTCFG_ENABLE | 0x08; /* its interrupt is IRQ 9 */
    /* The parallel port's and the serial port's decoding, as a board's firmware leaves it. */
    config[0x5f] = 0x90;
    config[0x63] = 0x60;
    config[0x67] = 0x08;
    if (!has_smm(pci->device.machine)) {
        /* Set already: firmware takes that for an SMM that another has set up, and goes on. */
        pci_set_long(config + REG_DEVACTB, DEVACTB_APMC_EN);
    }
}

static int make_regions(Piix4Pm *pm)
{
    Device *device = &pm->pci.device;
    MemoryRegion *io = get_system_io(device->machine->ms);
    int result = memory_region_init(&pm->window, device->owner, "piix4-pm", SMB_SIZE);

    if (result == 0) {
        result = memory_region_set_enabled(&pm->window, false);
    }
    if (result == 0) {
        result = device_map(device, io, 0, &pm->window, 0);
    }
    if (result == 0) {
        result = acpi_pm_init(&pm->acpi, device, &pm->window, GPE_BASE);
    }
    if (result == 0) {
        result = memory_region_init_io(&pm->apm_port, device->owner, &apm_ops, pm, "apm-io", 2);
    }
    if (result == 0) {
        result = device_map(device, io, 0xb2, &pm->apm_port, 0);
    }
    if (result == 0) {
        result =
            memory_region_init_io(&pm->smbus, device->owner, &smbus_ops, pm, "pm-smbus", SMB_SIZE);
    }
    return result < 0 ? result : device_map(device, io, 0xb100, &pm->smbus, 0);
}

int piix4_pm_create(Machine *m)
{
    Piix4Pm *pm = pci_create(m, sizeof *pm, "PIIX4_PM", PCI_DEVFN(1, 3), 0x8086, 0x7113, 3,
                             PCI_CLASS_OTHER_BRIDGE, reset);

    if (!pm) {
        return -ENOMEM;
    }
    pm->pci.config_written = config_written;
    init_config(&pm->pci);
    int result = make_regions(pm);
    if (result < 0) {
        return result;
    }
    pm->pci.device.unrealize = unrealize;
    acpi_pm_reset(&pm->acpi);
    m->pm = pm;
    return pci_realize(&pm->pci);
}
