/* SPDX-License-Identifier: MIT */
/*
 * share.h - guest RAM that other processes can map: a list of (GPA, size, fd, offset).
 *
 * What is shareable in an address space is RAM and ROM with a file descriptor behind it, mapped
 * with RAM_SHARED. The list of it is what vhost-user's VHOST_USER_SET_MEM_TABLE and ADD_MEM_REG
 * ask for, entry by entry:
 *
 *      guest_phys_addr  range->guest_addr      userspace_addr  (uintptr_t)range->host
 *      memory_size      range->size            mmap_offset     range->fd_offset
 *                                              and range->fd as ancillary data
 *
 *  - Neighbours that go on in guest address, host address and offset of one fd are one entry,
 *    whatever else divides them in the flat view (aliases, dirty logging); only read-only and
 *    writable parts, and ranges marked unmergeable, stay apart.
 *  - Entries are cut to whole host pages of the fd, since nothing less can be mapped: the offset
 *    is rounded up, the end down. The guest address is then that of the first whole page; it is
 *    page-aligned itself unless the map puts pages at odd addresses. Memory of huge pages is cut
 *    to host pages, too: who maps it rounds outwards to @page_size, the file being that large.
 *  - RAM that other processes cannot reach is in the list of what is left out, with the reason.
 */
#ifndef MEMBUS_SHARE_H
#define MEMBUS_SHARE_H

#include <membus/space.h>

#ifdef __cplusplus
extern "C" {
#endif

/* RAM that can be mapped. */
typedef struct MemoryShareRange {
    hwaddr guest_addr;
    hwaddr size;      /* bytes; a multiple of the host page, not 0 */
    void *host;       /* of the first byte, in this process */
    int fd;           /* the RAM block's: not to be closed */
    hwaddr fd_offset; /* bytes; a multiple of the host page */
    size_t page_size; /* bytes; of the memory behind the fd */
    bool readonly;    /* the guest cannot write it here */
    MemoryRegion *mr; /* who answers at guest_addr */
} MemoryShareRange;

typedef enum MemoryShareReason {
    MEMORY_SHARE_NO_MEMORY, /* no host memory is behind it (memory_region_init_ram_unbacked) */
    MEMORY_SHARE_NO_FD,     /* anonymous memory, or the caller's */
    MEMORY_SHARE_PRIVATE,   /* an fd without RAM_SHARED: writes stay in this process */
    MEMORY_SHARE_PART_PAGE, /* does not fill a host page of its fd */
} MemoryShareReason;

/* RAM that cannot. */
typedef struct MemoryShareLeftOut {
    hwaddr guest_addr;
    hwaddr size; /* bytes */
    MemoryShareReason reason;
    MemoryRegion *mr; /* who answers at guest_addr */
} MemoryShareLeftOut;

/* What an address space showed at one moment. Read it; it does not change. */
typedef struct MemoryShareList {
    MemoryShareRange *ranges; /* by guest address */
    size_t count;
    hwaddr size; /* bytes in them */
    MemoryShareLeftOut *left_out;
    size_t nr_left_out;
    hwaddr size_left_out; /* bytes in them */
    FlatView *view;       /* what the list was made from */
} MemoryShareList;

/*
 * List the shareable RAM of @as as it is now. The list holds the view that it was made from, and
 * so the regions, their host memory and their fds stay until memory_share_list_free(), whatever
 * becomes of the map. A VMM makes a new one in the commit callback of a listener. NULL if memory
 * is short.
 * Context: any thread.
 */
MEMBUS_EXPORT MemoryShareList *memory_share_list_create(AddressSpace *as, Error **errp);

/* NULL is fine. Context: any thread. */
MEMBUS_EXPORT void memory_share_list_free(MemoryShareList *list);

/* @reason as a clause: "it has no file descriptor". Context: any thread. */
MEMBUS_EXPORT const char *memory_share_reason(MemoryShareReason reason);

#ifdef __cplusplus
}
#endif
#endif
