/* SPDX-License-Identifier: MIT */
/*
 * KVM's slots follow the view: random edits with the fake kernel behind KVM. After every commit
 * the slots say of each page what the oracle reads from the flat view, and no more ioctls were
 * made than it takes.
 */
#include "support/kvm_scene.h"
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

#define PAGE ((uint64_t)KVM_ORACLE_PAGE)
#define SPACES 2
#define SLOTS 256
#define GONE 512

/* How many commits needed how many ioctls more than the minimum; the last: even more. */
typedef struct Tally {
    unsigned long over[4], inexact, commits, quiet, ioctls, moves, pauses;
} Tally;

typedef struct Mirrored {
    KvmScene scene;
    KvmFake *fake;
    KVMState *kvm;
    KVMMemoryListener listener[SPACES];
    unsigned spaces;
    bool readonly_mem;
    uint64_t max_slot_size;
    KvmFakeSlot before[SPACES][SLOTS];
    unsigned count[SPACES];
    bool paused, was_paused; /* now; within this commit */
    bool had_to_pause;
    KvmFakeSlot gone[GONE]; /* from where they were; .used: while vCPUs might run */
    unsigned nr_gone;
    Tally *tally;
    uint64_t seed;
    unsigned edit;
} Mirrored;

static AddressSpace *space_of(Mirrored *m, unsigned as_id)
{
    return as_id ? &m->scene.smm : memory_system_memory(m->scene.ms);
}

/* ---- What the kernel does not mind ---------------------------------------------------------- */

static void pause_vcpus(void *opaque)
{
    Mirrored *m = opaque;

    assert_false(m->paused);
    m->paused = m->was_paused = true;
}

static void resume_vcpus(void *opaque)
{
    Mirrored *m = opaque;

    assert_true(m->paused);
    m->paused = false;
}

static void on_slot_change(void *opaque, const KvmFakeSlot *before, const KvmFakeSlot *after)
{
    Mirrored *m = opaque;
    bool stays = before && after && before->gpa == after->gpa;

    if (!before || stays) {
        return;
    }
    if (before->flags & KVM_MEM_LOG_DIRTY_PAGES) {
        assert_true(m->paused); /* or pages that are written meanwhile are lost */
        m->had_to_pause = true;
    }
    assert_true(m->nr_gone < GONE);
    m->gone[m->nr_gone] = *before;
    m->gone[m->nr_gone].dirty = m->gone[m->nr_gone].writable = NULL;
    m->gone[m->nr_gone++].used = !m->paused;
}

/*
 * Where a slot went while vCPUs ran, nothing may have come instead: it was a hole for a while. And
 * they may be kept out only for that, or for what is logged.
 */
static void check_holes(Mirrored *m, const KvmPages *after, unsigned as_id)
{
    for (unsigned i = 0; i < m->nr_gone; i++) {
        const KvmFakeSlot *slot = &m->gone[i];
        for (uint64_t at = 0; at < slot->size && slot->as_id == as_id; at += PAGE) {
            if (!after->page[(slot->gpa + at - after->base) / PAGE].hva) {
                continue;
            }
            m->had_to_pause = true;
            if (slot->used) {
                fail_msg("seed %" PRIu64 ", edit %u: the guest saw a hole at %#" PRIx64
                         " while the map changed (%s)",
                         m->seed, m->edit, slot->gpa + at, m->scene.did);
            }
        }
    }
}

/* ---- After a commit ------------------------------------------------------------------------- */

static void take_before(Mirrored *m)
{
    for (unsigned as_id = 0; as_id < m->spaces; as_id++) {
        m->count[as_id] = kvm_fake_copy_slots(m->fake, as_id, m->before[as_id], SLOTS);
        assert_true(m->count[as_id] < SLOTS);
    }
    kvm_fake_forget_calls(m->fake);
    m->was_paused = m->had_to_pause = false;
    m->nr_gone = 0;
    m->scene.did[0] = 0;
}

/* Calls for one space; counts the moves among them. */
static unsigned slot_calls(Mirrored *m, unsigned as_id)
{
    unsigned calls = 0;
    KvmFakeCall call;

    for (unsigned long n = 0; kvm_fake_call(m->fake, n, &call); n++) {
        if (call.request != KVM_SET_USER_MEMORY_REGION &&
            call.request != KVM_SET_USER_MEMORY_REGION2) {
            continue;
        }
        assert_int_equal(call.result, 0);
        calls += call.region.slot >> 16 == as_id;
    }
    return calls;
}

