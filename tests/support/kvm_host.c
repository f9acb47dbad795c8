/* SPDX-License-Identifier: MIT */
#include "kvm_host.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

bool kvm_host_open(KvmHost *host, const char **why)
{
    *host = (KvmHost){.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), .vm = -1, .vcpu = -1};
#ifndef __x86_64__
    *why = "its guest is x86 code";
    return false;
#endif
    if (host->kvm < 0) {
        *why = strerror(errno);
        return false;
    }
    host->vm = ioctl(host->kvm, KVM_CREATE_VM, 0);
    if (host->vm < 0) {
        *why = strerror(errno);
        kvm_host_close(host);
        return false;
    }
    return true;
}

void kvm_host_close(KvmHost *host)
{
    if (host->run) {
        munmap(host->run, host->run_size);
    }
    if (host->code) {
        munmap(host->code, 4096);
    }
    for (unsigned i = 0; i < 3; i++) {
        int fd = i == 0 ? host->vcpu : i == 1 ? host->vm : host->kvm;
        if (fd >= 0) {
            close(fd);
        }
    }
    *host = (KvmHost){.kvm = -1, .vm = -1, .vcpu = -1};
}

#ifdef __x86_64__

/* One piece of code for each width, 16 bytes apart: mov [bx], eax; hlt and out dx, eax; hlt. */
static const uint8_t store_code[3][4] = {
    {0x88, 0x07, 0xf4}, {0x89, 0x07, 0xf4}, {0x66, 0x89, 0x07, 0xf4}};
static const uint8_t out_code[3][4] = {{0xee, 0xf4}, {0xef, 0xf4}, {0x66, 0xef, 0xf4}};

bool kvm_host_start(KvmHost *host, const char **why)
{
    *why = "no vCPU can be made";
    host->vcpu = ioctl(host->vm, KVM_CREATE_VCPU, 0);
    host->run_size = (size_t)ioctl(host->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (host->vcpu < 0) {
        return false;
    }
    host->run = mmap(NULL, host->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, host->vcpu, 0);
    host->code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (host->run == MAP_FAILED || host->code == MAP_FAILED) {
        return false;
    }
    for (unsigned width = 0; width < 3; width++) {
        memcpy(host->code + 32 * width, store_code[width], sizeof store_code[width]);
        memcpy(host->code + 32 * width + 16, out_code[width], sizeof out_code[width]);
    }
    struct kvm_userspace_memory_region region = {.slot = KVM_HOST_SLOT,
                                                 .guest_phys_addr = KVM_HOST_CODE,
                                                 .memory_size = 4096,
                                                 .userspace_addr = (uintptr_t)host->code};
    return !ioctl(host->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static KvmFakeOutcome run_until_halt(KvmHost *host)
{
    KvmFakeOutcome outcome = KVM_FAKE_DONE;

    for (;;) {
        if (ioctl(host->vcpu, KVM_RUN, 0)) {
            if (errno == EINTR) {
                continue;
            }
            return KVM_FAKE_BAD_HOST;
        }
        switch (host->run->exit_reason) {
        case KVM_EXIT_HLT:
            return outcome;
        case KVM_EXIT_DIRTY_RING_FULL:
            return KVM_FAKE_RING_FULL;
        case KVM_EXIT_MMIO:
        case KVM_EXIT_IO:
            outcome = KVM_FAKE_EXIT;
            continue; /* it goes on behind the access */
        default:
            return KVM_FAKE_BAD_HOST;
        }
    }
}

static KvmFakeOutcome run_code(KvmHost *host, unsigned width, bool out, uint32_t base,
                               struct kvm_regs *regs)
{
    struct kvm_sregs sregs;

    if (ioctl(host->vcpu, KVM_GET_SREGS, &sregs)) {
        return KVM_FAKE_BAD_HOST;
    }
    sregs.cs.base = KVM_HOST_CODE;
    sregs.cs.selector = KVM_HOST_CODE >> 4;
    sregs.ds.base = base;
    sregs.ds.selector = (uint16_t)(base >> 4);
    regs->rip = (width == 4 ? 2 : width - 1) * 32 + (out ? 16 : 0);
    regs->rflags = 2;
    if (ioctl(host->vcpu, KVM_SET_SREGS, &sregs) || ioctl(host->vcpu, KVM_SET_REGS, regs)) {
        return KVM_FAKE_BAD_HOST;
    }
    return run_until_halt(host);
}

KvmFakeOutcome kvm_host_store(KvmHost *host, uint32_t gpa, uint32_t data, unsigned len)
{
    struct kvm_regs regs = {.rax = data, .rbx = gpa & 15};

    return run_code(host, len, false, gpa & ~15U, &regs);
}

KvmFakeOutcome kvm_host_out(KvmHost *host, uint16_t port, uint32_t data, unsigned len)
{
    struct kvm_regs regs = {.rax = data, .rdx = port};

    return run_code(host, len, true, 0, &regs);
}

#else

bool kvm_host_start(KvmHost *host, const char **why)
{
    (void)host;
    *why = "its guest is x86 code";
    return false;
}

KvmFakeOutcome kvm_host_store(KvmHost *host, uint32_t gpa, uint32_t data, unsigned len)
{
    (void)host, (void)gpa, (void)data, (void)len;
    return KVM_FAKE_BAD_HOST;
}

KvmFakeOutcome kvm_host_out(KvmHost *host, uint16_t port, uint32_t data, unsigned len)
{
    (void)host, (void)port, (void)data, (void)len;
    return KVM_FAKE_BAD_HOST;
}

#endif
