/* SPDX-License-Identifier: MIT */
/* Faults that were found and mended; each case fails on the code as it was. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/machine.h"

/* ---- address spaces and commits ---------------------------------------------------------- */

static void a_space_destroyed_in_a_transaction_takes_its_damage_along(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion root, a;
    AddressSpace as;

    (void)state;
    make_container(ms, &root, "root", 0x10000);
    make_ram(ms, &a, "a", 0x1000);
    OK(address_space_init(&as, &root, "as"));
    memory_region_transaction_begin(ms);
    OK(memory_region_add_subregion(&root, 0, &a));
    OK(address_space_destroy(&as));
    usleep(50000); /* the old view goes meanwhile */
    OK(memory_region_transaction_commit(ms));
    machine_end(ms);
}

static void spaces_may_swap_their_roots(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion r1, r2, x, y;
    AddressSpace s1, s2;
    MemTxResult result;

    (void)state;
    make_container(ms, &r1, "r1", 0x1000);
    make_container(ms, &r2, "r2", 0x1000);
    make_ram(ms, &x, "x", 0x1000);
    make_ram(ms, &y, "y", 0x1000);
    *(uint8_t *)memory_region_get_ram_ptr(&x) = 'x';
    OK(memory_region_add_subregion(&r1, 0, &x));
    OK(memory_region_add_subregion(&r2, 0, &y));
    OK(address_space_init(&s1, &r1, "s1"));
    OK(address_space_init(&s2, &r2, "s2"));
    memory_region_transaction_begin(ms);
    OK(memory_region_del_subregion(&r1, &x));
    OK(memory_region_del_subregion(&r2, &y));
    OK(memory_region_add_subregion(&r1, 0, &y));
    OK(memory_region_add_subregion(&r2, 0, &x));
    OK(memory_region_transaction_commit(ms));
    memory_system_drain(ms);
    assert_int_equal(address_space_ldub(&s2, 0, ATTRS, &result), 'x');
    assert_int_equal(result, MEMTX_OK);
    assert_int_equal(address_space_ldub(&s1, 0, ATTRS, &result), 0);
    OK(address_space_destroy(&s1));
    OK(address_space_destroy(&s2));
    machine_end(ms);
}

static int stray_commit, finalize_result;
static MemoryRegion *spare;

static void meddle(MemoryListener *listener, MemoryRegionSection *section)
{
    (void)section;
    stray_commit = memory_region_transaction_commit(address_space_system(listener->address_space));
    finalize_result = memory_region_finalize(spare);
}

static void listeners_can_neither_commit_nor_finalize(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryListener listener = {.region_add = meddle};
    MemoryRegion a, b;

    (void)state;
    make_ram(ms, &a, "a", 0x1000);
    make_ram(ms, &b, "b", 0x1000);
    spare = &b;
    OK(memory_listener_register(&listener, memory_system_memory(ms)));
    map_at(ms, 0, &a);
    assert_int_equal(stray_commit, -EINVAL);
    assert_int_equal(finalize_result, -EBUSY);
    OK(memory_listener_unregister(&listener));
    map_at(ms, 0x1000, &b); /* transactions still work */
    assert_true(address_space_access_valid(memory_system_memory(ms), 0x1000, 8, true, ATTRS));
    machine_end(ms);
}

static char story[64];

static void first_gone(MemoryListener *l, MemoryRegionSection *s)
{
    (void)l, (void)s;
    strcat(story, "1");
}

static void second_gone(MemoryListener *l, MemoryRegionSection *s)
{
    (void)l, (void)s;
    strcat(story, "2");
}

static void a_dying_space_takes_back_by_descending_priority(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryListener first = {.region_del = first_gone, .priority = 1};
    MemoryListener second = {.region_del = second_gone, .priority = 2};
    MemoryRegion a;
    AddressSpace as;

    (void)state;
    make_ram(ms, &a, "a", 0x1000);
    OK(address_space_init(&as, &a, "as"));
    OK(memory_listener_register(&first, &as));
    OK(memory_listener_register(&second, &as));
    story[0] = 0;
    OK(address_space_destroy(&as));
    assert_string_equal(story, "21");
    machine_end(ms);
}

