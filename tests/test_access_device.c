/* SPDX-License-Identifier: MIT */
/* What device callbacks may rely on and may do: the machine lock, the guard, editing the map. */
#include "support/device.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

static Device *add_device(MemorySystem *ms, hwaddr addr)
{
    Device *d = device_new(ms, "dev", true);

    OK(device_init(d, 16, DEVICE_LITTLE_ENDIAN));
    map_at(ms, addr, &d->mr);
    return d;
}

static void remove_device(MemorySystem *ms, Device *d)
{
    if (memory_region_is_mapped(&d->mr)) {
        unmap(ms, &d->mr);
    }
    device_drop(d);
}

static void callbacks_hold_the_lock_unless_lockless(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *locked = add_device(ms, 0);
    Device *free_running = device_new(ms, "lockless", true);

    (void)state;
    OK(device_init(free_running, 16, DEVICE_LITTLE_ENDIAN));
    OK(memory_region_enable_lockless_io(&free_running->mr));
    map_at(ms, 0x100, &free_running->mr);
    assert_false(memory_system_locked(ms));
    address_space_ldl_le(as, 0, ATTRS, NULL);
    address_space_stl_le(as, 0, 1, ATTRS, NULL);
    address_space_ldl_le(as, 0x100, ATTRS, NULL);
    address_space_stl_le(as, 0x100, 1, ATTRS, NULL);
    assert_true(locked->call[0].locked && locked->call[1].locked);
    assert_false(free_running->call[0].locked || free_running->call[1].locked);
    assert_false(memory_system_locked(ms));
    memory_system_lock(ms); /* who holds it already is not stopped by it */
    address_space_ldl_le(as, 0, ATTRS, NULL);
    assert_true(memory_system_locked(ms));
    memory_system_unlock(ms);
    assert_int_equal(locked->calls, 3);
    remove_device(ms, locked);
    remove_device(ms, free_running);
    machine_end(ms);
}

static void mapped_regions_keep_their_ways(void **state)
{
    MemorySystem *ms = machine_start();
    Device *d = add_device(ms, 0);

    (void)state;
    assert_true(memory_region_enable_lockless_io(&d->mr) < 0);
    assert_true(*membus_last_error());
    assert_true(memory_region_disable_reentrancy_guard(&d->mr) < 0);
    remove_device(ms, d);
    machine_end(ms);
}

/* As port 0xcf9 is in the middle of 0xcf8 to 0xcfb, on a PC. */
static void a_device_in_the_middle_of_another(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *outer = add_device(ms, 0x100), *inner = device_new(ms, "inner", true);
    uint8_t bytes[16], wanted[16];

    (void)state;
    inner->ops.valid.max_access_size = 1;
    OK(device_init(inner, 1, DEVICE_LITTLE_ENDIAN));
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), 0x105, &inner->mr, 1));
    device_reset(outer);
    device_reset(inner);
    /* It begins in the outer one: one access, none to the inner. */
    address_space_stl_le(as, 0x104, 0x87654321, ATTRS, NULL);
    assert_int_equal(address_space_ldl_le(as, 0x104, ATTRS, NULL), 0x87654321);
    assert_true(address_space_access_valid(as, 0x104, 4, true, ATTRS));
    address_space_stw_le(as, 0x104, 0xbbaa, ATTRS, NULL);
    assert_int_equal(outer->calls, 3);
    assert_true(outer->call[0].size == 4 && outer->call[1].size == 4 && outer->call[2].size == 2);
    assert_int_equal(inner->calls, 0);
    /* It begins in the inner one. */
    address_space_stb(as, 0x105, 0xcc, ATTRS, NULL);
    assert_true(outer->calls == 3 && inner->calls == 1 && inner->bytes[0] == 0xcc);
    /* A long one is the same words, and a loader's write of nothing but devices is none. */
    memcpy(wanted, outer->bytes, sizeof wanted);
    outer->calls = 0;
    assert_int_equal(address_space_read(as, 0x100, ATTRS, bytes, sizeof bytes), MEMTX_OK);
    assert_memory_equal(bytes, wanted, sizeof bytes);
    assert_int_equal(outer->calls, 4);
    address_space_write_rom(as, 0x100, ATTRS, bytes, sizeof bytes);
    assert_true(outer->calls == 4 && inner->calls == 1);
    remove_device(ms, inner);
    remove_device(ms, outer);
    machine_end(ms);
}

