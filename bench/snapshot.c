/* SPDX-License-Identifier: MIT */
/*
 * snapshot.c - what snapshots cost: snapshot_write (the first write to a page after a take, beside
 * the kernel's own copy-on-write and other ways to catch it), snapshot_rewrite (the same after a
 * restore), snapshot_restore (a page), each with few and many regions, and few and many pages dirty
 * already; snapshot_store (a store to a page that is kept already).
 *
 * All figures but the last are per page. Every page that is written or restored is compared with
 * what it has to be.
 */
#include "bench.h"
#include "world.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGES (UINT64_C(1) << 16) /* 256 MiB */
#define WRITES 4096
#define UNSPECIFIED MEMTXATTRS_UNSPECIFIED

typedef struct Case {
    const char *suffix;
    size_t regions;
    unsigned dirty; /* pages that are dirty before the clock starts, or that are restored */
} Case;

static const Case cases[] = {
    {"", 1, 100},
    {"_1k", 1000, 100},
    {"_50k", 1, 50000},
    {"_1k_50k", 1000, 50000},
};

typedef struct Machine {
    World world;
    Case what;
    MemorySnapshot *snapshot;
} Machine;

static hwaddr page_address(uint64_t page)
{
    return page * PAGE + page * 8 % PAGE;
}

/* Pages in an order that is neither ascending nor random: 40503 is odd, so all come. */
static uint64_t scattered(uint64_t i)
{
    return i * 40503 % PAGES;
}

static void machine_init(Machine *machine, Case what)
{
    size_t each = PAGES / what.regions * PAGE, at = 0;

    *machine = (Machine){.what = what};
    world_init(&machine->world, what.regions, PAGES * PAGE);
    memset(machine->world.ram, 0x11, PAGES * PAGE);
    memory_region_transaction_begin(machine->world.ms);
    for (size_t i = 0; i < what.regions; i++, at += each) {
        size_t size = i + 1 < what.regions ? each : PAGES * PAGE - at;
        world_add_ram(&machine->world, i, at, size, at);
    }
    must(memory_region_transaction_commit(machine->world.ms));
}

static void machine_take(Machine *machine)
{
    machine->snapshot = memory_snapshot_take(machine->world.ms, 0, NULL);
    must(machine->snapshot ? 0 : -1);
}

static void machine_free(Machine *machine)
{
    memory_snapshot_free(machine->snapshot);
    machine->snapshot = NULL;
}

static void write_pages(const Machine *machine, uint64_t first, uint64_t count)
{
    AddressSpace *as = machine->world.as;

    for (uint64_t i = first; i < first + count; i++) {
        address_space_stq_le(as, page_address(scattered(i)), i, UNSPECIFIED, NULL);
    }
}

static void expect_untouched(const Machine *machine, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t word;
        memcpy(&word, machine->world.ram + page_address(scattered(i)), sizeof(word));
        expect(word == UINT64_C(0x1111111111111111), "memory_snapshot_restore");
    }
}

static void restore(const Machine *machine)
{
    must(memory_snapshot_restore(machine->snapshot, NULL));
}

/* ---- The first write ---- */

/* Pages that no round has written yet, or that each round writes @again. */
static double timed_writes(Machine *machine, bool again)
{
    machine_take(machine);
    write_pages(machine, 0, machine->what.dirty);
    if (again) {
        write_pages(machine, machine->what.dirty, WRITES);
        restore(machine);
        write_pages(machine, 0, machine->what.dirty);
    }
    double start = now_ns();
    write_pages(machine, machine->what.dirty, WRITES);
    double end = now_ns();
    restore(machine);
    expect_untouched(machine, machine->what.dirty + WRITES);
    machine_free(machine);
    return (end - start) / WRITES;
}

static double first_write(void *opaque)
{
    return timed_writes(opaque, false);
}

static double write_again(void *opaque)
{
    return timed_writes(opaque, true);
}

/* Write to the first 8 bytes of WRITES pages of @memory, in the same order; ns a page. */
static double write_bare(uint8_t *memory)
{
    double start = now_ns();
    for (uint64_t i = 0; i < WRITES; i++) {
        *(volatile uint64_t *)(void *)(memory + page_address(scattered(i))) = i;
    }
    return (now_ns() - start) / WRITES;
}

static int full_memfd(void)
{
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("membus-bench", MFD_CLOEXEC);
        must(fd < 0 || ftruncate(fd, PAGES * PAGE) ? -1 : 0);
        uint8_t *all = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        must(all == MAP_FAILED ? -1 : 0);
        memset(all, 0x11, PAGES * PAGE);
        munmap(all, PAGES * PAGE);
    }
    return fd;
}

static void read_pages(const uint8_t *memory)
{
    for (uint64_t i = 0; i < WRITES; i++) {
        keep(memory[page_address(scattered(i))]);
    }
}

