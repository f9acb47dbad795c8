/* SPDX-License-Identifier: MIT */
/*
 * The list of shareable RAM: one pass over a view. Ranges are joined as they come, and each
 * joined one is cut to whole pages when the next does not go on where it ends. So a page that
 * two ranges fill together is shared.
 */
#include "base/error.h"
#include "base/range.h"
#include "map/flatview.h"
#include "map/system.h"

#include <inttypes.h>
#include <membus/share.h>
#include <stdlib.h>

typedef struct Lister {
    MemoryShareList *list;
    size_t max, max_left_out;
    MemoryShareRange open; /* not cut yet; size 0: none */
    bool open_unmergeable;
    int error;
} Lister;

/* Room for one more element; the array stays as it is if memory is short. */
static void *grow(Lister *lister, void *array, size_t count, size_t *max, size_t size)
{
    if (count < *max) {
        return array;
    }
    size_t more = *max ? 2 * *max : 16;
    void *grown = reallocarray(array, more, size);
    if (!grown) {
        lister->error = fail_no_memory("a list of shareable RAM");
        return array;
    }
    *max = more;
    return grown;
}

/* A joined range may have several. */
static MemoryRegion *region_at(const MemoryShareList *list, hwaddr addr)
{
    return flatview_at(list->view, addr)->mr;
}

static void leave_out(Lister *lister, hwaddr addr, hwaddr size, MemoryShareReason reason)
{
    MemoryShareList *list = lister->list;

    if (size == 0 || lister->error) {
        return;
    }
    list->left_out = grow(lister, list->left_out, list->nr_left_out, &lister->max_left_out,
                          sizeof *list->left_out);
    if (!lister->error) {
        list->left_out[list->nr_left_out++] =
            (MemoryShareLeftOut){addr, size, reason, region_at(list, addr)};
        list->size_left_out = hwaddr_add_clipped(list->size_left_out, size);
    }
}

/* Cut the open range to whole pages and put it into the list. */
static void close_open(Lister *lister)
{
    MemoryShareList *list = lister->list;
    MemoryShareRange range = lister->open;
    hwaddr page = hostmem_page_size();

    lister->open.size = 0;
    if (range.size == 0) {
        return;
    }
    hwaddr head = hwaddr_min((page - range.fd_offset % page) % page, range.size);
    hwaddr tail = (range.size - head) % page, whole = range.size - head - tail;
    leave_out(lister, range.guest_addr, whole ? head : range.size, MEMORY_SHARE_PART_PAGE);
    if (whole == 0) {
        return;
    }
    list->ranges = grow(lister, list->ranges, list->count, &lister->max, sizeof *list->ranges);
    if (lister->error) {
        return;
    }
    range.guest_addr += head;
    range.host = (uint8_t *)range.host + head;
    range.fd_offset += head;
    range.size = whole;
    range.mr = region_at(list, range.guest_addr);
    list->ranges[list->count++] = range;
    list->size += whole;
    leave_out(lister, range.guest_addr + whole, tail, MEMORY_SHARE_PART_PAGE);
}

static bool goes_on(const MemoryShareRange *open, const MemoryShareRange *next)
{
    return open->size && open->guest_addr + open->size == next->guest_addr &&
           (uint8_t *)open->host + open->size == next->host && open->fd == next->fd &&
           open->fd_offset + open->size == next->fd_offset && open->readonly == next->readonly;
}

static void add(Lister *lister, const FlatRange *range)
{
    const RAMBlock *block = range->mr->ram_block;
    MemoryShareRange next = {
        .guest_addr = range->first,
        .size = range_size(range->first, range->last),
        .host = range->host,
        .fd = block->fd,
        .fd_offset = block->fd_offset + range->offset,
        .page_size = block->page_size,
        .readonly = range->readonly || range->romd || (block->flags & RAM_READONLY),
    };

    if (goes_on(&lister->open, &next) && !lister->open_unmergeable && !range->unmergeable) {
        lister->open.size += next.size;
        return;
    }
    close_open(lister);
    lister->open = next;
    lister->open_unmergeable = range->unmergeable;
}

static void visit(Lister *lister, const FlatRange *range)
{
    const MemoryRegion *mr = range->mr;
    const RAMBlock *block = mr->ram_block;

    if (!(mr->ram || range->romd) || mr->ram_device) {
        return; /* a device */
    }
    if (block && block->fd >= 0 && (block->flags & RAM_SHARED)) {
        add(lister, range);
        return;
    }
    leave_out(lister, range->first, range_size(range->first, range->last),
              !block          ? MEMORY_SHARE_NO_MEMORY
              : block->fd < 0 ? MEMORY_SHARE_NO_FD
                              : MEMORY_SHARE_PRIVATE);
}

static int by_guest_addr(const void *a, const void *b)
{
    const MemoryShareLeftOut *x = a, *y = b;

    return x->guest_addr < y->guest_addr ? -1 : x->guest_addr > y->guest_addr;
}

static int fill(MemoryShareList *list)
{
    Lister lister = {.list = list};

    for (const FlatRange *range = flatview_from(list->view, 0); range && !lister.error;
         range = range->last == UINT64_MAX ? NULL : flatview_from(list->view, range->last + 1)) {
        visit(&lister, range);
    }
    close_open(&lister);
    if (list->nr_left_out > 1) {
        /* A tail is cut off when the range after it has been seen. */
        qsort(list->left_out, list->nr_left_out, sizeof *list->left_out, by_guest_addr);
    }
    return lister.error;
}

MemoryShareList *memory_share_list_create(AddressSpace *as, Error **errp)
{
    MemoryShareList *list = calloc(1, sizeof *list);

    if (!list) {
        error_pass(errp, fail_no_memory("a list of shareable RAM"));
        return NULL;
    }
    list->view = address_space_get_flatview(as);
    if (error_pass(errp, fill(list))) {
        memory_share_list_free(list);
        return NULL;
    }
    return list;
}

void memory_share_list_free(MemoryShareList *list)
{
    if (list) {
        flatview_unref(list->view);
        free(list->ranges);
        free(list->left_out);
        free(list);
    }
}

const char *memory_share_reason(MemoryShareReason reason)
{
    switch (reason) {
    case MEMORY_SHARE_NO_MEMORY:
        return "no memory is behind it";
    case MEMORY_SHARE_NO_FD:
        return "it has no file descriptor";
    case MEMORY_SHARE_PRIVATE:
        return "its file is mapped private, so others do not see what is written";
    case MEMORY_SHARE_PART_PAGE:
        return "it does not fill a host page";
    }
    return "unknown";
}
