/* SPDX-License-Identifier: MIT */
/* pagetable.c - the one-load page table of peers.h. */
#include "peers.h"
#include "world.h"

#include <stdlib.h>

void pagetable_init(PageTable *table, uint64_t size)
{
    table->pages = size / PAGE;
    table->host = must_alloc(table->pages * sizeof(*table->host));
}

void pagetable_destroy(PageTable *table)
{
    free(table->host);
}

void pagetable_map(PageTable *table, uint64_t addr, uint64_t size, uint8_t *host)
{
    for (uint64_t offset = 0; offset < size; offset += PAGE) {
        table->host[(addr + offset) / PAGE] = host + offset;
    }
}

/* Never inlined into the loops: membus is called across a library's border, too. */
__attribute__((noinline)) uint64_t pagetable_ldq(const PageTable *table, uint64_t addr)
{
    uint64_t page = addr / PAGE;
    if (page >= table->pages || addr % PAGE > PAGE - 8 || !table->host[page]) {
        return 0;
    }
    uint64_t value;
    memcpy(&value, table->host[page] + addr % PAGE, sizeof(value));
    return value;
}
