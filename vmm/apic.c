/* SPDX-License-Identifier: MIT */
/*
 * What of the APICs is in the machine's map: the range where message-signalled interrupts are
 * written to, which the CPUs take; and that of the IOAPIC, where that is the CPUs', too.
 */
#include "devices.h"

#include <errno.h>
#include <stdio.h>

typedef struct Apic {
    Device device;
    MemoryRegion msi, ioapic;
} Apic;

/* A CPU's own accesses do not come here where it has a local APIC: that is inside it. */
static uint64_t msi_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)addr, (void)size;
    return 0;
}

/* Context: no lock: devices on any thread. */
static void msi_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Machine *m = ((Apic *)opaque)->device.machine;

    if (m->kind->msi && size == 4) {
        m->kind->msi(m, 0xfee00000 + addr, (uint32_t)data);
    }
}

static const MemoryRegionOps msi_ops = {
    .read = msi_read,
    .write = msi_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid.max_access_size = 4,
};

int apic_create(Machine *m)
{
    Apic *apic = device_create(m, sizeof(*apic), "apic", NULL);
    MemoryRegion *system = get_system_memory(m->ms);

    if (!apic) {
        return -ENOMEM;
    }
    Device *device = &apic->device;
    /* Named, as QEMU names them, by who answers. */
    char msi[32] = "apic-msi", ioapic[32];
    if (m->kind->msi) {
        snprintf(msi, sizeof(msi), "%s-apic-msi", m->kind->name);
    }
    snprintf(ioapic, sizeof(ioapic), "%s-ioapic", m->kind->name);
    int result = memory_region_init_io(&apic->msi, device->owner, &msi_ops, apic, msi, 0x100000);
    if (!result) {
        result = memory_region_enable_lockless_io(&apic->msi);
    }
    if (!result) {
        result = device_map(device, system, 0xfee00000, &apic->msi, 4096);
    }
    if (!result && m->kind->set_irq) { /* a reservation: CPUs find theirs before they look here */
        result = memory_region_init_io(&apic->ioapic, device->owner, NULL, NULL, ioapic, 0x1000);
        if (!result) {
            result = device_map(device, system, 0xfec00000, &apic->ioapic, 0);
        }
    }
    return result;
}
