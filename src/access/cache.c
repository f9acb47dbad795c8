/* SPDX-License-Identifier: MIT */
/* Translated windows: a region, an offset, and where it is plain memory the host pointer. */
#include "access/fast.h"
#include "access/host.h"
#include "access/mmio.h"
#include "base/error.h"
#include "base/range.h"
#include "map/ops.h"
#include "ram/log.h"

#include <errno.h>
#include <membus/access.h>
#include <stdlib.h>

/* Its owner may write through `ptr`. Returns the cache's length, or -ENOMEM. */
static int64_t open_window(MemoryRegionCache *cache)
{
    if (cache->direct_write) {
        cache->window = malloc(sizeof *cache->window);
        if (!cache->window) {
            return fail_no_memory("a cache");
        }
        *cache->window =
            (RamWindow){.block = cache->mr->ram_block, .offset = cache->xlat, .len = cache->len};
        saved_open_window(&cache->as->ms->snapshots.saved, cache->window);
    }
    return (int64_t)cache->len;
}

int64_t address_space_cache_init(MemoryRegionCache *cache, AddressSpace *as, hwaddr addr,
                                 hwaddr len, bool is_write)
{
    int64_t result;

    *cache = MEMORY_REGION_CACHE_INVALID;
    rcu_enter();
    const FlatRange *range = flatview_at(rcu_read(&as->view), addr);
    if (!range || len == 0 || range->mr->ops == &ops_unassigned) {
        result = fail(EFAULT, "address space '%s': nothing to cache at 0x%llx", as->name,
                      (unsigned long long)addr);
    } else if (is_write && range->mr->ram && range->readonly) {
        result = fail(EACCES, "address space '%s': region '%s' at 0x%llx is read-only", as->name,
                      range->mr->name, (unsigned long long)addr);
    } else {
        *cache = (MemoryRegionCache){
            .ptr = range->direct_read ? range->host + (addr - range->first) : NULL,
            .len = hwaddr_min(hwaddr_min(len, INT64_MAX), range_size(addr, range->last)),
            .xlat = range->offset + (addr - range->first),
            .mr = range->mr,
            .as = as,
            .is_write = is_write,
            .direct_write = is_write && range->direct_read && range->direct_write,
        };
        memory_region_ref(range->mr);
        result = open_window(cache);
    }
    rcu_leave();
    if (result < 0) {
        address_space_cache_destroy(cache);
    }
    return result;
}

static bool inside(const MemoryRegionCache *cache, hwaddr addr, hwaddr len)
{
    return addr <= cache->len && len <= cache->len - addr;
}

void address_space_cache_invalidate(MemoryRegionCache *cache, hwaddr addr, hwaddr access_len)
{
    if (cache->direct_write && addr < cache->len) {
        ram_after_write(cache->mr->ram_block, cache->xlat + addr,
                        hwaddr_min(access_len, cache->len - addr));
    }
}

void address_space_cache_destroy(MemoryRegionCache *cache)
{
    if (cache->window) {
        saved_close_window(&region_system(cache->mr)->snapshots.saved, cache->window);
        free(cache->window);
    }
    if (cache->mr) {
        memory_region_unref(cache->mr);
    }
    *cache = MEMORY_REGION_CACHE_INVALID;
}

MemTxResult address_space_read_cached_slow(MemoryRegionCache *cache, hwaddr addr, void *buf,
                                           hwaddr len)
{
    if (!inside(cache, addr, len)) {
        memset(buf, 0, (size_t)len);
        return MEMTX_DECODE_ERROR;
    }
    rcu_enter();
    MemTxResult result =
        mmio_read_bytes(cache->mr, cache->xlat + addr, buf, len, MEMTXATTRS_UNSPECIFIED);
    rcu_leave();
    return result;
}

MemTxResult address_space_write_cached_slow(MemoryRegionCache *cache, hwaddr addr, const void *buf,
                                            hwaddr len)
{
    if (!inside(cache, addr, len)) {
        return MEMTX_DECODE_ERROR;
    }
    if (!cache->is_write) {
        return MEMTX_ACCESS_ERROR;
    }
    rcu_enter();
    MemTxResult result =
        mmio_write_bytes(cache->mr, cache->xlat + addr, buf, len, MEMTXATTRS_UNSPECIFIED);
    rcu_leave();
    return result;
}

