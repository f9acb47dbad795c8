/* SPDX-License-Identifier: MIT */
/*
 * An allocator that fails at the k-th call, for each k.
 *
 * Each scenario runs on a machine made afresh: once with the first allocation failing, once with
 * the second, and so on until none fails any more; and all that again with every allocation from
 * the k-th on failing. Whenever the call is refused, nothing may have changed, there must be a
 * sentence, and the same call must succeed when there is memory again.
 */
#include "support/saboteur.h"
#include "support/scene.h"
#include "support/shown.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/machine.h"

static const MemoryRegionOps no_ops;

/* ---- Scenarios: one public call each; 0 or a negative errno ------------------------------ */

typedef int Scenario(Scene *s);

static MemoryOwner *board(Scene *s)
{
    return memory_system_owner(s->ms);
}

static int make_owner(Scene *s)
{
    s->owner = memory_owner_create(s->ms, "late", NULL, NULL);
    return s->owner ? 0 : -ENOMEM;
}

static int init_container(Scene *s)
{
    return memory_region_init(s->made, board(s), "made", 0x1000);
}

static int init_io(Scene *s)
{
    return memory_region_init_io(s->made, board(s), &no_ops, NULL, "made", 0x1000);
}

static int init_ram(Scene *s)
{
    return memory_region_init_ram(s->made, board(s), "made", 0x5000, NULL);
}

static int init_resizeable(Scene *s)
{
    return memory_region_init_resizeable_ram(s->made, board(s), "made", 0x1000, 0x9000, NULL, NULL);
}

static int init_ram_ptr(Scene *s)
{
    static uint8_t bytes[0x1000];

    return memory_region_init_ram_ptr(s->made, board(s), "made", sizeof(bytes), bytes);
}

static int init_ram_device(Scene *s)
{
    static uint8_t bytes[0x1000];

    return memory_region_init_ram_device_ptr(s->made, board(s), "made", sizeof(bytes), bytes);
}

static int init_unbacked(Scene *s)
{
    return memory_region_init_ram_unbacked(s->made, board(s), "made", 0x1000);
}

static int init_rom(Scene *s)
{
    return memory_region_init_rom(s->made, board(s), "made", 0x1000, NULL);
}

static int init_rom_device(Scene *s)
{
    return memory_region_init_rom_device(s->made, board(s), &no_ops, NULL, "made", 0x1000, NULL);
}

static int init_alias(Scene *s)
{
    return memory_region_init_alias(s->made, board(s), "made", &s->ram, 0x10, 0x1000);
}

static int init_from_fd(Scene *s)
{
    Error *err = NULL;
    int rc;

    if (s->fd < 0) {
        s->fd = memfd_create("membus-test", 0);
        assert_true(s->fd >= 0 && ftruncate(s->fd, 0x1000) == 0);
    }
    rc = memory_region_init_ram_from_fd(s->made, board(s), "made", 0x1000, RAM_SHARED, s->fd, 0,
                                        &err);
    if (rc) {
        assert_true(fcntl(s->fd, F_GETFD) >= 0); /* still ours */
        error_free(err);                         /* may be NULL: memory is short */
    } else {
        s->fd = -1;
    }
    return rc;
}

static int init_from_file(Scene *s)
{
    char path[] = "/tmp/membus-test-XXXXXX";
    int fd = mkstemp(path), rc;

    assert_true(fd >= 0);
    rc = memory_region_init_ram_from_file(s->made, board(s), "made", 0x3000, 0, RAM_SHARED, path, 0,
                                          NULL);
    close(fd);
    unlink(path);
    return rc;
}

static int add_region(Scene *s)
{
    return memory_region_add_subregion(get_system_memory(s->ms), 0x600000, &s->spare_ram);
}

static int add_on_top(Scene *s)
{
    return memory_region_add_subregion_overlap(get_system_memory(s->ms), 0x1234, &s->spare_ram, 9);
}

static int add_in_box(Scene *s)
{
    return memory_region_add_subregion(&s->box, 0x1001, &s->spare_ram);
}

static int add_out_of_sight(Scene *s)
{
    return memory_region_add_subregion(&s->spare, 0, &s->spare_ram);
}

static int del_region(Scene *s)
{
    return memory_region_del_subregion(get_system_memory(s->ms), &s->window);
}

static int del_device(Scene *s)
{
    return memory_region_del_subregion(get_system_memory(s->ms), &s->dev->mr);
}

static int disable_ram(Scene *s)
{
    return memory_region_set_enabled(&s->ram, false);
}

static int disable_root(Scene *s)
{
    return memory_region_set_enabled(&s->root, false);
}

