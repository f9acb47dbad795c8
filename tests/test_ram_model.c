/* SPDX-License-Identifier: MIT */
/*
 * Random blocks beside a naive model: an array that is searched from one end to the other.
 * MEMBUS_MODEL_STEPS sets the length.
 */
#include "support/rng.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

enum { ROOM = 60, OWNERS = 3, NAMES = 4, ARENA_SIZE = 0x40000 };

#define ALIGN UINT64_C(0x40000)

typedef struct Entry {
    MemoryRegion *mr; /* NULL: free */
    uint8_t *host;
    uint64_t used, max, offset, serial;
    char idstr[40];
    bool resizeable;
} Entry;

typedef struct Model {
    MemorySystem *ms;
    MemoryOwner *owners[OWNERS];
    Entry entries[ROOM];
    uint8_t *arena; /* of blocks that overlap */
    uint64_t serial, version;
    Rng rng;
} Model;

static uint64_t end_of(const Entry *e)
{
    return e->offset + (e->max + ALIGN - 1) / ALIGN * ALIGN;
}

/* ---- What is expected ------------------------------------------------------------------- */

static bool name_is_taken(const Model *m, const char *name)
{
    for (int i = 0; i < ROOM; i++) {
        if (m->entries[i].mr && strcmp(m->entries[i].idstr, name) == 0) {
            return true;
        }
    }
    return false;
}

static void expected_name(const Model *m, const char *owner, const char *name, char *idstr)
{
    char base[20];

    snprintf(base, sizeof(base), "%s%s%s", owner ? owner : "", owner ? "/" : "", name);
    snprintf(idstr, 40, "%s", base);
    for (int n = 2; name_is_taken(m, idstr); n++) {
        snprintf(idstr, 40, "%s#%d", base, n);
    }
}

/* The lowest block from @at on begins here; UINT64_MAX: there is none. */
static uint64_t next_offset(const Model *m, uint64_t at)
{
    uint64_t next = UINT64_MAX;

    for (int i = 0; i < ROOM; i++) {
        const Entry *e = &m->entries[i];
        if (e->mr && e->offset >= at && e->offset < next) {
            next = e->offset;
        }
    }
    return next;
}

static void try_place(const Model *m, uint64_t at, uint64_t size, uint64_t *best, uint64_t *room)
{
    uint64_t gap = next_offset(m, at) - at;

    if (gap >= size && (gap < *room || (gap == *room && at < *best))) {
        *best = at;
        *room = gap;
    }
}

static uint64_t expected_offset(const Model *m, uint64_t size)
{
    uint64_t best = 0, room = UINT64_MAX;

    try_place(m, 0, size, &best, &room);
    for (int i = 0; i < ROOM; i++) {
        if (m->entries[i].mr) {
            try_place(m, end_of(&m->entries[i]), size, &best, &room);
        }
    }
    return best;
}

/* ---- Steps ------------------------------------------------------------------------------ */

static void version_moves(Model *m, bool moves)
{
    uint64_t version = ram_list_version(m->ms);

    assert_int_equal(version != m->version, moves);
    m->version = version;
}

static void add(Model *m, Entry *e)
{
    static const char *const names[NAMES] = {"ram", "rom", "ram#2", "x"};
    const char *name = names[rng_below(&m->rng, NAMES)];
    MemoryOwner *owner = m->owners[rng_below(&m->rng, OWNERS)];
    bool is_board = owner == memory_system_owner(m->ms);
    unsigned kind = rng_below(&m->rng, 3);
    Entry new = {.mr = calloc(1, sizeof(MemoryRegion)), .serial = m->serial++};

    assert_non_null(new.mr);
    new.max = (1 + rng_below(&m->rng, 4)) * ALIGN / (1 + rng_below(&m->rng, 2)) -
              rng_below(&m->rng, 3) * 0x1000;
    new.used = new.max;
    if (kind == 0) {
        OK(memory_region_init_ram(new.mr, owner, name, new.max, NULL));
    } else if (kind == 1) {
        new.used = (1 + rng_below(&m->rng, (unsigned)(new.max / 0x1000))) * 0x1000;
        new.resizeable = true;
        OK(memory_region_init_resizeable_ram(new.mr, owner, name, new.used, new.max, NULL, NULL));
    } else {
        new.host = m->arena + rng_below(&m->rng, ARENA_SIZE / 2);
        new.max = new.used = 1 + rng_below(&m->rng, ARENA_SIZE / 2);
        OK(memory_region_init_ram_ptr(new.mr, owner, name, new.max, new.host));
    }
    new.host = memory_region_get_ram_ptr(new.mr);
    expected_name(m, is_board ? NULL : memory_owner_name(owner), name, new.idstr);
    assert_string_equal(qemu_ram_get_idstr(memory_region_get_ram_block(new.mr)), new.idstr);
    new.offset = expected_offset(m, (new.max + ALIGN - 1) / ALIGN * ALIGN);
    assert_int_equal(memory_region_get_ram_addr(new.mr), new.offset);
    *e = new;
    version_moves(m, true);
}

static void drop(Model *m, Entry *e)
{
    OK(memory_region_finalize(e->mr));
    free(e->mr);
    e->mr = NULL;
    version_moves(m, true);
}

static void resize(Model *m, Entry *e)
{
    if (e->resizeable) {
        e->used = (1 + rng_below(&m->rng, (unsigned)(e->max / 0x1000))) * 0x1000;
        OK(memory_region_ram_resize(e->mr, e->used - rng_below(&m->rng, 0x1000), NULL));
        version_moves(m, false);
    }
}

/* ---- Questions -------------------------------------------------------------------------- */

