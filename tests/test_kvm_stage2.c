/* SPDX-License-Identifier: MIT */
/*
 * The model's second-stage table: the example of its theory block, each rule alone, and random
 * faults, slots and logs against an array with one element for each guest page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/kvm_calls.h"
#include "support/machine.h"
#include "support/rng.h"

#define PAGE UINT64_C(0x1000)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define LOG KVM_MEM_LOG_DIRTY_PAGES
#define READONLY KVM_MEM_READONLY
#define MANUAL KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2

enum { PAGES = 3 << 18, SLOTS = 5, SPACES = 2, STEPS = 1000, SEEDS = 12, CHECK_EVERY = 50 };

typedef struct World {
    KVMModel *model;
    KvmCalls vm;
} World;

static void world_start(World *w, unsigned levels, hwaddr (*host_page)(void *opaque, uint64_t hva))
{
    KVMModelConfig config = {.levels = levels, .host_page_size = host_page};

    w->model = kvm_model_create(&config, NULL);
    assert_non_null(w->model);
    w->vm.kernel = kvm_model_kernel(w->model);
    w->vm.fd = kvm_call_on(&w->vm, kvm_model_fd(w->model), KVM_CREATE_VM, NULL);
    assert_true(w->vm.fd >= 0);
}

static void world_end(World *w)
{
    close(w->vm.fd);
    kvm_model_destroy(w->model);
}

static hwaddr one_gib(void *opaque, uint64_t hva)
{
    (void)opaque, (void)hva;
    return GIB;
}

/* ---- one walk as text: "4[0] 3[0] 2[1]=rwx" -------------------------------------------- */

static bool note_entry(const KVMModelEntry *e, void *opaque)
{
    char *text = opaque, rights[4] = "";
    size_t used = strlen(text);

    snprintf(rights, sizeof rights, "%s%s%s", e->spte & KVM_SPTE_READ ? "r" : "",
             e->spte & KVM_SPTE_WRITE ? "w" : "", e->spte & KVM_SPTE_EXECUTE ? "x" : "");
    snprintf(text + used, 200 - used, "%s%u[%u]%s%s", used ? " " : "", e->level, e->index,
             e->kind == KVM_ENTRY_LEAF          ? "="
             : e->kind == KVM_ENTRY_NOT_PRESENT ? "-"
                                                : "",
             e->kind == KVM_ENTRY_LEAF ? rights : "");
    return false;
}

static void expect_walk(const World *w, hwaddr gpa, const char *wanted)
{
    char text[200] = "";

    assert_false(kvm_model_walk(w->model, 0, gpa, note_entry, text));
    assert_string_equal(text, wanted);
}

static void expect_fault(const World *w, hwaddr gpa, bool is_write, KVMModelFault wanted)
{
    assert_int_equal(kvm_model_fault(w->model, 0, gpa, is_write), wanted);
}

static void the_drawn_example(void **state)
{
    World w;

    (void)state;
    world_start(&w, 4, NULL);
    assert_int_equal(kvm_call_set(&w.vm, 0, 0, 2 * MIB, 5 * MIB, 64 * MIB), 0);
    expect_walk(&w, 0x200000, "4[0]-");
    expect_fault(&w, 0x200000, false, KVM_FAULT_FIXED);
    expect_fault(&w, 0x600000, false, KVM_FAULT_FIXED);
    expect_walk(&w, 0x200000, "4[0] 3[0] 2[1]=rwx");
    expect_walk(&w, 0x400000, "4[0] 3[0] 2[2]-");
    expect_walk(&w, 0x600000, "4[0] 3[0] 2[3] 1[0]=rwx");
    expect_walk(&w, 0x601000, "4[0] 3[0] 2[3] 1[1]-");
    expect_fault(&w, 0x3fffff, true, KVM_FAULT_NONE);
    expect_fault(&w, 0x700000, false, KVM_FAULT_MMIO);
    expect_fault(&w, 0x1fffff, false, KVM_FAULT_MMIO);
    expect_walk(&w, 0x1fffff, "4[0] 3[0] 2[0]-");
    world_end(&w);
}

