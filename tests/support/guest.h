/* SPDX-License-Identifier: MIT */
/* guest.h - loads and stores chosen at run time by width and byte order. */
#ifndef TESTS_GUEST_H
#define TESTS_GUEST_H

#include <membus/access.h>

uint64_t guest_load(AddressSpace *as, hwaddr addr, unsigned size, bool big, MemTxAttrs attrs,
                    MemTxResult *result);
void guest_store(AddressSpace *as, hwaddr addr, uint64_t value, unsigned size, bool big,
                 MemTxAttrs attrs, MemTxResult *result);
/* The same in a cache. */
uint64_t guest_load_cached(MemoryRegionCache *cache, hwaddr addr, unsigned size, bool big,
                           MemTxResult *result);
void guest_store_cached(MemoryRegionCache *cache, hwaddr addr, uint64_t value, unsigned size,
                        bool big, MemTxResult *result);
/* Bytes in memory order to and from a value. */
uint64_t bytes_to_value(const uint8_t *bytes, unsigned size, bool big);
void value_to_bytes(uint8_t *bytes, uint64_t value, unsigned size, bool big);

#endif
