/* SPDX-License-Identifier: MIT */
/*
 * dirty.c - what dirty tracking costs: dirty_mark_hot, dirty_mark_random, dirty_mark_2threads,
 * dirty_mark_range, dirty_take_clean, dirty_take_1tib, dirty_merge_sparse, dirty_merge_dense.
 *
 * The peer is the plain way: a bitmap in which each write sets its bit by an atomic OR whatever is
 * there, and which is taken by exchanging every word. vm-memory's AtomicBitmap is such; its
 * figures, measured elsewhere, stand in the notes.
 */
#include "bench.h"
#include "world.h"

#include <membus/dirty.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GIB (UINT64_C(1) << 30)
#define CLIENT DIRTY_MEMORY_MIGRATION
#define UNSPECIFIED MEMTXATTRS_UNSPECIFIED

/* A region of RAM, a client that may log it, and the peer's bitmap. */
typedef struct Tracked {
    MemorySystem *ms;
    AddressSpace *as;
    MemoryRegion mr;
    uint8_t *host;
    uint64_t pages, words;
    _Atomic uint64_t *bitmap;
    uint64_t *kernel; /* a bitmap of the kernel's to merge */
    uint64_t *copy;
    unsigned dirty_pages;
} Tracked;

static void tracked_init(Tracked *t, hwaddr size)
{
    *t = (Tracked){.ms = memory_system_create(), .pages = size / PAGE, .words = size / PAGE / 64};
    must(t->ms ? 0 : -1);
    t->as = memory_system_memory(t->ms);
    must(memory_region_init_ram(&t->mr, memory_system_owner(t->ms), "ram", size, NULL));
    must(memory_region_add_subregion(get_system_memory(t->ms), 0, &t->mr));
    t->host = memory_region_get_ram_ptr(&t->mr);
    t->bitmap = must_alloc(t->words * 8);
    t->kernel = must_alloc(t->words * 8);
    t->copy = must_alloc(t->words * 8);
    must(memory_region_set_log(&t->mr, true, CLIENT));
}

static void tracked_end(Tracked *t)
{
    must(memory_system_destroy(t->ms));
    free((void *)t->bitmap);
    free(t->kernel);
    free(t->copy);
}

static void set_log(Tracked *t, bool log)
{
    must(memory_region_set_log(&t->mr, log, CLIENT));
}

static void clean(Tracked *t)
{
    memory_region_reset_dirty(&t->mr, 0, UINT64_MAX, CLIENT);
}

static inline void or_bit(Tracked *t, uint64_t page)
{
    atomic_fetch_or(&t->bitmap[page / 64], UINT64_C(1) << page % 64);
}

/* ---- Stores ---- */

#define HOT_STORES (1U << 21)
#define RANDOM_STORES (1U << 20)

static inline hwaddr hot_address(unsigned i)
{
    return 5 * PAGE + i * 8UL % PAGE;
}

static double hot_stores(Tracked *t, bool log)
{
    set_log(t, log);
    address_space_stq_le(t->as, hot_address(0), 0, UNSPECIFIED, NULL);
    double start = now_ns();
    for (unsigned i = 0; i < HOT_STORES; i++) {
        address_space_stq_le(t->as, hot_address(i), i, UNSPECIFIED, NULL);
    }
    double end = now_ns();
    expect(!log || memory_region_get_dirty(&t->mr, hot_address(0), 8, CLIENT), "a hot mark");
    return (end - start) / HOT_STORES;
}

static double hot_logged(void *opaque)
{
    return hot_stores(opaque, true);
}

static double hot_plain(void *opaque)
{
    return hot_stores(opaque, false);
}

static double hot_or(void *opaque)
{
    Tracked *t = opaque;
    set_log(t, false);
    double start = now_ns();
    for (unsigned i = 0; i < HOT_STORES; i++) {
        address_space_stq_le(t->as, hot_address(i), i, UNSPECIFIED, NULL);
        or_bit(t, hot_address(i) / PAGE);
    }
    return (now_ns() - start) / HOT_STORES;
}

