/* SPDX-License-Identifier: MIT */
/*
 * loop.h - the main thread: waits for descriptors and deadlines and calls who cares.
 */
#ifndef VMM_LOOP_H
#define VMM_LOOP_H

#include <membus/types.h>

typedef struct Loop Loop;

/* Events of poll(2) that came. Context: the loop's thread; machine lock held. */
typedef void LoopReady(void *opaque, short events);

/*
 * Call @ready when @fd has one of @events (POLLIN, POLLOUT); POLLERR and POLLHUP come uncalled.
 * One entry an fd; another call replaces its events. Returns 0 or -ENOMEM. Context of both: any
 * thread with the machine lock; after loop_remove() nothing comes any more.
 */
int loop_watch(Loop *loop, int fd, short events, LoopReady *ready, void *opaque);
void loop_remove(Loop *loop, int fd);
/* Have the loop look again at deadlines and requests. Context: any thread; a signal handler. */
void loop_wake(Loop *loop);

#endif
