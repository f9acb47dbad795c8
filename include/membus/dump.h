/* SPDX-License-Identifier: MIT */
/*
 * dump.h - RAM to a file descriptor and back: the plain bytes, as QEMU's `pmemsave` writes them.
 *
 * A dump has no header: byte n of it is byte n of the RAM block, or of the range of guest
 * addresses. It is sparse: RAM that was never touched is not read, nor is what a RamDiscardManager
 * has as discarded. In a regular file it becomes a hole (whatever was there before reads as zero
 * afterwards); to anything else, and to a file opened with O_APPEND, its zeros are written. A load
 * leaves holes of a file alone where the RAM is untouched, too, and zeroes what is not.
 *
 * The fd:
 *  - It is the caller's; a dump starts at its file position, which on success is behind the dump
 *    then. On an error the position is anywhere.
 *  - A file ends with the dump: a save cuts off or fills up, a load wants exactly that much. With
 *    MEMORY_DUMP_PART what follows is somebody else's: a save leaves it alone, a load does not
 *    look. Without it a load from a pipe or socket waits for the end of the stream.
 *  - It may be non-blocking: then the call waits with poll(2).
 *  - SIGPIPE and SIGXFSZ are blocked in the calling thread for the call: a reader that went away
 *    is -EPIPE, a file size limit is -EFBIG, and no signal.
 *
 * The guest may run on: a dump of RAM that changes has each byte as it was at some moment of the
 * call. No lock is held over reads and writes; a dump of guest addresses is one of the map as it
 * was at the start.
 *
 * Common errors, with how many bytes were through:
 *   -EINVAL     the fd is the memory's own file; a load: the file is too short or too long
 *   -EFBIG      more bytes than a file can have
 *   -ECANCELED  the progress callback said so
 *   -EIO        a stream, or a file that was cut meanwhile, ended before the load had all
 *   else        as write(2), read(2), lseek(2), poll(2), ftruncate(2)
 * A load that fails after the checks has replaced the bytes up to there.
 */
#ifndef MEMBUS_DUMP_H
#define MEMBUS_DUMP_H

#include <membus/space.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Told how far a dump is: @done of @total bytes, after each MiB or hole, and ten times a second
 * while it waits for a non-blocking fd. Returns true to cancel. Context: the thread of the call;
 * no lock held.
 */
typedef bool MemoryDumpProgress(hwaddr done, hwaddr total, void *opaque);

#define MEMORY_DUMP_PART (1U << 0)      /* the dump is a part of what the fd carries */
#define MEMORY_DUMP_ZERO_FILL (1U << 1) /* see address_space_save */

typedef struct MemoryDumpOptions {
    unsigned flags;               /* MEMORY_DUMP_* */
    MemoryDumpProgress *progress; /* NULL: none */
    void *opaque;
} MemoryDumpOptions;

/*
 * Dump the used length of @block to @fd; fill it from @fd. @options NULL: none. A load marks what
 * it writes dirty. -EACCES to load into memory that is mapped read-only, -ENODEV if the block's
 * region has ended; it is kept alive during the call.
 * Context: no lock held, outside read sections, may block; the caller keeps @block alive.
 */
MEMBUS_EXPORT int ram_block_save(RAMBlock *block, int fd, const MemoryDumpOptions *options,
                                 Error **errp);
MEMBUS_EXPORT int ram_block_load(RAMBlock *block, int fd, const MemoryDumpOptions *options,
                                 Error **errp);

/*
 * The same for @size bytes at guest address @addr. RAM, ROM and the contents of ROM devices (in
 * either mode) are dumped and loaded; no device is called. Where anything else or nothing
 * answers, the call is refused with -EFAULT before anything is written, naming the addresses and
 * the region; with MEMORY_DUMP_ZERO_FILL such parts are saved as zeros, and a load passes over
 * them. -EINVAL for a range that ends above 2^64.
 */
MEMBUS_EXPORT int address_space_save(AddressSpace *as, hwaddr addr, hwaddr size, int fd,
                                     const MemoryDumpOptions *options, Error **errp);
MEMBUS_EXPORT int address_space_load(AddressSpace *as, hwaddr addr, hwaddr size, int fd,
                                     const MemoryDumpOptions *options, Error **errp);

#ifdef __cplusplus
}
#endif
#endif
