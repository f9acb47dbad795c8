/* SPDX-License-Identifier: MIT */
/*
 * Moves: a slot that is in the wrong place is often needed in another.
 *
 *      has     | A | B |   | C |             wrong: A, B, C
 *      needs   |   | A |   |   | B | C |     missing: A, and BC as one stretch
 *      order   C, B, A                        each goes to where nothing is any more
 *
 * Wrong slots are moved into a stretch where that saves a create: if they make up all of it, or so
 * much that what is left fits into fewer slots of the largest size. Each has only one place in it,
 * that of its host memory, so the best choice is found from left to right: the fewest creates up to
 * the end of one are those up to the end of one before, and what lies between.
 *
 * Where moves wait for each other in a circle (two slots that change places), one of them is a
 * delete and a create.
 */
#include "kvm/plan_parts.h"

/* So that it ends, also where thousands of slots show the same memory. */
#define LOOK_BACK 64  /* slots before one that are tried */
#define PATIENCE 4096 /* steps for each slot and stretch; then they are deleted and created */

static int by_host(const void *a, const void *b)
{
    uintptr_t one = (uintptr_t)((const WrongSlot *)a)->slot->info.ram;
    uintptr_t other = (uintptr_t)((const WrongSlot *)b)->slot->info.ram;

    return one < other ? -1 : one > other;
}

