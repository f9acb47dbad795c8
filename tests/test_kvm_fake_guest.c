/* SPDX-License-Identifier: MIT */
/* What becomes of a guest's writes under the fake kernel and under the running one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/kvm_pair.h"
#include "support/machine.h"

static void set_slot(Pair *p, unsigned id, uint32_t flags, uint64_t gpa, uint64_t pages)
{
    struct kvm_userspace_memory_region r = {id, flags, gpa, pages * PAGE, (uintptr_t)p->memory};

    OK(pair_ask(p, KVM_SET_USER_MEMORY_REGION, &r, &r, "a slot"));
}

/* Both logs say the same; returns how many pages are in them. */
static unsigned count_dirty(Pair *p, unsigned id)
{
    struct kvm_dirty_log ours = {.slot = id, .dirty_bitmap = p->bitmap[0]}, theirs = ours;
    unsigned pages = 0;

    theirs.dirty_bitmap = p->bitmap[1];
    memset(p->bitmap, 0, sizeof p->bitmap);
    OK(pair_ask(p, KVM_GET_DIRTY_LOG, &ours, &theirs, "KVM_GET_DIRTY_LOG"));
    assert_memory_equal(p->bitmap[0], p->bitmap[1], BITMAP);
    for (unsigned i = 0; i < BITMAP; i++) {
        pages += (unsigned)__builtin_popcount(p->bitmap[0][i]);
    }
    return pages;
}

/* What a slot knows when its flags change, it is moved, or deleted and made again. */
static void bits_of_a_slot_that_changes(void **state)
{
    static const Mode modes[] = {PLAIN, MANUAL};
    Pair p;

    (void)state;
    for (unsigned m = 0; m < 2; m++) {
        pair_start(&p, 1, modes[m]);
        set_slot(&p, 1, KVM_MEM_LOG_DIRTY_PAGES, 0, 8);
        pair_store(&p, 0, 1, 4);
        pair_store(&p, 5 * PAGE, 1, 4);
        set_slot(&p, 1, KVM_MEM_LOG_DIRTY_PAGES, 8 * PAGE, 8);
        unsigned moved = count_dirty(&p, 1);
        print_message("# %u of 2 bits are left after a move\n", moved);
        pair_store(&p, 9 * PAGE, 1, 4);
        assert_int_equal(count_dirty(&p, 1), modes[m] == PLAIN ? 1 : moved + 1);
        pair_store(&p, 10 * PAGE, 1, 4);
        set_slot(&p, 1, 0, 8 * PAGE, 8);
        set_slot(&p, 1, KVM_MEM_LOG_DIRTY_PAGES, 8 * PAGE, 8);
        assert_int_equal(count_dirty(&p, 1), 0);
        pair_store(&p, 10 * PAGE, 1, 4);
        set_slot(&p, 1, 0, 8 * PAGE, 0);
        set_slot(&p, 1, KVM_MEM_LOG_DIRTY_PAGES, 8 * PAGE, 8);
        assert_int_equal(count_dirty(&p, 1), 0);
        pair_store(&p, 10 * PAGE, 1, 4);
        assert_int_equal(count_dirty(&p, 1), 1);
        pair_end(&p);
    }
}

/* ---- Rings ------------------------------------------------------------------------------- */

#define RING_ENTRIES 256 /* of a page */

typedef struct Harvest {
    unsigned next, entries;
    bool page[256]; /* of slot 1 */
} Harvest;

static void harvest(Harvest *h, struct kvm_dirty_gfn *ring)
{
    memset(h->page, 0, sizeof h->page);
    h->entries = 0;
    for (;; h->next++, h->entries++) {
        struct kvm_dirty_gfn *entry = &ring[h->next % RING_ENTRIES];
        if (__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY) {
            return;
        }
        assert_int_equal(entry->slot, 1);
        assert_true(entry->offset < 256);
        h->page[entry->offset] = true;
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    }
}

typedef struct Rings {
    Pair p;
    struct kvm_dirty_gfn *ours, *theirs;
    Harvest our, their;
} Rings;

static void rings_start(Rings *r, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    pair_start(&r->p, seed, RING);
    r->ours = (struct kvm_dirty_gfn *)(void *)(r->p.area + KVM_DIRTY_LOG_PAGE_OFFSET * PAGE);
    r->theirs = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, r->p.host.vcpu,
                     KVM_DIRTY_LOG_PAGE_OFFSET * PAGE);
    assert_ptr_not_equal(r->theirs, MAP_FAILED);
}

static void rings_end(Rings *r)
{
    munmap(r->theirs, PAGE);
    pair_end(&r->p);
}

