/* SPDX-License-Identifier: MIT */
/*
 * Readers that find RAM blocks in every way there is, beside a writer that makes, resizes and ends
 * them without pause. What must hold:
 *   - a block that is found, its memory, its name and its bitmaps are whole until the section
 *     ends: the memory says where it is, and finalisers poison what they free;
 *   - the block that is there all the time is found each time, and visited once in each walk;
 *   - a walk goes from large to small.
 * MEMBUS_TORTURE_SECONDS sets the time.
 */
#include "support/rng.h"
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "support/machine.h"

enum { READERS = 2, SLOTS = 24, PAGE = 0x1000 };

typedef struct Part {
    MemoryRegion mr;
    MemoryOwner *owner;
    uint64_t *words; /* the program's, NULL: allocated by the library */
    uint64_t *live;
} Part;

typedef struct Board {
    MemorySystem *ms;
    MemoryRegion rock; /* there all the time */
    uint64_t *rock_host;
    ram_addr_t rock_addr;
    Part *parts[SLOTS];
    /* what readers look for; atomic, and maybe gone */
    uint64_t *hosts[SLOTS];
    ram_addr_t addrs[SLOTS];
    bool stop;           /* atomic */
    const char *failure; /* atomic: the first one */
    uint64_t edits, lookups, found, live;
} Board;

static void report(Board *b, const char *what)
{
    const char *none = NULL;

    __atomic_compare_exchange_n(&b->failure, &none, what, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_RELAXED);
    __atomic_store_n(&b->stop, true, __ATOMIC_RELEASE);
}

static bool stopped(Board *b)
{
    return __atomic_load_n(&b->stop, __ATOMIC_ACQUIRE);
}

/* The first word of a block is its own address; of memory just allocated, 0 for a moment. */
static uint64_t mark_of(const uint64_t *host)
{
    return 0xa5a5000000000000U ^ (uintptr_t)host;
}

/* ---- The writer ------------------------------------------------------------------------- */

static void end_part(void *opaque)
{
    Part *part = opaque;
    uint64_t *live = part->live;

    if (part->words) {
        memset(part->words, 0xdd, PAGE);
        free(part->words);
    }
    memset(part, 0xdd, sizeof(*part));
    free(part);
    __atomic_sub_fetch(live, 1, __ATOMIC_RELAXED);
}

static void add(Board *b, unsigned slot, Rng *rng)
{
    Part *part = calloc(1, sizeof(*part));
    hwaddr max = (1 + rng_below(rng, 100)) * PAGE;
    int rc;

    part->live = &b->live;
    part->owner = memory_owner_create(b->ms, "part", end_part, part);
    __atomic_add_fetch(&b->live, 1, __ATOMIC_RELAXED);
    if (rng_percent(rng, 50)) {
        part->words = malloc(PAGE);
        part->words[0] = mark_of(part->words);
        rc = memory_region_init_ram_ptr(&part->mr, part->owner, "ram", PAGE, part->words);
    } else {
        rc =
            memory_region_init_resizeable_ram(&part->mr, part->owner, "ram", PAGE, max, NULL, NULL);
    }
    if (rc) {
        report(b, "a block could not be made");
        return;
    }
    uint64_t *host = memory_region_get_ram_ptr(&part->mr);
    if (!part->words) {
        __atomic_store_n(host, mark_of(host), __ATOMIC_RELEASE);
    }
    b->parts[slot] = part;
    __atomic_store_n(&b->hosts[slot], host, __ATOMIC_RELEASE);
    __atomic_store_n(&b->addrs[slot], memory_region_get_ram_addr(&part->mr), __ATOMIC_RELEASE);
}

