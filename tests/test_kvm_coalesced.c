/* SPDX-License-Identifier: MIT */
/* The ring of coalesced writes: order, and all the moments at which it is emptied. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/kvm_guest.h"

#define RING_AT (2UL * 4096) /* the fake's KVM_CAP_COALESCED_MMIO is 2 */
#define RING_ENTRIES                                                                               \
    ((4096 - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

/* A guest with a vCPU and a device whose writes are all coalesced, in memory and at ports. */
typedef struct Board {
    Guest *g;
    KVMVcpu *cpu;
    struct kvm_run *run;
    Device *d;
    MemoryRegion *at_ports; /* the device again; NULL: it is not */
    MemoryRegion *extra;    /* of one test */
} Board;

static Board board_start(const KvmFakeCaps *caps)
{
    Board b = {.g = guest_start(caps, true)};

    b.cpu = kvm_vcpu_create(b.g->kvm, 0, NULL);
    assert_non_null(b.cpu);
    b.run = kvm_vcpu_get_run(b.cpu);
    b.d = any_device(b.g, DEVICE_LITTLE_ENDIAN);
    OK(memory_region_set_coalescing(&b.d->mr));
    map_at(b.g->ms, DEVICE_AT, &b.d->mr);
    device_reset(b.d);
    return b;
}

static void map_at_ports(Board *b)
{
    b->at_ports = calloc(1, sizeof *b->at_ports);
    OK(memory_region_init_io(b->at_ports, b->d->owner, &b->d->ops, b->d, "at ports", DEVICE_BYTES));
    OK(memory_region_set_coalescing(b->at_ports));
    OK(memory_region_add_subregion(get_system_io(b->g->ms), PORT_AT, b->at_ports));
}

static void board_end(Board *b)
{
    if (memory_region_is_mapped(&b->d->mr)) {
        unmap(b->g->ms, &b->d->mr);
    }
    if (b->at_ports) {
        OK(memory_region_del_subregion(get_system_io(b->g->ms), b->at_ports));
    }
    device_drop(b->d);
    guest_end(b->g);
    free(b->at_ports);
}

static void guest_write(Board *b, hwaddr addr, uint32_t data, KvmFakeOutcome outcome)
{
    assert_int_equal(kvm_fake_guest_write(b->g->fake, 0, 0, addr, &data, 4), outcome);
}

static void guest_out(Board *b, uint16_t port, uint16_t data, KvmFakeOutcome outcome)
{
    assert_int_equal(kvm_fake_guest_out(b->g->fake, 0, port, &data, 2), outcome);
}

static void wrote(const Device *d, unsigned call, hwaddr addr, unsigned size, uint64_t data)
{
    assert_true(call < d->calls && call < DEVICE_CALLS);
    assert_true(d->call[call].is_write);
    assert_int_equal(d->call[call].addr, addr);
    assert_int_equal(d->call[call].size, size);
    assert_int_equal(d->call[call].data, data);
    assert_true(d->call[call].locked);
}

/* Writes to memory and to ports come in the order in which they were made, before the exit. */
static void test_order(void **state)
{
    Board b = board_start(NULL);

    (void)state;
    map_at_ports(&b);
    guest_write(&b, DEVICE_AT + 4, 0x11223344, KVM_FAKE_COALESCED);
    guest_out(&b, PORT_AT + 8, 0x5566, KVM_FAKE_COALESCED);
    guest_write(&b, DEVICE_AT + 4, 0x778899aa, KVM_FAKE_COALESCED);
    assert_int_equal(b.d->calls, 0);
    uint32_t value;
    assert_int_equal(kvm_fake_guest_read(b.g->fake, 0, 0, DEVICE_AT + 4, &value, 4), KVM_FAKE_EXIT);
    assert_int_equal(kvm_memory_exit(b.g->kvm, b.run), 1);
    assert_int_equal(b.d->calls, 4);
    wrote(b.d, 0, 4, 4, 0x11223344);
    wrote(b.d, 1, 8, 2, 0x5566);
    wrote(b.d, 2, 4, 4, 0x778899aa);
    assert_false(b.d->call[3].is_write);
    assert_memory_equal(b.run->mmio.data, "\xaa\x99\x88\x77", 4);
    assert_false(b.d->call[0].attrs.unspecified);
    board_end(&b);
}

/* An exit that is the program's delivers them, too. */
static void test_any_exit(void **state)
{
    Board b = board_start(NULL);

    (void)state;
    guest_write(&b, DEVICE_AT, 1, KVM_FAKE_COALESCED);
    b.run->exit_reason = KVM_EXIT_HLT;
    assert_int_equal(kvm_memory_exit(b.g->kvm, b.run), 0);
    assert_int_equal(b.d->calls, 1);
    guest_write(&b, DEVICE_AT, 2, KVM_FAKE_COALESCED);
    kvm_flush_coalesced_mmio_buffer(b.g->kvm);
    assert_int_equal(b.d->calls, 2);
    kvm_flush_coalesced_mmio_buffer(b.g->kvm);
    assert_int_equal(b.d->calls, 2);
    board_end(&b);
}

/* The ring full, several times around. */
static void test_full(void **state)
{
    Board b = board_start(NULL);
    uint32_t next = 0;

    (void)state;
    for (int round = 0; round < 5; round++) {
        device_reset(b.d);
        for (unsigned i = 0; i < RING_ENTRIES - 1; i++) {
            guest_write(&b, DEVICE_AT, next++, KVM_FAKE_COALESCED);
        }
        guest_write(&b, DEVICE_AT, next++, KVM_FAKE_EXIT);
        assert_int_equal(kvm_memory_exit(b.g->kvm, b.run), 1);
        assert_int_equal(b.d->calls, RING_ENTRIES);
        uint32_t newest;
        memcpy(&newest, b.d->bytes, 4);
        assert_int_equal(newest, next - 1);
        for (unsigned i = 0; i < DEVICE_CALLS; i++) {
            wrote(b.d, i, 0, 4, next - (uint32_t)RING_ENTRIES + i);
        }
    }
    board_end(&b);
}

/* A region that wants it is flushed before an access from anywhere; one that does not is not. */
static void test_before_accesses(void **state)
{
    Board b = board_start(NULL);
    Device *wants = any_device(b.g, DEVICE_LITTLE_ENDIAN);
    Device *does_not = any_device(b.g, DEVICE_LITTLE_ENDIAN);
    AddressSpace *as = memory_system_memory(b.g->ms);

    (void)state;
    OK(memory_region_set_flush_coalesced(&wants->mr));
    map_at(b.g->ms, 0x20000, &wants->mr);
    map_at(b.g->ms, 0x30000, &does_not->mr);
    guest_write(&b, DEVICE_AT, 1, KVM_FAKE_COALESCED);
    address_space_ldub(as, 0x30000, ATTRS, NULL);
    assert_int_equal(b.d->calls, 0);
    address_space_ldub(as, 0x20000, ATTRS, NULL);
    assert_int_equal(b.d->calls, 1);
    guest_write(&b, DEVICE_AT, 2, KVM_FAKE_COALESCED);
    address_space_write(as, 0x20000, ATTRS, "abc", 3);
    assert_int_equal(b.d->calls, 2);
    guest_write(&b, DEVICE_AT, 3, KVM_FAKE_COALESCED);
    address_space_ldub(as, DEVICE_AT, ATTRS, NULL); /* coalescing implies it */
    assert_int_equal(b.d->calls, 4);
    assert_false(b.d->call[3].is_write);
    unmap(b.g->ms, &wants->mr);
    unmap(b.g->ms, &does_not->mr);
    device_drop(wants);
    device_drop(does_not);
    board_end(&b);
}

/* What was written before a change reaches who was there before it, refused or not. */
static void test_before_changes(void **state)
{
    Board b = board_start(NULL);
    Device *other = any_device(b.g, DEVICE_LITTLE_ENDIAN);

    (void)state;
    guest_write(&b, DEVICE_AT + 4, 1, KVM_FAKE_COALESCED);
    kvm_fake_fail(b.g->fake, KVM_REGISTER_COALESCED_MMIO, 1, ENOSPC, false);
    REFUSED(-ENOSPC, memory_region_set_address(&b.d->mr, DEVICE_AT + 0x20));
    kvm_fake_heal(b.g->fake);
    assert_int_equal(b.d->calls, 1);
    guest_write(&b, DEVICE_AT + 4, 2, KVM_FAKE_COALESCED); /* the zone is there again */
    memory_region_transaction_begin(b.g->ms);
    unmap(b.g->ms, &b.d->mr);
    map_at(b.g->ms, DEVICE_AT, &other->mr);
    OK(memory_region_transaction_commit(b.g->ms));
    assert_int_equal(b.d->calls, 2);
    wrote(b.d, 1, 4, 4, 2);
    assert_int_equal(other->calls, 0);
    guest_write(&b, DEVICE_AT + 4, 3, KVM_FAKE_EXIT);
    unmap(b.g->ms, &other->mr);
    device_drop(other);
    board_end(&b);
}

static void test_before_unregistering(void **state)
{
    Board b = board_start(NULL);

    (void)state;
    guest_write(&b, DEVICE_AT, 1, KVM_FAKE_COALESCED);
    OK(kvm_memory_listener_unregister(&b.g->memory));
    assert_int_equal(b.d->calls, 1);
    assert_int_equal(kvm_fake_zones(b.g->fake), 0);
    board_end(&b);
}

static void hook_flushes(Device *d, hwaddr addr, bool is_write)
{
    Board *b = d->context;
    unsigned calls = d->calls;

    (void)addr;
    (void)is_write;
    kvm_flush_coalesced_mmio_buffer(b->g->kvm);
    assert_int_equal(d->calls, calls);
}

/* A device that flushes from such a write: order stays, and each comes once. */
static void test_reentrancy(void **state)
{
    Board b = board_start(NULL);

    (void)state;
    b.d->hook = hook_flushes;
    b.d->context = &b;
    for (uint32_t i = 0; i < 5; i++) {
        guest_write(&b, DEVICE_AT + 4 * i, i, KVM_FAKE_COALESCED);
    }
    kvm_flush_coalesced_mmio_buffer(b.g->kvm);
    assert_int_equal(b.d->calls, 5);
    for (uint32_t i = 0; i < 5; i++) {
        wrote(b.d, i, 4 * i, 4, i);
    }
    board_end(&b);
}

static void hook_changes_the_map(Device *d, hwaddr addr, bool is_write)
{
    Board *b = d->context;

    (void)addr;
    if (!is_write) {
        guest_write(b, DEVICE_AT + 8, 0x1234, KVM_FAKE_COALESCED); /* by another vCPU */
        OK(memory_region_set_enabled(b->extra, !memory_region_is_enabled(b->extra)));
    }
}

/*
 * A device that is at work while such a write to it waits, and has it delivered: it is a CPU's,
 * not the device's own DMA.
 */
static void test_write_to_who_is_at_work(void **state)
{
    Board b = board_start(NULL);
    MemoryRegion extra;

    (void)state;
    make_ram(b.g->ms, &extra, "extra", 0x1000);
    map_at(b.g->ms, 0x100000, &extra);
    b.extra = &extra;
    b.d->hook = hook_changes_the_map;
    b.d->context = &b;
    address_space_ldub(memory_system_memory(b.g->ms), DEVICE_AT, ATTRS, NULL);
    assert_int_equal(b.d->calls, 2);
    wrote(b.d, 1, 8, 4, 0x1234);
    b.d->hook = NULL;
    unmap(b.g->ms, &extra);
    board_end(&b);
}

/* Entries and indexes that no kernel makes. */
static void test_malformed_ring(void **state)
{
    Board b = board_start(NULL);
    struct kvm_coalesced_mmio_ring *ring =
        (struct kvm_coalesced_mmio_ring *)(void *)((uint8_t *)b.run + RING_AT);
    static const uint32_t lengths[] = {0, 9, UINT32_MAX};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        uint32_t at = ring->first;
        guest_write(&b, DEVICE_AT, 1, KVM_FAKE_COALESCED);
        guest_write(&b, DEVICE_AT, 2, KVM_FAKE_COALESCED);
        ring->coalesced_mmio[at].len = lengths[i];
        kvm_flush_coalesced_mmio_buffer(b.g->kvm);
        assert_int_equal(b.g->reports, i + 1);
        assert_int_equal(b.d->calls, i + 1); /* the other one */
    }
    b.d->calls = 0;
    ring->last = (uint32_t)RING_ENTRIES;
    kvm_flush_coalesced_mmio_buffer(b.g->kvm);
    ring->first = UINT32_MAX;
    ring->last = 0;
    kvm_flush_coalesced_mmio_buffer(b.g->kvm);
    assert_int_equal(b.g->reports, 5);
    assert_int_equal(b.d->calls, 0);
    ring->first = ring->last = 0;
    board_end(&b);
}

/* The ring is the VM's: it outlives the vCPU through which it was found. */
static void test_vcpu_gone(void **state)
{
    Board b = board_start(NULL);

    (void)state;
    KVMVcpu *second = kvm_vcpu_create(b.g->kvm, 1, NULL);
    assert_non_null(second);
    guest_write(&b, DEVICE_AT, 1, KVM_FAKE_COALESCED);
    kvm_vcpu_destroy(b.cpu);
    kvm_flush_coalesced_mmio_buffer(b.g->kvm);
    assert_int_equal(b.d->calls, 1);
    board_end(&b);
}

/* Coalescing that a snapshot brings back implies flushing as any does. */
static void test_restored(void **state)
{
    Board b = board_start(NULL);
    MemorySnapshot *snapshot = memory_snapshot_take(b.g->ms, 0, NULL);

    (void)state;
    assert_non_null(snapshot);
    OK(memory_region_clear_coalescing(&b.d->mr));
    guest_write(&b, DEVICE_AT, 1, KVM_FAKE_EXIT);
    OK(memory_snapshot_restore(snapshot, NULL));
    guest_write(&b, DEVICE_AT, 1, KVM_FAKE_COALESCED);
    address_space_ldub(memory_system_memory(b.g->ms), DEVICE_AT, ATTRS, NULL);
    assert_int_equal(b.d->calls, 2);
    memory_snapshot_free(snapshot);
    board_end(&b);
}

static void test_one_kvm_a_machine(void **state)
{
    Board b = board_start(NULL);
    KvmFake *fake = kvm_fake_create(NULL);
    KVMConfig config = kvm_fake_config(fake);
    Error *err = NULL;

    (void)state;
    assert_null(kvm_create(b.g->ms, &config, &err));
    assert_int_equal(error_get_errno(err), -EBUSY);
    error_free(err);
    kvm_fake_destroy(fake);
    guest_write(&b, DEVICE_AT, 1, KVM_FAKE_COALESCED); /* the first is still at work */
    address_space_ldub(memory_system_memory(b.g->ms), DEVICE_AT, ATTRS, NULL);
    assert_int_equal(b.d->calls, 2);
    board_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_any_exit),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_before_accesses),
        cmocka_unit_test(test_before_changes),
        cmocka_unit_test(test_before_unregistering),
        cmocka_unit_test(test_reentrancy),
        cmocka_unit_test(test_malformed_ring),
        cmocka_unit_test(test_vcpu_gone),
        cmocka_unit_test(test_one_kvm_a_machine),
        cmocka_unit_test(test_write_to_who_is_at_work),
        cmocka_unit_test(test_restored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
