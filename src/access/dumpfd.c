/* SPDX-License-Identifier: MIT */
/*
 * The file descriptor of a dump.
 *
 * There are two kinds. A regular file is accessed at offsets, with pwrite and pread, so that
 * zeros need not be written: where the file was longer before, a hole is punched, and at the end
 * it gets its length. Everything else is a stream, a file opened with O_APPEND too, since it has
 * no say in where its bytes go.
 */
#include "access/dumpfd.h"

#include "base/error.h"
#include "base/range.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define POLL_MS 100

static uint8_t zeros[64 * 1024]; /* never written */

/* ---- beginning and end -------------------------------------------------------------- */

static int fail_fd(const DumpFd *file, int err, const char *call)
{
    return fail(err, "%s: fd %d: %s: %s, after %" PRIu64 " of %" PRIu64 " bytes", file->what,
                file->fd, call, strerror(err), file->done, file->size);
}

static int open_fd(DumpFd *file, int fd, hwaddr size, const MemoryDumpOptions *options,
                   const char *what)
{
    struct stat st;

    *file = (DumpFd){.what = what, .fd = fd, .size = size};
    if (options) {
        file->options = *options;
    }
    write_signals_block(&file->signals);
    if (fstat(fd, &st)) {
        return fail_fd(file, errno, "fstat");
    }
    if (file->options.flags & ~(MEMORY_DUMP_PART | MEMORY_DUMP_ZERO_FILL)) {
        return fail(EINVAL, "%s: unknown dump flags 0x%x", what, file->options.flags);
    }
    if (S_ISREG(st.st_mode)) {
        file->holes = true;
        file->old_end = st.st_size;
        file->start = lseek(fd, 0, SEEK_CUR);
        if (file->start < 0) {
            return fail_fd(file, errno, "lseek");
        }
    }
    if (size > (hwaddr)(INT64_MAX - file->start)) {
        return fail(EFBIG, "%s: fd %d: %" PRIu64 " bytes from offset %" PRIu64 " are no file", what,
                    fd, size, (uint64_t)file->start);
    }
    return 0;
}

int dumpfd_open_save(DumpFd *file, int fd, hwaddr size, const MemoryDumpOptions *options,
                     const char *what)
{
    int result = open_fd(file, fd, size, options, what);

    if (!result && file->holes) {
        int flags = fcntl(fd, F_GETFL);
        file->holes = flags >= 0 && !(flags & O_APPEND);
    }
    return result;
}

int dumpfd_open_load(DumpFd *file, int fd, hwaddr size, const MemoryDumpOptions *options,
                     const char *what)
{
    int result = open_fd(file, fd, size, options, what);

    if (result || !file->holes) {
        return result;
    }
    hwaddr left = file->old_end > file->start ? (hwaddr)(file->old_end - file->start) : 0;
    bool more_is_fine = file->options.flags & MEMORY_DUMP_PART;
    if (left < size || (left > size && !more_is_fine)) {
        return fail(EINVAL,
                    "%s: fd %d has %" PRIu64 " bytes from offset %" PRIu64 ", %s than the %" PRIu64
                    " to load",
                    what, fd, left, (uint64_t)file->start, left < size ? "less" : "more", size);
    }
    return 0;
}

void dumpfd_close(DumpFd *file)
{
    write_signals_unblock(&file->signals);
}

/* ---- one step ------------------------------------------------------------------------ */

static off_t position(const DumpFd *file)
{
    return file->start + (off_t)file->done;
}

static int tell(const DumpFd *file)
{
    const MemoryDumpOptions *options = &file->options;

    if (options->progress && options->progress(file->done, file->size, options->opaque)) {
        return fail(ECANCELED, "%s: canceled after %" PRIu64 " of %" PRIu64 " bytes", file->what,
                    file->done, file->size);
    }
    return 0;
}

/* A system call failed with @err: 0 if it is to be tried again. */
static int try_again(const DumpFd *file, int err, short events, const char *call)
{
    struct pollfd wanted = {.fd = file->fd, .events = events};

    if (err == EAGAIN || err == EWOULDBLOCK) {
        if (poll(&wanted, 1, file->options.progress ? POLL_MS : -1) < 0 && errno != EINTR) {
            return fail_fd(file, errno, "poll");
        }
        return tell(file);
    }
    return err == EINTR ? tell(file) : fail_fd(file, err, call);
}

static int advance(DumpFd *file, hwaddr bytes)
{
    file->done += bytes;
    return tell(file);
}

/* ---- saving -------------------------------------------------------------------------- */

/* Write some of @size bytes, *@put of them. */
static int put_some(DumpFd *file, const uint8_t *from, hwaddr size, hwaddr *put)
{
    size_t part = (size_t)hwaddr_min(size, DUMP_CHUNK);
    ssize_t n =
        file->holes ? pwrite(file->fd, from, part, position(file)) : write(file->fd, from, part);

    *put = n > 0 ? (hwaddr)n : 0;
    if (n > 0) {
        return advance(file, *put);
    }
    return n == 0 ? fail_fd(file, ENOSPC, "write") : try_again(file, errno, POLLOUT, "write");
}

