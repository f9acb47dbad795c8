/* SPDX-License-Identifier: MIT */
/* smaps.c - the pages that really are in a mapping. */
#include "memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Field {
    const char *key;
    size_t offset;
    bool largest; /* of all mappings; else their sum */
} Field;

static const Field fields[] = {
    {"KernelPageSize:", offsetof(MappingFacts, kernel_page), true},
    {"MMUPageSize:", offsetof(MappingFacts, mmu_page), true},
    {"Rss:", offsetof(MappingFacts, resident), false},
    {"Locked:", offsetof(MappingFacts, locked), false},
    {"Swap:", offsetof(MappingFacts, swapped), false},
    {"AnonHugePages:", offsetof(MappingFacts, huge_anonymous), false},
    {"ShmemPmdMapped:", offsetof(MappingFacts, huge_shmem), false},
    {"FilePmdMapped:", offsetof(MappingFacts, huge_file), false},
    {"Shared_Hugetlb:", offsetof(MappingFacts, hugetlb), false},
    {"Private_Hugetlb:", offsetof(MappingFacts, hugetlb), false},
};

static void add_field(MappingFacts *facts, const char *line)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        size_t length = strlen(fields[i].key);
        if (strncmp(line, fields[i].key, length) == 0) {
            uint64_t *sum = (uint64_t *)((char *)facts + fields[i].offset);
            uint64_t bytes = strtoull(line + length, NULL, 10) * 1024;
            if (!fields[i].largest) {
                *sum += bytes;
            } else if (bytes > *sum) {
                *sum = bytes;
            }
        }
    }
}

static void add_pages(MappingFacts *facts, unsigned node, uint64_t bytes)
{
    size_t i = 0;

    while (i < facts->nr_nodes && facts->nodes[i].node != node) {
        i++;
    }
    if (i == MAX_NODES) {
        return;
    }
    if (i == facts->nr_nodes) {
        facts->nodes[facts->nr_nodes++] = (NodePages){.node = node};
    }
    facts->nodes[i].bytes += bytes;
}

/* A line such as `7f0000000000 default anon=4 N0=3 N1=1 kernelpagesize_kB=4`. */
static void add_nodes(MappingFacts *facts, char *line)
{
    const char *kib = strstr(line, "kernelpagesize_kB=");
    uint64_t page = kib ? strtoull(kib + strlen("kernelpagesize_kB="), NULL, 10) * 1024 : 4096;
    char *rest = NULL;

    for (char *word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
        unsigned node;
        uint64_t pages;
        if (sscanf(word, "N%u=%" SCNu64, &node, &pages) == 2) {
            add_pages(facts, node, pages * page);
        }
    }
}

static void read_numa_maps(MappingFacts *facts, uint64_t first, uint64_t last)
{
    FILE *file = fopen("/proc/self/numa_maps", "re");
    char line[4096];

    while (file && fgets(line, sizeof line, file)) {
        uint64_t start = strtoull(line, NULL, 16);
        if (start >= first && start <= last) {
            add_nodes(facts, line);
        }
    }
    if (file) {
        fclose(file);
    }
}

bool mapping_facts_read(MappingFacts *facts, const void *host, uint64_t size)
{
    uint64_t first = (uintptr_t)host, last = first + size - 1;
    FILE *file = fopen("/proc/self/smaps", "re");
    bool inside = false, found = false;
    char line[4096];

    *facts = (MappingFacts){0};
    while (file && fgets(line, sizeof line, file)) {
        uint64_t start, end;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2) {
            inside = start >= first && end - 1 <= last;
            found |= inside;
        } else if (inside) {
            add_field(facts, line);
        }
    }
    if (file) {
        fclose(file);
    }
    read_numa_maps(facts, first, last);
    return found;
}