static void deep_trees_can_be_taken_apart(void **state)
{
    enum { HALF = MEMORY_REGION_MAX_DEPTH * 3 / 4 };
    static MemoryRegion upper[HALF], lower[HALF];
    MemorySystem *ms = machine_start();
    MemoryRegion leaf;

    (void)state;
    for (int i = 0; i < HALF; i++) {
        make_container(ms, &upper[i], "upper", 0x1000);
        make_container(ms, &lower[i], "lower", 0x1000);
    }
    make_ram(ms, &leaf, "leaf", 0x1000);
    for (int i = 1; i < HALF; i++) {
        OK(memory_region_add_subregion(&upper[i - 1], 0, &upper[i]));
        OK(memory_region_add_subregion(&lower[i - 1], 0, &lower[i]));
    }
    OK(memory_region_add_subregion(&lower[HALF - 1], 0, &leaf));
    if (memory_region_add_subregion(&upper[HALF - 1], 0, &lower[0]) == 0) {
        OK(memory_region_del_subregion(&lower[HALF - 1], &leaf));
        OK(memory_region_del_subregion(&upper[HALF - 1], &lower[0]));
    }
    machine_end(ms);
}

/* ---- lives --------------------------------------------------------------------------------- */

static void a_machine_with_borrowed_regions_is_not_destroyed(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegionCache cache;
    MemoryRegion ram;

    (void)state;
    make_ram(ms, &ram, "ram", 0x1000);
    map_at(ms, 0, &ram);
    MemoryRegionSection found = memory_region_find(get_system_memory(ms), 0, 1);
    REFUSED(-EBUSY, memory_system_destroy(ms));
    memory_region_unref(found.mr);
    assert_true(address_space_cache_init(&cache, memory_system_memory(ms), 0, 8, false) == 8);
    REFUSED(-EBUSY, memory_system_destroy(ms));
    address_space_cache_destroy(&cache);
    machine_end(ms);
}

static void a_region_ends_once(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion a, b;

    (void)state;
    make_ram(ms, &a, "a", 0x1000);
    make_ram(ms, &b, "b", 0x1000);
    OK(memory_region_finalize(&b));
    REFUSED(-EINVAL, memory_region_finalize(&b));
    map_at(ms, 0, &a);
    machine_end(ms);
}

/* Each owner's alias holds the one before: they must not die inside one another. */
static void long_chains_of_owners_die_in_turn(void **state)
{
    enum { OWNERS = 50000 };
    MemorySystem *ms = machine_start();
    MemoryOwner **owners = calloc(OWNERS, sizeof(*owners));
    MemoryRegion *regions = calloc(OWNERS, sizeof(*regions));

    (void)state;
    for (int i = 0; i < OWNERS; i++) {
        owners[i] = memory_owner_create(ms, "link", NULL, NULL);
        assert_non_null(owners[i]);
        if (i == 0) {
            OK(memory_region_init(&regions[i], owners[i], "link", 1));
        } else {
            OK(memory_region_init_alias(&regions[i], owners[i], "link", &regions[i - 1], 0, 1));
        }
    }
    for (int i = 0; i < OWNERS; i++) {
        memory_owner_unref(owners[i]); /* the last one lets all the others go */
    }
    machine_end(ms);
    free(regions);
    free(owners);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void memory_mapped_read_only_is_never_written(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    MemTxAttrs debug = {.debug = 1};
    int fd = memfd_create("firmware", MFD_CLOEXEC);
    uint64_t value = 0;
    MemoryRegion rom;

    (void)state;
    OK(ftruncate(fd, 0x1000));
    OK(memory_region_init_ram_from_fd(&rom, memory_system_owner(ms), "rom", 0x1000, RAM_READONLY,
                                      fd, 0, NULL));
    map_at(ms, 0, &rom);
    assert_int_equal(address_space_write_rom(as, 0, ATTRS, &value, 8), MEMTX_ERROR);
    assert_int_equal(address_space_write(as, 0, debug, &value, 8), MEMTX_ERROR);
    assert_int_equal(memory_region_dispatch_write(&rom, 0, 1, MO_32, debug), MEMTX_ERROR);
    REFUSED(-EINVAL, memory_region_set_readonly(&rom, false));
    assert_int_equal(address_space_read(as, 0, ATTRS, &value, 8), MEMTX_OK);
    machine_end(ms);
}

static void a_refused_file_is_left_as_it_was(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryOwner *board = memory_system_owner(ms);
    char dir[] = "/tmp/membus-test-XXXXXX", path[64];
    struct stat st;
    MemoryRegion ram;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/ram", dir);
    REFUSED(-EINVAL, memory_region_init_ram_from_file(&ram, board, "ram", 0x1000, 0, RAM_SHARED,
                                                      path, 5, NULL));
    assert_int_equal(stat(path, &st), -1);
    OK(memory_region_init_ram_from_file(&ram, board, "ram", 0x1000, 0, RAM_SHARED, path, 0, NULL));
    OK(memory_region_finalize(&ram));
    REFUSED(-EINVAL, memory_region_init_ram_from_file(&ram, board, "ram", 0x10000, 0, RAM_SHARED,
                                                      path, 5, NULL));
    OK(stat(path, &st));
    assert_int_equal(st.st_size, 0x1000);
    unlink(path);
    rmdir(dir);
    machine_end(ms);
}

/* ---- accesses -------------------------------------------------------------------------------- */

static uint64_t answer_ee(void *opaque, hwaddr addr, unsigned size)
{
    (void)addr, (void)size;
    ++*(unsigned *)opaque;
    return 0xeeeeeeee;
}

static void ignore(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)addr, (void)data, (void)size;
    ++*(unsigned *)opaque;
}

