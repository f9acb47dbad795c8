/* SPDX-License-Identifier: MIT */
/* kind.h - what of a region's kind decides on the type that `info mtree` gives it. */
#ifndef INSPECT_KIND_H
#define INSPECT_KIND_H

#include <membus/region.h>

#define KIND_RAM 1U
#define KIND_ROM_DEVICE 2U
#define KIND_RAM_DEVICE 4U
#define KIND_ALL 7U

typedef unsigned RegionKind; /* a set of KIND_* */

RegionKind region_kind(const MemoryRegion *mr);

/* mtree_type() of a region of these kinds. */
const char *type_name(RegionKind kinds, bool readonly, bool nonvolatile, bool romd);

#endif