MemTxResult address_space_write_cached(MemoryRegionCache *cache, hwaddr addr, const void *buf,
                                       hwaddr len)
{
    if (likely(cache->direct_write && inside(cache, addr, len))) {
        RAMBlock *block = cache->mr->ram_block;
        ram_before_write(block, cache->xlat + addr, len);
        memcpy(cache->ptr + addr, buf, (size_t)len);
        ram_after_write(block, cache->xlat + addr, len);
        return MEMTX_OK;
    }
    return address_space_write_cached_slow(cache, addr, buf, len);
}

static __attribute__((noinline)) uint64_t load_slow(MemoryRegionCache *cache, hwaddr addr,
                                                    unsigned size, bool big_endian,
                                                    MemTxAttrs attrs, MemTxResult *result)
{
    uint64_t value = 0;

    if (!inside(cache, addr, size)) {
        *result = MEMTX_DECODE_ERROR;
        return 0;
    }
    rcu_enter();
    *result = mmio_read(cache->mr, cache->xlat + addr, &value, size, attrs);
    rcu_leave();
    return mmio_to_order(cache->mr, value, size, big_endian);
}

static __attribute__((noinline)) MemTxResult store_slow(MemoryRegionCache *cache, hwaddr addr,
                                                        uint64_t value, unsigned size,
                                                        bool big_endian, MemTxAttrs attrs)
{
    if (!inside(cache, addr, size)) {
        return MEMTX_DECODE_ERROR;
    }
    if (!cache->is_write) {
        return MEMTX_ACCESS_ERROR;
    }
    rcu_enter();
    MemTxResult result = mmio_write(cache->mr, cache->xlat + addr,
                                    mmio_to_order(cache->mr, value, size, big_endian), size, attrs);
    rcu_leave();
    return result;
}

#define DEFINE_LOAD(name, bits, big_endian)                                                        \
    uint##bits##_t name(MemoryRegionCache *cache, hwaddr addr, MemTxAttrs attrs,                   \
                        MemTxResult *result)                                                       \
    {                                                                                              \
        MemTxResult outcome = MEMTX_OK;                                                            \
        uint##bits##_t value;                                                                      \
        if (likely(cache->ptr && inside(cache, addr, bits / 8))) {                                 \
            value = (uint##bits##_t)host_load(cache->ptr + addr, bits / 8, big_endian);            \
        } else {                                                                                   \
            value = (uint##bits##_t)load_slow(cache, addr, bits / 8, big_endian, attrs, &outcome); \
        }                                                                                          \
        if (result) {                                                                              \
            *result = outcome;                                                                     \
        }                                                                                          \
        return value;                                                                              \
    }

#define DEFINE_STORE(name, bits, big_endian)                                                       \
    void name(MemoryRegionCache *cache, hwaddr addr, uint##bits##_t val, MemTxAttrs attrs,         \
              MemTxResult *result)                                                                 \
    {                                                                                              \
        MemTxResult outcome = MEMTX_OK;                                                            \
        if (likely(cache->direct_write && inside(cache, addr, bits / 8))) {                        \
            RAMBlock *block = cache->mr->ram_block;                                                \
            ram_before_write(block, cache->xlat + addr, bits / 8);                                 \
            host_store(cache->ptr + addr, val, bits / 8, big_endian);                              \
            ram_after_write(block, cache->xlat + addr, bits / 8);                                  \
        } else {                                                                                   \
            outcome = store_slow(cache, addr, val, bits / 8, big_endian, attrs);                   \
        }                                                                                          \
        if (result) {                                                                              \
            *result = outcome;                                                                     \
        }                                                                                          \
    }

DEFINE_LOAD(address_space_ldub_cached, 8, false)
DEFINE_LOAD(address_space_lduw_le_cached, 16, false)
DEFINE_LOAD(address_space_lduw_be_cached, 16, true)
DEFINE_LOAD(address_space_ldl_le_cached, 32, false)
DEFINE_LOAD(address_space_ldl_be_cached, 32, true)
DEFINE_LOAD(address_space_ldq_le_cached, 64, false)
DEFINE_LOAD(address_space_ldq_be_cached, 64, true)
DEFINE_STORE(address_space_stb_cached, 8, false)
DEFINE_STORE(address_space_stw_le_cached, 16, false)
DEFINE_STORE(address_space_stw_be_cached, 16, true)
DEFINE_STORE(address_space_stl_le_cached, 32, false)
DEFINE_STORE(address_space_stl_be_cached, 32, true)
DEFINE_STORE(address_space_stq_le_cached, 64, false)
DEFINE_STORE(address_space_stq_be_cached, 64, true)
