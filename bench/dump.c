/* SPDX-License-Identifier: MIT */
/*
 * dump.c - RAM to a file on a tmpfs: dump, dump_sparse.
 *
 * The file is empty before each sample, so that every contender has the system find its pages.
 */
#include "bench.h"
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define DUMP_SIZE (2 * GIB)
#define STRIDE 64 /* pages, of which one is touched where RAM is sparse */
#define SHM "/dev/shm"

typedef struct Dump {
    World world;
    MemoryRegion ram;
    uint8_t *host;
    int fd;
    bool sparse;
} Dump;

/* A file on a tmpfs with @size bytes of room; -1, and *@why, if there is none. */
static int open_tmpfs(uint64_t size, const char **why)
{
    struct statfs fs;

    if (statfs(SHM, &fs) || (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize < size) {
        *why = "no room in " SHM;
        return -1;
    }
    int fd = open(SHM, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        *why = "cannot make a file in " SHM;
    }
    return fd;
}

static void touch(const Dump *dump)
{
    uint64_t step = dump->sparse ? STRIDE * PAGE : PAGE;

    for (uint64_t at = 0; at < DUMP_SIZE; at += step) {
        uint64_t word = (at + 1) * RANDOM_SEED;
        memcpy(dump->host + at, &word, sizeof(word));
    }
}

static bool dump_init(Dump *dump, bool sparse, const char **why)
{
    *dump = (Dump){.sparse = sparse, .fd = open_tmpfs(DUMP_SIZE, why)};
    if (dump->fd < 0) {
        return false;
    }
    world_init(&dump->world, 0, 0);
    must(memory_region_init_ram(&dump->ram, memory_system_owner(dump->world.ms), "ram", DUMP_SIZE,
                                NULL));
    dump->host = memory_region_get_ram_ptr(&dump->ram);
    if (sparse) {
        /* Else one touched page would be two megabytes. */
        expect(madvise(dump->host, DUMP_SIZE, MADV_NOHUGEPAGE) == 0, "madvise");
    }
    touch(dump);
    must(memory_region_add_subregion(dump->world.root, 0, &dump->ram));
    return true;
}

static void dump_destroy(Dump *dump)
{
    close(dump->fd);
    must(memory_region_del_subregion(dump->world.root, &dump->ram));
    world_destroy(&dump->world);
}

/* A few pages of the file, and its length. */
static void expect_file(const Dump *dump)
{
    uint64_t state = RANDOM_SEED;
    struct stat st;

    expect(fstat(dump->fd, &st) == 0 && (uint64_t)st.st_size == DUMP_SIZE, "length of the dump");
    for (unsigned i = 0; i < 100; i++) {
        uint8_t page[PAGE];
        uint64_t at = random_next(&state) % DUMP_SIZE & ~(PAGE - 1);
        expect(pread(dump->fd, page, PAGE, (off_t)at) == PAGE &&
                   memcmp(page, dump->host + at, PAGE) == 0,
               "contents of the dump");
    }
}

static void begin(const Dump *dump)
{
    expect(ftruncate(dump->fd, 0) == 0 && lseek(dump->fd, 0, SEEK_SET) == 0, "an empty file");
}

/* GB/s, bytes per ns; of the whole RAM */
static double dump_save(void *opaque)
{
    Dump *dump = opaque;

    begin(dump);
    double start = now_ns();
    must(address_space_save(dump->world.as, 0, DUMP_SIZE, dump->fd, NULL, NULL));
    double end = now_ns();
    expect_file(dump);
    return (double)DUMP_SIZE / (end - start);
}

static double write_loop(Dump *dump, uint64_t chunk)
{
    begin(dump);
    double start = now_ns();
    for (uint64_t at = 0; at < DUMP_SIZE;) {
        ssize_t n = write(dump->fd, dump->host + at, chunk);
        expect(n > 0, "write");
        at += (uint64_t)n;
    }
    double end = now_ns();
    expect_file(dump);
    return (double)DUMP_SIZE / (end - start);
}

static double write_1m(void *opaque)
{
    return write_loop(opaque, MIB);
}

static double write_64k(void *opaque)
{
    return write_loop(opaque, 64 * 1024);
}

/* What nobody can know without being told: the touched pages alone. */
static double write_touched(void *opaque)
{
    Dump *dump = opaque;

    begin(dump);
    double start = now_ns();
    for (uint64_t at = 0; at < DUMP_SIZE; at += STRIDE * PAGE) {
        expect(pwrite(dump->fd, dump->host + at, PAGE, (off_t)at) == PAGE, "pwrite");
    }
    expect(ftruncate(dump->fd, (off_t)DUMP_SIZE) == 0, "ftruncate");
    double end = now_ns();
    expect_file(dump);
    return (double)DUMP_SIZE / (end - start);
}

void bench_dump(Bench *bench)
{
    const char *why = NULL;
    Dump dump;

    if (bench_wants(bench, "dump") && dump_init(&dump, false, &why)) {
        Contender contenders[] = {
            {.name = "membus", .sample = dump_save, .opaque = &dump},
            {.name = "write(2), 1 MiB", .sample = write_1m, .opaque = &dump},
            {.name = "write(2), 64 KiB", .sample = write_64k, .opaque = &dump},
        };
        bench_compare(bench, "dump", "GB/s", (Goal){GOAL_RATIO_AT_LEAST, 0.95}, contenders, 3);
        dump_destroy(&dump);
    }
    if (!why && bench_wants(bench, "dump_sparse") && dump_init(&dump, true, &why)) {
        Contender contenders[] = {
            {.name = "membus", .sample = dump_save, .opaque = &dump},
            {.name = "pwrite(2) of what is touched", .sample = write_touched, .opaque = &dump},
        };
        bench_compare(bench, "dump_sparse", "GB/s", (Goal){GOAL_RATIO_AT_LEAST, 0.8}, contenders,
                      2);
        dump_destroy(&dump);
        bench_note("one page in %d is touched; GB/s of all RAM", STRIDE);
    }
    if (why && bench_wants(bench, "dump")) {
        bench_note("dump: %s", why);
    }
}