static int move_box(Scene *s)
{
    return memory_region_set_address(&s->box, 0x7ff0);
}

static int align_bus(Scene *s)
{
    return memory_region_set_address(&s->bus, 0); /* dma shares the view of memory from now on */
}

static int resize_sub(Scene *s)
{
    return memory_region_set_size(&s->sub, 0x3000);
}

static int slide_window(Scene *s)
{
    return memory_region_set_alias_offset(&s->window, 0x1800);
}

static int set_readonly(Scene *s)
{
    return memory_region_set_readonly(&s->ram, true);
}

static int set_nonvolatile(Scene *s)
{
    return memory_region_set_nonvolatile(&s->box, true);
}

static int set_unmergeable(Scene *s)
{
    return memory_region_set_unmergeable(&s->ram, true);
}

static int set_log(Scene *s)
{
    return memory_region_set_log(&s->ram, true, DIRTY_MEMORY_VGA);
}

static int grow_ram(Scene *s)
{
    return memory_region_ram_resize(&s->grow, 0x3000, NULL);
}

static int add_eventfd(Scene *s)
{
    return memory_region_add_eventfd(&s->sub, 8, 4, true, 1, &s->notifier);
}

static int add_coalescing(Scene *s)
{
    return memory_region_add_coalescing(&s->sub, 8, 0x10);
}

static int set_coalescing(Scene *s)
{
    return memory_region_set_coalescing(&s->sub);
}

static int several_edits(Scene *s)
{
    int rc;

    if (!s->in_transaction) {
        memory_region_transaction_begin(s->ms);
        s->in_transaction = true;
        rc = memory_region_set_address(&s->box, 0x3ff0);
        rc = rc ? rc : memory_region_set_enabled(&s->window, false);
        rc =
            rc ? rc : memory_region_add_subregion(get_system_memory(s->ms), 0x40000, &s->spare_ram);
        if (rc) { /* one was refused: end with what went through */
            unsigned long paused = saboteur_pause();

            OK(memory_region_set_address(&s->box, 0x20000));
            OK(memory_region_set_enabled(&s->window, true));
            OK(memory_region_transaction_commit(s->ms));
            saboteur_resume(paused);
            s->in_transaction = false;
            return rc;
        }
    }
    rc = memory_region_transaction_commit(s->ms);
    if (rc) {
        assert_true(memory_system_locked(s->ms)); /* still open */
    } else {
        s->in_transaction = false;
    }
    return rc;
}

static int open_space(Scene *s)
{
    return address_space_init(s->extra, &s->box, "extra");
}

static int keep_history(Scene *s)
{
    return address_space_set_history(s->memory, 16);
}

static int render(Scene *s)
{
    FlatView *view = address_space_render(s->memory);

    flatview_unref(view);
    return view ? 0 : -ENOMEM;
}

static int listen(Scene *s)
{
    return memory_listener_register(&s->listener, s->memory);
}

static int bounce(Scene *s)
{
    s->mapped_len = 16;
    s->mapped = address_space_map(s->memory, 0x5000, &s->mapped_len, false, ATTRS);
    assert_true(s->mapped || !s->mapped_len);
    return s->mapped ? 0 : -ENOMEM;
}

static int map_ram(Scene *s)
{
    s->mapped_len = 16;
    s->mapped = address_space_map(s->memory, 0x100, &s->mapped_len, false, ATTRS);
    return s->mapped ? 0 : -ENOMEM;
}

static int open_cache(Scene *s)
{
    int64_t rc = address_space_cache_init(&s->cache, s->memory, 0x100, 0x100, true);

    return rc < 0 ? (int)rc : 0;
}

static int access_all(Scene *s)
{
    uint8_t bytes[0x100];
    MemTxResult result = address_space_read(s->memory, 0x5000, ATTRS, bytes, 0x40);

    result |= address_space_write(s->memory, 0x3f80, ATTRS, bytes, 0x80);
    result |= address_space_set(s->memory, 0, 0, 0x2000, ATTRS);
    return result ? -EIO : 0;
}

static int find(Scene *s)
{
    MemoryRegionSection section = memory_region_find(&s->box, 0, 0x1000);

    if (section.mr) {
        assert_ptr_equal(section.mr, &s->sub);
        memory_region_unref(section.mr);
    }
    return section.mr ? 0 : -ENOMEM;
}

static int list_shareable(Scene *s)
{
    MemoryShareList *list = memory_share_list_create(s->memory, NULL);
    bool made = list != NULL;

    assert_true(!list || list->nr_left_out > 0);
    memory_share_list_free(list);
    return made ? 0 : -ENOMEM;
}

static int finalize(Scene *s)
{
    return memory_region_finalize(&s->spare);
}

