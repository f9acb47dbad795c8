/* SPDX-License-Identifier: MIT */
/* target.h - files, pipes and sockets that dumps go to and come from. Needs cmocka.h before it. */
#ifndef TESTS_TARGET_H
#define TESTS_TARGET_H

#include "machine.h"
#include <pthread.h>

#define PAGE 4096U
#define ROOM (101 * PAGE) /* of a target */

/* The call must be refused with @code and a sentence that has @words. */
#define REFUSED_SAYING(code, words, call)                                                          \
    do {                                                                                           \
        REFUSED(code, call);                                                                       \
        if (!strstr(membus_last_error(), words)) {                                                 \
            fail_msg("'%s' is not in: %s", words, membus_last_error());                            \
        }                                                                                          \
    } while (0)

typedef enum Kind { FILE_NEW, FILE_OLD, FILE_APPEND, PIPE, PIPE_NONBLOCK, SOCKET, NR_KINDS } Kind;

typedef struct Target {
    Kind kind;
    int fd, peer; /* ours; the other end of a stream */
    pthread_t thread;
    unsigned delay_ms;   /* before the thread begins */
    uint8_t bytes[ROOM]; /* what came out of the peer, or goes into it */
    size_t size;
} Target;

static inline bool is_file(Kind kind)
{
    return kind <= FILE_APPEND;
}

/* A file in memory of @size bytes. */
int memory_file(hwaddr size);

/* An empty file, or a stream whose end t->fd is for reading or writing. */
void target_open(Target *t, Kind kind, bool reading);
/* Let a thread take what is written to a stream; feed t->bytes to it and close it. */
void target_drain(Target *t);
void target_feed(Target *t);
/* Close t->fd and wait for the thread. */
void target_close(Target *t);
/* What a file has. */
void target_read_file(Target *t);

void assert_same(const uint8_t *found, const uint8_t *expected, size_t size);

#endif
