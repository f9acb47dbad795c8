/* SPDX-License-Identifier: MIT */
/*
 * Threads take the next chunk of the memory until none is left; the thread that called is one of
 * them, and tells the progress between its chunks.
 *
 * P1. What cannot be had is refused before it is touched: memory against what is available, a
 *     file's blocks against what its file system has free. The OOM killer is no error message.
 * P2. What turns out to be missing all the same (others took it) is an error of a system call. No
 *     page is touched by an instruction, so there is no SIGBUS to catch.
 */
#include "ram/prealloc.h"

#include "base/error.h"
#include "ram/hostinfo.h"
#include "ram/hostmem.h"
#include "ram/hugepages.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define CHUNK ((size_t)32 << 20)
#define MAX_THREADS 256
#define DEFAULT_MAX_THREADS 16
#define PROGRESS_NS 50000000L

/* ---- Is there enough? ---------------------------------------------------------- */

/* Bytes that the file has no blocks for; blocks outside of the window pass for ours. */
static uint64_t missing_blocks(const Prealloc *work, const struct stat *st)
{
    uint64_t have = (uint64_t)st->st_blocks * 512;

    return have >= work->size ? 0 : work->size - have;
}

static int check_file_system(const Prealloc *work, uint64_t needed)
{
    struct statvfs fs;

    /* No blocks at all: a file system without a limit. */
    if (fstatvfs(work->fd, &fs) || fs.f_blocks == 0) {
        return 0;
    }
    uint64_t free_bytes = (uint64_t)fs.f_bfree * fs.f_frsize;
    if (needed <= free_bytes) {
        return 0;
    }
    return fail(ENOSPC,
                "RAM '%s': preallocation needs %" PRIu64 " more bytes in its file, whose file "
                "system has %" PRIu64 " free",
                work->name, needed, free_bytes);
}

static int check_memory(const Prealloc *work, uint64_t needed)
{
    AvailableMemory available = hostinfo_available("", work->nodes, HOST_MEMORY_MAX_NODES);

    if (needed <= available.bytes) {
        return 0;
    }
    return fail(ENOMEM,
                "RAM '%s': preallocation needs %" PRIu64 " bytes of memory, and %s leaves %" PRIu64,
                work->name, needed, available.limit, available.bytes);
}

static int check_enough(const Prealloc *work)
{
    struct statfs fs = {0};
    struct stat st;
    int result = 0;

    if (work->page_size > hostmem_page_size()) {
        return 0; /* a pool of its own, asked by mmap */
    }
    if (work->fd < 0 || (!work->shared && !work->readonly)) {
        return check_memory(work, work->size);
    }
    if (fstat(work->fd, &st) || !S_ISREG(st.st_mode) || fstatfs(work->fd, &fs)) {
        return 0;
    }
    bool in_memory = (unsigned long)fs.f_type == TMPFS_MAGIC;
    uint64_t needed = missing_blocks(work, &st);
    if (!work->readonly || in_memory) {
        result = check_file_system(work, needed);
    }
    return result || !in_memory ? result : check_memory(work, needed);
}

/* ---- Touching ------------------------------------------------------------------ */

/*
 * The futex calls reach into a page on our behalf and come back with EFAULT where an instruction
 * would raise SIGBUS. One ORs a 0 into it, atomically; the other compares, and never waits.
 */
static int touch_page(uint8_t *page, bool readonly)
{
    static const struct timespec at_once = {0, 0};
    uint32_t unused = 0;
    long result;

    if (readonly) {
        result = syscall(SYS_futex, page, FUTEX_WAIT_PRIVATE, 0, &at_once, NULL, 0);
    } else {
        result = syscall(SYS_futex, &unused, FUTEX_WAKE_OP_PRIVATE, 0, 0, page,
                         FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_LT, 0));
    }
    return result >= 0 || errno != EFAULT ? 0 : EFAULT;
}

int prealloc_touch(uint8_t *host, size_t size, size_t page, bool readonly, size_t *done)
{
    for (*done = 0; *done < size; *done += page) {
        int err = touch_page(host + *done, readonly);
        if (err) {
            return err;
        }
    }
    return 0;
}

/* ---- The crew ------------------------------------------------------------------ */

typedef struct Crew {
    const Prealloc *work;
    size_t chunk;
    size_t next, done; /* bytes; atomic */
    int err;           /* the first error; atomic */
    size_t err_at;     /* the chunk it came from; written by whoever set err */
} Crew;