static void five_levels(void **state)
{
    World w;

    (void)state;
    world_start(&w, 5, one_gib);
    assert_int_equal(kvm_call_set(&w.vm, 0, READONLY, UINT64_C(1) << 48, GIB, GIB), 0);
    expect_fault(&w, UINT64_C(1) << 48, false, KVM_FAULT_FIXED);
    expect_walk(&w, (UINT64_C(1) << 48) + 5, "5[1] 4[0] 3[0]=rx");
    expect_fault(&w, UINT64_C(1) << 48, true, KVM_FAULT_MMIO);
    assert_int_equal(kvm_model_fault(w.model, 0, UINT64_C(1) << 57, false), -EINVAL);
    assert_int_equal(kvm_model_fault(w.model, 2, 0, false), -EINVAL);
    expect_walk(&w, UINT64_C(1) << 57, "");
    world_end(&w);
    world_start(&w, 4, one_gib);
    expect_fault(&w, (UINT64_C(1) << 48) - 1, true, KVM_FAULT_MMIO);
    assert_int_equal(kvm_model_fault(w.model, 0, UINT64_C(1) << 48, false), -EINVAL);
    world_end(&w);
}

static void logging_splits_on_writes(void **state)
{
    static uint64_t bits[GIB / PAGE / 64];
    World w;

    (void)state;
    world_start(&w, 4, one_gib);
    assert_int_equal(kvm_call_set(&w.vm, 0, 0, GIB, GIB, GIB), 0);
    expect_fault(&w, GIB, false, KVM_FAULT_FIXED);
    expect_walk(&w, GIB, "4[0] 3[1]=rwx");
    assert_int_equal(kvm_call_set(&w.vm, 0, LOG, GIB, GIB, GIB), 0);
    expect_walk(&w, GIB, "4[0] 3[1]=rx");
    expect_fault(&w, GIB, false, KVM_FAULT_NONE);
    expect_fault(&w, GIB + 0x5000, true, KVM_FAULT_FIXED);
    expect_walk(&w, GIB + 0x5000, "4[0] 3[1] 2[0] 1[5]=rwx");
    expect_walk(&w, GIB + 0x6000, "4[0] 3[1] 2[0] 1[6]=rx");
    expect_walk(&w, GIB + 2 * MIB, "4[0] 3[1] 2[1]=rx");
    assert_int_equal(kvm_call_get_log(&w.vm, 0, bits), 0);
    assert_int_equal(bits[0], 1 << 5);
    expect_walk(&w, GIB + 0x5000, "4[0] 3[1] 2[0] 1[5]=rx");
    expect_fault(&w, GIB + 0x5000, true, KVM_FAULT_FIXED);
    assert_int_equal(kvm_call_enable(&w.vm, MANUAL, 0, 1), 0);
    assert_int_equal(kvm_call_get_log(&w.vm, 0, bits), 0);
    expect_walk(&w, GIB + 0x5000, "4[0] 3[1] 2[0] 1[5]=rwx"); /* until it is cleared */
    assert_int_equal(kvm_call_clear_log(&w.vm, 0, 0, 64, bits), 0);
    expect_walk(&w, GIB + 0x5000, "4[0] 3[1] 2[0] 1[5]=rx");
    assert_int_equal(kvm_call_set(&w.vm, 0, 0, GIB, GIB, GIB), 0);
    expect_walk(&w, GIB + 0x5000, "4[0]-");
    expect_fault(&w, GIB + 0x5000, true, KVM_FAULT_FIXED);
    expect_walk(&w, GIB + 0x5000, "4[0] 3[1]=rwx");
    world_end(&w);
}

/* ---- the oracle: an element for each page ----------------------------------------------- */

typedef struct OracleSlot {
    bool there;
    uint64_t first, pages; /* pages from the window's begin */
    uint64_t hva;
    uint32_t flags;
    uint8_t *dirty; /* a byte a page */
} OracleSlot;

