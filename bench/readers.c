/* SPDX-License-Identifier: MIT */
/*
 * readers.c - whether readers disturb each other, and whether a writer disturbs them: readers_2 and
 * readers_2_writer.
 *
 * Readers load 8 bytes at random from 64 of 1,024 regions, which fit in a core's cache, so that
 * what they could share is the map and nothing else. The figure is the time of a load with all
 * readers taken together: two that do not disturb each other halve it. The reader's clock is the
 * wall's where each thread can have a CPU to itself. Where the writer takes part and there are
 * fewer CPUs than that, readers count the CPU time that they got; what they wait for a lock would
 * be missing then, but nothing here may wait.
 */
#include "bench.h"
#include "peers.h"
#include "world.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define REGIONS 1024
#define VISITED 64
#define LOADS (1U << 22)
#define MAX_READERS 2

typedef struct Scene {
    World world;
    PageTable table;
    MemoryRegion extra;
    pthread_barrier_t start;
    atomic_bool stop;
    double commits_per_ms; /* of the last sample with a writer */
} Scene;

typedef struct Reader {
    Scene *scene;
    int index;
    bool cpu_clock, table;
    double ns; /* for one load */
} Reader;

/* Every 16th region, so that no two of them share much of the map's structure. */
static inline hwaddr reader_address(uint64_t *state)
{
    uint64_t x = random_next(state);
    return (x >> 20 & (VISITED - 1)) * (REGIONS / VISITED) * PAGE + (x & (PAGE - 8));
}

/* What is in memory there. */
static inline uint64_t word_at(hwaddr addr)
{
    return (addr + 8) * RANDOM_SEED;
}

static double clock_ns(bool cpu_clock)
{
    if (!cpu_clock) {
        return now_ns();
    }
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static uint64_t load_membus(const Scene *scene, unsigned count, uint64_t *state)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++) {
        sum += address_space_ldq_le(scene->world.as, reader_address(state), MEMTXATTRS_UNSPECIFIED,
                                    NULL);
    }
    return sum;
}

static uint64_t load_table(const Scene *scene, unsigned count, uint64_t *state)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++) {
        sum += pagetable_ldq(&scene->table, reader_address(state));
    }
    return sum;
}

static void *run_reader(void *opaque)
{
    Reader *reader = opaque;
    Scene *scene = reader->scene;
    uint64_t (*load)(const Scene *, unsigned, uint64_t *) =
        reader->table ? load_table : load_membus;
    uint64_t state = RANDOM_SEED + (uint64_t)reader->index;
    pin_thread(reader->index);
    keep(load(scene, LOADS / 64, &state));
    pthread_barrier_wait(&scene->start);
    uint64_t check = state;
    double start = clock_ns(reader->cpu_clock);
    uint64_t sum = load(scene, LOADS, &state);
    double end = clock_ns(reader->cpu_clock);
    for (unsigned i = 0; i < LOADS; i++) {
        sum -= word_at(reader_address(&check));
    }
    expect(sum == 0, "a reader");
    reader->ns = (end - start) / LOADS;
    return NULL;
}

/* Commits without pause; two commits in each turn. */
static void *run_writer(void *opaque)
{
    Scene *scene = opaque;
    uint64_t commits = 0;
    if (usable_cpus() > MAX_READERS) {
        pin_thread(MAX_READERS);
    }
    pthread_barrier_wait(&scene->start);
    double start = now_ns();
    while (!atomic_load_explicit(&scene->stop, memory_order_relaxed)) {
        must(memory_region_add_subregion(scene->world.root, REGIONS * PAGE, &scene->extra));
        must(memory_region_del_subregion(scene->world.root, &scene->extra));
        commits += 2;
    }
    scene->commits_per_ms = (double)commits / ((now_ns() - start) / 1e6);
    return NULL;
}

static void must_start(pthread_t *thread, void *(*run)(void *), void *opaque)
{
    if (pthread_create(thread, NULL, run, opaque)) {
        fprintf(stderr, "membus-bench: cannot start a thread\n");
        exit(1);
    }
}

