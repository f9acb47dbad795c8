/* SPDX-License-Identifier: MIT */
/*
 * membus memdev - what memory this host has for guests, and a try of one backend.
 *
 *     $ membus memdev memory-backend-memfd,id=m0,size=1G,prealloc=on
 *     m0: memory-backend-memfd, 1 GiB, shared
 *       preallocated: 1 GiB in 0.31 s, 3.2 GiB/s
 *       resident: 1 GiB in pages of 4 KiB
 */
#include "memory.h"
#include "tool.h"

#include <membus/error.h>
#include <membus/hostmem.h>
#include <membus/ram.h>
#include <membus/system.h>

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const kinds[] = {"memory-backend-ram", "memory-backend-file",
                                    "memory-backend-memfd", "memory-backend-shm",
                                    "memory-backend-fd"};
#define NR_KINDS (sizeof kinds / sizeof *kinds)

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- What the host offers ------------------------------------------------------ */

static json_t *json_bytes(uint64_t bytes)
{
    return json_integer((json_int_t)bytes);
}

static json_t *json_pools(const HostFacts *facts)
{
    json_t *list = json_array();

    for (size_t i = 0; i < facts->nr_pools; i++) {
        const HugePool *pool = &facts->pools[i];
        json_array_append_new(list,
                              json_pack("{s:o, s:o, s:o, s:b}", "page", json_bytes(pool->page),
                                        "total", json_bytes(pool->total), "free",
                                        json_bytes(pool->free), "default", pool->is_default));
    }
    return list;
}

static json_t *json_nodes(const HostFacts *facts)
{
    json_t *list = json_array();

    for (size_t i = 0; i < facts->nr_nodes; i++) {
        const NumaNode *node = &facts->nodes[i];
        json_array_append_new(list,
                              json_pack("{s:i, s:o, s:o}", "node", (int)node->number, "total",
                                        json_bytes(node->total), "free", json_bytes(node->free)));
    }
    return list;
}

static int host_as_json(const HostFacts *facts)
{
    json_t *names = json_array();

    for (size_t i = 0; i < NR_KINDS; i++) {
        json_array_append_new(names, json_string(kinds[i]));
    }
    return print_json(
        json_pack("{s:o, s:{s:o, s:o, s:o}, s:{s:o, s:o}, s:{s:s, s:s, s:o}, s:o, s:o}", "kinds",
                  names, "memory", "total", json_bytes(facts->total), "available",
                  json_bytes(facts->available), "swap_free", json_bytes(facts->swap_free), "shm",
                  "total", json_bytes(facts->shm_total), "free", json_bytes(facts->shm_free), "thp",
                  "mode", facts->thp, "shared_mode", facts->thp_shared, "page",
                  json_bytes(facts->thp_page), "huge_pages", json_pools(facts), "nodes",
                  json_nodes(facts)),
        EXIT_SAME);
}

static void print_line(const Options *options, const char *head)
{
    printf("%s%s%s%*s", color(options, COLOR_HEAD), head, color(options, COLOR_PLAIN),
           (int)(26 - strlen(head)), "");
}

static int host_as_text(const Options *options, const HostFacts *facts)
{
    for (size_t i = 0; i < NR_KINDS; i++) {
        print_line(options, i ? "" : "kinds");
        puts(kinds[i]);
    }
    print_line(options, "memory");
    printf("%s available of %s; %s of swap space free\n", show_size(facts->available).text,
           show_size(facts->total).text, show_size(facts->swap_free).text);
    print_line(options, "/dev/shm");
    printf("%s free of %s\n", show_size(facts->shm_free).text, show_size(facts->shm_total).text);
    print_line(options, "transparent huge pages");
    if (*facts->thp) {
        printf("%s; shared memory: %s; pages of %s\n", facts->thp,
               *facts->thp_shared ? facts->thp_shared : "never", show_size(facts->thp_page).text);
    } else {
        puts("none");
    }
    for (size_t i = 0; i < facts->nr_pools; i++) {
        const HugePool *pool = &facts->pools[i];
        print_line(options, i ? "" : "huge pages");
        printf("%s: %" PRIu64 " free of %" PRIu64 "%s\n", show_size(pool->page).text, pool->free,
               pool->total, pool->is_default ? " (the default size)" : "");
    }
    for (size_t i = 0; i < facts->nr_nodes; i++) {
        const NumaNode *node = &facts->nodes[i];
        print_line(options, i ? "" : "NUMA nodes");
        printf("%u: %s free of %s\n", node->number, show_size(node->free).text,
               show_size(node->total).text);
    }
    return finish_output(EXIT_SAME);
}

