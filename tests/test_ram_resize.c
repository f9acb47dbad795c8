/* SPDX-License-Identifier: MIT */
/* RAM that grows and shrinks: what is told, what is shown, what is kept. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

#define P 0x1000
#define MAX (8 * P)

typedef struct Board {
    MemorySystem *ms;
    AddressSpace *as;
    MemoryRegion grow;
    RAMBlock *block;
    RAMBlockNotifier notifier;
    char told[200];
} Board;

static Board *board; /* `resized` has no opaque */

static void note(const char *what, hwaddr a, hwaddr b)
{
    size_t used = strlen(board->told);

    snprintf(board->told + used, sizeof(board->told) - used, "%s%x>%x ", what, (unsigned)a / P,
             (unsigned)b / P);
}

static void expect(const char *told)
{
    assert_string_equal(board->told, told);
    board->told[0] = '\0';
}

/* The bytes from 0 on that the guest sees. */
static hwaddr shown(void)
{
    hwaddr at = 0;
    MemTxResult result;

    for (; at <= MAX; at += P) {
        address_space_ldub(board->as, at, ATTRS, &result);
        if (result != MEMTX_OK) {
            break;
        }
    }
    return at;
}

static void on_resized_block(RAMBlockNotifier *n, void *host, size_t old_size, size_t new_size)
{
    (void)n, (void)host;
    note("n", old_size, new_size);
}

static void on_resized(const char *idstr, hwaddr length, void *host)
{
    assert_string_equal(idstr, "grow");
    assert_ptr_equal(host, qemu_ram_get_host_addr(board->block));
    assert_int_equal(qemu_ram_get_used_length(board->block), length);
    note("r", shown(), length);
}

static void start(Board *b)
{
    *b = (Board){.ms = machine_start(), .notifier = {.ram_block_resized = on_resized_block}};
    board = b;
    b->as = memory_system_memory(b->ms);
    OK(memory_region_init_resizeable_ram(&b->grow, memory_system_owner(b->ms), "grow", P, MAX,
                                         on_resized, NULL));
    b->block = memory_region_get_ram_block(&b->grow);
    map_at(b->ms, 0, &b->grow);
    OK(ram_block_notifier_add(b->ms, &b->notifier));
}

static void end(Board *b)
{
    OK(ram_block_notifier_remove(b->ms, &b->notifier));
    machine_end(b->ms);
}

static void assert_is(hwaddr region, hwaddr used, hwaddr seen)
{
    assert_int_equal(memory_region_size(&board->grow), region);
    assert_int_equal(qemu_ram_get_used_length(board->block), used);
    assert_int_equal(shown(), seen);
}

static void lengths_follow_the_commit(void **state)
{
    Board b;

    (void)state;
    start(&b);
    OK(memory_region_ram_resize(&b.grow, 4 * P - 1, NULL));
    expect("n1>4 r4>4 ");
    assert_is(4 * P, 4 * P, 4 * P);
    OK(memory_region_ram_resize(&b.grow, 2 * P, NULL));
    expect("n4>2 r2>2 ");
    OK(memory_region_ram_resize(&b.grow, 2 * P, NULL));
    expect("");

    memory_region_transaction_begin(b.ms);
    memory_region_transaction_begin(b.ms);
    OK(memory_region_ram_resize(&b.grow, 5 * P, NULL));
    OK(memory_region_transaction_commit(b.ms));
    expect("n2>5 ");
    assert_is(5 * P, 2 * P, 2 * P);
    OK(memory_region_ram_resize(&b.grow, 6 * P, NULL));
    expect("n5>6 ");
    OK(memory_region_transaction_commit(b.ms));
    expect("r6>6 ");
    assert_is(6 * P, 6 * P, 6 * P);

    /* there and back: nothing has happened, but for the notifiers */
    memory_region_transaction_begin(b.ms);
    OK(memory_region_ram_resize(&b.grow, 1 * P, NULL));
    OK(memory_region_ram_resize(&b.grow, 6 * P, NULL));
    OK(memory_region_transaction_commit(b.ms));
    expect("n6>1 n1>6 ");
    assert_is(6 * P, 6 * P, 6 * P);

    /* where nobody sees it */
    unmap(b.ms, &b.grow);
    OK(memory_region_ram_resize(&b.grow, MAX, NULL));
    expect("n6>8 r0>8 ");
    assert_is(MAX, MAX, 0);
    end(&b);
}

