/* SPDX-License-Identifier: MIT */
/*
 * Editing the tree. Every setter computes the state that it wants, and region_change() takes
 * the region there: damage what it showed, change the state and the indexes, damage what it
 * shows; and back again if that fails.
 */
#include "map/edit.h"

#include "base/error.h"
#include "base/range.h"
#include "map/dirty_log.h"
#include "map/journal.h"
#include "map/topology.h"

#include <errno.h>
#include <inttypes.h>

static hwaddr extent_last(const MemoryRegion *mr, hwaddr first)
{
    return mr->state.size ? hwaddr_add_clipped(first, region_last(mr)) : first;
}

void region_index(MemoryRegion *mr)
{
    if (mr->state.container) {
        mr->in_container.first = mr->state.addr;
        mr->in_container.last = extent_last(mr, mr->state.addr);
        interval_insert(&mr->state.container->children, &mr->in_container);
    }
    if (mr->alias) {
        mr->in_target.first = mr->state.alias_offset;
        mr->in_target.last = extent_last(mr, mr->state.alias_offset);
        interval_insert(&mr->alias->aliases, &mr->in_target);
    }
}

void region_unindex(MemoryRegion *mr)
{
    if (mr->state.container) {
        interval_remove(&mr->state.container->children, &mr->in_container);
    }
    if (mr->alias) {
        interval_remove(&mr->alias->aliases, &mr->in_target);
    }
}

/*
 * A container that shows one child may stand for it (render_resolve_root()), and must know
 * which without a search. When it begins or ceases to, the roots above may resolve elsewhere
 * even if nothing looks different.
 */
static void count_shown(MemoryRegion *mr, bool add)
{
    MemoryRegion *container = mr->state.container;

    if (!container || !mr->state.enabled || mr->state.size == 0) {
        return;
    }
    container->shown_xor ^= (uintptr_t)mr;
    container->nr_shown += add ? 1 : (size_t)-1;
    if (container->nr_shown <= 2) {
        map_damage_all_spaces(region_system(mr));
    }
}

void region_install(MemoryRegion *mr, const MemoryRegionState *state)
{
    const MemoryRegionState *old = &mr->state;
    bool moves = old->container != state->container || old->addr != state->addr ||
                 old->size != state->size || old->alias_offset != state->alias_offset;
    bool shows = moves || old->enabled != state->enabled;

    if (shows) {
        count_shown(mr, false);
    }
    if (moves) {
        region_unindex(mr);
    }
    mr->state = *state;
    __atomic_store_n(&mr->size_now, state->size, __ATOMIC_RELAXED); /* mmio_wide() */
    region_update_log(mr);
    if (moves) {
        region_index(mr);
    }
    if (shows) {
        count_shown(mr, true);
    }
}

static int change(MemoryRegion *mr, const MemoryRegionState *state)
{
    MemorySystem *ms = region_system(mr);
    MemoryRegionState old = mr->state;
    int result = map_edit_begin(ms);

    if (result) {
        return result;
    }
    if (map_damage(mr)) {
        map_damage_everything(ms); /* too deep as it is; the edit may mend that */
    }
    region_install(mr, state);
    bool taken_out = old.container && !state->container;
    result = taken_out ? 0 : map_damage(mr);
    if (result) {
        region_install(mr, &old);
    }
    int ended = map_edit_end(ms);
    if (ended) {
        region_install(mr, &old);
        map_edit_cancel(ms);
    }
    return result ? result : ended;
}

int region_change(MemoryRegion *mr, const MemoryRegionState *state)
{
    bool noted;
    int result = journal_note(mr, state, &noted);

    if (!result) {
        result = change(mr, state);
    }
    if (result && noted) {
        journal_forget(mr);
    }
    return result;
}

/* ---- the tree ----------------------------------------------------------------- */

void region_hold(const MemoryRegion *holder, MemoryRegion *mr)
{
    if (holder->owner != mr->owner) {
        memory_region_ref(mr);
    }
}

void region_let_go(const MemoryRegion *holder, MemoryRegion *mr)
{
    if (holder->owner != mr->owner) {
        memory_region_unref(mr);
    }
}

