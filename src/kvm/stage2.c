/* SPDX-License-Identifier: MIT */
/*
 * The second-stage page table: from guest frames (gfn) to host memory, as the CPU walks it.
 *
 * A radix tree of pages with 512 entries each, nine bits of the gfn a level. An entry is absent,
 * leads to the page of the next level, or is a leaf: a page of 4 KiB at level 1, 2 MiB at level 2,
 * 1 GiB at level 3. Nothing is put in before it is touched.
 *
 * A slot of 5 MiB at 2 MiB, whose memory begins at a multiple of 2 MiB; the guest has read 0x200000
 * and 0x600000:
 *
 *    level 4        level 3        level 2                   level 1
 *    [0] ---------> [0] ---------> [0] -
 *    [1] -          [1] -          [1] leaf, 2 MiB
 *     :              :             [2] -
 *                                  [3] --------------------> [0] leaf, 4 KiB
 *                                   :                        [1] -
 *                                                             :
 *
 * Entry [3] of level 2 is no leaf since the slot ends in the middle of it, at 7 MiB. [2] could be a
 * leaf and is not: nobody was there.
 *
 * A fault makes the largest leaf for which all of this holds; the kernel's documentation of its MMU
 * has the same conditions:
 *   - it is within the slot;
 *   - guest and host address are both multiples of its size;
 *   - the host maps its memory with a page as large;
 *   - the slot is not being logged;
 *   - no smaller pages are there already.
 *
 * Logging marks pages by making their first write fault. When it begins, all leaves of the slot
 * lose the write permission, and so does each page whose bit is taken. A write to a large leaf that
 * is protected splits it, level by level, into leaves without write permission, of which the one
 * that was written gets it back. When logging ends, small pages that could be one large leaf are
 * dropped and come back as that.
 *
 * Guarantees
 *  E1 A leaf is all in one slot, its memory is the slot's, and it is aligned to its size, in the
 *     guest and in the host.
 *  E2 A writable leaf is of a slot that is not read-only; if the slot is logged, the bit of each of
 *     its pages is set.
 *  E3 Every page but the root has an entry that is present.
 */
#include "kvm/stage2.h"

#include "base/error.h"
#include "base/range.h"
#include "kvm/uapi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES 512U
#define TABLE (KVM_SPTE_READ | KVM_SPTE_WRITE | KVM_SPTE_EXECUTE)

static KVMMMUPage *page_create(unsigned level, unsigned as_id, uint64_t gfn)
{
    /* Aligned, so that its address leaves room for an entry's bits. */
    KVMMMUPage *page = aligned_alloc(4096, (sizeof *page + 4095) / 4096 * 4096);

    if (page) {
        memset(page, 0, sizeof *page);
        page->gfn = gfn;
        page->role.level = level;
        page->role.as_id = as_id;
    }
    return page;
}

static bool is_table(const KVMMMUPage *page, uint64_t spte)
{
    return spte && page->role.level > 1 && !(spte & KVM_SPTE_LARGE);
}

static KVMMMUPage *page_of(uint64_t spte)
{
    return (KVMMMUPage *)(uintptr_t)(spte & KVM_SPTE_ADDRESS); // NOLINT(performance-no-int-to-ptr)
}

static uint64_t table_entry(const KVMMMUPage *page)
{
    return (uintptr_t)page | TABLE;
}

static void set_entry(KVMMMUPage *page, unsigned index, uint64_t spte)
{
    page->used += !page->spt[index];
    page->used -= !spte;
    page->spt[index] = spte;
}

/* The recursion is as deep as the table: five at most. */
static void page_free(KVMMMUPage *page)
{
    for (unsigned i = 0; page->used && i < ENTRIES; i++) {
        if (is_table(page, page->spt[i])) {
            page_free(page_of(page->spt[i]));
        }
    }
    free(page);
}

static void drop_entry(KVMMMUPage *page, unsigned index)
{
    if (is_table(page, page->spt[index])) {
        page_free(page_of(page->spt[index]));
    }
    set_entry(page, index, 0);
}

static void drop_if_empty(KVMMMUPage *page, unsigned index)
{
    if (page_of(page->spt[index])->used == 0) {
        drop_entry(page, index); /* E3 */
    }
}

int stage2_begin(Stage2 *table, unsigned levels, unsigned as_id)
{
    table->root = page_create(levels, as_id, 0);
    return table->root ? 0 : fail_no_memory("a second-stage page table");
}

