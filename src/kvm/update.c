/* SPDX-License-Identifier: MIT */
/*
 * Ioctls come before anybody sees the new view, so that a failure can be the commit's:
 *
 *      listener's prepare    gate closed if the plan is exclusive
 *                            shortcuts that go
 *                            coalesced writes that wait are delivered, by the old view
 *                            op, op, op ... each slot's dirty pages are brought in before it goes
 *                            shortcuts that come
 *                            (one fails: what was done is undone, last first)
 *      (view published)
 *      listener's commit     gate opened
 *
 * The table always says what the kernel has, also where an undo fails: then the space is
 * suspect, and the next update looks at all of it instead of at what changed.
 */
#include "kvm/update.h"

#include "base/error.h"
#include "kvm/dirty.h"
#include "kvm/gate.h"
#include "kvm/ioctl.h"
#include "kvm/uapi.h"

#include <errno.h>
#include <stdlib.h>

/* ---- one op -------------------------------------------------------------------------- */

/* Pages that the guest has written have to be known before this. */
static bool forgets_pages(const KVMSlot *from, const KVMSlot *to)
{
    return slot_loses_writes(from) &&
           (!to->memory_size || from->start_addr != to->start_addr || from->mr != to->mr ||
            (slot_is_logged(from) && !slot_is_logged(to)));
}

static int tell_kernel(const KVMState *s, const KVMSlot *from, const KVMSlot *to)
{
    if (!from->memory_size) {
        return kvm_set_slot(s, to, to->memory_size, "create");
    }
    if (!to->memory_size) {
        return kvm_set_slot(s, from, 0, "delete");
    }
    if (from->start_addr != to->start_addr) {
        return kvm_set_slot(s, to, to->memory_size, "move");
    }
    return from->flags != to->flags ? kvm_set_slot(s, to, to->memory_size, "change the flags of")
                                    : 0;
}

/* Take @op's slot from one state to the other; the table follows. */
static int change_slot(KvmSpace *space, SlotOp *op, const KVMSlot *from, KVMSlot *to)
{
    Slot *slot = op->slot;

    if (forgets_pages(from, to)) {
        slot_collect_dirty(space->s, slot);
        slot_log_forget(space->s, from->memory_size, &slot->log);
    }
    if (!from->memory_size) {
        to->slot = space_free_number(space);
    }
    int result = tell_kernel(space->s, from, to);
    if (result) {
        return result;
    }
    if (from->memory_size) {
        space_remove(space, slot);
    }
    slot->info = *to;
    if (to->memory_size) {
        space_insert(space, slot);
    }
    return 0;
}

static void swap_logs(SlotOp *op)
{
    SlotLog log = op->slot->log;

    op->slot->log = op->log;
    op->log = log;
}

/* Whether the slot keeps the bits that it has. */
static bool keeps_log(const SlotOp *op)
{
    return op->before.memory_size && op->after.memory_size &&
           !((op->before.flags ^ op->after.flags) & KVM_MEM_LOG_DIRTY_PAGES);
}

static int carry_out(KvmSpace *space, SlotOp *op)
{
    int result = change_slot(space, op, &op->before, &op->after);

    if (!result && !keeps_log(op)) {
        swap_logs(op);
    }
    return result;
}

/*
 * The slot stays as it is, but the regions of the view that was refused may end. The one that it
 * had before has the same memory.
 */
static void let_region_go(SlotOp *op)
{
    KVMSlot *info = &op->slot->info;

    info->mr = op->before.memory_size ? op->before.mr : NULL;
    info->offset_within_region = op->before.memory_size ? op->before.offset_within_region : 0;
}

static void take_back(KvmSpace *space, SlotOp *op)
{
    int result = change_slot(space, op, &op->after, &op->before);

    if (result) {
        let_region_go(op);
        space->suspect = true;
        kvm_report(space->s, result);
    } else if (!keeps_log(op)) {
        swap_logs(op);
    }
}

/* ---- all of them ------------------------------------------------------------------------ */

static void close_gate(KvmSpace *space)
{
    if (!space->gated) {
        gate_close(space->s);
        space->gated = true;
    }
}

/* With the gate closed also where the way here did not need it: what was added may be logged. */
static void take_back_first(KvmSpace *space, size_t count)
{
    if (count) {
        close_gate(space);
    }
    while (count) {
        take_back(space, VEC_AT(&space->plan->ops, SlotOp, --count));
    }
}

static void open_gate(KvmSpace *space)
{
    if (space->gated) {
        gate_open(space->s);
        space->gated = false;
    }
}

static void end_update(KvmSpace *space)
{
    plan_drop(space->plan);
    shortcuts_drop(&space->shortcuts);
    open_gate(space);
}

/* Undo the first @count ops, and what was done of the shortcuts. */
static void undo(KvmSpace *space, size_t count)
{
    take_back_first(space, count);
    if (!shortcuts_undo(space)) {
        space->suspect = true;
    }
    end_update(space);
}

/* The same, and keep the sentence of what failed. */
static int undo_after(KvmSpace *space, size_t count, int result)
{
    Error *err = NULL;

    error_pass(&err, result);
    undo(space, count);
    fail(-result, "%s", error_get_pretty(err));
    error_free(err);
    return result;
}

static int carry_out_all(KvmSpace *space)
{
    const Plan *plan = space->plan;
    size_t done = 0;

    if (plan->exclusive) {
        close_gate(space);
    }
    int result = shortcuts_remove(space);
    if (!result) {
        kvm_flush_coalesced_mmio_buffer(space->s);
    }
    while (done < plan->ops.count && !result) {
        result = carry_out(space, VEC_AT(&plan->ops, SlotOp, done));
        done += !result;
    }
    if (!result) {
        result = shortcuts_add(space);
    }
    return result ? undo_after(space, done, result) : 0;
}

int update_make(KvmSpace *space, const FlatView *old, const FlatView *view)
{
    int result = plan_make(space->plan, old, view);

    if (!result) {
        result = shortcuts_plan(space, old, view);
        if (result) {
            plan_drop(space->plan);
        }
    }
    return result ? result : carry_out_all(space);
}

void update_keep(KvmSpace *space)
{
    space->suspect = false;
    end_update(space);
}

void update_undo(KvmSpace *space)
{
    undo(space, space->plan->ops.count);
}