/* ns for a load, all readers taken together */
static double run_readers(Scene *scene, int readers, bool writer, bool cpu_clock, bool table)
{
    Reader reader[MAX_READERS];
    pthread_t threads[MAX_READERS], writing;
    atomic_store(&scene->stop, false);
    pthread_barrier_init(&scene->start, NULL, (unsigned)readers + writer);
    if (writer) {
        must_start(&writing, run_writer, scene);
    }
    for (int i = 0; i < readers; i++) {
        reader[i] = (Reader){scene, i, cpu_clock, table, 0};
        must_start(&threads[i], run_reader, &reader[i]);
    }
    double rate = 0;
    for (int i = 0; i < readers; i++) {
        pthread_join(threads[i], NULL);
        rate += 1 / reader[i].ns;
    }
    if (writer) {
        atomic_store(&scene->stop, true);
        pthread_join(writing, NULL);
        memory_system_drain(scene->world.ms);
    }
    pthread_barrier_destroy(&scene->start);
    return 1 / rate;
}

static double one_reader(void *opaque)
{
    return run_readers(opaque, 1, false, false, false);
}

static double two_readers(void *opaque)
{
    return run_readers(opaque, 2, false, false, false);
}

static double one_table_reader(void *opaque)
{
    return run_readers(opaque, 1, false, false, true);
}

static double two_table_readers(void *opaque)
{
    return run_readers(opaque, 2, false, false, true);
}

/* Each reader and the writer with a CPU of its own? */
static bool crowded(void)
{
    return usable_cpus() < MAX_READERS + 1;
}

static double two_readers_alone(void *opaque)
{
    return run_readers(opaque, 2, false, crowded(), false);
}

static double two_readers_beside_writer(void *opaque)
{
    return run_readers(opaque, 2, true, crowded(), false);
}

void bench_readers(Bench *bench)
{
    if (!bench_wants(bench, "readers_2") && !bench_wants(bench, "readers_2_writer")) {
        return;
    }
    static Scene scene;
    world_init(&scene.world, REGIONS, (REGIONS + 1) * PAGE);
    for (hwaddr addr = 0; addr < REGIONS * PAGE; addr += 8) {
        uint64_t word = word_at(addr);
        memcpy(scene.world.ram + addr, &word, sizeof(word));
    }
    pagetable_init(&scene.table, REGIONS * PAGE);
    pagetable_map(&scene.table, 0, REGIONS * PAGE, scene.world.ram);
    memory_region_transaction_begin(scene.world.ms);
    for (size_t i = 0; i < REGIONS; i++) {
        world_add_ram(&scene.world, i, i * PAGE, PAGE, i * PAGE);
    }
    must(memory_region_transaction_commit(scene.world.ms));
    must(memory_region_init_ram_ptr(&scene.extra, memory_system_owner(scene.world.ms), "extra",
                                    PAGE, scene.world.ram + REGIONS * PAGE));

    /* 1.9 times the loads in the same time are 1 / 1.9 of the time for each. */
    Contender alone[] = {
        {.name = "membus", .sample = two_readers, .opaque = &scene},
        {.name = "membus, one reader", .sample = one_reader, .opaque = &scene},
    };
    bench_compare(bench, "readers_2", "ns", (Goal){GOAL_RATIO_AT_MOST, 0.5263}, alone, 2);
    Contender tables[] = {
        {.name = "page table", .sample = two_table_readers, .opaque = &scene},
        {.name = "page table, one reader", .sample = one_table_reader, .opaque = &scene},
    };
    bench_compare(bench, "readers_2_floor", "ns", (Goal){GOAL_NONE, 0}, tables, 2);
    bench_note("readers_2_floor is no figure of membus: it is how two readers of a page table that "
               "nobody");
    bench_note("changes scale on this machine.");

    Contender beside[] = {
        {.name = "membus", .sample = two_readers_beside_writer, .opaque = &scene},
        {.name = "membus, two readers alone", .sample = two_readers_alone, .opaque = &scene},
    };
    bench_compare(bench, "readers_2_writer", "ns", (Goal){GOAL_RATIO_AT_MOST, 1.1111}, beside, 2);
    if (bench_wants(bench, "readers_2_writer")) {
        bench_note("the writer made %.0f commits a millisecond%s", scene.commits_per_ms,
                   crowded() ? "; fewer CPUs than threads: readers count their CPU time" : "");
    }
    world_destroy(&scene.world);
    pagetable_destroy(&scene.table);
}