void stage2_end(Stage2 *table)
{
    if (table->root) {
        page_free(table->root);
        table->root = NULL;
    }
}

unsigned stage2_index(const KVMMMUPage *page, uint64_t gfn)
{
    return (unsigned)(gfn / stage2_frames(page->role.level) % ENTRIES);
}

/* ---- faults ----------------------------------------------------------------------- */

static uint64_t hva_of(const KVMMemorySlot *slot, uint64_t gfn)
{
    return slot->userspace_addr + (gfn - slot->base_gfn) * KVM_MODEL_PAGE_SIZE;
}

/* The level of the largest leaf that @gfn can have (E1). */
static unsigned largest_level(const Stage2 *table, const KVMMemorySlot *slot, uint64_t gfn)
{
    for (unsigned level = STAGE2_LARGEST_LEAF; level > 1; level--) {
        uint64_t frames = stage2_frames(level), first = gfn & ~(frames - 1);
        hwaddr size = frames * KVM_MODEL_PAGE_SIZE;
        if (first >= slot->base_gfn && slot->npages >= frames &&
            first - slot->base_gfn <= slot->npages - frames && hva_of(slot, first) % size == 0 &&
            table->host_page_size(table->opaque, hva_of(slot, first)) >= size) {
            return level;
        }
    }
    return 1;
}

/* @gfn is the leaf's first. */
static uint64_t leaf_entry(const KVMMemorySlot *slot, uint64_t gfn, unsigned level, bool writable)
{
    return hva_of(slot, gfn) | KVM_SPTE_READ | KVM_SPTE_EXECUTE | (writable ? KVM_SPTE_WRITE : 0) |
           (level > 1 ? KVM_SPTE_LARGE : 0);
}

/* A page below entry @index of @page. NULL if memory is short. */
static KVMMMUPage *grow(KVMMMUPage *page, unsigned index)
{
    unsigned level = page->role.level;
    KVMMMUPage *below =
        page_create(level - 1, page->role.as_id, page->gfn + index * stage2_frames(level));

    if (below) {
        set_entry(page, index, table_entry(below));
    }
    return below;
}

/* In the leaf's place, leaves of the next level with its permissions. NULL if memory is short. */
static KVMMMUPage *split(KVMMMUPage *page, unsigned index)
{
    uint64_t leaf = page->spt[index];
    KVMMMUPage *below = grow(page, index);

    if (!below) {
        return NULL;
    }
    hwaddr step = stage2_frames(below->role.level) * KVM_MODEL_PAGE_SIZE;
    uint64_t bits = below->role.level > 1 ? leaf : leaf & ~KVM_SPTE_LARGE;
    for (unsigned i = 0; i < ENTRIES; i++) {
        set_entry(below, i, bits + i * step);
    }
    return below;
}

/* Take out what was begun on the way to @gfn and leads nowhere (E3). */
static void prune(KVMMMUPage *page, uint64_t gfn)
{
    unsigned index = stage2_index(page, gfn);

    if (is_table(page, page->spt[index])) {
        prune(page_of(page->spt[index]), gfn);
        drop_if_empty(page, index);
    }
}

int stage2_fault(Stage2 *table, const KVMMemorySlot *slot, uint64_t gfn, bool is_write)
{
    bool logged = slot->flags & KVM_MEM_LOG_DIRTY_PAGES;
    bool readonly = slot->flags & KVM_MEM_READONLY;
    unsigned wanted = logged ? 1 : largest_level(table, slot, gfn);
    KVMMMUPage *page = table->root;

    for (;;) {
        unsigned level = page->role.level, index = stage2_index(page, gfn);
        uint64_t spte = page->spt[index];
        bool allowed = spte & (is_write ? KVM_SPTE_WRITE : KVM_SPTE_READ);
        if (is_table(page, spte)) {
            page = page_of(spte);
        } else if (allowed) {
            return KVM_FAULT_NONE;
        } else if (spte && (level == 1 || !logged)) {
            page->spt[index] |= KVM_SPTE_WRITE;
            return KVM_FAULT_FIXED;
        } else if (level <= wanted) {
            /* What is not logged and not read-only need not fault again for the first write. */
            bool writable = !readonly && (is_write || !logged);
            uint64_t first = gfn & ~(stage2_frames(level) - 1);
            set_entry(page, index, leaf_entry(slot, first, level, writable));
            return KVM_FAULT_FIXED;
        } else {
            KVMMMUPage *below = spte ? split(page, index) : grow(page, index);
            if (!below) {
                prune(table->root, gfn);
                return fail_no_memory("a page of the second-stage page table");
            }
            page = below;
        }
    }
}

