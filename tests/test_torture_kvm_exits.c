/* SPDX-License-Identifier: MIT */
/*
 * vCPU threads serve exits while the address space that they go through is taken away, ended, freed
 * and replaced, and a third thread plays the kernel at the ring of coalesced writes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/kvm_guest.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define THREADS 2
#define ROUNDS 300
#define RING_AT (2UL * 4096)
#define RING_ENTRIES                                                                               \
    ((4096 - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

typedef struct Torture {
    Guest *g;
    struct kvm_coalesced_mmio_ring *ring;
    MemoryRegion counter;
    uint32_t expected; /* of the next coalesced write; the machine lock orders them */
    atomic_ulong served;
    atomic_bool stop;
} Torture;

static uint64_t counter_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)addr, (void)size;
    return 0x5a;
}

static void counter_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Torture *t = opaque;

    (void)addr, (void)size;
    assert_int_equal(data, t->expected);
    t->expected++;
}

static const MemoryRegionOps counter_ops = {
    .read = counter_read, .write = counter_write, .endianness = DEVICE_LITTLE_ENDIAN};

/* Reads that find the device, or nothing: 0x5a or 0. */
static void *serve(void *opaque)
{
    Torture *t = opaque;
    struct kvm_run *run = calloc(1, t->g->run_size);

    run->exit_reason = KVM_EXIT_MMIO;
    run->mmio.phys_addr = DEVICE_AT;
    run->mmio.len = 4;
    while (!t->stop) {
        assert_int_equal(kvm_memory_exit(t->g->kvm, run), 1);
        assert_true(run->mmio.data[0] == 0 || run->mmio.data[0] == 0x5a);
        t->served += run->mmio.data[0] == 0x5a;
    }
    free(run);
    return NULL;
}

static void *write_ring(void *opaque)
{
    Torture *t = opaque;
    uint32_t next = 0;

    while (!t->stop) {
        uint32_t last = t->ring->last, after = (last + 1) % (uint32_t)RING_ENTRIES;
        if (after == __atomic_load_n(&t->ring->first, __ATOMIC_ACQUIRE)) {
            sched_yield();
            continue;
        }
        struct kvm_coalesced_mmio *entry = &t->ring->coalesced_mmio[last];
        *entry = (struct kvm_coalesced_mmio){.phys_addr = PORT_AT, .len = 4, .pio = 1};
        memcpy(entry->data, &next, 4);
        next++;
        __atomic_store_n(&t->ring->last, after, __ATOMIC_RELEASE);
    }
    return NULL;
}

/* Another space shows the device for a while; it is unregistered first, or ended first. */
static void replace_space(Torture *t, MemoryRegion *root, bool unregister_first)
{
    AddressSpace *as = calloc(1, sizeof *as);
    KVMMemoryListener listener = {0};

    OK(address_space_init(as, root, "other"));
    OK(kvm_memory_listener_register(t->g->kvm, &listener, as, KVM_AS_MEMORY, "other"));
    unsigned long served = t->served;
    while (t->served == served) {
        sched_yield();
    }
    if (unregister_first) {
        OK(kvm_memory_listener_unregister(&listener));
        OK(address_space_destroy(as));
    } else {
        OK(address_space_destroy(as));
    }
    memory_system_drain(t->g->ms);
    memset(as, 0xdd, sizeof *as);
    free(as);
    OK(kvm_memory_listener_unregister(&listener));
}

static void test_exits(void **state)
{
    Torture *t = calloc(1, sizeof *t);
    pthread_t threads[THREADS + 1];
    MemoryRegion root;

    (void)state;
    t->g = guest_start(NULL, true);
    KVMVcpu *cpu = kvm_vcpu_create(t->g->kvm, 0, NULL);
    assert_non_null(cpu);
    t->ring =
        (struct kvm_coalesced_mmio_ring *)(void *)((uint8_t *)kvm_vcpu_get_run(cpu) + RING_AT);
    OK(memory_region_init_io(&t->counter, memory_system_owner(t->g->ms), &counter_ops, t, "counter",
                             4));
    OK(memory_region_add_subregion(get_system_io(t->g->ms), PORT_AT, &t->counter));
    Device *d = any_device(t->g, DEVICE_LITTLE_ENDIAN);
    memset(d->bytes, 0x5a, sizeof d->bytes);
    make_container(t->g->ms, &root, "root", UINT64_MAX);
    OK(memory_region_add_subregion(&root, DEVICE_AT, &d->mr));
    OK(kvm_memory_listener_unregister(&t->g->memory));
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, serve, t), 0);
    }
    assert_int_equal(pthread_create(&threads[THREADS], NULL, write_ring, t), 0);
    for (int round = 0; round < ROUNDS; round++) {
        replace_space(t, &root, round % 2);
    }
    t->stop = true;
    for (int i = 0; i < THREADS + 1; i++) {
        pthread_join(threads[i], NULL);
    }
    kvm_flush_coalesced_mmio_buffer(t->g->kvm);
    assert_true(t->expected > 0);
    assert_int_equal(t->g->reports, 0);
    OK(memory_region_del_subregion(get_system_io(t->g->ms), &t->counter));
    OK(memory_region_del_subregion(&root, &d->mr));
    device_drop(d);
    guest_end(t->g);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