typedef struct OraclePage {
    uint8_t level; /* of the leaf; 0: none */
    bool writable;
    uint64_t hva;
} OraclePage;

typedef struct Oracle {
    OracleSlot slots[SLOTS];
    OraclePage *pages;
} Oracle;

typedef struct Run {
    World w;
    Rng rng;
    uint64_t base; /* GPA of the window, a multiple of 1 GiB */
    uint64_t manual;
    Oracle as[SPACES];
} Run;

/* What the host has differs from one GiB of it to the next. */
static hwaddr mixed_pages(void *opaque, uint64_t hva)
{
    static const hwaddr sizes[] = {GIB, 2 * MIB, GIB, PAGE};

    (void)opaque;
    return sizes[hva / GIB % 4];
}

static uint64_t leaf_pages(unsigned level)
{
    return level == 3 ? GIB / PAGE : level == 2 ? 2 * MIB / PAGE : 1;
}

static bool bare(const Oracle *o, uint64_t from, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (o->pages[from + i].level) {
            return false;
        }
    }
    return true;
}

/* Whether the slot's and the host's layout allow a leaf of @level at @page. */
static bool layout_allows(const OracleSlot *s, uint64_t page, unsigned level)
{
    uint64_t count = leaf_pages(level), from = page - page % count;

    if (from < s->first || from + count > s->first + s->pages) {
        return false;
    }
    uint64_t hva = s->hva + (from - s->first) * PAGE;
    return hva % (count * PAGE) == 0 && mixed_pages(NULL, hva) >= count * PAGE;
}

static void fill(Oracle *o, const OracleSlot *s, uint64_t from, unsigned level, bool writable)
{
    for (uint64_t i = from; i < from + leaf_pages(level); i++) {
        o->pages[i] = (OraclePage){(uint8_t)level, writable, s->hva + (i - s->first) * PAGE};
    }
}

static OracleSlot *oracle_slot_at(Oracle *o, uint64_t page)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        OracleSlot *s = &o->slots[i];
        if (s->there && page >= s->first && page < s->first + s->pages) {
            return s;
        }
    }
    return NULL;
}

static KVMModelFault oracle_fault(Oracle *o, uint64_t page, bool is_write)
{
    OracleSlot *s = oracle_slot_at(o, page);

    if (!s || (is_write && s->flags & READONLY)) {
        return KVM_FAULT_MMIO;
    }
    bool logged = s->flags & LOG;
    unsigned level = o->pages[page].level;
    if (level && (!is_write || o->pages[page].writable)) {
        return KVM_FAULT_NONE;
    }
    if (is_write && logged) {
        s->dirty[page - s->first] = 1;
    }
    if (!level) {
        level = 3;
        while (level > 1 && (logged || !layout_allows(s, page, level) ||
                             !bare(o, page - page % leaf_pages(level), leaf_pages(level)))) {
            level--;
        }
        fill(o, s, page - page % leaf_pages(level), level,
             !(s->flags & READONLY) && (is_write || !logged));
        return KVM_FAULT_FIXED;
    }
    if (!logged) {
        fill(o, s, page - page % leaf_pages(level), level, true);
        return KVM_FAULT_FIXED;
    }
    uint64_t first = page - page % leaf_pages(level), middle = page - page % leaf_pages(2);
    for (uint64_t i = first; level > 1 && i < first + leaf_pages(level); i++) {
        o->pages[i].level = i >= middle && i < middle + leaf_pages(2) ? 1 : 2;
    }
    o->pages[page].writable = true;
    return KVM_FAULT_FIXED;
}

static void oracle_zap(Oracle *o, const OracleSlot *s)
{
    for (uint64_t i = s->first; i < s->first + s->pages; i++) {
        o->pages[i] = (OraclePage){0};
    }
}

