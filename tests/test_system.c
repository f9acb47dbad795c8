/* SPDX-License-Identifier: MIT */
/* Machines beside each other, views that are shared, and the RAM behind regions. */
#include "support/shown.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/machine.h"

/* ---- Machines ------------------------------------------------------------------------ */

/* The first machine of the process starts a thread; without one there is none, and no abort. */
static void no_machine_without_threads(void **state)
{
    struct rlimit limit;
    unsigned long pages;

    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        FILE *file = fopen("/proc/self/statm", "r");
        if (!file || fscanf(file, "%lu", &pages) != 1 || getrlimit(RLIMIT_AS, &limit)) {
            _exit(2);
        }
        limit.rlim_cur = pages * 4096 + (1U << 20); /* no room for a stack */
        if (setrlimit(RLIMIT_AS, &limit)) {
            _exit(3);
        }
        MemorySystem *ms = memory_system_create();
        _exit(!ms && strstr(membus_last_error(), "thread cannot be started") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_machine_starts_with_its_roots(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion *system = get_system_memory(ms), *io = get_system_io(ms);

    (void)state;
    assert_string_equal(memory_region_name(system), "system");
    assert_string_equal(memory_region_name(io), "io");
    assert_true(memory_region_size(system) == UINT64_MAX);
    assert_true(memory_region_size(io) == 65536);
    assert_false(memory_region_is_terminating(system));
    assert_true(memory_region_is_terminating(io));
    assert_string_equal(address_space_name(memory_system_memory(ms)), "memory");
    assert_string_equal(address_space_name(memory_system_io(ms)), "I/O");
    assert_ptr_equal(address_space_root(memory_system_memory(ms)), system);
    assert_ptr_equal(address_space_root(memory_system_io(ms)), io);
    assert_ptr_equal(address_space_system(memory_system_io(ms)), ms);
    REFUSED(-EINVAL, memory_system_set_target_endian(ms, DEVICE_NATIVE_ENDIAN));
    OK(memory_system_set_target_endian(ms, DEVICE_BIG_ENDIAN));
    machine_end(ms);
}

static void the_byte_order_is_settled_before_devices(void **state)
{
    MemorySystem *ms = machine_start();
    static const MemoryRegionOps ops;
    MemoryRegion mr;

    (void)state;
    OK(memory_region_init_io(&mr, memory_system_owner(ms), &ops, NULL, "io", 16));
    REFUSED(-EBUSY, memory_system_set_target_endian(ms, DEVICE_BIG_ENDIAN));
    machine_end(ms);
}

static void machines_do_not_meet(void **state)
{
    MemorySystem *one = machine_start(), *two = machine_start();
    MemoryRegion ram_one, ram_two;
    MemTxResult result = 0;
    FlatView *a, *b;

    (void)state;
    make_ram(one, &ram_one, "ram", 0x1000);
    make_ram(two, &ram_two, "ram", 0x1000);
    map_at(one, 0, &ram_one);
    map_at(two, 0x1000, &ram_two);
    memory_system_lock(one);
    assert_false(memory_system_locked(two));
    address_space_stb(memory_system_memory(one), 0, 0x11, ATTRS, &result);
    assert_int_equal(result, MEMTX_OK);
    address_space_stb(memory_system_memory(two), 0, 0x22, ATTRS, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    memory_region_transaction_begin(one);
    unmap(two, &ram_two); /* not held up by the other's transaction */
    address_space_ldub(memory_system_memory(two), 0x1000, ATTRS, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    OK(memory_region_transaction_commit(one));
    memory_system_unlock(one);
    a = address_space_get_flatview(memory_system_memory(one));
    b = address_space_get_flatview(memory_system_memory(two));
    assert_true(flatview_id(a) != flatview_id(b));
    flatview_unref(a);
    flatview_unref(b);
    machine_end(two);
    assert_int_equal(address_space_ldub(memory_system_memory(one), 0, ATTRS, &result), 0x11);
    machine_end(one);
}

static bool count_space(AddressSpace *as, void *opaque)
{
    const char ***next = opaque;

    assert_string_equal(address_space_name(as), **next);
    ++*next;
    return false;
}

static bool stop_at_once(AddressSpace *as, void *opaque)
{
    *(AddressSpace **)opaque = as;
    return true;
}

static void spaces_are_visited_oldest_first(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace a = {0}, b = {0}, *first = NULL;
    const char *names[] = {"memory", "I/O", "same", "same", NULL}, **next = names;

    (void)state;
    OK(address_space_init(&a, get_system_memory(ms), "same"));
    OK(address_space_init(&b, get_system_memory(ms), "same"));
    assert_false(memory_system_for_each_address_space(ms, count_space, &next));
    assert_null(*next);
    assert_true(memory_system_for_each_address_space(ms, stop_at_once, &first));
    assert_ptr_equal(first, memory_system_memory(ms));
    OK(address_space_destroy(&a));
    OK(address_space_destroy(&b));
    assert_true(address_space_init(&a, NULL, "x") < 0);
    machine_end(ms);
}

static void a_space_made_in_a_transaction_shows_at_its_commit(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegionSection section;
    AddressSpace as = {0};
    MemoryRegion ram;
    FlatView *view;

    (void)state;
    make_ram(ms, &ram, "ram", 0x1000);
    memory_region_transaction_begin(ms);
    OK(address_space_init(&as, get_system_memory(ms), "dma"));
    OK(memory_region_add_subregion(get_system_memory(ms), 0, &ram));
    view = address_space_get_flatview(&as);
    assert_false(flatview_next(view, 0, &section));
    flatview_unref(view);
    OK(memory_region_transaction_commit(ms));
    view = address_space_get_flatview(&as);
    assert_true(flatview_lookup(view, 0, &section));
    assert_ptr_equal(section.mr, &ram);
    flatview_unref(view);
    OK(address_space_destroy(&as));
    OK(memory_region_del_subregion(get_system_memory(ms), &ram));
    machine_end(ms);
}

/* ---- Views that are shared --------------------------------------------------------------- */

static bool share(AddressSpace *a, AddressSpace *b)
{
    FlatView *x = address_space_get_flatview(a), *y = address_space_get_flatview(b);
    bool same = x == y;

    flatview_unref(x);
    flatview_unref(y);
    return same;
}

static void roots_that_stand_for_one_share(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *memory = memory_system_memory(ms);
    AddressSpace same = {0}, through = {0}, boxed = {0}, part = {0};
    MemoryRegion ram, whole, half, box, inner;

    (void)state;
    make_ram(ms, &ram, "ram", 0x1000);
    map_at(ms, 0x1000, &ram);
    make_alias(ms, &whole, get_system_memory(ms), 0, UINT64_MAX);
    make_alias(ms, &half, get_system_memory(ms), 0, 0x10000);
    make_container(ms, &box, "box", UINT64_MAX);
    make_alias(ms, &inner, get_system_memory(ms), 0, UINT64_MAX);
    OK(memory_region_add_subregion(&box, 0, &inner));
    OK(address_space_init(&same, get_system_memory(ms), "same"));
    OK(address_space_init(&through, &whole, "through"));
    OK(address_space_init(&boxed, &box, "boxed"));
    OK(address_space_init(&part, &half, "part"));
    assert_true(share(memory, &same));
    assert_true(share(memory, &through));
    assert_true(share(memory, &boxed));
    assert_false(share(memory, &part));
    /* flags of what is skipped must not get lost */
    OK(memory_region_set_readonly(&whole, true));
    assert_false(share(memory, &through));
    OK(memory_region_set_readonly(&whole, false));
    assert_true(share(memory, &through));
    OK(memory_region_set_nonvolatile(&box, true));
    assert_false(share(memory, &boxed));
    OK(memory_region_set_nonvolatile(&box, false));
    assert_true(share(memory, &boxed));
    /* the bus master switch: off is the empty view, which is shared as well */
    OK(memory_region_set_enabled(&inner, false));
    assert_false(share(memory, &boxed));
    OK(memory_region_set_enabled(&whole, false));
    assert_true(share(&through, &boxed));
    {
        FlatView *empty = address_space_get_flatview(&boxed);
        MemoryRegionSection s;

        assert_null(flatview_root(empty));
        assert_false(flatview_next(empty, 0, &s));
        assert_false(flatview_lookup(empty, 0, &s));
        flatview_unref(empty);
    }
    OK(memory_region_set_enabled(&inner, true));
    assert_true(share(memory, &boxed));
    OK(memory_region_set_alias_offset(&inner, 0x1000));
    assert_false(share(memory, &boxed));
    assert_int_equal(address_space_write(&boxed, 0, ATTRS, "x", 1), MEMTX_OK);
    assert_int_equal(*(char *)memory_region_get_ram_ptr(&ram), 'x');
    OK(address_space_destroy(&same));
    OK(address_space_destroy(&through));
    OK(address_space_destroy(&boxed));
    OK(address_space_destroy(&part));
    machine_end(ms);
}

static void later_views_have_higher_numbers(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion ram;
    uint64_t last = 0;

    (void)state;
    make_ram(ms, &ram, "ram", 0x1000);
    map_at(ms, 0, &ram);
    for (hwaddr addr = 0x1000; addr < 0x20000; addr += 0x1000) {
        FlatView *view;

        OK(memory_region_set_address(&ram, addr));
        view = address_space_get_flatview(as);
        assert_true(flatview_id(view) > last);
        last = flatview_id(view);
        flatview_unref(view);
    }
    machine_end(ms);
}

/*
 * ---- RAM behind regions --------------------------------------------------------------------
 */

typedef struct Blocks {
    const char *name[16];
    hwaddr length[16];
    unsigned count, stop_at;
} Blocks;

static int note_block(RAMBlock *block, void *opaque)
{
    Blocks *b = opaque;

    b->name[b->count] = qemu_ram_get_idstr(block);
    b->length[b->count++] = qemu_ram_get_used_length(block);
    return b->count == b->stop_at ? 7 : 0;
}

static void blocks_are_listed_largest_first(void **state)
{
    MemorySystem *ms = machine_start();
    static const hwaddr sizes[] = {0x3000, 0x1000, 0x9000, 0x5000, 0x2000};
    MemoryRegion ram[5];
    Blocks b = {0};
    ram_addr_t offset = 0;
    uint8_t stranger;

    (void)state;
    for (int i = 0; i < 5; i++) {
        make_ram(ms, &ram[i], "block", sizes[i]);
    }
    assert_int_equal(qemu_ram_foreach_block(ms, note_block, &b), 0);
    assert_int_equal(b.count, 5);
    for (unsigned i = 1; i < b.count; i++) {
        assert_true(b.length[i - 1] >= b.length[i]);
    }
    b = (Blocks){.stop_at = 2};
    assert_int_equal(qemu_ram_foreach_block(ms, note_block, &b), 7);
    for (int i = 0; i < 5; i++) {
        RAMBlock *block = memory_region_get_ram_block(&ram[i]);
        uint8_t *host = memory_region_get_ram_ptr(&ram[i]);

        assert_ptr_equal(qemu_ram_get_host_addr(block), host);
        assert_ptr_equal(qemu_ram_get_region(block), &ram[i]);
        assert_true(qemu_ram_get_offset(block) == memory_region_get_ram_addr(&ram[i]));
        assert_ptr_equal(qemu_ram_block_from_host(ms, host, &offset), block);
        assert_true(offset == 0);
        assert_ptr_equal(qemu_ram_block_from_host(ms, host + sizes[i] - 1, &offset), block);
        assert_true(offset == sizes[i] - 1);
        assert_ptr_equal(memory_region_from_host(ms, host + 5, &offset), &ram[i]);
        memory_region_unref(&ram[i]);
        for (int k = 0; k < i; k++) { /* places in the RAM space do not overlap */
            ram_addr_t x = memory_region_get_ram_addr(&ram[i]),
                       y = memory_region_get_ram_addr(&ram[k]);

            assert_true(x + sizes[i] <= y || y + sizes[k] <= x);
        }
    }
    assert_null(qemu_ram_block_from_host(ms, &stranger, &offset));
    assert_null(memory_region_from_host(ms, &stranger, &offset));
    OK(memory_region_finalize(&ram[2]));
    memory_system_drain(ms);
    b = (Blocks){0};
    qemu_ram_foreach_block(ms, note_block, &b);
    assert_int_equal(b.count, 4);
    assert_true(b.length[0] == 0x5000);
    machine_end(ms);
}

static int resized_to;
static void on_resized(const char *idstr, hwaddr length, void *host)
{
    assert_non_null(strstr(idstr, "grow"));
    assert_non_null(host);
    resized_to = (int)length;
}

static void ram_grows_and_shrinks(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion grow;
    RAMBlock *block;
    MemTxResult result = 0;

    (void)state;
    OK(memory_region_init_resizeable_ram(&grow, memory_system_owner(ms), "grow", 0x1000, 0x8000,
                                         on_resized, NULL));
    map_at(ms, 0, &grow);
    block = memory_region_get_ram_block(&grow);
    assert_true(qemu_ram_is_resizeable(block));
    assert_true(qemu_ram_get_used_length(block) == 0x1000);
    assert_true(qemu_ram_get_max_length(block) == 0x8000);
    address_space_stb(as, 0x1000, 1, ATTRS, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    OK(memory_region_ram_resize(&grow, 0x2345, NULL));
    assert_int_equal(resized_to, 0x3000);
    assert_true(memory_region_size(&grow) == 0x3000);
    address_space_stb(as, 0x2fff, 0x44, ATTRS, &result);
    assert_int_equal(result, MEMTX_OK);
    OK(memory_region_ram_resize(&grow, 0x1000, NULL));
    address_space_ldub(as, 0x2fff, ATTRS, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    machine_end(ms);
}

static int temporary_file(char *path)
{
    strcpy(path, "/tmp/membus-test-XXXXXX");
    return mkstemp(path);
}

static void files_are_mapped(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion shared, private, readonly, bad;
    char path[64], bytes[8] = "";
    int fd = temporary_file(path), copy;
    Error *err = NULL;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 0x3000), 0);
    assert_int_equal(pwrite(fd, "page one", 8, 0x1000), 8);
    copy = dup(fd);
    OK(memory_region_init_ram_from_fd(&shared, memory_system_owner(ms), "shared", 0x2000,
                                      RAM_SHARED, copy, 0x1000, NULL));
    map_at(ms, 0, &shared);
    assert_int_equal(memory_region_get_fd(&shared), copy);
    assert_true(qemu_ram_is_shared(memory_region_get_ram_block(&shared)));
    assert_true(qemu_ram_get_fd_offset(memory_region_get_ram_block(&shared)) == 0x1000);
    assert_int_equal(address_space_read(as, 0, ATTRS, bytes, 8), MEMTX_OK);
    assert_memory_equal(bytes, "page one", 8);
    assert_int_equal(address_space_write(as, 0x1ff8, ATTRS, "the end.", 8), MEMTX_OK);
    assert_int_equal(pread(fd, bytes, 8, 0x2ff8), 8);
    assert_memory_equal(bytes, "the end.", 8);

    /* private: writes stay here */
    OK(memory_region_init_ram_from_file(&private, memory_system_owner(ms), "private", 0x1000, 0, 0,
                                        path, 0x1000, NULL));
    map_at(ms, 0x10000, &private);
    assert_int_equal(address_space_write(as, 0x10000, ATTRS, "PRIVATE!", 8), MEMTX_OK);
    assert_int_equal(pread(fd, bytes, 8, 0x1000), 8);
    assert_memory_equal(bytes, "page one", 8);

    OK(memory_region_init_ram_from_file(&readonly, memory_system_owner(ms), "readonly", 0x1000, 0,
                                        RAM_SHARED | RAM_READONLY, path, 0x1000, NULL));
    OK(memory_region_set_readonly(&readonly, true));
    map_at(ms, 0x20000, &readonly);
    assert_int_equal(address_space_read(as, 0x20000, ATTRS, bytes, 8), MEMTX_OK);
    assert_memory_equal(bytes, "page one", 8);
    assert_int_not_equal(address_space_write(as, 0x20000, ATTRS, "x", 1), MEMTX_OK);

    assert_int_equal(memory_region_init_ram_from_fd(&bad, memory_system_owner(ms), "bad", 0x1000, 0,
                                                    fd, 0x123, &err),
                     -EINVAL);
    assert_non_null(err);
    error_free(err);
    REFUSED(-EINVAL, memory_region_init_ram_from_fd(&bad, memory_system_owner(ms), "bad", 0x10000,
                                                    0, fd, 0, NULL));
    assert_int_equal(fcntl(fd, F_GETFD) < 0, 0); /* a refused fd is still ours */
    REFUSED(-ENOENT, memory_region_init_ram_from_file(&bad, memory_system_owner(ms), "bad", 0x1000,
                                                      0, 0, "/nonexistent/directory/x", 0, NULL));
    machine_end(ms);
    assert_int_equal(fcntl(copy, F_GETFD), -1); /* closed with its region */
    close(fd);
    unlink(path);
}

static void files_grow_as_needed(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryRegion mr;
    char path[64];
    int fd = temporary_file(path);

    (void)state;
    assert_true(fd >= 0);
    OK(memory_region_init_ram_from_file(&mr, memory_system_owner(ms), "grown", 0x5000, 0x200000,
                                        RAM_SHARED, path, 0, NULL));
    assert_int_equal((uintptr_t)memory_region_get_ram_ptr(&mr) & 0x1fffff, 0);
    assert_true(lseek(fd, 0, SEEK_END) >= 0x5000);
    machine_end(ms);
    close(fd);
    unlink(path);
}

static void memory_of_the_program_is_used_in_place(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    static uint8_t bytes[100];
    MemoryRegion mr;
    MemTxResult result = 0;

    (void)state;
    OK(memory_region_init_ram_ptr(&mr, memory_system_owner(ms), "mine", sizeof(bytes), bytes));
    map_at(ms, 0x33, &mr);
    assert_ptr_equal(memory_region_get_ram_ptr(&mr), bytes);
    address_space_stl_be(as, 0x33 + 96, 0x01020304, ATTRS, &result);
    assert_int_equal(result, MEMTX_OK);
    assert_memory_equal(bytes + 96, "\1\2\3\4", 4);
    address_space_stl_be(as, 0x33 + 97, 0, ATTRS, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_machine_without_threads),
        cmocka_unit_test(a_machine_starts_with_its_roots),
        cmocka_unit_test(the_byte_order_is_settled_before_devices),
        cmocka_unit_test(machines_do_not_meet),
        cmocka_unit_test(spaces_are_visited_oldest_first),
        cmocka_unit_test(a_space_made_in_a_transaction_shows_at_its_commit),
        cmocka_unit_test(roots_that_stand_for_one_share),
        cmocka_unit_test(later_views_have_higher_numbers),
        cmocka_unit_test(blocks_are_listed_largest_first),
        cmocka_unit_test(ram_grows_and_shrinks),
        cmocka_unit_test(files_are_mapped),
        cmocka_unit_test(files_grow_as_needed),
        cmocka_unit_test(memory_of_the_program_is_used_in_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
