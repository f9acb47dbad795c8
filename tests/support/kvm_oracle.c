/* SPDX-License-Identifier: MIT */
#include "kvm_oracle.h"
#include <string.h>

#define PAGE KVM_ORACLE_PAGE
#define PAGES KVM_ORACLE_PAGES
#define MAX_SLOTS PAGES
#define TRIES 300000U

/* ---- The function ------------------------------------------------------------------------- */

bool kvm_oracle_view(KvmPages *pages, const FlatView *view, bool readonly_mem)
{
    MemoryRegionSection s;

    memset(pages->page, 0, sizeof pages->page);
    for (hwaddr at = 0; flatview_next(view, at, &s); at = s.last_within_address_space + 1) {
        bool rom_device = memory_region_is_rom_device(s.mr);
        bool memory = rom_device ? s.romd : memory_region_is_ram(s.mr);
        bool readonly = s.readonly || rom_device;
        uint64_t hva = (uintptr_t)memory_region_get_ram_ptr(s.mr) + s.offset_within_region;
        uint64_t first = s.offset_within_address_space, last = s.last_within_address_space;

        for (uint64_t n = 0; memory && n < PAGES; n++) {
            uint64_t gpa = pages->base + n * PAGE, host = hva + (gpa - first);
            if (gpa < first || gpa + PAGE - 1 > last || host % PAGE ||
                (readonly && !readonly_mem)) {
                continue;
            }
            pages->page[n] = (KvmPage){host, readonly, !readonly && s.dirty_log_mask, s.mr};
        }
        if (memory && (first < pages->base || last >= pages->base + PAGES * PAGE)) {
            return false;
        }
        if (last == UINT64_MAX) {
            break;
        }
    }
    return true;
}

bool kvm_oracle_slots(KvmPages *pages, const KvmFakeSlot *slot, unsigned slots)
{
    memset(pages->page, 0, sizeof pages->page);
    for (unsigned i = 0; i < slots; i++) {
        for (uint64_t at = 0; at < slot[i].size; at += PAGE) {
            uint64_t n = (slot[i].gpa + at - pages->base) / PAGE;
            if (slot[i].gpa < pages->base || n >= PAGES || pages->page[n].hva) {
                return false;
            }
            pages->page[n] = (KvmPage){slot[i].hva + at, slot[i].flags & KVM_MEM_READONLY,
                                       slot[i].flags & KVM_MEM_LOG_DIRTY_PAGES, NULL};
        }
    }
    return true;
}

int kvm_oracle_difference(const KvmPages *a, const KvmPages *b)
{
    for (int n = 0; n < PAGES; n++) {
        if (a->page[n].hva != b->page[n].hva || a->page[n].readonly != b->page[n].readonly ||
            a->page[n].log != b->page[n].log) {
            return n;
        }
    }
    return -1;
}

/* ---- The minimum -------------------------------------------------------------------------- */

/* All in pages. */
typedef struct Run {
    unsigned first, pages;
    uint64_t hva;
    bool readonly;
} Run;

typedef struct Wrong {
    unsigned first, pages;
    uint64_t hva;
    bool readonly;
    int target; /* page it is moved to; -1: deleted */
} Wrong;

typedef struct Problem {
    const KvmPages *after;
    unsigned max_pages; /* of a slot */
    Run run[MAX_SLOTS];
    Wrong wrong[MAX_SLOTS];
    unsigned runs, wrongs, fixed; /* fixed: ioctls that logging costs */
    bool taken[PAGES];            /* by a move */
    unsigned tries, best;
} Problem;

static const KvmPage *page_at(const Problem *p, uint64_t gpa)
{
    return &p->after->page[(gpa - p->after->base) / PAGE];
}

/* 0: wrong; 1: right; 2: right but for logging. */
static unsigned judge(const Problem *p, const KvmFakeSlot *slot)
{
    bool log = slot->flags & KVM_MEM_LOG_DIRTY_PAGES, wanted = page_at(p, slot->gpa)->log;

    for (uint64_t at = 0; at < slot->size; at += PAGE) {
        const KvmPage *page = page_at(p, slot->gpa + at);
        if (page->hva != slot->hva + at || page->log != wanted ||
            page->readonly != !!(slot->flags & KVM_MEM_READONLY)) {
            return 0;
        }
    }
    return log == wanted ? 1 : 2;
}

static void pose(Problem *p, const KvmFakeSlot *slot, unsigned slots)
{
    bool covered[PAGES] = {false};

    for (unsigned i = 0; i < slots; i++) {
        unsigned first = (unsigned)((slot[i].gpa - p->after->base) / PAGE);
        unsigned pages = (unsigned)(slot[i].size / PAGE), verdict = judge(p, &slot[i]);
        if (!verdict) {
            p->wrong[p->wrongs++] =
                (Wrong){first, pages, slot[i].hva, slot[i].flags & KVM_MEM_READONLY, -1};
            continue;
        }
        p->fixed += verdict == 2;
        for (unsigned n = 0; n < pages; n++) {
            covered[first + n] = true;
        }
    }
    for (unsigned n = 0; n < PAGES; n++) {
        const KvmPage *page = &p->after->page[n], *before = page - 1;
        if (!page->hva || covered[n]) {
            continue;
        }
        if (n && before->hva && !covered[n - 1] && before->hva + PAGE == page->hva &&
            before->mr == page->mr && before->readonly == page->readonly &&
            before->log == page->log) {
            p->run[p->runs - 1].pages++;
        } else {
            p->run[p->runs++] = (Run){n, 1, page->hva, page->readonly};
        }
    }
}

