/* SPDX-License-Identifier: MIT */
/*
 * peers.h - what membus is measured against, besides plain C.
 *
 *  - a one-load page table: an array with a host pointer for each guest page, the practical floor
 *    of a lookup (no attributes, no devices, no change while it is read);
 *  - a copied sorted array: a flat view as an array of ranges that each change copies, the usual
 *    way of publishing a map to lock-free readers;
 *  - Unicorn, the CPU emulator's memory, found at run time where it is installed.
 */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- One-load page table ---- */

typedef struct PageTable {
    uint64_t pages;
    uint8_t **host; /* by page number */
} PageTable;

void pagetable_init(PageTable *table, uint64_t size);
void pagetable_destroy(PageTable *table);
void pagetable_map(PageTable *table, uint64_t addr, uint64_t size, uint8_t *host);
uint64_t pagetable_ldq(const PageTable *table, uint64_t addr);

/* ---- Copied sorted array ---- */

typedef struct FlatArray FlatArray;

/* Begins with @count ranges of @size bytes, the i-th at @address(i), ascending. */
FlatArray *flatarray_create(size_t count, uint64_t (*address)(size_t i), uint64_t size);
void flatarray_destroy(FlatArray *array);
/* Each call publishes a copy with the range put in or taken out. */
void flatarray_add(FlatArray *array, uint64_t addr, uint64_t size, void *owner);
void flatarray_del(FlatArray *array, uint64_t addr);

/* ---- Unicorn ---- */

typedef struct Unicorn Unicorn;

/* Whether it could be loaded, and its version or the reason why not. */
bool unicorn_available(void);
const char *unicorn_name(void);
Unicorn *unicorn_create(void);
void unicorn_destroy(Unicorn *unicorn);
void unicorn_map_ram(Unicorn *unicorn, uint64_t addr, size_t size, void *host);
void unicorn_map_device(Unicorn *unicorn, uint64_t addr, size_t size);
void unicorn_unmap(Unicorn *unicorn, uint64_t addr, size_t size);
void unicorn_read(Unicorn *unicorn, uint64_t addr, void *buf, size_t size);

#endif
