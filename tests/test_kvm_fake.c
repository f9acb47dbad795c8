/* SPDX-License-Identifier: MIT */
/*
 * The oracle's oracle: the same random requests to the fake kernel and to the running one, and
 * what a guest then finds under both. Skipped where /dev/kvm cannot be used.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/kvm_pair.h"
#include "support/machine.h"

/* ---- Slots ------------------------------------------------------------------------------- */

static void random_numbers(Pair *p, struct kvm_userspace_memory_region *r)
{
    uintptr_t memory = (uintptr_t)p->memory;

    r->guest_phys_addr = (uint64_t)rng_below(&p->rng, GUEST_PAGES) * PAGE;
    r->memory_size = rng_below(&p->rng, 7) * PAGE;
    r->userspace_addr = memory + rng_below(&p->rng, 8) * PAGE;
    if (rng_percent(&p->rng, 10)) {
        r->guest_phys_addr =
            PICK(p, 1, 0x800, KVM_HOST_CODE, KVM_HOST_CODE - PAGE, 0x100000, (1ULL << 52) - PAGE,
                 1ULL << 52, (1ULL << 52) - 2 * PAGE, -(uint64_t)PAGE, 1ULL << 63);
    }
    if (rng_percent(&p->rng, 10)) {
        r->memory_size = PAGE * PICK(p, 64, 65, 63, 70, 1ULL << 31, (1ULL << 31) - 1, 1ULL << 40,
                                     1ULL << 51, 0) +
                         PICK(p, 0, 0, 0, 0, 1, 0x800);
    }
    if (rng_percent(&p->rng, 5)) {
        r->userspace_addr = PICK(p, memory + 1, memory + 0x800, 0, PAGE, 0x7fffffffe000,
                                 0x7ffffffff000, 0x800000000000, 1ULL << 63, -(uint64_t)PAGE);
    }
}

static struct kvm_userspace_memory_region random_region(Pair *p)
{
    struct kvm_userspace_memory_region r = {.slot = rng_below(&p->rng, 5)};
    KvmFakeSlot slot;

    if (rng_percent(&p->rng, 5)) {
        r.slot = (uint32_t)PICK(p, p->nr_memslots - 1, p->nr_memslots, 0xffff, 0x10000, 0x20001,
                                KVM_HOST_SLOT + 1);
    }
    r.flags = rng_below(&p->rng, 4);
    if (rng_percent(&p->rng, 3)) {
        r.flags |= 1U << (2 + rng_below(&p->rng, 30));
    }
    random_numbers(p, &r);
    if (rng_percent(&p->rng, 60) &&
        kvm_fake_slot(p->fake, r.slot >> 16, r.slot & 0xffff, &slot)) { /* change one thing of it */
        struct kvm_userspace_memory_region other = r;
        r = (struct kvm_userspace_memory_region){r.slot, slot.flags, slot.gpa, slot.size, slot.hva};
        switch (rng_below(&p->rng, 7)) {
        case 0:
            r.guest_phys_addr = other.guest_phys_addr;
            break;
        case 1:
            r.memory_size = other.memory_size;
            break;
        case 2:
            r.userspace_addr = other.userspace_addr;
            break;
        case 3:
            r.flags = other.flags;
            break;
        case 4:
            r.flags ^= KVM_MEM_LOG_DIRTY_PAGES;
            break;
        case 5:
            r.flags ^= KVM_MEM_LOG_DIRTY_PAGES;
            r.guest_phys_addr = other.guest_phys_addr;
            break;
        default:
            r.memory_size = 0;
        }
    }
    return r;
}

static void set_region(Pair *p)
{
    struct kvm_userspace_memory_region r = random_region(p);
    char what[160];

    snprintf(what, sizeof what, "slot %#x flags %#x gpa %#llx size %#llx hva %#llx", r.slot,
             r.flags, r.guest_phys_addr, r.memory_size, r.userspace_addr);
    /* a bitmap for a slot of terabytes is the kernel's to refuse or not */
    if (r.flags & KVM_MEM_LOG_DIRTY_PAGES && r.memory_size > (1ULL << 30)) {
        return;
    }
    if (rng_percent(&p->rng, 20)) {
        struct kvm_userspace_memory_region2 two = {.slot = r.slot,
                                                   .flags =
                                                       r.flags & ~(uint32_t)KVM_MEM_GUEST_MEMFD,
                                                   .guest_phys_addr = r.guest_phys_addr,
                                                   .memory_size = r.memory_size,
                                                   .userspace_addr = r.userspace_addr};
        if (ioctl(p->host.kvm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY2) > 0) {
            pair_ask(p, KVM_SET_USER_MEMORY_REGION2, &two, &two, what);
            return;
        }
    }
    pair_ask(p, KVM_SET_USER_MEMORY_REGION, &r, &r, what);
}

