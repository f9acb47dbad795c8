/* SPDX-License-Identifier: MIT */
#include "guest.h"

uint64_t guest_load(AddressSpace *as, hwaddr addr, unsigned size, bool big, MemTxAttrs attrs,
                    MemTxResult *result)
{
    switch (size) {
    case 1:
        return address_space_ldub(as, addr, attrs, result);
    case 2:
        return big ? address_space_lduw_be(as, addr, attrs, result)
                   : address_space_lduw_le(as, addr, attrs, result);
    case 4:
        return big ? address_space_ldl_be(as, addr, attrs, result)
                   : address_space_ldl_le(as, addr, attrs, result);
    default:
        return big ? address_space_ldq_be(as, addr, attrs, result)
                   : address_space_ldq_le(as, addr, attrs, result);
    }
}

void guest_store(AddressSpace *as, hwaddr addr, uint64_t value, unsigned size, bool big,
                 MemTxAttrs attrs, MemTxResult *result)
{
    switch (size) {
    case 1:
        address_space_stb(as, addr, (uint8_t)value, attrs, result);
        break;
    case 2:
        (big ? address_space_stw_be : address_space_stw_le)(as, addr, (uint16_t)value, attrs,
                                                            result);
        break;
    case 4:
        (big ? address_space_stl_be : address_space_stl_le)(as, addr, (uint32_t)value, attrs,
                                                            result);
        break;
    default:
        (big ? address_space_stq_be : address_space_stq_le)(as, addr, value, attrs, result);
    }
}

uint64_t guest_load_cached(MemoryRegionCache *cache, hwaddr addr, unsigned size, bool big,
                           MemTxResult *result)
{
    MemTxAttrs attrs = MEMTXATTRS_UNSPECIFIED;

    switch (size) {
    case 1:
        return address_space_ldub_cached(cache, addr, attrs, result);
    case 2:
        return big ? address_space_lduw_be_cached(cache, addr, attrs, result)
                   : address_space_lduw_le_cached(cache, addr, attrs, result);
    case 4:
        return big ? address_space_ldl_be_cached(cache, addr, attrs, result)
                   : address_space_ldl_le_cached(cache, addr, attrs, result);
    default:
        return big ? address_space_ldq_be_cached(cache, addr, attrs, result)
                   : address_space_ldq_le_cached(cache, addr, attrs, result);
    }
}

void guest_store_cached(MemoryRegionCache *cache, hwaddr addr, uint64_t value, unsigned size,
                        bool big, MemTxResult *result)
{
    MemTxAttrs attrs = MEMTXATTRS_UNSPECIFIED;

    switch (size) {
    case 1:
        address_space_stb_cached(cache, addr, (uint8_t)value, attrs, result);
        break;
    case 2:
        (big ? address_space_stw_be_cached
             : address_space_stw_le_cached)(cache, addr, (uint16_t)value, attrs, result);
        break;
    case 4:
        (big ? address_space_stl_be_cached
             : address_space_stl_le_cached)(cache, addr, (uint32_t)value, attrs, result);
        break;
    default:
        (big ? address_space_stq_be_cached : address_space_stq_le_cached)(cache, addr, value, attrs,
                                                                          result);
    }
}

uint64_t bytes_to_value(const uint8_t *bytes, unsigned size, bool big)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++) {
        value |= (uint64_t)bytes[i] << 8 * (big ? size - 1 - i : i);
    }
    return value;
}

void value_to_bytes(uint8_t *bytes, uint64_t value, unsigned size, bool big)
{
    for (unsigned i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> 8 * (big ? size - 1 - i : i));
    }
}
