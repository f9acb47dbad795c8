/* SPDX-License-Identifier: MIT */
/*
 * Each block lies in a reservation of its own, between two pages that cannot be touched:
 *
 *     area                                                area + area_size
 *      | PROT_NONE page |  host ... host + size  | PROT_NONE page |
 *
 * H1. An access that runs off either end of a block faults; it never reaches another block.
 * H2. A block of a huge page or more begins at a multiple of it, so that the kernel can use them.
 * H3. On an error nothing stays mapped.
 */
#include "ram/hostmem.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

size_t hostmem_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round_up(hwaddr size, size_t page)
{
    if (size > SIZE_MAX - page + 1) {
        return 0;
    }
    return ((size_t)size + page - 1) & ~(page - 1);
}

size_t hostmem_round(hwaddr size)
{
    return round_up(size, hostmem_page_size());
}

size_t hostmem_fd_page_size(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == HUGETLBFS_MAGIC) {
        return (size_t)fs.f_bsize;
    }
    return hostmem_page_size();
}

static int check_file(const HostMapping *m, size_t page)
{
    struct stat st;

    if (m->fd_offset % page) {
        return fail(EINVAL, "RAM '%s': offset 0x%" PRIx64 " is not a multiple of the %zu-byte page",
                    m->name, m->fd_offset, page);
    }
    if (fstat(m->fd, &st)) {
        int err = errno;
        return fail(err, "RAM '%s': cannot look at fd %d: %s", m->name, m->fd, strerror(err));
    }
    /* Past the end of a file loads are SIGBUS; sizes of devices are not known here. */
    if (S_ISREG(st.st_mode) &&
        (m->fd_offset > (hwaddr)st.st_size || (hwaddr)st.st_size - m->fd_offset < m->size)) {
        return fail(EINVAL,
                    "RAM '%s': the file of %" PRIu64 " bytes ends before offset 0x%" PRIx64
                    " + %" PRIu64 " bytes",
                    m->name, (uint64_t)st.st_size, m->fd_offset, m->size);
    }
    return 0;
}

static int check(const HostMapping *m, size_t page)
{
    if (m->size == 0 || round_up(m->size, page) == 0) {
        return fail(EINVAL, "RAM '%s': a size of %" PRIu64 " bytes cannot be mapped", m->name,
                    m->size);
    }
    if (m->align & (m->align - 1)) {
        return fail(EINVAL, "RAM '%s': alignment 0x%" PRIx64 " is not a power of two", m->name,
                    m->align);
    }
    return m->fd >= 0 ? check_file(m, page) : 0;
}

static size_t suitable_align(const HostMapping *m, size_t size, size_t page)
{
    size_t align = m->align > page ? (size_t)m->align : page;

    return !m->align && size >= HUGE_PAGE && align < HUGE_PAGE ? HUGE_PAGE : align;
}

/* Give back [@from, @to), which is empty as often as not. */
static void trim(uint8_t *from, uint8_t *to)
{
    if (from < to) {
        munmap(from, (size_t)(to - from));
    }
}

/* Reserve room for any phase of the alignment, then keep what the block and its guards need. */
static bool reserve(HostMemory *memory, size_t size, size_t align)
{
    size_t guard = hostmem_page_size(), slack = align - guard;

    if (size > SIZE_MAX - slack || size + slack > SIZE_MAX - 2 * guard) {
        errno = ENOMEM;
        return false;
    }
    size_t total = size + slack + 2 * guard;
    uint8_t *area =
        mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) {
        return false;
    }
    uint8_t *host = area + guard + (align - ((uintptr_t)area + guard) % align) % align;
    trim(area, host - guard);
    trim(host + size + guard, area + total);
    *memory = (HostMemory){
        .host = host, .size = size, .area = host - guard, .area_size = size + 2 * guard};
    return true;
}

static void *place(HostMemory *memory, const HostMapping *m)
{
    int prot = m->readonly ? PROT_READ : PROT_READ | PROT_WRITE;
    int flags = MAP_FIXED | (m->shared ? MAP_SHARED : MAP_PRIVATE) |
                (m->fd < 0 ? MAP_ANONYMOUS : 0) | (m->no_reserve ? MAP_NORESERVE : 0);

    if (m->synchronous && m->shared && m->fd >= 0) {
        void *host = mmap(memory->host, memory->size, prot,
                          (flags & ~MAP_SHARED) | MAP_SHARED_VALIDATE | MAP_SYNC, m->fd,
                          (off_t)m->fd_offset);
        memory->synchronous = host != MAP_FAILED;
        if (host != MAP_FAILED || (errno != EOPNOTSUPP && errno != EINVAL)) {
            return host;
        }
    }
    return mmap(memory->host, memory->size, prot, flags, m->fd, (off_t)m->fd_offset);
}

int hostmem_map(HostMemory *memory, const HostMapping *m)
{
    size_t page = m->page_size ? m->page_size : hostmem_page_size();
    int result = check(m, page);

    if (result) {
        return result;
    }
    size_t size = round_up(m->size, page);
    size_t align = suitable_align(m, size, page);
    if (!reserve(memory, size, align)) {
        int err = errno;
        return fail(err,
                    "RAM '%s': cannot reserve %zu bytes of address space at a multiple of 0x%zx: "
                    "%s",
                    m->name, size, align, strerror(err));
    }
    if (place(memory, m) == MAP_FAILED) {
        int err = errno;
        hostmem_unmap(memory);
        if (m->fd < 0) {
            return fail(err, "RAM '%s': cannot map %zu bytes: %s", m->name, size, strerror(err));
        }
        return fail(err, "RAM '%s': cannot map %zu bytes of fd %d: %s", m->name, size, m->fd,
                    strerror(err));
    }
    return 0;
}

void hostmem_unmap(HostMemory *memory)
{
    if (memory->area) {
        munmap(memory->area, memory->area_size);
    }
    *memory = (HostMemory){0}; /* what comes to lie there next is somebody else's */
}

void hostmem_clear(uint8_t *host, size_t size, bool anonymous)
{
    /* Refused for locked pages, say. */
    if (!anonymous || madvise(host, size, MADV_DONTNEED)) {
        memset(host, 0, size);
    }
}
