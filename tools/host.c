/* SPDX-License-Identifier: MIT */
/* host.c - what this host has for guests: memory, huge pages, NUMA nodes. */
#include "memory.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define POOLS "/sys/kernel/mm/hugepages"
#define NODES "/sys/devices/system/node"
#define THP "/sys/kernel/mm/transparent_hugepage"

ShownSize show_size(uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    ShownSize shown;
    double value = (double)bytes / 1024;
    unsigned unit = 0;

    if (bytes < 1024) {
        snprintf(shown.text, sizeof shown.text, "%" PRIu64 " bytes", bytes);
        return shown;
    }
    for (; value >= 1024 && unit < 5; unit++) {
        value /= 1024;
    }
    bool whole = value == (double)(uint64_t)value;
    snprintf(shown.text, sizeof shown.text, "%.*f %s", whole ? 0 : 1, value, units[unit]);
    return shown;
}

static FILE *open_file(const char *format, va_list args)
{
    char path[256];

    vsnprintf(path, sizeof path, format, args);
    return fopen(path, "re");
}

/* The number after @key on its line (anywhere in it), or at the beginning for NULL; 0: none. */
static uint64_t number_in(const char *key, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static uint64_t number_in(const char *key, const char *format, ...)
{
    uint64_t value = 0;
    char line[256];
    va_list args;

    va_start(args, format);
    FILE *file = open_file(format, args);
    va_end(args);
    while (file && fgets(line, sizeof line, file)) {
        const char *found = key ? strstr(line, key) : line;
        if (found) {
            value = strtoull(found + (key ? strlen(key) : 0), NULL, 10);
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    return value;
}

/* The word in brackets of a line such as "always [madvise] never". */
static void read_choice(char *out, size_t room, const char *path)
{
    FILE *file = fopen(path, "re");
    char line[256] = "";

    *out = '\0';
    if (!file) {
        return;
    }
    char *from = fgets(line, sizeof line, file) ? strchr(line, '[') : NULL;
    char *to = from ? strchr(from, ']') : NULL;
    if (to) {
        *to = '\0';
        snprintf(out, room, "%s", from + 1);
    }
    fclose(file);
}

static int by_page(const void *a, const void *b)
{
    const HugePool *x = a, *y = b;

    return (x->page > y->page) - (x->page < y->page);
}

static void read_pools(HostFacts *facts)
{
    uint64_t default_page = number_in("Hugepagesize:", "/proc/meminfo") * 1024;
    DIR *dir = opendir(POOLS);

    for (struct dirent *entry; dir && facts->nr_pools < MAX_POOLS && (entry = readdir(dir));) {
        uint64_t kib;
        if (sscanf(entry->d_name, "hugepages-%" SCNu64 "kB", &kib) == 1) {
            facts->pools[facts->nr_pools++] = (HugePool){
                .page = kib * 1024,
                .total = number_in(NULL, POOLS "/%s/nr_hugepages", entry->d_name),
                .free = number_in(NULL, POOLS "/%s/free_hugepages", entry->d_name),
                .is_default = kib * 1024 == default_page,
            };
        }
    }
    if (dir) {
        closedir(dir);
    }
    qsort(facts->pools, facts->nr_pools, sizeof *facts->pools, by_page);
}

static int by_number(const void *a, const void *b)
{
    const NumaNode *x = a, *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

static void read_nodes(HostFacts *facts)
{
    DIR *dir = opendir(NODES);

    for (struct dirent *entry; dir && facts->nr_nodes < MAX_NODES && (entry = readdir(dir));) {
        unsigned number;
        if (sscanf(entry->d_name, "node%u", &number) == 1) {
            facts->nodes[facts->nr_nodes++] = (NumaNode){
                .number = number,
                .total = number_in("MemTotal:", NODES "/node%u/meminfo", number) * 1024,
                .free = number_in("MemFree:", NODES "/node%u/meminfo", number) * 1024,
            };
        }
    }
    if (dir) {
        closedir(dir);
    }
    qsort(facts->nodes, facts->nr_nodes, sizeof *facts->nodes, by_number);
}

void host_facts_read(HostFacts *facts)
{
    struct statvfs shm;

    *facts = (HostFacts){
        .total = number_in("MemTotal:", "/proc/meminfo") * 1024,
        .available = number_in("MemAvailable:", "/proc/meminfo") * 1024,
        .swap_free = number_in("SwapFree:", "/proc/meminfo") * 1024,
        .thp_page = number_in(NULL, THP "/hpage_pmd_size"),
    };
    if (statvfs("/dev/shm", &shm) == 0) {
        facts->shm_total = (uint64_t)shm.f_blocks * shm.f_frsize;
        facts->shm_free = (uint64_t)shm.f_bavail * shm.f_frsize;
    }
    read_choice(facts->thp, sizeof facts->thp, THP "/enabled");
    read_choice(facts->thp_shared, sizeof facts->thp_shared, THP "/shmem_enabled");
    read_pools(facts);
    read_nodes(facts);
}
