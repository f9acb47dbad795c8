/* SPDX-License-Identifier: MIT */
/* paging.h - where a guest's virtual address is in its physical memory. */
#ifndef VMM_PAGING_H
#define VMM_PAGING_H

#include "cpu.h"

/*
 * Walk the page tables that @state's control registers point to, as @as shows them; bases of
 * segments are not added. Accessed and dirty bits stay as they are, and no device is reached.
 * Returns false if @gva is not mapped, or a table is where no RAM is. Context: any thread.
 */
bool paging_translate(AddressSpace *as, const CpuState *state, uint64_t gva, hwaddr *gpa);

#endif