/* ---- The dirty log ----------------------------------------------------------------------- */

static uint32_t random_slot(Pair *p)
{
    return rng_percent(&p->rng, 5)
               ? (uint32_t)PICK(p, p->nr_memslots - 1, p->nr_memslots, 0x10000, 0xffffffff)
               : rng_below(&p->rng, 5);
}

/* Their bitmaps may be as large as the largest slot that is logged. */
static void get_log(Pair *p, uint32_t number)
{
    struct kvm_dirty_log ours = {.slot = number, .dirty_bitmap = p->bitmap[0]}, theirs = ours;

    theirs.dirty_bitmap = p->bitmap[1];
    memset(p->bitmap, 0xa5, sizeof p->bitmap);
    pair_ask(p, KVM_GET_DIRTY_LOG, &ours, &theirs, "KVM_GET_DIRTY_LOG");
    if (memcmp(p->bitmap[0], p->bitmap[1], BITMAP)) {
        fail_msg("step %u: dirty log of slot %u: %02x%02x%02x..., the kernel's %02x%02x%02x...",
                 p->step, number, p->bitmap[0][0], p->bitmap[0][1], p->bitmap[0][2],
                 p->bitmap[1][0], p->bitmap[1][1], p->bitmap[1][2]);
    }
}

static void clear_log(Pair *p)
{
    static uint8_t bitmap[BITMAP];
    struct kvm_clear_dirty_log arg = {
        .slot = random_slot(p),
        .num_pages = (uint32_t)PICK(p, 0, 1, 2, 3, 4, 5, 6, 63, 64, 65, 70, 128),
        .first_page = PICK(p, 0, 0, 0, 0, 64, 64, 128, 1, 63, 1ULL << 40, UINT64_MAX),
        .dirty_bitmap = bitmap};
    char what[80];

    for (unsigned i = 0; i < 24; i++) {
        bitmap[i] = (uint8_t)(rng_next(&p->rng) | rng_next(&p->rng));
    }
    snprintf(what, sizeof what, "clear slot %u, %u pages at %llu", arg.slot, arg.num_pages,
             arg.first_page);
    pair_ask(p, KVM_CLEAR_DIRTY_LOG, &arg, &arg, what);
}

/* ---- The guest --------------------------------------------------------------------------- */

static void store(Pair *p)
{
    uint32_t page = rng_below(&p->rng, GUEST_PAGES + 6) * PAGE;
    uint32_t within = (uint32_t)PICK(p, 0, 32, 0x40, 0x42, 0x44, 0x48);

    pair_store(p, page + within, rng_below(&p->rng, 3), 1U << rng_below(&p->rng, 3));
}

static void out(Pair *p)
{
    uint64_t port = 0x500 + PAGE * rng_below(&p->rng, 8) + PICK(p, 0, 2, 4, 32);

    pair_out(p, (uint16_t)port, rng_below(&p->rng, 3), 1U << rng_below(&p->rng, 3));
}

/* ---- Buses --------------------------------------------------------------------------------- */

