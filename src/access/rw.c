/* SPDX-License-Identifier: MIT */
/*
 * Transfers. The whole transfer sees one view; each range of it is a piece: RAM is copied, a
 * device gets chunks, a gap is an error. A transfer that would run past the last address ends
 * there.
 */
#include "access/rw.h"

#include "access/fast.h"
#include "access/host.h"
#include "access/mmio.h"
#include "base/range.h"
#include "ram/log.h"

#include <membus/access.h>

/* The piece's host memory if this kind of transfer copies it directly, else NULL. */
static uint8_t *direct_host(const FlatRange *range, MemTxAttrs attrs, RwKind kind)
{
    bool memory = range->host && !range->mr->ram_device;
    bool writable = memory && !(range->mr->ram_block->flags & RAM_READONLY);
    bool direct = false;

    switch (kind) {
    case RW_READ:
        direct = range->direct_read;
        break;
    case RW_WRITE:
    case RW_SET:
        direct = range->direct_write || (attrs.debug && writable && range->mr->ram);
        break;
    case RW_WRITE_ROM:
        direct = writable;
        break;
    }
    return direct ? range->host : NULL;
}

static MemTxResult set_device(MemoryRegion *mr, hwaddr offset, uint8_t byte, hwaddr len,
                              MemTxAttrs attrs)
{
    MemTxResult result = MEMTX_OK;
    uint8_t bytes[64];

    memset(bytes, byte, sizeof bytes);
    while (len) {
        hwaddr part = hwaddr_min(len, sizeof bytes - offset % sizeof bytes);
        result |= mmio_write_bytes(mr, offset, bytes, part, attrs);
        offset += part;
        len -= part;
    }
    return result;
}

static MemTxResult indirect_piece(const FlatRange *range, hwaddr addr, MemTxAttrs attrs,
                                  uint8_t *buf, hwaddr len, RwKind kind)
{
    MemoryRegion *mr = range->mr;
    hwaddr offset = range->offset + (addr - range->first);

    if (mr->ram && (!mr->ram_block || (mr->ram_block->flags & RAM_READONLY))) {
        if (kind == RW_READ) {
            memset(buf, 0, (size_t)len);
        }
        return MEMTX_ERROR;
    }
    if (kind == RW_WRITE_ROM) {
        return MEMTX_OK;
    }
    if (mr->ram && range->readonly && kind != RW_READ && !attrs.debug) {
        return MEMTX_ERROR; /* read-only by inheritance too: the region alone cannot tell */
    }
    switch (kind) {
    case RW_READ:
        return mmio_read_bytes(mr, offset, buf, len, attrs);
    case RW_WRITE:
        return mmio_write_bytes(mr, offset, buf, len, attrs);
    default:
        return set_device(mr, offset, *buf, len, attrs);
    }
}

static MemTxResult piece(const FlatRange *range, hwaddr addr, MemTxAttrs attrs, uint8_t *buf,
                         hwaddr len, RwKind kind)
{
    uint8_t *host = direct_host(range, attrs, kind);

    if (!host) {
        return indirect_piece(range, addr, attrs, buf, len, kind);
    }
    host += addr - range->first;
    if (kind == RW_READ) {
        host_copy(buf, host, (size_t)len);
        return MEMTX_OK;
    }
    RAMBlock *block = range->mr->ram_block;
    hwaddr offset = range->offset + (addr - range->first);
    ram_before_write(block, offset, len);
    if (kind == RW_SET) {
        memset(host, *buf, (size_t)len);
    } else {
        host_copy(host, buf, (size_t)len);
    }
    ram_after_write(block, offset, len);
    return MEMTX_OK;
}

/* Nothing answers in the first *@len bytes, cut to the gap. */
static MemTxResult gap(const FlatView *view, hwaddr addr, uint8_t *buf, hwaddr *len, RwKind kind)
{
    const FlatRange *next = flatview_from(view, addr);

    if (next) {
        *len = hwaddr_min(*len, next->first - addr);
    }
    if (kind == RW_READ) {
        memset(buf, 0, (size_t)*len);
    }
    return kind == RW_WRITE_ROM ? MEMTX_OK : MEMTX_DECODE_ERROR;
}

