/* SPDX-License-Identifier: MIT */
/* Long-lived pointers: direct mappings, bounce buffers and their budget, map clients, caches. */
#include "support/device.h"
#include "support/guest.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

typedef struct Board {
    MemorySystem *ms;
    AddressSpace *as;
    MemoryRegion ram; /* 0x0000-0x2fff */
    Device *dev;      /* 0x3000-0x300f */
    uint8_t *host;
} Board;

static Board board_start(void)
{
    Board b = {.ms = machine_start()};

    b.as = memory_system_memory(b.ms);
    return b;
}

static void board_fill(Board *b)
{
    make_ram(b->ms, &b->ram, "ram", 0x3000);
    b->dev = device_new(b->ms, "dev", true);
    OK(device_init(b->dev, 16, DEVICE_LITTLE_ENDIAN));
    map_at(b->ms, 0, &b->ram);
    map_at(b->ms, 0x3000, &b->dev->mr);
    b->host = memory_region_get_ram_ptr(&b->ram);
    memset(b->host, 0x3c, 0x3000);
}

static void board_end(Board *b)
{
    unmap(b->ms, &b->dev->mr);
    device_drop(b->dev);
    machine_end(b->ms);
}

static void ram_is_mapped_directly(void **state)
{
    Board b = board_start();
    hwaddr len = 0x800;
    void *p;

    (void)state;
    board_fill(&b);
    p = address_space_map(b.as, 0x1000, &len, true, ATTRS);
    assert_ptr_equal(p, b.host + 0x1000);
    assert_true(len == 0x800);
    OK(address_space_unmap(b.as, p, len, true, len));
    len = 0x10000; /* cut to the region */
    p = address_space_map(b.as, 0x2000, &len, false, ATTRS);
    assert_ptr_equal(p, b.host + 0x2000);
    assert_true(len == 0x1000);
    OK(address_space_unmap(b.as, p, len, false, 0));
    REFUSED(-EINVAL, address_space_unmap(b.as, p, len, false, 0));
    board_end(&b);
}

static void devices_bounce(void **state)
{
    Board b = board_start();
    hwaddr len = 8;
    uint8_t *p;

    (void)state;
    board_fill(&b);
    p = address_space_map(b.as, 0x3004, &len, false, ATTRS);
    assert_non_null(p);
    assert_true(len == 8);
    assert_memory_equal(p, b.dev->bytes + 4, 8);
    device_reset(b.dev);
    OK(address_space_unmap(b.as, p, len, false, 8));
    assert_int_equal(b.dev->calls, 0); /* nothing is written back for a read */

    len = 8;
    p = address_space_map(b.as, 0x3000, &len, true, ATTRS);
    assert_non_null(p);
    memcpy(p, "written!", 8);
    assert_int_equal(b.dev->calls, 0);
    OK(address_space_unmap(b.as, p, len, true, 4)); /* four of the eight were written */
    assert_memory_equal(b.dev->bytes, "writ", 4);
    assert_memory_not_equal(b.dev->bytes + 4, "ten!", 4);
    board_end(&b);
}

static void read_only_memory_is_not_mapped_for_writing(void **state)
{
    Board b = board_start();
    hwaddr len = 0x100;
    uint8_t *p;

    (void)state;
    board_fill(&b);
    OK(memory_region_set_readonly(&b.ram, true));
    p = address_space_map(b.as, 0x1000, &len, true, ATTRS);
    if (p) { /* a bounce buffer, whose write-back the ROM drops */
        assert_true(p < b.host || p >= b.host + 0x3000);
        memset(p, 0xff, len);
        OK(address_space_unmap(b.as, p, len, true, len));
    }
    assert_int_equal(b.host[0x1000], 0x3c);
    len = 0x100;
    p = address_space_map(b.as, 0x1000, &len, false, ATTRS);
    assert_ptr_equal(p, b.host + 0x1000);
    OK(address_space_unmap(b.as, p, len, false, 0));
    board_end(&b);
}

static void nothing_is_not_mapped(void **state)
{
    Board b = board_start();
    hwaddr len = 0x10;

    (void)state;
    board_fill(&b);
    assert_null(address_space_map(b.as, 0x100000, &len, false, ATTRS));
    assert_true(len == 0);
    board_end(&b);
}

typedef struct Client {
    MemoryMapClient client;
    unsigned notified;
    Board *board;
    void *mapped; /* what the notification mapped */
} Client;

