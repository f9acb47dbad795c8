/* SPDX-License-Identifier: MIT */
/*
 * kvm_irqchip.c - the kernel's interrupt controllers and timer: made, wired, and reset.
 *
 * The kernel answers their ports and their memory before anybody else does. What the map shows
 * there are reservations, so that no other device is put where it would never be asked.
 */
#include "cpu_kvm.h"

#include <errno.h>
#include <string.h>

#define NR_ISA_IRQS 16
#define NR_IRQS 24
#define IOAPIC_TIMER_PIN 2

typedef struct KvmIrqchip {
    Device device;
    MemoryRegion pic[2], elcr[2], pit, speaker;
} KvmIrqchip;

/* ---- The chips -------------------------------------------------------------------- */

/*
 * Each input of the machine goes to the PIC's and the IOAPIC's of that number, but that of the
 * timer: as on every PC its pin at the IOAPIC is 2, where the PIC has its cascade.
 */
static int route(const KvmMachine *km)
{
    union {
        struct kvm_irq_routing table;
        uint8_t space[sizeof(struct kvm_irq_routing) +
                      (NR_ISA_IRQS + NR_IRQS) * sizeof(struct kvm_irq_routing_entry)];
    } all = {.space = {0}};
    struct kvm_irq_routing_entry *next = all.table.entries;

    for (uint32_t irq = 0; irq < NR_IRQS; irq++) {
        if (irq == IOAPIC_TIMER_PIN) {
            continue;
        }
        if (irq < NR_ISA_IRQS) {
            *next++ = (struct kvm_irq_routing_entry){
                .gsi = irq,
                .type = KVM_IRQ_ROUTING_IRQCHIP,
                .u.irqchip = {.irqchip = irq < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
                              .pin = irq & 7}};
        }
        *next++ = (struct kvm_irq_routing_entry){
            .gsi = irq,
            .type = KVM_IRQ_ROUTING_IRQCHIP,
            .u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = irq ? irq : IOAPIC_TIMER_PIN}};
    }
    all.table.nr = (uint32_t)(next - all.table.entries);
    return kvm_machine_ioctl(km, KVM_SET_GSI_ROUTING, &all);
}

/* What the chips are right after the kernel made them is what reset brings back. */
static int save_power_on(KvmMachine *km)
{
    int result = kvm_machine_ioctl(km, KVM_GET_PIT2, &km->pit_power_on);

    for (unsigned i = 0; i < KVM_NR_IRQCHIPS && result >= 0; i++) {
        km->chips_power_on[i].chip_id = i;
        result = kvm_machine_ioctl(km, KVM_GET_IRQCHIP, &km->chips_power_on[i]);
    }
    return result;
}

static void reset(Device *device)
{
    KvmMachine *km = kvm_machine(device->machine);
    int result = kvm_machine_ioctl(km, KVM_SET_PIT2, &km->pit_power_on);

    for (unsigned i = 0; i < KVM_NR_IRQCHIPS && result >= 0; i++) {
        result = kvm_machine_ioctl(km, KVM_SET_IRQCHIP, &km->chips_power_on[i]);
    }
    if (result < 0) {
        vmm_complain("KVM does not reset its interrupt controllers: %s", strerror(-result));
    }
}

int kvm_irqchip_create(KvmMachine *km, Error **errp)
{
    /* The speaker's port shows what the timer does: KVM has it, too, if it is told to. */
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    int result = kvm_machine_ioctl(km, KVM_CREATE_IRQCHIP, NULL);

    if (result >= 0) {
        result = kvm_machine_ioctl(km, KVM_CREATE_PIT2, &pit);
    }
    if (result >= 0) {
        result = route(km);
    }
    if (result >= 0) {
        result = save_power_on(km);
    }
    if (result < 0) {
        return error_set(errp, -result, "KVM's interrupt controllers: %s", strerror(-result));
    }
    return 0;
}

/* ---- Their ports ------------------------------------------------------------------- */

int kvm_irqchip_create_device(Machine *m)
{
    KvmIrqchip *chip = device_create(m, sizeof *chip, "kvm-irqchip", reset);

    if (!chip) {
        return -ENOMEM;
    }
    const struct {
        MemoryRegion *mr;
        const char *name;
        uint16_t port;
        unsigned count;
    } ports[] = {
        {&chip->pic[0], "kvm-pic", 0x20, 2},    {&chip->pit, "kvm-pit", 0x40, 4},
        {&chip->speaker, "pcspk", 0x61, 1},     {&chip->pic[1], "kvm-pic", 0xa0, 2},
        {&chip->elcr[0], "kvm-elcr", 0x4d0, 1}, {&chip->elcr[1], "kvm-elcr", 0x4d1, 1},
    };
    int result = 0;

    for (size_t i = 0; i < sizeof ports / sizeof ports[0] && result >= 0; i++) {
        result = device_map_ports(&chip->device, ports[i].mr, NULL, ports[i].name, ports[i].port,
                                  ports[i].count);
    }
    return result;
}

/* ---- Interrupts -------------------------------------------------------------------- */

void kvm_irqchip_set_irq(Machine *m, unsigned irq, bool level)
{
    struct kvm_irq_level line = {.irq = irq, .level = level};

    kvm_machine_ioctl(kvm_machine(m), KVM_IRQ_LINE, &line);
}

void kvm_irqchip_msi(Machine *m, hwaddr addr, uint32_t data)
{
    struct kvm_msi msi = {
        .address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32), .data = data};

    kvm_machine_ioctl(kvm_machine(m), KVM_SIGNAL_MSI, &msi);
}
