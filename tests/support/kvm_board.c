/* SPDX-License-Identifier: MIT */
#include "kvm_board.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "machine.h"

#define PAGE ((uint64_t)4096)

static void count_report(void *opaque, const Error *err)
{
    (void)err;
    ((KvmBoard *)opaque)->reports++;
}

/* A device with two zones of coalesced writes and two ioeventfds. */
static void make_card(KvmBoard *b)
{
    OK(memory_region_init_io(&b->card, memory_system_owner(b->ms), NULL, NULL, "card", PAGE));
    b->bell.fd = eventfd(0, EFD_CLOEXEC);
    assert_true(b->bell.fd >= 0);
    OK(memory_region_add_coalescing(&b->card, 0, 16));
    OK(memory_region_add_coalescing(&b->card, 32, 16));
    OK(memory_region_add_eventfd(&b->card, 64, 4, false, 0, &b->bell));
    OK(memory_region_add_eventfd(&b->card, 68, 4, true, 1, &b->bell));
}

void kvm_board_start(KvmBoard *b, unsigned nr_memslots)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;

    memset(b, 0, sizeof *b);
    b->ms = machine_start();
    make_ram(b->ms, &b->ram, "ram", 16 * PAGE);
    OK(memory_region_init_rom(&b->rom, memory_system_owner(b->ms), "rom", 4 * PAGE, NULL));
    make_alias(b->ms, &b->window, &b->ram, 8 * PAGE, 4 * PAGE);
    make_ram(b->ms, &b->aside, "aside", PAGE);
    make_alias(b->ms, &b->swapped[0], &b->ram, 0, 2 * PAGE);
    make_alias(b->ms, &b->swapped[1], &b->ram, 4 * PAGE, 2 * PAGE);
    OK(memory_region_init_io(&b->mmio, memory_system_owner(b->ms), NULL, NULL, "hole", PAGE));
    make_card(b);
    OK(memory_region_set_log(&b->ram, true, DIRTY_MEMORY_VGA));
    map_at(b->ms, 0, &b->ram);
    map_at(b->ms, 0x100000, &b->rom);
    map_at(b->ms, 0x200000, &b->swapped[0]);
    map_at(b->ms, 0x300000, &b->swapped[1]);
    caps.nr_memslots = nr_memslots;
    b->fake = kvm_fake_create(&caps);
    KVMConfig config = kvm_fake_config(b->fake);
    config.report = count_report;
    config.opaque = b;
    b->kvm = kvm_create(b->ms, &config, NULL);
    assert_non_null(b->kvm);
}

void kvm_board_end(KvmBoard *b)
{
    kvm_destroy(b->kvm);
    assert_int_equal(kvm_fake_slots(b->fake, 0), 0);
    assert_int_equal(kvm_fake_zones(b->fake) + kvm_fake_ioeventfds(b->fake), 0);
    machine_end(b->ms);
    kvm_fake_destroy(b->fake);
    close(b->bell.fd);
}

void kvm_board_slots(KvmBoard *b, KvmFound *found)
{
    found->slots = kvm_fake_copy_slots(b->fake, 0, found->slot, 64);
}

static bool finds(const KvmFound *f, uint64_t gpa, uint64_t *hva, uint32_t *flags)
{
    for (unsigned i = 0; i < f->slots; i++) {
        if (gpa >= f->slot[i].gpa && gpa - f->slot[i].gpa < f->slot[i].size) {
            *hva = f->slot[i].hva + (gpa - f->slot[i].gpa);
            *flags = f->slot[i].flags;
            return true;
        }
    }
    return false;
}

bool kvm_board_same(const KvmFound *a, const KvmFound *b)
{
    for (uint64_t gpa = 0; gpa < 0x500000; gpa += PAGE) {
        uint64_t hva[2] = {0, 0};
        uint32_t flags[2] = {0, 0};
        if (finds(a, gpa, &hva[0], &flags[0]) != finds(b, gpa, &hva[1], &flags[1]) ||
            hva[0] != hva[1] || flags[0] != flags[1]) {
            return false;
        }
    }
    return true;
}