static void notify(MemoryMapClient *client)
{
    Client *c = (Client *)((char *)client - offsetof(Client, client));

    c->notified++;
    if (c->board) {
        hwaddr len = 4;

        assert_false(memory_system_locked(c->board->ms));
        c->mapped = address_space_map(c->board->as, 0x3000, &len, false, ATTRS);
        assert_non_null(c->mapped);
        OK(address_space_unmap(c->board->as, c->mapped, len, false, 0));
    }
}

static void bounce_buffers_have_a_budget(void **state)
{
    Board b = board_start();
    Client first = {.client.notify = notify, .board = &b};
    Client second = {.client.notify = notify};
    Client gone = {.client.notify = notify};
    hwaddr len = 8, more = 8;
    void *p, *q;

    (void)state;
    board_fill(&b);
    address_space_set_bounce_limit(b.as, 12);
    p = address_space_map(b.as, 0x3000, &len, false, ATTRS);
    assert_non_null(p);
    assert_true(len == 8);
    q = address_space_map(b.as, 0x3008, &more, false, ATTRS); /* four bytes are left */
    assert_non_null(q);
    assert_true(more == 4);
    len = 4;
    assert_null(address_space_map(b.as, 0x3000, &len, false, ATTRS));
    assert_true(len == 0);
    /* RAM does not count */
    len = 0x1000;
    assert_ptr_equal(address_space_map(b.as, 0, &len, true, ATTRS), b.host);
    OK(address_space_unmap(b.as, b.host, len, true, 0));

    address_space_register_map_client(b.as, &first.client);
    address_space_register_map_client(b.as, &second.client);
    address_space_register_map_client(b.as, &gone.client);
    address_space_unregister_map_client(b.as, &gone.client);
    assert_int_equal(first.notified + second.notified, 0);
    OK(address_space_unmap(b.as, p, 8, false, 0));
    assert_int_equal(first.notified, 1);
    assert_int_equal(second.notified, 1);
    assert_non_null(first.mapped);
    OK(address_space_unmap(b.as, q, 4, false, 0));
    assert_int_equal(first.notified, 1); /* once */
    assert_int_equal(gone.notified, 0);
    /* with budget to spare the call comes at once */
    address_space_register_map_client(b.as, &second.client);
    assert_int_equal(second.notified, 2);
    board_end(&b);
}

static void a_mapping_outlives_its_region_in_the_map(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    unsigned finalized = 0;
    Device *d = device_new(ms, "dimm", true);
    hwaddr len = 0x1000;
    uint8_t *p;

    (void)state;
    d->finalized = &finalized;
    OK(memory_region_init_ram(&d->mr, d->owner, "ram", 0x1000, NULL));
    map_at(ms, 0, &d->mr);
    p = address_space_map(as, 0, &len, true, ATTRS);
    assert_non_null(p);
    unmap(ms, &d->mr);
    device_drop(d);
    memory_system_drain(ms);
    assert_int_equal(finalized, 0);
    memset(p, 0xff, len); /* still there */
    OK(address_space_unmap(as, p, len, true, len));
    memory_system_drain(ms);
    assert_int_equal(finalized, 1);
    machine_end(ms);
}

static void an_address_space_with_mappings_stays(void **state)
{
    Board b = board_start();
    AddressSpace *as = calloc(1, sizeof(*as));
    hwaddr len = 16;
    void *p;

    (void)state;
    board_fill(&b);
    OK(address_space_init(as, get_system_memory(b.ms), "dma"));
    p = address_space_map(as, 0x3000, &len, false, ATTRS);
    assert_non_null(p);
    REFUSED(-EBUSY, address_space_destroy(as));
    OK(address_space_unmap(as, p, len, false, 0));
    OK(address_space_destroy(as));
    memory_system_drain(b.ms);
    free(as);
    board_end(&b);
}

/* ---- Caches ------------------------------------------------------------------------ */