int dumpfd_put(DumpFd *file, const uint8_t *from, hwaddr size)
{
    int result = 0;

    while (size && !result) {
        hwaddr put;
        result = put_some(file, from, size, &put);
        from += put;
        size -= put;
    }
    return result;
}

static int write_zeros(DumpFd *file, hwaddr size)
{
    int result = 0;

    while (size && !result) {
        hwaddr put;
        result = put_some(file, zeros, hwaddr_min(size, sizeof zeros), &put);
        size -= put;
    }
    return result;
}

/* Make a hole where the file had @size bytes; what cannot be punched is overwritten. */
static int punch(DumpFd *file, hwaddr size)
{
    for (;;) {
        if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, position(file),
                      (off_t)size) == 0) {
            return advance(file, size);
        }
        if (errno != EINTR) {
            return write_zeros(file, size);
        }
        int result = tell(file);
        if (result) {
            return result;
        }
    }
}

int dumpfd_put_zeros(DumpFd *file, hwaddr size)
{
    if (size == 0 || !file->holes) {
        return write_zeros(file, size);
    }
    off_t at = position(file);
    hwaddr old = file->old_end > at ? hwaddr_min((hwaddr)(file->old_end - at), size) : 0;
    int result = old ? punch(file, old) : 0;
    return result || size == old ? result : advance(file, size - old);
}

static int set_length(DumpFd *file, off_t end)
{
    while (ftruncate(file->fd, end)) {
        if (errno != EINTR) {
            return fail_fd(file, errno, "ftruncate");
        }
    }
    return 0;
}

/* Leave the position behind the dump. */
static int end_position(const DumpFd *file)
{
    if (lseek(file->fd, position(file), SEEK_SET) < 0) {
        return fail_fd(file, errno, "lseek");
    }
    return 0;
}

int dumpfd_end_save(DumpFd *file)
{
    struct stat st;
    off_t end = position(file);

    if (!file->holes) {
        return 0;
    }
    if (fstat(file->fd, &st)) {
        return fail_fd(file, errno, "fstat");
    }
    bool follows = file->options.flags & MEMORY_DUMP_PART;
    int result = st.st_size < end || (st.st_size > end && !follows) ? set_length(file, end) : 0;
    return result ? result : end_position(file);
}

/* ---- loading ------------------------------------------------------------------------- */

/* Read some of @size bytes, *@got of them; 0 at the end of the stream. */
static int get_some(DumpFd *file, uint8_t *to, hwaddr size, hwaddr *got)
{
    size_t part = (size_t)hwaddr_min(size, DUMP_CHUNK);
    int result = 0;
    ssize_t n;

    do {
        n = file->holes ? pread(file->fd, to, part, position(file)) : read(file->fd, to, part);
        if (n < 0) {
            result = try_again(file, errno, POLLIN, "read");
        }
    } while (n < 0 && !result);
    *got = n > 0 ? (hwaddr)n : 0;
    return result;
}

int dumpfd_get(DumpFd *file, uint8_t *to, hwaddr size)
{
    int result = 0;

    while (size && !result) {
        hwaddr got;
        result = get_some(file, to, size, &got);
        if (!result && got == 0) {
            result = fail(EIO, "%s: fd %d ended after %" PRIu64 " of %" PRIu64 " bytes", file->what,
                          file->fd, file->done, file->size);
        }
        if (!result) {
            result = advance(file, got);
        }
        to += got;
        size -= got;
    }
    return result;
}

int dumpfd_pass(DumpFd *file, hwaddr size)
{
    uint8_t unwanted[16 * 1024];
    int result = 0;

    if (size && file->holes) {
        return advance(file, size);
    }
    while (size && !result) {
        hwaddr part = hwaddr_min(size, sizeof unwanted);
        result = dumpfd_get(file, unwanted, part);
        size -= part;
    }
    return result;
}

void dumpfd_look(DumpFd *file, hwaddr size, hwaddr *hole, hwaddr *data)
{
    off_t at = position(file), end = at + (off_t)size;

    *hole = 0;
    *data = size;
    if (!file->holes) {
        return;
    }
    off_t first = lseek(file->fd, at, SEEK_DATA);
    if (first < 0 && errno != ENXIO) {
        return; /* it cannot tell: all is data */
    }
    if (first < 0) { /* no more data; past the end, where it has been cut since, is no hole */
        off_t file_end = lseek(file->fd, 0, SEEK_END);
        first = file_end < at ? at : file_end;
    }
    if (first >= end) {
        *hole = size;
        *data = 0;
        return;
    }
    off_t after = lseek(file->fd, first, SEEK_HOLE);
    *hole = (hwaddr)(first - at);
    *data = after > first && after < end ? (hwaddr)(after - first) : (hwaddr)(end - first);
}

int dumpfd_end_load(DumpFd *file)
{
    uint8_t extra;
    hwaddr got = 0;

    if (file->holes) {
        return end_position(file);
    }
    int result = file->options.flags & MEMORY_DUMP_PART ? 0 : get_some(file, &extra, 1, &got);
    if (got) {
        return fail(EINVAL, "%s: fd %d has more than the %" PRIu64 " bytes to load, which are in",
                    file->what, file->fd, file->size);
    }
    return result;
}
