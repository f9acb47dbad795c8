/* SPDX-License-Identifier: MIT */
/*
 * Traces as files: what is recorded of one small machine, who is asked, what is refused, and what a
 * full disk does.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/machine.h"

#define PAGE ((hwaddr)4096)

typedef struct Box {
    MemorySystem *ms;
    MemoryRegion ram, rom, device, view, all;
    AddressSpace cpu;
    MapTrace *trace;
    char path[64];
    unsigned asked;
    uint64_t rip;
} Box;

static bool where(void *opaque, uint64_t *value)
{
    Box *b = opaque;

    *value = b->rip;
    b->asked++;
    assert_true(memory_system_locked(b->ms));
    assert_int_equal(memory_region_set_enabled(&b->ram, false), -EBUSY);
    return b->rip != 0;
}

static bool not_io(const AddressSpace *as, void *opaque)
{
    (void)opaque;
    return strcmp(address_space_name(as), "I/O") != 0;
}

static void box_start(Box *b)
{
    *b = (Box){.ms = machine_start()};
    MemoryOwner *board = memory_system_owner(b->ms);
    make_ram(b->ms, &b->ram, "pc.ram", 16 * PAGE);
    OK(memory_region_init_rom(&b->rom, board, "pc.bios", 2 * PAGE, NULL));
    OK(memory_region_init_io(&b->device, board, NULL, NULL, "device", PAGE));
    make_container(b->ms, &b->view, "cpu-view", UINT64_MAX);
    make_alias(b->ms, &b->all, get_system_memory(b->ms), 0, UINT64_MAX);
    OK(memory_region_add_subregion(&b->view, 0, &b->all));
    map_at(b->ms, 0, &b->ram);
    OK(memory_region_add_subregion_overlap(get_system_memory(b->ms), 4 * PAGE, &b->rom, 1));
    snprintf(b->path, sizeof b->path, "/tmp/membus-tracefile-%ld", (long)getpid());
}

static void box_trace(Box *b)
{
    const MapTraceConfig config = {.wants = not_io, .where = where, .opaque = b};

    b->trace = map_trace_create(b->ms, b->path, &config, NULL);
    assert_non_null(b->trace);
}

static void box_end(Box *b)
{
    unmap(b->ms, &b->ram);
    unmap(b->ms, &b->rom);
    OK(memory_region_del_subregion(&b->view, &b->all));
    unlink(b->path);
    machine_end(b->ms);
}

static void put_device(Box *b, hwaddr addr)
{
    OK(memory_region_add_subregion(get_system_memory(b->ms), addr, &b->device));
}

/* Records 0 to 6. */
static void live(Box *b)
{
    b->rip = 0;
    box_trace(b);
    b->rip = 0xf0001;
    put_device(b, 32 * PAGE);                                  /* 1 */
    OK(address_space_init(&b->cpu, &b->view, "cpu-memory-0")); /* 2 */
    OK(memory_region_set_alias_offset(&b->all, PAGE));         /* 3: it leaves the view */
    memory_region_transaction_begin(b->ms);
    OK(memory_region_set_enabled(&b->rom, false));
    OK(memory_region_set_address(&b->device, 48 * PAGE));
    OK(memory_region_set_enabled(&b->rom, true));
    OK(memory_region_transaction_commit(b->ms));     /* 4 */
    OK(memory_region_set_alias_offset(&b->all, 0));  /* 5 */
    OK(memory_region_set_enabled(&b->device, true)); /* nothing changes */
    OK(address_space_destroy(&b->cpu));              /* 6 */
    OK(map_trace_stop(b->trace, NULL));
    OK(memory_region_set_enabled(&b->rom, false)); /* not recorded any more */
    OK(memory_region_set_enabled(&b->rom, true));
    unmap(b->ms, &b->device);
}

static size_t size_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return (size_t)st.st_size;
}

static MapTraceFile *open_file(const char *path)
{
    Error *err = NULL;
    MapTraceFile *file = map_trace_open(path, &err);

    if (!file) {
        fail_msg("%s", error_get_pretty(err));
    }
    return file;
}