static const MemoryRegionOps counted = {.read = answer_ee, .write = ignore};

static void a_writable_cache_of_flash_reads_the_flash(void **state)
{
    MemorySystem *ms = machine_start();
    unsigned calls = 0;
    MemoryRegionCache cache;
    MemoryRegion flash;

    (void)state;
    OK(memory_region_init_rom_device(&flash, memory_system_owner(ms), &counted, &calls, "flash",
                                     0x1000, NULL));
    memset(memory_region_get_ram_ptr(&flash), 0x44, 0x1000);
    map_at(ms, 0, &flash);
    assert_true(address_space_cache_init(&cache, memory_system_memory(ms), 0, 16, true) == 16);
    assert_int_equal(address_space_ldl_le_cached(&cache, 0, ATTRS, NULL), 0x44444444);
    assert_int_equal(calls, 0);
    address_space_stl_le_cached(&cache, 0, 1, ATTRS, NULL);
    assert_int_equal(calls, 1);
    assert_int_equal(address_space_ldl_le_cached(&cache, 0, ATTRS, NULL), 0x44444444);
    address_space_cache_destroy(&cache);
    machine_end(ms);
}

typedef struct Reach {
    MemorySystem *ms;
    uint32_t ports, other;
    MemTxResult ports_result, reserved_result, other_result, self_result;
} Reach;

/* At 0: this device; 0x1000: another of the board's; 0x2000: a reservation. */
static uint64_t reach_out(void *opaque, hwaddr addr, unsigned size)
{
    Reach *reach = opaque;
    AddressSpace *memory = memory_system_memory(reach->ms);

    (void)addr, (void)size;
    reach->ports =
        address_space_ldl_le(memory_system_io(reach->ms), 0x80, ATTRS, &reach->ports_result);
    reach->other = address_space_ldl_le(memory, 0x1000, ATTRS, &reach->other_result);
    address_space_ldl_le(memory, 0x2000, ATTRS, &reach->reserved_result);
    address_space_ldl_le(memory, 0, ATTRS, &reach->self_result);
    return 0;
}

static void the_guard_knows_the_boards_devices_apart(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryOwner *board = memory_system_owner(ms);
    const MemoryRegionOps ops = {.read = reach_out};
    MemoryRegion device, other, reserved;
    Reach reach = {.ms = ms};
    unsigned calls = 0;

    (void)state;
    OK(memory_region_init_io(&device, board, &ops, &reach, "device", 0x1000));
    OK(memory_region_init_io(&other, board, &counted, &calls, "other", 0x1000));
    OK(memory_region_init_io(&reserved, board, NULL, NULL, "reserved", 0x1000));
    map_at(ms, 0, &device);
    map_at(ms, 0x1000, &other);
    map_at(ms, 0x2000, &reserved);
    address_space_ldl_le(memory_system_memory(ms), 0, ATTRS, NULL);
    assert_int_equal(reach.ports_result, MEMTX_OK);
    assert_int_equal(reach.ports, UINT32_MAX);
    assert_int_equal(reach.other_result, MEMTX_OK);
    assert_int_equal(reach.other, 0xeeeeeeee);
    assert_int_equal(reach.reserved_result, MEMTX_DECODE_ERROR);
    assert_int_equal(reach.self_result, MEMTX_ACCESS_ERROR);
    machine_end(ms);
}

