/* SPDX-License-Identifier: MIT */
/* Writing to a descriptor that may be slow without ever waiting for it. */
#include "outqueue.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAST_WAIT_MS 1000 /* without any progress, when the queue is closed */

/*
 * O_NONBLOCK belongs to the open file, which the shell and others have, too: terminals and pipes
 * are opened anew. (A pty's master cannot be: that would be another pty. A file would start at 0.)
 */
static int open_anew(int fd)
{
    struct stat st;
    unsigned pty;
    char path[32];

    if (fstat(fd, &st) < 0 || !(S_ISFIFO(st.st_mode) || isatty(fd)) ||
        ioctl(fd, TIOCGPTN, &pty) == 0) {
        return -1;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

int outqueue_open(OutQueue *q, Machine *m, int fd, bool is_ours)
{
    *q = (OutQueue){.machine = m, .fd = -1};
    if (is_ours) {
        q->nonblock = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0;
    } else {
        q->fd = open_anew(fd);
        q->nonblock = q->fd >= 0;
    }
    if (q->fd < 0) {
        q->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    }
    return q->fd < 0 ? -errno : 0;
}

static void give_up(OutQueue *q)
{
    loop_remove(q->machine->loop, q->fd);
    close(q->fd);
    q->fd = -1;
    q->count = 0;
}

/* Bytes written, 0: not now, or the reader is gone (fd is -1 then). */
static size_t write_some(OutQueue *q, const uint8_t *bytes, size_t count)
{
    if (!q->nonblock) {
        struct pollfd ready = {.fd = q->fd, .events = POLLOUT};
        if (poll(&ready, 1, 0) <= 0) {
            return 0;
        }
        count = count < PIPE_BUF ? count : PIPE_BUF;
    }
    ssize_t written;
    do {
        written = write(q->fd, bytes, count);
    } while (written < 0 && errno == EINTR);
    if (written >= 0) {
        return (size_t)written;
    }
    if (errno != EAGAIN) {
        if (errno != EPIPE && errno != EIO) {
            vmm_complain("output is lost from here on: %m");
        }
        give_up(q);
    }
    return 0;
}

static void flush(OutQueue *q)
{
    while (q->fd >= 0 && q->count > 0) {
        size_t written = write_some(q, q->bytes + q->head, q->count);
        if (written == 0) {
            return;
        }
        q->head += written;
        q->count -= written;
    }
    q->head = 0;
}

static void on_writable(void *opaque, short events)
{
    OutQueue *q = opaque;

    (void)events;
    flush(q);
    if (q->count == 0) {
        if (q->fd >= 0) {
            loop_remove(q->machine->loop, q->fd);
        }
        if (q->drained) {
            q->drained(q->opaque);
        }
    }
}

static bool make_room(OutQueue *q, size_t count)
{
    if (q->head + q->count + count <= q->room) {
        return true;
    }
    if (q->head > 0) {
        memmove(q->bytes, q->bytes + q->head, q->count);
        q->head = 0;
    }
    size_t room = q->room ? q->room : 4096;
    while (room < q->count + count) {
        room *= 2;
    }
    uint8_t *bytes = room > q->room ? realloc(q->bytes, room) : q->bytes;
    if (!bytes) {
        return false;
    }
    q->bytes = bytes;
    q->room = room;
    return true;
}

void outqueue_write(OutQueue *q, const void *bytes, size_t count)
{
    const uint8_t *at = bytes;

    while (q->fd >= 0 && q->count == 0 && count > 0) {
        size_t written = write_some(q, at, count);
        if (written == 0) {
            break;
        }
        at += written;
        count -= written;
    }
    if (q->fd < 0 || count == 0) {
        return;
    }
    bool was_empty = q->count == 0;
    size_t fits = OUTQUEUE_LIMIT - q->count;
    count = count < fits ? count : fits;
    if (count == 0 || !make_room(q, count)) {
        return;
    }
    memcpy(q->bytes + q->head + q->count, at, count);
    q->count += count;
    if (was_empty && loop_watch(q->machine->loop, q->fd, POLLOUT, on_writable, q) < 0) {
        q->count = 0;
    }
}

void outqueue_close(OutQueue *q)
{
    if (!q->machine) {
        return;
    }
    while (q->fd >= 0 && q->count > 0) {
        size_t before = q->count;
        struct pollfd ready = {.fd = q->fd, .events = POLLOUT};
        if (poll(&ready, 1, LAST_WAIT_MS) <= 0) {
            break;
        }
        flush(q);
        if (q->count == before) {
            break;
        }
    }
    if (q->fd >= 0) {
        give_up(q);
    }
    free(q->bytes);
    *q = (OutQueue){.fd = -1};
}
