/* SPDX-License-Identifier: MIT */
/*
 * The smallest update.
 *
 *      view   |      ram        | dev |      ram            |
 *      slots  |  0  |  1        |     |  2        |  3      |
 *
 * Slots need not be as long as they could: a slot is right if all of its pages are as the view
 * shows them, whatever its neighbours are. So a hole that is punched and closed again costs
 * three ioctls to punch, one to close, and from then on one each time. Only when the numbers run
 * out are ranges laid out afresh, each in as few slots as possible.
 *
 *      compare the views     windows: the ranges that differ, in whole pages
 *      walk slots and view   in the windows: slots that are wrong, stretches that are missing
 *      move                  a stretch that is wrong slots put end to end is mapped by moving
 *                            them: one ioctl each instead of a delete and a create
 *      order                 deletes, moves (each to where nothing is any more), creates
 *
 * Guarantees:
 *  P1  Carried out in order, no slot is ever put where another one is.
 *  P2  A plan is `exclusive` if a new place overlaps an old one, or what is deleted or moved is
 *      being logged, or shows another region from now on, or its log ends and rings have to be
 *      emptied before. Otherwise every address has, at any moment, its old or its new answer.
 *  P3  Stretches that no window touches cost nothing.
 */
#include "kvm/plan_parts.h"

#include "base/error.h"
#include "base/range.h"
#include "kvm/dirty.h"
#include "kvm/uapi.h"

#include <errno.h>

Plan *plan_create(KvmSpace *space)
{
    Plan *plan = calloc(1, sizeof *plan);

    if (!plan) {
        fail_no_memory("a plan of KVM slots");
        return NULL;
    }
    plan->space = space;
    return plan;
}

void plan_destroy(Plan *plan)
{
    vec_free(&plan->windows);
    vec_free(&plan->wrong);
    vec_free(&plan->missing);
    vec_free(&plan->filled);
    vec_free(&plan->moves);
    vec_free(&plan->ops);
    free(plan);
}

/* ---- windows --------------------------------------------------------------------------- */

static void add_window(Plan *plan, hwaddr first, hwaddr last)
{
    hwaddr page_mask = plan->space->s->page_size - 1;
    Window *newest =
        plan->windows.count ? VEC_AT(&plan->windows, Window, plan->windows.count - 1) : NULL;

    first &= ~page_mask;
    last |= page_mask;
    if (newest && first <= hwaddr_add_clipped(newest->last, 1)) {
        newest->first = hwaddr_min(newest->first, first);
        newest->last = hwaddr_max(newest->last, last);
        return;
    }
    newest = vec_add(&plan->windows, sizeof *newest);
    if (newest) {
        *newest = (Window){first, last};
    } else {
        plan->no_memory = true;
    }
}

static void note_difference(const FlatRange *before, const FlatRange *after, void *opaque)
{
    if (before) {
        add_window(opaque, before->first, before->last);
    }
    if (after) {
        add_window(opaque, after->first, after->last);
    }
}

/* Have windows cover all of the slots that they touch: what is wrong in part is wrong. */
static void extend_windows(Plan *plan)
{
    size_t windows = plan->windows.count;

    plan->windows.count = 0;
    for (size_t i = 0; i < windows; i++) {
        Window window = *VEC_AT(&plan->windows, Window, i);
        const Slot *slot = space_first_overlap(plan->space, window.first, window.first);
        if (slot) {
            window.first = slot->info.start_addr;
        }
        slot = space_first_overlap(plan->space, window.last, window.last);
        add_window(plan, window.first, slot ? slot_last(slot) : window.last);
    }
}

/* ---- what is right, wrong and missing ----------------------------------------------------- */

static SlotOp *add_op(Plan *plan, Slot *slot, const KVMSlot *after)
{
    SlotOp *op = vec_add(&plan->ops, sizeof *op);

    if (!op) {
        plan->no_memory = true;
        return NULL;
    }
    *op = (SlotOp){.slot = slot, .before = slot->info, .after = *after};
    return op;
}

