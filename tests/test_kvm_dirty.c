/* SPDX-License-Identifier: MIT */
/* The rules of dirty logging under KVM one by one, with a fake kernel: see src/kvm/dirty_log.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/state.h"
#include "support/kvm_dirty_board.h"

/* ---- choosing ---------------------------------------------------------------------------- */

static void refused(Board *b, const KVMConfig *config, int code)
{
    Error *err = NULL;

    assert_null(kvm_create(b->ms, config, &err));
    assert_int_equal(error_get_errno(err), -code);
    error_free(err);
}

static void test_chosen(void **state)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    Board b = {.ms = machine_start()};
    KVMState *kvm;

    (void)state;
    caps.manual_log = false;
    caps.ring_bytes_max = 0;
    b.fake = kvm_fake_create(&caps);
    KVMConfig config = kvm_dirty_board_config(&b, KVM_DIRTY_LOG_MANUAL);
    refused(&b, &config, ENOTSUP);
    config.dirty_log = KVM_DIRTY_LOG_RING;
    refused(&b, &config, ENOTSUP);
    config.dirty_log = KVM_DIRTY_LOG_AUTO;
    kvm = kvm_create(b.ms, &config, NULL);
    assert_int_equal(kvm_dirty_log(kvm), KVM_DIRTY_LOG_BITMAP);
    kvm_destroy(kvm);
    kvm_fake_destroy(b.fake);

    b.fake = kvm_fake_create(NULL);
    config = kvm_dirty_board_config(&b, KVM_DIRTY_LOG_AUTO);
    kvm = kvm_create(b.ms, &config, NULL);
    assert_int_equal(kvm_dirty_log(kvm), KVM_DIRTY_LOG_MANUAL);
    kvm_destroy(kvm);
    config.dirty_log = KVM_DIRTY_LOG_RING;
    config.dirty_ring_entries = 1U << 20;
    refused(&b, &config, EINVAL);
    config.dirty_ring_entries = 16;
    refused(&b, &config, EINVAL);
    config.dirty_ring_entries = 0;
    kvm = kvm_create(b.ms, &config, NULL);
    assert_int_equal(kvm_dirty_log(kvm), KVM_DIRTY_LOG_RING);
    kvm_destroy(kvm);
    kvm_fake_destroy(b.fake);
    machine_end(b.ms);
}

static int ask(Board *b, int fd, unsigned long request, unsigned long arg)
{
    return kvm_fake_ioctl(b->fake, fd, request, (void *)arg); // NOLINT(performance-no-int-to-ptr)
}

/* A VM that was given has a history. */
static void test_given(void **state)
{
    Board b = {.ms = machine_start(), .fake = kvm_fake_create(NULL)};
    struct kvm_enable_cap manual = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = {3}};

    (void)state;
    int vm = ask(&b, kvm_fake_fd(b.fake), KVM_CREATE_VM, 0);
    assert_true(vm >= 0);
    assert_int_equal(kvm_fake_ioctl(b.fake, vm, KVM_ENABLE_CAP, &manual), 0);
    make_ram(b.ms, &b.ram, "ram", PAGES * PAGE);
    map_at(b.ms, 0, &b.ram);
    KVMConfig config = kvm_dirty_board_config(&b, KVM_DIRTY_LOG_BITMAP);
    config.vm_fd = vm;
    b.kvm = kvm_create(b.ms, &config, NULL);
    assert_non_null(b.kvm);
    OK(kvm_memory_listener_register(b.kvm, &b.memory, memory_system_memory(b.ms), 0, "kvm"));
    log_for(&b, A, true);
    write_page(&b, 3);
    takes_page(&b, A, 3);
    write_page(&b, 3);
    takes_page(&b, A, 3);
    kvm_destroy(b.kvm);

    config.dirty_log = KVM_DIRTY_LOG_RING;
    b.kvm = kvm_create(b.ms, &config, NULL);
    assert_non_null(b.kvm);
    kvm_destroy(b.kvm);
    refused(&b, &config, EINVAL); /* has rings already */
    config.dirty_log = KVM_DIRTY_LOG_AUTO;
    refused(&b, &config, EBUSY);
    config.dirty_log = KVM_DIRTY_LOG_BITMAP;
    refused(&b, &config, EBUSY);
    close(vm);
    machine_end(b.ms);
    kvm_fake_destroy(b.fake);
}

/* ---- clearing by hand -------------------------------------------------------------------- */

static void test_one_clear_each_stretch(void **state)
{
    Board b;

    (void)state;
    kvm_dirty_board_begin(&b, KVM_DIRTY_LOG_MANUAL);
    log_for(&b, A, true);
    for (unsigned page = 0; page < 128; page += 2) {
        write_page(&b, page);
    }
    write_page(&b, 200);
    kvm_fake_forget_calls(b.fake);
    assert_int_equal(take(&b, A, NULL), 65);
    assert_int_equal(kvm_fake_calls(b.fake, KVM_CLEAR_DIRTY_LOG), 3);
    assert_int_equal(kvm_fake_calls(b.fake, KVM_GET_DIRTY_LOG), 1);
    assert_int_equal(take(&b, A, NULL), 0);
    assert_int_equal(kvm_fake_calls(b.fake, KVM_CLEAR_DIRTY_LOG), 3);
    kvm_dirty_board_end(&b);
}

