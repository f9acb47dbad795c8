/* SPDX-License-Identifier: MIT */
/*
 * Stores against takes, page by page: the question of test_torture_dirty.c in its smallest form.
 *
 * In each round a writer stores to each of some pages once, by one of the ways, while the taker
 * takes them and reads what it took. Then both have done so, and the taker takes once more: now it
 * must have read every store. Before half of the rounds all pages are marked, so that stores
 * find their marks, or lose them at that moment. The pages' lines belong to the taker's CPU when a
 * round begins, so that stores wait a while in the writer's CPU, and its looks at marks do not.
 *
 * MEMBUS_TORTURE_SECONDS is the time of all pairs together.
 */
#include "support/rng.h"
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "ram/dirty.h"
#include "support/machine.h"
#include "sync/membarrier.h"

enum { PAGE = 4096, PAGES = 64, APART = 64 /* bits of a bitmap, so that summaries matter */ };

typedef struct Duel Duel;
typedef void Store(Duel *duel, unsigned page, uint64_t value);
typedef void Take(Duel *duel, unsigned page); /* of that page, or of all */

struct Duel {
    Store *store;
    Take *take;
    DirtyBits *bits;  /* either a bitmap by itself, */
    MemorySystem *ms; /* or a machine's RAM */
    MemoryRegion mr;
    MemoryRegionCache cache;
    uint8_t *host;
    uint64_t seen[PAGES];
    uint64_t round[8], answered[8]; /* atomic */
};

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double seconds(void)
{
    const char *text = getenv("MEMBUS_TORTURE_SECONDS");

    return text ? atof(text) : 3;
}

/* The word of a page that counts; each is in a line of its own. */
static hwaddr word_offset(unsigned page)
{
    return page * PAGE + PAGE / 2 + page / 2 * 64;
}

static uint64_t *word(Duel *duel, unsigned page)
{
    return (uint64_t *)(void *)(duel->host + word_offset(page));
}

/*
 * Guest memory is read while it is written, which is what this is about; whole words, so that
 * none is torn.
 */
#if defined(__has_attribute)
#if __has_attribute(no_sanitize)
__attribute__((no_sanitize("thread")))
#endif
#endif
static void
look(Duel *duel, unsigned page)
{
    duel->seen[page] = *(volatile uint64_t *)word(duel, page);
}

/* ---- A bitmap by itself ---------------------------------------------------------------------- */

static void store_and_look(Duel *duel, unsigned page, uint64_t value)
{
    __atomic_store_n(word(duel, page), value, __ATOMIC_RELAXED);
    sync_fence_light();
    if (!dirty_bits_test(duel->bits, page * APART)) {
        dirty_bits_mark(duel->bits, page * APART, page * APART);
    }
}

static void store_and_mark(Duel *duel, unsigned page, uint64_t value)
{
    __atomic_store_n(word(duel, page), value, __ATOMIC_RELAXED);
    sync_fence_light();
    dirty_bits_mark(duel->bits, page * APART, page * APART);
}

static void look_at_set(Duel *duel, const DirtySet *set)
{
    if (set->count) {
        sync_fence_heavy();
    }
    for (size_t i = 0; i < set->count; i++) {
        look(duel, (unsigned)set->words[i].index);
    }
}

static void take_bit(Duel *duel, unsigned page)
{
    DirtyWord words[PAGES];
    DirtySet set = {words, 0, PAGES};

    OK(dirty_bits_take(duel->bits, page * APART, page * APART, &set));
    look_at_set(duel, &set);
}

static void take_bits(Duel *duel, unsigned page)
{
    DirtyWord words[PAGES];
    DirtySet set = {words, 0, PAGES};

    (void)page;
    OK(dirty_bits_take(duel->bits, 0, PAGES * APART - 1, &set));
    look_at_set(duel, &set);
}

/* ---- A machine ------------------------------------------------------------------------------- */