static const struct {
    const char *name;
    Scenario *run;
} scenarios[] = {
    {"memory_owner_create", make_owner},
    {"memory_region_init", init_container},
    {"memory_region_init_io", init_io},
    {"memory_region_init_ram", init_ram},
    {"memory_region_init_resizeable_ram", init_resizeable},
    {"memory_region_init_ram_ptr", init_ram_ptr},
    {"memory_region_init_ram_device_ptr", init_ram_device},
    {"memory_region_init_ram_unbacked", init_unbacked},
    {"memory_region_init_rom", init_rom},
    {"memory_region_init_rom_device", init_rom_device},
    {"memory_region_init_alias", init_alias},
    {"memory_region_init_ram_from_fd", init_from_fd},
    {"memory_region_init_ram_from_file", init_from_file},
    {"add a region", add_region},
    {"add a region on top of others", add_on_top},
    {"add a region in a box", add_in_box},
    {"add a region out of sight", add_out_of_sight},
    {"del an alias", del_region},
    {"del a device", del_device},
    {"disable", disable_ram},
    {"disable a root", disable_root},
    {"move", move_box},
    {"make a root stand for another", align_bus},
    {"resize", resize_sub},
    {"slide an alias", slide_window},
    {"set_readonly", set_readonly},
    {"set_nonvolatile", set_nonvolatile},
    {"set_unmergeable", set_unmergeable},
    {"set_log", set_log},
    {"ram_resize", grow_ram},
    {"add_eventfd", add_eventfd},
    {"add_coalescing", add_coalescing},
    {"set_coalescing", set_coalescing},
    {"a transaction", several_edits},
    {"address_space_init", open_space},
    {"address_space_set_history", keep_history},
    {"address_space_render", render},
    {"memory_listener_register", listen},
    {"map a device", bounce},
    {"map RAM", map_ram},
    {"address_space_cache_init", open_cache},
    {"accesses", access_all},
    {"memory_region_find", find},
    {"memory_share_list_create", list_shareable},
    {"memory_region_finalize", finalize},
};

/*
 * ---- The rule --------------------------------------------------------------------------------
 */

/* The view shows @before, and a fresh render agrees (outside transactions). */
static void assert_shows(Scene *s, AddressSpace *as, const Shown *before, const char *what)
{
    Shown now = {0};

    assert_true(shown_take_space(&now, as));
    if (before && !shown_equal(&now, before)) {
        shown_print(stderr, "before", before);
        shown_print(stderr, "after", &now);
        fail_msg("%s: the view of %s changed though the call was refused", what,
                 address_space_name(as));
    }
    if (!s->in_transaction) {
        FlatView *view = address_space_get_flatview(as), *fresh = address_space_render(as);

        if (!fresh || !flatview_equal(view, fresh)) {
            fail_msg("%s: the view of %s is not what the tree renders to", what,
                     address_space_name(as));
        }
        flatview_unref(view);
        flatview_unref(fresh);
    }
    shown_free(&now);
}

/* Run one scenario with allocation @k failing; returns whether that many were made. */
static bool run_once(const char *name, Scenario *run, unsigned long k, bool for_good)
{
    Scene *s = calloc(1, sizeof(*s));
    Shown memory = {0}, dma = {0};
    unsigned long failed;
    int rc;

    scene_start(s);
    assert_true(shown_take_space(&memory, s->memory) && shown_take_space(&dma, &s->dma));
    saboteur_arm(k, for_good);
    rc = run(s);
    failed = saboteur_disarm();
    if (rc && !failed) {
        fail_msg("%s: %d without a failing allocation: %s", name, rc, membus_last_error());
    }
    if (rc) {
        if (rc != -ENOMEM || !*membus_last_error()) {
            fail_msg("%s: allocation %lu failed: %d '%s'", name, k, rc, membus_last_error());
        }
        assert_shows(s, s->memory, &memory, name);
        assert_shows(s, &s->dma, &dma, name);
        rc = run(s);
        if (rc) {
            fail_msg("%s: after allocation %lu failed the call does not work again: %d %s", name, k,
                     rc, membus_last_error());
        }
    }
    assert_shows(s, s->memory, NULL, name);
    assert_shows(s, &s->dma, NULL, name);
    shown_free(&memory);
    shown_free(&dma);
    scene_end(s);
    free(s);
    return failed;
}

static void every_call_survives_every_failure(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        for (int for_good = 0; for_good < 2; for_good++) {
            unsigned long k = 1;

            while (run_once(scenarios[i].name, scenarios[i].run, k, for_good)) {
                assert_true(++k < 10000);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_survives_every_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