/* ---- changes ------------------------------------------------------------------------ */

/* The part of [@first, @last] that @page translates, as indexes; false: none. */
static bool clip(const KVMMMUPage *page, uint64_t first, uint64_t last, unsigned *from,
                 unsigned *to)
{
    uint64_t end = page->gfn + (stage2_frames(page->role.level + 1) - 1);

    if (!ranges_overlap(first, last, page->gfn, end)) {
        return false;
    }
    *from = stage2_index(page, hwaddr_max(first, page->gfn));
    *to = stage2_index(page, hwaddr_min(last, end));
    return true;
}

static uint64_t first_of(const KVMMMUPage *page, unsigned index)
{
    return page->gfn + index * stage2_frames(page->role.level);
}

static uint64_t last_of(const KVMMMUPage *page, unsigned index)
{
    return first_of(page, index) + (stage2_frames(page->role.level) - 1);
}

static void zap(KVMMMUPage *page, uint64_t first, uint64_t last)
{
    unsigned from, to;

    if (!clip(page, first, last, &from, &to)) {
        return;
    }
    for (unsigned i = from; i <= to; i++) {
        bool whole = first <= first_of(page, i) && last_of(page, i) <= last;
        if (is_table(page, page->spt[i]) && !whole) {
            zap(page_of(page->spt[i]), first, last);
            drop_if_empty(page, i);
        } else if (page->spt[i]) {
            drop_entry(page, i);
        }
    }
}

void stage2_zap(Stage2 *table, uint64_t first, uint64_t last)
{
    zap(table->root, first, last);
}

static void protect(KVMMMUPage *page, uint64_t first, uint64_t last)
{
    unsigned from, to;

    if (!clip(page, first, last, &from, &to)) {
        return;
    }
    for (unsigned i = from; i <= to; i++) {
        if (is_table(page, page->spt[i])) {
            protect(page_of(page->spt[i]), first, last);
        } else {
            page->spt[i] &= ~KVM_SPTE_WRITE;
        }
    }
}

void stage2_write_protect(Stage2 *table, uint64_t first, uint64_t last)
{
    protect(table->root, first, last);
}

static void recover(const Stage2 *table, KVMMMUPage *page, const KVMMemorySlot *slot)
{
    unsigned from, to;

    if (!clip(page, slot->base_gfn, slot->base_gfn + (slot->npages - 1), &from, &to)) {
        return;
    }
    for (unsigned i = from; i <= to; i++) {
        if (!is_table(page, page->spt[i])) {
            continue;
        }
        if (page->role.level <= largest_level(table, slot, first_of(page, i))) {
            drop_entry(page, i);
        } else {
            recover(table, page_of(page->spt[i]), slot);
            drop_if_empty(page, i);
        }
    }
}

void stage2_recover_large(Stage2 *table, const KVMMemorySlot *slot)
{
    recover(table, table->root, slot);
}

/* ---- looking ------------------------------------------------------------------------ */

KVMModelEntry stage2_entry(const KVMMMUPage *page, unsigned index)
{
    uint64_t spte = page->spt[index];
    KVMModelEntry entry = {
        .page = page,
        .level = page->role.level,
        .index = index,
        .kind = KVM_ENTRY_NOT_PRESENT,
        .spte = spte,
        .first_gfn = first_of(page, index),
        .last_gfn = last_of(page, index),
    };

    if (is_table(page, spte)) {
        entry.kind = KVM_ENTRY_TABLE;
        entry.table = page_of(spte);
    } else if (spte) {
        entry.kind = KVM_ENTRY_LEAF;
        entry.hva = spte & KVM_SPTE_ADDRESS;
    }
    return entry;
}

bool stage2_for_each(const KVMMMUPage *page,
                     bool (*visit)(const KVMModelEntry *entry, void *opaque), void *opaque)
{
    for (unsigned i = 0; i < ENTRIES; i++) {
        if (page->spt[i]) {
            KVMModelEntry entry = stage2_entry(page, i);
            if (visit(&entry, opaque) ||
                (entry.table && stage2_for_each(entry.table, visit, opaque))) {
                return true;
            }
        }
    }
    return false;
}