void kvm_board_follows(KvmBoard *b, const char *what, unsigned long k)
{
    KvmFound found;
    FlatView *view = address_space_get_flatview(memory_system_memory(b->ms));
    MemoryRegionSection s;

    kvm_board_slots(b, &found);
    for (uint64_t gpa = 0; gpa < 0x500000; gpa += PAGE) {
        uint64_t hva = 0, wanted = 0;
        uint32_t flags = 0;
        if (flatview_lookup(view, gpa, &s) && memory_region_is_ram(s.mr)) {
            wanted = (uintptr_t)memory_region_get_ram_ptr(s.mr) + s.offset_within_region + gpa -
                     s.offset_within_address_space;
        }
        finds(&found, gpa, &hva, &flags);
        if (hva != wanted) {
            fail_msg("%s, call %lu: %#" PRIx64 " is %#" PRIx64 ", not %#" PRIx64, what, k, gpa, hva,
                     wanted);
        }
    }
    flatview_unref(view);
}

/* ---- one change each: 0 or a negative errno; forth, and back ----------------------------- */

int kvm_board_punch(KvmBoard *b, bool back)
{
    return back ? memory_region_del_subregion(get_system_memory(b->ms), &b->mmio)
                : memory_region_add_subregion_overlap(get_system_memory(b->ms), 5 * PAGE, &b->mmio,
                                                      1);
}

static int shift(KvmBoard *b, bool back)
{
    return memory_region_set_address(&b->ram, back ? 0 : 3 * PAGE);
}

static int turn_readonly(KvmBoard *b, bool back)
{
    return memory_region_set_readonly(&b->ram, !back);
}

int kvm_board_show(KvmBoard *b, bool back)
{
    return back ? memory_region_del_subregion(get_system_memory(b->ms), &b->window)
                : memory_region_add_subregion(get_system_memory(b->ms), 0x400000, &b->window);
}

static int plug(KvmBoard *b, bool back)
{
    int result = back ? memory_region_del_subregion(get_system_memory(b->ms), &b->card)
                      : memory_region_add_subregion(get_system_memory(b->ms), 0x490000, &b->card);
    unsigned there = kvm_fake_zones(b->fake) + kvm_fake_ioeventfds(b->fake);

    if (result || !kvm_fake_slots(b->fake, 0)) {
        return result;
    }
    assert_int_equal(there, back ? 0 : 4);
    return 0;
}

void kvm_board_touch(KvmBoard *b)
{
    map_at(b->ms, 0x480000, &b->aside);
    unmap(b->ms, &b->aside);
}

static int log_more(KvmBoard *b, bool back)
{
    return memory_region_set_log(&b->ram, back, DIRTY_MEMORY_VGA);
}

static void heal(KvmBoard *b)
{
    if (b->heal) {
        b->heal(b);
    }
}

static int set_places(KvmBoard *b, bool back)
{
    int one = memory_region_set_address(&b->swapped[0], back ? 0x200000 : 0x300000);
    int other = memory_region_set_address(&b->swapped[1], back ? 0x300000 : 0x200000);

    return one ? one : other;
}

static int change_places(KvmBoard *b, bool back)
{
    memory_region_transaction_begin(b->ms);
    int result = set_places(b, back);
    result = result ? result : memory_region_transaction_commit(b->ms);
    if (result && (set_places(b, !back) || memory_region_transaction_commit(b->ms))) {
        heal(b); /* even taking it back was refused */
        OK(set_places(b, !back));
        OK(memory_region_transaction_commit(b->ms));
    }
    return result;
}

static int much(KvmBoard *b, bool back)
{
    memory_region_transaction_begin(b->ms);
    OK(shift(b, back));
    OK(kvm_board_punch(b, back));
    OK(kvm_board_show(b, back));
    OK(memory_region_set_enabled(&b->rom, back));
    int result = memory_region_transaction_commit(b->ms);
    if (result) {
        OK(shift(b, !back));
        OK(kvm_board_punch(b, !back));
        OK(kvm_board_show(b, !back));
        OK(memory_region_set_enabled(&b->rom, !back));
        if (memory_region_transaction_commit(b->ms)) {
            heal(b);
            OK(memory_region_transaction_commit(b->ms));
        }
    }
    return result;
}

const KvmChange kvm_changes[KVM_CHANGES] = {
    {"punch a hole", kvm_board_punch, 4},
    {"shift", shift, 2},
    {"turn read-only", turn_readonly, 12},
    {"show", kvm_board_show, 2},
    {"end logging", log_more, 6},
    {"change places", change_places, 6},
    {"plug a card", plug, 0}, /* it has no slots */
    {"much", much, 10},
};
