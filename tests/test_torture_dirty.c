/* SPDX-License-Identifier: MIT */
/*
 * Two writers without pause, by every path, beside a taker that copies what it takes, as a
 * migration would, and commits or rolls back at random.
 *
 * It goes in rounds. At the end of each the writers stop and the taker takes and commits a last
 * epoch. Then
 *   - each page that was written is in an epoch that was committed;
 *   - the taker's copy is the RAM, byte for byte: no store is in a page whose mark was taken by
 *     somebody who did not see the store.
 * Most pages are written only a few times in a round, so that many stores are the last to
 * their page, which no later mark makes up for.
 *
 * MEMBUS_TORTURE_SECONDS sets the time of each test.
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

#include "support/guest.h"
#include "support/machine.h"

enum { WRITERS = 2, PAGES = 512, PAGE = 4096, EPOCHS = 2 };
#define RAM_SIZE ((hwaddr)PAGES * PAGE)
#define PLACE(i) ((hwaddr)(i) << 30) /* where RAM may be */

typedef enum Variant { ALL_RAM, ONE_REGION, EDITS } Variant;

typedef struct Board Board;

typedef struct Writer {
    Board *board;
    unsigned index;
    Rng rng;
    MemoryRegionCache cache;
    uint8_t wrote[PAGES]; /* in this round */
    uint64_t writes;
    bool paused; /* done with this round; atomic */
} Writer;

struct Board {
    Variant variant;
    MemorySystem *ms;
    AddressSpace *as;
    MemoryRegion ram, other;
    uint8_t *host, *copy;
    Writer writer[WRITERS];
    uint8_t covered[PAGES];
    unsigned client;
    pthread_barrier_t begins, ends; /* of a round */
    bool pause, stop;               /* atomic; the editor has to, all have to */
    uint64_t rounds, epochs, edits;
};

