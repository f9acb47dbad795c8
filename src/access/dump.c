/* SPDX-License-Identifier: MIT */
/*
 * RAM to a file descriptor and back.
 *
 *      guest addresses   |  RAM  | gap |   ROM    |    what the view shows, range by range
 *      host memory       [xx..xx..]    [..xxxx....]    x: populated; the rest reads as zero
 *      dump              xx__xx________ __xxxx____     _: a hole, or zeros on a stream
 *
 *  D1  Untouched memory is not touched: a save reads what is populated, a load writes where the
 *      file has data, and zeroes where it has none but memory is populated.
 *  D2  Nothing is written before the whole range has been found fit.
 *  D3  What a load has written is marked dirty, also if it fails then.
 */
#include "access/dumpfd.h"
#include "base/error.h"
#include "base/range.h"
#include "map/flatview.h"
#include "map/ops.h"
#include "map/ram_discard.h"
#include "map/system.h"
#include "ram/log.h"
#include "ram/populated.h"

#include <errno.h>
#include <inttypes.h>
#include <membus/ram.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Bytes of a region's host memory. */
typedef struct Stretch {
    MemoryRegion *mr;
    hwaddr offset, size; /* in the region */
} Stretch;

static uint8_t *stretch_host(const Stretch *stretch)
{
    return (uint8_t *)stretch->mr->ram_block->host + stretch->offset;
}

static Stretch stretch_rest(Stretch stretch, hwaddr used)
{
    return (Stretch){stretch.mr, stretch.offset + used, stretch.size - used};
}

/*
 * How much of @stretch is untouched from its beginning on, and how much is populated then, for the
 * host and for a RamDiscardManager.
 */
static void look_at_memory(PopulatedScan *scan, const Stretch *stretch, hwaddr *untouched,
                           hwaddr *populated)
{
    hwaddr from = stretch->offset, end = from + (stretch->size - 1);
    hwaddr first, last;

    *untouched = stretch->size;
    *populated = 0;
    while (populated_next(scan, from, &first, &last) && first <= end) {
        hwaddr run_last = end;
        from = first;
        if (!region_next_populated(stretch->mr, &from, &run_last)) {
            return;
        }
        if (from <= last) {
            *untouched = from - stretch->offset;
            *populated = hwaddr_min(last, run_last) - from + 1;
            return;
        }
    }
}

static int save_stretch(DumpFd *file, Stretch stretch)
{
    PopulatedScan scan;
    int result = 0;

    populated_begin(&scan, stretch.mr->ram_block);
    while (stretch.size && !result) {
        hwaddr untouched, populated;
        look_at_memory(&scan, &stretch, &untouched, &populated);
        result = dumpfd_put_zeros(file, untouched);
        if (!result) {
            result = dumpfd_put(file, stretch_host(&stretch) + untouched, populated);
        }
        stretch = stretch_rest(stretch, untouched + populated);
    }
    populated_end(&scan);
    return result;
}

static void clear(PopulatedScan *scan, Stretch stretch)
{
    while (stretch.size) {
        hwaddr untouched, populated;
        look_at_memory(scan, &stretch, &untouched, &populated);
        if (populated) {
            RAMBlock *block = stretch.mr->ram_block;
            ram_before_write(block, stretch.offset + untouched, populated);
            memset(stretch_host(&stretch) + untouched, 0, (size_t)populated);
            ram_after_write(block, stretch.offset + untouched, populated);
        }
        stretch = stretch_rest(stretch, untouched + populated);
    }
}

static int load_data(DumpFd *file, Stretch stretch)
{
    RAMBlock *block = stretch.mr->ram_block;
    int result = 0;

    while (stretch.size && !result) {
        hwaddr part = hwaddr_min(stretch.size, DUMP_CHUNK);
        ram_before_write(block, stretch.offset, part);
        result = dumpfd_get(file, stretch_host(&stretch), part);
        ram_after_write(block, stretch.offset, part);
        stretch = stretch_rest(stretch, part);
    }
    return result;
}

static int load_stretch(DumpFd *file, Stretch stretch)
{
    PopulatedScan scan;
    int result = 0;

    populated_begin(&scan, stretch.mr->ram_block);
    while (stretch.size && !result) {
        hwaddr hole, data;
        dumpfd_look(file, stretch.size, &hole, &data);
        clear(&scan, (Stretch){stretch.mr, stretch.offset, hole});
        result = dumpfd_pass(file, hole);
        if (!result) {
            result = load_data(file, (Stretch){stretch.mr, stretch.offset + hole, data});
        }
        stretch = stretch_rest(stretch, hole + data);
    }
    populated_end(&scan);
    return result;
}

/* ---- what is fit ----------------------------------------------------------------------- */

/* Whether @block may be dumped to (loaded from) the fd. */
static int check_block(const DumpFd *file, const RAMBlock *block, bool load)
{
    struct stat mine, its;

    if (load && (block->flags & RAM_READONLY)) {
        return fail(EACCES, "%s: RAM '%s' is mapped read-only", file->what, block->idstr);
    }
    if (block->fd >= 0 && fstat(block->fd, &mine) == 0 && fstat(file->fd, &its) == 0 &&
        mine.st_dev == its.st_dev && mine.st_ino == its.st_ino) {
        return fail(EINVAL, "%s: fd %d is the file of RAM '%s' itself", file->what, file->fd,
                    block->idstr);
    }
    return 0;
}

/* Whether the range has contents of its own: host memory that is RAM, ROM or flash. */
static bool has_contents(const FlatRange *range)
{
    const MemoryRegion *mr = range->mr;

    return mr->ram_block && (mr->ram || mr->rom_device) && !mr->ram_device;
}

