/* SPDX-License-Identifier: MIT */
/* ram.c - what host memory costs to bring in. */
#include "bench.h"

#include <membus/error.h>
#include <membus/hostmem.h>
#include <membus/system.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define GIB (UINT64_C(1) << 30)
#define WANTED (8 * GIB)

/* Half of what the host can give, at most what is wanted; whole MiB. */
static size_t usable_bytes(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    unsigned long long kib = 0;
    char line[128];

    while (file && fgets(line, sizeof(line), file) &&
           sscanf(line, "MemAvailable: %llu kB", &kib) != 1) {
    }
    if (file) {
        fclose(file);
    }
    uint64_t half = kib * 1024 / 2 & ~((UINT64_C(1) << 20) - 1);
    return half < WANTED ? half : WANTED;
}

static double gib_per_second(size_t size, double ns)
{
    return (double)size / (double)GIB / (ns / 1e9);
}

/* ---- membus ------------------------------------------------------------------------- */

typedef struct Job {
    size_t size;
    unsigned threads;
} Job;

static double sample_backend(void *opaque)
{
    const Job *job = opaque;
    MemorySystem *ms = memory_system_create();
    HostMemoryConfig config = HOST_MEMORY_CONFIG_INIT;
    config.id = "bench";
    config.size = job->size;
    config.prealloc = true;
    config.prealloc_threads = job->threads;

    double start = now_ns();
    HostMemoryBackend *backend = host_memory_backend_create_config(ms, &config, NULL);
    double taken = now_ns() - start;
    expect(backend, membus_last_error());
    host_memory_backend_destroy(backend, NULL);
    memory_system_drain(ms);
    memory_system_destroy(ms);
    return gib_per_second(job->size, taken);
}

/* ---- The kernel alone --------------------------------------------------------------- */

typedef struct Part {
    void *host;
    size_t size;
} Part;

static void *populate(void *opaque)
{
    const Part *part = opaque;

    expect(madvise(part->host, part->size, MADV_POPULATE_WRITE) == 0, "MADV_POPULATE_WRITE");
    return NULL;
}

static double sample_kernel(void *opaque)
{
    const Job *job = opaque;
    Part parts[2];
    pthread_t helper;

    double start = now_ns();
    uint8_t *host =
        mmap(NULL, job->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    expect(host != MAP_FAILED, "mmap");
    for (unsigned i = 0; i < job->threads; i++) {
        parts[i] = (Part){host + job->size / job->threads * i, job->size / job->threads};
    }
    if (job->threads > 1) {
        expect(pthread_create(&helper, NULL, populate, &parts[1]) == 0, "pthread_create");
    }
    populate(&parts[0]);
    if (job->threads > 1) {
        pthread_join(helper, NULL);
    }
    double taken = now_ns() - start;
    munmap(host, job->size);
    return gib_per_second(job->size, taken);
}

static const char *why_not(size_t size)
{
    long page = 4096;
    void *host =
        mmap(NULL, (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const char *why = host == MAP_FAILED || madvise(host, (size_t)page, MADV_POPULATE_WRITE)
                          ? "this kernel has no MADV_POPULATE_WRITE"
                          : NULL;

    if (host != MAP_FAILED) {
        munmap(host, (size_t)page);
    }
    return size < GIB / 4 ? "too little memory is available" : why;
}

void bench_prealloc(Bench *bench)
{
    if (!bench_wants(bench, "prealloc")) {
        return;
    }
    Job two = {usable_bytes(), 2}, one = {two.size, 1};
    const char *why = why_not(two.size);
    Contender contenders[] = {
        {.name = "membus", .sample = sample_backend, .opaque = &two},
        {.name = "MADV_POPULATE_WRITE x2", .sample = sample_kernel, .opaque = &two},
        {.name = "MADV_POPULATE_WRITE x1", .sample = sample_kernel, .opaque = &one},
    };
    if (why) {
        bench_note("prealloc: %s", why);
        return;
    }
    /* A sample takes seconds, and few are enough. */
    unsigned runs = bench->runs;
    bench->runs = runs > 5 ? 5 : runs;
    bench_compare(bench, "prealloc", "GiB/s", (Goal){GOAL_RATIO_AT_LEAST, 0.95}, contenders, 3);
    bench->runs = runs;
    if (two.size < WANTED) {
        bench_note("of %zu MiB, as no more memory is available", two.size >> 20);
    }
}
