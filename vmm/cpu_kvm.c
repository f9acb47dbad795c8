/* SPDX-License-Identifier: MIT */
/*
 * cpu_kvm.c - the kind of CPU that KVM runs: the virtual machine, and the loop around KVM_RUN.
 *
 * Memory and ports are the library's: its listeners keep the kernel's slots as the map is, and
 * kvm_memory_exit() serves what no slot answers. The interrupt controllers and the timer are the
 * kernel's, so HLT, interrupts and start-up IPIs need nothing here.
 */
#include "cpu_kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/*
 * Memory of KVM's own, for Intel processors that cannot run real mode without it: a page for
 * page tables and three for a TSS, in the gap between the APICs and the firmware where PCs have
 * them (QEMU's, too; their e820 has a reservation for the four).
 */
#define IDENTITY_MAP_AT UINT64_C(0xfeffc000)
#define TSS_AT UINT64_C(0xfeffd000)

int kvm_cpu_ioctl(const KvmCpu *c, unsigned long request, void *arg)
{
    int result = ioctl(kvm_vcpu_fd(c->vcpu), request, arg);

    return result < 0 ? -errno : result;
}

int kvm_machine_ioctl(const KvmMachine *km, unsigned long request, void *arg)
{
    int result = ioctl(kvm_vm_fd(km->kvm), request, arg);

    return result < 0 ? -errno : result;
}

/* ---- The machine ---------------------------------------------------------------------- */

static int check_kernel(Machine *m, KVMState *kvm, Error **errp)
{
    static const struct {
        unsigned number;
        const char *name;
    } needs[] = {
        {KVM_CAP_IRQCHIP, "interrupt controllers"},
        {KVM_CAP_IRQ_ROUTING, "routing of interrupts"},
        {KVM_CAP_PIT2, "timer"},
        {KVM_CAP_PIT_STATE2, "state of the timer"},
        {KVM_CAP_SIGNAL_MSI, "message-signalled interrupts"},
        {KVM_CAP_SET_TSS_ADDR, "place for its TSS"},
        {KVM_CAP_EXT_CPUID, "CPUID"},
        {KVM_CAP_MP_STATE, "start of CPUs by other CPUs"},
        {KVM_CAP_VCPU_EVENTS, "events"},
        {KVM_CAP_DEBUGREGS, "debug registers"},
        {KVM_CAP_XSAVE, "extended registers"},
    };
    int cpus = kvm_check_extension(kvm, KVM_CAP_MAX_VCPUS);

    for (size_t i = 0; i < sizeof needs / sizeof needs[0]; i++) {
        if (kvm_check_extension(kvm, needs[i].number) <= 0) {
            return error_set(errp, ENOTSUP, "this kernel's KVM has no %s", needs[i].name);
        }
    }
    if (!kvm_capabilities(kvm)->immediate_exit) {
        return error_set(errp, ENOTSUP, "this kernel's KVM has no immediate_exit");
    }
    if (!kvm_capabilities(kvm)->readonly_mem) {
        return error_set(errp, ENOTSUP, "this kernel's KVM cannot run code in ROM");
    }
    if (m->nr_cpus > (unsigned)cpus) {
        return error_set(errp, ENOTSUP, "this kernel's KVM has %d CPUs, not %u", cpus, m->nr_cpus);
    }
    return 0;
}

/* A kernel is for processors; who wants KVM by name gets what it does. */
static int check_processor(const Machine *m, Error **errp)
{
    int result = kvm_probe(errp);

    if (result != 0 || !m->options->kernel) {
        return result < 0 ? result : 0;
    }
    if (m->options->accel && strcmp(m->options->accel, "kvm") == 0) {
        vmm_complain("this KVM interprets its guests: Linux will be slow, and may not come far");
        return 0;
    }
    return error_set(errp, ENOTSUP,
                     "this KVM interprets its guests, some million instructions a second and no "
                     "SSE: firmware and boot loaders run, Linux does not");
}

static int make_vm(KvmMachine *km, Error **errp)
{
    uint64_t identity_map = IDENTITY_MAP_AT;
    MemorySystem *ms = km->machine->ms;
    int result = 0;

    if (kvm_check_extension(km->kvm, KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0) {
        result = kvm_machine_ioctl(km, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
    }
    /* The argument is the address itself. */
    if (result < 0 || ioctl(kvm_vm_fd(km->kvm), KVM_SET_TSS_ADDR, (unsigned long)TSS_AT) < 0) {
        return error_set(errp, errno, "KVM's TSS at 0x%llx: %m", (unsigned long long)TSS_AT);
    }
    result = kvm_irqchip_create(km, errp);
    if (result < 0) {
        return result;
    }
    km->has_smm = kvm_capabilities(km->kvm)->nr_address_spaces > KVM_AS_SMM &&
                  kvm_vm_check_extension(km->kvm, KVM_CAP_X86_SMM) > 0;
    if ((result = kvm_memory_listener_register(km->kvm, &km->memory, memory_system_memory(ms),
                                               KVM_AS_MEMORY, "kvm-memory")) < 0 ||
        (result = kvm_memory_listener_register(km->kvm, &km->ports, memory_system_io(ms),
                                               KVM_AS_PORTS, "kvm-ports")) < 0) {
        return error_set(errp, -result, "%s", membus_last_error());
    }
    return 0;
}

static void report(void *opaque, const Error *err)
{
    (void)opaque;
    vmm_complain("%s", error_get_pretty(err));
}

static void close_machine(Machine *m)
{
    KvmMachine *km = kvm_machine(m);

    kvm_destroy(km->kvm);
    free(km);
    m->kind_state = NULL;
}

static int open_machine(Machine *m, Error **errp)
{
    KVMConfig config = KVM_CONFIG_INIT;
    KvmMachine *km = calloc(1, sizeof *km);
    int result = -ENOTSUP;

    if (!km) {
        return error_set(errp, ENOMEM, "memory is short");
    }
    config.report = report;
    memory_system_lock(m->ms);
    m->kind_state = km;
    km->machine = m;
    km->kvm = kvm_create(m->ms, &config, errp);
    if (km->kvm && (result = check_kernel(m, km->kvm, errp)) == 0 &&
        (result = check_processor(m, errp)) == 0) {
        result = make_vm(km, errp);
    }
    if (result < 0) {
        close_machine(m);
    }
    memory_system_unlock(m->ms);
    return result;
}

static bool has_smm(Machine *m)
{
    return kvm_machine(m)->has_smm;
}

/* ---- CPUs ------------------------------------------------------------------------------ */

static void destroy(Cpu *cpu)
{
    KvmCpu *c = cpu->state;

    if (cpu->index == 0) {
        kvm_memory_listener_unregister(&kvm_machine(cpu->machine)->smm);
    }
    kvm_vcpu_destroy(c->vcpu);
    kvm_power_on_free(c);
    free(c);
}

/* What is made once, when the board is there. KVM has one SMM space: every CPU's shows the same. */
static int create_first(Cpu *cpu, Error **errp)
{
    KvmMachine *km = kvm_machine(cpu->machine);
    int result = kvm_irqchip_create_device(cpu->machine);

    if (result == 0 && km->has_smm) {
        result = kvm_memory_listener_register(km->kvm, &km->smm, &cpu->smm, KVM_AS_SMM, "kvm-smm");
    }
    return result < 0 ? error_set(errp, -result, "%s", membus_last_error()) : 0;
}

static int create(Cpu *cpu, Error **errp)
{
    KvmCpu *c = calloc(1, sizeof *c);
    int result = 0;

    if (!c) {
        return error_set(errp, ENOMEM, "memory is short");
    }
    c->cpu = cpu;
    cpu->state = c; /* destroy() is called whatever happens now */
    if (cpu->index == 0) {
        result = create_first(cpu, errp);
    }
    if (result < 0) {
        return result;
    }
    c->vcpu = kvm_vcpu_create(kvm_machine(cpu->machine)->kvm, cpu->index, errp);
    if (!c->vcpu) {
        return -EIO;
    }
    result = kvm_cpuid_set(c, errp);
    return result < 0 ? result : kvm_power_on_save(c, errp);
}

static void reset(Cpu *cpu)
{
    KvmCpu *c = cpu->state;

    atomic_store(&c->smi, false);
    kvm_power_on_restore(c);
}

/* ---- Running ---------------------------------------------------------------------------- */

/*
 * KVM_RUN comes back from an access in the middle of the instruction that makes it; the next one
 * carries the instruction to its end. With immediate_exit it does that and nothing else.
 */
static int finish_instruction(KvmCpu *c)
{
    int result;

    while (kvm_vcpu_enter(c->vcpu) == -EINTR) {
    }
    kvm_vcpu_get_run(c->vcpu)->immediate_exit = 1;
    result = kvm_cpu_ioctl(c, KVM_RUN, NULL);
    kvm_vcpu_leave(c->vcpu);
    return result;
}

/*
 * A CPU stands still only between two instructions: its state can be read then, or replaced by
 * that of a reset, to which no half of an instruction is added later.
 */
static CpuExit run(Cpu *cpu)
{
    KvmCpu *c = cpu->state;
    KvmMachine *km = kvm_machine(cpu->machine);
    struct kvm_run *area = kvm_vcpu_get_run(c->vcpu);
    bool stopping = false, unfinished = false;

    for (;;) {
        int result;

        if (stopping && !unfinished) {
            return CPU_KICKED;
        }
        if (!stopping && atomic_exchange(&c->smi, false)) {
            kvm_cpu_ioctl(c, KVM_SMI, NULL);
        }
        result = stopping ? finish_instruction(c) : kvm_vcpu_run(c->vcpu);
        if (result == -EINTR) {
            unfinished = unfinished && !stopping;
            stopping = true;
            continue;
        }
        if (result == -EAGAIN) { /* a start-up IPI has come */
            continue;
        }
        if (result == 0) {
            if (area->exit_reason == KVM_EXIT_SHUTDOWN) {
                return CPU_SHUTDOWN;
            }
            unfinished = kvm_memory_exit(km->kvm, area) == 1;
        }
        if (result < 0 || !unfinished) {
            kvm_state_report(c, result);
            return CPU_FAILED;
        }
    }
}

static void kick(Cpu *cpu)
{
    kvm_vcpu_kick(((KvmCpu *)cpu->state)->vcpu);
}

/* KVM_SMI waits for a CPU that runs: its own thread does it. */
static void smi(Cpu *cpu)
{
    KvmCpu *c = cpu->state;

    atomic_store(&c->smi, true);
    if (cpu_current() != cpu) {
        kick(cpu);
    }
}

static KVMState *get_kvm(Machine *m)
{
    return kvm_machine(m)->kvm;
}

const CpuKind cpu_kvm = {
    .name = "kvm",
    .open = open_machine,
    .close = close_machine,
    .create = create,
    .destroy = destroy,
    .reset = reset,
    .run = run,
    .kick = kick,
    .set_irq = kvm_irqchip_set_irq,
    .msi = kvm_irqchip_msi,
    .has_smm = has_smm,
    .smi = smi,
    .get_state = kvm_state_get,
    .kvm = get_kvm,
};
