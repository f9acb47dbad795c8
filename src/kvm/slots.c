/* SPDX-License-Identifier: MIT */
#include "kvm/slots.h"

#include "base/bitmap.h"
#include "base/error.h"
#include "kvm/dirty.h"
#include "kvm/dirty_reaper.h"
#include "kvm/plan.h"

#include <stdlib.h>
#include <string.h>

KvmSpace *space_create(KVMState *s, unsigned as_id)
{
    KvmSpace *space = calloc(1, sizeof *space);

    if (!space) {
        fail_no_memory("a table of KVM slots");
        return NULL;
    }
    space->s = s;
    space->as_id = as_id;
    space->plan = plan_create(space);
    if (!space->plan) {
        free(space);
        return NULL;
    }
    return space;
}

void space_destroy(KvmSpace *space)
{
    plan_destroy(space->plan);
    shortcuts_free(&space->shortcuts);
    free(space->by_id);
    free(space->used_ids);
    free(space);
}

int space_reserve(KvmSpace *space, unsigned more)
{
    unsigned ids = space->ids ? space->ids : 64;

    while (ids < space->count + more) {
        ids *= 2;
    }
    if (ids == space->ids) {
        return 0;
    }
    uint64_t *used = realloc(space->used_ids, ids / 8);
    if (used) {
        space->used_ids = used;
    }
    Slot **by_id = used ? realloc(space->by_id, ids * sizeof(Slot *)) : NULL;
    if (!by_id) {
        return fail_no_memory("a table of KVM slots");
    }
    space->by_id = by_id;
    memset(used + space->ids / 64, 0, (ids - space->ids) / 8);
    memset(by_id + space->ids, 0, (ids - space->ids) * sizeof(Slot *));
    space->ids = ids;
    return 0;
}

unsigned space_free_number(const KvmSpace *space)
{
    return (unsigned)bitmap_find(space->used_ids, 0, space->ids - 1, false);
}

static void count_slot(KVMState *s, const KVMSlot *slot, unsigned change)
{
    s->logged_slots += slot_is_logged(slot) * change;
    s->unloggable_slots += slot_is_unloggable(slot) * change;
}

void space_insert(KvmSpace *space, Slot *slot)
{
    unsigned id = slot->info.slot;

    count_slot(space->s, &slot->info, 1);
    if (slot_is_logged(&slot->info) && space->s->logged_slots == 1) {
        reaper_wake(space->s);
    }
    bitmap_assign(space->used_ids, id, id, true);
    space->by_id[id] = slot;
    space->count++;
    slot->node.first = slot->info.start_addr;
    slot->node.last = slot_last(slot);
    interval_insert(&space->by_address, &slot->node);
}

void space_remove(KvmSpace *space, Slot *slot)
{
    unsigned id = slot->info.slot;

    count_slot(space->s, &slot->info, -1U);
    interval_remove(&space->by_address, &slot->node);
    bitmap_assign(space->used_ids, id, id, false);
    space->by_id[id] = NULL;
    space->count--;
}
