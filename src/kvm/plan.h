/* SPDX-License-Identifier: MIT */
/* plan.h - from what the kernel has and a new view to the fewest ioctls. See plan.c. */
#ifndef KVM_PLAN_H
#define KVM_PLAN_H

#include "base/vec.h"
#include "kvm/slots.h"

/* One slot before and after; a memory_size of 0: it is not in the kernel. */
typedef struct SlotOp {
    Slot *slot;
    KVMSlot before, after;
    SlotLog log; /* for @after, if only it is logged; once carried out: of @before, if only it is */
} SlotOp;

typedef struct Plan {
    KvmSpace *space;
    const FlatView *view; /* that it leads to */
    Vec windows;          /* Window: what may differ, whole pages, ascending */
    Vec wrong;            /* WrongSlot: does not fit the new view */
    Vec missing;          /* KVMSlot: to be mapped, of any length */
    Vec filled;           /* KVMSlot: what was missing before moves were found */
    Vec moves;            /* WrongSlot *: those that are moved, in order */
    Vec ops;              /* SlotOp, in order */
    hwaddr planned;       /* the last address of all pieces that have been looked at; 0: none */
    size_t creates, deletes;
    size_t patience; /* steps that the search for moves may still take */
    bool exclusive;  /* no vCPU may run while it is carried out */
    bool no_memory;
} Plan;

Plan *plan_create(KvmSpace *space);
void plan_destroy(Plan *plan);

/*
 * Fill plan->ops with what leads from the table to @view. What new slots need is allocated; they
 * are the caller's. Returns 0, -ENOMEM, or -ENOSPC: nothing is in it then.
 */
int plan_make(Plan *plan, const FlatView *old, const FlatView *view);
/* Forget the ops, and the slots that are not in the kernel. */
void plan_drop(Plan *plan);

/* The slot that @range is to have, of any length, without a number; false: none. */
bool plan_slot_of_range(const KVMState *s, const FlatRange *range, KVMSlot *slot);

#endif
