/* SPDX-License-Identifier: MIT */
/*
 * hostmem.h - host memory backends: guest RAM made the way a VMM's users ask for it.
 *
 * A backend has an id, host memory and a RAM region over it. It belongs to a machine, is mapped
 * into the guest by the board (as pc.ram, say) or by a memory device, and ends with
 * host_memory_backend_destroy(). Its options are the ones that users of VMMs know:
 *
 *      memory-backend-memfd,id=m0,size=4G,share=on,hugetlb=on,hugetlbsize=2M,prealloc=on
 */
#ifndef MEMBUS_HOSTMEM_H
#define MEMBUS_HOSTMEM_H

#include <membus/region.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct HostMemoryBackend HostMemoryBackend;

typedef enum HostMemoryKind {
    HOST_MEMORY_RAM,   /* memory-backend-ram: anonymous; with share=on an unnamed memfd */
    HOST_MEMORY_FILE,  /* memory-backend-file: mem-path= */
    HOST_MEMORY_MEMFD, /* memory-backend-memfd */
    HOST_MEMORY_SHM,   /* memory-backend-shm: POSIX shared memory, unlinked at once */
    HOST_MEMORY_FD,    /* memory-backend-fd: fd=, which stays the caller's and is never grown */
    HOST_MEMORY_PTR,   /* the caller's memory; not from text */
} HostMemoryKind;

typedef enum HostMemoryThp {
    HOST_MEMORY_THP_DEFAULT, /* as the host is set up */
    HOST_MEMORY_THP_ON,      /* MADV_HUGEPAGE */
    HOST_MEMORY_THP_OFF,     /* MADV_NOHUGEPAGE */
} HostMemoryThp;

typedef enum HostMemoryPolicy {
    HOST_MEMORY_POLICY_DEFAULT,
    HOST_MEMORY_POLICY_PREFERRED,
    HOST_MEMORY_POLICY_BIND,
    HOST_MEMORY_POLICY_INTERLEAVE,
} HostMemoryPolicy;

/*
 * Told while memory is preallocated: @done of @total bytes. Context: the thread that makes the
 * backend; no lock held.
 */
typedef void HostMemoryProgress(hwaddr done, hwaddr total, void *opaque);

#define HOST_MEMORY_MAX_NODES 128

/* What a backend is made of. Start from HOST_MEMORY_CONFIG_INIT. */
typedef struct HostMemoryConfig {
    HostMemoryKind kind;
    const char *id;            /* unique in the machine */
    hwaddr size;               /* bytes; a multiple of the page size of the memory */
    bool share;                /* MAP_SHARED; on by default for memfd and shm */
    bool share_set;            /* `share` was said: off is meant for memfd, too */
    bool readonly;             /* file, fd: map read-only; the region is ROM */
    bool prealloc;             /* touch all of it now; with a clear error if memory is short */
    unsigned prealloc_threads; /* 0: one per online CPU, at most 16 */
    bool reserve;              /* set swap space aside (on); off: MAP_NORESERVE */
    bool merge;                /* let KSM merge pages (on) */
    bool dump;                 /* part of core dumps (on) */
    bool discard_data;         /* file: drop its contents at the end */
    bool pmem;                 /* file: persistent memory */
    bool hugetlb;              /* memfd: from the huge page pool */
    hwaddr hugetlbsize;        /* bytes; 0: the host's default size */
    bool seal;                 /* memfds: forbid them to shrink and grow (on) */
    HostMemoryThp thp;
    hwaddr align;         /* file, fd: of the host address; power of two; 0: the page size */
    hwaddr offset;        /* file, fd: bytes */
    const char *mem_path; /* file: a file, or a directory to make an unnamed file in */
    int fd;
    void *ptr;
    HostMemoryPolicy policy;
    unsigned long host_nodes[HOST_MEMORY_MAX_NODES / (8 * sizeof(unsigned long))]; /* bit set */
    HostMemoryProgress *progress;
    void *progress_opaque;
} HostMemoryConfig;

#define HOST_MEMORY_CONFIG_INIT                                                                    \
    ((HostMemoryConfig){.reserve = true, .merge = true, .dump = true, .seal = true, .fd = -1})