static inline hwaddr random_address(uint64_t *state)
{
    return (random_next(state) & (GIB - 1)) & ~UINT64_C(7);
}

static double random_stores(Tracked *t, bool log, bool peer)
{
    uint64_t state = RANDOM_SEED;
    set_log(t, log);
    double start = now_ns();
    if (peer) {
        for (unsigned i = 0; i < RANDOM_STORES; i++) {
            hwaddr addr = random_address(&state);
            address_space_stq_le(t->as, addr, i, UNSPECIFIED, NULL);
            or_bit(t, addr / PAGE);
        }
    } else {
        for (unsigned i = 0; i < RANDOM_STORES; i++) {
            address_space_stq_le(t->as, random_address(&state), i, UNSPECIFIED, NULL);
        }
    }
    return (now_ns() - start) / RANDOM_STORES;
}

static double random_logged(void *opaque)
{
    return random_stores(opaque, true, false);
}

static double random_plain(void *opaque)
{
    return random_stores(opaque, false, false);
}

static double random_or(void *opaque)
{
    return random_stores(opaque, false, true);
}

/* ---- Two threads, one word of the bitmap ---- */

#define WORD_STORES (1U << 21)

typedef struct Marker {
    Tracked *tracked;
    unsigned index;
    bool peer;
    double ns; /* for one store */
    pthread_barrier_t *start;
} Marker;

static double cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* Each its own half of the 64 pages, and of those its own lines. */
static void *run_marker(void *opaque)
{
    Marker *m = opaque;
    Tracked *t = m->tracked;
    pin_thread((int)m->index);
    pthread_barrier_wait(m->start);
    double start = cpu_ns();
    for (unsigned i = 0; i < WORD_STORES; i++) {
        hwaddr page = m->index * 32 + i % 32;
        address_space_stq_le(t->as, page * PAGE + i % 32 * 64, i, UNSPECIFIED, NULL);
        if (m->peer) {
            or_bit(t, page);
        }
    }
    m->ns = (cpu_ns() - start) / WORD_STORES;
    return NULL;
}

/* ns for a store, all threads taken together */
static double run_markers(Tracked *t, unsigned count, bool peer)
{
    pthread_barrier_t start;
    pthread_t threads[2];
    Marker markers[2];
    double rate = 0;
    set_log(t, !peer);
    pthread_barrier_init(&start, NULL, count);
    for (unsigned i = 0; i < count; i++) {
        markers[i] = (Marker){t, i, peer, 0, &start};
        must(-pthread_create(&threads[i], NULL, run_marker, &markers[i]));
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        rate += 1 / markers[i].ns;
    }
    pthread_barrier_destroy(&start);
    return 1 / rate;
}

static double two_markers(void *opaque)
{
    return run_markers(opaque, 2, false);
}

static double one_marker(void *opaque)
{
    return run_markers(opaque, 1, false);
}

static double two_or_markers(void *opaque)
{
    return run_markers(opaque, 2, true);
}

static double one_or_marker(void *opaque)
{
    return run_markers(opaque, 1, true);
}

/* ---- Ranges and takes ---- */

#define RANGES 50

static double mark_range(void *opaque)
{
    Tracked *t = opaque;
    double total = 0;
    set_log(t, true);
    for (unsigned i = 0; i < RANGES; i++) {
        clean(t);
        double start = now_ns();
        memory_region_set_dirty(&t->mr, 0, t->pages * PAGE);
        total += now_ns() - start;
    }
    expect(memory_region_get_dirty(&t->mr, GIB - 1, 1, CLIENT), "a range");
    clean(t);
    return total / RANGES / 1000;
}

static double or_range(void *opaque)
{
    Tracked *t = opaque;
    double start = now_ns();
    for (uint64_t page = 0; page < t->pages; page++) {
        or_bit(t, page);
    }
    return (now_ns() - start) / 1000;
}

