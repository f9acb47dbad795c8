/* SPDX-License-Identifier: MIT */
/*
 * page_store.h - copies of pages, and tables that say which page a copy is of, and which are dirty.
 *
 * Copies come from chunks of 2 MiB, which the kernel may back with one huge page, and are used
 * again. A table is an array of pointers to leaves of 512 pages; it and the leaves come with the
 * first page in them. Leaves with dirty pages are listed.
 *
 * Nothing here locks.
 */
#ifndef RAM_PAGE_STORE_H
#define RAM_PAGE_STORE_H

#include "ram/dirty.h"

typedef struct PageStore {
    struct PageChunk *chunks;
    uint8_t *fresh, *fresh_end; /* what of the newest chunk was never used */
    struct FreePage *free;
} PageStore;

/* A page with anything in it; NULL if memory is short. */
uint8_t *page_store_get(PageStore *store);
/* NULL and page_zero are fine. */
void page_store_put(PageStore *store, const uint8_t *page);
/* Give all memory back; no page is in use. */
void page_store_clear(PageStore *store);

/* Stands for the copy of a page of zeroes. */
extern const uint8_t page_zero[RAM_PAGE_SIZE];

#define PAGE_LEAF_BITS 9
#define PAGE_LEAF_PAGES (1U << PAGE_LEAF_BITS)
#define PAGE_LEAF_WORDS (PAGE_LEAF_PAGES / 64)

typedef struct PageLeaf {
    struct PageLeaf *next, *dirty_next;
    uint64_t index; /* of pages PAGE_LEAF_PAGES * index ... */
    uint64_t dirty[PAGE_LEAF_WORDS];
    const uint8_t *copies[PAGE_LEAF_PAGES];
} PageLeaf;

/* All zero is empty. */
typedef struct PageTable {
    PageLeaf **leaf; /* by index; NULL: none */
    PageLeaf *first; /* all leaves, in no order */
    PageLeaf *dirty; /* those with dirty pages */
} PageTable;

static inline const uint8_t *page_table_find(const PageTable *table, uint64_t page)
{
    const PageLeaf *leaf = table->leaf ? table->leaf[page >> PAGE_LEAF_BITS] : NULL;

    return leaf ? leaf->copies[page % PAGE_LEAF_PAGES] : NULL;
}

/* Where the copy of @page goes, of @pages in all; NULL if memory is short. */
const uint8_t **page_table_slot(PageTable *table, uint64_t page, uint64_t pages);

/* Make room to file @set, of @pages in all; false if memory is short. */
bool page_table_reserve(PageTable *table, const DirtySet *set, uint64_t pages);
/* What is in @set, which there is room for, is dirty. */
void page_table_file(PageTable *table, const DirtySet *set);
/* Take one word of what is dirty out; false if nothing is. */
bool page_table_unfile(PageTable *table, DirtyWord *word);

/* Give all copies back and empty @table. */
void page_table_clear(PageTable *table, PageStore *store);

/*
 * Move to @into each copy of a page that @into has no copy of, and that is clean in it; give the
 * others back. What is dirty in one is dirty in @into. @from is empty then. Cannot fail.
 */
void page_table_merge(PageTable *into, PageTable *from, PageStore *store);

#endif
