/* SPDX-License-Identifier: MIT */
/* vCPUs: their fds and what they share with the kernel. */
#include "base/error.h"
#include "kvm/coalesced.h"
#include "kvm/dirty_ring.h"
#include "kvm/ioctl.h"
#include "kvm/uapi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int map_run_area(KVMVcpu *cpu)
{
    size_t size = cpu->s->run_size;
    void *run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);

    if (run == MAP_FAILED) {
        return fail(errno, "a vCPU's area of %zu bytes cannot be mapped: %s", size,
                    strerror(errno));
    }
    cpu->run = run;
    return 0;
}

static void free_vcpu(KVMVcpu *cpu)
{
    dirty_ring_unmap(cpu);
    if (cpu->run) {
        munmap(cpu->run, cpu->s->run_size);
    }
    if (cpu->own_fd && cpu->fd >= 0) {
        close(cpu->fd);
    }
    free(cpu);
}

/* A vCPU of @fd, which it owns if @own. */
static KVMVcpu *make_vcpu(KVMState *s, int fd, bool own, Error **errp)
{
    KVMVcpu *cpu = calloc(1, sizeof *cpu);

    if (!cpu) {
        error_pass(errp, fail_no_memory("a vCPU"));
        if (own) {
            close(fd);
        }
        return NULL;
    }
    *cpu = (KVMVcpu){.s = s, .fd = fd, .own_fd = own};
    int result = map_run_area(cpu);
    if (!result) {
        result = dirty_ring_map(cpu);
    }
    if (!result) {
        result = coalesced_open(s, fd);
    }
    if (result) {
        free_vcpu(cpu);
        error_pass(errp, result);
        return NULL;
    }
    machine_lock(s->ms);
    cpu->next = s->vcpus;
    s->vcpus = cpu;
    machine_unlock(s->ms);
    return cpu;
}

KVMVcpu *kvm_vcpu_create(KVMState *s, unsigned long vcpu_id, Error **errp)
{
    int fd = kvm_vm_ioctl(s, KVM_CREATE_VCPU, kvm_number(vcpu_id));

    if (fd < 0) {
        error_pass(errp, fail(-fd, "KVM cannot create vCPU %lu: %s", vcpu_id, strerror(-fd)));
        return NULL;
    }
    return make_vcpu(s, fd, true, errp);
}

KVMVcpu *kvm_vcpu_adopt(KVMState *s, int vcpu_fd, Error **errp)
{
    return make_vcpu(s, vcpu_fd, false, errp);
}

void kvm_vcpu_destroy(KVMVcpu *cpu)
{
    if (!cpu) {
        return;
    }
    MemorySystem *ms = cpu->s->ms;
    machine_lock(ms);
    kvm_dirty_ring_reap(cpu->s);
    KVMVcpu **link = &cpu->s->vcpus;
    while (*link != cpu) {
        link = &(*link)->next;
    }
    *link = cpu->next;
    machine_unlock(ms);
    free_vcpu(cpu);
}

int kvm_vcpu_fd(const KVMVcpu *cpu)
{
    return cpu->fd;
}

struct kvm_run *kvm_vcpu_get_run(const KVMVcpu *cpu)
{
    return cpu->run;
}