static void set_ioeventfd(Pair *p)
{
    bool pio = rng_percent(&p->rng, 40);
    unsigned number = rng_below(&p->rng, EVENTFDS);
    struct kvm_ioeventfd ours = {
        .datamatch = rng_below(&p->rng, 3),
        .addr =
            pio ? 0x500 + PAGE * rng_below(&p->rng, 4) + 32 * rng_below(&p->rng, 2)
                : rng_below(&p->rng, GUEST_PAGES + 6) / 8 * 8 * PAGE + 32 * rng_below(&p->rng, 2),
        .len = (uint32_t)PICK(p, 0, 1, 2, 4, 4, 4, 8, 3, 5, 16),
        .fd = p->event[0][number],
        .flags = rng_below(&p->rng, 8) & ~2U};
    char what[120];

    ours.flags |= pio ? KVM_IOEVENTFD_FLAG_PIO : 0;
    if (rng_percent(&p->rng, 4)) {
        ours.addr = PICK(p, UINT64_MAX, UINT64_MAX - 3, UINT64_MAX - 7, 0x20000);
    }
    if (rng_percent(&p->rng, 2)) {
        ours.flags |= (uint32_t)PICK(p, 32, 64, 1U << 31, 8);
    }
    struct kvm_ioeventfd theirs = ours;
    theirs.fd = p->event[1][number];
    if (rng_percent(&p->rng, 4)) {
        ours.fd = theirs.fd = rng_percent(&p->rng, 50) ? -1 : p->host.vm;
    }
    snprintf(what, sizeof what, "ioeventfd addr %#llx len %u flags %#x data %llu fd %d", ours.addr,
             ours.len, ours.flags, ours.datamatch, ours.fd);
    pair_ask(p, KVM_IOEVENTFD, &ours, &theirs, what);
}

static void set_zone(Pair *p)
{
    bool add = rng_percent(&p->rng, 55);
    struct kvm_coalesced_mmio_zone zone = {
        .addr = (uint64_t)rng_below(&p->rng, GUEST_PAGES + 6) * PAGE + 0x40,
        .size = (uint32_t)PICK(p, 1, 2, 4, 8, 16, PAGE, 2 * PAGE)};

    if (rng_percent(&p->rng, 40)) {
        zone.pio = 1;
        zone.addr = 0x500 + PAGE * (2 + rng_below(&p->rng, 6)) + rng_below(&p->rng, 8);
    }
    if (rng_percent(&p->rng, 3)) {
        zone.pio = 2 + rng_below(&p->rng, 9);
    }
    if (p->overlaps && rng_percent(&p->rng, 10)) {
        zone.size = 0; /* which the kernel takes, and may find nothing beside any more */
    }
    if (add && !p->overlaps) {
        unsigned zones = p->fake->zones;
        assert_true(zones < BUS_DEVICES);
        p->fake->zone[p->fake->zones++] = zone;
        bool ambiguous = pair_is_ambiguous(p->fake, zone.pio);
        p->fake->zones = zones;
        if (ambiguous) {
            return;
        }
    }
    pair_ask(p, add ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &zone, &zone,
             add ? "register a zone" : "unregister a zone");
}

/* ---- Tests --------------------------------------------------------------------------------- */

static void tell(const Pair *p, const char *title)
{
    print_message("# %s: %lu answers compared (%lu agreed, %lu refused, %lu others)\n", title,
                  p->done, p->agreed[0], p->agreed[1], p->agreed[2]);
}

static void compare(Mode mode, const char *title)
{
    Pair p;
    unsigned long done = 0;

    for (uint64_t seed = 1; seed <= 3; seed++) {
        pair_start(&p, 4 * seed + mode, mode);
        p.overlaps = seed == 3;
        for (p.step = 0; p.step < 4000; p.step++) {
            unsigned what = rng_below(&p.rng, 100);
            if (what < 35) {
                set_region(&p);
            } else if (what < 50) {
                get_log(&p, random_slot(&p));
            } else if (what < 60) {
                clear_log(&p);
            } else if (what < 80) {
                store(&p);
            } else if (what < 85) {
                out(&p);
            } else if (what < 95) {
                set_ioeventfd(&p);
            } else {
                set_zone(&p);
            }
        }
        done += p.done;
        tell(&p, title);
        pair_end(&p);
    }
    assert_true(done > 8000);
}

static void the_bitmap(void **state)
{
    (void)state;
    compare(PLAIN, "bitmap");
}

static void manual_protect(void **state)
{
    (void)state;
    compare(MANUAL, "manual");
}

static void manual_and_all_set_at_first(void **state)
{
    (void)state;
    compare(ALL_SET, "manual, all set at first");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bitmap),
        cmocka_unit_test(manual_protect),
        cmocka_unit_test(manual_and_all_set_at_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
