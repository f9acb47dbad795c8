/* SPDX-License-Identifier: MIT */
#include "ram/page_store.h"

#include <stdlib.h>
#include <sys/mman.h>

#define CHUNK_BYTES ((size_t)2 << 20)
#define CHUNK_PAGES (CHUNK_BYTES / RAM_PAGE_SIZE)

const uint8_t page_zero[RAM_PAGE_SIZE];

typedef struct PageChunk {
    struct PageChunk *next;
    uint8_t *pages;
} PageChunk;

typedef struct FreePage {
    struct FreePage *next;
} FreePage;

static bool add_chunk(PageStore *store)
{
    PageChunk *chunk = malloc(sizeof *chunk);

    if (!chunk) {
        return false;
    }
    chunk->pages = aligned_alloc(CHUNK_BYTES, CHUNK_BYTES);
    if (!chunk->pages) {
        free(chunk);
        return false;
    }
    /* One fault instead of 512; where there are no huge pages nothing is lost. */
    madvise(chunk->pages, CHUNK_BYTES, MADV_HUGEPAGE);
    chunk->next = store->chunks;
    store->chunks = chunk;
    store->fresh = chunk->pages;
    store->fresh_end = chunk->pages + CHUNK_BYTES;
    return true;
}

uint8_t *page_store_get(PageStore *store)
{
    FreePage *page = store->free;

    if (page) {
        store->free = page->next;
        return (uint8_t *)page;
    }
    if (store->fresh == store->fresh_end && !add_chunk(store)) {
        return NULL;
    }
    store->fresh += RAM_PAGE_SIZE;
    return store->fresh - RAM_PAGE_SIZE;
}

void page_store_put(PageStore *store, const uint8_t *page)
{
    if (page && page != page_zero) {
        FreePage *returned = (FreePage *)page;
        returned->next = store->free;
        store->free = returned;
    }
}

void page_store_clear(PageStore *store)
{
    while (store->chunks) {
        PageChunk *chunk = store->chunks;
        store->chunks = chunk->next;
        free(chunk->pages);
        free(chunk);
    }
    *store = (PageStore){0};
}

/* ---- tables ----------------------------------------------------------------------- */

const uint8_t **page_table_slot(PageTable *table, uint64_t page, uint64_t pages)
{
    uint64_t index = page >> PAGE_LEAF_BITS;

    if (!table->leaf) {
        table->leaf = calloc((size_t)((pages - 1) >> PAGE_LEAF_BITS) + 1, sizeof *table->leaf);
        if (!table->leaf) {
            return NULL;
        }
    }
    PageLeaf *leaf = table->leaf[index];
    if (!leaf) {
        leaf = calloc(1, sizeof *leaf);
        if (!leaf) {
            return NULL;
        }
        leaf->index = index;
        leaf->next = table->first;
        table->leaf[index] = table->first = leaf;
    }
    return &leaf->copies[page % PAGE_LEAF_PAGES];
}

void page_table_clear(PageTable *table, PageStore *store)
{
    while (table->first) {
        PageLeaf *leaf = table->first;
        table->first = leaf->next;
        for (unsigned i = 0; i < PAGE_LEAF_PAGES; i++) {
            page_store_put(store, leaf->copies[i]);
        }
        free(leaf);
    }
    free(table->leaf);
    *table = (PageTable){0};
}

/* ---- dirty pages ------------------------------------------------------------------ */

static bool has_dirty(const PageLeaf *leaf)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < PAGE_LEAF_WORDS; i++) {
        any |= leaf->dirty[i];
    }
    return any;
}

static void list_dirty(PageTable *table, PageLeaf *leaf)
{
    leaf->dirty_next = table->dirty;
    table->dirty = leaf;
}

static void add_dirty(PageTable *table, PageLeaf *leaf, unsigned i, uint64_t bits)
{
    if (bits && !has_dirty(leaf)) {
        list_dirty(table, leaf);
    }
    leaf->dirty[i] |= bits;
}

bool page_table_reserve(PageTable *table, const DirtySet *set, uint64_t pages)
{
    for (size_t i = 0; i < set->count; i++) {
        if (!page_table_slot(table, 64 * set->words[i].index, pages)) {
            return false;
        }
    }
    return true;
}

void page_table_file(PageTable *table, const DirtySet *set)
{
    for (size_t i = 0; i < set->count; i++) {
        uint64_t index = set->words[i].index;
        add_dirty(table, table->leaf[index / PAGE_LEAF_WORDS], index % PAGE_LEAF_WORDS,
                  set->words[i].bits);
    }
}

bool page_table_unfile(PageTable *table, DirtyWord *word)
{
    for (; table->dirty; table->dirty = table->dirty->dirty_next) {
        PageLeaf *leaf = table->dirty;
        for (unsigned i = 0; i < PAGE_LEAF_WORDS; i++) {
            if (leaf->dirty[i]) {
                *word = (DirtyWord){PAGE_LEAF_WORDS * leaf->index + i, leaf->dirty[i]};
                leaf->dirty[i] = 0;
                return true;
            }
        }
    }
    return false;
}

/* ---- merging ---------------------------------------------------------------------- */

static void merge_leaf(PageTable *table, PageLeaf *into, PageLeaf *from, PageStore *store)
{
    for (unsigned i = 0; i < PAGE_LEAF_PAGES; i++) {
        const uint8_t *copy = from->copies[i];
        bool dirty = into->dirty[i / 64] >> i % 64 & 1;
        if (copy && !into->copies[i] && !dirty) {
            into->copies[i] = copy;
        } else {
            page_store_put(store, copy);
        }
    }
    for (unsigned i = 0; i < PAGE_LEAF_WORDS; i++) {
        add_dirty(table, into, i, from->dirty[i]);
    }
}

void page_table_merge(PageTable *into, PageTable *from, PageStore *store)
{
    if (!into->leaf) {
        *into = *from;
        *from = (PageTable){0};
        return;
    }
    while (from->first) {
        PageLeaf *leaf = from->first, *other = into->leaf[leaf->index];
        from->first = leaf->next;
        if (other) {
            merge_leaf(into, other, leaf, store);
            free(leaf);
            continue;
        }
        leaf->next = into->first;
        into->leaf[leaf->index] = into->first = leaf;
        if (has_dirty(leaf)) {
            list_dirty(into, leaf);
        }
    }
    free(from->leaf);
    *from = (PageTable){0};
}
