/* SPDX-License-Identifier: MIT */
/*
 * page_store.h - copies of pages, and tables that say which page a copy is of.
 *
 * Copies come from chunks of 2 MiB, which the kernel may back with one huge page, and are used
 * again. A table is an array of pointers to leaves of 512 pages; it and the leaves come with the
 * first page in them.
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

/* Stands for the copy of a page that was never written. */
extern const uint8_t page_zero[DIRTY_PAGE_SIZE];

#define PAGE_LEAF_BITS 9
#define PAGE_LEAF_PAGES (1U << PAGE_LEAF_BITS)

typedef struct PageLeaf {
    struct PageLeaf *next;
    uint64_t index; /* of pages PAGE_LEAF_PAGES * index ... */
    const uint8_t *copies[PAGE_LEAF_PAGES];
} PageLeaf;

/* All zero is empty. */
typedef struct PageTable {
    PageLeaf **leaf; /* by index; NULL: none */
    PageLeaf *first; /* all leaves, in no order */
} PageTable;

static inline const uint8_t *page_table_find(const PageTable *table, uint64_t page)
{
    const PageLeaf *leaf = table->leaf ? table->leaf[page >> PAGE_LEAF_BITS] : NULL;

    return leaf ? leaf->copies[page % PAGE_LEAF_PAGES] : NULL;
}

/* Where the copy of @page goes, of @pages in all; NULL if memory is short. */
const uint8_t **page_table_slot(PageTable *table, uint64_t page, uint64_t pages);

/* Give all copies back and empty @table. */
void page_table_clear(PageTable *table, PageStore *store);

/*
 * Move to @into each copy of @from that @into has none of, and that @wanted agrees to; give the
 * others back. @from is empty then. Cannot fail.
 */
void page_table_merge(PageTable *into, PageTable *from, PageStore *store,
                      bool (*wanted)(const void *opaque, uint64_t page), const void *opaque);

#endif