/* Take, compare and give back; the kernel may name a page twice. */
static unsigned rings_compare(Rings *r)
{
    harvest(&r->our, r->ours);
    harvest(&r->their, r->theirs);
    for (unsigned n = 0; n < 256; n++) {
        if (r->our.page[n] != r->their.page[n]) {
            fail_msg("step %u: page %u: %d, the kernel says %d", r->p.step, n, r->our.page[n],
                     r->their.page[n]);
        }
    }
    int ours = kvm_fake_ioctl(r->p.fake, r->p.fake_vm, KVM_RESET_DIRTY_RINGS, NULL);
    assert_int_equal(ours, r->our.entries);
    assert_int_equal(ioctl(r->p.host.vm, KVM_RESET_DIRTY_RINGS, 0), r->their.entries);
    return r->our.entries;
}

static void rings_name_the_same_pages(void **state)
{
    Rings r;
    unsigned entries = 0;

    (void)state;
    rings_start(&r, 7);
    set_slot(&r.p, 1, KVM_MEM_LOG_DIRTY_PAGES, 0, 24);
    for (r.p.step = 0; r.p.step < 1500; r.p.step++) {
        unsigned what = rng_below(&r.p.rng, 100);
        if (what < 85) {
            pair_store(&r.p, rng_below(&r.p.rng, 24) * PAGE, 1, 4);
        } else if (what < 95) {
            entries += rings_compare(&r);
        } else { /* entries of a slot that is gone may still be given back */
            harvest(&r.our, r.ours);
            harvest(&r.their, r.theirs);
            set_slot(&r.p, 1, 0, 0, 0);
            set_slot(&r.p, 1, KVM_MEM_LOG_DIRTY_PAGES, 0, 24);
            assert_int_equal(kvm_fake_ioctl(r.p.fake, r.p.fake_vm, KVM_RESET_DIRTY_RINGS, NULL),
                             r.our.entries);
            assert_int_equal(ioctl(r.p.host.vm, KVM_RESET_DIRTY_RINGS, 0), r.their.entries);
        }
    }
    print_message("# %u entries\n", entries);
    assert_true(entries > 500);
    rings_end(&r);
}

