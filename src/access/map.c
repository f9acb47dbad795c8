/* SPDX-License-Identifier: MIT */
/*
 * Long-lived pointers into guest memory. A mapping holds its region, so it outlives any change
 * of the map; it is found again by its host address. What is not plain memory goes through a
 * bounce buffer, which is a mapping of its own memory: filled at map for reads, written back at
 * unmap.
 */
#include "access/fast.h"
#include "access/rw.h"
#include "base/error.h"
#include "base/range.h"
#include "map/ops.h"
#include "map/system.h"
#include "ram/log.h"

#include <errno.h>
#include <membus/access.h>
#include <stdlib.h>

typedef struct Mapping {
    IntervalNode by_host;
    MemoryRegion *mr; /* held; NULL: a bounce buffer */
    RamWindow window; /* of RAM mapped for writing: block is not NULL */
    hwaddr addr;      /* of a bounce buffer */
    MemTxAttrs attrs;
    size_t size; /* of buffer */
    uint8_t buffer[];
} Mapping;

static void *add_mapping(AddressSpace *as, Mapping *mapping, void *host, hwaddr len)
{
    mapping->by_host.first = (uintptr_t)host;
    mapping->by_host.last = (uintptr_t)host + len - 1;
    pthread_mutex_lock(&as->maps_lock);
    interval_insert(&as->maps, &mapping->by_host);
    pthread_mutex_unlock(&as->maps_lock);
    return host;
}

/* The bytes from @addr on that are directly accessible in one stretch of one region's memory. */
static hwaddr direct_stretch(const FlatView *view, const FlatRange *range, hwaddr addr, hwaddr len,
                             bool is_write)
{
    hwaddr part = hwaddr_min(len, range_size(addr, range->last));

    while (part < len && range->last != UINT64_MAX) {
        const FlatRange *next = flatview_at(view, range->last + 1);
        if (!next || next->mr != range->mr ||
            next->offset - range->offset != next->first - range->first ||
            !(is_write ? next->direct_write : next->direct_read)) {
            break;
        }
        range = next;
        part = hwaddr_min(len, range_size(addr, range->last));
    }
    return part;
}

static void *map_direct(AddressSpace *as, const FlatRange *range, hwaddr addr, hwaddr len,
                        bool is_write)
{
    Mapping *mapping = malloc(sizeof *mapping);

    if (!mapping) {
        fail_no_memory("a mapping");
        return NULL;
    }
    *mapping = (Mapping){.mr = range->mr};
    memory_region_ref(range->mr);
    if (is_write) {
        mapping->window = (RamWindow){.block = range->mr->ram_block,
                                      .offset = range->offset + (addr - range->first),
                                      .len = len};
        saved_open_window(&as->ms->snapshots.saved, &mapping->window);
    }
    return add_mapping(as, mapping, range->host + (addr - range->first), len);
}

/* Take up to @len bytes of the budget; 0 if it is spent. */
static size_t take_budget(AddressSpace *as, hwaddr len)
{
    pthread_mutex_lock(&as->maps_lock);
    size_t room = as->bounce_limit > as->bounce_used ? as->bounce_limit - as->bounce_used : 0;
    size_t taken = len < room ? (size_t)len : room;
    as->bounce_used += taken;
    pthread_mutex_unlock(&as->maps_lock);
    return taken;
}

/*
 * Tell everybody who waits now. A client may register or unregister any client meanwhile, itself
 * included, so they are taken off one by one; who registers again waits for the next time.
 */
static void wake_clients(AddressSpace *as)
{
    MemoryMapClient *client;

    pthread_mutex_lock(&as->maps_lock);
    MemoryMapClient **end = &as->woken_clients;
    while (*end) {
        end = &(*end)->next;
    }
    *end = as->map_clients;
    as->map_clients = NULL;
    while ((client = as->woken_clients)) {
        as->woken_clients = client->next;
        client->next = NULL;
        pthread_mutex_unlock(&as->maps_lock);
        client->notify(client);
        pthread_mutex_lock(&as->maps_lock);
    }
    pthread_mutex_unlock(&as->maps_lock);
}

static void give_budget_back(AddressSpace *as, size_t size)
{
    pthread_mutex_lock(&as->maps_lock);
    as->bounce_used -= size;
    pthread_mutex_unlock(&as->maps_lock);
    wake_clients(as);
}