static void a_machine_is_recorded(void **state)
{
    Box b;
    size_t count;
    (void)state;

    box_start(&b);
    live(&b);
    assert_int_equal(b.asked, 7);
    MapTraceFile *file = open_file(b.path);
    assert_int_equal(map_trace_count(file), 7);
    assert_false(map_trace_truncated(file));
    assert_null(map_trace_state(file, 7, NULL));
    assert_non_null(strstr(membus_last_error(), "no commit 7: the last one is 6"));

    MapTraceState *s = map_trace_state(file, 0, NULL);
    assert_int_equal(map_trace_state_spaces(s), 1);
    assert_false(map_trace_state_record(s).has_where);
    const MapTraceRange *r = map_trace_state_ranges(s, 0, &count);
    assert_int_equal(count, 3);
    assert_string_equal(r[1].name, "pc.bios");
    assert_string_equal(r[1].type, "rom");
    assert_int_equal(r[1].priority, 1);
    assert_int_equal(r[2].offset, 6 * PAGE);

    assert_int_equal(map_trace_state_next(s, NULL), 1);
    assert_int_equal(map_trace_state_record(s).where, 0xf0001);
    MapTraceChange change;
    OK(map_trace_state_change(s, 0, &change));
    assert_int_equal(change.nr_removed, 0);
    assert_int_equal(change.nr_added, 1);
    assert_string_equal(change.added[0].name, "device");

    /* The CPU sees the system's own view, then its own, then the system's again. */
    assert_int_equal(map_trace_state_next(s, NULL), 1);
    assert_true(map_trace_state_space(s, 1).made);
    assert_string_equal(map_trace_state_space(s, 1).root, "cpu-view");
    assert_int_equal(map_trace_state_space(s, 1).view, map_trace_state_space(s, 0).view);
    assert_int_equal(map_trace_state_next(s, NULL), 1);
    assert_int_not_equal(map_trace_state_space(s, 1).view, map_trace_state_space(s, 0).view);
    assert_false(map_trace_state_space(s, 0).changed);
    assert_int_equal(map_trace_state_next(s, NULL), 1);
    OK(map_trace_state_change(s, 0, &change));
    assert_int_equal(change.nr_removed, 1); /* the ROM is as it was */
    assert_int_equal(change.nr_added, 1);
    OK(map_trace_state_change(s, 1, &change));
    assert_int_equal(change.nr_added, 1);
    assert_int_equal(change.added[0].first, 47 * PAGE);
    assert_int_equal(map_trace_state_next(s, NULL), 1);
    assert_int_equal(map_trace_state_space(s, 1).view, map_trace_state_space(s, 0).view);
    assert_int_equal(map_trace_state_next(s, NULL), 1);
    assert_true(map_trace_state_space(s, 1).ended);
    assert_int_equal(map_trace_state_next(s, NULL), 0);
    assert_int_equal(map_trace_state_next(s, NULL), 0);
    assert_int_equal(map_trace_state_record(s).number, 6);
    map_trace_state_free(s);
    map_trace_close(file);
    box_end(&b);
}

/* What it showed before was the view as it was, not as others show it now. */
static void a_space_leaves_a_view_as_it_changes(void **state)
{
    MapTraceChange change;
    Box b;
    (void)state;

    box_start(&b);
    OK(address_space_init(&b.cpu, &b.view, "cpu-memory-0"));
    put_device(&b, 32 * PAGE);
    box_trace(&b);
    memory_region_transaction_begin(b.ms);
    OK(memory_region_set_enabled(&b.rom, false));
    OK(memory_region_set_address(&b.device, 48 * PAGE));
    OK(memory_region_set_alias_offset(&b.all, 16 * PAGE)); /* the device at 32 again, no RAM */
    OK(memory_region_transaction_commit(b.ms));
    OK(map_trace_stop(b.trace, NULL));
    MapTraceFile *file = open_file(b.path);
    MapTraceState *s = map_trace_state(file, 1, NULL);
    OK(map_trace_state_change(s, 0, &change));
    assert_int_equal(change.nr_removed, 4);
    assert_int_equal(change.nr_added, 2);
    OK(map_trace_state_change(s, 1, &change));
    assert_int_equal(change.nr_removed, 3); /* RAM, ROM, RAM: the device stays where it was */
    assert_string_equal(change.removed[1].name, "pc.bios");
    assert_int_equal(change.nr_added, 0);
    map_trace_state_free(s);
    map_trace_close(file);
    unmap(b.ms, &b.device);
    OK(memory_region_set_enabled(&b.rom, true));
    OK(address_space_destroy(&b.cpu));
    box_end(&b);
}

