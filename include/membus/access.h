/* SPDX-License-Identifier: MIT */
/*
 * access.h - read and write guest memory as an initiator does.
 *
 * No access waits for a change of the map; each piece sees one view. RAM is copied directly,
 * also across the borders of ranges. MMIO is cut into powers of two, no larger than
 * valid.max_access_size (4 if unset) and, unless the device takes unaligned accesses, than the
 * alignment of the offset. Each is checked against ops->valid and carried out in steps of
 * ops->impl; a refused read gives zeros and MEMTX_DECODE_ERROR. What answers at the first byte of
 * such a part answers all of it, up to the end of its region, whatever lies over the other bytes.
 * Where nothing answers, reads give zeros, writes are dropped, and the result is
 * MEMTX_DECODE_ERROR.
 *
 * Context of everything here, unless it says otherwise: any thread, inside or outside a read
 * section. Accesses that reach a device take the machine lock (unless the region is lockless),
 * so they may block.
 */
#ifndef MEMBUS_ACCESS_H
#define MEMBUS_ACCESS_H

#include <membus/space.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Copy @len bytes between guest @addr and @buf. On an error the rest is done all the same,
 * unread parts of @buf being zero. 1, 2, 4 or 8 aligned bytes of RAM are one load or store.
 */
MEMBUS_EXPORT MemTxResult address_space_rw(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                           void *buf, hwaddr len, bool is_write);
MEMBUS_EXPORT MemTxResult address_space_read(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                             void *buf, hwaddr len);
MEMBUS_EXPORT MemTxResult address_space_write(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                              const void *buf, hwaddr len);
/* Fill @len bytes from @addr with @c. */
MEMBUS_EXPORT MemTxResult address_space_set(AddressSpace *as, hwaddr addr, uint8_t c, hwaddr len,
                                            MemTxAttrs attrs);
/* Write RAM, ROM and ROM devices (a loader's write); devices are skipped. */
MEMBUS_EXPORT MemTxResult address_space_write_rom(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                                  const void *buf, hwaddr len);

/*
 * Loads and stores of 1, 2, 4 or 8 bytes, little- or big-endian. To a device they are one
 * access of that width. *@result, where not NULL, is set; a failed load returns 0 (or what the
 * device gave).
 */
MEMBUS_EXPORT uint8_t address_space_ldub(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                         MemTxResult *result);
MEMBUS_EXPORT uint16_t address_space_lduw_le(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                             MemTxResult *result);
MEMBUS_EXPORT uint16_t address_space_lduw_be(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                             MemTxResult *result);
MEMBUS_EXPORT uint32_t address_space_ldl_le(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                            MemTxResult *result);
MEMBUS_EXPORT uint32_t address_space_ldl_be(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                            MemTxResult *result);
MEMBUS_EXPORT uint64_t address_space_ldq_le(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                            MemTxResult *result);
MEMBUS_EXPORT uint64_t address_space_ldq_be(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                            MemTxResult *result);
MEMBUS_EXPORT void address_space_stb(AddressSpace *as, hwaddr addr, uint8_t val, MemTxAttrs attrs,
                                     MemTxResult *result);