static void change(Board *b, Rng *rng)
{
    unsigned slot = rng_below(rng, SLOTS);
    Part *part = b->parts[slot];

    if (!part) {
        add(b, slot, rng);
    } else if (!part->words && rng_percent(rng, 40)) {
        hwaddr max = qemu_ram_get_max_length(memory_region_get_ram_block(&part->mr));
        if (memory_region_ram_resize(&part->mr, 1 + rng_next(rng) % max, NULL)) {
            report(b, "a block could not be resized");
        }
    } else {
        memory_owner_unref(part->owner); /* hosts and addrs stay: readers look for ghosts, too */
        b->parts[slot] = NULL;
    }
    if (rng_percent(rng, 10)) {
        RAMBlock *rock = memory_region_get_ram_block(&b->rock);
        if (ram_block_bitmap(rock, RAM_BMAP)) {
            ram_block_bitmap_free(rock, RAM_BMAP);
        } else if (ram_block_bitmap_alloc(rock, RAM_BMAP, 0, NULL)) {
            report(b, "a bitmap could not be made");
        }
    }
}

static void *write_without_pause(void *opaque)
{
    Board *b = opaque;
    Rng rng = {4711};

    while (!stopped(b)) {
        change(b, &rng);
        if (++b->edits % 512 == 0) {
            memory_system_drain(b->ms); /* or what was removed piles up */
        }
    }
    return NULL;
}

/* ---- Readers ---------------------------------------------------------------------------- */

static void check_block(Board *b, const RAMBlock *block)
{
    uint64_t *host = qemu_ram_get_host_addr(block);
    uint64_t word = __atomic_load_n(host, __ATOMIC_ACQUIRE);
    const char *idstr = qemu_ram_get_idstr(block);
    hwaddr used = qemu_ram_get_used_length(block);

    if (word != mark_of(host) && (word != 0 || !qemu_ram_is_resizeable(block))) {
        report(b, "a block's memory is not its own");
    }
    if (strncmp(idstr, "part/ram", 8) != 0 && strcmp(idstr, "rock") != 0) {
        report(b, "a block's name is gone");
    }
    if (used == 0 || used > qemu_ram_get_max_length(block)) {
        report(b, "a block's length is none it ever had");
    }
}

static void find_host(Board *b, uint64_t *host)
{
    ram_addr_t offset = 0;

    memory_read_lock();
    RAMBlock *block = qemu_ram_block_from_host(b->ms, (uint8_t *)host + 5, &offset);
    if (block) {
        if ((uint8_t *)qemu_ram_get_host_addr(block) + offset != (uint8_t *)host + 5) {
            report(b, "a host address was found in another block");
        }
        check_block(b, block);
        __atomic_add_fetch(&b->found, 1, __ATOMIC_RELAXED);
    }
    memory_read_unlock();
}

static void find_addr(Board *b, ram_addr_t addr)
{
    ram_addr_t offset = 0;

    memory_read_lock();
    RAMBlock *block = qemu_ram_block_from_addr(b->ms, addr + 7, &offset);
    if (block) {
        if (qemu_ram_get_offset(block) + offset != addr + 7) {
            report(b, "a RAM address was found in another block");
        }
        check_block(b, block);
    }
    memory_read_unlock();
}

static void find_region(Board *b, uint64_t *host)
{
    MemoryRegion *mr = memory_region_from_host(b->ms, host, NULL);

    if (mr) {
        sched_yield();
        if (strcmp(memory_region_name(mr), "ram") != 0) {
            report(b, "a region that was found is gone");
        }
        memory_region_unref(mr);
    }
}

static void find_rock(Board *b)
{
    ram_addr_t offset = 0;

    memory_read_lock();
    RAMBlock *block = qemu_ram_block_by_name(b->ms, "rock");
    if (!block || qemu_ram_block_from_host(b->ms, b->rock_host + 20, &offset) != block ||
        qemu_ram_block_from_addr(b->ms, b->rock_addr + offset, &offset) != block || offset != 160) {
        report(b, "the rock was not found");
    } else {
        RAMBitmap *map = ram_block_bitmap(block, RAM_BMAP);
        check_block(b, block);
        if (map) {
            sched_yield();
            __atomic_fetch_or(&map->bits[map->nr_bits / 64 - 1], 1UL << 63, __ATOMIC_RELAXED);
        }
    }
    memory_read_unlock();
}

