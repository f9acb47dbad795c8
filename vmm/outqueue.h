/* SPDX-License-Identifier: MIT */
/*
 * outqueue.h - writing to a descriptor that may be slow without ever waiting for it.
 */
#ifndef VMM_OUTQUEUE_H
#define VMM_OUTQUEUE_H

#include "machine.h"

#define OUTQUEUE_LIMIT (1U << 20) /* bytes that are kept; what comes then is lost */

typedef struct OutQueue {
    Machine *machine;
    int fd;        /* of its own, -1: closed, or its reader is gone */
    bool nonblock; /* write(2) never blocks; else poll(2) is asked first */
    uint8_t *bytes;
    size_t head, count, room;
    void (*drained)(void *opaque); /* the queue is empty again */
    void *opaque;
} OutQueue;

/*
 * Write to what @fd is, which stays the caller's; its mode is not changed, unless it @is_ours (then
 * it becomes non-blocking). Returns 0 or a negative errno. Context of all: machine lock.
 */
int outqueue_open(OutQueue *q, Machine *m, int fd, bool is_ours);
void outqueue_write(OutQueue *q, const void *bytes, size_t count);
static inline size_t outqueue_pending(const OutQueue *q)
{
    return q->count;
}
/* Gives a slow reader some time for what is left. Fine for one that is all zero. */
void outqueue_close(OutQueue *q);

#endif