/* us for a take with @dirty pages, spread out, and a commit */
static double take(Tracked *t, unsigned dirty)
{
    uint64_t apart = dirty ? t->pages / dirty : 0;
    double total = 0;
    set_log(t, true);
    clean(t);
    for (unsigned round = 0; round < RANGES; round++) {
        for (unsigned i = 0; i < dirty; i++) {
            memory_region_set_dirty(&t->mr, i * apart * PAGE, 1);
        }
        double start = now_ns();
        DirtyEpoch *epoch = memory_dirty_take(t->ms, CLIENT, NULL);
        double end = now_ns();
        expect(epoch && dirty_epoch_pages(epoch) == dirty, "a take");
        double commit = now_ns();
        dirty_epoch_commit(epoch);
        total += end - start + (now_ns() - commit);
    }
    return total / RANGES / 1000;
}

static double take_some(void *opaque)
{
    return take(opaque, 1000);
}

static double take_clean(void *opaque)
{
    return take(opaque, 0);
}

static double exchange_all(void *opaque)
{
    Tracked *t = opaque;
    uint64_t any = 0;
    double start = now_ns();
    for (unsigned round = 0; round < RANGES; round++) {
        for (uint64_t i = 0; i < t->words; i++) {
            any |= atomic_exchange(&t->bitmap[i], 0);
        }
    }
    keep(any);
    return (now_ns() - start) / RANGES / 1000;
}

/* ---- The kernel's bitmap ---- */

static double merge(void *opaque)
{
    Tracked *t = opaque;
    set_log(t, true);
    clean(t);
    double start = now_ns();
    ram_block_merge_dirty(memory_region_get_ram_block(&t->mr), 0, t->kernel, t->pages);
    double end = now_ns();
    DirtyEpoch *epoch = memory_dirty_take(t->ms, CLIENT, NULL);
    expect(epoch && dirty_epoch_pages(epoch) == t->dirty_pages, "a merge");
    dirty_epoch_commit(epoch);
    return (end - start) / 1000;
}

static double copy_bitmap(void *opaque)
{
    Tracked *t = opaque;
    double start = now_ns();
    memcpy(t->copy, t->kernel, t->words * 8);
    keep(t->copy[t->words / 2]);
    return (now_ns() - start) / 1000;
}

static void fill_kernel_bitmap(Tracked *t, bool dense)
{
    uint64_t state = RANDOM_SEED;
    t->dirty_pages = 0;
    for (uint64_t i = 0; i < t->words; i++) {
        t->kernel[i] = dense ? random_next(&state) : i % 256 ? 0 : UINT64_C(1) << i / 256 % 64;
        t->dirty_pages += (unsigned)__builtin_popcountll(t->kernel[i]);
    }
}

/* ---- Rows ---- */

