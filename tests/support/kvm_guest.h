/* SPDX-License-Identifier: MIT */
/*
 * kvm_guest.h - a machine under the fake kernel, with its memory and (if asked) its ports, and no
 * vCPU. Needs cmocka.h before it.
 */
#ifndef TESTS_KVM_GUEST_H
#define TESTS_KVM_GUEST_H

#include "device.h"
#include "kvm_fake.h"
#include "machine.h"
#include <stdlib.h>
#include <string.h>

#define DEVICE_AT 0x10000
#define PORT_AT 0x300

typedef struct Guest {
    MemorySystem *ms;
    KvmFake *fake;
    KVMState *kvm;
    KVMMemoryListener memory, ports;
    unsigned reports; /* KVMConfig.report was called */
    struct kvm_run *run;
    size_t run_size;
} Guest;

static inline void guest_note_report(void *opaque, const Error *err)
{
    Guest *g = opaque;

    assert_true(*error_get_pretty(err));
    g->reports++;
}

static inline void guest_register(Guest *g, KVMMemoryListener *listener, AddressSpace *as,
                                  int as_id)
{
    OK(kvm_memory_listener_register(g->kvm, listener, as, as_id, "guest"));
}

static inline Guest *guest_start(const KvmFakeCaps *caps, bool ports)
{
    Guest *g = calloc(1, sizeof *g);

    assert_non_null(g);
    g->ms = machine_start();
    g->fake = kvm_fake_create(caps);
    assert_non_null(g->fake);
    KVMConfig config = kvm_fake_config(g->fake);
    config.report = guest_note_report;
    config.opaque = g;
    g->kvm = kvm_create(g->ms, &config, NULL);
    assert_non_null(g->kvm);
    guest_register(g, &g->memory, memory_system_memory(g->ms), KVM_AS_MEMORY);
    if (ports) {
        guest_register(g, &g->ports, memory_system_io(g->ms), KVM_AS_PORTS);
    }
    g->run_size =
        (size_t)kvm_fake_ioctl(g->fake, kvm_fake_fd(g->fake), KVM_GET_VCPU_MMAP_SIZE, NULL);
    g->run = calloc(1, g->run_size);
    assert_non_null(g->run);
    return g;
}

static inline void guest_end(Guest *g)
{
    OK(kvm_destroy(g->kvm));
    kvm_fake_destroy(g->fake);
    machine_end(g->ms);
    free(g->run);
    free(g);
}

/* A device of 64 bytes that takes any width at any place. */
static inline Device *any_device(Guest *g, enum device_endian order)
{
    Device *d = device_new(g->ms, "any", true);

    d->ops.endianness = order;
    d->ops.valid.max_access_size = d->ops.impl.max_access_size = 8;
    d->ops.valid.unaligned = d->ops.impl.unaligned = true;
    OK(device_init(d, DEVICE_BYTES, DEVICE_LITTLE_ENDIAN));
    return d;
}

#endif
