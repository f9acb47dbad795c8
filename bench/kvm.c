/* SPDX-License-Identifier: MIT */
/*
 * kvm.c - what a guest under KVM costs.
 *
 *   kvm_commit       one region of RAM is enabled or disabled: the whole commit beside the ioctls
 *                    that it makes, on the real /dev/kvm
 *   mmio_exit        kvm_memory_exit() of a 4-byte access beside a switch that calls the device
 *   coalesced_drain  an entry of a full ring beside a bare loop over it
 *
 * The last two need no guest: a kernel of a few lines stands in, and writes the ring as KVM does.
 */
#include "bench.h"
#include "world.h"

#include <errno.h>
#include <linux/kvm.h>
#include <membus/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- kvm_commit ---------------------------------------- */

#define REGIONS 64
#define TOGGLES 200

typedef struct Toggled {
    World world;
    KVMState *kvm;
    KVMMemoryListener listener;
    double inside; /* ns in ioctls */
    unsigned long ioctls;
    Series commits, inner;
} Toggled;

static int timed_ioctl(void *opaque, int fd, unsigned long request, void *arg)
{
    Toggled *t = opaque;
    double start = now_ns();
    int result = ioctl(fd, request, arg);
    int err = errno;

    t->inside += now_ns() - start;
    t->ioctls++;
    return result == -1 ? -err : result;
}

static void toggle_once(Toggled *t, unsigned samples)
{
    double start = now_ns();

    t->inside = 0;
    t->ioctls = 0;
    for (unsigned i = 0; i < TOGGLES; i++) {
        must(memory_region_set_enabled(&t->world.regions[REGIONS / 2], i % 2));
    }
    t->commits.samples[samples] = (now_ns() - start) / TOGGLES / 1000;
    t->inner.samples[samples] = t->inside / TOGGLES / 1000;
    t->commits.count = t->inner.count = samples + 1;
}

static bool start_kvm(Toggled *t, Error **errp)
{
    KVMConfig config = KVM_CONFIG_INIT;

    world_init(&t->world, REGIONS, REGIONS * PAGE);
    for (size_t i = 0; i < REGIONS; i++) {
        world_add_ram(&t->world, i, world_separate_address(i), PAGE, i * PAGE);
    }
    config.kernel = (KVMKernel){timed_ioctl, t};
    t->kvm = kvm_create(t->world.ms, &config, errp);
    if (t->kvm) {
        must(kvm_memory_listener_register(t->kvm, &t->listener, t->world.as, KVM_AS_MEMORY,
                                          "bench"));
    }
    return t->kvm;
}

static void bench_kvm_commit(Bench *bench)
{
    static Toggled t;
    Error *err = NULL;

    if (!bench_wants(bench, "kvm_commit")) {
        return;
    }
    if (start_kvm(&t, &err)) {
        toggle_once(&t, 0); /* warms up */
        for (unsigned i = 0; i < bench->runs; i++) {
            toggle_once(&t, i);
        }
        /* less than a tenth of it outside */
        bench_report(bench, "kvm_commit", "us", (Goal){GOAL_RATIO_AT_MOST, 1 / 0.9}, &t.commits,
                     "its ioctls", &t.inner);
        bench_note("%.2f ioctls a commit", (double)t.ioctls / TOGGLES);
        kvm_destroy(t.kvm);
    } else {
        printf("%-22s not measured: %s\n", "kvm_commit", error_get_pretty(err));
        error_free(err);
    }
    world_destroy(&t.world);
}

/* ---- a kernel that stands in ---------------------------------------- */

