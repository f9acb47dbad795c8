/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking against a byte a page: random writes of every kind, clients that begin, end, come
 * and go, mappings and caches that live across all that, RAM that is resized, and epochs of
 * which several are open at once and end in any order.
 */
#include "support/dirty_board.h"
#include "support/guest.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

enum { OPEN = 4, STEPS = 6000, SEEDS = 40 };

typedef struct OpenEpoch {
    DirtyEpoch *epoch;
    BoardSet set;
    unsigned client, serial;
} OpenEpoch;

/* Where a window began; what it showed then is what it writes to, whatever the map shows now. */
typedef struct Window {
    bool open;
    unsigned region;
    hwaddr offset, len;
    AddressSpace *as;
    void *host;              /* of a mapping */
    MemoryRegionCache cache; /* of a cache */
} Window;

typedef struct Run {
    DirtyBoard board;
    Rng rng;
    OpenEpoch epochs[OPEN];
    Window mappings[OPEN], caches[OPEN];
    bool registered[DIRTY_MEMORY_NUM];
    unsigned serial[DIRTY_MEMORY_NUM];
} Run;

static unsigned below(Run *run, unsigned n)
{
    return rng_below(&run->rng, n);
}

/* An address near a region's pages, in either space. */
static hwaddr somewhere(Run *run, AddressSpace **as)
{
    unsigned region = below(run, B_REGIONS + 1);
    hwaddr addr = region == B_REGIONS ? board_window() : board_address(region);

    addr += (hwaddr)below(run, B_MAX_PAGES) * B_PAGE;
    addr += below(run, 3) ? below(run, B_PAGE) : (hwaddr)below(run, 16) - 8;
    *as = below(run, 2) ? run->board.memory : &run->board.dma;
    return addr + (*as == run->board.memory ? 0 : B_BUS_SHIFT);
}

static hwaddr some_length(Run *run)
{
    static const unsigned most[] = {1, 9, 200, 0x1100, 0x3000};

    return below(run, most[below(run, 5)] + 1);
}

/* ---- Writes ---------------------------------------------------------------------------- */

static void store(Run *run)
{
    DirtyBoard *b = &run->board;
    AddressSpace *as;
    hwaddr addr = somewhere(run, &as);
    unsigned size = 1U << below(run, 4);

    guest_store(as, addr, rng_next(&run->rng), size, below(run, 2), ATTRS, NULL);
    board_wrote(b, as, addr, size, WRITE_GUEST);
}

static void transfer(Run *run)
{
    static uint8_t bytes[0x3000];
    static const MemTxAttrs debug = {.debug = 1};
    DirtyBoard *b = &run->board;
    AddressSpace *as;
    hwaddr addr = somewhere(run, &as), len = some_length(run);

    switch (below(run, 5)) {
    case 0:
        (void)address_space_write(as, addr, ATTRS, bytes, len);
        board_wrote(b, as, addr, len, WRITE_GUEST);
        break;
    case 1:
        (void)address_space_set(as, addr, 3, len, ATTRS);
        board_wrote(b, as, addr, len, WRITE_GUEST);
        break;
    case 2:
        (void)address_space_write_rom(as, addr, ATTRS, bytes, len);
        board_wrote(b, as, addr, len, WRITE_LOADER);
        break;
    case 3:
        (void)address_space_write(as, addr, debug, bytes, len);
        board_wrote(b, as, addr, len, WRITE_DEBUG);
        break;
    default:
        (void)address_space_read(as, addr, ATTRS, bytes, len);
        break;
    }
}

static void use_mapping(Run *run)
{
    Window *w = &run->mappings[below(run, OPEN)];

    if (!w->open) {
        hwaddr addr = somewhere(run, &w->as);
        w->len = some_length(run) + 1;
        if (board_find(&run->board, w->as, addr, &w->region, &w->offset)) {
            w->host = address_space_map(w->as, addr, &w->len, true, ATTRS);
            w->open = w->host != NULL;
        }
        return;
    }
    hwaddr access_len = some_length(run);
    if (w->region == B_DEV || w->region == B_ROM || w->region == B_FLASH) { /* bounced */
        access_len = 0;
    }
    OK(address_space_unmap(w->as, w->host, w->len, true, access_len));
    board_marked(&run->board, w->region, w->offset, access_len < w->len ? access_len : w->len);
    w->open = false;
}

