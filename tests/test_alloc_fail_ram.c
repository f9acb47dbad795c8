/* SPDX-License-Identifier: MIT */
/* RAM blocks while allocations fail: what fails changes nothing, and ending RAM cannot fail. */
#include "support/saboteur.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

#define P 0x1000
#define WINDOWS 300 /* onto the RAM that grows, so that a commit outruns what its pools have */

typedef struct Board {
    MemorySystem *ms;
    MemoryOwner *device;
    MemoryRegion grow, twin, made, windows[WINDOWS];
    RAMBlock *block;
    RAMBlockNotifier notifier;
    char told[200];
    unsigned resized; /* calls */
} Board;

static Board *board; /* `resized` has no opaque */

static void on_resized(const char *idstr, hwaddr length, void *host)
{
    (void)idstr, (void)length, (void)host;
    board->resized++;
}

static void note(const char *what, size_t a, size_t b)
{
    size_t used = strlen(board->told);

    snprintf(board->told + used, sizeof(board->told) - used, "%s%zu>%zu ", what, a / P, b / P);
}

static void tell_added(RAMBlockNotifier *n, void *host, size_t size, size_t max_size)
{
    (void)n, (void)host;
    note("+", size, max_size);
}

static void tell_removed(RAMBlockNotifier *n, void *host, size_t size, size_t max_size)
{
    (void)n, (void)host;
    note("-", size, max_size);
}

static void tell_resized(RAMBlockNotifier *n, void *host, size_t old_size, size_t new_size)
{
    (void)n, (void)host;
    note("=", old_size, new_size);
}

static void expect(const char *told)
{
    assert_string_equal(board->told, told);
    board->told[0] = '\0';
}

static void start(Board *b)
{
    *b = (Board){.ms = machine_start(),
                 .notifier = {.ram_block_added = tell_added,
                              .ram_block_removed = tell_removed,
                              .ram_block_resized = tell_resized}};
    board = b;
    b->device = memory_owner_create(b->ms, "device", NULL, NULL);
    OK(memory_region_init_resizeable_ram(&b->grow, memory_system_owner(b->ms), "grow", 2 * P, 8 * P,
                                         on_resized, NULL));
    OK(memory_region_init_ram(&b->twin, b->device, "ram", P, NULL));
    b->block = memory_region_get_ram_block(&b->grow);
    memory_region_transaction_begin(b->ms);
    map_at(b->ms, 0, &b->grow);
    for (unsigned i = 0; i < WINDOWS; i++) {
        make_alias(b->ms, &b->windows[i], &b->grow, 0, 8 * P);
        map_at(b->ms, (hwaddr)(i + 1) << 32, &b->windows[i]);
    }
    OK(memory_region_transaction_commit(b->ms));
    OK(ram_block_notifier_add(b->ms, &b->notifier));
    b->told[0] = '\0';
}

static void end(Board *b)
{
    OK(ram_block_notifier_remove(b->ms, &b->notifier));
    memory_owner_unref(b->device);
    machine_end(b->ms);
}

typedef struct Listing {
    unsigned count;
    char names[200];
} Listing;

static int list(RAMBlock *block, void *opaque)
{
    Listing *l = opaque;
    size_t used = strlen(l->names);

    snprintf(l->names + used, sizeof(l->names) - used, "%s ", qemu_ram_get_idstr(block));
    return 0;
}

static void assert_listed(const char *names)
{
    Listing l = {0};

    qemu_ram_foreach_block(board->ms, list, &l);
    assert_string_equal(l.names, names);
}

/* Run @attempt with each of its allocations failing; it checks what a failure leaves behind. */
static void for_each_failure(bool (*attempt)(Board *b, unsigned long k, bool for_good))
{
    for (int for_good = 0; for_good < 2; for_good++) {
        for (unsigned long k = 1;; k++) {
            Board b;
            start(&b);
            bool failed = attempt(&b, k, for_good);
            end(&b);
            if (!failed) {
                assert_true(k > 1);
                break;
            }
        }
    }
}

static bool make(Board *b, unsigned long k, bool for_good)
{
    uint64_t version = ram_list_version(b->ms);
    ram_addr_t end_of_ram = memory_region_get_ram_addr(&b->twin) + 0x40000;

    saboteur_arm(k, for_good);
    int result = memory_region_init_ram(&b->made, b->device, "ram", P, NULL);
    bool failed = saboteur_disarm();
    assert_int_equal(failed, result != 0);
    if (failed) {
        assert_int_equal(result, -ENOMEM);
        assert_true(*membus_last_error());
        assert_listed("grow device/ram ");
        assert_true(ram_list_version(b->ms) == version);
        expect("");
        OK(memory_region_init_ram(&b->made, b->device, "ram", P, NULL));
    }
    assert_listed("grow device/ram device/ram#2 "); /* the number was not lost */
    assert_int_equal(memory_region_get_ram_addr(&b->made), end_of_ram);
    expect("+1>1 ");
    return failed;
}

