/* SPDX-License-Identifier: MIT */
/* Making and ending regions; those with host memory are made in ram_region.c. */
#include "map/region.h"

#include "base/error.h"
#include "base/text.h"
#include "map/dirty_log.h"
#include "map/edit.h"
#include "map/ops.h"
#include "map/signals.h"
#include "ram/notifiers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int region_init(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size)
{
    if (!mr || !owner) {
        return fail(EINVAL, "region '%s': %s is NULL", name ? name : "", mr ? "owner" : "storage");
    }
    char *copy = text_copy(name);
    if (!copy) {
        return fail_no_memory("a region's name");
    }
    *mr = (MemoryRegion){
        .owner = owner,
        .name = copy,
        /* The board is not one device: each of its regions is. */
        .guard = owner == owner->ms->board ? (const void *)mr : owner,
        .state = {.size = size, .enabled = true, .romd_mode = true},
        .size_now = size,
    };
    machine_lock(owner->ms);
    mr->owner_next = owner->regions;
    if (mr->owner_next) {
        mr->owner_next->owner_prev = mr;
    }
    owner->regions = mr;
    machine_unlock(owner->ms);
    return 0;
}

int memory_region_init(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size)
{
    return region_init(mr, owner, name, size);
}

int memory_region_init_io(MemoryRegion *mr, MemoryOwner *owner, const MemoryRegionOps *ops,
                          void *opaque, const char *name, hwaddr size)
{
    int result = ops ? ops_check(ops, name) : 0;

    if (!result) {
        result = region_init(mr, owner, name, size);
    }
    if (!result) {
        mr->terminates = true;
        ops_install(mr, ops ? ops : &ops_unassigned, opaque);
    }
    return result;
}

int memory_region_init_alias(MemoryRegion *mr, MemoryOwner *owner, const char *name,
                             MemoryRegion *orig, hwaddr offset, hwaddr size)
{
    if (!orig || !orig->name) {
        return fail(EINVAL, "alias '%s' has no target", name ? name : "");
    }
    if (owner && owner->ms != region_system(orig)) {
        return fail(EINVAL, "alias '%s' and '%s' belong to different machines", name ? name : "",
                    orig->name);
    }
    int result = region_init(mr, owner, name, size);
    if (!result) {
        machine_lock(owner->ms);
        mr->alias = orig;
        mr->state.alias_offset = offset;
        region_hold(mr, orig);
        region_index(mr);
        machine_unlock(owner->ms);
    }
    return result;
}

/* ---- the end ---------------------------------------------------------------------- */

static void abandon_children(MemoryRegion *mr)
{
    while (mr->children) {
        MemoryRegion *child = container_of(mr->children, MemoryRegion, in_container);
        MemoryRegionState state = child->state;
        state.container = NULL;
        region_install(child, &state);
        region_let_go(mr, child);
    }
}

bool region_retire_ram(MemoryRegion *mr)
{
    RAMBlock *block = mr->ram_block;

    if (block) {
        mr->ram_block = NULL;
        ram_block_retire(block);
    }
    return block;
}

void region_end(MemoryRegion *mr)
{
    MemoryOwner *owner = mr->owner;
    MemoryRegionState nowhere = mr->state;

    abandon_children(mr);
    nowhere.container = NULL;
    region_install(mr, &nowhere);
    if (mr->alias) {
        region_unindex(mr);
        region_let_go(mr, mr->alias);
        mr->alias = NULL;
    }
    region_retire_ram(mr);
    signals_unref(mr->state.signals);
    mr->state.signals = NULL;
    *(mr->owner_prev ? &mr->owner_prev->owner_next : &owner->regions) = mr->owner_next;
    if (mr->owner_next) {
        mr->owner_next->owner_prev = mr->owner_prev;
    }
    free(mr->name);
    mr->name = NULL;
}

static const char *what_holds(const MemoryRegion *mr)
{
    if (mr->state.container) {
        return "is in a container";
    }
    if (mr->spaces) {
        return "is the root of an address space";
    }
    if (mr->aliases) {
        return "is the target of an alias";
    }
    if (__atomic_load_n(&mr->references, __ATOMIC_ACQUIRE)) {
        return "is still within reach of a view, a mapping, a snapshot or a reader";
    }
    return NULL;
}

static int check_endable(const MemoryRegion *mr)
{
    MemorySystem *ms = region_system(mr);
    const char *reason = what_holds(mr);

    if (ms->notifying) {
        return fail(EBUSY, "region '%s' cannot be ended from a listener's callback", mr->name);
    }
    if (reason) {
        return fail(EBUSY, "region '%s' %s", mr->name, reason);
    }
    return mr->ram_block ? ram_notifiers_check_idle(&ms->ram) : 0;
}

int memory_region_finalize(MemoryRegion *mr)
{
    if (!mr || !mr->name) {
        return fail(EINVAL, "memory_region_finalize: the region is not initialised");
    }
    MemorySystem *ms = region_system(mr);

    machine_lock(ms);
    int result = check_endable(mr);
    if (!result) {
        region_end(mr);
    }
    machine_unlock(ms);
    return result;
}