static void use_cache(Run *run)
{
    Window *w = &run->caches[below(run, OPEN)];

    if (!w->open) {
        hwaddr addr = somewhere(run, &w->as);
        w->open = board_find(&run->board, w->as, addr, &w->region, &w->offset) &&
                  address_space_cache_init(&w->cache, w->as, addr, some_length(run), true) >= 0;
        return;
    }
    hwaddr at = below(run, (unsigned)w->cache.len), len = 1U << below(run, 4);
    bool fits = len <= w->cache.len - at;
    switch (below(run, 4)) {
    case 0:
        address_space_cache_destroy(&w->cache);
        w->open = false;
        return;
    case 1:
        if (w->cache.direct_write) {
            address_space_cache_invalidate(&w->cache, at, len);
            len = fits ? len : w->cache.len - at;
            fits = true;
        } else {
            fits = false;
        }
        break;
    case 2:
        (void)address_space_write_cached(&w->cache, at, "0123456", len);
        break;
    default:
        guest_store_cached(&w->cache, at, 1, (unsigned)len, below(run, 2), NULL);
        break;
    }
    if (fits && w->region != B_FLASH) {
        board_marked(&run->board, w->region, w->offset + at, len);
    }
}

static void name_a_region(Run *run)
{
    DirtyBoard *b = &run->board;
    unsigned region = below(run, B_REGIONS), client = below(run, DIRTY_MEMORY_NUM);
    hwaddr offset = below(run, 0x9000), len = some_length(run);
    MemoryRegion *mr = &b->mr[region];
    uint8_t bitmap[4] = {(uint8_t)rng_next(&run->rng), (uint8_t)below(run, 2)};

    switch (below(run, 4)) {
    case 0:
        memory_region_set_dirty(mr, offset, len);
        board_marked(b, region, offset, len);
        break;
    case 1:
        ram_block_merge_dirty(memory_region_get_ram_block(mr), offset & ~(hwaddr)(B_PAGE - 1),
                              bitmap, 32);
        for (hwaddr i = 0; i < 32; i++) {
            board_marked(b, region, (offset / B_PAGE + i) * B_PAGE, bitmap[i / 8] >> i % 8 & 1);
        }
        break;
    case 2:
        memory_region_reset_dirty(mr, offset, len, client);
        for (hwaddr i = offset; i < offset + len && i < b->max_size[region]; i++) {
            b->dirty[region][client][i / B_PAGE] = 0;
        }
        break;
    default:
        (void)memory_region_dispatch_write(mr, offset & ~7ULL, 1, MO_64, ATTRS);
        if ((offset | 7) < b->size[region] && region != B_ROM && region != B_FLASH) {
            board_marked(b, region, offset & ~7ULL, 8);
        }
        break;
    }
}

/* ---- Clients and blocks ------------------------------------------------------------------ */

static void come_or_go(Run *run)
{
    DirtyBoard *b = &run->board;
    unsigned client =
        DIRTY_MEMORY_FIRST_FREE + below(run, DIRTY_MEMORY_NUM - DIRTY_MEMORY_FIRST_FREE);

    if (below(run, 2)) {
        unsigned free_one = DIRTY_MEMORY_FIRST_FREE;
        while (free_one < DIRTY_MEMORY_NUM && run->registered[free_one]) {
            free_one++;
        }
        int got = memory_dirty_client_register(b->ms, "guest", NULL);
        assert_int_equal(got, free_one < DIRTY_MEMORY_NUM ? (int)free_one : -ENOSPC);
        if (got >= 0) {
            run->registered[got] = true;
            for (unsigned region = 0; region < B_REGIONS; region++) {
                memset(b->dirty[region][got], 0, sizeof b->dirty[region][got]);
            }
        }
        return;
    }
    int result = memory_dirty_client_unregister(b->ms, client, NULL);
    if (!run->registered[client]) {
        assert_int_equal(result, -EINVAL);
    } else if (b->global_mask >> client & 1) {
        assert_int_equal(result, -EBUSY);
    } else {
        OK(result);
        run->registered[client] = false;
        run->serial[client]++;
    }
}

static void toggle(Run *run)
{
    DirtyBoard *b = &run->board;
    unsigned client = below(run, DIRTY_MEMORY_NUM), region = below(run, B_REGIONS);

    if (below(run, 3)) {
        board_set_log(b, region, below(run, 2), client);
    } else if (!run->registered[client]) {
        assert_int_equal(memory_global_dirty_log_start(b->ms, 1U << client, NULL), -EINVAL);
    } else if (b->global_mask >> client & 1) {
        board_stop_global(b, 1U << client);
    } else {
        board_start_global(b, 1U << client);
    }
}