static const char *kind_of(const MemoryRegion *mr)
{
    return mr->ram_device               ? "is a device's memory"
           : mr->ram || mr->rom_device  ? "has no memory behind it"
           : mr->ops == &ops_unassigned ? "is a reservation"
                                        : "is MMIO";
}

/* ---- RAM blocks ------------------------------------------------------------------------ */

typedef int DumpOpen(DumpFd *file, int fd, hwaddr size, const MemoryDumpOptions *options,
                     const char *what);

static int dump_block(RAMBlock *block, int fd, const MemoryDumpOptions *options, bool load)
{
    char what[128];
    DumpFd file;

    snprintf(what, sizeof what, "%s of RAM '%.80s'", load ? "load" : "save", block->idstr);
    MemoryRegion *mr = qemu_ram_ref_region(block);
    if (!mr) {
        return fail(ENODEV, "%s: its region has ended", what);
    }
    Stretch all = {mr, 0, qemu_ram_get_used_length(block)};
    DumpOpen *open = load ? dumpfd_open_load : dumpfd_open_save;
    int result = open(&file, fd, all.size, options, what);
    if (!result) {
        result = check_block(&file, block, load);
    }
    if (!result) {
        result = load ? load_stretch(&file, all) : save_stretch(&file, all);
    }
    if (!result) {
        result = load ? dumpfd_end_load(&file) : dumpfd_end_save(&file);
    }
    dumpfd_close(&file);
    memory_region_unref(mr);
    return result;
}

int ram_block_save(RAMBlock *block, int fd, const MemoryDumpOptions *options, Error **errp)
{
    return error_pass(errp, dump_block(block, fd, options, false));
}

int ram_block_load(RAMBlock *block, int fd, const MemoryDumpOptions *options, Error **errp)
{
    return error_pass(errp, dump_block(block, fd, options, true));
}

/* ---- guest addresses ------------------------------------------------------------------- */

/* What a walk does with each part of the range: @range NULL is a gap. */
typedef int PartFn(DumpFd *file, const FlatRange *range, hwaddr first, hwaddr last, bool load);

static int check_part(DumpFd *file, const FlatRange *range, hwaddr first, hwaddr last, bool load)
{
    if (range && has_contents(range)) {
        return check_block(file, range->mr->ram_block, load);
    }
    if (file->options.flags & MEMORY_DUMP_ZERO_FILL) {
        return 0;
    }
    if (!range) {
        return fail(EFAULT, "%s: nothing answers at 0x%" PRIx64 "-0x%" PRIx64, file->what, first,
                    last);
    }
    return fail(EFAULT, "%s: region '%.80s' at 0x%" PRIx64 "-0x%" PRIx64 " %s", file->what,
                range->mr->name, first, last, kind_of(range->mr));
}

static int copy_part(DumpFd *file, const FlatRange *range, hwaddr first, hwaddr last, bool load)
{
    hwaddr size = last - first + 1;

    if (range && has_contents(range)) {
        Stretch stretch = {range->mr, range->offset + (first - range->first), size};
        return load ? load_stretch(file, stretch) : save_stretch(file, stretch);
    }
    return load ? dumpfd_pass(file, size) : dumpfd_put_zeros(file, size);
}

static int walk(const FlatView *view, hwaddr first, hwaddr last, PartFn *fn, DumpFd *file,
                bool load)
{
    int result;

    for (;;) {
        const FlatRange *range = flatview_from(view, first);
        hwaddr end = last;
        if (range && range->first > first) { /* a gap */
            end = hwaddr_min(last, range->first - 1);
            range = NULL;
        } else if (range) {
            end = hwaddr_min(last, range->last);
        }
        result = fn(file, range, first, end, load);
        if (result || end == last) {
            return result;
        }
        first = end + 1;
    }
}

static int dump_view(const FlatView *view, hwaddr addr, hwaddr size, DumpFd *file, bool load)
{
    if (size && size - 1 > UINT64_MAX - addr) {
        return fail(EINVAL, "%s: 0x%" PRIx64 " bytes end above 2^64", file->what, size);
    }
    int result = size ? walk(view, addr, addr + (size - 1), check_part, file, load) : 0;
    if (!result && size) {
        result = walk(view, addr, addr + (size - 1), copy_part, file, load);
    }
    if (!result) {
        result = load ? dumpfd_end_load(file) : dumpfd_end_save(file);
    }
    return result;
}

static int dump_space(AddressSpace *as, hwaddr addr, hwaddr size, int fd,
                      const MemoryDumpOptions *options, bool load)
{
    char what[160];
    DumpFd file;

    snprintf(what, sizeof what, "%s of '%.80s' from 0x%" PRIx64, load ? "load" : "save", as->name,
             addr);
    DumpOpen *open = load ? dumpfd_open_load : dumpfd_open_save;
    FlatView *view = address_space_get_flatview(as);
    int result = open(&file, fd, size, options, what);
    if (!result) {
        result = dump_view(view, addr, size, &file, load);
    }
    dumpfd_close(&file);
    flatview_unref(view);
    return result;
}

int address_space_save(AddressSpace *as, hwaddr addr, hwaddr size, int fd,
                       const MemoryDumpOptions *options, Error **errp)
{
    return error_pass(errp, dump_space(as, addr, size, fd, options, false));
}

int address_space_load(AddressSpace *as, hwaddr addr, hwaddr size, int fd,
                       const MemoryDumpOptions *options, Error **errp)
{
    return error_pass(errp, dump_space(as, addr, size, fd, options, true));
}
