/* SPDX-License-Identifier: MIT */
/*
 * One look at a mark against one take of it: the smallest form of the question that
 * test_torture_dirty.c asks. Pages are marked; the writer stores to each and looks, finds
 * its mark and goes on; the taker takes each and reads it. If it reads what was there before the
 * store, the writer must have marked the page anew. All lines belong to the taker's CPU when a
 * round begins, so that the writer's stores wait a while in its CPU, and the looks do not.
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

enum { PAGE = 4096, DUEL_PAGES = 64, DUEL_LINE = PAGE + 64 };

typedef struct Duel {
    /* The store and the look; whether the page was marked, and no more. */
    void (*store)(struct Duel *duel, unsigned page, uint64_t value);
    bool (*take)(struct Duel *duel, unsigned page);
    uint8_t *host;    /* a word of each page, each in a cache line of its own */
    DirtyBits *bits;  /* by themselves, */
    MemorySystem *ms; /* or of a machine's RAM */
    MemoryRegion mr;
    uint64_t seen[DUEL_PAGES];
    uint64_t round[8], answered[8]; /* atomic */
} Duel;

static uint64_t *duel_word(Duel *duel, unsigned page)
{
    return (uint64_t *)(void *)(duel->host + page * DUEL_LINE);
}

static void store_and_look(Duel *duel, unsigned page, uint64_t value)
{
    __atomic_store_n(duel_word(duel, page), value, __ATOMIC_RELAXED);
    sync_fence_light();
    if (!dirty_bits_test(duel->bits, page)) {
        dirty_bits_mark(duel->bits, page, page);
    }
}

static bool take_bit(Duel *duel, unsigned page)
{
    DirtyWord word;
    DirtySet set = {&word, 0, 1};

    OK(dirty_bits_take(duel->bits, page, page, &set));
    if (set.count) {
        sync_fence_heavy();
    }
    return set.count;
}

static void store_as_a_guest(Duel *duel, unsigned page, uint64_t value)
{
    address_space_stq_le(memory_system_memory(duel->ms), page * DUEL_LINE, value, ATTRS, NULL);
}

static bool take_snapshot(Duel *duel, unsigned page)
{
    DirtyBitmapSnapshot *snapshot =
        memory_region_snapshot_and_clear_dirty(&duel->mr, page * DUEL_LINE, 1, DIRTY_MEMORY_VGA);
    bool dirty = memory_region_snapshot_get_dirty(&duel->mr, snapshot, page * DUEL_LINE, 1);

    if (dirty) { /* at once: freeing takes a while */
        duel->seen[page] = __atomic_load_n(duel_word(duel, page), __ATOMIC_RELAXED);
    }
    dirty_bitmap_snapshot_free(snapshot);
    return false;
}

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
        unsigned delay = rng_below(&rng, 40);
        for (unsigned page = 0; page < DUEL_PAGES; page++) {
            duel->store(duel, page, round);
            spin(delay);
        }
        __atomic_store_n(duel->answered, round, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void take_page(Duel *duel, unsigned page)
{
    if (duel->take(duel, page)) {
        duel->seen[page] = __atomic_load_n(duel_word(duel, page), __ATOMIC_RELAXED);
    }
}

static void duel_round(Duel *duel, uint64_t round, Rng *rng)
{
    for (unsigned page = 0; page < DUEL_PAGES; page++) {
        __atomic_fetch_add(duel_word(duel, page), 0, __ATOMIC_RELAXED);
    }
    if (duel->bits) {
        dirty_bits_mark(duel->bits, 0, DUEL_PAGES - 1);
    } else {
        memory_region_set_dirty(&duel->mr, 0, UINT64_MAX);
    }
    __atomic_store_n(duel->round, round, __ATOMIC_RELEASE);
    spin(rng_below(rng, 300));
    for (unsigned page = 0; page < DUEL_PAGES; page++) {
        take_page(duel, page);
    }
    wait_for(duel->answered, round);
    for (unsigned page = 0; page < DUEL_PAGES; page++) {
        take_page(duel, page);
        if (duel->seen[page] != round) {
            fail_msg("round %" PRIu64 ": the store to page %u was lost", round, page);
        }
    }
}

static void fight(Duel *duel)
{
    double until = now() + seconds() / 3;
    pthread_t writer;
    Rng rng = {5};
    uint64_t round = 0;

    OK(pthread_create(&writer, NULL, answer, duel));
    while (++round % 64 || now() < until) {
        duel_round(duel, round, &rng);
    }
    __atomic_store_n(duel->round, UINT64_MAX, __ATOMIC_RELEASE);
    OK(pthread_join(writer, NULL));
    print_message("# %" PRIu64 " rounds\n", round);
}

static void a_store_before_a_look_is_seen(void **state)
{
    Duel *duel = calloc(1, sizeof *duel);
    DirtyBits *bits = dirty_bits_create(DUEL_PAGES);
    uint8_t *host = aligned_alloc(64, DUEL_PAGES * DUEL_LINE);

    (void)state;
    *duel = (Duel){.store = store_and_look, .take = take_bit, .bits = bits, .host = host};
    memset(host, 0, DUEL_PAGES * DUEL_LINE);
    fight(duel);
    dirty_bits_destroy(bits);
    free(host);
    free(duel);
}

static void a_store_before_a_snapshot_is_seen(void **state)
{
    Duel *duel = calloc(1, sizeof *duel);
    MemorySystem *ms = machine_start();

    (void)state;
    *duel = (Duel){.store = store_as_a_guest, .take = take_snapshot, .ms = ms};
    make_ram(ms, &duel->mr, "ram", (DUEL_PAGES + 1) * PAGE);
    map_at(ms, 0, &duel->mr);
    OK(memory_region_set_log(&duel->mr, true, DIRTY_MEMORY_VGA));
    duel->host = memory_region_get_ram_ptr(&duel->mr);
    fight(duel);
    machine_end(ms);
    free(duel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_before_a_look_is_seen),
        cmocka_unit_test(a_store_before_a_snapshot_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
