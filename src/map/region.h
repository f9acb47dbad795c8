/* SPDX-License-Identifier: MIT */
#ifndef MAP_REGION_H
#define MAP_REGION_H

#include "map/system.h"

/* The part that all memory_region_init functions share. */
int region_init(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size);

/*
 * A terminating region over @config's memory, which it takes over; on an error it is the
 * caller's still. Lengths that are 0 are the region's.
 */
int region_init_ram(MemoryRegion *mr, MemoryOwner *owner, const char *name, hwaddr size,
                    RAMBlockConfig config);

#endif
