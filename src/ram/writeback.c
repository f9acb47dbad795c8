/* SPDX-License-Identifier: MIT */
/*
 * Host memory of a block that is in use: give pages back, make them durable.
 *
 * A file on persistent memory that is mapped with MAP_SYNC is durable when the CPU's caches are
 * written back. For all other memory with a file, the kernel knows what is dirty, and msync(2) is
 * the way.
 */
#include "base/error.h"
#include "base/range.h"
#include "ram/log.h"
#include "ram/populated.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static int check_range(const RAMBlock *block, hwaddr start, hwaddr length)
{
    if (start > block->used_length || length > block->used_length - start) {
        return fail(EINVAL,
                    "RAM '%s': 0x%" PRIx64 " bytes at 0x%" PRIx64 " are not within its 0x%" PRIx64,
                    block->idstr, length, start, block->used_length);
    }
    return 0;
}

/* ---- giving pages back -------------------------------------------------------------- */

/* What a private mapping shows of a file stays in the file, which is not ours to change. */
static int give_back(RAMBlock *block, hwaddr start, hwaddr length)
{
    int advice = block->flags & RAM_SHARED ? MADV_REMOVE : MADV_DONTNEED;

    return madvise(block->host + start, (size_t)length, advice) ? errno : 0;
}

/*
 * To those who keep or copy pages, giving back is a write like any other, but to populated pages
 * only: what reads the same afterwards is neither kept nor dirty. One that fails may have been done
 * in part. The last call is for what was populated meanwhile.
 */
static int give_back_populated(RAMBlock *block, hwaddr start, hwaddr length)
{
    hwaddr page = block->page_size, end = start + length, from = start, first, last;
    PopulatedScan scan;
    int err = 0;

    populated_begin(&scan, block);
    while (!err && from < end && populated_next(&scan, from, &first, &last) && first < end) {
        first -= first % page;
        from = hwaddr_min(last - last % page + page, end);
        ram_before_write(block, first, from - first);
        err = give_back(block, first, from - first);
        ram_after_write(block, first, from - first);
    }
    populated_end(&scan);
    return err ? err : give_back(block, start, length);
}

int ram_block_discard_range(RAMBlock *block, hwaddr start, hwaddr length)
{
    int result = check_range(block, start, length);

    if (result || length == 0) {
        return result;
    }
    if (start % block->page_size || length % block->page_size) {
        return fail(EINVAL,
                    "RAM '%s': 0x%" PRIx64 " bytes at 0x%" PRIx64
                    " are not whole pages of 0x%zx bytes",
                    block->idstr, length, start, block->page_size);
    }
    if (block->flags & (RAM_PREALLOC | RAM_READONLY)) {
        return fail(ENOTSUP, "RAM '%s': memory that is %s cannot be given back", block->idstr,
                    block->flags & RAM_PREALLOC ? "the caller's" : "mapped read-only");
    }
    int err = give_back_populated(block, start, length);
    if (err) {
        return fail(err, "RAM '%s': cannot give back 0x%" PRIx64 " bytes at 0x%" PRIx64 ": %s",
                    block->idstr, length, start, strerror(err));
    }
    return 0;
}

/* ---- making durable ----------------------------------------------------------------- */

#if defined(__x86_64__)

#define CACHE_LINE 64

static bool cpu_has(unsigned ebx_bit)
{
    unsigned eax, ebx, ecx, edx;

    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & ebx_bit);
}

__attribute__((target("clwb"))) static void write_back_lines(uint8_t *line, const uint8_t *end)
{
    for (; line < end; line += CACHE_LINE) {
        _mm_clwb(line);
    }
}

__attribute__((target("clflushopt"))) static void flush_lines(uint8_t *line, const uint8_t *end)
{
    for (; line < end; line += CACHE_LINE) {
        _mm_clflushopt(line);
    }
}

static bool write_back_caches(uint8_t *host, size_t length)
{
    uint8_t *line = host - (uintptr_t)host % CACHE_LINE;
    const uint8_t *end = host + length;

    if (cpu_has(bit_CLWB)) {
        write_back_lines(line, end);
    } else if (cpu_has(bit_CLFLUSHOPT)) {
        flush_lines(line, end);
    } else {
        for (; line < end; line += CACHE_LINE) {
            _mm_clflush(line);
        }
    }
    _mm_sfence();
    return true;
}

#elif defined(__aarch64__)

static bool write_back_caches(uint8_t *host, size_t length)
{
    uint64_t type;

    if (!(getauxval(AT_HWCAP) & HWCAP_DCPOP)) {
        return false;
    }
    __asm__("mrs %0, ctr_el0" : "=r"(type));
    size_t line_size = (size_t)4 << ((type >> 16) & 15);
    for (uint8_t *line = host - (uintptr_t)host % line_size; line < host + length;
         line += line_size) {
        __asm__ volatile("sys #3, c7, c12, #1, %0" : : "r"(line) : "memory"); /* dc cvap */
    }
    __asm__ volatile("dsb sy" : : : "memory");
    return true;
}

#else

static bool write_back_caches(uint8_t *host, size_t length)
{
    (void)host;
    (void)length;
    return false;
}

#endif

int ram_block_writeback(RAMBlock *block, hwaddr start, hwaddr length)
{
    int result = check_range(block, start, length);

    if (result || length == 0) {
        return result;
    }
    uint8_t *host = block->host + start;
    if (block->memory.synchronous && write_back_caches(host, (size_t)length)) {
        return 0;
    }
    if (!(block->flags & RAM_SHARED)) {
        return fail(ENOTSUP, "RAM '%s' is private memory: it has nowhere to be written back to",
                    block->idstr);
    }
    size_t head = (uintptr_t)host % hostmem_page_size();
    if (msync(host - head, (size_t)length + head, MS_SYNC)) {
        int err = errno;
        return fail(err, "RAM '%s': cannot write back 0x%" PRIx64 " bytes at 0x%" PRIx64 ": %s",
                    block->idstr, length, start, strerror(err));
    }
    return 0;
}
