/* SPDX-License-Identifier: MIT */
/* ops.h - checking ops tables, and what is worked out from one when a region gets it. */
#ifndef MAP_OPS_H
#define MAP_OPS_H

#include "map/system.h"

int ops_check(const MemoryRegionOps *ops, const char *name);
void ops_install(MemoryRegion *mr, const MemoryRegionOps *ops, void *opaque);

/* Reservations: every access is MEMTX_DECODE_ERROR. */
extern const MemoryRegionOps ops_unassigned;
/* Ports that nobody has: reads give all ones, writes are dropped, both succeed. */
extern const MemoryRegionOps ops_unassigned_ports;

#endif