static unsigned creates_for(const Problem *p, unsigned pages)
{
    return (pages + p->max_pages - 1) / p->max_pages;
}

/* The page of @run that @wrong would be moved to, or -1. */
static int place_in(const Wrong *wrong, const Run *run)
{
    if (wrong->readonly != run->readonly || wrong->hva < run->hva ||
        wrong->hva + (uint64_t)wrong->pages * PAGE > run->hva + (uint64_t)run->pages * PAGE) {
        return -1;
    }
    return (int)(run->first + (wrong->hva - run->hva) / PAGE);
}

/*
 * Fewest creates for @run if every wrong slot were there for it alone: by dynamic programming
 * over what the part up to page n costs, with all of it covered.
 */
static unsigned fewest_creates(const Problem *p, const Run *run)
{
    unsigned cost[PAGES + 1] = {0};

    for (unsigned n = 1; n <= run->pages; n++) {
        cost[n] = UINT32_MAX;
        for (unsigned from = 0; from < n; from++) { /* a gap from there to here */
            unsigned with = cost[from] + creates_for(p, n - from);
            cost[n] = with < cost[n] ? with : cost[n];
        }
        for (unsigned i = 0; i < p->wrongs; i++) { /* a move that ends here */
            int place = place_in(&p->wrong[i], run);
            if (place >= 0 && (unsigned)place - run->first + p->wrong[i].pages == n &&
                cost[n - p->wrong[i].pages] < cost[n]) {
                cost[n] = cost[n - p->wrong[i].pages];
            }
        }
    }
    return cost[run->pages];
}

/* The moves can be put in an order: take away, again and again, those that nothing blocks. */
static bool has_order(const Problem *p)
{
    bool done[MAX_SLOTS] = {false};

    for (bool progress = true; progress;) {
        progress = false;
        for (unsigned i = 0; i < p->wrongs; i++) {
            const Wrong *move = &p->wrong[i];
            bool blocked = false;
            for (unsigned j = 0; j < p->wrongs; j++) {
                const Wrong *other = &p->wrong[j];
                blocked |= i != j && other->target >= 0 && !done[j] &&
                           other->first < (unsigned)move->target + move->pages &&
                           (unsigned)move->target < other->first + other->pages;
            }
            if (move->target >= 0 && !done[i] && !blocked) {
                done[i] = progress = true;
            }
        }
    }
    for (unsigned i = 0; i < p->wrongs; i++) {
        if (p->wrong[i].target >= 0 && !done[i]) {
            return false;
        }
    }
    return true;
}

static unsigned cost_of(const Problem *p)
{
    unsigned cost = p->fixed + p->wrongs;

    for (unsigned i = 0; i < p->runs; i++) {
        unsigned gap = 0;
        for (unsigned n = 0; n < p->run[i].pages; n++) {
            bool taken = p->taken[p->run[i].first + n];
            cost += taken ? creates_for(p, gap) : 0;
            gap = taken ? 0 : gap + 1;
        }
        cost += creates_for(p, gap);
    }
    return cost;
}

static bool is_free(const Problem *p, unsigned first, unsigned pages)
{
    bool free = true;

    for (unsigned n = first; n < first + pages; n++) {
        free &= !p->taken[n];
    }
    return free;
}

/* Every way to use the wrong slots from @i on. */
static void try_all(Problem *p, unsigned i, unsigned bound)
{
    if (p->best == bound || ++p->tries > TRIES) {
        return;
    }
    if (i == p->wrongs) {
        unsigned cost = cost_of(p);
        if (cost < p->best && has_order(p)) {
            p->best = cost;
        }
        return;
    }
    Wrong *wrong = &p->wrong[i];
    for (unsigned r = 0; r < p->runs; r++) {
        int place = place_in(wrong, &p->run[r]);
        if (place >= 0 && is_free(p, (unsigned)place, wrong->pages)) {
            wrong->target = place;
            memset(&p->taken[place], true, wrong->pages);
            try_all(p, i + 1, bound);
            memset(&p->taken[place], false, wrong->pages);
            wrong->target = -1;
        }
    }
    try_all(p, i + 1, bound);
}

KvmMinimum kvm_oracle_minimum(const KvmFakeSlot *slot, unsigned slots, const KvmPages *after,
                              uint64_t max_slot_size, unsigned used)
{
    static _Thread_local Problem problem;
    Problem *p = &problem;
    uint64_t max_pages = max_slot_size / PAGE;

    memset(p, 0, sizeof *p);
    p->after = after;
    p->max_pages = max_pages && max_pages < PAGES ? (unsigned)max_pages : PAGES;
    pose(p, slot, slots);
    unsigned bound = p->fixed + p->wrongs;
    for (unsigned i = 0; i < p->runs; i++) {
        bound += fewest_creates(p, &p->run[i]);
    }
    if (used <= bound) {
        return (KvmMinimum){bound, true}; /* what was done shows that the bound can be reached */
    }
    p->best = UINT32_MAX;
    try_all(p, 0, bound);
    bool exact = p->tries <= TRIES;
    return (KvmMinimum){exact ? p->best : bound, exact};
}