void plan_add_missing(Plan *plan, const KVMSlot *piece, hwaddr first, hwaddr last)
{
    KVMSlot *missing = vec_add(&plan->missing, sizeof *missing);
    hwaddr skipped = first - piece->start_addr;

    if (!missing) {
        plan->no_memory = true;
        return;
    }
    *missing = *piece;
    missing->start_addr = first;
    missing->memory_size = last - first + 1;
    missing->ram = (uint8_t *)piece->ram + skipped;
    missing->offset_within_region += skipped;
    missing->guest_memfd_offset += skipped;
}

/* Whether @slot, all of it, is as @piece says. */
static bool fits(const KVMSlot *slot, const KVMSlot *piece)
{
    hwaddr skipped = slot->start_addr - piece->start_addr;

    return slot->start_addr >= piece->start_addr &&
           slot->start_addr + (slot->memory_size - 1) <=
               piece->start_addr + (piece->memory_size - 1) &&
           (uint8_t *)slot->ram == (uint8_t *)piece->ram + skipped &&
           !((slot->flags ^ piece->flags) & FIXED_FLAGS) &&
           slot->guest_memfd == piece->guest_memfd &&
           (piece->guest_memfd < 0 ||
            slot->guest_memfd_offset == piece->guest_memfd_offset + skipped);
}

/* Keep @slot, which fits @piece; flags and region may have changed. */
static void keep(Plan *plan, Slot *slot, const KVMSlot *piece)
{
    KVMSlot after = slot->info;

    slot->plan = plan->space->plans;
    after.flags = piece->flags;
    after.mr = piece->mr;
    after.offset_within_region =
        piece->offset_within_region + (after.start_addr - piece->start_addr);
    if (after.flags != slot->info.flags || after.mr != slot->info.mr ||
        after.offset_within_region != slot->info.offset_within_region) {
        add_op(plan, slot, &after);
    }
}

static void plan_piece(Plan *plan, const KVMSlot *piece)
{
    hwaddr last = piece->start_addr + (piece->memory_size - 1);
    hwaddr bare = piece->start_addr; /* up to here all is as it should be */
    hwaddr at = bare;

    for (Slot *slot; at <= last && (slot = space_first_overlap(plan->space, at, last));
         at = slot_last(slot) + 1) {
        if (!fits(&slot->info, piece)) {
            continue;
        }
        if (bare < slot->info.start_addr) {
            plan_add_missing(plan, piece, bare, slot->info.start_addr - 1);
        }
        keep(plan, slot, piece);
        bare = slot_last(slot) + 1;
    }
    if (bare <= last) {
        plan_add_missing(plan, piece, bare, last);
    }
}

/* The same with only slots that are as long as they can be. */
static void plan_piece_afresh(Plan *plan, const KVMSlot *piece)
{
    hwaddr last = piece->start_addr + (piece->memory_size - 1);
    hwaddr bare = piece->start_addr;

    for (hwaddr at = bare, size; at <= last; at += size) {
        size = hwaddr_min(last - at + 1, plan->space->s->max_slot_size);
        Slot *slot = space_first_overlap(plan->space, at, at);
        if (slot && slot->info.start_addr == at && slot->info.memory_size == size &&
            fits(&slot->info, piece)) {
            if (bare < at) {
                plan_add_missing(plan, piece, bare, at - 1);
            }
            keep(plan, slot, piece);
            bare = at + size;
        }
    }
    if (bare <= last) {
        plan_add_missing(plan, piece, bare, last);
    }
}

static void add_wrong(Plan *plan, Slot *slot)
{
    WrongSlot *wrong = vec_add(&plan->wrong, sizeof *wrong);

    if (wrong) {
        *wrong = (WrongSlot){.slot = slot};
    } else {
        plan->no_memory = true;
    }
}

/* Whether @after goes on where @before ends, as one stretch for KVM. */
static bool goes_on(const KVMSlot *before, const KVMSlot *after)
{
    hwaddr size = before->memory_size;

    return after->start_addr == before->start_addr + size && after->mr == before->mr &&
           after->offset_within_region == before->offset_within_region + size &&
           after->flags == before->flags;
}