/* ---- A device that reaches itself --------------------------------------------------- */

typedef struct Reach {
    AddressSpace *as;
    hwaddr addr;
    MemTxResult result;
    unsigned depth, deepest;
} Reach;

static void reach_out(Device *d, hwaddr addr, bool is_write)
{
    Reach *r = d->context;

    (void)addr, (void)is_write;
    if (r->depth < 3) {
        r->depth++;
        r->deepest = r->depth > r->deepest ? r->depth : r->deepest;
        address_space_ldl_le(r->as, r->addr, ATTRS, &r->result);
        r->depth--;
    }
}

static void the_guard_stops_a_device_that_reaches_itself(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *d = add_device(ms, 0);
    Device *other = add_device(ms, 0x100);
    Device *third = device_new(ms, "third", true);
    Reach self = {.as = as, .addr = 8}, across = {.as = as, .addr = 0x100};
    MemTxResult result = 0x80;
    MemoryRegion sibling; /* another region of the same owner */

    (void)state;
    d->hook = reach_out;
    d->context = &self;
    address_space_ldl_le(as, 0, ATTRS, &result);
    assert_int_equal(result, MEMTX_OK); /* the outer access is fine */
    assert_int_equal(self.result, MEMTX_ACCESS_ERROR);
    assert_int_equal(self.deepest, 1);
    assert_int_equal(d->calls, 1);

    device_reset(d);
    address_space_stl_le(as, 0, 1, ATTRS, &result);
    assert_int_equal(self.result, MEMTX_ACCESS_ERROR);
    assert_int_equal(d->calls, 1);

    /* the guard is the owner's: a second region of it is guarded as well */
    OK(memory_region_init_io(&sibling, d->owner, &d->ops, d, "sibling", 16));
    map_at(ms, 0x200, &sibling);
    self.addr = 0x200;
    address_space_ldl_le(as, 0, ATTRS, &result);
    assert_int_equal(self.result, MEMTX_ACCESS_ERROR);
    unmap(ms, &sibling);

    /* other devices are reached */
    d->context = &across;
    device_reset(d);
    address_space_ldl_le(as, 0, ATTRS, &result);
    assert_int_equal(across.result, MEMTX_OK);
    assert_int_equal(other->calls, 1);
    /* but not back again through them */
    self.addr = 0;
    other->hook = reach_out;
    other->context = &self;
    address_space_ldl_le(as, 0, ATTRS, &result);
    assert_int_equal(self.result, MEMTX_ACCESS_ERROR);

    /* and afterwards the guard is down again */
    d->hook = other->hook = NULL;
    address_space_ldl_le(as, 0, ATTRS, &result);
    assert_int_equal(result, MEMTX_OK);

    /* the opt-out */
    OK(device_init(third, 16, DEVICE_LITTLE_ENDIAN));
    OK(memory_region_disable_reentrancy_guard(&third->mr));
    map_at(ms, 0x300, &third->mr);
    self = (Reach){.as = as, .addr = 0x300};
    third->hook = reach_out;
    third->context = &self;
    address_space_ldl_le(as, 0x300, ATTRS, &result);
    assert_int_equal(self.result, MEMTX_OK);
    assert_int_equal(self.deepest, 3);
    assert_int_equal(third->calls, 4);

    remove_device(ms, d);
    remove_device(ms, other);
    remove_device(ms, third);
    machine_end(ms);
}

/* ---- A callback that edits the map --------------------------------------------------- */

static void remove_myself(Device *d, hwaddr addr, bool is_write)
{
    (void)addr;
    if (is_write && memory_region_is_mapped(&d->mr)) {
        OK(memory_region_del_subregion(memory_region_container(&d->mr), &d->mr));
    }
}