static bool accepts_if_locked(void *opaque, hwaddr addr, unsigned size, bool is_write,
                              MemTxAttrs attrs)
{
    (void)addr, (void)size, (void)is_write, (void)attrs;
    return memory_system_locked(opaque);
}

static void asking_a_device_is_serialised_too(void **state)
{
    MemorySystem *ms = machine_start();
    const MemoryRegionOps ops = {.read = answer_ee, .valid = {.accepts = accepts_if_locked}};
    MemoryRegion device;

    (void)state;
    OK(memory_region_init_io(&device, memory_system_owner(ms), &ops, ms, "device", 0x1000));
    map_at(ms, 0, &device);
    assert_true(address_space_access_valid(memory_system_memory(ms), 0, 4, false, ATTRS));
    assert_true(memory_region_access_valid(&device, 0, 4, false, ATTRS));
    machine_end(ms);
}

static void what_is_valid_is_what_succeeds(void **state)
{
    MemorySystem *ms = machine_start();
    MemTxAttrs memory_only = {.memory = 1};
    MemoryRegion device, unbacked;
    unsigned calls = 0;
    uint64_t value;

    (void)state;
    OK(memory_region_init_io(&device, memory_system_owner(ms), &counted, &calls, "device", 0x1000));
    OK(memory_region_init_ram_unbacked(&unbacked, memory_system_owner(ms), "unbacked", 0x1000));
    assert_false(memory_region_access_valid(&device, 0, 4, false, memory_only));
    assert_int_equal(memory_region_dispatch_read(&device, 0, &value, MO_32, memory_only),
                     MEMTX_ACCESS_ERROR);
    assert_int_equal(memory_region_dispatch_write(&device, 0, 0, MO_32, memory_only),
                     MEMTX_ACCESS_ERROR);
    assert_int_equal(calls, 0);
    assert_false(memory_region_access_valid(&unbacked, 0, 4, false, ATTRS));
    assert_int_equal(memory_region_dispatch_read(&unbacked, 0, &value, MO_32, ATTRS), MEMTX_ERROR);
    machine_end(ms);
}

/* ---- map clients ----------------------------------------------------------------------------- */

static MemoryMapClient *victim;
static AddressSpace *clients_of;

static void free_the_other(MemoryMapClient *client)
{
    (void)client;
    address_space_unregister_map_client(clients_of, victim);
    free(victim);
}

static void must_not_run(MemoryMapClient *client)
{
    (void)client;
    fail();
}

static void a_map_client_may_unregister_another(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryMapClient client = {.notify = free_the_other};
    MemoryRegion device;
    unsigned calls = 0;
    hwaddr len = 64;

    (void)state;
    clients_of = memory_system_memory(ms);
    OK(memory_region_init_io(&device, memory_system_owner(ms), &counted, &calls, "device", 0x1000));
    map_at(ms, 0, &device);
    address_space_set_bounce_limit(clients_of, len);
    void *bounce = address_space_map(clients_of, 0, &len, true, ATTRS);
    assert_non_null(bounce);
    victim = calloc(1, sizeof(*victim));
    victim->notify = must_not_run;
    address_space_register_map_client(clients_of, victim);
    address_space_register_map_client(clients_of, &client); /* the newest is told first */
    OK(address_space_unmap(clients_of, bounce, len, true, 0));
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_space_destroyed_in_a_transaction_takes_its_damage_along),
        cmocka_unit_test(spaces_may_swap_their_roots),
        cmocka_unit_test(listeners_can_neither_commit_nor_finalize),
        cmocka_unit_test(a_dying_space_takes_back_by_descending_priority),
        cmocka_unit_test(deep_trees_can_be_taken_apart),
        cmocka_unit_test(a_machine_with_borrowed_regions_is_not_destroyed),
        cmocka_unit_test(a_region_ends_once),
        cmocka_unit_test(long_chains_of_owners_die_in_turn),
        cmocka_unit_test(memory_mapped_read_only_is_never_written),
        cmocka_unit_test(a_refused_file_is_left_as_it_was),
        cmocka_unit_test(a_writable_cache_of_flash_reads_the_flash),
        cmocka_unit_test(the_guard_knows_the_boards_devices_apart),
        cmocka_unit_test(asking_a_device_is_serialised_too),
        cmocka_unit_test(what_is_valid_is_what_succeeds),
        cmocka_unit_test(a_map_client_may_unregister_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
