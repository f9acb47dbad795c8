/* SPDX-License-Identifier: MIT */
/* kvm_calls.h - the ioctls of KVM memory as calls, to the kernel or to who stands in for it. */
#ifndef TESTS_KVM_CALLS_H
#define TESTS_KVM_CALLS_H

#include "kvm/uapi.h"

#include <errno.h>
#include <membus/kvm.h>
#include <sys/ioctl.h>

/* A VM. Calls return what ioctl(2) does, or a negative errno. */
typedef struct KvmCalls {
    KVMKernel kernel; /* .ioctl NULL: the running one */
    int fd;
} KvmCalls;

static inline int kvm_call_on(const KvmCalls *vm, int fd, unsigned long request, void *arg)
{
    if (vm->kernel.ioctl) {
        return vm->kernel.ioctl(vm->kernel.opaque, fd, request, arg);
    }
    int result = ioctl(fd, request, arg);
    return result < 0 ? -errno : result;
}

static inline int kvm_call(const KvmCalls *vm, unsigned long request, void *arg)
{
    return kvm_call_on(vm, vm->fd, request, arg);
}

static inline int kvm_call_number(const KvmCalls *vm, unsigned long request, uintptr_t number)
{
    return kvm_call(vm, request, (void *)number); // NOLINT(performance-no-int-to-ptr)
}

/* @number: as_id << 16 | id */
static inline int kvm_call_set(const KvmCalls *vm, uint32_t number, uint32_t flags, uint64_t gpa,
                               uint64_t size, uint64_t hva)
{
    struct kvm_userspace_memory_region region = {number, flags, gpa, size, hva};

    return kvm_call(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static inline int kvm_call_set2(const KvmCalls *vm, uint32_t number, uint32_t flags, uint64_t gpa,
                                uint64_t size, uint64_t hva)
{
    struct kvm_userspace_memory_region2 region = {.slot = number,
                                                  .flags = flags,
                                                  .guest_phys_addr = gpa,
                                                  .memory_size = size,
                                                  .userspace_addr = hva};

    return kvm_call(vm, KVM_SET_USER_MEMORY_REGION2, &region);
}

static inline int kvm_call_get_log(const KvmCalls *vm, uint32_t number, void *bitmap)
{
    struct kvm_dirty_log log = {.slot = number, .dirty_bitmap = bitmap};

    return kvm_call(vm, KVM_GET_DIRTY_LOG, &log);
}

static inline int kvm_call_clear_log(const KvmCalls *vm, uint32_t number, uint64_t first,
                                     uint32_t pages, void *bitmap)
{
    struct kvm_clear_dirty_log log = {
        .slot = number, .num_pages = pages, .first_page = first, .dirty_bitmap = bitmap};

    return kvm_call(vm, KVM_CLEAR_DIRTY_LOG, &log);
}

static inline int kvm_call_enable(const KvmCalls *vm, uint32_t cap, uint32_t flags, uint64_t value)
{
    struct kvm_enable_cap enable = {.cap = cap, .flags = flags, .args = {value}};

    return kvm_call(vm, KVM_ENABLE_CAP, &enable);
}

static inline int kvm_call_ioeventfd(const KvmCalls *vm, uint64_t addr, uint32_t len, int fd,
                                     uint32_t flags, uint64_t data)
{
    struct kvm_ioeventfd arg = {
        .datamatch = data, .addr = addr, .len = len, .fd = fd, .flags = flags};

    return kvm_call(vm, KVM_IOEVENTFD, &arg);
}

static inline int kvm_call_zone(const KvmCalls *vm, bool add, uint64_t addr, uint32_t size,
                                uint32_t pio)
{
    struct kvm_coalesced_mmio_zone zone = {.addr = addr, .size = size, .pio = pio};

    return kvm_call(vm, add ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &zone);
}

#endif