/*
 * The stretch of memory, as KVM sees it, that the range at @addr is part of: ranges that differ in
 * nothing that KVM knows of (non-volatile, say) are one. *@end is where the ranges end that were
 * looked at. False: no slot.
 */
static bool piece_at(const Plan *plan, const FlatRange *range, KVMSlot *piece, hwaddr *end)
{
    const KVMState *s = plan->space->s;
    KVMSlot more;

    *end = range->last;
    if (!plan_slot_of_range(s, range, piece)) {
        return false;
    }
    for (const FlatRange *next = range;
         next->first && (next = flatview_at(plan->view, next->first - 1)) &&
         plan_slot_of_range(s, next, &more) && goes_on(&more, piece);) {
        more.memory_size += piece->memory_size;
        *piece = more;
    }
    for (const FlatRange *next = range;
         next->last != UINT64_MAX && (next = flatview_at(plan->view, next->last + 1)) &&
         plan_slot_of_range(s, next, &more) && goes_on(piece, &more);) {
        piece->memory_size += more.memory_size;
        *end = next->last;
    }
    return true;
}

static void plan_pieces(Plan *plan, Window window, bool afresh)
{
    const FlatRange *range;
    hwaddr end = plan->planned;

    for (hwaddr at = end ? hwaddr_max(window.first, end + 1) : window.first;
         end != UINT64_MAX && at <= window.last && (range = flatview_from(plan->view, at)) &&
         range->first <= window.last;
         at = end + 1) {
        KVMSlot piece;
        if (piece_at(plan, range, &piece, &end) &&
            ranges_overlap(piece.start_addr, piece.start_addr + (piece.memory_size - 1),
                           window.first, window.last)) {
            (afresh ? plan_piece_afresh : plan_piece)(plan, &piece);
            plan->planned = end;
        }
    }
}

static void plan_window(Plan *plan, Window window, bool afresh)
{
    Slot *slot;

    plan_pieces(plan, window, afresh);
    for (hwaddr at = window.first;
         at <= window.last && (slot = space_first_overlap(plan->space, at, window.last));
         at = slot_last(slot) + 1) {
        if (slot->plan != plan->space->plans) {
            add_wrong(plan, slot);
        }
    }
}

/* ---- the ops --------------------------------------------------------------------------------- */

static void add_deletes(Plan *plan)
{
    for (size_t i = 0; i < plan->wrong.count; i++) {
        WrongSlot *wrong = VEC_AT(&plan->wrong, WrongSlot, i);
        if (!wrong->after.memory_size) {
            KVMSlot after = wrong->slot->info;
            after.memory_size = 0;
            add_op(plan, wrong->slot, &after);
            plan->deletes++;
        }
    }
}

static void add_moves(Plan *plan)
{
    for (size_t i = 0; i < plan->moves.count; i++) {
        const WrongSlot *move = *VEC_AT(&plan->moves, WrongSlot *, i);
        add_op(plan, move->slot, &move->after);
    }
}

static void add_create(Plan *plan, const KVMSlot *after)
{
    Slot *slot = calloc(1, sizeof *slot);

    if (!slot) {
        plan->no_memory = true;
        return;
    }
    slot->info = *after;
    slot->info.as_id = plan->space->as_id;
    slot->info.memory_size = 0;
    SlotOp *op = add_op(plan, slot, after);
    if (!op) {
        free(slot);
        return;
    }
    op->after.as_id = slot->info.as_id;
}

static size_t slots_after(const Plan *plan)
{
    return plan->space->count - plan->deletes + plan->creates;
}

static bool fits_in(const Plan *plan)
{
    return slots_after(plan) <= plan->space->s->max_slots;
}

/* If they are too many they are only counted: there may be no end of them. */
static void add_creates(Plan *plan)
{
    hwaddr max = plan->space->s->max_slot_size;

    for (size_t i = 0; i < plan->missing.count; i++) {
        plan->creates += creates_for(plan, VEC_AT(&plan->missing, KVMSlot, i)->memory_size);
    }
    if (!fits_in(plan)) {
        return;
    }
    for (size_t i = 0; i < plan->missing.count; i++) {
        KVMSlot piece = *VEC_AT(&plan->missing, KVMSlot, i);
        for (hwaddr left = piece.memory_size, size; left; left -= size) {
            size = hwaddr_min(left, max);
            piece.memory_size = size;
            add_create(plan, &piece);
            piece.start_addr += size;
            piece.ram = (uint8_t *)piece.ram + size;
            piece.offset_within_region += size;
            piece.guest_memfd_offset += size;
        }
    }
}