/* ---- Preallocation ------------------------------------------------------------- */

typedef struct Progress {
    bool bar, quiet;
    double start;
    hwaddr done;     /* of the last call */
    unsigned tenths; /* told so far */
} Progress;

static void draw_bar(const Progress *p, hwaddr done, hwaddr total)
{
    unsigned percent = (unsigned)(100.0 * (double)done / (double)total);
    double seconds = now() - p->start;
    char bar[31];

    memset(bar, '.', 30);
    memset(bar, '#', percent * 30 / 100);
    bar[30] = '\0';
    fprintf(stderr, "\r[%s] %3u%%  %s of %s  %.1f GiB/s ", bar, percent, show_size(done).text,
            show_size(total).text, (double)done / (seconds > 0 ? seconds : 1e-9) / (1 << 30));
    if (done == total) {
        fputs("\r\033[K", stderr);
    }
    fflush(stderr);
}

static void show_progress(hwaddr done, hwaddr total, void *opaque)
{
    Progress *p = opaque;
    unsigned tenths = (unsigned)(10.0 * (double)done / (double)total);

    p->done = done;
    if (p->bar) {
        draw_bar(p, done, total);
    } else if (!p->quiet && tenths > p->tenths) {
        p->tenths = tenths;
        fprintf(stderr, "preallocated %u%% of %s\n", tenths * 10, show_size(total).text);
    }
}

/* ---- Touching ------------------------------------------------------------------ */

/* A file's memory may end under our feet: SIGBUS is then how the kernel says so. */
static sigjmp_buf no_page;

static void leave(int signal_number)
{
    (void)signal_number;
    siglongjmp(no_page, 1);
}

static void touch_page(volatile uint8_t *page, bool readonly)
{
    if (readonly) {
        (void)*page;
    } else {
        *page = *page;
    }
}

/* Touch the first @size bytes page by page; how many could be. */
static uint64_t touch(volatile uint8_t *host, const uint64_t size, bool readonly)
{
    static volatile uint64_t done; /* outlives the jump */
    struct sigaction handler = {.sa_handler = leave}, before;

    sigaction(SIGBUS, &handler, &before);
    done = 0;
    if (sigsetjmp(no_page, 1) == 0) {
        while (done < size) {
            touch_page(host + done, readonly);
            done += (uint64_t)sysconf(_SC_PAGESIZE);
        }
    }
    sigaction(SIGBUS, &before, NULL);
    return done;
}

/* The library's own idea of a size. */
static bool parse_touch(const char *text, uint64_t *size)
{
    HostMemoryConfig config;
    char options[160], *storage;

    if (strcmp(text, "all") == 0) {
        *size = UINT64_MAX;
        return true;
    }
    snprintf(options, sizeof options, "memory-backend-ram,id=touch,size=%.100s", text);
    if (strchr(text, ',') || host_memory_config_parse(options, &config, &storage, NULL)) {
        complain("memdev: --touch %s: write a size such as 64M, or all", text);
        return false;
    }
    *size = config.size;
    free(storage);
    return true;
}

/* ---- A try --------------------------------------------------------------------- */

