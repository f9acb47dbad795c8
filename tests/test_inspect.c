/* SPDX-License-Identifier: MIT */
/* A program's own machine prints as QEMU's would, and explains its addresses. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <membus/error.h>
#include <membus/membus.h>

typedef struct Board {
    MemorySystem *ms;
    MemoryOwner *device;
    MemoryRegion ram, window, bus, part, off;
} Board;

static Board *board_create(void)
{
    Board *b = calloc(1, sizeof *b);

    b->ms = memory_system_create();
    b->device = memory_owner_create(b->ms, "uart0", NULL, NULL);
    MemoryOwner *board = memory_system_owner(b->ms);
    MemoryRegion *system = get_system_memory(b->ms);
    assert_int_equal(memory_region_init_ram_unbacked(&b->ram, board, "ram", 0x1000), 0);
    assert_int_equal(memory_region_init_alias(&b->window, board, "window", &b->ram, 0x800, 0x100),
                     0);
    assert_int_equal(memory_region_init_io(&b->bus, b->device, NULL, NULL, "bus", 0x1000), 0);
    assert_int_equal(memory_region_init_io(&b->part, b->device, NULL, NULL, "part", 0x10), 0);
    assert_int_equal(memory_region_init(&b->off, board, "off", UINT64_MAX), 0);
    assert_int_equal(memory_region_set_enabled(&b->off, false), 0);
    assert_int_equal(memory_region_set_readonly(&b->window, true), 0);
    assert_int_equal(memory_region_add_subregion(system, 0, &b->ram), 0);
    assert_int_equal(memory_region_add_subregion_overlap(system, 0x400, &b->window, 2), 0);
    assert_int_equal(memory_region_add_subregion_overlap(system, 0, &b->bus, 0), 0);
    assert_int_equal(memory_region_add_subregion_overlap(&b->bus, 0x20, &b->part, -3), 0);
    assert_int_equal(memory_region_add_subregion_overlap(system, 0, &b->off, 9), 0);
    return b;
}

static void board_destroy(Board *b)
{
    assert_int_equal(memory_region_del_subregion(get_system_memory(b->ms), &b->bus), 0);
    memory_owner_unref(b->device);
    assert_int_equal(memory_system_destroy(b->ms), 0);
    free(b);
}

static void assert_prints(MemorySystem *ms, unsigned flags, const char *expected)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_int_equal(mtree_print(ms, out, flags, "memory"), 0);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void printing(void **state)
{
    Board *b = board_create();

    (void)state;
    assert_prints(b->ms, 0,
                  "address-space: memory\n"
                  "  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"
                  "    0000000000000000-0000000000000fff (prio 0, i/o): bus\n"
                  "      0000000000000020-000000000000002f (prio -3, i/o): part\n"
                  "    0000000000000000-0000000000000fff (prio 0, ram): ram\n"
                  "    0000000000000400-00000000000004ff (prio 2, ram): alias window @ram "
                  "0000000000000800-00000000000008ff\n\n"
                  "memory-region: ram\n"
                  "  0000000000000000-0000000000000fff (prio 0, ram): ram\n\n");
    assert_prints(
        b->ms, MTREE_OWNER | MTREE_DISABLED,
        "address-space: memory\n"
        "  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"
        "    0000000000000000-ffffffffffffffff (prio 9, i/o): off [disabled]\n"
        "    0000000000000000-0000000000000fff (prio 0, i/o): bus owner:{dev id=uart0}\n"
        "      0000000000000020-000000000000002f (prio -3, i/o): part owner:{dev id=uart0}\n"
        "    0000000000000000-0000000000000fff (prio 0, ram): ram\n"
        "    0000000000000400-00000000000004ff (prio 2, ram): alias window @ram "
        "0000000000000800-00000000000008ff\n\n"
        "memory-region: ram\n"
        "  0000000000000000-0000000000000fff (prio 0, ram): ram\n\n");
    assert_prints(b->ms, MTREE_FLAT,
                  "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n"
                  "  0000000000000000-000000000000001f (prio 0, i/o): bus\n"
                  "  0000000000000020-000000000000002f (prio -3, i/o): part\n"
                  "  0000000000000030-00000000000003ff (prio 0, i/o): bus @0000000000000030\n"
                  "  0000000000000400-00000000000004ff (prio 0, rom): ram @0000000000000800\n"
                  "  0000000000000500-0000000000000fff (prio 0, i/o): bus @0000000000000500\n\n");
    assert_int_equal(mtree_print(b->ms, stdout, 0, "nosuch"), -ENOENT);
    assert_string_equal(membus_last_error(), "no address space is called 'nosuch'");
    board_destroy(b);
}

static void explaining(void **state)
{
    Board *b = board_create();
    AddressSpace *as = memory_system_memory(b->ms);
    MemoryExplanation *ex = address_space_explain(as, 0x400);

    (void)state;
    assert_non_null(ex);
    assert_int_equal(ex->count, 3);
    assert_int_equal(ex->candidates[0].steps, 3); /* system, window, ram */
    assert_ptr_equal(ex->candidates[0].path[1].mr, &b->window);
    assert_true(ex->candidates[0].path[2].mr == &b->ram && ex->candidates[0].readonly);
    assert_int_equal(ex->candidates[0].path[2].offset, 0x800);
    assert_ptr_equal(ex->candidates[1].path[1].mr, &b->bus); /* added after ram */
    assert_true(ex->candidates[1].reason == HIDDEN_BY_PRIORITY && ex->candidates[1].parting == 1);
    assert_ptr_equal(ex->candidates[2].path[1].mr, &b->ram);
    assert_false(ex->candidates[2].readonly);
    memory_explanation_free(ex);

    ex = address_space_explain(as, 0x24);
    assert_int_equal(ex->count, 3);
    assert_ptr_equal(ex->candidates[0].path[2].mr, &b->part);
    assert_true(ex->candidates[1].reason == HIDDEN_BY_CHILD && ex->candidates[1].parting == 2);
    assert_true(ex->candidates[2].reason == HIDDEN_BY_LATER && ex->candidates[2].parting == 1);
    memory_explanation_free(ex);

    ex = address_space_explain(as, UINT64_MAX);
    assert_int_equal(ex->count, 0);
    memory_explanation_free(ex);
    memory_explanation_free(NULL);
    board_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printing),
        cmocka_unit_test(explaining),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
