/* SPDX-License-Identifier: MIT */
/* virtio_blk.h - the virtio disk: what its two sides, the device and the worker, share. */
#ifndef VMM_VIRTIO_BLK_H
#define VMM_VIRTIO_BLK_H

#include "virtio.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#define MAX_PIECES (VIRTQUEUE_MAX_SIZE + 64) /* buffers are cut where the map's ranges end */

typedef struct Request {
    struct Request *next;
    VirtElement element;
    uint32_t type;
    uint64_t offset; /* bytes, in the file */
    bool sync;       /* there is no cache that the driver knows of */
    bool to_guest;
    uint8_t status;
    uint64_t transferred; /* bytes, in the order of the pieces */
    unsigned nr_pieces;
    struct iovec pieces[MAX_PIECES]; /* mapped guest memory */
} Request;

typedef struct RequestList {
    Request *first, *last;
} RequestList;

typedef struct VirtioBlk {
    VirtioDevice virtio;
    int fd, event;
    bool readonly, has_thread;
    uint64_t sectors;
    pthread_t thread;

    pthread_mutex_t lock; /* guards the rest; nothing is called with it held */
    pthread_cond_t changed;
    RequestList todo, done;
    bool working, quit;
    atomic_bool cancel; /* what the worker is at: nobody waits for it any more */
} VirtioBlk;

static inline void list_add(RequestList *list, Request *request)
{
    request->next = NULL;
    *(list->first ? &list->last->next : &list->first) = request;
    list->last = request;
}

static inline Request *list_take(RequestList *list)
{
    Request *request = list->first;

    if (request) {
        list->first = request->next;
    }
    return request;
}

/* The worker's thread, of the VirtioBlk @opaque (virtio_blk_worker.c). */
void *virtio_blk_work(void *opaque);

#endif