static int populate(const Prealloc *work, size_t at, size_t size)
{
    int advice = work->readonly ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;
    size_t touched;

    while (madvise(work->host + at, size, advice)) {
        if (errno == EINVAL) {
            return prealloc_touch(work->host + at, size, work->page_size, work->readonly, &touched);
        }
        if (errno != EINTR && errno != EAGAIN) {
            return errno;
        }
    }
    return 0;
}

static bool populate_next_chunk(Crew *crew)
{
    size_t size = crew->work->size;
    size_t at = __atomic_fetch_add(&crew->next, crew->chunk, __ATOMIC_RELAXED);

    if (at >= size || __atomic_load_n(&crew->err, __ATOMIC_RELAXED)) {
        return false;
    }
    size_t part = size - at < crew->chunk ? size - at : crew->chunk;
    int err = populate(crew->work, at, part), none = 0;
    if (err) {
        if (__atomic_compare_exchange_n(&crew->err, &none, err, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            crew->err_at = at;
        }
        return false;
    }
    __atomic_fetch_add(&crew->done, part, __ATOMIC_RELAXED);
    return true;
}

static void *help(void *opaque)
{
    while (populate_next_chunk(opaque)) {
    }
    return NULL;
}

static unsigned count_threads(const Prealloc *work, size_t chunk)
{
    size_t chunks = (work->size + chunk - 1) / chunk;
    size_t threads = work->threads;
    cpu_set_t cpus;

    if (!threads) {
        threads = sched_getaffinity(0, sizeof cpus, &cpus) ? 1 : (size_t)CPU_COUNT(&cpus);
        threads = threads > DEFAULT_MAX_THREADS ? DEFAULT_MAX_THREADS : threads;
    }
    threads = threads > MAX_THREADS ? MAX_THREADS : threads;
    return (unsigned)(threads > chunks ? chunks : threads);
}

/* Threads that cannot be had are done without. */
static unsigned start_helpers(Crew *crew, pthread_t *helpers, unsigned wanted)
{
    sigset_t all, before;
    unsigned count = 0;

    /* The program's signals are for its own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    while (count < wanted && pthread_create(&helpers[count], NULL, help, crew) == 0) {
        count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return count;
}

static long elapsed_ns(struct timespec *since)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec - since->tv_sec > 1
               ? LONG_MAX
               : (now.tv_sec - since->tv_sec) * 1000000000L + now.tv_nsec - since->tv_nsec;
}

static void lead(Crew *crew)
{
    const Prealloc *work = crew->work;
    struct timespec told;

    clock_gettime(CLOCK_MONOTONIC, &told);
    while (populate_next_chunk(crew)) {
        if (work->progress && elapsed_ns(&told) >= PROGRESS_NS) {
            work->progress(__atomic_load_n(&crew->done, __ATOMIC_RELAXED), work->size,
                           work->progress_opaque);
            clock_gettime(CLOCK_MONOTONIC, &told);
        }
    }
}

static int explain(const Prealloc *work, const Crew *crew)
{
    if (work->page_size > hostmem_page_size() && (crew->err == EFAULT || crew->err == ENOMEM)) {
        return hugepages_short(work->name, work->page_size, work->size);
    }
    if (crew->err == EFAULT && work->fd >= 0) {
        return fail(ENOSPC,
                    "RAM '%s': preallocation of %zu bytes stopped in the %zu from 0x%zx: the file "
                    "has no more room there (it was cut, or its file system is full)",
                    work->name, work->size, crew->chunk, crew->err_at);
    }
    return fail(crew->err, "RAM '%s': preallocation of %zu bytes stopped in the %zu from 0x%zx: %s",
                work->name, work->size, crew->chunk, crew->err_at, strerror(crew->err));
}

int prealloc(const Prealloc *work)
{
    Crew crew = {.work = work, .chunk = work->page_size > CHUNK ? work->page_size : CHUNK};
    pthread_t helpers[MAX_THREADS];
    int result = check_enough(work);

    if (result) {
        return result;
    }
    unsigned started = start_helpers(&crew, helpers, count_threads(work, crew.chunk) - 1);
    lead(&crew);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(helpers[i], NULL);
    }
    if (crew.err) {
        return explain(work, &crew);
    }
    if (work->progress) {
        work->progress(work->size, work->size, work->progress_opaque);
    }
    return 0;
}