static void a_callback_may_remove_its_own_region(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *d = add_device(ms, 0);
    MemTxResult result = 0x80;

    (void)state;
    d->hook = remove_myself;
    address_space_stl_le(as, 0, 1, ATTRS, &result);
    assert_int_equal(result, MEMTX_OK);
    assert_int_equal(d->calls, 1);
    address_space_stl_le(as, 0, 1, ATTRS, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    assert_int_equal(d->calls, 1);
    /* in one long access, each piece after it sees one map: the old or the new */
    map_at(ms, 0, &d->mr);
    result = address_space_write(as, 0, ATTRS, "0123456789abcdef", 16);
    assert_int_equal(d->calls, result == MEMTX_OK ? 5 : 2);
    assert_true(result == MEMTX_OK || result == MEMTX_DECODE_ERROR);
    remove_device(ms, d);
    machine_end(ms);
}

static void drop_myself(Device *d, hwaddr addr, bool is_write)
{
    MemoryOwner *owner = d->owner;

    (void)addr, (void)is_write;
    OK(memory_region_del_subregion(memory_region_container(&d->mr), &d->mr));
    memory_owner_unref(owner); /* our own storage must outlive this callback */
    memset(d->bytes, 0, sizeof(d->bytes));
}

static void a_callback_may_drop_its_own_device(void **state)
{
    MemorySystem *ms = machine_start();
    unsigned finalized = 0;
    Device *d = add_device(ms, 0);

    (void)state;
    d->finalized = &finalized;
    d->hook = drop_myself;
    address_space_stl_le(memory_system_memory(ms), 0, 1, ATTRS, NULL);
    memory_system_drain(ms);
    assert_int_equal(finalized, 1);
    machine_end(ms);
}

typedef struct Banks {
    MemoryRegion window, ram;
    AddressSpace *as;
} Banks;

static void slide_window(Device *d, hwaddr addr, bool is_write)
{
    Banks *banks = d->context;

    (void)addr;
    if (is_write) {
        uint8_t before, after;

        before = address_space_ldub(banks->as, 0x1000, ATTRS, NULL);
        OK(memory_region_set_alias_offset(&banks->window, (hwaddr)d->bytes[0] * 0x100));
        after = address_space_ldub(banks->as, 0x1000, ATTRS, NULL);
        d->bytes[8] = before;
        d->bytes[9] = after;
    }
}

static void a_callback_sees_its_own_edit(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *d = add_device(ms, 0);
    Banks banks = {.as = as};
    uint8_t *host;

    (void)state;
    make_ram(ms, &banks.ram, "banks", 0x1000);
    make_alias(ms, &banks.window, &banks.ram, 0, 0x100);
    map_at(ms, 0x1000, &banks.window);
    host = memory_region_get_ram_ptr(&banks.ram);
    for (unsigned i = 0; i < 16; i++) {
        host[i * 0x100] = (uint8_t)(0x40 + i);
    }
    d->hook = slide_window;
    d->context = &banks;
    for (uint8_t bank = 1; bank < 16; bank++) {
        address_space_stb(as, 0, bank, ATTRS, NULL);
        assert_int_equal(d->bytes[8], 0x40 + bank - 1);
        assert_int_equal(d->bytes[9], 0x40 + bank);
        assert_int_equal(address_space_ldub(as, 0x1000, ATTRS, NULL), 0x40 + bank);
    }
    unmap(ms, &banks.window);
    remove_device(ms, d);
    machine_end(ms);
}

/* ---- accepts ------------------------------------------------------------------------------ */

typedef struct Asked {
    unsigned times;
    hwaddr addr;
    unsigned size;
    bool is_write;
} Asked;
static Asked asked;

static bool accepts_even_words(void *opaque, hwaddr addr, unsigned size, bool is_write,
                               MemTxAttrs attrs)
{
    (void)opaque, (void)attrs;
    asked = (Asked){asked.times + 1, addr, size, is_write};
    return !(addr & 4);
}

static void accepts_has_the_first_word(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *d = device_new(ms, "picky", false);
    MemTxResult result = 0;

    (void)state;
    d->ops.valid.accepts = accepts_even_words;
    OK(device_init(d, 16, DEVICE_LITTLE_ENDIAN));
    map_at(ms, 0x1000, &d->mr);
    asked = (Asked){0};
    address_space_ldl_le(as, 0x1008, ATTRS, &result);
    assert_int_equal(result, MEMTX_OK);
    assert_true(asked.times && asked.addr == 8 && asked.size == 4 && !asked.is_write);
    address_space_stw_le(as, 0x1004, 1, ATTRS, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    assert_true(asked.addr == 4 && asked.size == 2 && asked.is_write);
    assert_int_equal(d->calls, 1);
    assert_false(memory_region_access_valid(&d->mr, 4, 4, false, ATTRS));
    assert_true(memory_region_access_valid(&d->mr, 0, 4, false, ATTRS));
    assert_false(address_space_access_valid(as, 0x1000, 16, false, ATTRS));
    assert_true(address_space_access_valid(as, 0x1008, 4, false, ATTRS));
    remove_device(ms, d);
    machine_end(ms);
}

static void a_missing_direction_is_refused(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Device *d = device_new(ms, "write only", false);
    MemTxResult result = 0;

    (void)state;
    d->ops.read = NULL;
    OK(device_init(d, 16, DEVICE_LITTLE_ENDIAN));
    map_at(ms, 0, &d->mr);
    assert_true(address_space_ldl_le(as, 0, ATTRS, &result) == 0);
    assert_int_not_equal(result, MEMTX_OK);
    address_space_stl_le(as, 0, 0x64636261, ATTRS, &result);
    assert_int_equal(result, MEMTX_OK);
    assert_memory_equal(d->bytes, "abcd", 4);
    remove_device(ms, d);
    machine_end(ms);
}

/*
 * ---- The lock serialises --------------------------------------------------------------------
 */

static int inside, collisions;

static void count_inside(Device *d, hwaddr addr, bool is_write)
{
    (void)d, (void)addr, (void)is_write;
    if (__atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST) != 1) {
        __atomic_add_fetch(&collisions, 1, __ATOMIC_RELAXED);
    }
    __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
}

static void *hammer(void *opaque)
{
    for (int i = 0; i < 5000; i++) {
        address_space_ldl_le(opaque, (hwaddr)(i & 1) * 0x100, ATTRS, NULL);
    }
    return NULL;
}

static void callbacks_of_one_machine_take_turns(void **state)
{
    MemorySystem *ms = machine_start();
    Device *a = add_device(ms, 0), *b = add_device(ms, 0x100);
    pthread_t thread[3];

    (void)state;
    a->hook = b->hook = count_inside;
    for (int i = 0; i < 3; i++) {
        OK(pthread_create(&thread[i], NULL, hammer, memory_system_memory(ms)));
    }
    for (int i = 0; i < 3; i++) {
        OK(pthread_join(thread[i], NULL));
    }
    assert_int_equal(a->calls + b->calls, 15000);
    assert_int_equal(collisions, 0);
    remove_device(ms, a);
    remove_device(ms, b);
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callbacks_hold_the_lock_unless_lockless),
        cmocka_unit_test(mapped_regions_keep_their_ways),
        cmocka_unit_test(a_device_in_the_middle_of_another),
        cmocka_unit_test(the_guard_stops_a_device_that_reaches_itself),
        cmocka_unit_test(a_callback_may_remove_its_own_region),
        cmocka_unit_test(a_callback_may_drop_its_own_device),
        cmocka_unit_test(a_callback_sees_its_own_edit),
        cmocka_unit_test(accepts_has_the_first_word),
        cmocka_unit_test(a_missing_direction_is_refused),
        cmocka_unit_test(callbacks_of_one_machine_take_turns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