/*
 * Parse @options into @config, whose strings then point into @*storage (free(3) it; NULL on an
 * error). The kind comes first, alone or after qom-type=, then KEY=VALUE, a comma between any
 * two; a comma in a value is doubled. The keys are the fields of HostMemoryConfig, with `-` for
 * `_`:
 *
 *      all kinds    id size share prealloc prealloc-threads reserve merge dump host-nodes policy
 *                   thp
 *      file         mem-path offset align readonly discard-data pmem
 *      memfd        hugetlb hugetlbsize seal
 *      fd           fd offset align readonly
 *
 * Sizes are bytes, with a suffix K, M, G, T, P or E for powers of 1024 (and then with decimals:
 * 1.5G), or hexadecimal after 0x; switches are on or off (yes, no, true, false); host-nodes is N
 * or N-M, and may come several times, as no other key may; policy is default, preferred, bind or
 * interleave, and all but the first need host-nodes; thp is default, on or off.
 * Returns 0, -EINVAL with a sentence that names the key and the value, or -ENOMEM.
 * Context: any thread.
 */
MEMBUS_EXPORT int host_memory_config_parse(const char *options, HostMemoryConfig *config,
                                           char **storage, Error **errp);

/*
 * Make a backend of @ms. The one makes it from text, the other from @config, of which nothing is
 * kept; a descriptor is duplicated. A page that cannot be touched lies on each side of memory
 * that is not the caller's; such memory of 2 MiB or more is aligned to that, or as `align` says.
 * A file is made or grown as needed (not fd=, nor with readonly).
 *
 * Returns NULL with an error that names the id, the step and the system's reason; files are then
 * as they were before, but that preallocated blocks of a file that was there stay. Among them
 * -EINVAL for what does not go together, is no multiple of the page size, a file that is too
 * short, unknown NUMA nodes and huge page sizes; -EEXIST if there is a backend of that id; -ENOMEM
 * and -ENOSPC if prealloc or the pool of huge pages finds too little, which is looked up before
 * anything is touched. Nothing here raises SIGBUS; a guest's access to memory that was not
 * preallocated can, where a file system or a pool is full by then.
 * Context: no lock held; preallocation takes as long as it takes.
 */
MEMBUS_EXPORT HostMemoryBackend *host_memory_backend_create(MemorySystem *ms, const char *options,
                                                            Error **errp);
MEMBUS_EXPORT HostMemoryBackend *
host_memory_backend_create_config(MemorySystem *ms, const HostMemoryConfig *config, Error **errp);

/*
 * End @backend; NULL is fine. Its memory goes when no reader and no mapping can reach it any
 * more, its id is free at once. -EBUSY while somebody claims it, or its region is in a container,
 * the target of an alias or the root of an address space. memory_system_destroy() wants all
 * backends ended before.
 * Context: machine lock.
 */
MEMBUS_EXPORT int host_memory_backend_destroy(HostMemoryBackend *backend, Error **errp);

/* The backend of @ms with @id; NULL: none. Context: machine lock. */
MEMBUS_EXPORT HostMemoryBackend *host_memory_backend_find(MemorySystem *ms, const char *id);
/*
 * Visit the backends of @ms in the order of making until @visit returns true, and return whether
 * it did. @visit may destroy the one that it is given. Context: machine lock.
 */
MEMBUS_EXPORT bool
host_memory_backend_for_each(MemorySystem *ms,
                             bool (*visit)(HostMemoryBackend *backend, void *opaque), void *opaque);

/* The RAM region over all of @backend; owned by it. */
MEMBUS_EXPORT MemoryRegion *host_memory_backend_get_memory(HostMemoryBackend *backend);

/*
 * Who maps a backend into the guest claims it first, so that no two do. claim: -EBUSY if it is
 * taken.
 * Context: machine lock.
 */
MEMBUS_EXPORT int host_memory_backend_claim(HostMemoryBackend *backend, const char *who,
                                            Error **errp);
MEMBUS_EXPORT void host_memory_backend_release(HostMemoryBackend *backend);
MEMBUS_EXPORT bool host_memory_backend_is_mapped(const HostMemoryBackend *backend);

/*
 * What it was made of; strings and `ptr` are as given (`id` and `mem_path` are the backend's
 * own copies).
 */
MEMBUS_EXPORT const HostMemoryConfig *host_memory_backend_config(const HostMemoryBackend *backend);

#ifdef __cplusplus
}
#endif
#endif