static bool resize(Board *b, unsigned long k, bool for_good)
{
    uint8_t *host = memory_region_get_ram_ptr(&b->grow);

    memset(host, 0x5a, 2 * P);
    saboteur_arm(k, for_good);
    int result = memory_region_ram_resize(&b->grow, 5 * P, NULL);
    bool failed = saboteur_disarm();
    if (result) { /* some failures are borne */
        assert_true(failed);
        assert_int_equal(result, -ENOMEM);
        expect("=2>5 =5>2 ");
        assert_int_equal(b->resized, 0);
        assert_int_equal(qemu_ram_get_used_length(b->block), 2 * P);
        assert_int_equal(memory_region_size(&b->grow), 2 * P);
        /* a later commit does not remember it */
        OK(memory_region_set_nonvolatile(&b->grow, true));
        assert_int_equal(b->resized, 0);
        OK(memory_region_ram_resize(&b->grow, 5 * P, NULL));
    }
    expect("=2>5 ");
    assert_int_equal(b->resized, 1);
    assert_int_equal(qemu_ram_get_used_length(b->block), 5 * P);
    assert_true(host[2 * P - 1] == 0x5a && host[2 * P] == 0);
    return failed;
}

static bool resize_in_transaction(Board *b, unsigned long k, bool for_good)
{
    bool undo = k % 2;

    memory_region_transaction_begin(b->ms);
    OK(memory_region_ram_resize(&b->grow, P, NULL));
    OK(memory_region_ram_resize(&b->grow, 5 * P, NULL));
    expect("=2>1 =1>5 ");
    saboteur_arm(k, for_good);
    int result = memory_region_transaction_commit(b->ms);
    bool failed = saboteur_disarm();
    if (result) {            /* some failures are borne */
        assert_true(failed); /* open still: undo it, or try again */
        assert_int_equal(b->resized, 0);
        assert_int_equal(qemu_ram_get_used_length(b->block), 2 * P);
        if (undo) {
            OK(memory_region_ram_resize(&b->grow, 2 * P, NULL));
            expect("=5>2 ");
        }
        OK(memory_region_transaction_commit(b->ms));
    }
    assert_int_equal(b->resized, !(result && undo));
    assert_int_equal(qemu_ram_get_used_length(b->block), memory_region_size(&b->grow));
    return failed;
}

static bool hang_on(Board *b, unsigned long k, bool for_good)
{
    saboteur_arm(k, for_good);
    int bitmap = ram_block_bitmap_alloc(b->block, RAM_BMAP, 0, NULL);
    int cache = ram_block_colo_cache_alloc(b->block, NULL);
    bool failed = saboteur_disarm();
    assert_int_equal(failed, bitmap || cache);
    assert_int_equal(bitmap ? -ENOMEM : 0, bitmap);
    assert_int_equal(cache ? -ENOMEM : 0, cache);
    assert_int_equal(!bitmap, ram_block_bitmap(b->block, RAM_BMAP) != NULL);
    assert_int_equal(!cache, ram_block_colo_cache(b->block) != NULL);
    return failed;
}

/* Whatever fails, RAM goes away. */
static bool let_go(Board *b, unsigned long k, bool for_good)
{
    if (k == 1) {
        OK(memory_region_init_ram(&b->made, memory_system_owner(b->ms), "made", P, NULL));
        b->told[0] = '\0';
        saboteur_arm(k, for_good);
        OK(memory_region_finalize(&b->made));
        memory_owner_unref(b->device);
        assert_false(saboteur_disarm());
        expect("-1>1 -1>1 ");
        assert_listed("grow ");
        b->device = NULL;
    }
    return k == 1;
}

static void making_a_block(void **state)
{
    (void)state;
    for_each_failure(make);
}

static void resizing(void **state)
{
    (void)state;
    for_each_failure(resize);
}

static void committing_a_resize(void **state)
{
    (void)state;
    for_each_failure(resize_in_transaction);
}

static void bitmaps_and_copies(void **state)
{
    (void)state;
    for_each_failure(hang_on);
}

static void ending_allocates_nothing(void **state)
{
    (void)state;
    for_each_failure(let_go);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(making_a_block),           cmocka_unit_test(resizing),
        cmocka_unit_test(committing_a_resize),      cmocka_unit_test(bitmaps_and_copies),
        cmocka_unit_test(ending_allocates_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
