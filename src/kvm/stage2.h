/* SPDX-License-Identifier: MIT */
/* stage2.h - the second-stage page table of one address space. See stage2.c. */
#ifndef KVM_STAGE2_H
#define KVM_STAGE2_H

#include <membus/kvm_model.h>

#define STAGE2_LARGEST_LEAF 3U /* level: 1 GiB */

typedef struct Stage2 {
    KVMMMUPage *root; /* NULL: not begun */
    /* How large a page the host maps the HVA with: bytes. */
    hwaddr (*host_page_size)(void *opaque, uint64_t hva);
    void *opaque;
} Stage2;

/* An empty table. -ENOMEM. */
int stage2_begin(Stage2 *table, unsigned levels, unsigned as_id);
void stage2_end(Stage2 *table);

/* How many frames one entry of a page of @level translates. */
static inline uint64_t stage2_frames(unsigned level)
{
    return UINT64_C(1) << 9 * (level - 1);
}

/* The highest frame that the table has a place for. */
static inline uint64_t stage2_last_gfn(const Stage2 *table)
{
    return stage2_frames(table->root->role.level + 1) - 1;
}

/*
 * Serve an access to @gfn, which is in @slot; the caller sets the bit of a write in the log.
 * Returns KVM_FAULT_NONE, KVM_FAULT_FIXED or -ENOMEM.
 */
int stage2_fault(Stage2 *table, const KVMMemorySlot *slot, uint64_t gfn, bool is_write);

/* Nothing of [@first, @last] is translated any more. */
void stage2_zap(Stage2 *table, uint64_t first, uint64_t last);
/* The next write to a page of [@first, @last] faults. */
void stage2_write_protect(Stage2 *table, uint64_t first, uint64_t last);
/* Logging of @slot has ended: drop the small pages where large ones can be. */
void stage2_recover_large(Stage2 *table, const KVMMemorySlot *slot);

/* What stands at @index of @page. */
KVMModelEntry stage2_entry(const KVMMMUPage *page, unsigned index);
/* The entry for @gfn. */
unsigned stage2_index(const KVMMMUPage *page, uint64_t gfn);

bool stage2_for_each(const KVMMMUPage *page,
                     bool (*visit)(const KVMModelEntry *entry, void *opaque), void *opaque);

#endif