#define RING_PAGE 2
#define RUN_AREA (3 * PAGE)
#define RING_ENTRIES                                                                               \
    ((PAGE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

static int no_kernel(void *opaque, int fd, unsigned long request, void *arg)
{
    (void)opaque;
    (void)fd;
    switch (request) {
    case KVM_GET_API_VERSION:
        return KVM_API_VERSION;
    case KVM_GET_VCPU_MMAP_SIZE:
        return (int)RUN_AREA;
    case KVM_CHECK_EXTENSION:
        return (uintptr_t)arg == KVM_CAP_COALESCED_MMIO ? RING_PAGE : 0;
    case KVM_CREATE_VCPU: {
        int area = memfd_create("vcpu", MFD_CLOEXEC);
        return area < 0 || ftruncate(area, RUN_AREA) ? -errno : area;
    }
    default:
        return 0;
    }
}

typedef struct Exits {
    World world;
    KVMState *kvm;
    struct kvm_run *run;
    struct kvm_coalesced_mmio_ring *ring;
    uint64_t (*volatile read)(void *opaque, hwaddr addr, unsigned size);
    void (*volatile write)(void *opaque, hwaddr addr, uint64_t data, unsigned size);
} Exits;

static void exits_init(Exits *e, bool lockless)
{
    KVMConfig config = {.kvm_fd = STDIN_FILENO, .vm_fd = STDIN_FILENO, .kernel = {no_kernel, NULL}};
    Error *err = NULL;

    world_init(&e->world, REGIONS, 0);
    for (size_t i = 0; i < REGIONS; i++) {
        world_add_mmio(&e->world, i, world_separate_address(i), PAGE, lockless);
    }
    e->kvm = kvm_create(e->world.ms, &config, &err);
    KVMVcpu *cpu = e->kvm ? kvm_vcpu_create(e->kvm, 0, &err) : NULL;
    expect(cpu, err ? error_get_pretty(err) : "KVM");
    e->run = kvm_vcpu_get_run(cpu);
    e->ring = (struct kvm_coalesced_mmio_ring *)(void *)((uint8_t *)e->run + RING_PAGE * PAGE);
    e->read = device_read;
    e->write = device_write;
}

static void exits_destroy(Exits *e)
{
    kvm_destroy(e->kvm);
    world_destroy(&e->world);
}

/* ---- mmio_exit ---------------------------------------- */

#define EXITS (1U << 19)

static inline void next_exit(struct kvm_run *run, unsigned i)
{
    run->exit_reason = KVM_EXIT_MMIO;
    run->mmio.phys_addr = world_separate_address(3) + i * 4UL % PAGE;
    run->mmio.len = 4;
    run->mmio.is_write = i & 1;
}

static double exit_membus(void *opaque)
{
    Exits *e = opaque;
    double start = now_ns();

    for (unsigned i = 0; i < EXITS; i++) {
        next_exit(e->run, i);
        kvm_memory_exit(e->kvm, e->run);
    }
    return (now_ns() - start) / EXITS;
}

static __attribute__((noinline)) void bare_exit(Exits *e, struct kvm_run *run)
{
    hwaddr offset = run->mmio.phys_addr - world_separate_address(3);

    switch (run->exit_reason) {
    case KVM_EXIT_MMIO:
        if (run->mmio.is_write) {
            uint64_t value = 0;
            memcpy(&value, run->mmio.data, 4);
            e->write(NULL, offset, value, run->mmio.len);
        } else {
            uint64_t value = e->read(NULL, offset, run->mmio.len);
            memcpy(run->mmio.data, &value, 4);
        }
        break;
    case KVM_EXIT_IO:
        e->write(NULL, run->io.port, 0, run->io.size);
        break;
    default:
        break;
    }
}

static double exit_bare(void *opaque)
{
    Exits *e = opaque;
    double start = now_ns();

    for (unsigned i = 0; i < EXITS; i++) {
        next_exit(e->run, i);
        bare_exit(e, e->run);
    }
    return (now_ns() - start) / EXITS;
}

static void expect_exits(Exits *e)
{
    next_exit(e->run, 10);
    expect(kvm_memory_exit(e->kvm, e->run) == 1, "exit");
    expect(e->run->mmio.data[0] == 40, "value of an exit");
}

static void bench_mmio_exit(Bench *bench, const char *name, bool lockless)
{
    static Exits e;

    if (!bench_wants(bench, name)) {
        return;
    }
    exits_init(&e, lockless);
    expect_exits(&e);
    Contender contenders[] = {
        {.name = "membus", .sample = exit_membus, .opaque = &e},
        {.name = "bare switch", .sample = exit_bare, .opaque = &e},
    };
    bench_compare(bench, name, "ns", (Goal){GOAL_DIFFERENCE_AT_MOST, 50}, contenders, 2);
    exits_destroy(&e);
}

/* ---- coalesced_drain ---------------------------------------- */

#define DRAINS 1000

static void fill_ring(Exits *e)
{
    e->ring->first = 0;
    for (unsigned i = 0; i < RING_ENTRIES - 1; i++) {
        e->ring->coalesced_mmio[i] = (struct kvm_coalesced_mmio){
            .phys_addr = world_separate_address(3) + i * 4UL, .len = 4, .data = {1}};
    }
    __atomic_store_n(&e->ring->last, (uint32_t)RING_ENTRIES - 1, __ATOMIC_RELEASE);
}

static double drain_membus(void *opaque)
{
    Exits *e = opaque;
    double spent = 0;

    for (unsigned i = 0; i < DRAINS; i++) {
        fill_ring(e);
        double start = now_ns();
        kvm_flush_coalesced_mmio_buffer(e->kvm);
        spent += now_ns() - start;
        expect(e->ring->first == RING_ENTRIES - 1, "drained ring");
    }
    return spent / DRAINS / (RING_ENTRIES - 1);
}

static double drain_bare(void *opaque)
{
    Exits *e = opaque;
    double spent = 0;

    for (unsigned i = 0; i < DRAINS; i++) {
        fill_ring(e);
        double start = now_ns();
        while (e->ring->first != __atomic_load_n(&e->ring->last, __ATOMIC_ACQUIRE)) {
            const struct kvm_coalesced_mmio *entry = &e->ring->coalesced_mmio[e->ring->first];
            uint64_t value = 0;
            memcpy(&value, entry->data, 4);
            e->write(NULL, entry->phys_addr - world_separate_address(3), value, entry->len);
            __atomic_store_n(&e->ring->first, (e->ring->first + 1) % (uint32_t)RING_ENTRIES,
                             __ATOMIC_RELEASE);
        }
        spent += now_ns() - start;
    }
    return spent / DRAINS / (RING_ENTRIES - 1);
}

static void bench_drain(Bench *bench)
{
    static Exits e;

    if (!bench_wants(bench, "coalesced_drain")) {
        return;
    }
    exits_init(&e, false);
    must(memory_region_set_coalescing(&e.world.regions[3]));
    Contender contenders[] = {
        {.name = "membus", .sample = drain_membus, .opaque = &e},
        {.name = "bare loop", .sample = drain_bare, .opaque = &e},
    };
    bench_compare(bench, "coalesced_drain", "ns", (Goal){GOAL_NONE, 0}, contenders, 2);
    double best = contenders[0].series.samples[0];
    for (unsigned i = 1; i < contenders[0].series.count; i++) {
        best = contenders[0].series.samples[i] < best ? contenders[0].series.samples[i] : best;
    }
    bench_note("at best %.1f million entries a second", 1000 / best);
    exits_destroy(&e);
}

void bench_kvm(Bench *bench)
{
    bench_kvm_commit(bench);
    bench_mmio_exit(bench, "mmio_exit", false);
    bench_mmio_exit(bench, "mmio_exit_lockless", true);
    bench_drain(bench);
}
