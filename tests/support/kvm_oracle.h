/* SPDX-License-Identifier: MIT */
/*
 * kvm_oracle.h - what KVM's slots should be and how few ioctls lead there, page by page.
 *
 * What a guest finds at a page is a function: nothing, or a host page, read-only or not, logged or
 * not. The view gives one such function, the slots another; they must be equal, however the slots
 * are cut.
 *
 * The minimum. A slot of before is right if each of its pages is what the view shows, logging
 * aside. One that is not costs an ioctl whatever happens to it, one that is right but for logging
 * costs one too. Pages that no right slot covers form runs, as long as host memory and guest
 * addresses go on together and the region is the same:
 *
 *      before   |  A  |     |  B  |  C  |           A and C are wrong
 *      view     |     |     |  B  |  run      |     a run of two slots' length
 *
 * What is left of a run when wrong slots have been moved into it (each fits in one place only,
 * its host memory being where it is) takes creates: one for each gap, more if a gap is longer
 * than the longest slot. Moves must have an order in which each goes to where nothing is any more.
 * The minimum is that of all ways to use wrong slots or not.
 */
#ifndef TESTS_KVM_ORACLE_H
#define TESTS_KVM_ORACLE_H

#include "kvm_fake.h"
#include <membus/membus.h>

#define KVM_ORACLE_PAGES 256
#define KVM_ORACLE_PAGE 4096U

typedef struct KvmPage {
    uint64_t hva; /* 0: no slot */
    bool readonly, log;
    const MemoryRegion *mr; /* of the view only */
} KvmPage;

/* The function, from address @base on. */
typedef struct KvmPages {
    uint64_t base;
    KvmPage page[KVM_ORACLE_PAGES];
} KvmPages;

/* What @view asks for; false if it shows memory outside the pages. */
bool kvm_oracle_view(KvmPages *pages, const FlatView *view, bool readonly_mem);
/* What the slots give; false if they overlap or lie outside. */
bool kvm_oracle_slots(KvmPages *pages, const KvmFakeSlot *slot, unsigned slots);
/* The first page in which they differ, or -1. */
int kvm_oracle_difference(const KvmPages *a, const KvmPages *b);

typedef struct KvmMinimum {
    unsigned ioctls;
    bool exact; /* else it is a lower bound: there were too many ways to try */
} KvmMinimum;

/* From @slot to @after, with no slot longer than @max_slot_size; @used: what was needed. */
KvmMinimum kvm_oracle_minimum(const KvmFakeSlot *slot, unsigned slots, const KvmPages *after,
                              uint64_t max_slot_size, unsigned used);

#endif
