/* SPDX-License-Identifier: MIT */
/*
 * loads.c - 8-byte loads from RAM and bulk reads: load_hot, load_hot_section, load_random,
 * load_random_1k, bulk_4k_hot, bulk_1m.
 *
 * Loads are independent of each other: addresses come from a counter or a seeded xorshift
 * generator, the values are added up. So they may overlap in the CPU, as a device model's do, and
 * the generator's nanosecond is part of every contender's figure alike. Each sum is compared with
 * what it has to be.
 */
#include "bench.h"
#include "peers.h"
#include "world.h"

#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)
#define UNSPECIFIED MEMTXATTRS_UNSPECIFIED

/* What is in memory at @addr, a multiple of 8. */
static inline uint64_t word_at(hwaddr addr)
{
    return (addr + 8) * RANDOM_SEED;
}

/* One buffer of RAM, seen by each contender as a machine's memory. */
typedef struct Memory {
    World world;
    PageTable table;
    Unicorn *unicorn;
    size_t size;
} Memory;

static void memory_init(Memory *memory, size_t size, size_t regions)
{
    memory->size = size;
    world_init(&memory->world, regions, size);
    for (size_t addr = 0; addr < size; addr += 8) {
        uint64_t word = word_at(addr);
        memcpy(memory->world.ram + addr, &word, sizeof(word));
    }
    pagetable_init(&memory->table, size);
    pagetable_map(&memory->table, 0, size, memory->world.ram);
    memory->unicorn = unicorn_create();
    size_t each = size / regions;
    memory_region_transaction_begin(memory->world.ms);
    for (size_t i = 0; i < regions; i++) {
        world_add_ram(&memory->world, i, i * each, each, i * each);
        if (memory->unicorn) {
            unicorn_map_ram(memory->unicorn, i * each, each, memory->world.ram + i * each);
        }
    }
    must(memory_region_transaction_commit(memory->world.ms));
}

static void memory_destroy(Memory *memory)
{
    unicorn_destroy(memory->unicorn);
    pagetable_destroy(&memory->table);
    world_destroy(&memory->world);
}

/* ---- The same page ---- */

#define HOT_LOADS (1U << 21)
#define HOT_BASE (5 * PAGE)

static inline hwaddr hot_address(unsigned i)
{
    return HOT_BASE + i * 8UL % PAGE;
}

static void expect_hot(uint64_t sum, unsigned loads, const char *what)
{
    for (unsigned i = 0; i < loads; i++) {
        sum -= word_at(hot_address(i));
    }
    expect(sum == 0, what);
}

static uint64_t hot_loads(AddressSpace *as)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < HOT_LOADS; i++) {
        sum += address_space_ldq_le(as, hot_address(i), UNSPECIFIED, NULL);
    }
    return sum;
}

static double load_hot(void *opaque)
{
    Memory *memory = opaque;
    double start = now_ns();
    uint64_t sum = hot_loads(memory->world.as);
    double end = now_ns();
    expect_hot(sum, HOT_LOADS, "load_hot");
    return (end - start) / HOT_LOADS;
}

static double load_hot_section(void *opaque)
{
    Memory *memory = opaque;
    double start = now_ns();
    memory_read_lock();
    uint64_t sum = hot_loads(memory->world.as);
    memory_read_unlock();
    double end = now_ns();
    expect_hot(sum, HOT_LOADS, "load_hot_section");
    return (end - start) / HOT_LOADS;
}

static double load_hot_raw(void *opaque)
{
    Memory *memory = opaque;
    const uint8_t *ram = memory->world.ram;
    uint64_t sum = 0;
    double start = now_ns();
    for (unsigned i = 0; i < HOT_LOADS; i++) {
        sum += *(const volatile uint64_t *)(const void *)(ram + hot_address(i));
    }
    double end = now_ns();
    expect_hot(sum, HOT_LOADS, "raw load");
    return (end - start) / HOT_LOADS;
}

static double load_hot_table(void *opaque)
{
    Memory *memory = opaque;
    uint64_t sum = 0;
    double start = now_ns();
    for (unsigned i = 0; i < HOT_LOADS; i++) {
        sum += pagetable_ldq(&memory->table, hot_address(i));
    }
    double end = now_ns();
    expect_hot(sum, HOT_LOADS, "page table");
    return (end - start) / HOT_LOADS;
}