typedef struct Try {
    const HostMemoryConfig *config;
    const RAMBlock *block;
    double made_seconds, touch_seconds;
    uint64_t touched; /* bytes */
    MappingFacts facts;
    bool facts_known;
} Try;

static double rate(uint64_t bytes, double seconds)
{
    return (double)bytes / (seconds > 0 ? seconds : 1e-9) / (1 << 30);
}

static json_t *json_mapping(const Try *t)
{
    const MappingFacts *f = &t->facts;
    json_t *nodes = json_array();

    if (!t->facts_known) {
        json_decref(nodes);
        return json_null();
    }
    for (size_t i = 0; i < f->nr_nodes; i++) {
        json_array_append_new(nodes, json_pack("{s:i, s:o}", "node", (int)f->nodes[i].node, "bytes",
                                               json_bytes(f->nodes[i].bytes)));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "kernel_page_size",
                     json_bytes(f->kernel_page), "mmu_page_size", json_bytes(f->mmu_page), "rss",
                     json_bytes(f->resident), "anon_huge_pages", json_bytes(f->huge_anonymous),
                     "shmem_pmd_mapped", json_bytes(f->huge_shmem), "file_pmd_mapped",
                     json_bytes(f->huge_file), "hugetlb", json_bytes(f->hugetlb), "locked",
                     json_bytes(f->locked), "swap", json_bytes(f->swapped), "nodes", nodes);
}

static int try_as_json(const Try *t)
{
    const HostMemoryConfig *c = t->config;

    return print_json(json_pack("{s:o, s:s, s:o, s:o, s:b, s:b, s:b, s:f, s:o, s:f, s:o}", "id",
                                json_text(c->id), "kind", kinds[c->kind], "size",
                                json_bytes(c->size), "page_size",
                                json_bytes(qemu_ram_pagesize(t->block)), "share", c->share,
                                "readonly", c->readonly, "prealloc", c->prealloc, "seconds",
                                t->made_seconds, "touched", json_bytes(t->touched), "touch_seconds",
                                t->touch_seconds, "mapping", json_mapping(t)),
                      EXIT_SAME);
}

static void print_part(bool *any, uint64_t bytes, const char *what, uint64_t page)
{
    if (bytes) {
        printf("%s%s in %s of %s", *any ? ", " : "", show_size(bytes).text, what,
               show_size(page).text);
        *any = true;
    }
}

static void print_mapping(const MappingFacts *f)
{
    uint64_t huge = f->huge_anonymous + f->huge_shmem + f->huge_file;
    uint64_t small = f->resident > huge ? f->resident - huge : 0;
    HostFacts host;
    bool any = false;

    host_facts_read(&host);
    fputs("  resident: ", stdout);
    print_part(&any, f->hugetlb, "pages from the pool", f->kernel_page);
    print_part(&any, huge, "transparent huge pages", host.thp_page);
    print_part(&any, small, "pages", f->kernel_page);
    puts(any ? "" : "nothing");
    printf("  page sizes: kernel %s, MMU %s\n", show_size(f->kernel_page).text,
           show_size(f->mmu_page).text);
    if (f->locked) {
        printf("  locked: %s\n", show_size(f->locked).text);
    }
    if (f->swapped) {
        printf("  swapped out: %s\n", show_size(f->swapped).text);
    }
    for (size_t i = 0; i < f->nr_nodes; i++) {
        printf("  on node %u: %s\n", f->nodes[i].node, show_size(f->nodes[i].bytes).text);
    }
}

static int try_as_text(const Options *options, const Try *t)
{
    const HostMemoryConfig *c = t->config;

    printf("%s%s%s: %s, %s, %s%s\n", color(options, COLOR_HEAD), c->id, color(options, COLOR_PLAIN),
           kinds[c->kind], show_size(c->size).text, c->share ? "shared" : "private",
           c->readonly ? ", read-only" : "");
    if (c->prealloc) {
        printf("  preallocated: %s in %.2f s, %.1f GiB/s\n", show_size(c->size).text,
               t->made_seconds, rate(c->size, t->made_seconds));
    }
    if (t->touched) {
        printf("  touched: %s in %.2f s, %.1f GiB/s\n", show_size(t->touched).text,
               t->touch_seconds, rate(t->touched, t->touch_seconds));
    }
    if (t->facts_known) {
        print_mapping(&t->facts);
    }
    return finish_output(EXIT_SAME);
}