static void caches_look_into_ram(void **state)
{
    Board b = board_start();
    MemoryRegionCache cache = MEMORY_REGION_CACHE_INVALID;
    uint8_t bytes[16];
    MemTxResult result = 0x80;

    (void)state;
    board_fill(&b);
    assert_int_equal(address_space_cache_init(&cache, b.as, 0x1000, 0x100, true), 0x100);
    assert_ptr_equal(cache.ptr, b.host + 0x1000);
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (int big = 0; big < 2; big++) {
            uint64_t value = 0x8877665544332211 >> (64 - 8 * size);

            guest_store_cached(&cache, 0x11, value, size, big, &result);
            assert_int_equal(result, MEMTX_OK);
            assert_true(bytes_to_value(b.host + 0x1011, size, big) == value);
            assert_true(guest_load_cached(&cache, 0x11, size, big, &result) == value);
            assert_int_equal(result, MEMTX_OK);
        }
    }
    assert_int_equal(address_space_write_cached(&cache, 0xf0, "0123456789abcdef", 16), MEMTX_OK);
    assert_int_equal(address_space_read_cached(&cache, 0xf0, bytes, 16), MEMTX_OK);
    assert_memory_equal(bytes, "0123456789abcdef", 16);
    /* outside the window */
    assert_int_equal(address_space_read_cached(&cache, 0xf1, bytes, 16), MEMTX_DECODE_ERROR);
    assert_int_equal(address_space_write_cached(&cache, 0xf1, bytes, 16), MEMTX_DECODE_ERROR);
    assert_int_equal(address_space_read_cached(&cache, UINT64_MAX, bytes, 2), MEMTX_DECODE_ERROR);
    guest_load_cached(&cache, 0xfd, 4, false, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    guest_store_cached(&cache, 0x100, 0, 1, false, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    address_space_cache_invalidate(&cache, 0, 0x100);
    address_space_cache_destroy(&cache);
    address_space_cache_destroy(&cache); /* again is fine */
    board_end(&b);
}

static void caches_reach_devices(void **state)
{
    Board b = board_start();
    MemoryRegionCache cache;
    MemTxResult result = 0x80;

    (void)state;
    board_fill(&b);
    assert_int_equal(address_space_cache_init(&cache, b.as, 0x3004, 0x100, true), 12);
    assert_null(cache.ptr);
    assert_true(guest_load_cached(&cache, 0, 4, true, &result) ==
                bytes_to_value(b.dev->bytes + 4, 4, true));
    assert_int_equal(result, MEMTX_OK);
    guest_store_cached(&cache, 8, 0x01020304, 4, true, &result);
    assert_int_equal(result, MEMTX_OK);
    assert_memory_equal(b.dev->bytes + 12, "\1\2\3\4", 4);
    address_space_cache_destroy(&cache);
    board_end(&b);
}

static void caches_are_refused(void **state)
{
    Board b = board_start();
    MemoryRegionCache cache = MEMORY_REGION_CACHE_INVALID;

    (void)state;
    board_fill(&b);
    REFUSED(-EFAULT, (int)address_space_cache_init(&cache, b.as, 0x100000, 16, false));
    address_space_cache_destroy(&cache);
    OK(memory_region_set_readonly(&b.ram, true));
    REFUSED(-EACCES, (int)address_space_cache_init(&cache, b.as, 0, 16, true));
    assert_int_equal(address_space_cache_init(&cache, b.as, 0, 16, false), 16);
    address_space_cache_destroy(&cache);
    board_end(&b);
}

static void a_cache_keeps_what_it_saw(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    unsigned finalized = 0;
    Device *d = device_new(ms, "dimm", true);
    MemoryRegionCache cache;
    uint8_t byte = 0;

    (void)state;
    d->finalized = &finalized;
    OK(memory_region_init_ram(&d->mr, d->owner, "ram", 0x1000, NULL));
    map_at(ms, 0, &d->mr);
    assert_int_equal(address_space_write(as, 5, ATTRS, "z", 1), MEMTX_OK);
    assert_int_equal(address_space_cache_init(&cache, as, 0, 0x1000, false), 0x1000);
    unmap(ms, &d->mr);
    device_drop(d);
    memory_system_drain(ms);
    assert_int_equal(finalized, 0);
    assert_int_equal(address_space_read_cached(&cache, 5, &byte, 1), MEMTX_OK);
    assert_int_equal(byte, 'z');
    address_space_cache_destroy(&cache);
    memory_system_drain(ms);
    assert_int_equal(finalized, 1);
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ram_is_mapped_directly),
        cmocka_unit_test(devices_bounce),
        cmocka_unit_test(read_only_memory_is_not_mapped_for_writing),
        cmocka_unit_test(nothing_is_not_mapped),
        cmocka_unit_test(bounce_buffers_have_a_budget),
        cmocka_unit_test(a_mapping_outlives_its_region_in_the_map),
        cmocka_unit_test(an_address_space_with_mappings_stays),
        cmocka_unit_test(caches_look_into_ram),
        cmocka_unit_test(caches_reach_devices),
        cmocka_unit_test(caches_are_refused),
        cmocka_unit_test(a_cache_keeps_what_it_saw),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