MEMBUS_EXPORT void address_space_stw_le(AddressSpace *as, hwaddr addr, uint16_t val,
                                        MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT void address_space_stw_be(AddressSpace *as, hwaddr addr, uint16_t val,
                                        MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT void address_space_stl_le(AddressSpace *as, hwaddr addr, uint32_t val,
                                        MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT void address_space_stl_be(AddressSpace *as, hwaddr addr, uint32_t val,
                                        MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT void address_space_stq_le(AddressSpace *as, hwaddr addr, uint64_t val,
                                        MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT void address_space_stq_be(AddressSpace *as, hwaddr addr, uint64_t val,
                                        MemTxAttrs attrs, MemTxResult *result);

/*
 * Who answers at @addr: the region, *@xlat the offset in it, *@len cut to what it answers in a
 * row. NULL if nobody does (*@len cut to the gap).
 * Context: RCU reader (the region lives as long as the section).
 */
MEMBUS_EXPORT MemoryRegion *address_space_translate(AddressSpace *as, hwaddr addr, hwaddr *xlat,
                                                    hwaddr *len, bool is_write, MemTxAttrs attrs);

/* Whether an access of @len bytes would reach RAM or be accepted by devices all the way. */
MEMBUS_EXPORT bool address_space_access_valid(AddressSpace *as, hwaddr addr, hwaddr len,
                                              bool is_write, MemTxAttrs attrs);

/* ---- Long-lived pointers ------------------------------------------------------ */

/*
 * Host memory for the @*plen bytes at guest @addr; *@plen is cut to what could be mapped in one
 * piece. RAM of one region is mapped directly. Anything else goes through a bounce buffer,
 * filled from the guest for a read, as far as the address space's budget allows
 * (address_space_set_bounce_limit, 4096 bytes at first). Returns NULL with *@plen 0 if nothing
 * is there, if the budget is spent (register a map client to try again) or memory is short.
 * What is mapped stays alive until address_space_unmap.
 */
MEMBUS_EXPORT void *address_space_map(AddressSpace *as, hwaddr addr, hwaddr *plen, bool is_write,
                                      MemTxAttrs attrs);
/*
 * End a mapping. @buffer is what address_space_map returned, @len its length; for a write the
 * first @access_len bytes were written: a bounce buffer's are now copied to the guest, RAM's
 * are marked dirty. -EINVAL (membus_last_error()) if @buffer is not mapped.
 */
MEMBUS_EXPORT int address_space_unmap(AddressSpace *as, void *buffer, hwaddr len, bool is_write,
                                      hwaddr access_len);
/* Bytes that bounce buffers of @as may take together. */
MEMBUS_EXPORT void address_space_set_bounce_limit(AddressSpace *as, size_t bytes);

/*
 * To be called once when a bounce buffer of @as has been released, or the budget raised, since
 * registration (at once, if the budget is not spent). The storage is the caller's until then or
 * until unregistration, which does not wait for a notify() that another thread is in.
 */
typedef struct MemoryMapClient {
    void (*notify)(struct MemoryMapClient *client); /* no lock held; may map */
    struct MemoryMapClient *next;                   /* private */
} MemoryMapClient;
MEMBUS_EXPORT void address_space_register_map_client(AddressSpace *as, MemoryMapClient *client);
MEMBUS_EXPORT void address_space_unregister_map_client(AddressSpace *as, MemoryMapClient *client);

/*
 * A translated window for many small accesses (a virtqueue ring, say). It shows the map as it
 * was at init and keeps the region alive.
 */
typedef struct MemoryRegionCache {
    uint8_t *ptr; /* direct host memory of the window, for reads; NULL: there is none */
    hwaddr len;   /* bytes in the window */
    hwaddr xlat;  /* offset in the region */
    MemoryRegion *mr;
    AddressSpace *as;
    bool is_write;
    bool direct_write;        /* ptr is good for writes, too */
    struct RamWindow *window; /* private */
} MemoryRegionCache;
#define MEMORY_REGION_CACHE_INVALID ((MemoryRegionCache){0})

/*
 * Set @cache up for up to @len bytes at @addr. Returns the bytes it covers (at most @len), or a
 * negative errno if nothing answers at @addr (-EFAULT), the region cannot be written
 * (-EACCES), or memory is short (-ENOMEM).
 */
MEMBUS_EXPORT int64_t address_space_cache_init(MemoryRegionCache *cache, AddressSpace *as,
                                               hwaddr addr, hwaddr len, bool is_write);
/* Tell that @len bytes at @addr (offset in the cache) were written through cache->ptr. */
MEMBUS_EXPORT void address_space_cache_invalidate(MemoryRegionCache *cache, hwaddr addr,
                                                  hwaddr access_len);
/* End @cache; fine for an INVALID or destroyed one. */
MEMBUS_EXPORT void address_space_cache_destroy(MemoryRegionCache *cache);

/*
 * As the address_space functions, @addr being an offset in the cache. Outside it:
 * MEMTX_DECODE_ERROR.
 */
MEMBUS_EXPORT MemTxResult address_space_read_cached_slow(MemoryRegionCache *cache, hwaddr addr,
                                                         void *buf, hwaddr len);
MEMBUS_EXPORT MemTxResult address_space_write_cached_slow(MemoryRegionCache *cache, hwaddr addr,
                                                          const void *buf, hwaddr len);
static inline MemTxResult address_space_read_cached(MemoryRegionCache *cache, hwaddr addr,
                                                    void *buf, hwaddr len)
{
    if (cache->ptr && addr <= cache->len && len <= cache->len - addr) {
        memcpy(buf, cache->ptr + addr, (size_t)len);
        return MEMTX_OK;
    }
    return address_space_read_cached_slow(cache, addr, buf, len);
}
MEMBUS_EXPORT MemTxResult address_space_write_cached(MemoryRegionCache *cache, hwaddr addr,
                                                     const void *buf, hwaddr len);
MEMBUS_EXPORT uint8_t address_space_ldub_cached(MemoryRegionCache *cache, hwaddr addr,
                                                MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT uint16_t address_space_lduw_le_cached(MemoryRegionCache *cache, hwaddr addr,
                                                    MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT uint16_t address_space_lduw_be_cached(MemoryRegionCache *cache, hwaddr addr,
                                                    MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT uint32_t address_space_ldl_le_cached(MemoryRegionCache *cache, hwaddr addr,
                                                   MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT uint32_t address_space_ldl_be_cached(MemoryRegionCache *cache, hwaddr addr,
                                                   MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT uint64_t address_space_ldq_le_cached(MemoryRegionCache *cache, hwaddr addr,
                                                   MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT uint64_t address_space_ldq_be_cached(MemoryRegionCache *cache, hwaddr addr,
                                                   MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT void address_space_stb_cached(MemoryRegionCache *cache, hwaddr addr, uint8_t val,
                                            MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT void address_space_stw_le_cached(MemoryRegionCache *cache, hwaddr addr, uint16_t val,
                                               MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT void address_space_stw_be_cached(MemoryRegionCache *cache, hwaddr addr, uint16_t val,
                                               MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT void address_space_stl_le_cached(MemoryRegionCache *cache, hwaddr addr, uint32_t val,
                                               MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT void address_space_stl_be_cached(MemoryRegionCache *cache, hwaddr addr, uint32_t val,
                                               MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT void address_space_stq_le_cached(MemoryRegionCache *cache, hwaddr addr, uint64_t val,
                                               MemTxAttrs attrs, MemTxResult *result);
MEMBUS_EXPORT void address_space_stq_be_cached(MemoryRegionCache *cache, hwaddr addr, uint64_t val,
                                               MemTxAttrs attrs, MemTxResult *result);

/* ---- One access to one region -------------------------------------------------- */

/*
 * Carry out one access of @op's width at offset @addr of @mr as a CPU's: checked against
 * ops->valid, split by ops->impl, byte order by @op. Takes no lock and no guard of its own: for
 * callers that did. RAM and ROM are accessed directly; a write to ROM is MEMTX_ERROR.
 * Context: machine lock held unless @mr is lockless.
 */
MEMBUS_EXPORT MemTxResult memory_region_dispatch_read(MemoryRegion *mr, hwaddr addr, uint64_t *pval,
                                                      MemOp op, MemTxAttrs attrs);
MEMBUS_EXPORT MemTxResult memory_region_dispatch_write(MemoryRegion *mr, hwaddr addr, uint64_t data,
                                                       MemOp op, MemTxAttrs attrs);
/* Whether @mr would take an access of @size bytes at @addr (alignment, sizes, accepts). */
MEMBUS_EXPORT bool memory_region_access_valid(MemoryRegion *mr, hwaddr addr, unsigned size,
                                              bool is_write, MemTxAttrs attrs);

#ifdef __cplusplus
}
#endif
#endif
