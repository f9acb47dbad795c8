/* SPDX-License-Identifier: MIT */
#include "ram/hostmem.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

size_t hostmem_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

size_t hostmem_round(hwaddr size)
{
    size_t page = hostmem_page_size();

    if (size > SIZE_MAX - page + 1) {
        return 0;
    }
    return ((size_t)size + page - 1) & ~(page - 1);
}

static int check_size(hwaddr size, const char *name)
{
    if (size == 0 || hostmem_round(size) == 0) {
        return fail(EINVAL, "RAM '%s': a size of %" PRIu64 " bytes cannot be mapped", name, size);
    }
    return 0;
}

int hostmem_map_anonymous(HostMemory *memory, hwaddr size, const char *name)
{
    int result = check_size(size, name);
    if (result) {
        return result;
    }
    size_t rounded = hostmem_round(size);
    void *host = mmap(NULL, rounded, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (host == MAP_FAILED) {
        int err = errno;
        return fail(err, "RAM '%s': cannot map %zu bytes: %s", name, rounded, strerror(err));
    }
    *memory = (HostMemory){host, rounded};
    return 0;
}

static int check_file(hwaddr size, int fd, hwaddr offset, const char *name)
{
    struct stat st;

    if (offset % hostmem_page_size()) {
        return fail(EINVAL, "RAM '%s': offset 0x%" PRIx64 " is not a multiple of the host page",
                    name, offset);
    }
    if (fstat(fd, &st)) {
        int err = errno;
        return fail(err, "RAM '%s': cannot look at fd %d: %s", name, fd, strerror(err));
    }
    /* Past the end of a file loads are SIGBUS; sizes of devices are not known here. */
    if (S_ISREG(st.st_mode) &&
        (offset > (hwaddr)st.st_size || (hwaddr)st.st_size - offset < size)) {
        return fail(EINVAL,
                    "RAM '%s': the file of %" PRIu64 " bytes ends before offset 0x%" PRIx64
                    " + %" PRIu64 " bytes",
                    name, (uint64_t)st.st_size, offset, size);
    }
    return 0;
}

/*
 * Map with an alignment above the page: reserve enough for any phase, put the file into the
 * aligned part and give the rest back.
 */
static void *map_aligned(size_t size, size_t align, int prot, int flags, int fd, off_t offset)
{
    if (align <= hostmem_page_size()) {
        return mmap(NULL, size, prot, flags, fd, offset);
    }
    if (size > SIZE_MAX - align) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    uint8_t *area =
        mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) {
        return MAP_FAILED;
    }
    size_t head = (align - (uintptr_t)area % align) % align;
    void *host = mmap(area + head, size, prot, flags | MAP_FIXED, fd, offset);
    if (host == MAP_FAILED) {
        int err = errno;
        munmap(area, size + align);
        errno = err;
        return MAP_FAILED;
    }
    if (head) {
        munmap(area, head);
    }
    if (align - head) {
        munmap(area + head + size, align - head);
    }
    return host;
}

int hostmem_map_fd(HostMemory *memory, hwaddr size, int fd, hwaddr offset, hwaddr align,
                   bool shared, bool readonly, const char *name)
{
    int result = check_size(size, name);
    if (!result) {
        result = check_file(size, fd, offset, name);
    }
    if (!result && ((align & (align - 1)) || align > SIZE_MAX)) {
        result =
            fail(EINVAL, "RAM '%s': alignment 0x%" PRIx64 " is not a power of two", name, align);
    }
    if (result) {
        return result;
    }
    size_t rounded = hostmem_round(size);
    void *host = map_aligned(rounded, (size_t)align, readonly ? PROT_READ : PROT_READ | PROT_WRITE,
                             shared ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE, fd, (off_t)offset);
    if (host == MAP_FAILED) {
        int err = errno;
        return fail(err, "RAM '%s': cannot map %zu bytes of fd %d: %s", name, rounded, fd,
                    strerror(err));
    }
    *memory = (HostMemory){host, rounded};
    return 0;
}

void hostmem_unmap(HostMemory *memory)
{
    munmap(memory->host, memory->size);
}

void hostmem_clear(uint8_t *host, size_t size, bool anonymous)
{
    /* Refused for locked pages, say. */
    if (!anonymous || madvise(host, size, MADV_DONTNEED)) {
        memset(host, 0, size);
    }
}