static int check_addable(const MemoryRegion *mr, const MemoryRegion *subregion)
{
    if (!mr || !subregion || !mr->name || !subregion->name) {
        return fail(EINVAL, "memory_region_add_subregion: a region is not initialised");
    }
    if (mr->alias) {
        return fail(EINVAL, "'%s' is an alias: '%s' cannot be added to it", mr->name,
                    subregion->name);
    }
    if (region_system(mr) != region_system(subregion)) {
        return fail(EINVAL, "'%s' and '%s' belong to different machines", mr->name,
                    subregion->name);
    }
    if (subregion->state.container) {
        return fail(EBUSY, "region '%s' is in '%s' already", subregion->name,
                    subregion->state.container->name);
    }
    unsigned depth = 0;
    for (const MemoryRegion *above = mr; above; above = above->state.container) {
        if (above == subregion) {
            return fail(ELOOP, "region '%s' contains '%s': it cannot be added to it",
                        subregion->name, mr->name);
        }
        if (++depth >= MEMORY_REGION_MAX_DEPTH) {
            return fail(ELOOP, "region '%s': nested deeper than %d", subregion->name,
                        MEMORY_REGION_MAX_DEPTH);
        }
    }
    return 0;
}

int memory_region_add_subregion_overlap(MemoryRegion *mr, hwaddr offset, MemoryRegion *subregion,
                                        int priority)
{
    MemorySystem *ms = mr && mr->name ? region_system(mr) : NULL;

    if (ms) {
        machine_lock(ms);
    }
    int result = check_addable(mr, subregion);
    if (!result) {
        MemoryRegionState state = subregion->state;
        state.container = mr;
        state.addr = offset;
        state.priority = priority;
        state.sequence = ++ms->sequence;
        region_hold(mr, subregion);
        result = region_change(subregion, &state);
        if (result) {
            region_let_go(mr, subregion);
        }
    }
    if (ms) {
        machine_unlock(ms);
    }
    return result;
}

int memory_region_add_subregion(MemoryRegion *mr, hwaddr offset, MemoryRegion *subregion)
{
    return memory_region_add_subregion_overlap(mr, offset, subregion, 0);
}

int memory_region_del_subregion(MemoryRegion *mr, MemoryRegion *subregion)
{
    MemorySystem *ms = region_system(mr);
    int result;

    machine_lock(ms);
    if (subregion->state.container != mr) {
        result = fail(EINVAL, "region '%s' is not in '%s'", subregion->name, mr->name);
    } else {
        MemoryRegionState state = subregion->state;
        state.container = NULL;
        result = region_change(subregion, &state);
        if (!result) {
            region_let_go(mr, subregion);
        }
    }
    machine_unlock(ms);
    return result;
}

/* ---- attributes ----------------------------------------------------------------- */

/*
 * Define a setter: @check refuses, @assign changes `state`. An attribute that stays costs
 * nothing.
 */
#define SETTER(function, type, argument, check, member)                                            \
    int function(MemoryRegion *mr, type argument)                                                  \
    {                                                                                              \
        MemorySystem *ms = region_system(mr);                                                      \
        int result;                                                                                \
        machine_lock(ms);                                                                          \
        result = check;                                                                            \
        if (!result && mr->state.member != (argument)) {                                           \
            MemoryRegionState state = mr->state;                                                   \
            state.member = argument;                                                               \
            result = region_change(mr, &state);                                                    \
        }                                                                                          \
        machine_unlock(ms);                                                                        \
        return result;                                                                             \
    }

static int require(bool condition, const MemoryRegion *mr, const char *what)
{
    return condition ? 0 : fail(EINVAL, "region '%s' is not %s", mr->name, what);
}

SETTER(memory_region_set_enabled, bool, enabled, 0, enabled)
SETTER(memory_region_set_readonly, bool, readonly,
       require(readonly || !mr->ram_block || !(mr->ram_block->flags & RAM_READONLY), mr,
               "writable: its memory is mapped read-only"),
       readonly)
SETTER(memory_region_set_nonvolatile, bool, nonvolatile, 0, nonvolatile)
SETTER(memory_region_set_unmergeable, bool, unmergeable, 0, unmergeable)
SETTER(memory_region_set_size, hwaddr, size,
       require(!mr->ram_block, mr, "resizeable this way: it is RAM"), size)
SETTER(memory_region_set_alias_offset, hwaddr, offset, require(mr->alias, mr, "an alias"),
       alias_offset)
SETTER(memory_region_rom_device_set_romd, bool, romd_mode,
       require(mr->rom_device, mr, "a ROM device"), romd_mode)

int memory_region_set_address(MemoryRegion *mr, hwaddr addr)
{
    MemorySystem *ms = region_system(mr);
    int result = 0;

    machine_lock(ms);
    if (mr->state.addr != addr) {
        MemoryRegionState state = mr->state;
        state.addr = addr;
        if (state.container) {
            state.sequence = ++ms->sequence;
        }
        result = region_change(mr, &state);
    }
    machine_unlock(ms);
    return result;
}
