/* SPDX-License-Identifier: MIT */
/* Dirty rings under the fake KVM, rule by rule: see src/kvm/dirty_ring.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/kvm_dirty_board.h"
#include "support/kvm_fake_state.h"

static bool look_at_reset(Board *b, unsigned long request, void *arg)
{
    (void)arg;
    if (request == KVM_RESET_DIRTY_RINGS) {
        b->marked_at_reset |= memory_region_get_dirty(&b->ram, 0, PAGES * PAGE, A);
    }
    return 0;
}

static void test_marks_after_reset(void **state)
{
    Board b;

    (void)state;
    kvm_dirty_board_begin(&b, KVM_DIRTY_LOG_RING);
    log_for(&b, A, true);
    b.before_ioctl = look_at_reset;
    write_page(&b, 6);
    assert_int_equal(kvm_dirty_ring_reap(b.kvm), 1);
    assert_false(b.marked_at_reset);
    assert_true(memory_region_get_dirty(&b.ram, 6 * PAGE, 1, A));
    kvm_fake_forget_calls(b.fake);
    assert_int_equal(kvm_dirty_ring_reap(b.kvm), 0);
    assert_int_equal(kvm_fake_calls(b.fake, KVM_RESET_DIRTY_RINGS), 0);
    kvm_dirty_board_end(&b);
}

static void test_ring_full(void **state)
{
    Board b;

    (void)state;
    kvm_dirty_board_begin(&b, KVM_DIRTY_LOG_RING);
    log_for(&b, A, true);
    unsigned page = 0;
    while (kvm_fake_guest_write(b.fake, 0, 0, (hwaddr)page * PAGE, "x", 1) == KVM_FAKE_DONE) {
        page++;
    }
    assert_int_equal(page, 256 - 64);
    assert_int_equal(kvm_vcpu_get_run(b.cpu)->exit_reason, KVM_EXIT_DIRTY_RING_FULL);
    assert_int_equal(kvm_dirty_ring_reap(b.kvm), page);
    write_page(&b, page);
    assert_int_equal(take(&b, A, NULL), page + 1);
    kvm_dirty_board_end(&b);
}

static struct kvm_dirty_gfn *map_ring(Board *b)
{
    void *ring = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, kvm_vcpu_fd(b->cpu),
                      (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * PAGE);

    assert_ptr_not_equal(ring, MAP_FAILED);
    return ring;
}

/* What is in a ring is not believed. */
static void test_strange_entries(void **state)
{
    static const struct {
        uint32_t slot;
        uint64_t offset;
    } strange[] = {{0, PAGES}, {0, UINT64_MAX}, {1, 0},          {0xffff, 0},
                   {64, 0},    {1U << 16, 0},   {0xffff0000, 0}, {UINT32_MAX, UINT64_MAX}};
    Board b;

    (void)state;
    kvm_dirty_board_begin(&b, KVM_DIRTY_LOG_RING);
    log_for(&b, A, true);
    for (unsigned i = 0; i < 9; i++) {
        write_page(&b, i);
    }
    struct kvm_dirty_gfn *ring = map_ring(&b);
    for (unsigned i = 0; i < 8; i++) {
        ring[i].slot = strange[i].slot;
        ring[i].offset = strange[i].offset;
    }
    munmap(ring, PAGE);
    takes_page(&b, A, 8);
    kvm_dirty_board_end(&b);
}

static void test_vcpu_that_ends(void **state)
{
    Board b;

    (void)state;
    kvm_dirty_board_begin(&b, KVM_DIRTY_LOG_RING);
    log_for(&b, A, true);
    write_page(&b, 11);
    kvm_vcpu_destroy(b.cpu);
    takes_page(&b, A, 11);
    kvm_dirty_board_end(&b);
}

/* By itself, sooner or later. */
static void test_reaper(void **state)
{
    Board b;

    (void)state;
    kvm_dirty_board_begin_with(&b, KVM_DIRTY_LOG_RING, NULL, 1, NULL);
    log_for(&b, A, true);
    for (unsigned page = 0; page < 3; page++) {
        write_page(&b, page);
        while (!memory_region_get_dirty(&b.ram, (hwaddr)page * PAGE, 1, A)) {
            usleep(100);
        }
        log_for(&b, A, false); /* it goes to sleep */
        log_for(&b, A, true);
    }
    kvm_dirty_board_end(&b);
}

static void test_end_with_the_lock_held(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 30; i++) {
        Board b;
        kvm_dirty_board_begin_with(&b, KVM_DIRTY_LOG_RING, NULL, 1, NULL);
        log_for(&b, A, true);
        write_page(&b, 1);
        usleep(i * 100);
        memory_system_lock(b.ms);
        usleep(i % 3 * 1000);
        kvm_destroy(b.kvm);
        memory_system_unlock(b.ms);
        assert_true(memory_region_get_dirty(&b.ram, PAGE, 1, A));
        machine_end(b.ms);
        kvm_fake_destroy(b.fake);
    }
}

/*
 * A kernel that notices too late: five entries were written over, and a page is open that is in no
 * ring. The fake does not do so by itself.
 */
static void test_ring_that_ran_over(void **state)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    Board b;

    (void)state;
    caps.ring_reserved = 0;
    kvm_dirty_board_begin_with(&b, KVM_DIRTY_LOG_RING, NULL, 0, &caps);
    log_for(&b, A, true);
    for (unsigned page = 0; page < PAGES; page++) {
        write_page(&b, page);
    }
    struct kvm_dirty_gfn *ring = map_ring(&b);
    for (unsigned i = 0; i < 5; i++) {
        ring[i].offset = 100; /* instead of i, which stays open */
    }
    munmap(ring, PAGE);
    b.fake->vcpu[0].dirty_next += 5;
    assert_int_equal(kvm_dirty_ring_reap(b.kvm), 256);
    assert_int_equal(b.reports, 1);
    assert_int_equal(take(&b, A, NULL), PAGES);
    for (unsigned round = 0; round < 3; round++) {
        write_page(&b, 2);
        write_page(&b, 100);
        assert_int_equal(take(&b, A, NULL), 2);
    }
    assert_int_equal(b.reports, 1);
    kvm_dirty_board_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks_after_reset),
        cmocka_unit_test(test_ring_full),
        cmocka_unit_test(test_strange_entries),
        cmocka_unit_test(test_vcpu_that_ends),
        cmocka_unit_test(test_reaper),
        cmocka_unit_test(test_end_with_the_lock_held),
        cmocka_unit_test(test_ring_that_ran_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
