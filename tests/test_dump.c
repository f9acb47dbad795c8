/* SPDX-License-Identifier: MIT */
/* Dumps of RAM to files, pipes and sockets and back, against plain arrays of bytes. */
#include "support/rng.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/target.h"

#define PAGES 96U
#define SIZE (PAGES * PAGE)

/* ---- memory ------------------------------------------------------------------------------ */

typedef enum Backing { ANONYMOUS, SHARED_FILE, PRIVATE_FILE, CALLERS, NR_BACKINGS } Backing;

typedef struct Memory {
    MemorySystem *ms;
    MemoryRegion ram;
    RAMBlock *block;
    uint8_t *host, *callers;
    uint8_t expected[SIZE];
    bool touched[PAGES];
} Memory;

/* Make RAM with something on about a third of its pages. */
static void memory_start(Memory *m, Backing backing, Rng *rng)
{
    MemoryOwner *board;
    uint8_t old[PAGE];

    *m = (Memory){.ms = machine_start()};
    board = memory_system_owner(m->ms);
    int fd = memory_file(SIZE);
    switch (backing) {
    case ANONYMOUS:
        make_ram(m->ms, &m->ram, "ram", SIZE);
        break;
    case PRIVATE_FILE:
        memset(old, 0xf1, PAGE); /* the file has a page of its own */
        assert_int_equal(pwrite(fd, old, PAGE, 7 * PAGE), PAGE);
        memset(m->expected + 7 * PAGE, 0xf1, PAGE);
        /* fallthrough */
    case SHARED_FILE:
        OK(memory_region_init_ram_from_fd(&m->ram, board, "ram", SIZE,
                                          backing == SHARED_FILE ? RAM_SHARED : 0, dup(fd), 0,
                                          NULL));
        break;
    default:
        m->callers = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(m->callers != MAP_FAILED);
        OK(memory_region_init_ram_ptr(&m->ram, board, "ram", SIZE, m->callers));
    }
    close(fd);
    m->block = memory_region_get_ram_block(&m->ram);
    m->host = memory_region_get_ram_ptr(&m->ram);
    map_at(m->ms, 0x100000, &m->ram);
    for (unsigned page = 0; page < PAGES; page++) {
        if (rng_percent(rng, 35)) {
            m->touched[page] = true;
            unsigned at = page * PAGE + rng_below(rng, PAGE);
            m->host[at] = m->expected[at] = (uint8_t)rng_next(rng);
        }
    }
}

static void memory_end(Memory *m)
{
    machine_end(m->ms);
    if (m->callers) {
        munmap(m->callers, SIZE);
    }
}

/* ---- all kinds --------------------------------------------------------------------------- */

/* Save to @kind, from @start on over @old bytes that are there, and look at what arrived. */
static void check_save(Memory *m, Kind kind, unsigned start, unsigned old, unsigned flags)
{
    MemoryDumpOptions options = {.flags = flags};
    static Target t;
    static uint8_t expected[ROOM];
    size_t end = start + SIZE;

    target_open(&t, kind, false);
    memset(expected, 0, sizeof expected);
    if (is_file(kind)) {
        memset(expected, 0xaa, old);
        assert_int_equal(pwrite(t.fd, expected, old, 0), old);
        assert_int_equal(lseek(t.fd, start, SEEK_SET), start);
        if (kind == FILE_APPEND) {
            start = old;
            end = start + SIZE;
        }
    } else {
        start = 0;
        end = SIZE;
        target_drain(&t);
    }
    OK(ram_block_save(m->block, t.fd, &options, NULL));
    memcpy(expected + start, m->expected, SIZE);
    if (is_file(kind)) {
        assert_int_equal(lseek(t.fd, 0, SEEK_CUR), end);
        target_read_file(&t);
    }
    target_close(&t);
    assert_int_equal(t.size, old > end && (flags & MEMORY_DUMP_PART) ? old : end);
    assert_same(t.bytes, expected, t.size);
}