static void test_only_what_was_brought_in(void **state)
{
    Board b;

    (void)state;
    kvm_dirty_board_begin(&b, KVM_DIRTY_LOG_MANUAL);
    log_for(&b, A, true);
    write_page(&b, 1);
    sync_now(&b);
    write_page(&b, 2);
    memory_region_reset_dirty(&b.ram, 0, PAGES * PAGE, A);
    takes_page(&b, A, 2);
    kvm_dirty_board_end(&b);
}

/* B begins when the page is open: it has no mark, and the next write makes no bit. */
static void test_who_begins_later(void **state)
{
    Board b;

    (void)state;
    kvm_dirty_board_begin(&b, KVM_DIRTY_LOG_MANUAL);
    log_for(&b, A, true);
    write_page(&b, 5);
    sync_now(&b);
    log_for(&b, B, true);
    write_page(&b, 5);
    memory_region_reset_dirty(&b.ram, 0, PAGES * PAGE, A);
    takes_page(&b, B, 5);
    kvm_dirty_board_end(&b);
}

static void test_who_leaves(void **state)
{
    (void)state;
    for (KVMDirtyLog mode = KVM_DIRTY_LOG_BITMAP; mode <= KVM_DIRTY_LOG_RING; mode++) {
        Board b;
        kvm_dirty_board_begin(&b, mode);
        log_for(&b, A, true);
        log_for(&b, B, true);
        write_page(&b, 9);
        unsigned pauses = b.pauses;
        log_for(&b, A, false);
        assert_int_equal(b.pauses - pauses, mode == KVM_DIRTY_LOG_RING);
        write_page(&b, 10);
        takes_page(&b, A, 9);
        assert_int_equal(take(&b, B, NULL), 2);
        kvm_dirty_board_end(&b);
    }
}

/* Two blocks, one memory: what one block was told of is not the other's. */
static void test_another_block_over_it(void **state)
{
    void *memory =
        mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    Board b;

    (void)state;
    kvm_dirty_board_begin_with(&b, KVM_DIRTY_LOG_MANUAL, memory, 0, NULL);
    OK(memory_region_init_ram_ptr(&b.twin, memory_system_owner(b.ms), "twin", PAGES * PAGE,
                                  memory));
    log_for(&b, A, true);
    OK(memory_region_set_log(&b.twin, true, A));
    OK(memory_region_set_log(&b.twin, true, B));
    write_page(&b, 7);
    unsigned pauses = b.pauses;
    kvm_fake_forget_calls(b.fake);
    OK(memory_region_add_subregion_overlap(get_system_memory(b.ms), 0, &b.twin, 1));
    assert_int_equal(kvm_fake_slot_calls(b.fake), 0);
    assert_int_equal(b.pauses - pauses, 1);
    write_page(&b, 7);
    memory_region_reset_dirty(&b.twin, 0, PAGES * PAGE, A);
    uint64_t first;
    assert_int_equal(take(&b, B, &first), 1);
    assert_int_equal(first, 7);
    assert_int_equal(take(&b, A, NULL), 2); /* of both blocks */
    kvm_dirty_board_end(&b);
    munmap(memory, PAGES * PAGE);
}

/* ---- updates ----------------------------------------------------------------------------- */

typedef struct Refuser {
    MemoryListener listener;
    Board *b;
    unsigned pauses;
} Refuser;

static bool refuse(MemoryListener *listener, const FlatView *old, const FlatView *view,
                   Error **errp)
{
    Refuser *refuser = (Refuser *)listener;

    (void)old;
    (void)view;
    if (refuser->b) {
        write_at(refuser->b, 0x400000);
        refuser->pauses = refuser->b->pauses;
        error_set(errp, EPERM, "no");
        return false;
    }
    return true;
}

/* A slot was there for a moment, and a guest that nobody stopped wrote to it. */
static void test_taken_back(void **state)
{
    (void)state;
    for (KVMDirtyLog mode = KVM_DIRTY_LOG_BITMAP; mode <= KVM_DIRTY_LOG_RING; mode++) {
        Refuser refuser = {.listener = {.prepare = refuse, .priority = 20, .name = "refuser"}};
        MemoryRegion late;
        Board b;
        kvm_dirty_board_begin(&b, mode);
        OK(memory_listener_register(&refuser.listener, memory_system_memory(b.ms)));
        make_ram(b.ms, &late, "late", 0x10000);
        OK(memory_region_set_log(&late, true, A));
        refuser.b = &b;
        assert_int_equal(memory_region_add_subregion(get_system_memory(b.ms), 0x400000, &late),
                         -EPERM);
        assert_int_equal(b.pauses - refuser.pauses, 1);
        refuser.b = NULL;
        takes_page(&b, A, 0);
        OK(memory_listener_unregister(&refuser.listener));
        kvm_dirty_board_end(&b);
    }
}

