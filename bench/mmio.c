/* SPDX-License-Identifier: MIT */
/*
 * mmio.c - 4-byte reads that a device's callback answers, without and with the machine's lock:
 * mmio_hot, mmio_hot_locked, mmio_random_1k, mmio_random_1k_locked. A register's value is its
 * offset, so the sums are known.
 */
#include "bench.h"
#include "peers.h"
#include "world.h"

#define DEVICES 1024
#define READS (1U << 19)
#define UNICORN_READS (1U << 15)

typedef struct Devices {
    World world;
    Unicorn *unicorn;
    uint64_t (*volatile callbacks[DEVICES])(void *opaque, hwaddr addr, unsigned size);
} Devices;

static void devices_init(Devices *devices, bool lockless)
{
    world_init(&devices->world, DEVICES, 0);
    devices->unicorn = unicorn_create();
    memory_region_transaction_begin(devices->world.ms);
    for (size_t i = 0; i < DEVICES; i++) {
        world_add_mmio(&devices->world, i, world_separate_address(i), PAGE, lockless);
        devices->callbacks[i] = device_read;
        if (devices->unicorn) {
            unicorn_map_device(devices->unicorn, world_separate_address(i), PAGE);
        }
    }
    must(memory_region_transaction_commit(devices->world.ms));
}

static void devices_destroy(Devices *devices)
{
    unicorn_destroy(devices->unicorn);
    world_destroy(&devices->world);
}

static inline hwaddr hot_register(unsigned i)
{
    return world_separate_address(3) + i * 4UL % PAGE;
}

/* Some register of some device. */
static inline hwaddr random_register(uint64_t *state, size_t *device)
{
    uint64_t x = random_next(state);
    *device = x >> 20 & (DEVICES - 1);
    return world_separate_address(*device) + (x & (PAGE - 4));
}

static void expect_hot(uint64_t sum, unsigned reads, const char *what)
{
    for (unsigned i = 0; i < reads; i++) {
        sum -= hot_register(i) % PAGE;
    }
    expect(sum == 0, what);
}

static void expect_random(uint64_t sum, unsigned reads, const char *what)
{
    uint64_t state = RANDOM_SEED;
    size_t device;
    for (unsigned i = 0; i < reads; i++) {
        sum -= random_register(&state, &device) % PAGE;
    }
    expect(sum == 0, what);
}

static double mmio_hot(void *opaque)
{
    Devices *devices = opaque;
    uint64_t sum = 0;
    double start = now_ns();
    for (unsigned i = 0; i < READS; i++) {
        sum +=
            address_space_ldl_le(devices->world.as, hot_register(i), MEMTXATTRS_UNSPECIFIED, NULL);
    }
    double end = now_ns();
    expect_hot(sum, READS, "membus");
    return (end - start) / READS;
}

static double mmio_hot_call(void *opaque)
{
    Devices *devices = opaque;
    uint64_t sum = 0;
    double start = now_ns();
    for (unsigned i = 0; i < READS; i++) {
        sum += devices->callbacks[3](NULL, hot_register(i) % PAGE, 4);
    }
    double end = now_ns();
    expect_hot(sum, READS, "indirect call");
    return (end - start) / READS;
}

static double mmio_hot_unicorn(void *opaque)
{
    Devices *devices = opaque;
    uint64_t sum = 0;
    double start = now_ns();
    for (unsigned i = 0; i < UNICORN_READS; i++) {
        uint32_t value;
        unicorn_read(devices->unicorn, hot_register(i), &value, sizeof(value));
        sum += value;
    }
    double end = now_ns();
    expect_hot(sum, UNICORN_READS, "Unicorn");
    return (end - start) / UNICORN_READS;
}

static double mmio_random(void *opaque)
{
    Devices *devices = opaque;
    uint64_t state = RANDOM_SEED, sum = 0;
    size_t device;
    double start = now_ns();
    for (unsigned i = 0; i < READS; i++) {
        sum += address_space_ldl_le(devices->world.as, random_register(&state, &device),
                                    MEMTXATTRS_UNSPECIFIED, NULL);
    }
    double end = now_ns();
    expect_random(sum, READS, "membus");
    return (end - start) / READS;
}

static double mmio_random_call(void *opaque)
{
    Devices *devices = opaque;
    uint64_t state = RANDOM_SEED, sum = 0;
    size_t device;
    double start = now_ns();
    for (unsigned i = 0; i < READS; i++) {
        hwaddr addr = random_register(&state, &device);
        sum += devices->callbacks[device](NULL, addr % PAGE, 4);
    }
    double end = now_ns();
    expect_random(sum, READS, "indirect call");
    return (end - start) / READS;
}

static double mmio_random_unicorn(void *opaque)
{
    Devices *devices = opaque;
    uint64_t state = RANDOM_SEED, sum = 0;
    size_t device;
    double start = now_ns();
    for (unsigned i = 0; i < UNICORN_READS; i++) {
        uint32_t value;
        unicorn_read(devices->unicorn, random_register(&state, &device), &value, sizeof(value));
        sum += value;
    }
    double end = now_ns();
    expect_random(sum, UNICORN_READS, "Unicorn");
    return (end - start) / UNICORN_READS;
}

void bench_mmio(Bench *bench)
{
    static const struct {
        const char *name;
        bool lockless, hot;
        double goal;
    } rows[] = {
        {"mmio_hot", true, true, 6},
        {"mmio_hot_locked", false, true, 26},
        {"mmio_random_1k", true, false, 10},
        {"mmio_random_1k_locked", false, false, 30},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!bench_wants(bench, rows[i].name)) {
            continue;
        }
        bool hot = rows[i].hot;
        static Devices devices;
        devices_init(&devices, rows[i].lockless);
        Contender contenders[] = {
            {.name = "membus", .sample = hot ? mmio_hot : mmio_random, .opaque = &devices},
            {.name = "indirect call",
             .sample = hot ? mmio_hot_call : mmio_random_call,
             .opaque = &devices},
            {.name = unicorn_name(),
             .sample = !devices.unicorn ? NULL
                       : hot            ? mmio_hot_unicorn
                                        : mmio_random_unicorn,
             .opaque = &devices,
             .why = "not installed"},
        };
        bench_compare(bench, rows[i].name, "ns", (Goal){GOAL_AT_MOST, rows[i].goal}, contenders, 3);
        devices_destroy(&devices);
    }
}