/* Small pages go wherever a large one could be. */
static void oracle_recover(Oracle *o, const OracleSlot *s)
{
    for (unsigned level = 3; level > 1; level--) {
        for (uint64_t from = 0; from < PAGES; from += leaf_pages(level)) {
            bool small = false;
            if (!layout_allows(s, from, level)) {
                continue;
            }
            for (uint64_t i = from; i < from + leaf_pages(level); i++) {
                small |= o->pages[i].level && o->pages[i].level < level;
            }
            if (small) {
                memset(&o->pages[from], 0, leaf_pages(level) * sizeof *o->pages);
            }
        }
    }
}

/* A write to the page, or to another one of its leaf, must be seen. */
static void oracle_protect(Oracle *o, uint64_t page)
{
    uint64_t count = o->pages[page].level ? leaf_pages(o->pages[page].level) : 1;

    for (uint64_t i = page - page % count; i < page - page % count + count; i++) {
        o->pages[i].writable = false;
    }
}

/* ---- random steps ------------------------------------------------------------------------- */

static void start_log(Run *r, OracleSlot *s)
{
    free(s->dirty);
    s->dirty = calloc(s->pages, 1);
    memset(s->dirty, r->manual == 3, s->pages);
}

static uint64_t random_page(Rng *rng)
{
    static const uint64_t steps[] = {1 << 18, 1 << 18, 512, 512, 512, 1};
    uint64_t step = steps[rng_below(rng, 6)];

    return rng_next(rng) % (PAGES / step) * step;
}

static bool overlaps(const Oracle *o, const OracleSlot *self, uint64_t first, uint64_t pages)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        const OracleSlot *s = &o->slots[i];
        if (s->there && s != self && first < s->first + s->pages && s->first < first + pages) {
            return true;
        }
    }
    return false;
}

static int set_slot(Run *r, unsigned as, unsigned id, const OracleSlot *s, uint64_t pages)
{
    return kvm_call_set(&r->w.vm, as << 16 | id, s->flags, r->base + s->first * PAGE, pages * PAGE,
                        s->hva);
}

static void create_slot(Run *r, unsigned as, unsigned id)
{
    Oracle *o = &r->as[as];
    OracleSlot wanted = {.there = true, .first = random_page(&r->rng)};

    wanted.pages = 1 + random_page(&r->rng);
    wanted.pages += rng_percent(&r->rng, 70) && wanted.pages % 512 == 1 ? 511 : 0;
    if (rng_percent(&r->rng, 25)) {
        wanted.first = rng_below(&r->rng, 2) * GIB / PAGE;
        wanted.pages = (1 + rng_below(&r->rng, 2)) * GIB / PAGE;
    }
    if (wanted.first + wanted.pages > PAGES) {
        wanted.pages = PAGES - wanted.first;
    }
    wanted.hva = (8 + rng_below(&r->rng, 4)) * GIB +
                 (rng_percent(&r->rng, 80) ? wanted.first * PAGE : random_page(&r->rng) * PAGE);
    wanted.flags = rng_percent(&r->rng, 70) ? 0 : rng_below(&r->rng, 4);
    bool taken = overlaps(o, NULL, wanted.first, wanted.pages);
    assert_int_equal(set_slot(r, as, id, &wanted, wanted.pages), taken ? -EEXIST : 0);
    if (!taken) {
        o->slots[id] = wanted;
        if (wanted.flags & LOG) {
            start_log(r, &o->slots[id]);
        }
    }
}

static void flip_log(Run *r, unsigned as, unsigned id)
{
    Oracle *o = &r->as[as];
    OracleSlot *s = &o->slots[id];

    s->flags ^= LOG;
    assert_int_equal(set_slot(r, as, id, s, s->pages), 0);
    if (!(s->flags & LOG)) {
        oracle_recover(o, s);
        return;
    }
    start_log(r, s);
    for (uint64_t i = s->first; r->manual != 3 && i < s->first + s->pages; i++) {
        o->pages[i].writable = false;
    }
}

static void move_slot(Run *r, unsigned as, unsigned id)
{
    Oracle *o = &r->as[as];
    OracleSlot *s = &o->slots[id], moved = *s;

    moved.first = random_page(&r->rng);
    if (moved.first == s->first || moved.first + moved.pages > PAGES) {
        return;
    }
    bool taken = overlaps(o, s, moved.first, moved.pages);
    assert_int_equal(set_slot(r, as, id, &moved, moved.pages), taken ? -EEXIST : 0);
    if (!taken) {
        oracle_zap(o, s);
        *s = moved;
    }
}