static double load_hot_unicorn(void *opaque)
{
    Memory *memory = opaque;
    uint64_t sum = 0;
    double start = now_ns();
    for (unsigned i = 0; i < HOT_LOADS / 16; i++) {
        uint64_t value;
        unicorn_read(memory->unicorn, hot_address(i), &value, sizeof(value));
        sum += value;
    }
    double end = now_ns();
    expect_hot(sum, HOT_LOADS / 16, "Unicorn");
    return (end - start) / (HOT_LOADS / 16);
}

void bench_loads(Bench *bench)
{
    if (!bench_wants(bench, "load_hot") && !bench_wants(bench, "load_hot_section")) {
        return;
    }
    Memory memory;
    memory_init(&memory, MIB, 1);
    struct {
        const char *name;
        double (*sample)(void *opaque);
        double goal;
    } rows[] = {{"load_hot", load_hot, 2.5}, {"load_hot_section", load_hot_section, 1.6}};
    for (size_t i = 0; i < 2; i++) {
        Contender contenders[] = {
            {.name = "membus", .sample = rows[i].sample, .opaque = &memory},
            {.name = "one-load page table", .sample = load_hot_table, .opaque = &memory},
            {.name = "raw load", .sample = load_hot_raw, .opaque = &memory},
            {.name = unicorn_name(),
             .sample = memory.unicorn ? load_hot_unicorn : NULL,
             .opaque = &memory,
             .why = "not installed"},
        };
        bench_compare(bench, rows[i].name, "ns", (Goal){GOAL_AT_MOST, rows[i].goal}, contenders, 4);
    }
    memory_destroy(&memory);
}

/* ---- At random ---- */

#define RANDOM_LOADS (1U << 20)

static inline hwaddr random_address(const Memory *memory, uint64_t *state)
{
    return (random_next(state) & (memory->size - 1)) & ~UINT64_C(7);
}

static void expect_random(const Memory *memory, uint64_t sum, unsigned loads, const char *what)
{
    uint64_t state = RANDOM_SEED;
    for (unsigned i = 0; i < loads; i++) {
        sum -= word_at(random_address(memory, &state));
    }
    expect(sum == 0, what);
}

static double load_random(void *opaque)
{
    Memory *memory = opaque;
    AddressSpace *as = memory->world.as;
    uint64_t state = RANDOM_SEED, sum = 0;
    double start = now_ns();
    for (unsigned i = 0; i < RANDOM_LOADS; i++) {
        sum += address_space_ldq_le(as, random_address(memory, &state), UNSPECIFIED, NULL);
    }
    double end = now_ns();
    expect_random(memory, sum, RANDOM_LOADS, "load_random");
    return (end - start) / RANDOM_LOADS;
}

static double load_random_raw(void *opaque)
{
    Memory *memory = opaque;
    const uint8_t *ram = memory->world.ram;
    uint64_t state = RANDOM_SEED, sum = 0;
    double start = now_ns();
    for (unsigned i = 0; i < RANDOM_LOADS; i++) {
        sum += *(const volatile uint64_t *)(const void *)(ram + random_address(memory, &state));
    }
    double end = now_ns();
    expect_random(memory, sum, RANDOM_LOADS, "raw load");
    return (end - start) / RANDOM_LOADS;
}

static double load_random_table(void *opaque)
{
    Memory *memory = opaque;
    uint64_t state = RANDOM_SEED, sum = 0;
    double start = now_ns();
    for (unsigned i = 0; i < RANDOM_LOADS; i++) {
        sum += pagetable_ldq(&memory->table, random_address(memory, &state));
    }
    double end = now_ns();
    expect_random(memory, sum, RANDOM_LOADS, "page table");
    return (end - start) / RANDOM_LOADS;
}

static double load_random_unicorn(void *opaque)
{
    Memory *memory = opaque;
    uint64_t state = RANDOM_SEED, sum = 0;
    double start = now_ns();
    for (unsigned i = 0; i < RANDOM_LOADS / 8; i++) {
        uint64_t value;
        unicorn_read(memory->unicorn, random_address(memory, &state), &value, sizeof(value));
        sum += value;
    }
    double end = now_ns();
    expect_random(memory, sum, RANDOM_LOADS / 8, "Unicorn");
    return (end - start) / (RANDOM_LOADS / 8);
}

static void bench_random_over(Bench *bench, const char *name, size_t regions, double goal)
{
    if (!bench_wants(bench, name)) {
        return;
    }
    Memory memory;
    memory_init(&memory, GIB, regions);
    Contender contenders[] = {
        {.name = "membus", .sample = load_random, .opaque = &memory},
        {.name = "one-load page table", .sample = load_random_table, .opaque = &memory},
        {.name = "raw load", .sample = load_random_raw, .opaque = &memory},
        {.name = unicorn_name(),
         .sample = memory.unicorn ? load_random_unicorn : NULL,
         .opaque = &memory,
         .why = "not installed"},
    };
    bench_compare(bench, name, "ns", (Goal){GOAL_AT_MOST, goal}, contenders, 4);
    memory_destroy(&memory);
}