static void *map_bounce(AddressSpace *as, hwaddr addr, hwaddr *plen, bool is_write,
                        MemTxAttrs attrs)
{
    size_t size = take_budget(as, *plen);
    Mapping *mapping = size ? malloc(sizeof *mapping + size) : NULL;

    if (!mapping) {
        if (size) {
            give_budget_back(as, size);
            fail_no_memory("a bounce buffer");
        } else {
            fail(EAGAIN, "address space '%s': the budget of %zu bytes for bounce buffers is spent",
                 as->name, as->bounce_limit);
        }
        return NULL;
    }
    *mapping = (Mapping){.addr = addr, .attrs = attrs, .size = size};
    if (is_write) {
        memset(mapping->buffer, 0, size);
    } else {
        address_space_read(as, addr, attrs, mapping->buffer, size);
    }
    *plen = size;
    return add_mapping(as, mapping, mapping->buffer, size);
}

void *address_space_map(AddressSpace *as, hwaddr addr, hwaddr *plen, bool is_write,
                        MemTxAttrs attrs)
{
    void *host = NULL;

    rcu_enter();
    const FlatView *view = rcu_read(&as->view);
    const FlatRange *range = *plen ? flatview_at(view, addr) : NULL;
    if (!range || range->mr->ops == &ops_unassigned) {
        fail(EFAULT, "address space '%s': nothing to map at 0x%llx", as->name,
             (unsigned long long)addr);
    } else if (is_write ? range->direct_write : range->direct_read) {
        *plen = direct_stretch(view, range, addr, *plen, is_write);
        host = map_direct(as, range, addr, *plen, is_write);
    } else {
        *plen = hwaddr_min(*plen, range_size(addr, range->last));
        host = map_bounce(as, addr, plen, is_write, attrs);
    }
    rcu_leave();
    if (!host) {
        *plen = 0;
    }
    return host;
}

typedef struct Search {
    uintptr_t host;
    hwaddr len;
    Mapping *found;
} Search;

static bool match(IntervalNode *node, void *opaque)
{
    Search *search = opaque;
    Mapping *mapping = container_of(node, Mapping, by_host);

    if (node->first == search->host && node->last - node->first == search->len - 1) {
        search->found = mapping;
    }
    return search->found;
}

static Mapping *take_mapping(AddressSpace *as, const void *buffer, hwaddr len)
{
    Search search = {(uintptr_t)buffer, len, NULL};

    pthread_mutex_lock(&as->maps_lock);
    interval_for_each_overlap(as->maps, search.host, search.host, match, &search);
    if (search.found) {
        interval_remove(&as->maps, &search.found->by_host);
    }
    pthread_mutex_unlock(&as->maps_lock);
    return search.found;
}

int address_space_unmap(AddressSpace *as, void *buffer, hwaddr len, bool is_write,
                        hwaddr access_len)
{
    Mapping *mapping = take_mapping(as, buffer, len);

    if (!mapping) {
        return fail(EINVAL, "address space '%s': %llu bytes at %p are not mapped", as->name,
                    (unsigned long long)len, buffer);
    }
    if (mapping->mr) {
        if (is_write) {
            const RAMBlock *block = mapping->mr->ram_block;
            ram_after_write(block, (hwaddr)((uint8_t *)buffer - block->host),
                            hwaddr_min(access_len, len));
        }
        if (mapping->window.block) {
            saved_close_window(&as->ms->snapshots.saved, &mapping->window);
        }
        memory_region_unref(mapping->mr);
    } else {
        if (is_write) {
            address_space_write(as, mapping->addr, mapping->attrs, mapping->buffer,
                                hwaddr_min(access_len, mapping->size));
        }
        give_budget_back(as, mapping->size);
    }
    free(mapping);
    return 0;
}

void address_space_set_bounce_limit(AddressSpace *as, size_t bytes)
{
    pthread_mutex_lock(&as->maps_lock);
    bool more = bytes > as->bounce_limit;
    as->bounce_limit = bytes;
    pthread_mutex_unlock(&as->maps_lock);
    if (more) {
        wake_clients(as);
    }
}

void address_space_register_map_client(AddressSpace *as, MemoryMapClient *client)
{
    pthread_mutex_lock(&as->maps_lock);
    bool spent = as->bounce_used >= as->bounce_limit;
    if (spent) {
        client->next = as->map_clients;
        as->map_clients = client;
    }
    pthread_mutex_unlock(&as->maps_lock);
    if (!spent) {
        client->notify(client);
    }
}

static bool remove_client(MemoryMapClient **list, const MemoryMapClient *client)
{
    while (*list && *list != client) {
        list = &(*list)->next;
    }
    if (!*list) {
        return false;
    }
    *list = client->next;
    return true;
}

void address_space_unregister_map_client(AddressSpace *as, MemoryMapClient *client)
{
    pthread_mutex_lock(&as->maps_lock);
    if (!remove_client(&as->map_clients, client)) {
        remove_client(&as->woken_clients, client);
    }
    pthread_mutex_unlock(&as->maps_lock);
}
