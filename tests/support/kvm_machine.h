/* SPDX-License-Identifier: MIT */
/* kvm_machine.h - a machine under the fake KVM. Needs cmocka.h before it. */
#ifndef TESTS_KVM_MACHINE_H
#define TESTS_KVM_MACHINE_H

#include "kvm_fake.h"
#include "machine.h"

#define PAGE 4096ULL
#define SIZE (16 * PAGE)

typedef struct Guest {
    MemorySystem *ms;
    KvmFake *fake;
    KVMState *kvm;
    unsigned reports;
} Guest;

static inline void count_reports(void *opaque, const Error *err)
{
    Guest *g = opaque;

    assert_true(*error_get_pretty(err));
    g->reports++;
}

static inline KVMConfig begin(Guest *g, const KvmFakeCaps *caps)
{
    *g = (Guest){.ms = machine_start(), .fake = kvm_fake_create(caps)};
    assert_non_null(g->fake);
    KVMConfig config = kvm_fake_config(g->fake);
    config.report = count_reports;
    config.opaque = g;
    return config;
}

static inline void start(Guest *g, const KvmFakeCaps *caps)
{
    KVMConfig config = begin(g, caps);

    g->kvm = kvm_create(g->ms, &config, NULL);
    assert_non_null(g->kvm);
}

static inline void end(Guest *g)
{
    OK(kvm_destroy(g->kvm));
    machine_end(g->ms);
    kvm_fake_destroy(g->fake);
}

#endif