static void store_as_a_guest(Duel *duel, unsigned page, uint64_t value)
{
    address_space_stq_le(memory_system_memory(duel->ms), word_offset(page), value, ATTRS, NULL);
}

/* From the page's start; the word comes last. */
static void write_bytes(Duel *duel, unsigned page, uint64_t value)
{
    uint64_t bytes[PAGE / 8];
    hwaddr first = (hwaddr)page * PAGE, last = word_offset(page) + 7;

    bytes[(last - first) / 8] = value;
    (void)address_space_write(memory_system_memory(duel->ms), first, ATTRS, bytes,
                              last - first + 1);
}

static void store_to_cache(Duel *duel, unsigned page, uint64_t value)
{
    address_space_stq_le_cached(&duel->cache, word_offset(page), value, ATTRS, NULL);
}

static void write_to_cache(Duel *duel, unsigned page, uint64_t value)
{
    (void)address_space_write_cached(&duel->cache, word_offset(page), &value, sizeof value);
}

static void map_and_unmap(Duel *duel, unsigned page, uint64_t value)
{
    hwaddr len = 8;
    AddressSpace *as = memory_system_memory(duel->ms);
    uint64_t *host = address_space_map(as, word_offset(page), &len, true, ATTRS);

    *(volatile uint64_t *)host = value;
    OK(address_space_unmap(as, host, len, true, len));
}

static void store_and_tell(Duel *duel, unsigned page, uint64_t value)
{
    *(volatile uint64_t *)word(duel, page) = value;
    memory_region_set_dirty(&duel->mr, word_offset(page), 8);
}

static void take_snapshot(Duel *duel, unsigned page)
{
    DirtyBitmapSnapshot *snapshot = memory_region_snapshot_and_clear_dirty(
        &duel->mr, (hwaddr)page * PAGE, PAGE, DIRTY_MEMORY_VGA);

    if (memory_region_snapshot_get_dirty(&duel->mr, snapshot, (hwaddr)page * PAGE, 1)) {
        look(duel, page);
    }
    dirty_bitmap_snapshot_free(snapshot);
}

static void take_epoch(Duel *duel, unsigned page)
{
    DirtyEpoch *epoch = memory_dirty_take(duel->ms, DIRTY_MEMORY_VGA, NULL);
    DirtyRun run = DIRTY_RUN_INIT;

    (void)page;
    while (dirty_epoch_next(epoch, &run)) {
        for (hwaddr at = run.offset; at < run.offset + run.size; at += PAGE) {
            look(duel, (unsigned)(at / PAGE));
        }
    }
    dirty_epoch_commit(epoch);
}

/* ---- The rounds ------------------------------------------------------------------------------ */

static uint64_t wait_for(const uint64_t *place, uint64_t value)
{
    uint64_t seen;

    for (unsigned spins = 0; (seen = __atomic_load_n(place, __ATOMIC_ACQUIRE)) < value; spins++) {
        if (spins > 1000) {
            sched_yield();
        }
    }
    return seen;
}

static void spin(unsigned turns)
{
    for (volatile unsigned i = turns; i > 0; i = i - 1) {
    }
}

