/* SPDX-License-Identifier: MIT */
/*
 * hostfile.h - the files that guest memory is mapped from: named, unnamed, the caller's.
 *
 * Each function returns 0 or a negative errno with its sentence; @name is for the sentence.
 */
#ifndef RAM_HOSTFILE_H
#define RAM_HOSTFILE_H

#include <membus/types.h>

#include <sys/types.h>

typedef struct HostFile {
    int fd;
    const char *name, *path; /* the caller's; path NULL: it has none */
    bool created, named;
    off_t grown_from; /* its size before, or -1 */
} HostFile;

/* Open @path, made if need be and not @readonly; in a directory, a file without a name. */
int hostfile_open(HostFile *file, const char *name, const char *path, bool readonly);

/* A memfd, of huge pages of @huge bytes unless that is 0. */
int hostfile_memfd(HostFile *file, const char *name, size_t huge);

/* POSIX shared memory whose name is gone already. */
int hostfile_shm(HostFile *file, const char *name);

/* A descriptor of our own for the caller's @fd. */
int hostfile_dup(HostFile *file, const char *name, int fd);

/* Make a regular file @end bytes long if it is shorter. */
int hostfile_grow(HostFile *file, hwaddr end);

/* Forbid a memfd to change its size. */
int hostfile_seal(const HostFile *file);

/* Leave the file as it was found, and close it. */
void hostfile_undo(HostFile *file);

#endif
