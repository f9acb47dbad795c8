/* SPDX-License-Identifier: MIT */
/*
 * kvm_host.h - one vCPU in real mode that makes one store, or one write to a port, at a time:
 * what a test needs to ask the running kernel the same as the fake.
 */
#ifndef TESTS_KVM_HOST_H
#define TESTS_KVM_HOST_H

#include "kvm_fake.h"

typedef struct KvmHost {
    int kvm, vm, vcpu;
    struct kvm_run *run;
    size_t run_size;
    uint8_t *code; /* a page */
} KvmHost;

#define KVM_HOST_CODE 0xf0000U /* where the code is; */
#define KVM_HOST_SLOT 500U     /* the slot that shows it */

/* False with the reason in @why if there is no usable /dev/kvm. */
bool kvm_host_open(KvmHost *host, const char **why);
/* Make the vCPU, after the capabilities have been chosen. */
bool kvm_host_start(KvmHost *host, const char **why);
void kvm_host_close(KvmHost *host);

/* The low @len bytes (1, 2, 4) of @data to @gpa below 1 MiB; to @port. COALESCED: no exit. */
KvmFakeOutcome kvm_host_store(KvmHost *host, uint32_t gpa, uint32_t data, unsigned len);
KvmFakeOutcome kvm_host_out(KvmHost *host, uint16_t port, uint32_t data, unsigned len);

#endif
