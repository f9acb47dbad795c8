/* SPDX-License-Identifier: MIT */
/* Each way to write marks exactly the pages that it writes, for exactly those who listen. */
#include "support/dirty_board.h"
#include "support/guest.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

static const MemTxAttrs debug_attrs = {.debug = 1};

/* ---- Ways to write --------------------------------------------------------------------- */

/* Where: the first address of a span; near borders of pages and regions, and in the middle. */
static const struct {
    const char *name;
    hwaddr addr;
} spots[] = {
    {"the start of RAM", 0x10000},
    {"inside a page", 0x11238},
    {"unaligned", 0x12121},
    {"across two pages", 0x12ffd},
    {"the last word of a page", 0x13ff8},
    {"RAM's last word", 0x17ff8},
    {"across two regions", 0x17ffb},
    {"before RAM", 0xfffd},
    {"a window", 0x40400},
    {"across two of a window's pages", 0x40bfc},
    {"a window's last word", 0x423f8},
    {"past a window's end", 0x423fd},
    {"ROM", 0x50ffe},
    {"a RAM device", 0x60ff8},
    {"flash", 0x70ff0},
    {"odd RAM's last page", 0x81008},
    {"past odd RAM's end", 0x8122d},
    {"resizeable RAM", 0x91fff},
    {"nothing", 0x30000},
};
enum { SPOTS = sizeof spots / sizeof *spots };

static const unsigned clients_of_setup[][3] = {
    /* VGA's regions by themselves (a set), a second client's, and who logs all RAM */
    {0, 0, 0},
    {1U << B_RAM, 0, 0},
    {(1U << B_REGIONS) - 1, 0, 0},
    {0, 0, 1U << DIRTY_MEMORY_MIGRATION},
    {1U << B_RAM | 1U << B_ROM, 1U << B_RAM | 1U << B_ODD, 0},
    {1U << B_NEXT, 1U << B_DEV, 1U << DIRTY_MEMORY_CODE | 1U << 7},
    {0, 1U << B_RAM, 1U << 5},
};
enum { SETUPS = sizeof clients_of_setup / sizeof *clients_of_setup };

static void set_up(DirtyBoard *b, unsigned setup)
{
    board_start(b);
    for (int i = DIRTY_MEMORY_FIRST_FREE; i < DIRTY_MEMORY_NUM; i++) {
        assert_int_equal(memory_dirty_client_register(b->ms, "c", NULL), i);
    }
    for (unsigned region = 0; region < B_REGIONS; region++) {
        if (clients_of_setup[setup][0] >> region & 1) {
            board_set_log(b, region, true, DIRTY_MEMORY_VGA);
        }
        if (clients_of_setup[setup][1] >> region & 1) {
            board_set_log(b, region, true, 4);
        }
    }
    if (clients_of_setup[setup][2]) {
        board_start_global(b, clients_of_setup[setup][2]);
    }
    board_check(b, "a start");
}

/* Run @way at each spot, in each address space, over clean and over dirty pages. */
static void for_each_spot(void (*way)(DirtyBoard *b, AddressSpace *as, hwaddr addr))
{
    for (unsigned setup = 0; setup < SETUPS; setup++) {
        DirtyBoard *b = calloc(1, sizeof *b);
        set_up(b, setup);
        for (unsigned i = 0; i < 2 * SPOTS; i++) {
            AddressSpace *as = i % 2 ? &b->dma : b->memory;
            hwaddr addr = spots[i / 2].addr + (i % 2 ? B_BUS_SHIFT : 0);
            for (unsigned again = 0; again < 2; again++) {
                way(b, as, addr);
                board_check(b, spots[i / 2].name);
            }
            board_clean(b);
            board_check(b, "a reset");
        }
        board_end(b);
        free(b);
    }
}

static void store_each_width(DirtyBoard *b, AddressSpace *as, hwaddr addr)
{
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (unsigned big = 0; big < 2; big++) {
            for (unsigned section = 0; section < 2; section++) {
                MemTxResult result = 0;
                if (section) {
                    memory_read_lock();
                }
                guest_store(as, addr, 0x1122334455667788, size, big, ATTRS, &result);
                if (section) {
                    memory_read_unlock();
                }
                board_wrote(b, as, addr, size, WRITE_GUEST);
                board_check(b, "a store");
            }
        }
    }
}

static void stores_mark(void **state)
{
    (void)state;
    for_each_spot(store_each_width);
}