static void saves(void **state)
{
    static Memory m;
    Rng rng = {1};

    (void)state;
    for (Backing backing = 0; backing < NR_BACKINGS; backing++) {
        for (unsigned round = 0; round < 6; round++) {
            static const unsigned starts[] = {0, 100, PAGE, 3 * PAGE + 1, 0, 0};
            memory_start(&m, backing, &rng);
            for (unsigned part = 0; part <= MEMORY_DUMP_PART; part++) {
                check_save(&m, FILE_NEW, starts[round], 0, part);
                check_save(&m, FILE_OLD, starts[round], 500, part);
                check_save(&m, FILE_OLD, starts[round], 20 * PAGE + 77, part);
                check_save(&m, FILE_OLD, starts[round], ROOM, part);
                check_save(&m, FILE_APPEND, 0, 1 + rng_below(&rng, PAGE), part);
                for (Kind kind = PIPE; kind < NR_KINDS; kind++) {
                    check_save(&m, kind, 0, 0, part);
                }
            }
            memory_end(&m);
        }
    }
}

/* Load what was saved from other memory; from a sparse file and a full one. */
static void check_load(Memory *m, const Memory *from, Kind kind, unsigned start, unsigned extra,
                       bool sparse)
{
    MemoryDumpOptions options = {.flags = extra ? MEMORY_DUMP_PART : 0};
    static Target t;

    target_open(&t, kind, true);
    if (is_file(kind)) {
        OK(fcntl(t.fd, F_SETFL, 0));
        assert_int_equal(lseek(t.fd, start, SEEK_SET), start);
        if (sparse) {
            OK(ram_block_save(from->block, t.fd, NULL, NULL));
        } else {
            assert_int_equal(write(t.fd, from->expected, SIZE), SIZE);
        }
        OK(ftruncate(t.fd, start + SIZE + extra));
        assert_int_equal(lseek(t.fd, start, SEEK_SET), start);
    } else {
        memcpy(t.bytes, from->expected, SIZE);
        t.size = SIZE + extra;
        target_feed(&t);
    }
    OK(ram_block_load(m->block, t.fd, &options, NULL));
    if (is_file(kind)) {
        assert_int_equal(lseek(t.fd, 0, SEEK_CUR), start + SIZE);
    } else {
        for (unsigned char byte; extra; extra--) { /* it is still there */
            struct timespec moment = {0, 1000000};
            ssize_t n;
            while ((n = read(t.fd, &byte, 1)) < 0 && errno == EAGAIN) {
                nanosleep(&moment, NULL);
            }
            assert_int_equal(n, 1);
        }
    }
    target_close(&t);
    assert_same(m->host, from->expected, SIZE);
}

static void loads(void **state)
{
    static Memory from, m;
    Rng rng = {2};

    (void)state;
    for (Backing backing = 0; backing < NR_BACKINGS; backing++) {
        for (unsigned round = 0; round < 2; round++) {
            memory_start(&from, rng_below(&rng, NR_BACKINGS), &rng);
            for (unsigned sparse = 0; sparse < 2; sparse++) {
                for (unsigned extra = 0; extra < 20; extra += 10) {
                    memory_start(&m, backing, &rng);
                    check_load(&m, &from, FILE_NEW, rng_below(&rng, 2 * PAGE), extra, sparse);
                    memory_end(&m);
                }
            }
            for (Kind kind = PIPE; kind < NR_KINDS; kind++) {
                memory_start(&m, backing, &rng);
                check_load(&m, &from, kind, 0, round % 2 * 10, false);
                memory_end(&m);
            }
            memory_end(&from);
        }
    }
}

/* ---- untouched memory -------------------------------------------------------------------- */

#define LARGE (1024UL * 1024 * 1024)

static size_t pages_in_core(uint8_t *host, size_t size)
{
    size_t pages = size / PAGE, count = 0;
    unsigned char *in_core = malloc(pages);

    assert_non_null(in_core);
    OK(mincore(host, size, in_core));
    for (size_t i = 0; i < pages; i++) {
        count += in_core[i] & 1;
    }
    free(in_core);
    return count;
}