static void test_end_of_log_in_ring_mode(void **state)
{
    Board b;

    (void)state;
    kvm_dirty_board_begin(&b, KVM_DIRTY_LOG_RING);
    log_for(&b, A, true);
    write_page(&b, 4);
    unsigned pauses = b.pauses;
    log_for(&b, A, false);
    assert_int_equal(b.pauses - pauses, 1);
    takes_page(&b, A, 4);
    kvm_dirty_board_end(&b);
}

/* ---- hosts with other pages -------------------------------------------------------------- */

static bool wide_log(Board *b, unsigned long request, void *arg)
{
    if (b->wide_pages && request == KVM_GET_DIRTY_LOG) {
        struct kvm_dirty_log *log = arg;
        *(uint64_t *)log->dirty_bitmap = 1U << 2 | 1U << 3;
        return true;
    }
    return b->wide_pages && request == KVM_CLEAR_DIRTY_LOG;
}

static void test_host_pages_of_64k(void **state)
{
    Board b = {.fake = kvm_fake_create(NULL), .ms = machine_start(), .before_ioctl = wide_log};
    KVMConfig config = kvm_dirty_board_config(&b, KVM_DIRTY_LOG_MANUAL);
    uint64_t first;

    (void)state;
    void *memory = aligned_alloc(0x10000, PAGES * PAGE);
    OK(memory_region_init_ram_ptr(&b.ram, memory_system_owner(b.ms), "ram", PAGES * PAGE, memory));
    map_at(b.ms, 0, &b.ram);
    b.kvm = kvm_create(b.ms, &config, NULL);
    b.kvm->page_size = 0x10000;
    log_for(&b, A, true);
    OK(kvm_memory_listener_register(b.kvm, &b.memory, memory_system_memory(b.ms), 0, "kvm"));
    b.wide_pages = true;
    assert_int_equal(take(&b, A, &first), 32);
    assert_int_equal(first, 32);
    kvm_dirty_board_end(&b);
    free(memory);
}

/* The block begins in the middle of a host page: a host page is parts of two of its pages. */
static void test_block_that_is_not_aligned(void **state)
{
    uint8_t *memory =
        mmap(NULL, (PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    Board b;

    (void)state;
    kvm_dirty_board_begin_with(&b, KVM_DIRTY_LOG_MANUAL, NULL, 0, NULL);
    OK(memory_region_init_ram_ptr(&b.twin, memory_system_owner(b.ms), "odd", PAGES * PAGE,
                                  memory + 0x800));
    map_at(b.ms, 0x400800, &b.twin);
    OK(memory_region_set_log(&b.twin, true, A));
    for (unsigned round = 0; round < 2; round++) {
        uint64_t first;
        write_at(&b, 0x403fff); /* block offset 0x37ff: page 3; the host page began in page 2 */
        assert_int_equal(take(&b, A, &first), 2);
        assert_int_equal(first, 2);
        assert_int_equal(take(&b, A, NULL), 0);
    }
    kvm_dirty_board_end(&b);
    munmap(memory, (PAGES + 1) * PAGE);
}

/* ---- failures ---------------------------------------------------------------------------- */

static void test_failures_are_told(void **state)
{
    static const unsigned long requests[] = {
        [KVM_DIRTY_LOG_BITMAP] = KVM_GET_DIRTY_LOG,
        [KVM_DIRTY_LOG_MANUAL] = KVM_CLEAR_DIRTY_LOG,
        [KVM_DIRTY_LOG_RING] = KVM_RESET_DIRTY_RINGS,
    };
    static const uint64_t pages[] = {
        [KVM_DIRTY_LOG_BITMAP] = PAGES,
        [KVM_DIRTY_LOG_MANUAL] = 1,
        [KVM_DIRTY_LOG_RING] = PAGES,
    };

    (void)state;
    for (KVMDirtyLog mode = KVM_DIRTY_LOG_BITMAP; mode <= KVM_DIRTY_LOG_RING; mode++) {
        Board b;
        kvm_dirty_board_begin(&b, mode);
        log_for(&b, A, true);
        write_page(&b, 3);
        kvm_fake_fail(b.fake, requests[mode], 1, EIO, false);
        assert_int_equal(take(&b, A, NULL), pages[mode]);
        assert_int_equal(b.reports, 1);
        write_page(&b, 3);
        assert_true(take(&b, A, NULL) >= 1);
        assert_int_equal(take(&b, A, NULL), 0);
        assert_int_equal(b.reports, 1);
        kvm_dirty_board_end(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chosen),
        cmocka_unit_test(test_given),
        cmocka_unit_test(test_one_clear_each_stretch),
        cmocka_unit_test(test_only_what_was_brought_in),
        cmocka_unit_test(test_who_begins_later),
        cmocka_unit_test(test_who_leaves),
        cmocka_unit_test(test_another_block_over_it),
        cmocka_unit_test(test_taken_back),
        cmocka_unit_test(test_end_of_log_in_ring_mode),
        cmocka_unit_test(test_host_pages_of_64k),
        cmocka_unit_test(test_block_that_is_not_aligned),
        cmocka_unit_test(test_failures_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
