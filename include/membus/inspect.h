/* SPDX-License-Identifier: MIT */
/*
 * inspect.h - print a machine's map in QEMU's own text, and explain addresses.
 */
#ifndef MEMBUS_INSPECT_H
#define MEMBUS_INSPECT_H

#include <membus/space.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Trees and flat views as text ---------------------------------------------- */

#define MTREE_FLAT (1U << 0)     /* flat views (-f) */
#define MTREE_OWNER (1U << 1)    /* owners (-o) */
#define MTREE_DISABLED (1U << 2) /* disabled regions too (-D) */
#define MTREE_CONTAINER                                                                            \
    (1U << 3) /* root containers are of type `container`, as newer versions say */

/*
 * Print @ms's address spaces as QEMU's `info mtree` does. @as_name limits it to the address spaces
 * of that name; NULL: all. Blocks come in the order in which their first address space was made,
 * and alias targets in the order of their first mention. An owner prints as `owner:{dev id=NAME}`,
 * as `owner:{obj path=NAME}` if its name begins with a slash, and as it is if it begins with
 * `owner:{` or `parent:{`.
 * Returns 0, -ENOENT if there is none of that name, or -EIO/-ENOMEM.
 * Context: machine lock.
 */
MEMBUS_EXPORT int mtree_print(MemorySystem *ms, FILE *out, unsigned flags, const char *as_name);

/*
 * The same for the @count address spaces in @spaces, in that order; all of one machine. The
 * @nr_targets regions in
 * @targets get a block each before those that aliases mention; they may be NULL and 0.
 */
MEMBUS_EXPORT int mtree_print_spaces(AddressSpace *const *spaces, size_t count,
                                     MemoryRegion *const *targets, size_t nr_targets, FILE *out,
                                     unsigned flags);

/*
 * The type that `info mtree` gives @mr where @readonly, @nonvolatile and @romd hold (in a flat view
 * flags from above are included). "nv-" is in front if non-volatile.
 */
MEMBUS_EXPORT const char *mtree_type(const MemoryRegion *mr, bool readonly, bool nonvolatile,
                                     bool romd);

/*
 * Write the line that `info mtree -f` has for @section (mr not NULL), without a line end, to @buf
 * as snprintf(3) does; returns its length. Context: RCU reader, or the view held.
 */
MEMBUS_EXPORT size_t mtree_format_section(char *buf, size_t size,
                                          const MemoryRegionSection *section);

/* ---- Memory as text --------------------------------------------------------------- */

/*
 * Print @ms's memory devices, by address, as QEMU's `info memory-devices` does. Returns 0 or -EIO.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memory_devices_print(MemorySystem *ms, FILE *out);

/*
 * Print @ms's memory backends, in the order of making, as QEMU's `info memdev` does (its own order
 * is none). Returns 0 or -EIO.
 * Context: machine lock.
 */
MEMBUS_EXPORT int memdev_print(MemorySystem *ms, FILE *out);

#define RAMBLOCK_PRINT_HOST (1U << 0) /* host addresses and ro/rw, as newer versions print */

/*
 * Print @ms's RAM blocks, largest first, as QEMU's `info ramblock` does. @flags: RAMBLOCK_PRINT_*.
 * Returns 0, -EIO or -ENOMEM.
 * Context: machine lock.
 */
MEMBUS_EXPORT int ramblock_print(MemorySystem *ms, FILE *out, unsigned flags);

/* ---- Explaining an address ------------------------------------------------------ */

/* One step of the way from an address space's root to a region. */
typedef struct MemoryPathStep {
    MemoryRegion *mr; /* container, alias, or at the end the answering region */
    hwaddr offset;    /* of the address in @mr */
} MemoryPathStep;

/* Why a candidate does not answer. */
typedef enum MemoryHiddenReason {
    HIDDEN_NOT,         /* it does: the winner itself */
    HIDDEN_BY_PRIORITY, /* a sibling of higher priority comes first */
    HIDDEN_BY_LATER,    /* a sibling of equal priority was added later */
    HIDDEN_BY_CHILD,    /* a subregion comes before the region that it is in */
} MemoryHiddenReason;

/* A region that could answer at an address. */
typedef struct MemoryCandidate {
    unsigned steps; /* length of path, the root first, the region last */
    MemoryPathStep *path;
    bool readonly, nonvolatile; /* as inherited along the path */
    /*
     * The winner (candidate 0) hides all others. The index in the winner's path of the first step
     * that this path does not share; the two regions there are siblings, or (HIDDEN_BY_CHILD) this
     * path has ended.
     */
    unsigned parting;
    MemoryHiddenReason reason;
} MemoryCandidate;

typedef struct MemoryExplanation {
    hwaddr addr;
    unsigned count;              /* candidates; 0: nothing answers */
    MemoryCandidate *candidates; /* in the order in which they would answer */
} MemoryExplanation;

/*
 * Explain @addr in @as: every enabled path that leads to a terminating region, the one that answers
 * first.
 * Returns NULL if memory is short or the paths are too many to list (membus_last_error()). Freed
 * with memory_explanation_free.
 * Context: machine lock (the regions are borrowed: hold it for as long as they are looked at).
 */
MEMBUS_EXPORT MemoryExplanation *address_space_explain(AddressSpace *as, hwaddr addr);

/* NULL is fine. */
MEMBUS_EXPORT void memory_explanation_free(MemoryExplanation *ex);

#ifdef __cplusplus
}
#endif
#endif