static void transfer(DirtyBoard *b, AddressSpace *as, hwaddr addr)
{
    static const hwaddr lengths[] = {0, 1, 7, 100, 0x1003, 0x2801};
    uint8_t *bytes = calloc(1, 0x3000);

    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        hwaddr len = lengths[i];
        (void)address_space_read(as, addr, ATTRS, bytes, len);
        board_check(b, "a read");
        switch (i % 3) {
        case 0:
            (void)address_space_write(as, addr, ATTRS, bytes, len);
            break;
        case 1:
            (void)address_space_rw(as, addr, ATTRS, bytes, len, true);
            break;
        default:
            (void)address_space_set(as, addr, 1, len, ATTRS);
            break;
        }
        board_wrote(b, as, addr, len, WRITE_GUEST);
        board_check(b, "a transfer");
    }
    free(bytes);
}

static void transfers_mark(void **state)
{
    (void)state;
    for_each_spot(transfer);
}

static void write_as_a_loader(DirtyBoard *b, AddressSpace *as, hwaddr addr)
{
    uint8_t bytes[0x1100] = {0};

    (void)address_space_write_rom(as, addr, ATTRS, bytes, sizeof bytes);
    board_wrote(b, as, addr, sizeof bytes, WRITE_LOADER);
}

static void write_as_a_debugger(DirtyBoard *b, AddressSpace *as, hwaddr addr)
{
    uint8_t bytes[0x1100] = {0};

    (void)address_space_write(as, addr, debug_attrs, bytes, sizeof bytes);
    board_wrote(b, as, addr, sizeof bytes, WRITE_DEBUG);
    (void)address_space_set(as, addr + 0x1000, 7, 0x10, debug_attrs);
    board_wrote(b, as, addr + 0x1000, 0x10, WRITE_DEBUG);
    address_space_stl_be(as, addr, 1, debug_attrs, NULL);
    board_wrote(b, as, addr, 4, WRITE_DEBUG);
}

static void loaders_and_debuggers_mark(void **state)
{
    (void)state;
    for_each_spot(write_as_a_loader);
    for_each_spot(write_as_a_debugger);
}

static void map_and_unmap(DirtyBoard *b, AddressSpace *as, hwaddr addr)
{
    static const hwaddr accessed[] = {0, 1, 0x7ff, 0x1000, 0x2000, UINT64_MAX};

    for (unsigned i = 0; i < 2 * sizeof accessed / sizeof *accessed; i++) {
        bool is_write = i % 2;
        hwaddr len = 0x1800;
        void *host = address_space_map(as, addr, &len, is_write, ATTRS);
        board_check(b, "a mapping");
        if (host) {
            hwaddr access_len = accessed[i / 2];
            OK(address_space_unmap(as, host, len, is_write, access_len));
            if (is_write) {
                board_wrote(b, as, addr, access_len < len ? access_len : len, WRITE_GUEST);
            }
        }
        board_check(b, "an unmap");
    }
}

static void mappings_mark(void **state)
{
    (void)state;
    for_each_spot(map_and_unmap);
}

/* @len bytes at @at of a window that was made at @addr for @is_write. */
static void cache_wrote(DirtyBoard *b, AddressSpace *as, const MemoryRegionCache *cache,
                        hwaddr addr, hwaddr at, hwaddr len)
{
    if (at <= cache->len && len <= cache->len - at && cache->is_write) {
        board_wrote(b, as, addr + at, len, WRITE_GUEST);
    }
}