static void start_large(MemorySystem *ms, MemoryRegion *mr, bool shared)
{
    if (shared) {
        OK(memory_region_init_ram_from_fd(mr, memory_system_owner(ms), "large", LARGE, RAM_SHARED,
                                          memory_file(LARGE), 0, NULL));
    } else {
        make_ram(ms, mr, "large", LARGE);
    }
    /* One touched page is one page. */
    OK(madvise(memory_region_get_ram_ptr(mr), LARGE, MADV_NOHUGEPAGE));
}

static void untouched_stays_untouched(void **state)
{
    static const size_t touched[] = {0, 12345 * (size_t)PAGE, 12346 * (size_t)PAGE,
                                     LARGE - 1}; /* on 4 pages */

    (void)state;
    for (unsigned shared = 0; shared < 2; shared++) {
        MemorySystem *ms = machine_start();
        MemoryRegion a, b;
        struct stat st;
        int fd = memory_file(0);

        start_large(ms, &a, shared);
        start_large(ms, &b, shared);
        uint8_t *host = memory_region_get_ram_ptr(&a), *other = memory_region_get_ram_ptr(&b);
        for (unsigned i = 0; i < 4; i++) {
            host[touched[i]] = (uint8_t)(i + 1);
        }
        OK(ram_block_save(memory_region_get_ram_block(&a), fd, NULL, NULL));
        assert_int_equal(pages_in_core(host, LARGE), 4);
        OK(fstat(fd, &st));
        assert_int_equal(st.st_size, LARGE);
        assert_in_range(st.st_blocks, 1, 4 * PAGE / 512);

        other[5 * PAGE] = 0x55; /* becomes zero */
        other[LARGE - 1] = 0x66;
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        OK(ram_block_load(memory_region_get_ram_block(&b), fd, NULL, NULL));
        assert_int_equal(pages_in_core(other, LARGE), 5);
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(other[touched[i]], i + 1);
        }
        assert_int_equal(other[5 * PAGE], 0);

        /* A hole in the file over what is no hole in memory, and the other way round. */
        memset(other, 0x77, 64 * PAGE);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        OK(ram_block_load(memory_region_get_ram_block(&b), fd, NULL, NULL));
        assert_true(other[0] == 1 && other[1] == 0 && other[63 * PAGE] == 0);
        close(fd);
        machine_end(ms);
    }
}

/* ---- dirty pages ------------------------------------------------------------------------- */

/* A load marks what it changed, and little else: not what was and stays untouched. */
static void loads_mark_dirty(void **state)
{
    static Memory from, m;
    static uint8_t before[SIZE];
    Rng rng = {6};

    (void)state;
    for (unsigned round = 0; round < 8; round++) {
        int fd = memory_file(0);
        memory_start(&from, ANONYMOUS, &rng);
        memory_start(&m, round % 2 ? ANONYMOUS : SHARED_FILE, &rng);
        OK(ram_block_save(from.block, fd, NULL, NULL));
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        memcpy(before, m.expected, SIZE);
        OK(memory_region_set_log(&m.ram, true, DIRTY_MEMORY_VGA));
        memory_region_reset_dirty(&m.ram, 0, SIZE, DIRTY_MEMORY_VGA);
        OK(ram_block_load(m.block, fd, NULL, NULL));
        for (unsigned page = 0; page < PAGES; page++) {
            unsigned at = page * PAGE;
            bool dirty = memory_region_get_dirty(&m.ram, at, PAGE, DIRTY_MEMORY_VGA);
            if (memcmp(before + at, from.expected + at, PAGE) != 0) {
                assert_true(dirty);
            } else if (!m.touched[page] && !from.touched[page]) {
                assert_false(dirty);
            }
        }
        close(fd);
        memory_end(&from);
        memory_end(&m);
    }
}

/* ---- progress, waiting, signals -------------------------------------------------------------- */

typedef struct Watch {
    hwaddr last, total, cancel_at;
    unsigned calls, still;
} Watch;

static bool watch(hwaddr done, hwaddr total, void *opaque)
{
    Watch *w = opaque;

    assert_true(done >= w->last && done <= total);
    assert_true(w->total == 0 || w->total == total);
    w->still = done == w->last ? w->still + 1 : 0;
    w->last = done;
    w->total = total;
    w->calls++;
    return done >= w->cancel_at || w->still > 3;
}

