/* SPDX-License-Identifier: MIT */
/* The virtio disk's worker: the file's part of requests, with no machine lock (virtio_blk.c). */
#include "virtio_blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* All of the pieces from or to the file; as much as the kernel takes at a time. */
static bool transfer(VirtioBlk *blk, Request *request)
{
    int fd = blk->fd;
    off_t offset = (off_t)request->offset;
    unsigned at = 0;
    size_t skip = 0; /* of pieces[at], done already */

    while (at < request->nr_pieces && !atomic_load(&blk->cancel)) {
        struct iovec *piece = &request->pieces[at];
        struct iovec rest = {(uint8_t *)piece->iov_base + skip, piece->iov_len - skip};
        /* A piece that was cut off goes alone, the others together. */
        const struct iovec *from = skip ? &rest : piece;
        int count = skip ? 1 : (int)(request->nr_pieces - at);
        ssize_t len =
            request->to_guest ? preadv(fd, from, count, offset) : pwritev(fd, from, count, offset);
        if (len < 0 && errno == EINTR) {
            continue;
        }
        if (len <= 0) {
            return false;
        }
        offset += len;
        request->transferred += (uint64_t)len;
        for (skip += (size_t)len; at < request->nr_pieces && skip >= request->pieces[at].iov_len;) {
            skip -= request->pieces[at++].iov_len;
        }
    }
    return at == request->nr_pieces;
}

static void carry_out(VirtioBlk *blk, Request *request)
{
    bool good = request->type == VIRTIO_BLK_T_FLUSH || transfer(blk, request);

    if (good && request->sync) {
        good = fdatasync(blk->fd) == 0;
    }
    request->status = good ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

void *virtio_blk_work(void *opaque)
{
    VirtioBlk *blk = opaque;
    Request *request;

    pthread_mutex_lock(&blk->lock);
    while (!blk->quit) {
        request = list_take(&blk->todo);
        if (!request) {
            pthread_cond_wait(&blk->changed, &blk->lock);
            continue;
        }
        blk->working = true;
        pthread_mutex_unlock(&blk->lock);
        carry_out(blk, request);
        pthread_mutex_lock(&blk->lock);
        blk->working = false;
        list_add(&blk->done, request);
        pthread_cond_broadcast(&blk->changed);
        eventfd_write(blk->event, 1);
    }
    pthread_mutex_unlock(&blk->lock);
    return NULL;
}