/* A private mapping of a memfd whose pages are mapped, to be copied by the fault. */
static double kernel_cow(void *opaque)
{
    (void)opaque;
    uint8_t *memory =
        mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, full_memfd(), 0);
    must(memory == MAP_FAILED ? -1 : 0);
    read_pages(memory);
    double figure = write_bare(memory);
    munmap(memory, PAGES * PAGE);
    return figure;
}

/* What a handler has to do: copy the page and let the write through. */
static uint8_t *protected_memory, *copies;

static void caught(int signal, siginfo_t *info, void *context)
{
    static size_t next;
    uint8_t *page = (uint8_t *)((uintptr_t)info->si_addr & ~(PAGE - 1)); // NOLINT

    (void)signal;
    (void)context;
    if (page < protected_memory || page >= protected_memory + PAGES * PAGE) {
        _exit(1);
    }
    memcpy(copies + next++ % WRITES * PAGE, page, PAGE);
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}

static double mprotect_signal(void *opaque)
{
    (void)opaque;
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO}, before;
    protected_memory = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, full_memfd(), 0);
    must(protected_memory == MAP_FAILED ? -1 : 0);
    copies = map_pages(WRITES * PAGE);
    read_pages(protected_memory);
    sigaction(SIGSEGV, &action, &before);
    double figure = write_bare(protected_memory);
    sigaction(SIGSEGV, &before, NULL);
    unmap_pages(copies, WRITES * PAGE);
    munmap(protected_memory, PAGES * PAGE);
    /* the file is shared: put it back */
    uint8_t *all = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, full_memfd(), 0);
    for (uint64_t i = 0; all != MAP_FAILED && i < WRITES; i++) {
        memset(all + scattered(i) * PAGE, 0x11, PAGE);
    }
    munmap(all, PAGES * PAGE);
    return figure;
}

/* NULL if faults of write-protected pages can be handled, else why not. */
static const char *uffd_missing(void)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    struct uffdio_api api = {.api = UFFD_API};

    if (fd < 0) {
        return "userfaultfd(2) is refused here";
    }
    bool known = ioctl(fd, UFFDIO_API, &api) == 0;
    close(fd);
    return known && (api.features & UFFD_FEATURE_PAGEFAULT_FLAG_WP)
               ? NULL
               : "the kernel has no write protection by userfaultfd";
}

typedef struct Uffd {
    int fd;
    bool stop; /* atomic */
} Uffd;

static void *serve_faults(void *opaque)
{
    Uffd *uffd = opaque;
    struct pollfd wait = {.fd = uffd->fd, .events = POLLIN};
    struct uffd_msg message;

    for (size_t next = 0; !__atomic_load_n(&uffd->stop, __ATOMIC_RELAXED);) {
        if (poll(&wait, 1, 10) <= 0 ||
            read(uffd->fd, &message, sizeof(message)) != (ssize_t)sizeof(message) ||
            message.event != UFFD_EVENT_PAGEFAULT) {
            continue;
        }
        uint64_t page = message.arg.pagefault.address & ~(uint64_t)(PAGE - 1);
        memcpy(copies + next++ % WRITES * PAGE, (void *)(uintptr_t)page, PAGE); // NOLINT
        struct uffdio_writeprotect unprotect = {.range = {page, PAGE}};
        ioctl(uffd->fd, UFFDIO_WRITEPROTECT, &unprotect);
    }
    return NULL;
}

