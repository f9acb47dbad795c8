/* SPDX-License-Identifier: MIT */
/*
 * kvm_probe.c - whether the kernel runs guests with the processor or interprets them.
 *
 * No capability tells. A KVM without hardware support (that of a kernel which is a guest itself,
 * say) interprets what its guests do in the processor's privileged modes, as KVM does with single
 * instructions anywhere: some million a second, and only those that may touch a device's memory.
 * Firmware and boot loaders get by with these; the kernel of a distribution does not. So a guest
 * does what no interpreter of KVM's knows, arithmetic in an SSE register, in flat protected mode,
 * which even processors that cannot run real mode as a guest's run by themselves.
 */
#include "cpu_kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define CR0_PE 1U
#define CR4_OSFXSR (1U << 9)
#define EFLAGS_ALWAYS 2U

static const uint8_t code[] = {
    0x66, 0x0f, 0xd4, 0xc0, /* paddq xmm0, xmm0 */
    0xf4,                   /* hlt */
};

static struct kvm_segment flat(uint8_t type, uint16_t selector)
{
    return (struct kvm_segment){.limit = UINT32_MAX,
                                .selector = selector,
                                .type = type,
                                .present = 1,
                                .db = 1,
                                .s = 1,
                                .g = 1};
}

static int try_code(KVMVcpu *cpu)
{
    struct kvm_regs regs = {.rflags = EFLAGS_ALWAYS};
    struct kvm_sregs sregs;
    int fd = kvm_vcpu_fd(cpu), result;

    if (ioctl(fd, KVM_GET_SREGS, &sregs) != 0) {
        return -errno;
    }
    sregs.cs = flat(0xb, 8);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat(0x3, 16);
    sregs.cr0 |= CR0_PE;
    sregs.cr4 |= CR4_OSFXSR;
    if (ioctl(fd, KVM_SET_SREGS, &sregs) != 0 || ioctl(fd, KVM_SET_REGS, &regs) != 0) {
        return -errno;
    }
    do {
        result = kvm_vcpu_run(cpu);
    } while (result == -EINTR);
    return result < 0 ? result : kvm_vcpu_get_run(cpu)->exit_reason == KVM_EXIT_HLT;
}

/* @ram lives as long as @ms. */
static int try_kernel(MemorySystem *ms, KVMState *kvm, MemoryRegion *ram, Error **errp)
{
    KVMMemoryListener listener = {0};
    int result = memory_region_init_ram(ram, memory_system_owner(ms), "probe", 0x1000, errp);

    if (result < 0) {
        return result;
    }
    memcpy(memory_region_get_ram_ptr(ram), code, sizeof code);
    memory_region_add_subregion(get_system_memory(ms), 0, ram);
    result = kvm_memory_listener_register(kvm, &listener, memory_system_memory(ms), KVM_AS_MEMORY,
                                          "probe");
    if (result < 0) {
        error_set(errp, -result, "%s", membus_last_error());
    } else {
        KVMVcpu *cpu = kvm_vcpu_create(kvm, 0, errp);

        result = cpu ? try_code(cpu) : -EIO;
        if (cpu && result < 0) {
            error_set(errp, -result, "KVM cannot run a guest: %s", strerror(-result));
        }
        kvm_vcpu_destroy(cpu);
    }
    kvm_memory_listener_unregister(&listener);
    memory_region_del_subregion(get_system_memory(ms), ram);
    return result;
}

int kvm_probe(Error **errp)
{
    MemorySystem *ms = memory_system_create();
    MemoryRegion ram;
    KVMState *kvm;
    int result = -EIO;

    if (!ms) {
        return error_set(errp, ENOMEM, "%s", membus_last_error());
    }
    kvm = kvm_create(ms, NULL, errp);
    if (kvm) {
        result = try_kernel(ms, kvm, &ram, errp);
        kvm_destroy(kvm);
    }
    memory_system_destroy(ms);
    return result;
}