static void write_a_cache(DirtyBoard *b, AddressSpace *as, hwaddr addr)
{
    uint8_t bytes[0x1801] = {0};

    for (unsigned is_write = 0; is_write < 2; is_write++) {
        MemoryRegionCache cache;
        if (address_space_cache_init(&cache, as, addr, 0x1801, is_write) < 0) {
            continue;
        }
        for (unsigned size = 1; size <= 8; size *= 2) {
            for (unsigned big = 0; big < 2; big++) {
                static const hwaddr at[] = {0, 1, 0xffe, 0x17fa};
                for (unsigned i = 0; i < sizeof at / sizeof *at; i++) {
                    MemTxResult result = 0;
                    (void)guest_load_cached(&cache, at[i], size, big, &result);
                    guest_store_cached(&cache, at[i], 1, size, big, &result);
                    cache_wrote(b, as, &cache, addr, at[i], size);
                    board_check(b, "a store to a cache");
                }
            }
        }
        (void)address_space_read_cached(&cache, 0, bytes, cache.len);
        (void)address_space_write_cached(&cache, 3, bytes, 0x20);
        cache_wrote(b, as, &cache, addr, 3, 0x20);
        board_check(b, "a write to a cache");
        if (cache.direct_write) {
            cache.ptr[1] = 5;
            address_space_cache_invalidate(&cache, 1, 0x1100);
            hwaddr left = cache.len - 1;
            board_wrote(b, as, addr + 1, left < 0x1100 ? left : 0x1100, WRITE_GUEST);
        }
        address_space_cache_invalidate(&cache, 0, 0);
        address_space_cache_invalidate(&cache, cache.len, 1);
        address_space_cache_invalidate(&cache, UINT64_MAX, UINT64_MAX);
        board_check(b, "a store through a cache's pointer");
        address_space_cache_destroy(&cache);
    }
}

static void caches_mark(void **state)
{
    (void)state;
    for_each_spot(write_a_cache);
}

/* ---- Writes that name a region ------------------------------------------------------------ */

static void dispatch(DirtyBoard *b, unsigned region, hwaddr offset)
{
    bool inside = offset < b->size[region] && 8 <= b->size[region] - offset;
    bool writable = inside && region != B_FLASH;
    uint64_t value;

    (void)memory_region_dispatch_read(&b->mr[region], offset, &value, MO_64, ATTRS);
    memory_system_lock(b->ms);
    (void)memory_region_dispatch_write(&b->mr[region], offset, 1, MO_64 | MO_BE, ATTRS);
    if (writable && region != B_ROM) {
        board_marked(b, region, offset, 8);
    }
    board_check(b, "a dispatched write");
    (void)memory_region_dispatch_write(&b->mr[region], offset, 1, MO_64, debug_attrs);
    memory_system_unlock(b->ms);
    if (writable) {
        board_marked(b, region, offset, 8);
    }
    board_check(b, "a debugger's dispatched write");
}

static void tell(DirtyBoard *b, unsigned region, hwaddr offset)
{
    static const hwaddr sizes[] = {0, 1, 0x1000, 0x1001, 0x2fff, UINT64_MAX - 1, UINT64_MAX};
    RAMBlock *block = memory_region_get_ram_block(&b->mr[region]);
    uint8_t bitmap[16];

    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memory_region_set_dirty(&b->mr[region], offset, sizes[i]);
        board_marked(b, region, offset, sizes[i]);
        board_check(b, "memory_region_set_dirty");
        board_clean(b);
    }
    memset(bitmap, 0xa6, sizeof bitmap);
    for (unsigned pages = 0; pages <= 128; pages += 1 + pages / 3) {
        hwaddr first = offset / B_PAGE;
        ram_block_merge_dirty(block, first * B_PAGE, bitmap, pages);
        for (hwaddr i = 0; i < pages && first < B_MAX_PAGES; i++) {
            board_marked(b, region, (first + i) * B_PAGE, bitmap[i / 8] >> i % 8 & 1);
        }
        board_check(b, "ram_block_merge_dirty");
        board_clean(b);
    }
}

static void writes_to_a_region_mark(void **state)
{
    static const hwaddr offsets[] = {0,      8,      0xff8,  0xffc,  0x1000,
                                     0x122c, 0x1ff8, 0x7ff8, 0x8000, UINT64_MAX - 2};

    (void)state;
    for (unsigned setup = 0; setup < SETUPS; setup++) {
        DirtyBoard *b = calloc(1, sizeof *b);
        set_up(b, setup);
        for (unsigned region = 0; region < B_REGIONS; region++) {
            for (unsigned i = 0; i < sizeof offsets / sizeof *offsets; i++) {
                dispatch(b, region, offsets[i]);
                board_clean(b);
                tell(b, region, offsets[i]);
            }
        }
        memory_region_set_dirty(&b->window, 0, 0x1000);
        memory_region_set_dirty(get_system_memory(b->ms), 0, UINT64_MAX);
        board_check(b, "regions without memory of their own");
        board_end(b);
        free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_mark),
        cmocka_unit_test(transfers_mark),
        cmocka_unit_test(loaders_and_debuggers_mark),
        cmocka_unit_test(mappings_mark),
        cmocka_unit_test(caches_mark),
        cmocka_unit_test(writes_to_a_region_mark),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