static void *answer(void *opaque)
{
    Duel *duel = opaque;
    uint64_t round = 0;
    Rng rng = {3};

    while ((round = wait_for(duel->round, round + 1)) != UINT64_MAX) {
        unsigned delay = rng_below(&rng, 60) << rng_below(&rng, 7); /* as long as a take */
        for (unsigned page = 0; page < PAGES; page++) {
            duel->store(duel, page, round);
            spin(delay);
        }
        __atomic_store_n(duel->answered, round, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void mark_all(Duel *duel)
{
    for (unsigned page = 0; page < PAGES; page++) {
        if (duel->bits) {
            dirty_bits_mark(duel->bits, page * APART, page * APART);
        } else {
            memory_region_set_dirty(&duel->mr, (hwaddr)page * PAGE, 1);
        }
    }
}

static void fight_a_round(Duel *duel, uint64_t round, Rng *rng)
{
    for (unsigned page = 0; page < PAGES; page++) {
        __atomic_fetch_add(word(duel, page), 0, __ATOMIC_RELAXED);
    }
    if (rng_percent(rng, 50)) {
        mark_all(duel);
    }
    __atomic_store_n(duel->round, round, __ATOMIC_RELEASE);
    spin(rng_below(rng, 300));
    for (unsigned page = 0; page < PAGES; page++) {
        duel->take(duel, page);
    }
    wait_for(duel->answered, round);
    for (unsigned page = 0; page < PAGES; page++) {
        duel->take(duel, page);
    }
    for (unsigned page = 0; page < PAGES; page++) {
        if (duel->seen[page] != round) {
            fail_msg("round %" PRIu64 ": the store to page %u was lost", round, page);
        }
    }
}

static void fight(Duel *duel, double time)
{
    double until = now() + time;
    pthread_t writer;
    Rng rng = {5};
    uint64_t round = 0;

    OK(pthread_create(&writer, NULL, answer, duel));
    while (++round < 20 || now() < until) {
        fight_a_round(duel, round, &rng);
    }
    __atomic_store_n(duel->round, UINT64_MAX, __ATOMIC_RELEASE);
    OK(pthread_join(writer, NULL));
    print_message("# %" PRIu64 " rounds\n", round);
}

typedef struct Pair {
    Store *store;
    Take *take;
} Pair;

static const Pair bit_pairs[] = {{store_and_look, take_bit},
                                 {store_and_look, take_bits},
                                 {store_and_mark, take_bit},
                                 {store_and_mark, take_bits}};

static const Pair machine_pairs[] = {
    {store_as_a_guest, take_snapshot}, {store_as_a_guest, take_epoch},
    {write_bytes, take_snapshot},      {write_bytes, take_epoch},
    {store_to_cache, take_snapshot},   {store_to_cache, take_epoch},
    {write_to_cache, take_snapshot},   {map_and_unmap, take_snapshot},
    {store_and_tell, take_snapshot},   {store_and_tell, take_epoch},
};
enum {
    BIT_PAIRS = sizeof bit_pairs / sizeof *bit_pairs,
    MACHINE_PAIRS = sizeof machine_pairs / sizeof *machine_pairs,
    PAIRS = BIT_PAIRS + MACHINE_PAIRS
};

static void a_bitmap_loses_no_store(void **state)
{
    uint8_t *host = aligned_alloc(64, PAGES * PAGE);

    (void)state;
    for (unsigned i = 0; i < BIT_PAIRS; i++) {
        Duel *duel = calloc(1, sizeof *duel);
        duel->store = bit_pairs[i].store;
        duel->take = bit_pairs[i].take;
        duel->bits = dirty_bits_create(PAGES * APART);
        duel->host = memset(host, 0, PAGES * PAGE);
        fight(duel, seconds() / PAIRS);
        dirty_bits_destroy(duel->bits);
        free(duel);
    }
    free(host);
}

static void a_machine_loses_no_store(void **state)
{
    (void)state;
    for (unsigned i = 0; i < MACHINE_PAIRS; i++) {
        Duel *duel = calloc(1, sizeof *duel);
        duel->store = machine_pairs[i].store;
        duel->take = machine_pairs[i].take;
        duel->ms = machine_start();
        make_ram(duel->ms, &duel->mr, "ram", PAGES * PAGE);
        map_at(duel->ms, 0, &duel->mr);
        duel->host = memory_region_get_ram_ptr(&duel->mr);
        assert_int_equal(address_space_cache_init(&duel->cache, memory_system_memory(duel->ms), 0,
                                                  PAGES * PAGE, true),
                         PAGES * PAGE);
        OK(memory_region_set_log(&duel->mr, true, DIRTY_MEMORY_VGA));
        fight(duel, seconds() / PAIRS);
        address_space_cache_destroy(&duel->cache);
        machine_end(duel->ms);
        free(duel);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bitmap_loses_no_store),
        cmocka_unit_test(a_machine_loses_no_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