/* ---- all of it ---------------------------------------------------------------------------- */

void plan_drop(Plan *plan)
{
    for (size_t i = 0; i < plan->ops.count; i++) {
        SlotOp *op = VEC_AT(&plan->ops, SlotOp, i);
        slot_log_free(&op->log);
        if (!op->slot->info.memory_size) {
            free(op->slot);
        }
    }
    plan->ops.count = 0;
}

/*
 * A slot that stays where it is: what is written meanwhile is the new region's, which the old one's
 * clients would miss, and vCPUs that run have entries for their rings that nobody sees.
 */
static bool loses_writes_in_place(const Plan *plan, const SlotOp *op)
{
    return slot_is_logged(&op->before) && (op->before.mr != op->after.mr ||
                                           (plan->space->s->rings && !slot_is_logged(&op->after)));
}

static bool is_exclusive(const Plan *plan, const SlotOp *op)
{
    if (op->before.memory_size == op->after.memory_size &&
        op->before.start_addr == op->after.start_addr) {
        return loses_writes_in_place(plan, op);
    }
    return slot_is_logged(&op->before) ||
           (op->after.memory_size &&
            space_first_overlap(plan->space, op->after.start_addr,
                                op->after.start_addr + (op->after.memory_size - 1)));
}

/* What the ops need beside ioctls. */
static int prepare_ops(Plan *plan)
{
    int result = space_reserve(plan->space, (unsigned)plan->creates);

    for (size_t i = 0; i < plan->ops.count && !result; i++) {
        SlotOp *op = VEC_AT(&plan->ops, SlotOp, i);
        plan->exclusive |= is_exclusive(plan, op);
        if (slot_is_logged(&op->after) && !slot_is_logged(&op->before)) {
            result = slot_log_alloc(plan->space->s, op->after.memory_size, &op->log);
        }
    }
    return result;
}

static void plan_slots(Plan *plan, bool afresh)
{
    plan->wrong.count = plan->missing.count = plan->moves.count = 0;
    plan->creates = plan->deletes = 0;
    plan->exclusive = false;
    plan->space->plans++;
    plan->planned = 0;
    extend_windows(plan);
    for (size_t i = 0; i < plan->windows.count; i++) {
        plan_window(plan, *VEC_AT(&plan->windows, Window, i), afresh);
    }
    if (!afresh) { /* moves keep fragments */
        plan_find_moves(plan);
    }
    add_deletes(plan);
    add_moves(plan);
    add_creates(plan);
}

static int plan_windows(Plan *plan, const FlatView *old, const FlatView *view)
{
    plan->no_memory = false;
    plan->windows.count = 0;
    if (plan->space->suspect) {
        add_window(plan, 0, UINT64_MAX);
    } else {
        flatview_compare(old, view, note_difference, plan);
    }
    plan_slots(plan, false);
    if (!plan->no_memory && !fits_in(plan)) {
        plan_drop(plan);
        plan->windows.count = 0;
        add_window(plan, 0, UINT64_MAX);
        plan_slots(plan, true);
    }
    return plan->no_memory ? fail_no_memory("a change of KVM slots") : 0;
}

int plan_make(Plan *plan, const FlatView *old, const FlatView *view)
{
    plan->view = view;
    if (space_is_ports(plan->space)) {
        return 0;
    }
    int result = plan_windows(plan, old, view);

    if (!result && !fits_in(plan)) {
        result = fail(ENOSPC, "the map needs %zu KVM slots in address space %u, and there are %u",
                      slots_after(plan), plan->space->as_id, plan->space->s->max_slots);
    }
    if (!result) {
        result = prepare_ops(plan);
    }
    if (result) {
        plan_drop(plan);
    }
    return result;
}
