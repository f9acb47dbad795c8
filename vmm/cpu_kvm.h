/* SPDX-License-Identifier: MIT */
/*
 * cpu_kvm.h - what the files of the kind `kvm` share.
 *
 *      cpu_kvm.c      the machine, and running its vCPUs
 *      kvm_cpuid.c    what processor a vCPU says it is
 *      kvm_power_on.c a vCPU's whole state: at power-on, and so after a reset
 *      kvm_state.c    a vCPU's registers: for a debugger, and in a report
 *      kvm_irqchip.c  the kernel's interrupt controllers and timer
 *      kvm_probe.c    whether the kernel runs guests with the processor or interprets them
 */
#ifndef VMM_CPU_KVM_H
#define VMM_CPU_KVM_H

#include "cpu.h"
#include "machine.h"

#include <linux/kvm.h>
#include <membus/kvm.h>
#include <stdatomic.h>

typedef struct KvmMachine {
    Machine *machine;
    KVMState *kvm;
    KVMMemoryListener memory, ports, smm;
    bool has_smm;
    struct kvm_irqchip chips_power_on[KVM_NR_IRQCHIPS];
    struct kvm_pit_state2 pit_power_on;
} KvmMachine;

typedef struct KvmCpu {
    Cpu *cpu;
    KVMVcpu *vcpu;
    struct KvmPowerOn *power_on;
    atomic_bool smi; /* is wanted */
} KvmCpu;

static inline KvmMachine *kvm_machine(const Machine *m)
{
    return m->kind_state;
}

/* ioctl(2) of a vCPU, of the VM; a negative errno on an error. */
int kvm_cpu_ioctl(const KvmCpu *c, unsigned long request, void *arg);
int kvm_machine_ioctl(const KvmMachine *km, unsigned long request, void *arg);

/* Tell @c what it is: one core of a package of all. */
int kvm_cpuid_set(KvmCpu *c, Error **errp);

/* kvm_power_on.c: note the state of @c, which has never run; have it back. */
int kvm_power_on_save(KvmCpu *c, Error **errp);
void kvm_power_on_restore(KvmCpu *c);
void kvm_power_on_free(KvmCpu *c);

/* kvm_state.c */
int kvm_state_get(Cpu *cpu, CpuState *state);
/* Say why KVM_RUN, which came back with @result, cannot go on, and where the guest is. */
void kvm_state_report(KvmCpu *c, int result);

/* The kernel's PIC, IOAPIC and PIT; the device that keeps their ports taken and resets them. */
int kvm_irqchip_create(KvmMachine *km, Error **errp);
int kvm_irqchip_create_device(Machine *m);
void kvm_irqchip_set_irq(Machine *m, unsigned irq, bool level);
void kvm_irqchip_msi(Machine *m, hwaddr addr, uint32_t data);

/*
 * 1: the processor runs guests; 0: the kernel interprets them, so that one may only use what its
 * interpreter knows; a negative errno with a sentence: nothing runs at all.
 */
int kvm_probe(Error **errp);

#endif