static void delete_slot(Run *r, unsigned as, unsigned id)
{
    OracleSlot *s = &r->as[as].slots[id];

    assert_int_equal(set_slot(r, as, id, s, 0), 0);
    oracle_zap(&r->as[as], s);
    free(s->dirty);
    *s = (OracleSlot){.there = false};
}

static void take_log(Run *r, unsigned as, unsigned id)
{
    static uint64_t bits[PAGES / 64];
    Oracle *o = &r->as[as];
    OracleSlot *s = &o->slots[id];

    if (!(s->flags & LOG)) {
        assert_int_equal(kvm_call_get_log(&r->w.vm, as << 16 | id, bits), -ENOENT);
        return;
    }
    assert_int_equal(kvm_call_get_log(&r->w.vm, as << 16 | id, bits), 0);
    for (uint64_t i = 0; i < s->pages; i++) {
        if ((bits[i / 64] >> i % 64 & 1) != s->dirty[i]) {
            fail_msg("page %#lx of slot %u: the log says otherwise", (unsigned long)i, id);
        }
        if (s->dirty[i] && !r->manual) {
            s->dirty[i] = 0;
            oracle_protect(o, s->first + i);
        }
    }
}

static void clear_log(Run *r, unsigned as, unsigned id)
{
    static uint64_t bits[PAGES / 64];
    Oracle *o = &r->as[as];
    OracleSlot *s = &o->slots[id];
    uint64_t first = rng_next(&r->rng) % s->pages / 64 * 64;
    uint64_t pages = rng_percent(&r->rng, 50) ? s->pages - first : (s->pages - first) / 64 * 64;

    if (!(s->flags & LOG)) {
        return;
    }
    pages = pages > 8192 && rng_percent(&r->rng, 95) ? 8192 : pages;
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t bit = UINT64_C(1) << i % 64;
        bool wanted = rng_percent(&r->rng, 50);
        bits[i / 64] = wanted ? bits[i / 64] | bit : bits[i / 64] & ~bit;
        if (wanted && s->dirty[first + i]) {
            s->dirty[first + i] = 0;
            oracle_protect(o, s->first + first + i);
        }
    }
    assert_int_equal(kvm_call_clear_log(&r->w.vm, as << 16 | id, first, (uint32_t)pages, bits), 0);
}

static void touch(Run *r, unsigned as)
{
    Oracle *o = &r->as[as];

    for (unsigned i = 0; i < 20; i++) {
        OracleSlot *s = &o->slots[rng_below(&r->rng, SLOTS)];
        uint64_t page = s->there && rng_percent(&r->rng, 90)
                            ? s->first + random_page(&r->rng) % s->pages
                            : random_page(&r->rng);
        bool is_write = rng_percent(&r->rng, 50);
        int result = kvm_model_fault(r->w.model, as, r->base + page * PAGE + 7, is_write);
        int wanted = (int)oracle_fault(o, page, is_write);
        if (result != wanted) {
            fail_msg("a %s at page %#lx of %u: %d, not %d", is_write ? "write" : "read",
                     (unsigned long)page, as, result, wanted);
        }
    }
}

static void step(Run *r)
{
    unsigned as = rng_below(&r->rng, SPACES), id = rng_below(&r->rng, SLOTS);
    unsigned what = rng_below(&r->rng, 100);

    if (what < 50) {
        touch(r, as);
    } else if (!r->as[as].slots[id].there) {
        create_slot(r, as, id);
    } else if (what < 58) {
        move_slot(r, as, id);
    } else if (what < 64) {
        delete_slot(r, as, id);
    } else if (what < 78) {
        flip_log(r, as, id);
    } else if (what < 88) {
        take_log(r, as, id);
    } else if (what < 98) {
        clear_log(r, as, id);
    } else {
        static const uint64_t modes[] = {0, 1, 3};
        r->manual = modes[rng_below(&r->rng, 3)];
        assert_int_equal(kvm_call_enable(&r->w.vm, MANUAL, 0, r->manual), 0);
    }
}

