/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "target.h"

int memory_file(hwaddr size)
{
    int fd = memfd_create("memory", MFD_CLOEXEC);

    assert_true(fd >= 0);
    OK(ftruncate(fd, (off_t)size));
    return fd;
}

void target_open(Target *t, Kind kind, bool reading)
{
    int fds[2];

    t->kind = kind;
    t->peer = -1;
    t->size = 0;
    if (is_file(kind)) {
        t->fd = memory_file(0);
        OK(fcntl(t->fd, F_SETFL, kind == FILE_APPEND ? O_APPEND : 0));
        return;
    }
    if (kind == SOCKET) {
        OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    } else {
        OK(pipe(fds));
    }
    t->fd = fds[reading ? 0 : 1];
    t->peer = fds[reading ? 1 : 0];
    if (kind == PIPE_NONBLOCK) {
        OK(fcntl(t->fd, F_SETFL, O_NONBLOCK));
    }
}

/* Small pieces at first, so that the other end sees many of them. */
static size_t piece(size_t done, size_t left)
{
    return done < 50000 && left > 777 ? 777 : left;
}

static void *drain(void *opaque)
{
    Target *t = opaque;
    ssize_t n;

    usleep(1000 * t->delay_ms);
    do {
        n = read(t->peer, t->bytes + t->size, piece(t->size, sizeof t->bytes - t->size));
        t->size += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    close(t->peer);
    return NULL;
}

static void *feed(void *opaque)
{
    Target *t = opaque;
    size_t done = 0;
    ssize_t n = 0;

    usleep(1000 * t->delay_ms);
    while (done < t->size && n >= 0) {
        n = write(t->peer, t->bytes + done, piece(done, t->size - done));
        done += n > 0 ? (size_t)n : 0;
    }
    close(t->peer);
    return NULL;
}

void target_drain(Target *t)
{
    OK(pthread_create(&t->thread, NULL, drain, t));
}

void target_feed(Target *t)
{
    OK(pthread_create(&t->thread, NULL, feed, t));
}

void target_close(Target *t)
{
    close(t->fd);
    if (t->peer >= 0) {
        pthread_join(t->thread, NULL);
    }
}

void target_read_file(Target *t)
{
    ssize_t n = pread(t->fd, t->bytes, sizeof t->bytes, 0);

    assert_true(n >= 0);
    t->size = (size_t)n;
}

void assert_same(const uint8_t *found, const uint8_t *expected, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (found[i] != expected[i]) {
            fail_msg("byte 0x%zx is 0x%02x, not 0x%02x", i, found[i], expected[i]);
        }
    }
}
