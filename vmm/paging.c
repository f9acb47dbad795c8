/* SPDX-License-Identifier: MIT */
/*
 * The walk of x86 page tables, as the manuals of the processors describe it:
 *
 *      mode       bits of an index   tables from CR3 on           a large page at
 *      32-bit     10, 10             directory, table             directory: 4 MiB (CR4.PSE)
 *      PAE         2,  9,  9         pointers, directory, table   directory: 2 MiB
 *      4-level     9 each            PML4, pointers, dir., table  pointers: 1 GiB; directory: 2 MiB
 *      5-level     9 each            PML5 before those            the same
 *
 * There are never more steps than levels, whatever the guest's tables say.
 */
#include "paging.h"

#include <membus/access.h>

#define CR0_PG (1U << 31)
#define CR4_PSE (1U << 4)
#define CR4_PAE (1U << 5)
#define CR4_LA57 (1U << 12)
#define EFER_LMA (1U << 10)

#define PRESENT 1U
#define LARGE (1U << 7)
#define FRAME UINT64_C(0x000ffffffffff000) /* bits 12 to 51 */

/* Memory only: reading a device's register could change it. */
static const MemTxAttrs table_attrs = {.debug = 1, .memory = 1};

static bool read_entry(AddressSpace *as, hwaddr addr, bool wide, uint64_t *entry)
{
    MemTxResult result;

    *entry = wide ? address_space_ldq_le(as, addr, table_attrs, &result)
                  : address_space_ldl_le(as, addr, table_attrs, &result);
    return result == MEMTX_OK && (*entry & PRESENT);
}

static bool walk_32bit(AddressSpace *as, const CpuState *state, uint32_t gva, hwaddr *gpa)
{
    uint64_t entry;

    if (!read_entry(as, (state->cr3 & 0xfffff000) + (gva >> 22) * 4, false, &entry)) {
        return false;
    }
    if ((entry & LARGE) && (state->cr4 & CR4_PSE)) {
        /* PSE-36: bits 13 to 20 are those from 32 on. */
        *gpa = (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32 | (gva & 0x3fffff);
        return true;
    }
    if (!read_entry(as, (entry & 0xfffff000) + (gva >> 12 & 0x3ff) * 4, false, &entry)) {
        return false;
    }
    *gpa = (entry & 0xfffff000) | (gva & 0xfff);
    return true;
}

/* @level: of the first table; a table of level N maps 2^(12 + 9 (N - 1)) bytes with each entry. */
static bool walk_wide(AddressSpace *as, hwaddr table, unsigned level, unsigned largest,
                      uint64_t gva, hwaddr *gpa)
{
    for (;; level--) {
        unsigned shift = 12 + 9 * (level - 1);
        uint64_t entry, page = (UINT64_C(1) << shift) - 1;
        if (!read_entry(as, table + (gva >> shift & 0x1ff) * 8, true, &entry)) {
            return false;
        }
        if (level == 1 || (level <= largest && (entry & LARGE))) {
            *gpa = (entry & FRAME & ~page) | (gva & page);
            return true;
        }
        table = entry & FRAME;
    }
}

bool paging_translate(AddressSpace *as, const CpuState *state, uint64_t gva, hwaddr *gpa)
{
    if (!(state->efer & EFER_LMA)) {
        gva &= UINT32_MAX;
    }
    if (!(state->cr0 & CR0_PG)) {
        *gpa = gva;
        return true;
    }
    if (state->efer & EFER_LMA) {
        unsigned levels = state->cr4 & CR4_LA57 ? 5 : 4;
        unsigned sign = 64 - (12 + 9 * levels);
        bool canonical = (uint64_t)((int64_t)(gva << sign) >> sign) == gva;
        return canonical && walk_wide(as, state->cr3 & FRAME, levels, 3, gva, gpa);
    }
    if (state->cr4 & CR4_PAE) {
        return walk_wide(as, state->cr3 & 0xffffffe0, 3, 2, gva, gpa);
    }
    return walk_32bit(as, state, (uint32_t)gva, gpa);
}