/* The first wrong slot whose host memory begins at @host or above. */
static size_t first_from(const Plan *plan, const uint8_t *host)
{
    size_t low = 0, high = plan->wrong.count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((uint8_t *)VEC_AT(&plan->wrong, WrongSlot, middle)->slot->info.ram < host) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Offsets in @piece, which its host memory is in. */
static hwaddr place_in(const WrongSlot *wrong, const KVMSlot *piece)
{
    return (hwaddr)((uint8_t *)wrong->slot->info.ram - (uint8_t *)piece->ram);
}

static hwaddr end_in(const WrongSlot *wrong, const KVMSlot *piece)
{
    return place_in(wrong, piece) + wrong->slot->info.memory_size;
}

static bool is_movable(const WrongSlot *wrong, const KVMSlot *piece)
{
    const KVMSlot *slot = &wrong->slot->info;

    return !wrong->after.memory_size && end_in(wrong, piece) <= piece->memory_size &&
           slot->guest_memfd < 0 && piece->guest_memfd < 0 &&
           !((slot->flags ^ piece->flags) & FIXED_FLAGS);
}

/* Count a step of the search; false: it has taken too long. */
static bool be_patient(Plan *plan)
{
    plan->patience -= plan->patience > 0;
    return plan->patience > 0;
}

/* wrong->creates and ->chain: the cheapest way to fill @piece up to its end, it being moved. */
static void fill_up_to(Plan *plan, size_t first, size_t i, const KVMSlot *piece)
{
    WrongSlot *wrong = VEC_AT(&plan->wrong, WrongSlot, i);
    hwaddr start = place_in(wrong, piece);

    wrong->chain = NULL;
    wrong->creates = creates_for(plan, start);
    for (size_t n = i, tried = 0; n-- > first && tried < LOOK_BACK; tried++) {
        be_patient(plan);
        WrongSlot *before = VEC_AT(&plan->wrong, WrongSlot, n);
        if (!is_movable(before, piece) || end_in(before, piece) > start) {
            continue;
        }
        hwaddr creates = before->creates + creates_for(plan, start - end_in(before, piece));
        if (creates < wrong->creates) {
            wrong->creates = creates;
            wrong->chain = before;
        }
    }
}

/* The last of the wrong slots to be moved into @piece, the others in its chain; NULL: none. */
static WrongSlot *find_movable(Plan *plan, const KVMSlot *piece)
{
    hwaddr creates, fewest = creates_for(plan, piece->memory_size);
    size_t first = first_from(plan, piece->ram);
    WrongSlot *wrong, *best = NULL;

    for (size_t i = first; i < plan->wrong.count && fewest && be_patient(plan); i++) {
        wrong = VEC_AT(&plan->wrong, WrongSlot, i);
        if (place_in(wrong, piece) >= piece->memory_size) {
            break;
        }
        if (!is_movable(wrong, piece)) {
            continue;
        }
        fill_up_to(plan, first, i, piece);
        creates = wrong->creates + creates_for(plan, piece->memory_size - end_in(wrong, piece));
        if (creates < fewest) {
            fewest = creates;
            best = wrong;
        }
    }
    return best;
}

/* Map what can be mapped of @piece by moving wrong slots; the rest is missing. */
static void move_into(Plan *plan, const KVMSlot *piece)
{
    hwaddr end = piece->memory_size; /* behind it, all is done */

    for (WrongSlot *wrong = find_movable(plan, piece); wrong; wrong = wrong->chain) {
        if (end_in(wrong, piece) < end) {
            plan_add_missing(plan, piece, piece->start_addr + end_in(wrong, piece),
                             piece->start_addr + (end - 1));
        }
        end = place_in(wrong, piece);
        wrong->after = wrong->slot->info;
        wrong->after.start_addr = piece->start_addr + end;
        wrong->after.flags = piece->flags;
        wrong->after.mr = piece->mr;
        wrong->after.offset_within_region = piece->offset_within_region + end;
    }
    if (end) {
        plan_add_missing(plan, piece, piece->start_addr, piece->start_addr + (end - 1));
    }
}

static void fill_with_moves(Plan *plan)
{
    Vec stretches = plan->missing;

    plan->missing = plan->filled;
    plan->missing.count = 0;
    qsort(plan->wrong.items, plan->wrong.count, sizeof(WrongSlot), by_host);
    for (size_t i = 0; i < plan->wrong.count; i++) {
        VEC_AT(&plan->wrong, WrongSlot, i)->slot->wrong = i;
    }
    plan->patience = PATIENCE * (plan->wrong.count + stretches.count);
    for (size_t i = 0; i < stretches.count; i++) {
        move_into(plan, VEC_AT(&stretches, KVMSlot, i));
    }
    plan->filled = stretches;
}

/* ---- order ------------------------------------------------------------------------------- */

/* What moves away from where @move goes and has not yet; NULL: nothing. */
static WrongSlot *in_the_way(Plan *plan, WrongSlot *move)
{
    hwaddr last = move->after.start_addr + (move->after.memory_size - 1);
    Slot *slot;

    while (move->looked_at <= last &&
           (slot = space_first_overlap(plan->space, move->looked_at, last))) {
        WrongSlot *other = VEC_AT(&plan->wrong, WrongSlot, slot->wrong);
        if (other != move && other->after.memory_size && other->state != MOVE_DONE) {
            return other;
        }
        move->looked_at = slot_last(slot) + 1;
    }
    return NULL;
}

/* It has to make room for itself: it is deleted first and made again at the end. */
static void break_cycle(Plan *plan, WrongSlot *move)
{
    plan_add_missing(plan, &move->after, move->after.start_addr,
                     move->after.start_addr + (move->after.memory_size - 1));
    move->after.memory_size = 0;
}

static void note_move(Plan *plan, WrongSlot *move)
{
    WrongSlot **next = move->after.memory_size ? vec_add(&plan->moves, sizeof(WrongSlot *)) : NULL;

    if (next) {
        *next = move;
    } else {
        plan->no_memory |= move->after.memory_size != 0;
    }
}

/* Put @move into the order, after all that is in its way. */
static void order_move(Plan *plan, WrongSlot *move)
{
    WrongSlot *top = move; /* a chain of moves that wait for the one before */

    move->chain = NULL;
    move->looked_at = move->after.start_addr;
    while (top) {
        top->state = MOVE_AT_WORK;
        WrongSlot *other = top->after.memory_size ? in_the_way(plan, top) : NULL;
        if (other && other->state == MOVE_AT_WORK) {
            break_cycle(plan, other);
        } else if (other) {
            other->chain = top;
            other->looked_at = other->after.start_addr;
            top = other;
        } else {
            note_move(plan, top);
            top->state = MOVE_DONE;
            top = top->chain;
        }
    }
}

static void order_moves(Plan *plan)
{
    for (size_t i = 0; i < plan->wrong.count; i++) {
        WrongSlot *wrong = VEC_AT(&plan->wrong, WrongSlot, i);
        if (wrong->after.memory_size && wrong->state == MOVE_WAITS) {
            order_move(plan, wrong);
        }
    }
}

void plan_find_moves(Plan *plan)
{
    if (plan->wrong.count && plan->missing.count) {
        fill_with_moves(plan);
        order_moves(plan);
    }
}