static void contents_are_kept_or_zero(void **state)
{
    Board b;
    uint8_t *host;

    (void)state;
    start(&b);
    host = qemu_ram_get_host_addr(b.block);
    OK(memory_region_ram_resize(&b.grow, 4 * P, NULL));
    memset(host, 0x5a, 4 * P);
    OK(memory_region_ram_resize(&b.grow, 6 * P, NULL));
    assert_true(host[0] == 0x5a && host[4 * P - 1] == 0x5a && host[4 * P] == 0);
    OK(memory_region_ram_resize(&b.grow, 2 * P, NULL));
    OK(memory_region_ram_resize(&b.grow, 6 * P, NULL));
    for (unsigned i = 0; i < 6 * P; i++) {
        assert_int_equal(address_space_ldub(b.as, i, ATTRS, NULL), i < 2 * P ? 0x5a : 0);
    }
    /* what was never out of sight has not been touched */
    memset(host, 0x5a, 6 * P);
    memory_region_transaction_begin(b.ms);
    OK(memory_region_ram_resize(&b.grow, 2 * P, NULL));
    OK(memory_region_ram_resize(&b.grow, 8 * P, NULL));
    memset(host + 6 * P, 0x6b, P); /* nor what was put there for the guest to find */
    OK(memory_region_ram_resize(&b.grow, 7 * P, NULL));
    OK(memory_region_transaction_commit(b.ms));
    for (unsigned i = 0; i < 7 * P; i++) {
        assert_int_equal(address_space_ldub(b.as, i, ATTRS, NULL), i < 6 * P ? 0x5a : 0x6b);
    }
    end(&b);
}

/* Mappings, caches and older views go on in what was cut off. */
static void nothing_dangles(void **state)
{
    Board b;
    hwaddr len = P;
    MemoryRegionCache cache;
    MemoryRegionSection section;

    (void)state;
    start(&b);
    OK(memory_region_ram_resize(&b.grow, 4 * P, NULL));
    uint8_t *mapped = address_space_map(b.as, 3 * P, &len, true, ATTRS);
    assert_non_null(mapped);
    assert_int_equal(address_space_cache_init(&cache, b.as, 3 * P, P, true), P);
    FlatView *view = address_space_get_flatview(b.as);
    OK(memory_region_ram_resize(&b.grow, P, NULL));
    memset(mapped, 7, P);
    assert_int_equal(address_space_ldub_cached(&cache, 9, ATTRS, NULL), 7);
    assert_true(flatview_lookup(view, 3 * P, &section));
    assert_int_equal(section.size, P * 4);
    OK(address_space_unmap(b.as, mapped, P, true, P));
    address_space_cache_destroy(&cache);
    flatview_unref(view);
    end(&b);
}

/* A change that the tree refuses is taken back everywhere. */
static void a_refusal_is_told_back(void **state)
{
    Board b;
    MemoryRegion box, loop;

    (void)state;
    start(&b);
    /* an alias shows itself, beyond the region's end: growth would show that */
    make_container(b.ms, &box, "box", UINT64_MAX);
    unmap(b.ms, &b.grow);
    OK(memory_region_add_subregion(&box, 0, &b.grow));
    map_at(b.ms, 0, &box);
    make_alias(b.ms, &loop, &box, 2 * P, P);
    OK(memory_region_add_subregion_overlap(&b.grow, 2 * P, &loop, 0));
    assert_is(P, P, P);
    REFUSED(-ELOOP, memory_region_ram_resize(&b.grow, 4 * P, NULL));
    expect("n1>4 n4>1 ");
    assert_is(P, P, P);
    OK(memory_region_del_subregion(&b.grow, &loop));
    OK(memory_region_ram_resize(&b.grow, 4 * P, NULL));
    expect("n1>4 r4>4 ");
    end(&b);
}

static MemoryRegion *from_callback;

static void resize_another(const char *idstr, hwaddr length, void *host)
{
    (void)idstr, (void)host;
    OK(memory_region_ram_resize(from_callback, length, NULL));
}

/* `resized` is no part of the commit: it may edit the map, and end the region even. */
static void the_callback_may_edit(void **state)
{
    Board b;
    MemoryRegion leader;

    (void)state;
    start(&b);
    from_callback = &b.grow;
    OK(memory_region_init_resizeable_ram(&leader, memory_system_owner(b.ms), "leader", P, MAX,
                                         resize_another, NULL));
    OK(memory_region_ram_resize(&leader, 3 * P, NULL));
    expect("n1>3 n1>3 r3>3 ");
    assert_is(3 * P, 3 * P, 3 * P);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_follow_the_commit), cmocka_unit_test(contents_are_kept_or_zero),
        cmocka_unit_test(nothing_dangles),           cmocka_unit_test(a_refusal_is_told_back),
        cmocka_unit_test(the_callback_may_edit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