/* Of the blocks that have @host, one that ends last. */
static void check_host(const Model *m, uint8_t *host)
{
    const Entry *best = NULL;
    ram_addr_t offset = 0;
    RAMBlock *found = qemu_ram_block_from_host(m->ms, host, &offset);

    for (int i = 0; i < ROOM; i++) {
        const Entry *e = &m->entries[i];
        if (e->mr && host >= e->host && host < e->host + e->max &&
            (!best || e->host + e->max > best->host + best->max)) {
            best = e;
        }
    }
    assert_int_equal(found != NULL, best != NULL);
    if (!best) {
        assert_true(qemu_ram_addr_from_host(m->ms, host) == RAM_ADDR_INVALID);
        assert_null(memory_region_from_host(m->ms, host, NULL));
        return;
    }
    assert_ptr_equal((uint8_t *)qemu_ram_get_host_addr(found) + offset, host);
    assert_ptr_equal((uint8_t *)qemu_ram_get_host_addr(found) + qemu_ram_get_max_length(found),
                     best->host + best->max);
    assert_true(qemu_ram_addr_from_host(m->ms, host) == qemu_ram_get_offset(found) + offset);
    MemoryRegion *mr = memory_region_from_host(m->ms, host, NULL);
    assert_ptr_equal(mr, qemu_ram_get_region(found));
    memory_region_unref(mr);
}

static void check_offset(const Model *m, uint64_t at)
{
    const RAMBlock *expected = NULL;
    ram_addr_t offset = 0;
    RAMBlock *found = qemu_ram_block_from_addr(m->ms, at, &offset);

    for (int i = 0; i < ROOM; i++) {
        const Entry *e = &m->entries[i];
        if (e->mr && at >= e->offset && at - e->offset < e->max) {
            expected = memory_region_get_ram_block(e->mr);
        }
    }
    assert_ptr_equal(found, expected);
    assert_true(!found || qemu_ram_get_offset(found) + offset == at);
}

static void check_entry(const Model *m, const Entry *e)
{
    RAMBlock *block = memory_region_get_ram_block(e->mr);

    assert_int_equal(qemu_ram_get_used_length(block), e->used);
    assert_int_equal(qemu_ram_get_max_length(block), e->max);
    assert_int_equal(qemu_ram_get_offset(block), e->offset);
    assert_int_equal(memory_region_size(e->mr), e->used);
    assert_ptr_equal(qemu_ram_block_by_name(m->ms, e->idstr), block);
    for (int d = -1; d <= 1; d++) {
        check_host(m, e->host + d);
        check_host(m, e->host + e->max + d);
        check_offset(m, e->offset + (uint64_t)d);
        check_offset(m, e->offset + e->max + (uint64_t)d);
    }
}

typedef struct Walk {
    const Model *m;
    unsigned count;
    uint64_t max, serial;
} Walk;

static int visit(RAMBlock *block, void *opaque)
{
    Walk *walk = opaque;
    uint64_t max = qemu_ram_get_max_length(block);

    for (int i = 0; i < ROOM; i++) {
        const Entry *e = &walk->m->entries[i];
        if (e->mr && memory_region_get_ram_block(e->mr) == block) {
            assert_true(walk->count == 0 || max < walk->max ||
                        (max == walk->max && e->serial > walk->serial));
            walk->max = max;
            walk->serial = e->serial;
            walk->count++;
            return 0;
        }
    }
    fail_msg("a block that is not there was visited");
    return 0;
}

static void check_all(const Model *m)
{
    Walk walk = {.m = m};
    unsigned count = 0;

    assert_int_equal(qemu_ram_foreach_block(m->ms, visit, &walk), 0);
    for (int i = 0; i < ROOM; i++) {
        if (m->entries[i].mr) {
            check_entry(m, &m->entries[i]);
            count++;
        }
    }
    assert_int_equal(walk.count, count);
    check_offset(m, RAM_ADDR_INVALID);
    assert_null(qemu_ram_block_by_name(m->ms, "nobody"));
}

static void blocks_are_as_in_the_model(void **state)
{
    const char *steps = getenv("MEMBUS_MODEL_STEPS");
    long count = steps ? atol(steps) : 6000;
    Model *m = calloc(1, sizeof(*m));

    (void)state;
    m->ms = machine_start();
    m->rng.state = 42;
    m->arena = malloc(ARENA_SIZE);
    m->owners[0] = memory_system_owner(m->ms);
    m->owners[1] = memory_owner_create(m->ms, "a", NULL, NULL);
    m->owners[2] = memory_owner_create(m->ms, "b", NULL, NULL);
    m->version = ram_list_version(m->ms);
    for (long step = 0; step < count; step++) {
        /* a tide, so that it is nearly empty and nearly full now and then */
        unsigned level = (unsigned)(step / 200 % 2 ? 80 : 20);
        Entry *e = &m->entries[rng_below(&m->rng, ROOM)];

        if (!e->mr) {
            if (rng_percent(&m->rng, level)) {
                add(m, e);
            }
        } else if (rng_percent(&m->rng, 30)) {
            resize(m, e);
        } else if (rng_percent(&m->rng, 100 - level)) {
            drop(m, e);
        }
        if (e->mr) {
            check_entry(m, e);
        }
        check_host(m, m->arena + rng_below(&m->rng, ARENA_SIZE));
        check_offset(m, rng_below(&m->rng, 200 * ALIGN));
        if (step % 50 == 0) {
            check_all(m);
        }
        if (step % 1000 == 0) {
            memory_system_drain(m->ms);
        }
    }
    for (int i = 0; i < ROOM; i++) {
        if (m->entries[i].mr) {
            drop(m, &m->entries[i]);
        }
    }
    check_all(m);
    memory_owner_unref(m->owners[1]);
    memory_owner_unref(m->owners[2]);
    machine_end(m->ms);
    free(m->arena);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_as_in_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
