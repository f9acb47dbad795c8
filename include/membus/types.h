/* SPDX-License-Identifier: MIT */
/*
 * types.h - the words that every other header of membus uses.
 *
 * Conventions of the whole API:
 *  - Addresses and sizes are bytes. A size of UINT64_MAX means 2^64.
 *  - Ranges are closed, [first, last], so that 2^64 bytes fit in two uint64_t.
 *  - Functions that can fail return 0 or a negative errno; the sentence that explains the last
 *    failure of the calling thread is membus_last_error() (error.h). Guest accesses return
 *    MemTxResult instead.
 *  - "Context:" says where a function may be called from:
 *      - any thread: no restriction;
 *      - machine lock: it takes the machine's lock (system.h) for the call; fine from a device
 *        callback of the same machine, not from a signal handler;
 *      - RCU reader: the result lives as long as the caller's read section
 *        (memory_read_lock(), system.h);
 *      - may block: it may wait for another thread.
 */
#ifndef MEMBUS_TYPES_H
#define MEMBUS_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A guest physical address, or an offset into a region. */
typedef uint64_t hwaddr;

/* An address in the machine-wide space of RAM blocks; RAM_ADDR_INVALID is none. */
typedef uint64_t ram_addr_t;
#define RAM_ADDR_INVALID UINT64_MAX

typedef struct AddressSpace AddressSpace;
typedef struct Error Error;
typedef struct FlatView FlatView;
typedef struct MemoryListener MemoryListener;
typedef struct MemoryOwner MemoryOwner;
typedef struct MemoryRegion MemoryRegion;
typedef struct MemoryRegionOps MemoryRegionOps;
typedef struct MemoryRegionSection MemoryRegionSection;
typedef struct MemorySystem MemorySystem;
typedef struct RAMBlock RAMBlock;

/*
 * The outcome of a guest access: a set of bits, MEMTX_OK if none is set. The pieces of one
 * access OR their outcomes.
 */
typedef uint32_t MemTxResult;
#define MEMTX_OK 0U
#define MEMTX_ERROR (1U << 0)        /* the device answered with an error */
#define MEMTX_DECODE_ERROR (1U << 1) /* nothing answers there, or not this kind of access */
#define MEMTX_ACCESS_ERROR (1U << 2) /* the access is not allowed (attrs.memory, re-entrancy) */

/*
 * What travels beside the address of an access. Devices see it in their
 * read_with_attrs/write_with_attrs callbacks.
 */
typedef struct MemTxAttrs {
    unsigned int unspecified : 1;   /* the initiator says nothing of itself */
    unsigned int secure : 1;        /* TrustZone secure, or x86 SMM */
    unsigned int user : 1;          /* unprivileged */
    unsigned int memory : 1;        /* devices must not be reached: ACCESS_ERROR there */
    unsigned int debug : 1;         /* a debugger: writes go through read-only */
    unsigned int requester_id : 16; /* PCI requester, for IOMMUs and MSIs */
} MemTxAttrs;

#define MEMTXATTRS_UNSPECIFIED ((MemTxAttrs){.unspecified = 1})

/* The byte order of a device, or of a machine's CPUs. */
enum device_endian {
    DEVICE_NATIVE_ENDIAN, /* that of the machine (memory_system_set_target_endian) */
    DEVICE_BIG_ENDIAN,
    DEVICE_LITTLE_ENDIAN,
};

/* Width and byte order of one access, for memory_region_dispatch_read/write. */
typedef enum MemOp {
    MO_8 = 0,
    MO_16 = 1,
    MO_32 = 2,
    MO_64 = 3,
    MO_SIZE = 3,       /* mask: log2 of the width in bytes */
    MO_LE = 0 << 4,    /* the value is of a little-endian access */
    MO_BE = 1 << 4,    /* the value is of a big-endian access */
    MO_ENDIAN = 1 << 4 /* mask */
} MemOp;

/* A node of an interval index. Private. */
typedef struct IntervalNode {
    struct IntervalNode *left, *right;
    hwaddr first, last, max_last;
    uint32_t heap;
} IntervalNode;

#define MEMBUS_EXPORT __attribute__((visibility("default")))
#define MEMBUS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#ifdef __cplusplus
}
#endif
#endif