static void print_slots(const char *title, const KvmFakeSlot *slot, unsigned slots)
{
    for (unsigned i = 0; i < slots; i++) {
        print_message("# %s slot %u: %#" PRIx64 "+%#" PRIx64 " at %#" PRIx64 " flags %u\n", title,
                      slot[i].id, slot[i].gpa, slot[i].size, slot[i].hva, slot[i].flags);
    }
}

static void print_calls(Mirrored *m)
{
    KvmFakeCall call;

    for (unsigned long n = 0; kvm_fake_call(m->fake, n, &call); n++) {
        print_message("# call %lu: request %#lx slot %u: %#llx+%#llx at %#llx flags %u: %d\n", n,
                      call.request, call.region.slot, call.region.guest_phys_addr,
                      call.region.memory_size, call.region.userspace_addr, call.region.flags,
                      call.result);
    }
}

static void compare_pages(Mirrored *m, const KvmPages *wanted, const KvmPages *found,
                          unsigned as_id)
{
    int n = kvm_oracle_difference(wanted, found);

    if (n < 0) {
        return;
    }
    print_slots("before:", m->before[as_id], m->count[as_id]);
    print_calls(m);
    fail_msg("seed %" PRIu64 ", edit %u, space %u: page %d is %#" PRIx64 "%s%s, not %#" PRIx64
             "%s%s (%s)",
             m->seed, m->edit, as_id, n, found->page[n].hva, found->page[n].readonly ? " ro" : "",
             found->page[n].log ? " log" : "", wanted->page[n].hva,
             wanted->page[n].readonly ? " ro" : "", wanted->page[n].log ? " log" : "",
             m->scene.did);
}

static void count_ioctls(Mirrored *m, const KvmPages *after, unsigned as_id)
{
    unsigned calls = slot_calls(m, as_id);
    KvmMinimum least =
        kvm_oracle_minimum(m->before[as_id], m->count[as_id], after, m->max_slot_size, calls);
    unsigned over = calls - least.ioctls;

    assert_true(calls >= least.ioctls);
    m->tally->commits++;
    m->tally->quiet += !calls;
    m->tally->ioctls += calls;
    m->tally->inexact += !least.exact;
    m->tally->over[over < 3 ? over : 3]++;
    if (over > (m->max_slot_size != 0) && getenv("KVM_MIRROR_VERBOSE")) {
        print_message(
            "# seed %" PRIu64 ", edit %u, space %u: %u ioctls, the minimum is %u%s (%s)\n", m->seed,
            m->edit, as_id, calls, least.ioctls, least.exact ? "" : " or more", m->scene.did);
        print_slots("before:", m->before[as_id], m->count[as_id]);
        print_calls(m);
    }
}

/* The slots as membus tells of them are those that the kernel has. */
static bool is_in_fake(const KVMSlot *slot, void *opaque)
{
    Mirrored *m = opaque;
    KvmFakeSlot found;

    assert_true(kvm_fake_slot(m->fake, slot->as_id, slot->slot, &found));
    assert_int_equal(found.gpa, slot->start_addr);
    assert_int_equal(found.size, slot->memory_size);
    assert_int_equal(found.hva, (uintptr_t)slot->ram);
    assert_int_equal(found.flags, slot->flags);
    return false;
}

static void check_space(Mirrored *m, unsigned as_id)
{
    static KvmFakeSlot slot[SLOTS];
    KvmPages wanted = {.base = m->scene.base}, found = wanted;
    unsigned slots = kvm_fake_copy_slots(m->fake, as_id, slot, SLOTS);
    FlatView *view = address_space_get_flatview(space_of(m, as_id));

    assert_true(kvm_oracle_view(&wanted, view, m->readonly_mem));
    flatview_unref(view);
    assert_true(kvm_oracle_slots(&found, slot, slots));
    compare_pages(m, &wanted, &found, as_id);
    count_ioctls(m, &wanted, as_id);
    check_holes(m, &wanted, as_id);
    for (unsigned i = 0; i < slots && m->max_slot_size; i++) {
        assert_true(slot[i].size <= m->max_slot_size);
    }
    assert_int_equal(kvm_get_free_memslots(m->kvm, as_id), kvm_get_max_memslots(m->kvm) - slots);
}

