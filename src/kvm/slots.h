/* SPDX-License-Identifier: MIT */
/* slots.h - what one address space has in the kernel. */
#ifndef KVM_SLOTS_H
#define KVM_SLOTS_H

#include "kvm/shortcuts.h"
#include "kvm/state.h"
#include "kvm/uapi.h"

/* Bits for the pages of a slot that is logged. See dirty_log.c. */
typedef struct SlotLog {
    uint64_t *bits;       /* what the kernel said last and has not been told to clear */
    uint64_t *clear_bmap; /* a bit for each 2^clear_shift pages: there is something to clear */
} SlotLog;

typedef struct Slot {
    KVMSlot info;      /* as it is in the kernel; memory_size 0: it is not; see kvm.h on .mr */
    IntervalNode node; /* [start_addr, last], in the table */
    SlotLog log;       /* .bits NULL: none */
    uint64_t plan;     /* serial of the plan that keeps it */
    size_t wrong;      /* where else it is in the plan */
} Slot;

/* All of one address space. */
typedef struct KvmSpace {
    KVMState *s;
    KVMMemoryListener *kml;
    unsigned as_id;
    IntervalNode *by_address;
    Slot **by_id;       /* NULL: free */
    uint64_t *used_ids; /* a bit for each */
    unsigned ids;       /* that by_id has room for, a multiple of 64 */
    unsigned count;
    Shortcuts shortcuts;
    struct Plan *plan;
    uint64_t plans;     /* how many there were */
    bool gated;         /* by the update at work */
    bool shows_nothing; /* its address space, or it has come to its end */
    bool suspect;       /* an undo failed: the table is not what the view shows */
} KvmSpace;

/* Ports have no slots. */
static inline bool space_is_ports(const KvmSpace *space)
{
    return space->as_id == (unsigned)KVM_AS_PORTS;
}

static inline Slot *slot_of(IntervalNode *node)
{
    return node ? container_of(node, Slot, node) : NULL;
}

static inline hwaddr slot_last(const Slot *slot)
{
    return slot->info.start_addr + (slot->info.memory_size - 1);
}

static inline bool slot_is_logged(const KVMSlot *slot)
{
    return slot->memory_size && slot->flags & KVM_MEM_LOG_DIRTY_PAGES;
}

/* The kernel does not log it, and what is written is for us to guess. */
static inline bool slot_is_unloggable(const KVMSlot *slot)
{
    return slot->memory_size && slot->flags & KVM_MEM_GUEST_MEMFD &&
           !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES);
}

/* Whether there may be writes to it that nobody has heard of and somebody may want. */
static inline bool slot_loses_writes(const KVMSlot *slot)
{
    return slot->mr && (slot_is_logged(slot) || slot_is_unloggable(slot));
}

KvmSpace *space_create(KVMState *s, unsigned as_id);
/* No slot is left in the table. */
void space_destroy(KvmSpace *space);

/* The slot with the lowest address that overlaps [first, last]; NULL: none. */
static inline Slot *space_first_overlap(const KvmSpace *space, hwaddr first, hwaddr last)
{
    return slot_of(interval_first_overlap(space->by_address, first, last));
}

/* Have room for @more slots, so that adding them cannot fail. -ENOMEM. */
int space_reserve(KvmSpace *space, unsigned more);
/* The lowest number that is free. */
unsigned space_free_number(const KvmSpace *space);
/* Put @slot into the table, under the number that it has; take it out. */
void space_insert(KvmSpace *space, Slot *slot);
void space_remove(KvmSpace *space, Slot *slot);

#endif
