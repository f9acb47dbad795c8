/* SPDX-License-Identifier: MIT */
/* memory.h - what the kernel says of the host's memory and of a mapping. */
#ifndef TOOLS_MEMORY_H
#define TOOLS_MEMORY_H

#include <membus/types.h>

#include <jansson.h>

/* A byte count for people: "8 GiB", "1.5 MiB", "17 bytes". */
typedef struct ShownSize {
    char text[32];
} ShownSize;
ShownSize show_size(uint64_t bytes);

/* ---- The host (host.c) ---- */

#define MAX_POOLS 8
#define MAX_NODES 128

typedef struct HugePool {
    uint64_t page, total, free; /* bytes; pages */
    bool is_default;
} HugePool;

typedef struct NumaNode {
    unsigned number;
    uint64_t total, free; /* bytes */
} NumaNode;

typedef struct HostFacts {
    uint64_t total, available, swap_free; /* bytes */
    uint64_t shm_total, shm_free;         /* of /dev/shm, bytes; 0: there is none */
    char thp[32], thp_shared[32];         /* the modes; "" : not known */
    uint64_t thp_page;
    HugePool pools[MAX_POOLS];
    size_t nr_pools;
    NumaNode nodes[MAX_NODES];
    size_t nr_nodes;
} HostFacts;

void host_facts_read(HostFacts *facts);

/* ---- A mapping (smaps.c) ---- */

typedef struct NodePages {
    unsigned node;
    uint64_t bytes;
} NodePages;

/* The sums over the mappings in a range, bytes; page sizes are the largest. */
typedef struct MappingFacts {
    uint64_t kernel_page, mmu_page;
    uint64_t resident, locked, swapped;
    uint64_t huge_anonymous, huge_shmem, huge_file; /* transparent */
    uint64_t hugetlb;
    NodePages nodes[MAX_NODES];
    size_t nr_nodes; /* 0: the kernel does not say */
} MappingFacts;

/* False if the kernel does not say. */
bool mapping_facts_read(MappingFacts *facts, const void *host, uint64_t size);

#endif