static void bench_stores(Bench *bench, Tracked *t)
{
    Contender hot[] = {{.name = "membus", .sample = hot_logged, .opaque = t},
                       {.name = "membus, no client", .sample = hot_plain, .opaque = t},
                       {.name = "atomic OR each time", .sample = hot_or, .opaque = t}};
    bench_compare(bench, "dirty_mark_hot", "ns", (Goal){GOAL_DIFFERENCE_AT_MOST, 0.5}, hot, 3);
    if (bench_wants(bench, "dirty_mark_random")) {
        for (hwaddr addr = 0; addr < GIB; addr += PAGE) {
            t->host[addr] = 1;
        }
        memory_region_set_dirty(&t->mr, 0, GIB);
    }
    Contender random[] = {{.name = "membus", .sample = random_logged, .opaque = t},
                          {.name = "membus, no client", .sample = random_plain, .opaque = t},
                          {.name = "atomic OR each time", .sample = random_or, .opaque = t}};
    bench_compare(bench, "dirty_mark_random", "ns", (Goal){GOAL_RATIO_AT_MOST, 1.05}, random, 3);
    if (bench_wants(bench, "dirty_mark_hot") || bench_wants(bench, "dirty_mark_random")) {
        bench_note(
            "measured elsewhere for vm-memory's AtomicBitmap: 6 ns more hot, 60 ns more at random");
    }
    bool pin = bench->pin;
    bench->pin = false;
    Contender two[] = {{.name = "membus", .sample = two_markers, .opaque = t},
                       {.name = "membus, one thread", .sample = one_marker, .opaque = t}};
    bench_compare(bench, "dirty_mark_2threads", "ns", (Goal){GOAL_RATIO_AT_MOST, 0.5263}, two, 2);
    Contender peers[] = {{.name = "atomic OR", .sample = two_or_markers, .opaque = t},
                         {.name = "atomic OR, one thread", .sample = one_or_marker, .opaque = t}};
    bench_compare(bench, "dirty_mark_2threads_or", "ns", (Goal){GOAL_NONE, 0}, peers, 2);
    bench->pin = pin;
    if (bench_wants(bench, "dirty_mark_2threads")) {
        bench_note("CPU time of a store, both threads taken together: half of one's is 2 x");
    }
}

static void bench_ranges(Bench *bench, Tracked *t)
{
    Contender range[] = {{.name = "membus", .sample = mark_range, .opaque = t},
                         {.name = "atomic OR of each page", .sample = or_range, .opaque = t}};
    bench_compare(bench, "dirty_mark_range", "us", (Goal){GOAL_AT_MOST, 6.5}, range, 2);
    Contender empty[] = {{.name = "membus", .sample = take_clean, .opaque = t},
                         {.name = "exchange of each word", .sample = exchange_all, .opaque = t}};
    bench_compare(bench, "dirty_take_clean", "us", (Goal){GOAL_AT_MOST, 1.25}, empty, 2);
    if (bench_wants(bench, "dirty_mark_range") || bench_wants(bench, "dirty_take_clean")) {
        bench_note(
            "measured elsewhere for vm-memory's AtomicBitmap: 1300 us to mark 1 GiB, 25 us to take "
            "it clean");
    }
}

static void bench_sizes(Bench *bench, Tracked *gib)
{
    if (bench_wants(bench, "dirty_take_1tib")) {
        Tracked tib;
        tracked_init(&tib, 1024 * GIB);
        Contender sizes[] = {{.name = "membus, 1 TiB", .sample = take_some, .opaque = &tib},
                             {.name = "membus, 1 GiB", .sample = take_some, .opaque = gib}};
        bench_compare(bench, "dirty_take_1tib", "us", (Goal){GOAL_RATIO_AT_MOST, 4}, sizes, 2);
        bench_note("1000 dirty pages, as far apart as can be");
        tracked_end(&tib);
    }
    if (bench_wants(bench, "dirty_merge_sparse") || bench_wants(bench, "dirty_merge_dense")) {
        Tracked large;
        tracked_init(&large, 64 * GIB);
        Contender merges[] = {
            {.name = "membus", .sample = merge, .opaque = &large},
            {.name = "memcpy of the bitmap", .sample = copy_bitmap, .opaque = &large}};
        fill_kernel_bitmap(&large, false);
        bench_compare(bench, "dirty_merge_sparse", "us", (Goal){GOAL_RATIO_AT_MOST, 1.5}, merges,
                      2);
        fill_kernel_bitmap(&large, true);
        bench_compare(bench, "dirty_merge_dense", "us", (Goal){GOAL_NONE, 0}, merges, 2);
        tracked_end(&large);
    }
}

void bench_dirty(Bench *bench)
{
    if (bench->only && !strstr(bench->only, "dirty") &&
        !strstr("dirty_mark_take_merge", bench->only)) {
        return;
    }
    Tracked t;
    tracked_init(&t, GIB);
    bench_stores(bench, &t);
    bench_ranges(bench, &t);
    bench_sizes(bench, &t);
    tracked_end(&t);
}
