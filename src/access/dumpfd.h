/* SPDX-License-Identifier: MIT */
/* dumpfd.h - the file descriptor of a dump: bytes, holes and their errors. */
#ifndef ACCESS_DUMPFD_H
#define ACCESS_DUMPFD_H

#include "base/write_signals.h"

#include <membus/dump.h>
#include <sys/types.h>

#define DUMP_CHUNK (1U << 20) /* bytes between two calls of the progress callback */

typedef struct DumpFd {
    const char *what; /* is dumped or loaded, for sentences */
    int fd;
    bool holes;        /* a regular file: accessed at offsets, zeros are holes */
    off_t start;       /* of the dump */
    off_t old_end;     /* of the file before a save */
    hwaddr done, size; /* bytes */
    MemoryDumpOptions options;
    WriteSignals signals;
} DumpFd;

/*
 * Begin a dump of @size bytes, to be ended with dumpfd_close() even after an error; @what is
 * borrowed. Everything here returns 0 or a negative errno with its sentence.
 */
int dumpfd_open_save(DumpFd *file, int fd, hwaddr size, const MemoryDumpOptions *options,
                     const char *what);
int dumpfd_open_load(DumpFd *file, int fd, hwaddr size, const MemoryDumpOptions *options,
                     const char *what);
void dumpfd_close(DumpFd *file);

/* Put @size bytes; zeros. */
int dumpfd_put(DumpFd *file, const uint8_t *from, hwaddr size);
int dumpfd_put_zeros(DumpFd *file, hwaddr size);
/* All was put: give the file its length. */
int dumpfd_end_save(DumpFd *file);

/* Get @size bytes; pass over them. */
int dumpfd_get(DumpFd *file, uint8_t *to, hwaddr size);
int dumpfd_pass(DumpFd *file, hwaddr size);
/* What comes next, @size bytes at most: *@hole bytes of a hole, then at least *@data of data. */
void dumpfd_look(DumpFd *file, hwaddr size, hwaddr *hole, hwaddr *data);
/* All was got: nothing more may follow. */
int dumpfd_end_load(DumpFd *file);

#endif
