/* SPDX-License-Identifier: MIT */
/* Address spaces that a KVM guest sees. */
#include "base/error.h"
#include "kvm/dirty.h"
#include "kvm/exit.h"
#include "kvm/gate.h"
#include "kvm/ioctl.h"
#include "kvm/update.h"
#include "map/lineage.h"

#include <errno.h>
#include <stdlib.h>

static KVMMemoryListener *kml_of(MemoryListener *listener)
{
    return container_of(listener, KVMMemoryListener, listener);
}

/* ---- the listener -------------------------------------------------------------------- */

static bool on_prepare(MemoryListener *listener, const FlatView *old, const FlatView *view,
                       Error **errp)
{
    return !error_pass(errp, update_make(kml_of(listener)->space, old, view));
}

static void on_cancel(MemoryListener *listener)
{
    update_undo(kml_of(listener)->space);
}

/* The kernel refused to take something back: tell it once more, and forget. */
static void abandon_slots(KvmSpace *space)
{
    Slot *slot = space_first_overlap(space, 0, UINT64_MAX);

    if (!slot) {
        return;
    }
    gate_close(space->s);
    for (; slot; slot = space_first_overlap(space, 0, UINT64_MAX)) {
        if (slot_loses_writes(&slot->info)) {
            slot_collect_dirty(space->s, slot);
        }
        int result = kvm_set_slot(space->s, &slot->info, 0, "delete");
        if (result) {
            kvm_report(space->s, result);
        }
        space_remove(space, slot);
        slot_log_free(&slot->log);
        free(slot);
    }
    gate_open(space->s);
}

static void abandon(KvmSpace *space)
{
    shortcuts_abandon(space);
    abandon_slots(space);
}

static void on_commit(MemoryListener *listener)
{
    KVMMemoryListener *kml = kml_of(listener);
    KvmSpace *space = kml->space;

    if (!listener->prepared) {
        return;
    }
    update_keep(space);
    space->shows_nothing = space->plan->view == space->s->ms->empty->current;
    if (space->shows_nothing) { /* regions may go now, and the address space */
        abandon(space);
    }
    exits_follow(kml->kvm);
}

/* ---- registration ---------------------------------------------------------------------- */

KVMMemoryListener *kvm_listener_of(const KVMState *s, int as_id)
{
    KVMMemoryListener *kml = s->listeners;

    while (kml && kml->as_id != as_id) {
        kml = kml->next;
    }
    return kml;
}

static int check(KVMState *s, const KVMMemoryListener *kml, const AddressSpace *as, int as_id,
                 const char *name)
{
    if (kml->kvm) {
        return fail(EBUSY, "KVM listener '%s' is registered already", name);
    }
    if (as->ms != s->ms) {
        return fail(EINVAL, "address space '%s' is not of the machine that KVM runs", as->name);
    }
    if (as_id != KVM_AS_PORTS && (as_id < 0 || (unsigned)as_id >= s->caps.nr_address_spaces)) {
        return fail(EINVAL, "KVM has no address space %d here (it has %u)", as_id,
                    s->caps.nr_address_spaces);
    }
    if (kvm_listener_of(s, as_id)) {
        return fail(EBUSY, "KVM's address space %d has a listener already ('%s')", as_id,
                    kvm_listener_of(s, as_id)->listener.name);
    }
    return 0;
}

static int bind(KVMState *s, KVMMemoryListener *kml, AddressSpace *as, int as_id, const char *name)
{
    KvmSpace *space = space_create(s, (unsigned)as_id);

    if (!space) {
        return -ENOMEM;
    }
    *kml = (KVMMemoryListener){
        .listener = {.prepare = on_prepare,
                     .cancel = on_cancel,
                     .commit = on_commit,
                     .priority = MEMORY_LISTENER_PRIORITY_ACCEL,
                     .name = name},
        .kvm = s,
        .space = space,
        .as_id = as_id,
        .next = s->listeners,
    };
    dirty_set_callbacks(s, &kml->listener);
    s->listeners = kml;
    return memory_listener_register(&kml->listener, as);
}

static void unbind(KVMMemoryListener *kml)
{
    KVMMemoryListener **link = &kml->kvm->listeners;

    while (*link != kml) {
        link = &(*link)->next;
    }
    *link = kml->next;
    exits_follow(kml->kvm);
    abandon(kml->space);
    space_destroy(kml->space);
    *kml = (KVMMemoryListener){0};
}

int kvm_memory_listener_register(KVMState *s, KVMMemoryListener *kml, AddressSpace *as, int as_id,
                                 const char *name)
{
    machine_lock(s->ms);
    int result = check(s, kml, as, as_id, name ? name : "");
    if (!result) {
        result = bind(s, kml, as, as_id, name ? name : "kvm");
        if (result && kml->kvm) {
            unbind(kml);
        }
    }
    machine_unlock(s->ms);
    return result;
}

int kvm_memory_listener_unregister(KVMMemoryListener *kml)
{
    KVMState *s = kml->kvm;

    if (!s) {
        return 0;
    }
    machine_lock(s->ms);
    int result = memory_listener_unregister(&kml->listener);
    if (!result) {
        unbind(kml);
    }
    machine_unlock(s->ms);
    return result;
}

/* ---- questions ---------------------------------------------------------------------------- */

bool kvm_for_each_slot(KVMState *s, bool (*visit)(const KVMSlot *slot, void *opaque), void *opaque)
{
    bool stopped = false;

    machine_lock(s->ms);
    for (int as_id = 0; as_id < KVM_MAX_SPACES && !stopped; as_id++) {
        const KVMMemoryListener *kml = kvm_listener_of(s, as_id);
        hwaddr at = 0;
        for (const Slot *slot;
             kml && !stopped && (slot = space_first_overlap(kml->space, at, UINT64_MAX));
             kml = kvm_listener_of(s, as_id)) { /* @visit may have changed it all */
            KVMSlot info = slot->info;
            at = slot_last(slot) + 1;
            stopped = visit(&info, opaque);
        }
    }
    machine_unlock(s->ms);
    return stopped;
}

bool kvm_find_slot(KVMState *s, unsigned as_id, hwaddr addr, KVMSlot *slot)
{
    machine_lock(s->ms);
    const KVMMemoryListener *kml = kvm_listener_of(s, (int)as_id);
    const Slot *found = kml ? space_first_overlap(kml->space, addr, addr) : NULL;
    if (found) {
        *slot = found->info;
    }
    machine_unlock(s->ms);
    return found;
}

unsigned kvm_get_max_memslots(const KVMState *s)
{
    return s->max_slots;
}

unsigned kvm_get_free_memslots(KVMState *s, unsigned as_id)
{
    machine_lock(s->ms);
    const KVMMemoryListener *kml = kvm_listener_of(s, (int)as_id);
    unsigned taken = kml ? kml->space->count : 0;
    machine_unlock(s->ms);
    return s->max_slots - taken;
}