typedef struct Walk {
    Board *board;
    unsigned rocks;
    hwaddr max;
} Walk;

static int visit(RAMBlock *block, void *opaque)
{
    Walk *walk = opaque;
    hwaddr max = qemu_ram_get_max_length(block);

    check_block(walk->board, block);
    if (max > walk->max) {
        report(walk->board, "a walk went from small to large");
    }
    walk->max = max;
    walk->rocks += qemu_ram_get_host_addr(block) == walk->board->rock_host;
    return 0;
}

static void walk_all(Board *b)
{
    Walk walk = {b, 0, UINT64_MAX};

    qemu_ram_foreach_block(b->ms, visit, &walk);
    if (walk.rocks != 1) {
        report(b, "a walk did not meet the rock once");
    }
}

static void *read_without_pause(void *opaque)
{
    Board *b = opaque;
    Rng rng = {(uint64_t)(uintptr_t)&rng};
    uint64_t lookups = 0;

    while (!stopped(b)) {
        unsigned slot = rng_below(&rng, SLOTS);
        uint64_t *host = __atomic_load_n(&b->hosts[slot], __ATOMIC_ACQUIRE);

        if (host) {
            find_host(b, host);
            find_addr(b, __atomic_load_n(&b->addrs[slot], __ATOMIC_ACQUIRE));
        }
        if (host && rng_percent(&rng, 5)) {
            find_region(b, host);
        }
        find_rock(b);
        if (rng_percent(&rng, 10)) {
            walk_all(b);
        }
        lookups += 5;
    }
    __atomic_add_fetch(&b->lookups, lookups, __ATOMIC_RELAXED);
    return NULL;
}

/* Stacks must be remembered for long, or there is nothing to match the suppressions with. */
const char *__tsan_default_options(void); /* NOLINT(bugprone-reserved-identifier) */
const char *__tsan_default_options(void)
{
    return "history_size=7";
}

static void board_start(Board *b)
{
    b->ms = machine_start();
    make_ram(b->ms, &b->rock, "rock", 64 * PAGE);
    b->rock_host = memory_region_get_ram_ptr(&b->rock);
    b->rock_host[0] = mark_of(b->rock_host);
    b->rock_addr = memory_region_get_ram_addr(&b->rock);
}

static void board_end(Board *b)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (b->parts[i]) {
            memory_owner_unref(b->parts[i]->owner);
        }
    }
    memory_system_drain(b->ms);
    assert_int_equal(__atomic_load_n(&b->live, __ATOMIC_RELAXED), 0);
    machine_end(b->ms);
}

static void readers_find_whole_blocks(void **state)
{
    const char *seconds = getenv("MEMBUS_TORTURE_SECONDS");
    struct timespec time = {.tv_sec = seconds ? atol(seconds) : 2};
    Board *b = calloc(1, sizeof(*b));
    pthread_t reader[READERS], writer;

    (void)state;
    board_start(b);
    OK(pthread_create(&writer, NULL, write_without_pause, b));
    for (int i = 0; i < READERS; i++) {
        OK(pthread_create(&reader[i], NULL, read_without_pause, b));
    }
    for (long tenth = 0; tenth < time.tv_sec * 10 && !stopped(b); tenth++) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    __atomic_store_n(&b->stop, true, __ATOMIC_RELEASE);
    for (int i = 0; i < READERS; i++) {
        OK(pthread_join(reader[i], NULL));
    }
    OK(pthread_join(writer, NULL));
    print_message("# %" PRIu64 " edits beside %" PRIu64 " lookups, %" PRIu64
                  " found what comes and goes\n",
                  b->edits, b->lookups, b->found);
    if (b->failure) {
        fail_msg("%s", b->failure);
    }
    assert_true(b->edits > 50 && b->lookups > 1000 && b->found > 50);
    board_end(b);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_find_whole_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