/* A vCPU stops before its ring overflows, and goes on when it has been reset. */
static void rings_fill_up(void **state)
{
    Rings r;
    uint32_t data = 1;
    unsigned ours = 0, theirs = 0;

    (void)state;
    rings_start(&r, 8);
    void *memory =
        mmap(NULL, 220 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    struct kvm_userspace_memory_region region = {1, KVM_MEM_LOG_DIRTY_PAGES, 0, 220 * PAGE,
                                                 (uintptr_t)memory};
    OK(pair_ask(&r.p, KVM_SET_USER_MEMORY_REGION, &region, &region, "a slot"));
    while (kvm_fake_guest_write(r.p.fake, 0, 0, ours * PAGE, &data, 4) == KVM_FAKE_DONE) {
        ours++;
    }
    while (kvm_host_store(&r.p.host, theirs * PAGE, data, 4) == KVM_FAKE_DONE) {
        theirs++;
    }
    print_message("# a ring of %u entries is full after %u pages, the kernel's after %u\n",
                  RING_ENTRIES, ours, theirs);
    assert_true(ours >= theirs && ours < RING_ENTRIES && theirs > RING_ENTRIES / 2);
    assert_int_equal(((struct kvm_run *)(void *)r.p.area)->exit_reason, KVM_EXIT_DIRTY_RING_FULL);
    assert_int_equal(r.p.host.run->exit_reason, KVM_EXIT_DIRTY_RING_FULL);
    harvest(&r.our, r.ours);
    assert_int_equal(r.our.entries, ours);
    assert_int_equal(kvm_fake_guest_write(r.p.fake, 0, 0, 0, &data, 4), KVM_FAKE_RING_FULL);
    OK(kvm_fake_ioctl(r.p.fake, r.p.fake_vm, KVM_RESET_DIRTY_RINGS, NULL) != (int)ours);
    assert_int_equal(kvm_fake_guest_write(r.p.fake, 0, 0, 0, &data, 4), KVM_FAKE_DONE);
    harvest(&r.their, r.theirs);
    assert_true(ioctl(r.p.host.vm, KVM_RESET_DIRTY_RINGS, 0) > 0);
    assert_int_equal(kvm_host_store(&r.p.host, 0, data, 4), KVM_FAKE_DONE);
    munmap(memory, 220 * PAGE);
    rings_end(&r);
}

/* ---- Private memory ---------------------------------------------------------------------- */

static void guest_memfds(void **state)
{
    Pair p;
    struct kvm_create_guest_memfd make = {.size = 0x10000};
    static const struct {
        uint32_t slot, flags;
        uint64_t gpa, size, offset;
        int fd; /* 0: the right one */
    } tries[] = {
        {1, 4, 0x0, 0x1000, 0x0, 0},       {2, 4, 0x1000, 0x1000, 0x0, 0},
        {2, 4, 0x1000, 0x1000, 0x1000, 0}, {2, 5, 0x1000, 0x1000, 0x1000, 0},
        {2, 4, 0x2000, 0x1000, 0x1000, 0}, {3, 4, 0x5000, 0x2000, 0xf000, 0},
        {3, 4, 0x5000, 0x1000, 0x800, 0},  {3, 6, 0x5000, 0x1000, 0x3000, 0},
        {3, 5, 0x5000, 0x1000, 0x3000, 0}, {3, 4, 0x5000, 0x1000, 0x3000, -1},
        {1, 4, 0x0, 0x0, 0x0, 0},          {2, 4, 0x0, 0x1000, 0x0, 0},
        {3, 4, 0x5000, 0x1000, 0x0, 0},
    };

    (void)state;
    pair_start(&p, 9, PLAIN);
    if (ioctl(p.host.vm, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD) <= 0) {
        print_message("# skipped: this kernel has no guest_memfd\n");
        pair_end(&p);
        skip();
    }
    int ours = kvm_fake_ioctl(p.fake, p.fake_vm, KVM_CREATE_GUEST_MEMFD, &make);
    int theirs = ioctl(p.host.vm, KVM_CREATE_GUEST_MEMFD, &make);
    assert_true(ours >= 0 && theirs >= 0);
    for (unsigned i = 0; i < sizeof tries / sizeof *tries; i++) {
        struct kvm_userspace_memory_region2 r = {.slot = tries[i].slot,
                                                 .flags = tries[i].flags,
                                                 .guest_phys_addr = tries[i].gpa,
                                                 .memory_size = tries[i].size,
                                                 .userspace_addr = (uintptr_t)p.memory,
                                                 .guest_memfd_offset = tries[i].offset,
                                                 .guest_memfd =
                                                     (uint32_t)(tries[i].fd ? tries[i].fd : ours)};
        struct kvm_userspace_memory_region2 other = r;
        other.guest_memfd = (uint32_t)(tries[i].fd ? tries[i].fd : theirs);
        p.step = i;
        pair_ask(&p, KVM_SET_USER_MEMORY_REGION2, &r, &other, "a slot with a guest_memfd");
    }
    close(ours);
    close(theirs);
    pair_end(&p);
}

/* What the running kernel here does not have: pages are private or shared, and the guest minds. */
static void private_pages(void **state)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    struct kvm_memory_attributes private = {0x1000, 0x2000, KVM_MEMORY_ATTRIBUTE_PRIVATE, 0};
    static uint8_t memory[4 * PAGE] __attribute__((aligned(4096)));
    uint32_t data = 0x12345678, seen = 0;

    (void)state;
    caps.memory_attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE;
    KvmFake *fake = kvm_fake_create(&caps);
    int vm = kvm_fake_ioctl(fake, kvm_fake_fd(fake), KVM_CREATE_VM, NULL);
    struct kvm_create_guest_memfd make = {.size = 4 * PAGE};
    int fd = kvm_fake_ioctl(fake, vm, KVM_CREATE_GUEST_MEMFD, &make);
    struct kvm_userspace_memory_region2 r = {.flags = KVM_MEM_GUEST_MEMFD,
                                             .memory_size = 4 * PAGE,
                                             .userspace_addr = (uintptr_t)memory,
                                             .guest_memfd = (uint32_t)fd};
    OK(kvm_fake_ioctl(fake, vm, KVM_SET_USER_MEMORY_REGION2, &r));
    OK(kvm_fake_ioctl(fake, vm, KVM_SET_MEMORY_ATTRIBUTES, &private));
    assert_int_equal(kvm_fake_guest_write(fake, 0, 0, 0x1000, &data, 4), KVM_FAKE_MEMORY_FAULT);
    assert_int_equal(kvm_fake_guest_write_private(fake, 0, 0x1000, &data, 4), KVM_FAKE_DONE);
    assert_int_equal(memory[0x1000], 0);
    assert_int_equal(kvm_fake_guest_read_private(fake, 0, 0x1000, &seen, 4), KVM_FAKE_DONE);
    assert_int_equal(seen, data);
    assert_int_equal(kvm_fake_guest_write_private(fake, 0, 0x3000, &data, 4),
                     KVM_FAKE_MEMORY_FAULT);
    private.attributes = 0;
    private.size = 0x1000;
    OK(kvm_fake_ioctl(fake, vm, KVM_SET_MEMORY_ATTRIBUTES, &private));
    assert_int_equal(kvm_fake_guest_write(fake, 0, 0, 0x1000, &data, 4), KVM_FAKE_DONE);
    assert_true(kvm_fake_is_private(fake, 0x2000) && !kvm_fake_is_private(fake, 0x1fff));
    private.address = 0x800;
    assert_int_equal(kvm_fake_ioctl(fake, vm, KVM_SET_MEMORY_ATTRIBUTES, &private), -EINVAL);
    close(fd);
    close(vm);
    kvm_fake_destroy(fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_of_a_slot_that_changes),
        cmocka_unit_test(rings_name_the_same_pages),
        cmocka_unit_test(rings_fill_up),
        cmocka_unit_test(guest_memfds),
        cmocka_unit_test(private_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