static void resize(Run *run)
{
    DirtyBoard *b = &run->board;
    hwaddr size = (hwaddr)(1 + below(run, B_GROW_MAX / B_PAGE)) * B_PAGE, before = b->size[B_GROW];

    OK(memory_region_ram_resize(&b->mr[B_GROW], size, NULL));
    b->size[B_GROW] = size;
    if (size > before) {
        board_marked(b, B_GROW, before, size - before);
    }
}

/* ---- Takes ----------------------------------------------------------------------------------- */

static void end_epoch(Run *run, OpenEpoch *open)
{
    DirtyBoard *b = &run->board;

    board_check_epoch(b, open->epoch, &open->set); /* it has not changed meanwhile */
    if (below(run, 2)) {
        dirty_epoch_commit(open->epoch);
    } else {
        dirty_epoch_rollback(open->epoch);
        for (unsigned region = 0; region < B_REGIONS; region++) {
            for (unsigned page = 0; page < B_MAX_PAGES; page++) {
                if (open->serial == run->serial[open->client]) {
                    b->dirty[region][open->client][page] |= open->set.dirty[region][page];
                }
            }
        }
    }
    open->epoch = NULL;
}

static void use_epoch(Run *run)
{
    OpenEpoch *open = &run->epochs[below(run, OPEN)];

    if (open->epoch) {
        end_epoch(run, open);
        return;
    }
    open->client = below(run, DIRTY_MEMORY_NUM);
    open->serial = run->serial[open->client];
    open->epoch = memory_dirty_take(run->board.ms, open->client, NULL);
    if (!run->registered[open->client]) {
        assert_null(open->epoch);
        return;
    }
    board_take(&run->board, open->client, &open->set);
    board_check_epoch(&run->board, open->epoch, &open->set);
}

static void take_snapshot(Run *run)
{
    DirtyBoard *b = &run->board;
    unsigned region = below(run, B_REGIONS), client = below(run, DIRTY_MEMORY_NUM);
    hwaddr offset = below(run, 0x9000), len = some_length(run);
    MemoryRegion *mr = &b->mr[region];
    DirtyBitmapSnapshot *snapshot = memory_region_snapshot_and_clear_dirty(mr, offset, len, client);

    assert_non_null(snapshot);
    for (hwaddr page = 0; page < B_MAX_PAGES; page++) {
        hwaddr first = page * B_PAGE, last = first + B_PAGE - 1;
        bool within = len && first < b->size[region] && offset < b->max_size[region] &&
                      offset <= last && first <= offset + len - 1;
        uint8_t *dirty = &b->dirty[region][client][page];
        assert_int_equal(memory_region_snapshot_get_dirty(mr, snapshot, first + 7, 2),
                         within && *dirty);
        *dirty = within ? 0 : *dirty;
    }
    assert_false(memory_region_snapshot_get_dirty(mr, snapshot, 0, 0));
    assert_false(memory_region_snapshot_get_dirty(&b->mr[(region + 1) % B_REGIONS], snapshot, 0,
                                                  UINT64_MAX));
    dirty_bitmap_snapshot_free(snapshot);
}

static void step(Run *run)
{
    static void (*const often[])(Run * run) = {store,       store,     transfer,
                                               use_mapping, use_cache, name_a_region};
    static void (*const seldom[])(Run * run) = {come_or_go, toggle,    toggle,       resize,
                                                use_epoch,  use_epoch, take_snapshot};

    (below(run, 3) ? often[below(run, 6)] : seldom[below(run, 7)])(run);
}

static void follow(uint64_t seed)
{
    Run *run = calloc(1, sizeof *run);
    char what[64];

    run->rng.state = seed;
    board_start(&run->board);
    memset(run->registered, true, DIRTY_MEMORY_FIRST_FREE);
    for (unsigned i = 0; i < STEPS; i++) {
        step(run);
        snprintf(what, sizeof what, "seed %u, step %u", (unsigned)seed, i);
        board_check(&run->board, what);
    }
    for (unsigned i = 0; i < OPEN; i++) {
        if (run->mappings[i].open) {
            OK(address_space_unmap(run->mappings[i].as, run->mappings[i].host, run->mappings[i].len,
                                   false, 0));
        }
        address_space_cache_destroy(&run->caches[i].cache);
        if (run->epochs[i].epoch) {
            end_epoch(run, &run->epochs[i]);
        }
    }
    board_end(&run->board);
    free(run);
}

static void follows_a_byte_a_page(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        follow(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_a_byte_a_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
