/* SPDX-License-Identifier: MIT */
#ifndef MAP_REGION_H
#define MAP_REGION_H

#include "map/system.h"

/* The part that all memory_region_init functions share. */
int region_init(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size);

#endif
