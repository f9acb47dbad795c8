/* SPDX-License-Identifier: MIT */
/*
 * record.h - a captured map between its text and the machine built from it.
 *
 * The text passes through five hands, each a file:
 *
 *   line.c      one line of text -> one record
 *   tree.c      records -> blocks, each a tree                  (the text's own order is kept)
 *   identity.c  which lines speak of one and the same region    (trees that alias targets repeat)
 *   target.c    which region an alias looks at                  (the text gives a name only)
 *   evidence.c  what the flat dump says about regions           (terminating or not, empty or not)
 *   build.c     records -> MemoryRegions and AddressSpaces
 *
 * and repair.c compares what came out with the flat dump, corrects a guess and has it built again.
 */
#ifndef IMPORT_RECORD_H
#define IMPORT_RECORD_H

#include "base/arena.h"

#include <membus/import.h>

typedef enum ImportType {
    IMPORT_IO,
    IMPORT_RAM,
    IMPORT_ROM,
    IMPORT_ROMD,
    IMPORT_RAM_DEVICE,
    IMPORT_CONTAINER,
} ImportType;

typedef struct ImportNode ImportNode;
struct ImportNode {
    /* as printed */
    unsigned long line;
    unsigned level; /* 1: a root */
    hwaddr first, last;
    int32_t priority;
    ImportType type;
    bool nonvolatile, disabled;
    bool is_alias;
    const char *name; /* of an alias "NAME @TARGET" until its target is known */
    hwaddr target_first, target_last;
    const char *owner; /* "owner:{...}" or "parent:{...}", NULL: none printed */

    /* the tree */
    bool hidden; /* not printed: a disabled region that only its children tell of */
    ImportNode *parent;
    ImportNode *children, *last_child; /* in printed order */
    ImportNode *next;

    /* what was found out */
    uint64_t signature;      /* of the whole subtree, itself being at 0 */
    unsigned long weight;    /* regions in the subtree */
    ImportNode *canonical;   /* the line that stands for this region; itself, or another */
    ImportNode *target;      /* canonical; of an alias */
    ImportNode *next_region; /* of those that are their own canonical, as printed */
    bool resolved;           /* target is decided */
    bool seen;               /* the flat dump shows it answering */
    bool terminates;
    bool empty;    /* of size 0, which prints like size 1 */
    bool readonly; /* of an alias: what shows through it is read-only, which is not printed */
    unsigned rank; /* among siblings of one priority the higher rank was added later */

    MemoryRegion mr;
    bool building, built;
    ImportNode *previous_built;
};

/* `address-space:` lines that share a tree, or one `memory-region:` line and its tree. */
typedef struct ImportBlock ImportBlock;
struct ImportBlock {
    bool is_space;
    unsigned long line;
    const char **names;
    unsigned long *name_lines;
    size_t nr_names, max_names;
    ImportNode *root; /* hidden if nothing was printed below the names */
    bool claimed;     /* a section whose region an alias was given */
    ImportBlock *next;
    ImportBlock *same_name; /* the next section of the same name */
};

typedef struct ImportRecords {
    Arena arena; /* holds all of it */
    const char *file;
    ImportBlock *blocks;
    ImportBlock **last_block;
    unsigned long nr_nodes;
    ImportNode *regions;  /* after import_identify(): each region once, as printed */
    bool prints_disabled; /* there is a `[disabled]`: nothing is hidden */
    bool prints_owners;
    bool prints_containers;
} ImportRecords;

/* One sentence `file:line: reason`; returns -@err. */
int import_fail(const ImportRecords *records, unsigned long line, int err, const char *fmt, ...)
    MEMBUS_PRINTF(4, 5);

/* line.c: [text, end) is a region line with its indentation; fills in the printed part. */
int import_parse_line(ImportRecords *records, unsigned long line, const char *text, const char *end,
                      ImportNode *node);

/* The offset of @node in its parent, modulo 2^64; a root's own address. */
static inline hwaddr import_offset(const ImportNode *node)
{
    return node->first - (node->parent ? node->parent->first : 0);
}

/* The printed last byte counted from the first. */
static inline hwaddr import_extent(const ImportNode *node)
{
    return node->last - node->first;
}

/* The next node of @node's tree in printed order, NULL at the end of the tree under @root. */
ImportNode *import_next_node(const ImportNode *root, ImportNode *node);

/* tree.c */
int import_parse_tree(ImportRecords *records, const char *text, size_t len);

/* identity.c */
int import_identify(ImportRecords *records);

/* target.c; @index (evidence.h) may be NULL here and below. */
struct FlatIndex;
int import_resolve_targets(ImportRecords *records, const struct FlatIndex *index);

/* evidence.c */
int import_weigh_evidence(ImportRecords *records, const struct FlatIndex *index);

/* build.c */
struct MemoryImport {
    ImportRecords records;
    MemorySystem *ms;
    MemoryOwner **owners;
    size_t nr_owners, max_owners;
    ImportNode *last_built; /* chain by previous_built */
    AddressSpace *storage;  /* of the spaces */
    AddressSpace **spaces;  /* in the text's order */
    size_t nr_spaces;
    MemoryRegion **targets; /* of the sections, in the text's order */
    size_t nr_targets;
};
int import_build(MemoryImport *import);
void import_unbuild(MemoryImport *import);

/* repair.c; returns whether a guess was corrected: build again. */
bool import_repair(MemoryImport *import, struct FlatIndex *index);

#endif
