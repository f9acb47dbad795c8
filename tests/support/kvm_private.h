/* SPDX-License-Identifier: MIT */
/* kvm_private.h - a fake KVM and RAM with private memory. Needs cmocka.h before it. */
#ifndef TESTS_KVM_PRIVATE_H
#define TESTS_KVM_PRIVATE_H

#include "kvm_fake.h"
#include "machine.h"

#define PAGE 4096ULL
#define SIZE (16 * PAGE)

typedef struct Guest {
    MemorySystem *ms;
    KvmFake *fake;
    KVMState *kvm;
    KVMMemoryListener kml;
    MemoryRegion ram;
    unsigned reports;
} Guest;

static inline void count_reports(void *opaque, const Error *err)
{
    Guest *g = opaque;

    assert_non_null(err);
    g->reports++;
}

static inline void start(Guest *g, KvmFakeCaps caps)
{
    *g = (Guest){.ms = machine_start(), .fake = kvm_fake_create(&caps)};
    assert_non_null(g->fake);
    KVMConfig config = kvm_fake_config(g->fake);
    config.report = count_reports;
    config.opaque = g;
    g->kvm = kvm_create(g->ms, &config, NULL);
    assert_non_null(g->kvm);
    OK(kvm_memory_listener_register(g->kvm, &g->kml, memory_system_memory(g->ms), 0, "kvm"));
    make_ram(g->ms, &g->ram, "ram", SIZE);
}

static inline KvmFakeCaps with_attributes(void)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;

    caps.memory_attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE;
    return caps;
}

static inline void end(Guest *g)
{
    OK(kvm_destroy(g->kvm));
    machine_end(g->ms);
    kvm_fake_destroy(g->fake);
}

static inline RAMBlock *block_of(Guest *g, const char *name)
{
    RAMBlock *block = qemu_ram_block_by_name(g->ms, name);

    assert_non_null(block);
    return block;
}

static inline int new_memfd(Guest *g, hwaddr size)
{
    int fd = kvm_create_guest_memfd(g->kvm, size, 0, NULL);

    assert_true(fd >= 0);
    return fd;
}

/* The block's private memory begins a page into the fd. */
static inline void give_memfd(Guest *g, const char *name, hwaddr size)
{
    OK(ram_block_set_guest_memfd(block_of(g, name), new_memfd(g, size + PAGE), PAGE, NULL));
}

static inline void start_private(Guest *g, hwaddr addr)
{
    start(g, with_attributes());
    give_memfd(g, "ram", SIZE);
    map_at(g->ms, addr, &g->ram);
}

#endif