/* ---- comparing ----------------------------------------------------------------- */

typedef struct Comparison {
    const Run *run;
    unsigned as, tables, levels[4];
    uint64_t next, mapped; /* pages */
} Comparison;

static bool compare_entry(const KVMModelEntry *e, void *opaque)
{
    Comparison *c = opaque;
    const OraclePage *pages = c->run->as[c->as].pages;

    assert_int_equal(e->page->role.as_id, c->as);
    assert_int_equal(e->page->role.level, e->level);
    if (e->kind == KVM_ENTRY_TABLE) {
        assert_true(e->table->used > 0); /* E3 */
        assert_int_equal(e->table->gfn, e->first_gfn);
        c->tables++;
        return false;
    }
    uint64_t first = e->first_gfn - c->run->base / PAGE, last = e->last_gfn - c->run->base / PAGE;
    assert_true(first >= c->next && last < PAGES);
    c->next = last + 1;
    c->levels[e->level]++;
    for (uint64_t i = first; i <= last; i++) {
        if (pages[i].level != e->level || pages[i].writable != !!(e->spte & KVM_SPTE_WRITE) ||
            pages[i].hva != e->hva + (i - first) * PAGE) {
            fail_msg("page %#lx of %u: level %u, %s; wanted %u, %s", (unsigned long)i, c->as,
                     e->level, e->spte & KVM_SPTE_WRITE ? "writable" : "read-only", pages[i].level,
                     pages[i].writable ? "writable" : "read-only");
        }
    }
    c->mapped += last - first + 1;
    return false;
}

static void compare(const Run *r, unsigned *seen)
{
    for (unsigned as = 0; as < SPACES; as++) {
        Comparison c = {.run = r, .as = as};
        uint64_t mapped = 0;
        assert_false(kvm_model_for_each_entry(r->w.model, as, compare_entry, &c));
        for (uint64_t i = 0; i < PAGES; i++) {
            mapped += r->as[as].pages[i].level != 0;
        }
        assert_int_equal(c.mapped, mapped);
        for (unsigned level = 1; level <= 3; level++) {
            seen[level] += c.levels[level];
        }
    }
}

static void run_seed(unsigned seed, unsigned *seen)
{
    unsigned levels = seed % 2 ? 4 : 5;
    Run r = {.rng = {seed}, .base = levels == 5 ? UINT64_C(1) << 50 : (seed % 3) * 511 * GIB};

    world_start(&r.w, levels, mixed_pages);
    for (unsigned as = 0; as < SPACES; as++) {
        r.as[as].pages = calloc(PAGES, sizeof(OraclePage));
    }
    for (unsigned i = 0; i < STEPS; i++) {
        step(&r);
        if (i % CHECK_EVERY == 0) {
            compare(&r, seen);
        }
    }
    for (unsigned as = 0; as < SPACES; as++) {
        for (unsigned id = 0; id < SLOTS; id++) {
            if (r.as[as].slots[id].there) {
                delete_slot(&r, as, id);
            }
        }
    }
    compare(&r, seen);
    for (unsigned as = 0; as < SPACES; as++) {
        char text[200] = "";
        kvm_model_for_each_entry(r.w.model, as, note_entry, text);
        assert_string_equal(text, ""); /* no page but the root is left */
        free(r.as[as].pages);
    }
    world_end(&r.w);
}

static void random_faults(void **state)
{
    unsigned seen[4] = {0};

    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        run_seed(seed, seen);
    }
    for (unsigned level = 1; level <= 3; level++) {
        if (seen[level] < 20) {
            fail_msg("only %u leaves of level %u", seen[level], level);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_drawn_example),
        cmocka_unit_test(five_levels),
        cmocka_unit_test(logging_splits_on_writes),
        cmocka_unit_test(random_faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
