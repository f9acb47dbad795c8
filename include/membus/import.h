/* SPDX-License-Identifier: MIT */
/*
 * import.h - build a memory system from the text of QEMU's `info mtree`.
 *
 * The tree's text does not say all: which i/o regions answer themselves, which of several regions
 * of one name an alias looks at, that an alias is read-only, in which order overlapping siblings
 * were added. What the flat dump (`info mtree -f`) of the same machine shows decides these; without
 * it:
 *  - i/o regions with subregions are containers, those without answer, and so does the root `io`
 *    of "I/O";
 *  - owners (-o) tell regions of one name apart, else what lies in the alias's window, else the
 *    order of mention;
 *  - aliases called `pam-rom` are read-only;
 *  - on equal priority the higher start wins, at the same start the one printed first;
 *  - an alias that prints one byte is of size 0.
 */
#ifndef MEMBUS_IMPORT_H
#define MEMBUS_IMPORT_H

#include <membus/space.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct MemoryImport MemoryImport;
typedef struct MtreeFlat MtreeFlat;

/* ---- Trees -------------------------------------------------------------------- */

/*
 * Parse @text (@len bytes of `info mtree`, any of -D and -o, CR LF tolerated) and build the machine
 * it describes in a memory system of its own; nothing is allocated for its RAM. @flat, where not
 * NULL, settles what the text leaves open (see above); it is not needed after the call. @name
 * stands in messages.
 * Returns NULL and one sentence `name:line: reason` in *@errp: -EINVAL for text that is no such
 * dump, -ELOOP for aliases that lead on without end, -E2BIG for what would take unreasonable
 * work, -ENOMEM. End with memory_import_free.
 * Context: any thread.
 */
MEMBUS_EXPORT MemoryImport *memory_import_mtree(const char *text, size_t len, const char *name,
                                                const MtreeFlat *flat, Error **errp);

/*
 * The machine. Its own spaces "memory" and "I/O" stay empty: the captured ones are
 * memory_import_space().
 */
MEMBUS_EXPORT MemorySystem *memory_import_system(const MemoryImport *import);

/* The captured address spaces in the text's order; @index is below the count. Owned by @import. */
MEMBUS_EXPORT size_t memory_import_space_count(const MemoryImport *import);
MEMBUS_EXPORT AddressSpace *memory_import_space(const MemoryImport *import, size_t index);

/*
 * The regions that the text has a `memory-region:` block for, in its order (some are mentioned by
 * no alias that is printed). Owned by @import; @count is set.
 */
MEMBUS_EXPORT MemoryRegion *const *memory_import_targets(const MemoryImport *import, size_t *count);

/* What the text had: a set of MTREE_OWNER and MTREE_DISABLED (inspect.h). */
MEMBUS_EXPORT unsigned memory_import_flags(const MemoryImport *import);

/*
 * End the machine; NULL is fine. Views of it must have been released.
 * Context: no lock held, outside read sections, may block.
 */
MEMBUS_EXPORT void memory_import_free(MemoryImport *import);

/* ---- Flat views ----------------------------------------------------------------- */

/* One line of a flat view. */
typedef struct MtreeFlatRange {
    hwaddr first, last;
    hwaddr offset; /* of @first in the region */
    int32_t priority;
    const char *type; /* "ram", "nv-rom", ... */
    const char *name;
    const char *text; /* the line without accelerators' names */
    unsigned long line;
} MtreeFlatRange;

typedef struct MtreeFlatSpace {
    const char *name;
    const char *root; /* "ROOT" or "ROOT, alias TARGET" */
    unsigned long line;
} MtreeFlatSpace;

typedef struct MtreeFlatView {
    const MtreeFlatSpace *spaces; /* that share the view */
    size_t nr_spaces;
    const char *root; /* the resolved root, "(none)" */
    const MtreeFlatRange *ranges;
    size_t nr_ranges;
    unsigned long line;
} MtreeFlatView;

/*
 * Parse @text (@len bytes of `info mtree -f`, CR LF tolerated). Returns NULL and one sentence
 * `name:line: reason` in
 * *@errp: -EINVAL, -ENOMEM. End with mtree_flat_free.
 * Context: any thread.
 */
MEMBUS_EXPORT MtreeFlat *mtree_flat_parse(const char *text, size_t len, const char *name,
                                          Error **errp);

/* The views in the text's order; @index is below the count. Owned by @flat. */
MEMBUS_EXPORT size_t mtree_flat_count(const MtreeFlat *flat);
MEMBUS_EXPORT const MtreeFlatView *mtree_flat_view(const MtreeFlat *flat, size_t index);

/* NULL is fine. */
MEMBUS_EXPORT void mtree_flat_free(MtreeFlat *flat);

#ifdef __cplusplus
}
#endif
#endif