static void check(Mirrored *m)
{
    for (unsigned as_id = 0; as_id < m->spaces; as_id++) {
        check_space(m, as_id);
    }
    assert_false(m->paused);
    if (m->was_paused && !m->had_to_pause) {
        fail_msg("seed %" PRIu64 ", edit %u: vCPUs were stopped for nothing (%s)", m->seed, m->edit,
                 m->scene.did);
    }
    m->tally->pauses += m->was_paused;
    if (m->edit % 64 == 0) {
        kvm_for_each_slot(m->kvm, is_in_fake, m);
    }
}

/* ---- The walk -------------------------------------------------------------------------------- */

typedef struct Kind {
    const char *name;
    unsigned spaces;
    bool no_readonly;
    uint64_t max_slot_size, base;
} Kind;

static void start(Mirrored *m, const Kind *kind, uint64_t seed, Tally *tally)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;
    Error *err = NULL;

    memset(m, 0, sizeof *m);
    m->seed = seed;
    m->tally = tally;
    m->spaces = kind->spaces;
    m->readonly_mem = !kind->no_readonly;
    m->max_slot_size = kind->max_slot_size;
    kvm_scene_start(&m->scene, seed, kind->base);
    caps.nr_memslots = SLOTS - 1;
    caps.nr_address_spaces = kind->spaces;
    caps.readonly_mem = m->readonly_mem;
    m->fake = kvm_fake_create(&caps);
    assert_non_null(m->fake);
    KVMConfig config = kvm_fake_config(m->fake);
    config.max_slot_size = kind->max_slot_size;
    config.pause_vcpus = pause_vcpus;
    config.resume_vcpus = resume_vcpus;
    config.opaque = m;
    m->kvm = kvm_create(m->scene.ms, &config, &err);
    if (!m->kvm) {
        fail_msg("%s", error_get_pretty(err));
    }
    for (unsigned i = 0; i < m->spaces; i++) {
        OK(kvm_memory_listener_register(m->kvm, &m->listener[i], space_of(m, i), (int)i, "kvm"));
    }
    kvm_fake_on_slot_change(m->fake, on_slot_change, m);
}

static void end(Mirrored *m)
{
    for (unsigned i = 0; i < m->spaces; i++) {
        kvm_memory_listener_unregister(&m->listener[i]);
        assert_int_equal(kvm_fake_slots(m->fake, i), 0);
    }
    kvm_destroy(m->kvm);
    kvm_scene_end(&m->scene);
    kvm_fake_destroy(m->fake);
}

static void edit(Mirrored *m)
{
    unsigned edits = rng_percent(&m->scene.rng, 30) ? 2 + rng_below(&m->scene.rng, 6) : 1;

    take_before(m);
    if (edits > 1) {
        memory_region_transaction_begin(m->scene.ms);
    }
    for (unsigned i = 0; i < edits; i++) {
        int result = kvm_scene_edit(&m->scene);
        if (result) {
            fail_msg("seed %" PRIu64 ", edit %u: %s (%s)", m->seed, m->edit, membus_last_error(),
                     m->scene.did);
        }
    }
    if (edits > 1) {
        OK(memory_region_transaction_commit(m->scene.ms));
    }
    check(m);
}

static const Kind kinds[] = {
    {"plain", 1, false, 0, 0},
    {"slots of 4 pages at most", 1, false, 4 * 4096, 1ULL << 40},
    {"no read-only slots", 1, true, 0, 0},
    {"with SMM", 2, false, 0, 1ULL << 32},
};

static unsigned long wanted_edits(void)
{
    const char *from = getenv("KVM_MIRROR_EDITS");

    return from ? strtoul(from, NULL, 10) : 100000;
}

