/* SPDX-License-Identifier: MIT */
/* evidence.h - the flat dump, indexed by what a region at some place would print. */
#ifndef IMPORT_EVIDENCE_H
#define IMPORT_EVIDENCE_H

#include "import/names.h"
#include "import/record.h"

/* A line of a view. */
typedef struct FlatFact {
    struct FlatFact *next; /* of the same name and base */
    const MtreeFlatRange *range;
    size_t view;
} FlatFact;

typedef struct FlatIndex {
    const MtreeFlat *flat;
    NameTable facts;  /* (name, address of the region's first byte) -> FlatFact */
    NameTable spaces; /* (name, 0) -> FlatSpace */
    struct FlatSpace *all_spaces;
    Arena arena;
} FlatIndex;

/* A view that shows an address space of some name. */
typedef struct FlatSpace {
    struct FlatSpace *next;
    struct FlatSpace *next_any; /* of any name */
    size_t view;
    size_t taken; /* repair.c: 1 + the index of the address space that it is the view of */
} FlatSpace;

int flat_index_init(FlatIndex *index, const MtreeFlat *flat);
void flat_index_destroy(FlatIndex *index);

/* The lines that show a region called @name whose first byte is at @base (modulo 2^64). */
static inline FlatFact *flat_index_get(const FlatIndex *index, const char *name, hwaddr base)
{
    return name_table_get(&index->facts, name, base);
}

#endif