static bool is_set(const bool *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set(bool *flag, bool value)
{
    __atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

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

/* ---- Writers --------------------------------------------------------------------------------- */

/*
 * Each writer has its own bytes of each page, so that they race for marks and not for memory:
 * 0 those from 8 to 2047, 1 those from 2048 to 7 of the next page.
 */
static hwaddr own_place(Writer *w, hwaddr len)
{
    hwaddr page = rng_percent(&w->rng, 50) ? rng_below(&w->rng, 8) : rng_below(&w->rng, PAGES);
    hwaddr first = w->index ? 2048 : 8, room = w->index ? 2056 : 2040;

    if (page == PAGES - 1 && w->index) {
        room -= 8;
    }
    return page * PAGE + first + rng_next(&w->rng) % (room - len + 1);
}

static void wrote(Writer *w, hwaddr offset, hwaddr len)
{
    w->writes++;
    w->wrote[offset / PAGE] = w->wrote[(offset + len - 1) / PAGE] = 1;
}

static void store(Writer *w, hwaddr base)
{
    unsigned size = 1U << rng_below(&w->rng, 4);
    hwaddr offset = own_place(w, size);
    MemTxResult result = MEMTX_OK;

    if (rng_percent(&w->rng, 80) && (offset & ~(hwaddr)(size - 1)) % PAGE >= 8) {
        offset &= ~(hwaddr)(size - 1);
        offset += w->index && offset % PAGE < 2048 ? PAGE / 2 : 0;
    }
    guest_store(w->board->as, base + offset, rng_next(&w->rng), size, rng_below(&w->rng, 2), ATTRS,
                &result);
    if (result == MEMTX_OK) {
        wrote(w, offset, size);
    }
}

static void transfer(Writer *w, hwaddr base)
{
    uint8_t bytes[256];
    hwaddr len = 1 + rng_below(&w->rng, sizeof bytes), offset = own_place(w, len);
    MemTxResult result;

    memset(bytes, (int)rng_next(&w->rng), sizeof bytes);
    if (rng_percent(&w->rng, 50)) {
        result = address_space_write(w->board->as, base + offset, ATTRS, bytes, len);
    } else {
        result = address_space_set(w->board->as, base + offset, bytes[0], len, ATTRS);
    }
    if (result == MEMTX_OK) {
        wrote(w, offset, len);
    }
}

static void map(Writer *w, hwaddr base)
{
    hwaddr len = 1 + rng_below(&w->rng, 100), offset = own_place(w, len), mapped = len;
    uint8_t *host = address_space_map(w->board->as, base + offset, &mapped, true, ATTRS);

    if (host) {
        memset(host, (int)rng_next(&w->rng), mapped);
        if (address_space_unmap(w->board->as, host, mapped, true, mapped)) {
            abort();
        }
        wrote(w, offset, mapped);
    }
}

static void write_cache(Writer *w, hwaddr base)
{
    unsigned size = 1U << rng_below(&w->rng, 4);
    hwaddr offset = own_place(w, size);

    (void)base;
    switch (rng_below(&w->rng, 3)) {
    case 0:
        (void)address_space_write_cached(&w->cache, offset, &w->rng, size);
        break;
    case 1:
        memset(w->cache.ptr + offset, (int)w->writes, size);
        address_space_cache_invalidate(&w->cache, offset, size);
        break;
    default:
        guest_store_cached(&w->cache, offset, rng_next(&w->rng), size, false, NULL);
        break;
    }
    wrote(w, offset, size);
}

static void write_and_tell(Writer *w, hwaddr base)
{
    hwaddr offset = own_place(w, 16);

    (void)base;
    memset(w->board->host + offset, (int)w->writes, 16);
    memory_region_set_dirty(&w->board->ram, offset, 16);
    wrote(w, offset, 16);
}

static void *write_without_pause(void *opaque)
{
    static void (*const ways[])(Writer * w, hwaddr base) = {
        store, store, store, store, transfer, map, write_cache, write_and_tell};
    Writer *w = opaque;
    Board *b = w->board;

    for (;;) {
        pthread_barrier_wait(&b->begins);
        if (is_set(&b->stop)) {
            return NULL;
        }
        for (unsigned turns = 1 + (rng_below(&w->rng, 200) << rng_below(&w->rng, 8)); turns > 0;
             turns--) {
            hwaddr base = b->variant == EDITS ? PLACE(rng_below(&w->rng, 2)) : 0;
            bool section = rng_percent(&w->rng, 30);
            if (section) {
                memory_read_lock();
            }
            for (unsigned i = rng_below(&w->rng, 10); i > 0; i--) {
                store(w, base);
            }
            if (section) {
                memory_read_unlock();
            }
            ways[rng_below(&w->rng, 8)](w, base);
        }
        set(&w->paused, true);
        pthread_barrier_wait(&b->ends);
    }
}

/* ---- Edits ----------------------------------------------------------------------------------- */

static void edit(Board *b, Rng *rng)
{
    int result = 0;

    switch (rng_below(rng, 5)) {
    case 0:
        result = memory_region_set_address(&b->ram, PLACE(rng_below(rng, 2)));
        break;
    case 1:
        result = memory_region_set_log(&b->ram, rng_below(rng, 2), DIRTY_MEMORY_VGA);
        break;
    case 2: /* in the end nothing: what is written in between must not be lost */
        memory_region_transaction_begin(b->ms);
        result = memory_region_set_log(&b->ram, false, b->client) ||
                 memory_region_set_log(&b->ram, true, b->client) ||
                 memory_region_transaction_commit(b->ms);
        break;
    case 3:
        result = memory_global_dirty_log_start(b->ms, 1U << DIRTY_MEMORY_CODE, NULL) ||
                 memory_global_dirty_log_stop(b->ms, 1U << DIRTY_MEMORY_CODE, NULL);
        break;
    default:
        result = memory_region_set_address(&b->other, PLACE(2 + rng_below(rng, 3)));
        break;
    }
    if (result) {
        abort();
    }
    if (++b->edits % 512 == 0) {
        memory_system_drain(b->ms);
    }
}

static void *edit_without_pause(void *opaque)
{
    Board *b = opaque;
    Rng rng = {99};

    for (;;) {
        pthread_barrier_wait(&b->begins);
        if (is_set(&b->stop)) {
            return NULL;
        }
        while (!is_set(&b->pause)) {
            edit(b, &rng);
        }
        pthread_barrier_wait(&b->ends);
    }
}

/* ---- The taker ------------------------------------------------------------------------------- */

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
copy_words(uint8_t *to, const uint8_t *from, hwaddr size)
{
    for (hwaddr i = 0; i < size; i += 8) {
        *(volatile uint64_t *)(void *)(to + i) =
            *(const volatile uint64_t *)(const void *)(from + i);
    }
}

static DirtyEpoch *take(Board *b)
{
    DirtyEpoch *epoch = memory_dirty_take(b->ms, b->client, NULL);
    DirtyRun run = DIRTY_RUN_INIT;

    assert_non_null(epoch);
    b->epochs++;
    while (dirty_epoch_next(epoch, &run)) {
        if (run.mr == &b->ram) {
            copy_words(b->copy + run.offset, b->host + run.offset, run.size);
        }
    }
    return epoch;
}

static void end(Board *b, DirtyEpoch *epoch, bool commit)
{
    DirtyRun run = DIRTY_RUN_INIT;

    while (commit && dirty_epoch_next(epoch, &run)) {
        if (run.mr == &b->ram) {
            memset(b->covered + run.offset / PAGE, 1, run.size / PAGE);
        }
    }
    (commit ? dirty_epoch_commit : dirty_epoch_rollback)(epoch);
}

static void check_round(Board *b)
{
    for (unsigned page = 0; page < PAGES; page++) {
        for (unsigned i = 0; i < WRITERS; i++) {
            if (b->writer[i].wrote[page] && !b->covered[page]) {
                fail_msg("round %" PRIu64 ": page %u was written and is in no epoch", b->rounds,
                         page);
            }
        }
    }
    for (hwaddr i = 0; i < RAM_SIZE; i++) {
        if (b->copy[i] != b->host[i]) {
            fail_msg("round %" PRIu64 ": byte 0x%" PRIx64 " of page %u was not copied", b->rounds,
                     i, (unsigned)(i / PAGE));
        }
    }
}

static bool all_paused(Board *b)
{
    for (unsigned i = 0; i < WRITERS; i++) {
        if (!is_set(&b->writer[i].paused)) {
            return false;
        }
    }
    return true;
}

static void one_round(Board *b, Rng *rng)
{
    DirtyEpoch *open[EPOCHS] = {NULL};
    unsigned takes = 1 + rng_below(rng, 12);

    memset(b->covered, 0, sizeof b->covered);
    for (unsigned i = 0; i < WRITERS; i++) {
        memset(b->writer[i].wrote, 0, sizeof b->writer[i].wrote);
        b->writer[i].paused = false;
    }
    set(&b->pause, false);
    pthread_barrier_wait(&b->begins);
    while (takes || !all_paused(b)) {
        DirtyEpoch **one = &open[rng_below(rng, EPOCHS)];
        if (*one) {
            end(b, *one, rng_percent(rng, 60));
        }
        *one = take(b);
        if (takes) {
            takes--;
        } else {
            sched_yield();
        }
    }
    set(&b->pause, true);
    pthread_barrier_wait(&b->ends);
    for (unsigned i = 0; i < EPOCHS; i++) {
        if (open[i]) {
            end(b, open[i], rng_percent(rng, 60));
        }
    }
    end(b, take(b), true);
    check_round(b);
    b->rounds++;
}

/* ---- The board ------------------------------------------------------------------------------- */

static Board *board_new(Variant variant)
{
    Board *b = calloc(1, sizeof *b);

    b->variant = variant;
    b->ms = machine_start();
    b->as = memory_system_memory(b->ms);
    b->copy = calloc(1, RAM_SIZE);
    make_ram(b->ms, &b->ram, "ram", RAM_SIZE);
    make_ram(b->ms, &b->other, "other", PAGE);
    map_at(b->ms, 0, &b->ram);
    map_at(b->ms, PLACE(2), &b->other);
    b->host = memory_region_get_ram_ptr(&b->ram);
    int client = memory_dirty_client_register(b->ms, "taker", NULL);
    assert_true(client > 0);
    b->client = (unsigned)client;
    if (variant == ALL_RAM) {
        OK(memory_global_dirty_log_start(b->ms, 1U << client, NULL));
    } else {
        OK(memory_region_set_log(&b->ram, true, b->client));
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        Writer *w = &b->writer[i];
        *w = (Writer){.board = b, .index = i, .rng = {i}};
        assert_int_equal(address_space_cache_init(&w->cache, b->as, 0, RAM_SIZE, true), RAM_SIZE);
    }
    unsigned threads = WRITERS + 1 + (variant == EDITS);
    OK(pthread_barrier_init(&b->begins, NULL, threads));
    OK(pthread_barrier_init(&b->ends, NULL, threads));
    return b;
}

static void board_free(Board *b)
{
    for (unsigned i = 0; i < WRITERS; i++) {
        address_space_cache_destroy(&b->writer[i].cache);
    }
    pthread_barrier_destroy(&b->begins);
    pthread_barrier_destroy(&b->ends);
    machine_end(b->ms);
    free(b->copy);
    free(b);
}

static void run(Variant variant)
{
    Board *b = board_new(variant);
    pthread_t writers[WRITERS], editor;
    double until = now() + seconds();
    Rng rng = {1};

    for (unsigned i = 0; i < WRITERS; i++) {
        OK(pthread_create(&writers[i], NULL, write_without_pause, &b->writer[i]));
    }
    if (variant == EDITS) {
        OK(pthread_create(&editor, NULL, edit_without_pause, b));
    }
    do {
        one_round(b, &rng);
    } while (now() < until);
    set(&b->stop, true);
    pthread_barrier_wait(&b->begins);
    for (unsigned i = 0; i < WRITERS; i++) {
        OK(pthread_join(writers[i], NULL));
    }
    if (variant == EDITS) {
        OK(pthread_join(editor, NULL));
    }
    print_message("# %" PRIu64 " writes, %" PRIu64 " epochs, %" PRIu64 " rounds, %" PRIu64
                  " edits\n",
                  b->writer[0].writes + b->writer[1].writes, b->epochs, b->rounds, b->edits);
    assert_true(b->writer[0].writes > 100 && b->writer[1].writes > 100);
    board_free(b);
}

static void all_ram_is_logged(void **state)
{
    (void)state;
    run(ALL_RAM);
}

static void one_region_is_logged(void **state)
{
    (void)state;
    run(ONE_REGION);
}

static void the_map_is_edited(void **state)
{
    (void)state;
    run(EDITS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_ram_is_logged),
        cmocka_unit_test(one_region_is_logged),
        cmocka_unit_test(the_map_is_edited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