static void progress_and_cancel(void **state)
{
    const hwaddr size = 8 * 1024 * 1024;
    MemorySystem *ms = machine_start();
    MemoryRegion ram;
    int fds[2], fd = memory_file(0);
    Watch w = {.cancel_at = UINT64_MAX};
    MemoryDumpOptions options = {.progress = watch, .opaque = &w};

    (void)state;
    make_ram(ms, &ram, "ram", size);
    RAMBlock *block = memory_region_get_ram_block(&ram);
    memset(memory_region_get_ram_ptr(&ram), 1, size / 2);
    OK(ram_block_save(block, fd, &options, NULL));
    assert_true(w.last == size && w.total == size && w.calls >= 5);
    w = (Watch){.cancel_at = UINT64_MAX};
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    OK(ram_block_load(block, fd, &options, NULL));
    assert_true(w.last == size && w.total == size && w.calls >= 5);

    w = (Watch){.cancel_at = size / 4};
    REFUSED_SAYING(-ECANCELED, "canceled after 2097152 of 8388608 bytes",
                   ram_block_save(block, fd, &options, NULL));
    close(fd);

    /* A reader that does not read, and a writer that does not write. */
    OK(pipe2(fds, O_NONBLOCK));
    w = (Watch){.cancel_at = UINT64_MAX};
    REFUSED_SAYING(-ECANCELED, "canceled after 65536 of 8388608 bytes",
                   ram_block_save(block, fds[1], &options, NULL));
    assert_int_equal(w.still, 4);
    w = (Watch){.cancel_at = UINT64_MAX};
    REFUSED_SAYING(-ECANCELED, "canceled after 65536 of 8388608 bytes",
                   ram_block_load(block, fds[0], &options, NULL));
    close(fds[0]);
    close(fds[1]);
    machine_end(ms);
}

static void on_alarm(int sig)
{
    (void)sig;
}

/* A signal that interrupts system calls over and over. */
static void signals_do_not_disturb(void **state)
{
    static Memory m, other;
    static Target t;
    Rng rng = {5};
    struct sigaction action = {.sa_handler = on_alarm}, old;
    struct itimerval often = {{0, 300}, {0, 300}}, never = {0};

    (void)state;
    OK(sigaction(SIGALRM, &action, &old));
    memory_start(&m, ANONYMOUS, &rng);
    memory_start(&other, ANONYMOUS, &rng);
    t.delay_ms = 30;
    for (Kind kind = PIPE; kind <= SOCKET; kind++) {
        sigset_t alarms;
        sigemptyset(&alarms);
        sigaddset(&alarms, SIGALRM);
        target_open(&t, kind, false);
        pthread_sigmask(SIG_BLOCK, &alarms, NULL); /* for the peer */
        target_drain(&t);
        pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
        OK(setitimer(ITIMER_REAL, &often, NULL));
        OK(ram_block_save(m.block, t.fd, NULL, NULL));
        OK(setitimer(ITIMER_REAL, &never, NULL));
        target_close(&t);
        assert_int_equal(t.size, SIZE);
        assert_same(t.bytes, m.expected, SIZE);

        target_open(&t, kind, true);
        t.size = SIZE;
        pthread_sigmask(SIG_BLOCK, &alarms, NULL);
        target_feed(&t);
        pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
        OK(setitimer(ITIMER_REAL, &often, NULL));
        OK(ram_block_load(other.block, t.fd, NULL, NULL));
        OK(setitimer(ITIMER_REAL, &never, NULL));
        target_close(&t);
        assert_same(other.host, m.expected, SIZE);
        memset(other.host, 0, SIZE);
    }
    memory_end(&m);
    memory_end(&other);
    OK(sigaction(SIGALRM, &old, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saves),
        cmocka_unit_test(loads),
        cmocka_unit_test(untouched_stays_untouched),
        cmocka_unit_test(loads_mark_dirty),
        cmocka_unit_test(progress_and_cancel),
        cmocka_unit_test(signals_do_not_disturb),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