MemTxResult rw_view(const FlatView *view, hwaddr addr, MemTxAttrs attrs, uint8_t *buf, hwaddr len,
                    RwKind kind)
{
    MemTxResult result = MEMTX_OK;

    while (len) {
        const FlatRange *range = flatview_at(view, addr);
        hwaddr part = range && kind != RW_WRITE_ROM
                          ? mmio_part(range, addr, len, kind != RW_READ)
                          : hwaddr_min(len, range_size(addr, range ? range->last : UINT64_MAX));
        if (range) {
            result |= piece(range, addr, attrs, buf, part, kind);
        } else {
            result |= gap(view, addr, buf, &part, kind);
        }
        len -= part;
        buf += kind == RW_SET ? 0 : part;
        addr += part;
        if (addr == 0 && len) { /* past 2^64 */
            if (kind == RW_READ) {
                memset(buf, 0, (size_t)len);
            }
            return result | MEMTX_DECODE_ERROR;
        }
    }
    return result;
}

/* Host memory for the whole transfer, if the last hit has it: then it is one copy. */
static inline uint8_t *fast_bulk(const AddressSpace *as, hwaddr addr, hwaddr len, bool is_write)
{
    uint8_t *host = fast_hit(as, addr, is_write);

    return host && len <= access_last_hit.range->last - addr ? host : NULL;
}

static __attribute__((noinline)) MemTxResult
rw_slow(AddressSpace *as, hwaddr addr, MemTxAttrs attrs, uint8_t *buf, hwaddr len, RwKind kind)
{
    const FlatView *view = rcu_read(&as->view);

    fast_find(view, flatview_at(view, addr), addr, false); /* for the next time */
    return rw_view(view, addr, attrs, buf, len, kind);
}

MemTxResult address_space_read(AddressSpace *as, hwaddr addr, MemTxAttrs attrs, void *buf,
                               hwaddr len)
{
    MemTxResult result = MEMTX_OK;

    rcu_enter();
    const uint8_t *host = fast_bulk(as, addr, len, false);
    if (likely(host)) {
        host_copy(buf, host, (size_t)len);
    } else {
        result = rw_slow(as, addr, attrs, buf, len, RW_READ);
    }
    rcu_leave();
    return result;
}

MemTxResult address_space_write(AddressSpace *as, hwaddr addr, MemTxAttrs attrs, const void *buf,
                                hwaddr len)
{
    MemTxResult result = MEMTX_OK;

    rcu_enter();
    uint8_t *host = fast_bulk(as, addr, len, true);
    if (likely(host)) {
        host_copy(host, buf, (size_t)len);
    } else {
        result = rw_slow(as, addr, attrs, (uint8_t *)buf, len, RW_WRITE);
    }
    rcu_leave();
    return result;
}

MemTxResult address_space_rw(AddressSpace *as, hwaddr addr, MemTxAttrs attrs, void *buf, hwaddr len,
                             bool is_write)
{
    return is_write ? address_space_write(as, addr, attrs, buf, len)
                    : address_space_read(as, addr, attrs, buf, len);
}

MemTxResult address_space_set(AddressSpace *as, hwaddr addr, uint8_t c, hwaddr len,
                              MemTxAttrs attrs)
{
    rcu_enter();
    MemTxResult result = rw_slow(as, addr, attrs, &c, len, RW_SET);
    rcu_leave();
    return result;
}

MemTxResult address_space_write_rom(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                    const void *buf, hwaddr len)
{
    rcu_enter();
    MemTxResult result = rw_slow(as, addr, attrs, (uint8_t *)buf, len, RW_WRITE_ROM);
    rcu_leave();
    return result;
}
