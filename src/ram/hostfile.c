/* SPDX-License-Identifier: MIT */
#include "ram/hostfile.h"

#include "base/error.h"
#include "base/write_signals.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_FILE(the_name, the_path)                                                                \
    ((HostFile){.fd = -1, .name = (the_name), .path = (the_path), .grown_from = -1})

/* An unnamed file; where the file system knows no O_TMPFILE, one whose name is gone at once. */
static int open_unnamed(HostFile *file)
{
    char path[4096];

    file->fd = open(file->path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file->fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) {
        return file->fd;
    }
    int length = snprintf(path, sizeof path, "%s/membus-XXXXXX", file->path);
    if (length < 0 || (size_t)length >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    file->fd = mkostemp(path, O_CLOEXEC);
    if (file->fd >= 0) {
        unlink(path);
    }
    return file->fd;
}

/* A path of which the end matters most, and which leaves room for the reason. */
typedef struct ShownPath {
    char text[128];
} ShownPath;

static ShownPath show(const char *path)
{
    size_t length = strlen(path), room = sizeof((ShownPath *)0)->text - sizeof "...";
    ShownPath shown;

    snprintf(shown.text, sizeof shown.text, "%s%s", length > room ? "..." : "",
             length > room ? path + length - room : path);
    return shown;
}

int hostfile_open(HostFile *file, const char *name, const char *path, bool readonly)
{
    /* A FIFO must not make us wait for its other end. */
    int flags = (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    struct stat st;

    *file = NO_FILE(name, path);
    if (!path || !*path) {
        return fail(EINVAL, "RAM '%s': no path of a file is given", name);
    }
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        if (readonly) {
            return fail(EISDIR, "RAM '%s': %s is a directory, and a new file cannot be read-only",
                        name, show(path).text);
        }
        open_unnamed(file);
    } else {
        file->fd = open(path, flags);
        if (file->fd < 0 && errno == ENOENT && !readonly) {
            file->fd = open(path, flags | O_CREAT | O_EXCL, 0644);
            file->created = file->fd >= 0;
        }
        file->named = true;
    }
    if (file->fd < 0) {
        int err = errno;
        return fail(err, "RAM '%s': cannot open %s: %s", name, show(path).text, strerror(err));
    }
    return 0;
}

static unsigned log2_of(size_t power_of_two)
{
    return (unsigned)__builtin_ctzll(power_of_two);
}

int hostfile_memfd(HostFile *file, const char *name, size_t huge)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

    if (huge) {
        flags |= MFD_HUGETLB | log2_of(huge) << MFD_HUGE_SHIFT;
    }
    *file = NO_FILE(name, NULL);
    file->fd = memfd_create("membus-ram", flags);
    if (file->fd < 0) {
        int err = errno;
        return huge ? fail(err, "RAM '%s': cannot make a memfd of %zu-byte pages: %s", name, huge,
                           strerror(err))
                    : fail(err, "RAM '%s': cannot make a memfd: %s", name, strerror(err));
    }
    return 0;
}

int hostfile_shm(HostFile *file, const char *name)
{
    uint64_t random = 0;
    char path[64];

    *file = NO_FILE(name, NULL);
    for (unsigned attempt = 0; attempt < 16 && file->fd < 0; attempt++) {
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) {
            random += (uint64_t)(uintptr_t)path + attempt;
        }
        snprintf(path, sizeof path, "/membus-%ld-%016" PRIx64, (long)getpid(), random);
        file->fd = shm_open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (file->fd < 0 && errno != EEXIST) {
            break;
        }
    }
    if (file->fd < 0) {
        int err = errno;
        return fail(err, "RAM '%s': cannot make POSIX shared memory: %s", name, strerror(err));
    }
    shm_unlink(path);
    return 0;
}

int hostfile_dup(HostFile *file, const char *name, int fd)
{
    *file = NO_FILE(name, NULL);
    file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (file->fd < 0) {
        int err = errno;
        return fail(err, "RAM '%s': cannot duplicate fd %d: %s", name, fd, strerror(err));
    }
    return 0;
}

/* Beyond the limit of file sizes (RLIMIT_FSIZE) is an error, not a signal. */
static int set_length(int fd, off_t length)
{
    WriteSignals before;
    int err;

    write_signals_block(&before);
    do {
        err = ftruncate(fd, length) ? errno : 0;
    } while (err == EINTR);
    write_signals_unblock(&before);
    return err;
}

int hostfile_grow(HostFile *file, hwaddr end)
{
    struct stat st;

    if (fstat(file->fd, &st) || !S_ISREG(st.st_mode) || (hwaddr)st.st_size >= end) {
        return 0;
    }
    int err = end > INT64_MAX ? EFBIG : set_length(file->fd, (off_t)end);
    if (err) {
        return fail(err, "RAM '%s': cannot grow %s to %" PRIu64 " bytes: %s", file->name,
                    show(file->path ? file->path : "its memory file").text, end, strerror(err));
    }
    file->grown_from = st.st_size;
    return 0;
}

int hostfile_seal(const HostFile *file)
{
    if (fcntl(file->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        int err = errno;
        return fail(err, "RAM '%s': cannot seal its memfd: %s", file->name, strerror(err));
    }
    return 0;
}

void hostfile_undo(HostFile *file)
{
    if (file->fd < 0) {
        return;
    }
    if (file->created) {
        unlink(file->path);
    } else if (file->grown_from >= 0 && set_length(file->fd, file->grown_from)) {
        /* It stays longer than it was: nothing more can be done. */
    }
    close(file->fd);
    file->fd = -1;
}
