/* SPDX-License-Identifier: MIT */
/*
 * Untouched memory reads as zeroes; the system knows what was touched, without touching it:
 *
 *     memory                     who is asked
 *     shared, of a file          the file: what is no hole (SEEK_DATA), whoever wrote it
 *     anonymous                  the page map: what is present or swapped out
 *     private, of a file         both: behind an absent page is the file's own data
 *     the caller's (RAM_PREALLOC), devices, or nobody answers    everything counts
 *
 * P1. A byte that is not zero when the pass gets there is in a run.
 * P2. No page is read, written, or brought in.
 * P3. The position of nobody's fd moves: the file is opened once more for the pass.
 */
#include "ram/populated.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The page map -------------------------------------------------------------- */

/* PAGEMAP_SCAN came with Linux 6.7: it skips what has no page tables. Older headers lack it. */
struct scan_region {
    __u64 start, end, categories;
};
struct scan_arg {
    __u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
    __u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
#define SCAN_PRESENT (1ULL << 3)
#define SCAN_SWAPPED (1ULL << 4)
#define SCAN_ZERO_PAGE (1ULL << 5)

#define ENTRY_USED ((1ULL << 63) | (1ULL << 62)) /* present, swapped */
#define ENTRIES 512

static bool fill_by_ioctl(PopulatedScan *scan, hwaddr offset)
{
    struct scan_region regions[POPULATED_RUNS];
    struct scan_arg arg = {
        .size = sizeof arg,
        .start = (uintptr_t)scan->host + offset,
        .end = (uintptr_t)scan->host + scan->length,
        .vec = (uintptr_t)regions,
        .vec_len = POPULATED_RUNS,
        .category_inverted = SCAN_ZERO_PAGE,
        .category_mask = SCAN_ZERO_PAGE,
        .category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
    };
    int count = ioctl(scan->pagemap, SCAN_IOCTL, &arg);

    if (count < 0) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        scan->runs[i] = (PopulatedRun){regions[i].start - (uintptr_t)scan->host,
                                       regions[i].end - 1 - (uintptr_t)scan->host};
    }
    scan->nr_runs = (unsigned)count;
    scan->batch_end = arg.walk_end - (uintptr_t)scan->host;
    return scan->batch_end > offset;
}

static bool fill_by_read(PopulatedScan *scan, hwaddr offset)
{
    uint64_t entries[ENTRIES];
    hwaddr pages = (scan->length - offset + scan->page - 1) / scan->page;
    size_t want = (size_t)(pages < ENTRIES ? pages : ENTRIES);
    hwaddr index = ((uintptr_t)scan->host + offset) / scan->page;
    ssize_t got =
        pread(scan->pagemap, entries, want * sizeof *entries, (off_t)(index * sizeof *entries));
    size_t count = got > 0 ? (size_t)got / sizeof *entries : 0;
    PopulatedRun *run = NULL;
    size_t i;

    scan->nr_runs = 0;
    for (i = 0; i < count; i++) {
        hwaddr at = offset + i * scan->page;
        if (!(entries[i] & ENTRY_USED)) {
            run = NULL;
        } else if (run) {
            run->last = at + scan->page - 1;
        } else if (scan->nr_runs == POPULATED_RUNS) {
            break;
        } else {
            run = &scan->runs[scan->nr_runs++];
            *run = (PopulatedRun){at, at + scan->page - 1};
        }
    }
    scan->batch_end = offset + i * scan->page;
    return i > 0;
}

/* What the page map says at and after @offset, a page boundary; false: it does not say. */
static bool fill(PopulatedScan *scan, hwaddr offset)
{
    scan->batch_first = offset;
    return fill_by_ioctl(scan, offset) || fill_by_read(scan, offset);
}

static bool next_mapped(PopulatedScan *scan, hwaddr offset, PopulatedRun *run)
{
    if (offset < scan->batch_first || offset >= scan->batch_end) {
        scan->batch_first = scan->batch_end = offset & ~(hwaddr)(scan->page - 1);
        scan->nr_runs = 0;
    }
    for (;;) {
        for (unsigned i = 0; i < scan->nr_runs; i++) {
            if (scan->runs[i].last >= offset) {
                *run = scan->runs[i];
                return true;
            }
        }
        if (scan->batch_end >= scan->length) {
            return false;
        }
        if (!fill(scan, scan->batch_end)) {
            *run = (PopulatedRun){scan->batch_end, scan->length - 1};
            scan->batch_end = scan->batch_first;
            return true;
        }
    }
}

/* ---- The file ------------------------------------------------------------------ */

static bool next_data(const PopulatedScan *scan, hwaddr offset, PopulatedRun *run)
{
    off_t data = lseek(scan->file, (off_t)(scan->fd_offset + offset), SEEK_DATA);

    if (data < 0) {
        *run = (PopulatedRun){offset, scan->length - 1};
        return errno != ENXIO; /* no more data; any other reason: who knows */
    }
    off_t hole = lseek(scan->file, data, SEEK_HOLE);
    run->first = (hwaddr)data - scan->fd_offset;
    run->last = hole < 0 ? scan->length - 1 : (hwaddr)hole - scan->fd_offset - 1;
    return true;
}

/* ---- The pass ------------------------------------------------------------------ */

void populated_begin(PopulatedScan *scan, const RAMBlock *block)
{
    bool shared = block->flags & RAM_SHARED;
    struct stat st;

    scan->host = block->host;
    scan->length = block->max_length;
    scan->page = hostmem_page_size();
    scan->fd_offset = block->fd_offset;
    scan->file = scan->pagemap = -1;
    scan->nr_runs = 0;
    scan->batch_first = scan->batch_end = 0;
    scan->all = (block->flags & RAM_PREALLOC) || (uintptr_t)block->host % scan->page;
    if (!scan->all && block->fd >= 0) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", block->fd);
        if (fstat(block->fd, &st) == 0 && S_ISREG(st.st_mode)) {
            scan->file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        }
        scan->all = scan->file < 0;
    } else if (!scan->all && shared) {
        scan->all = true;
    }
    if (!scan->all && !shared) {
        scan->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        scan->all = scan->pagemap < 0;
    }
}

static bool next_run(PopulatedScan *scan, hwaddr offset, PopulatedRun *run)
{
    PopulatedRun mapped, data;

    if (scan->all) {
        *run = (PopulatedRun){offset, scan->length - 1};
        return true;
    }
    bool any_mapped = scan->pagemap >= 0 && next_mapped(scan, offset, &mapped);
    bool any_data = scan->file >= 0 && next_data(scan, offset, &data);
    if (any_mapped && (!any_data || mapped.first < data.first)) {
        *run = mapped;
    } else if (any_data) {
        *run = data;
    }
    return any_mapped || any_data;
}

bool populated_next(PopulatedScan *scan, hwaddr offset, hwaddr *first, hwaddr *last)
{
    PopulatedRun run;

    if (offset >= scan->length || !next_run(scan, offset, &run) || run.first >= scan->length) {
        return false;
    }
    *first = run.first < offset ? offset : run.first;
    *last = run.last >= scan->length ? scan->length - 1 : run.last;
    return true;
}

void populated_end(PopulatedScan *scan)
{
    if (scan->file >= 0) {
        close(scan->file);
    }
    if (scan->pagemap >= 0) {
        close(scan->pagemap);
    }
}