static double uffd_wp(void *opaque)
{
    Uffd uffd = {(int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY),
                 false};
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
    uint8_t *memory = map_pages(PAGES * PAGE);
    pthread_t server;

    (void)opaque;
    copies = map_pages(WRITES * PAGE);
    memset(memory, 0x11, PAGES * PAGE);
    struct uffdio_register all = {.range = {(uintptr_t)memory, PAGES * PAGE},
                                  .mode = UFFDIO_REGISTER_MODE_WP};
    struct uffdio_writeprotect protect = {.range = all.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    expect(ioctl(uffd.fd, UFFDIO_API, &api) == 0 && ioctl(uffd.fd, UFFDIO_REGISTER, &all) == 0 &&
               ioctl(uffd.fd, UFFDIO_WRITEPROTECT, &protect) == 0,
           "userfaultfd");
    expect(pthread_create(&server, NULL, serve_faults, &uffd) == 0, "a thread");
    double figure = write_bare(memory);
    __atomic_store_n(&uffd.stop, true, __ATOMIC_RELAXED);
    pthread_join(server, NULL);
    close(uffd.fd);
    unmap_pages(memory, PAGES * PAGE);
    unmap_pages(copies, WRITES * PAGE);
    return figure;
}

/* ---- Restore ---- */

static double restore_page(void *opaque)
{
    Machine *machine = opaque;
    unsigned rounds = machine->what.dirty < 10000 ? 100 : 1;
    double sum = 0;

    machine_take(machine);
    write_pages(machine, 0, machine->what.dirty);
    restore(machine); /* as a fuzzer does, the first round being one of many */
    for (unsigned i = 0; i < rounds; i++) {
        write_pages(machine, 0, machine->what.dirty);
        double start = now_ns();
        restore(machine);
        sum += now_ns() - start;
    }
    expect_untouched(machine, machine->what.dirty);
    machine_free(machine);
    return sum / rounds / machine->what.dirty;
}

/* The least that it can be: a copy of each page. */
static double copy_page(void *opaque)
{
    const Machine *machine = opaque;
    unsigned rounds = machine->what.dirty < 10000 ? 100 : 1;
    size_t count = machine->what.dirty;
    uint8_t *from = map_pages(count * PAGE);
    double sum = 0;

    memset(from, 0x11, count * PAGE);
    for (unsigned i = 0; i < rounds; i++) {
        write_pages(machine, 0, count);
        double start = now_ns();
        for (size_t k = 0; k < count; k++) {
            memcpy(machine->world.ram + scattered(k) * PAGE, from + k * PAGE, PAGE);
        }
        sum += now_ns() - start;
    }
    unmap_pages(from, count * PAGE);
    return sum / rounds / (double)count;
}

/* ---- A store to a page that is kept ---- */

#define HOT_STORES (1U << 21)

static double hot_stores(const Machine *machine)
{
    AddressSpace *as = machine->world.as;
    double start = now_ns();
    for (unsigned i = 0; i < HOT_STORES; i++) {
        address_space_stq_le(as, 5 * PAGE + i * 8UL % PAGE, i, UNSPECIFIED, NULL);
    }
    return (now_ns() - start) / HOT_STORES;
}

static double store_kept(void *opaque)
{
    Machine *machine = opaque;

    machine_take(machine);
    hot_stores(machine);
    double figure = hot_stores(machine);
    restore(machine);
    machine_free(machine);
    return figure;
}

static double store_free(void *opaque)
{
    Machine *machine = opaque;

    hot_stores(machine);
    double figure = hot_stores(machine);
    memset(machine->world.ram + 5 * PAGE, 0x11, PAGE);
    return figure;
}

/* ---- Rows ---- */

static void bench_case(Bench *bench, Case what, double kernel)
{
    char write[32], again[32], back[32];
    snprintf(write, sizeof(write), "snapshot_write%s", what.suffix);
    snprintf(again, sizeof(again), "snapshot_rewrite%s", what.suffix);
    snprintf(back, sizeof(back), "snapshot_restore%s", what.suffix);
    if (!bench_wants(bench, write) && !bench_wants(bench, again) && !bench_wants(bench, back)) {
        return;
    }
    Machine machine;
    machine_init(&machine, what);
    bool plain = !*what.suffix;
    Contender writes[] = {
        {.name = "membus", .sample = first_write, .opaque = &machine},
        {.name = "private memfd, kernel's COW", .sample = kernel_cow},
        {.name = "mprotect and SIGSEGV", .sample = mprotect_signal},
        {.name = "userfaultfd", .sample = uffd_missing() ? NULL : uffd_wp, .why = uffd_missing()},
    };
    bench_compare(bench, write, "ns", (Goal){GOAL_AT_MOST, kernel + 1000}, writes, plain ? 4 : 2);
    Contender rewrites[] = {
        {.name = "membus", .sample = write_again, .opaque = &machine},
        {.name = "private memfd, kernel's COW", .sample = kernel_cow},
    };
    bench_compare(bench, again, "ns", (Goal){GOAL_AT_MOST, kernel}, rewrites, 2);
    Contender restores[] = {
        {.name = "membus", .sample = restore_page, .opaque = &machine},
        {.name = "memcpy of the pages", .sample = copy_page, .opaque = &machine},
    };
    bench_compare(bench, back, "ns", (Goal){GOAL_AT_MOST, 600}, restores, 2);
    if (plain) {
        Contender stores[] = {
            {.name = "membus", .sample = store_kept, .opaque = &machine},
            {.name = "without a snapshot", .sample = store_free, .opaque = &machine},
        };
        bench_compare(bench, "snapshot_store", "ns", (Goal){GOAL_NONE, 0}, stores, 2);
    }
    world_destroy(&machine.world);
}

void bench_snapshots(Bench *bench)
{
    static const char *const rows[] = {"snapshot_write", "snapshot_rewrite", "snapshot_restore",
                                       "snapshot_store"};
    bool any = false;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        any |= bench_wants(bench, rows[i]) || (bench->only && strstr(bench->only, rows[i]));
    }
    if (!any) {
        return;
    }
    /* The goal of a first write is the kernel's own plus a microsecond: measured beforehand. */
    double kernel = kernel_cow(NULL);
    for (int i = 0; i < 2; i++) {
        double figure = kernel_cow(NULL);
        kernel = figure < kernel ? figure : kernel;
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        bench_case(bench, cases[i], kernel);
    }
    bench_note("_1k: 1,000 regions instead of 1. _50k: 50,000 pages are dirty already (are");
    bench_note("restored) instead of 100. Snapshots keep pages on write here.");
}
