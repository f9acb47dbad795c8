/* SPDX-License-Identifier: MIT */
#include "base/error.h"
#include "base/range.h"
#include "base/text.h"
#include "map/lineage.h"
#include "map/listeners.h"
#include "map/render.h"
#include "map/topology.h"
#include "map/watch.h"

#include <errno.h>
#include <stdlib.h>

static void link_space(AddressSpace *as)
{
    MemorySystem *ms = as->ms;

    as->prev = ms->last_space;
    *(as->prev ? &as->prev->next : &ms->first_space) = as;
    ms->last_space = as;
    as->root_link = as->root->spaces;
    as->root->spaces = as;
    lineage_add_space(ms->empty, as);
    as->lineage->users++;
    as->view = ms->empty->current;
    as->view_id = as->view->id;
    memory_region_ref(as->root);
    TELL_WATCHES(ms, space_made, as);
}

static void unlink_space(AddressSpace *as)
{
    MemorySystem *ms = as->ms;
    AddressSpace **link;

    TELL_WATCHES(ms, space_gone, as);
    *(as->prev ? &as->prev->next : &ms->first_space) = as->next;
    *(as->next ? &as->next->prev : &ms->last_space) = as->prev;
    for (link = &as->root->spaces; *link != as; link = &(*link)->root_link) {
    }
    *link = as->root_link;
    lineage_remove_space(as);
    if (--as->lineage->users == 0 && as->lineage->root) {
        lineage_close(as->lineage);
    }
    memory_region_unref(as->root);
}

int address_space_init(AddressSpace *as, MemoryRegion *root, const char *name)
{
    if (!as || !root || !root->name) {
        return fail(EINVAL, "address space '%s': no %s", name ? name : "", as ? "root" : "storage");
    }
    MemorySystem *ms = region_system(root);
    char *copy = text_copy(name);
    if (!copy) {
        return fail_no_memory("an address space's name");
    }
    int result = map_edit_begin(ms);
    if (result) {
        free(copy);
        return result;
    }
    *as = (AddressSpace){.ms = ms, .name = copy, .root = root, .bounce_limit = 4096};
    pthread_mutex_init(&as->maps_lock, NULL);
    link_space(as);
    map_damage_space(as);
    result = map_edit_end(ms);
    if (result) {
        unlink_space(as);
        free(copy);
        as->name = NULL;
        map_edit_cancel(ms);
    }
    return result;
}

int address_space_destroy(AddressSpace *as)
{
    MemorySystem *ms = as->ms;
    int result = map_edit_begin(ms);

    if (result) {
        return result;
    }
    pthread_mutex_lock(&as->maps_lock);
    bool mapped = as->maps;
    pthread_mutex_unlock(&as->maps_lock);
    if (mapped) {
        result = fail(EBUSY, "address space '%s' has active mappings", as->name);
    } else {
        listeners_drop_all(as);
        address_space_set_history(as, 0);
        /* First out of readers' sight, then retired: the grace period must cover them all. */
        rcu_publish(&as->view, ms->empty->current);
        __atomic_store_n(&as->view_id, ms->empty->current->id, __ATOMIC_RELEASE);
        unlink_space(as);
        free(as->name);
        as->name = NULL;
    }
    int ended = map_edit_end(ms);
    if (ended) {
        map_edit_cancel(ms); /* what an earlier edit left undone stays undone */
    }
    return result;
}

const char *address_space_name(const AddressSpace *as)
{
    return as->name;
}

MemoryRegion *address_space_root(const AddressSpace *as)
{
    return as->root;
}

MemorySystem *address_space_system(const AddressSpace *as)
{
    return as->ms;
}

bool memory_system_for_each_address_space(MemorySystem *ms,
                                          bool (*visit)(AddressSpace *as, void *opaque),
                                          void *opaque)
{
    bool stopped = false;

    machine_lock(ms);
    for (AddressSpace *as = ms->first_space, *next; as && !stopped; as = next) {
        next = as->next;
        stopped = visit(as, opaque);
    }
    machine_unlock(ms);
    return stopped;
}

/* ---- views of a space ------------------------------------------------------------- */

FlatView *address_space_get_flatview(AddressSpace *as)
{
    rcu_enter();
    FlatView *view = rcu_read(&as->view);
    flatview_ref(view); /* its reference of being current lasts for a grace period at least */
    rcu_leave();
    return view;
}

FlatView *address_space_render(AddressSpace *as)
{
    MemorySystem *ms = as->ms;

    machine_lock(ms);
    FlatView *view = lineage_render_afresh(ms, render_resolve_root(as->root));
    machine_unlock(ms);
    return view;
}

int address_space_set_history(AddressSpace *as, unsigned views)
{
    MemorySystem *ms = as->ms;
    FlatView **ring = NULL;

    if (views) {
        ring = calloc(views, sizeof *ring);
        if (!ring) {
            return fail_no_memory("a history of views");
        }
    }
    machine_lock(ms);
    unsigned kept = views < as->history_size ? views : as->history_size;
    for (unsigned back = 0; back < as->history_size; back++) {
        FlatView *view =
            as->history[(as->history_head + as->history_size - back) % as->history_size];
        if (back < kept) {
            ring[views - 1 - back] = view;
        } else {
            flatview_unref(view);
        }
    }
    if (views && !as->history_size) {
        ring[views - 1] = as->view;
        flatview_ref(as->view);
    }
    ms->keep_times += views ? 1 : 0;
    ms->keep_times -= as->history_size ? 1 : 0;
    free(as->history);
    as->history = ring;
    as->history_size = views;
    as->history_head = views ? views - 1 : 0;
    machine_unlock(ms);
    return 0;
}

FlatView *address_space_get_history(AddressSpace *as, unsigned back)
{
    MemorySystem *ms = as->ms;
    FlatView *view = NULL;

    machine_lock(ms);
    if (back < as->history_size) {
        view = as->history[(as->history_head + as->history_size - back) % as->history_size];
    }
    if (view) {
        flatview_ref(view);
    }
    machine_unlock(ms);
    return view;
}

/* ---- memory_region_find ----------------------------------------------------------- */

MemoryRegionSection memory_region_find(MemoryRegion *mr, hwaddr addr, hwaddr size)
{
    MemorySystem *ms = region_system(mr);
    MemoryRegionSection section = {0};
    bool overflow = false;

    machine_lock(ms);
    for (;; mr = mr->state.container) {
        overflow |= __builtin_add_overflow(addr, mr->state.addr, &addr);
        if (!mr->state.container || overflow) {
            break;
        }
    }
    if (!overflow && size && mr->spaces) {
        const FlatView *view = mr->spaces->view;
        const FlatRange *range = flatview_from(view, addr);
        hwaddr last = size == UINT64_MAX ? UINT64_MAX : hwaddr_add_clipped(addr, size - 1);
        if (range && range->first <= last) {
            flatrange_section(range, view, hwaddr_max(range->first, addr),
                              hwaddr_min(range->last, last), &section);
            memory_region_ref(section.mr);
        }
    }
    machine_unlock(ms);
    return section;
}
