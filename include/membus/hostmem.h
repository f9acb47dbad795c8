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
    HOST_MEMORY_RAM,   /* memory-backend-ram: anonymous */
    HOST_MEMORY_FILE,  /* memory-backend-file: mem-path= */
    HOST_MEMORY_MEMFD, /* memory-backend-memfd */
    HOST_MEMORY_SHM,   /* memory-backend-shm: POSIX shared memory, unlinked at once */
    HOST_MEMORY_FD,    /* memory-backend-fd: fd=, which stays the caller's */
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
    bool share_set;            /* whether `share` was said */
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
    bool seal;                 /* memfd: forbid it to shrink and grow (on) */
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
 * Parse @options into @config, whose strings then point into @*storage (free(3) it). Sizes take
 * the suffixes K, M, G and T; switches take on and off. Returns 0, -EINVAL with a sentence that
 * names the key and the value, or -ENOMEM.
 * Context: any thread.
 */
MEMBUS_EXPORT int host_memory_config_parse(const char *options, HostMemoryConfig *config,
                                           char **storage, Error **errp);

/*
 * Make a backend of @ms. The one makes it from text, the other from @config, of which nothing is
 * kept. Returns NULL with an error that names the id, the step and the system's reason.
 * Context: no lock held; preallocation takes as long as it takes.
 */
MEMBUS_EXPORT HostMemoryBackend *host_memory_backend_create(MemorySystem *ms, const char *options,
                                                            Error **errp);
MEMBUS_EXPORT HostMemoryBackend *
host_memory_backend_create_config(MemorySystem *ms, const HostMemoryConfig *config, Error **errp);

/*
 * End @backend; NULL is fine. Its memory goes when no reader and no mapping can reach it any
 * more. -EBUSY while a board or a device has it mapped.
 * Context: machine lock.
 */
MEMBUS_EXPORT int host_memory_backend_destroy(HostMemoryBackend *backend, Error **errp);

/* The backend of @ms with @id; NULL: none. Context: machine lock. */
MEMBUS_EXPORT HostMemoryBackend *host_memory_backend_find(MemorySystem *ms, const char *id);
/* Visit the backends of @ms in the order of making until @visit returns true. */
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