void bench_random_loads(Bench *bench)
{
    bench_random_over(bench, "load_random", 1, 40);
    bench_random_over(bench, "load_random_1k", 1024, 45);
    if (bench_wants(bench, "load_random") || bench_wants(bench, "load_random_1k")) {
        bench_note("the goals come from a machine with 27.5 ns for the raw load and 37 ns for the");
        bench_note("page table: where these differ, the ratio says more than the goal.");
    }
}

/* ---- In bulk ---- */

static uint8_t buffer[MIB] __attribute__((aligned(4096)));

static void expect_bulk(const Memory *memory, size_t length, const char *what)
{
    expect(memcmp(buffer, memory->world.ram + HOT_BASE, length) == 0, what);
    memset(buffer, 0, length);
}

/* ns for one read of @length bytes */
static double read_bulk(Memory *memory, size_t length, unsigned repeats)
{
    double start = now_ns();
    for (unsigned i = 0; i < repeats; i++) {
        keep(address_space_read(memory->world.as, HOT_BASE, UNSPECIFIED, buffer, length));
    }
    double end = now_ns();
    expect_bulk(memory, length, "address_space_read");
    return (end - start) / repeats;
}

static double read_bulk_raw(Memory *memory, size_t length, unsigned repeats)
{
    double start = now_ns();
    for (unsigned i = 0; i < repeats; i++) {
        memcpy(buffer, memory->world.ram + HOT_BASE, length);
        keep(buffer[0]);
    }
    double end = now_ns();
    expect_bulk(memory, length, "memcpy");
    return (end - start) / repeats;
}

static double read_bulk_unicorn(Memory *memory, size_t length, unsigned repeats)
{
    double start = now_ns();
    for (unsigned i = 0; i < repeats; i++) {
        unicorn_read(memory->unicorn, HOT_BASE, buffer, length);
    }
    double end = now_ns();
    expect_bulk(memory, length, "Unicorn");
    return (end - start) / repeats;
}

#define HOT_READS 200000
#define LARGE_READS 300

static double bulk_4k(void *opaque)
{
    return read_bulk(opaque, PAGE, HOT_READS);
}

static double bulk_4k_raw(void *opaque)
{
    return read_bulk_raw(opaque, PAGE, HOT_READS);
}

static double bulk_4k_unicorn(void *opaque)
{
    return read_bulk_unicorn(opaque, PAGE, HOT_READS / 2);
}

/* bytes per ns are GB/s */
static double bulk_1m(void *opaque)
{
    return (double)MIB / read_bulk(opaque, MIB, LARGE_READS);
}

static double bulk_1m_raw(void *opaque)
{
    return (double)MIB / read_bulk_raw(opaque, MIB, LARGE_READS);
}

static double bulk_1m_unicorn(void *opaque)
{
    return (double)MIB / read_bulk_unicorn(opaque, MIB, LARGE_READS);
}

void bench_bulk(Bench *bench)
{
    if (!bench_wants(bench, "bulk_4k_hot") && !bench_wants(bench, "bulk_1m")) {
        return;
    }
    Memory memory;
    memory_init(&memory, 2 * MIB, 1);
    bool unicorn = memory.unicorn != NULL;
    Contender page[] = {
        {.name = "membus", .sample = bulk_4k, .opaque = &memory},
        {.name = "memcpy", .sample = bulk_4k_raw, .opaque = &memory},
        {.name = unicorn_name(),
         .sample = unicorn ? bulk_4k_unicorn : NULL,
         .opaque = &memory,
         .why = "not installed"},
    };
    bench_compare(bench, "bulk_4k_hot", "ns", (Goal){GOAL_RATIO_AT_MOST, 1.1}, page, 3);
    Contender large[] = {
        {.name = "membus", .sample = bulk_1m, .opaque = &memory},
        {.name = "memcpy", .sample = bulk_1m_raw, .opaque = &memory},
        {.name = unicorn_name(),
         .sample = unicorn ? bulk_1m_unicorn : NULL,
         .opaque = &memory,
         .why = "not installed"},
    };
    bench_compare(bench, "bulk_1m", "GB/s", (Goal){GOAL_RATIO_AT_LEAST, 0.97}, large, 3);
    memory_destroy(&memory);
}
