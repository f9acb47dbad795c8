/* SPDX-License-Identifier: MIT */
/* plan_parts.h - what plan.c and plan_moves.c share. */
#ifndef KVM_PLAN_PARTS_H
#define KVM_PLAN_PARTS_H

#include "kvm/plan.h"
#include "kvm/uapi.h"

typedef struct Window {
    hwaddr first, last;
} Window;

typedef struct WrongSlot {
    Slot *slot;
    KVMSlot after;           /* where it is moved to; memory_size 0: it is deleted */
    hwaddr creates;          /* that filling the piece up to its end takes */
    struct WrongSlot *chain; /* the one that makes up the piece before this; waits for this move */
    enum { MOVE_WAITS, MOVE_AT_WORK, MOVE_DONE } state;
    hwaddr looked_at; /* below, nothing is in the way of the move any more */
} WrongSlot;

/* Flags that cannot be changed in place. */
#define FIXED_FLAGS (~(uint32_t)KVM_MEM_LOG_DIRTY_PAGES)

/* Slots that @size bytes take. */
static inline hwaddr creates_for(const Plan *plan, hwaddr size)
{
    hwaddr max = plan->space->s->max_slot_size;

    return size / max + (size % max != 0);
}

/* [@first, @last] of @piece is to be mapped. */
void plan_add_missing(Plan *plan, const KVMSlot *piece, hwaddr first, hwaddr last);

/* Map what is missing by moving wrong slots, where that saves an ioctl: plan->moves. */
void plan_find_moves(Plan *plan);

#endif
