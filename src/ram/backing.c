/* SPDX-License-Identifier: MIT */
/*
 * A backing is made in steps, each of which can be undone: open what it is mapped from, map it,
 * tell the kernel how to treat it, bind it to NUMA nodes, and only then touch it.
 */
#include "ram/backing.h"

#include "base/error.h"
#include "base/range.h"
#include "ram/hugepages.h"
#include "ram/numa_policy.h"
#include "ram/prealloc.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

static int open_memfd(Backing *b, const HostMemoryConfig *config)
{
    size_t huge = 0;

    if (config->hugetlb) {
        int result = hugepages_select(config->id, config->hugetlbsize, &huge);
        if (result) {
            return result;
        }
    }
    return hostfile_memfd(&b->file, config->id, huge);
}

static int open_backing(Backing *b, const HostMemoryConfig *config)
{
    switch (config->kind) {
    case HOST_MEMORY_RAM:
        /* Only memory with a descriptor can be handed to other processes. */
        return config->share ? hostfile_memfd(&b->file, config->id, 0) : 0;
    case HOST_MEMORY_FILE:
        return hostfile_open(&b->file, config->id, config->mem_path, config->readonly);
    case HOST_MEMORY_MEMFD:
        return open_memfd(b, config);
    case HOST_MEMORY_SHM:
        return hostfile_shm(&b->file, config->id);
    case HOST_MEMORY_FD:
        return hostfile_dup(&b->file, config->id, config->fd);
    case HOST_MEMORY_PTR:
        break;
    }
    return 0;
}

static int check_size(const Backing *b, const HostMemoryConfig *config)
{
    if (config->size % b->page_size) {
        return fail(EINVAL,
                    "RAM '%s': size=%" PRIu64 " is not a multiple of the memory's pages of %zu "
                    "bytes",
                    config->id, config->size, b->page_size);
    }
    return 0;
}

/* Give the file its length; the caller's is taken as it is. */
static int size_file(Backing *b, const HostMemoryConfig *config)
{
    if (b->file.fd < 0 || config->kind == HOST_MEMORY_FD || config->readonly) {
        return 0;
    }
    int result = hostfile_grow(&b->file, hwaddr_add_clipped(config->offset, config->size));
    bool is_memfd = config->kind == HOST_MEMORY_MEMFD || config->kind == HOST_MEMORY_RAM;
    if (!result && is_memfd && config->seal) {
        result = hostfile_seal(&b->file);
    }
    return result;
}

/* Whether @mapping would do if no memory had to be set aside for it. */
static bool fits_unreserved(HostMapping mapping)
{
    HostMemory memory;

    mapping.fd = -1;
    mapping.shared = mapping.synchronous = false;
    mapping.no_reserve = true;
    if (hostmem_map(&memory, &mapping)) {
        return false;
    }
    hostmem_unmap(&memory);
    return true;
}

static int map_backing(Backing *b, const HostMemoryConfig *config)
{
    HostMapping mapping = {
        .name = config->id,
        .size = config->size,
        .align = config->align,
        .page_size = b->page_size,
        .fd = b->file.fd,
        .fd_offset = config->offset,
        .shared = config->share,
        .readonly = config->readonly,
        .no_reserve = !config->reserve,
        .synchronous = config->pmem,
    };
    int result = hostmem_map(&b->memory, &mapping);

    /* Short may be the address space, too, which has its sentence from there. */
    if (result != -ENOMEM || !fits_unreserved(mapping)) {
        return result;
    }
    if (b->page_size > hostmem_page_size()) {
        return hugepages_short(config->id, b->page_size, config->size);
    }
    if (config->reserve && !config->share) {
        return fail(ENOMEM,
                    "RAM '%s': the host does not set %" PRIu64 " bytes aside (reserve=off maps "
                    "them all the same): %s",
                    config->id, config->size, strerror(ENOMEM));
    }
    return result;
}

static int advise(const Backing *b, const HostMemoryConfig *config, int advice, const char *what)
{
    if (madvise(b->memory.host, b->memory.size, advice) == 0) {
        return 0;
    }
    int err = errno;
    return fail(err, "RAM '%s': the kernel refuses %s: %s", config->id, what, strerror(err));
}

/*
 * What the user asked for must hold. But merge=on is a default, which kernels without KSM cannot
 * have, and huge pages and shared memory have no use for.
 */
static int treat(const Backing *b, const HostMemoryConfig *config)
{
    int result = 0;

    if (config->merge && !config->share && b->page_size == hostmem_page_size()) {
        madvise(b->memory.host, b->memory.size, MADV_MERGEABLE);
    }
    if (!config->dump) {
        result = advise(b, config, MADV_DONTDUMP, "dump=off");
    }
    if (!result && config->thp == HOST_MEMORY_THP_ON) {
        result = advise(b, config, MADV_HUGEPAGE, "thp=on");
    } else if (!result && config->thp == HOST_MEMORY_THP_OFF) {
        result = advise(b, config, MADV_NOHUGEPAGE, "thp=off");
    }
    return result;
}

static int populate(const Backing *b, const HostMemoryConfig *config)
{
    Prealloc work = {
        .name = config->id,
        .host = b->memory.host,
        .size = b->memory.size,
        .page_size = b->page_size,
        .fd = b->file.fd,
        .shared = config->share,
        .readonly = config->readonly,
        .threads = config->prealloc_threads,
        .nodes = config->policy == HOST_MEMORY_POLICY_BIND ? config->host_nodes : NULL,
        .progress = config->progress,
        .progress_opaque = config->progress_opaque,
    };

    return config->prealloc ? prealloc(&work) : 0;
}

static uint32_t block_flags(const Backing *b, const HostMemoryConfig *config)
{
    return (config->share ? RAM_SHARED : 0) | (config->readonly ? RAM_READONLY : 0) |
           (config->reserve ? 0 : RAM_NORESERVE) | (config->pmem ? RAM_PMEM : 0) |
           (b->file.named ? RAM_NAMED_FILE : 0);
}

static int make(Backing *b, const HostMemoryConfig *config)
{
    int result = open_backing(b, config);

    if (result) {
        return result;
    }
    b->page_size = b->file.fd < 0 ? hostmem_page_size() : hostmem_fd_page_size(b->file.fd);
    result = check_size(b, config);
    result = result ? result : size_file(b, config);
    result = result ? result : map_backing(b, config);
    result = result ? result : treat(b, config);
    result = result ? result : numa_policy_set(config, b->memory.host, b->memory.size);
    return result ? result : populate(b, config);
}

int backing_create(Backing *b, const HostMemoryConfig *config)
{
    *b = (Backing){.file = {.fd = -1, .grown_from = -1}, .page_size = hostmem_page_size()};
    b->flags = block_flags(b, config);
    if (config->kind == HOST_MEMORY_PTR) {
        b->memory = (HostMemory){.host = config->ptr, .size = (size_t)config->size};
        b->flags |= RAM_PREALLOC;
        return 0;
    }
    int result = make(b, config);
    b->flags = block_flags(b, config);
    if (result) {
        backing_undo(b);
    }
    return result;
}

void backing_undo(Backing *b)
{
    hostmem_unmap(&b->memory);
    hostfile_undo(&b->file);
}