static int examine(const Options *options, HostMemoryBackend *backend, uint64_t to_touch, Try *t)
{
    t->config = host_memory_backend_config(backend);
    t->block = memory_region_get_ram_block(host_memory_backend_get_memory(backend));
    uint8_t *host = qemu_ram_get_host_addr(t->block);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    to_touch = to_touch < t->config->size ? to_touch : t->config->size;
    to_touch = (to_touch + page - 1) / page * page;
    double start = now();
    t->touched = touch(host, to_touch, t->config->readonly);
    t->touch_seconds = now() - start;
    if (t->touched < to_touch) {
        complain("memdev: %s has no memory at offset 0x%" PRIx64 " of 0x%" PRIx64
                 ": prealloc=on finds that out without a signal",
                 t->config->id, t->touched, t->config->size);
        return EXIT_REFUSED;
    }
    t->facts_known = mapping_facts_read(&t->facts, host, t->config->size);
    return options->json ? try_as_json(t) : try_as_text(options, t);
}

static int try_backend(const Options *options, MemorySystem *ms, HostMemoryConfig *config,
                       uint64_t to_touch)
{
    Progress progress = {.bar = isatty(STDERR_FILENO), .quiet = options->json, .start = now()};
    Error *error = NULL;
    Try t = {0};

    config->progress = show_progress;
    config->progress_opaque = &progress;
    HostMemoryBackend *backend = host_memory_backend_create_config(ms, config, &error);
    t.made_seconds = now() - progress.start;
    if (!backend) {
        if (progress.bar && progress.done) {
            fputs("\r\033[K", stderr);
        }
        complain("%s", error_get_pretty(error));
        error_free(error);
        return EXIT_REFUSED;
    }
    int status = examine(options, backend, to_touch, &t);
    host_memory_backend_destroy(backend, NULL);
    return status;
}

static int run(const Options *options)
{
    const char *text = options->positional[0];
    HostMemoryConfig config;
    Error *error = NULL;
    uint64_t to_touch = 0;
    char *storage;

    if (!text && options->touch) {
        complain("memdev: --touch needs a backend's options");
        return EXIT_TROUBLE;
    }
    if (!text) {
        HostFacts facts;
        host_facts_read(&facts);
        return options->json ? host_as_json(&facts) : host_as_text(options, &facts);
    }
    if (options->touch && !parse_touch(options->touch, &to_touch)) {
        return EXIT_TROUBLE;
    }
    if (host_memory_config_parse(text, &config, &storage, &error)) {
        complain("%s", error_get_pretty(error));
        error_free(error);
        return EXIT_REFUSED;
    }
    MemorySystem *ms = memory_system_create();
    int status = EXIT_REFUSED;
    if (ms) {
        status = try_backend(options, ms, &config, to_touch);
        memory_system_drain(ms);
        memory_system_destroy(ms);
    } else {
        complain("%s", membus_last_error());
    }
    free(storage);
    return status;
}

const Command cmd_memdev = {
    .name = "memdev",
    .arguments = "[BACKEND]",
    .summary = "Say what memory the host offers, or make a backend and look at it",
    .options = "  --touch SIZE touch that much of it page by page; `all` for all of it\n\n"
               "OPTIONS: a memory backend as VMMs take it, for example\n"
               "  memory-backend-memfd,id=m0,size=4G,share=on,prealloc=on\n\n",
    .max_sources = 1,
    .takes_touch = true,
    .run = run,
};