static void spaces_that_share_are_recorded_once(void **state)
{
    AddressSpace more[20];
    Box b;
    size_t alone, together;
    (void)state;

    for (unsigned i = 0; i < 2; i++) {
        box_start(&b);
        for (unsigned k = 0; i && k < 20; k++) {
            OK(address_space_init(&more[k], get_system_memory(b.ms), "a"));
        }
        box_trace(&b);
        put_device(&b, 32 * PAGE);
        unmap(b.ms, &b.device);
        OK(map_trace_stop(b.trace, NULL));
        *(i ? &together : &alone) = size_of(b.path);
        for (unsigned k = 0; i && k < 20; k++) {
            OK(address_space_destroy(&more[k]));
        }
        box_end(&b);
    }
    assert_true(together <= alone + 20 * 7 + 20); /* a SPACE and a SHOW for each */
}

static void what_is_not_allowed_is_refused(void **state)
{
    Error *err = NULL;
    Box b;
    (void)state;

    box_start(&b);
    assert_null(map_trace_create(b.ms, "/no/such/place", NULL, &err));
    assert_int_equal(error_get_errno(err), -ENOENT);
    assert_non_null(strstr(error_get_pretty(err), "/no/such/place"));
    error_free(err);
    memory_region_transaction_begin(b.ms);
    assert_null(map_trace_create(b.ms, b.path, NULL, &err));
    assert_int_equal(error_get_errno(err), -EBUSY);
    error_free(err);
    OK(memory_region_transaction_commit(b.ms));
    OK(map_trace_stop(NULL, NULL));
    box_trace(&b);
    MapTrace *second = map_trace_create(b.ms, "/dev/null", NULL, NULL);
    assert_non_null(second);
    put_device(&b, 32 * PAGE);
    OK(map_trace_stop(second, NULL));
    unmap(b.ms, &b.device);
    REFUSED(-EBUSY, memory_system_destroy(b.ms));
    OK(map_trace_stop(b.trace, NULL));
    MapTraceFile *file = open_file(b.path);
    assert_int_equal(map_trace_count(file), 3);
    map_trace_close(file);
    box_end(&b);
}

/* ---- a full disk ------------------------------------------------------------------------ */

static void a_full_disk_fails_no_commit(void **state)
{
    struct rlimit before, small = {.rlim_cur = 700};
    Error *err = NULL;
    Box b;
    (void)state;

    box_start(&b);
    assert_null(map_trace_create(b.ms, "/dev/full", NULL, &err));
    assert_int_equal(error_get_errno(err), -ENOSPC);
    error_free(err);

    box_trace(&b);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small); /* raises SIGXFSZ, which would end us */
    for (unsigned i = 0; i < 100; i++) {
        put_device(&b, (32 + i) * PAGE);
        unmap(b.ms, &b.device);
    }
    setrlimit(RLIMIT_FSIZE, &before);
    put_device(&b, 32 * PAGE); /* there is room again, but a gap before */
    unmap(b.ms, &b.device);
    assert_int_equal(map_trace_stop(b.trace, &err), -EFBIG);
    assert_non_null(strstr(error_get_pretty(err), b.path));
    error_free(err);
    MapTraceFile *file = open_file(b.path);
    assert_true(map_trace_truncated(file));
    assert_true(map_trace_count(file) > 5);
    map_trace_close(file);
    box_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_is_recorded),
        cmocka_unit_test(a_space_leaves_a_view_as_it_changes),
        cmocka_unit_test(spaces_that_share_are_recorded_once),
        cmocka_unit_test(what_is_not_allowed_is_refused),
        cmocka_unit_test(a_full_disk_fails_no_commit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