static void slots_follow_the_view(void **state)
{
    unsigned long edits = wanted_edits(), each = 2500;
    static Mirrored m;
    Tally all = {0};

    (void)state;
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        Tally tally = {0};
        for (unsigned long done = 0, seed = 1; done < edits / 4; done += each, seed++) {
            start(&m, &kinds[k], 4 * seed + k, &tally);
            for (m.edit = 0; m.edit < each; m.edit++) {
                edit(&m);
            }
            end(&m);
        }
        print_message("# %s: %lu updates (%lu without ioctls, %lu paused), %lu ioctls; over the "
                      "minimum by 0: %lu, 1: %lu, 2: %lu, more: %lu (%lu against a bound)\n",
                      kinds[k].name, tally.commits, tally.quiet, tally.pauses, tally.ioctls,
                      tally.over[0], tally.over[1], tally.over[2], tally.over[3], tally.inexact);
        for (unsigned i = 0; i < 4; i++) {
            all.over[i] += tally.over[i];
        }
        /* Where ranges take many slots, they compete for those that can be moved. */
        unsigned long allowed = kinds[k].max_slot_size ? 1 + tally.commits / 5000 : 0;
        assert_true(tally.over[2] + tally.over[3] <= allowed);
        all.commits += tally.commits;
        all.quiet += tally.quiet;
    }
    assert_true((all.over[0] - all.quiet) * 100 >= (all.commits - all.quiet) * 99);
}

/* ---- The oracle itself ---------------------------------------------------------------------- */

#define SOME_HVA 0x100000

/* A view of pages: each letter is a page of host memory (a: the first), a blank nothing. */
static void draw_pages(KvmPages *pages, const char *drawn)
{
    *pages = (KvmPages){0};
    for (unsigned n = 0; drawn[n]; n++) {
        if (drawn[n] != ' ') {
            pages->page[n].hva = SOME_HVA + (uint64_t)(drawn[n] - 'a') * PAGE;
        }
    }
}

/* Slots likewise, with a bar between two. */
static unsigned draw_slots(KvmFakeSlot *slot, const char *drawn)
{
    unsigned slots = 0;
    bool open = false;

    for (uint64_t gpa = 0; *drawn; drawn++) {
        if (*drawn == '|' || *drawn == ' ') {
            open = false;
        } else if (!open) {
            slot[slots++] = (KvmFakeSlot){
                .gpa = gpa, .size = PAGE, .hva = SOME_HVA + (uint64_t)(*drawn - 'a') * PAGE};
            open = true;
        } else {
            slot[slots - 1].size += PAGE;
        }
        gpa += *drawn == '|' ? 0 : PAGE;
    }
    return slots;
}

static void minima_by_hand(void **state)
{
    static const struct {
        const char *slots, *view;
        unsigned max, ioctls;
    } cases[] = {
        {"", "", 0, 0},
        {"abcd", "abcd", 0, 0},
        {"ab|cd", "abcd", 0, 0}, /* fragments are right */
        {"", "abcd", 0, 1},      /* a create */
        {"", "abcd", 2, 2},      /* two, if slots are short */
        {"", "abcde", 2, 3},
        {"abcd", "", 0, 1},          /* a delete */
        {"abcd", "ab d", 0, 3},      /* a hole punched */
        {"ab| |d", "abcd", 0, 1},    /* and closed */
        {"abcd", "    abcd", 0, 1},  /* a move */
        {"abcd", " abcd", 0, 1},     /* over itself */
        {"ab|cd", "    abcd", 0, 2}, /* two make one stretch */
        {"ab|cd", "    abcde", 0, 3},
        {"ab|cd", "    abcdef", 2, 3}, /* a part saves a create where slots are short */
        {"abc|cd", "     abcd", 0,
         3},                        /* they overlap: only one may be moved, which saves nothing */
        {"ab  cd", "cd  ab", 0, 3}, /* in a circle */
        {"ab|cd", "  ab", 0, 2},    /* after a delete */
        {"a|b|c", "bc", 0, 3},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        KvmFakeSlot slot[16];
        KvmPages pages;
        draw_pages(&pages, cases[i].view);
        unsigned slots = draw_slots(slot, cases[i].slots);
        KvmMinimum least = kvm_oracle_minimum(slot, slots, &pages, cases[i].max * PAGE, UINT32_MAX);
        assert_true(least.exact);
        if (least.ioctls != cases[i].ioctls) {
            fail_msg("from '%s' to '%s': %u, not %u", cases[i].slots, cases[i].view, least.ioctls,
                     cases[i].ioctls);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minima_by_hand),
        cmocka_unit_test(slots_follow_the_view),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
