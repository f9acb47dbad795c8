/* SPDX-License-Identifier: MIT */
/* Loads and stores of one width: the last hit, else the view, else a device, else byte by byte. */
#include "access/fast.h"
#include "access/host.h"
#include "access/mmio.h"
#include "access/rw.h"

#include <membus/access.h>

__thread LastHit access_last_hit;

/* What is no RAM of one range: a device, a gap, or across a border. Bytes across a border go by rw. */
static __attribute__((noinline)) uint64_t load_rest(const FlatView *view, const FlatRange *range,
                                                    hwaddr addr, unsigned size, bool big_endian,
                                                    MemTxAttrs attrs, MemTxResult *result)
{
    MemTxResult outcome;
    uint64_t value = 0;

    if (range && range->last - addr >= size - 1 && !range->direct_read) {
        hwaddr offset = range->offset + (addr - range->first);
        outcome = mmio_read(range->mr, offset, &value, size, attrs);
        value = mmio_to_order(range->mr, value, size, big_endian);
    } else {
        uint8_t bytes[8] = {0};
        outcome = rw_view(view, addr, attrs, bytes, size, RW_READ);
        for (unsigned i = 0; i < size; i++) {
            value |= (uint64_t)bytes[i] << (8 * (big_endian ? size - 1 - i : i));
        }
    }
    if (result) {
        *result = outcome;
    }
    return value;
}

static __attribute__((noinline)) void store_rest(const FlatView *view, const FlatRange *range,
                                                 hwaddr addr, uint64_t value, unsigned size,
                                                 bool big_endian, MemTxAttrs attrs,
                                                 MemTxResult *result)
{
    MemTxResult outcome;

    if (range && range->last - addr >= size - 1 && !range->mr->ram) {
        hwaddr offset = range->offset + (addr - range->first);
        value = mmio_to_order(range->mr, value, size, big_endian);
        outcome = mmio_write(range->mr, offset, value, size, attrs);
    } else {
        uint8_t bytes[8];
        for (unsigned i = 0; i < size; i++) {
            bytes[i] = (uint8_t)(value >> (8 * (big_endian ? size - 1 - i : i)));
        }
        outcome = rw_view(view, addr, attrs, bytes, size, RW_WRITE);
    }
    if (result) {
        *result = outcome;
    }
}

/*
 * An access tries the last hit, which calls nothing and so saves no registers; else it jumps, with the section as it
 * is, to the way through the view; and from there to the rest. A section that the caller holds is
 * not nested into: storing to the reader's counter would be most of the cost of a hit.
 */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

typedef enum Section {
    SECTION_NONE,  /* the thread was never a reader: nothing is open */
    SECTION_OURS,  /* opened for this access */
    SECTION_OUTER, /* the caller's */
} Section;

ALWAYS_INLINE void done(MemTxResult *result, Section section)
{
    if (section == SECTION_OURS) {
        rcu_leave();
    }
    if (result) {
        *result = MEMTX_OK;
    }
}

static __attribute__((noinline)) uint64_t load_rest_ours(const FlatView *view,
                                                         const FlatRange *range, hwaddr addr,
                                                         unsigned size, bool big_endian,
                                                         MemTxAttrs attrs, MemTxResult *result)
{
    uint64_t value = load_rest(view, range, addr, size, big_endian, attrs, result);

    rcu_leave();
    return value;
}

static __attribute__((noinline)) void store_rest_ours(const FlatView *view, const FlatRange *range,
                                                      hwaddr addr, uint64_t value, unsigned size,
                                                      bool big_endian, MemTxAttrs attrs,
                                                      MemTxResult *result)
{
    store_rest(view, range, addr, value, size, big_endian, attrs, result);
    rcu_leave();
}

ALWAYS_INLINE uint64_t load_view(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                 MemTxResult *result, Section section, unsigned size,
                                 bool big_endian)
{
    const FlatView *view = rcu_read(&as->view);
    const FlatRange *range = flatview_at(view, addr);
    const uint8_t *host = fast_find(view, range, addr, size, false);

    if (unlikely(!host)) {
        return section == SECTION_OURS
                   ? load_rest_ours(view, range, addr, size, big_endian, attrs, result)
                   : load_rest(view, range, addr, size, big_endian, attrs, result);
    }
    uint64_t value = host_load(host, size, big_endian);
    done(result, section);
    return value;
}

ALWAYS_INLINE void store_view(AddressSpace *as, hwaddr addr, uint64_t value, MemTxAttrs attrs,
                              MemTxResult *result, Section section, unsigned size, bool big_endian)
{
    const FlatView *view = rcu_read(&as->view);
    const FlatRange *range = flatview_at(view, addr);
    uint8_t *host = fast_find(view, range, addr, size, true);

    if (likely(host)) {
        host_store(host, value, size, big_endian);
        done(result, section);
    } else if (section == SECTION_OURS) {
        store_rest_ours(view, range, addr, value, size, big_endian, attrs, result);
    } else {
        store_rest(view, range, addr, value, size, big_endian, attrs, result);
    }
}

#define DEFINE_LOAD(name, bits, big_endian)                                                        \
    static __attribute__((noinline)) uint64_t name##_outer(AddressSpace *as, hwaddr addr,          \
                                                           MemTxAttrs attrs, MemTxResult *result)  \
    {                                                                                              \
        return load_view(as, addr, attrs, result, SECTION_OUTER, bits / 8, big_endian);            \
    }                                                                                              \
    static __attribute__((noinline)) uint64_t name##_ours(AddressSpace *as, hwaddr addr,           \
                                                          MemTxAttrs attrs, MemTxResult *result)   \
    {                                                                                              \
        return load_view(as, addr, attrs, result, SECTION_OURS, bits / 8, big_endian);             \
    }                                                                                              \
    static __attribute__((noinline)) uint64_t name##_first(AddressSpace *as, hwaddr addr,          \
                                                           MemTxAttrs attrs, MemTxResult *result)  \
    {                                                                                              \
        rcu_enter();                                                                               \
        return name##_ours(as, addr, attrs, result);                                               \
    }                                                                                              \
    uint##bits##_t name(AddressSpace *as, hwaddr addr, MemTxAttrs attrs, MemTxResult *result)      \
    {                                                                                              \
        const uint8_t *host;                                                                       \
        uint64_t value;                                                                            \
        if (unlikely(!rcu_registered())) {                                                         \
            return (uint##bits##_t)name##_first(as, addr, attrs, result);                          \
        }                                                                                          \
        if (rcu_enter_unless_inside()) {                                                           \
            host = fast_hit(as, addr, false);                                                      \
            if (unlikely(!host)) {                                                                 \
                return (uint##bits##_t)name##_ours(as, addr, attrs, result);                       \
            }                                                                                      \
            value = host_load(host, bits / 8, big_endian);                                         \
            done(result, SECTION_OURS);                                                            \
        } else {                                                                                   \
            host = fast_hit(as, addr, false);                                                      \
            if (unlikely(!host)) {                                                                 \
                return (uint##bits##_t)name##_outer(as, addr, attrs, result);                      \
            }                                                                                      \
            value = host_load(host, bits / 8, big_endian);                                         \
            done(result, SECTION_OUTER);                                                           \
        }                                                                                          \
        return (uint##bits##_t)value;                                                              \
    }

#define DEFINE_STORE(name, bits, big_endian)                                                       \
    static __attribute__((noinline)) void name##_miss(AddressSpace *as, hwaddr addr,               \
                                                      uint64_t value, MemTxAttrs attrs,            \
                                                      MemTxResult *result, Section section)        \
    {                                                                                              \
        if (section == SECTION_NONE) {                                                             \
            rcu_enter();                                                                           \
            section = SECTION_OURS;                                                                \
        }                                                                                          \
        store_view(as, addr, value, attrs, result, section, bits / 8, big_endian);                 \
    }                                                                                              \
    void name(AddressSpace *as, hwaddr addr, uint##bits##_t val, MemTxAttrs attrs,                 \
              MemTxResult *result)                                                                 \
    {                                                                                              \
        Section section = SECTION_NONE;                                                            \
        uint8_t *host = NULL;                                                                      \
        if (likely(rcu_registered())) {                                                            \
            section = rcu_enter_unless_inside() ? SECTION_OURS : SECTION_OUTER;                    \
            host = fast_hit(as, addr, true);                                                       \
        }                                                                                          \
        if (unlikely(!host)) {                                                                     \
            name##_miss(as, addr, val, attrs, result, section);                                    \
            return;                                                                                \
        }                                                                                          \
        host_store(host, val, bits / 8, big_endian);                                               \
        done(result, section);                                                                     \
    }

DEFINE_LOAD(address_space_ldub, 8, false)
DEFINE_LOAD(address_space_lduw_le, 16, false)
DEFINE_LOAD(address_space_lduw_be, 16, true)
DEFINE_LOAD(address_space_ldl_le, 32, false)
DEFINE_LOAD(address_space_ldl_be, 32, true)
DEFINE_LOAD(address_space_ldq_le, 64, false)
DEFINE_LOAD(address_space_ldq_be, 64, true)
DEFINE_STORE(address_space_stb, 8, false)
DEFINE_STORE(address_space_stw_le, 16, false)
DEFINE_STORE(address_space_stw_be, 16, true)
DEFINE_STORE(address_space_stl_le, 32, false)
DEFINE_STORE(address_space_stl_be, 32, true)
DEFINE_STORE(address_space_stq_le, 64, false)
DEFINE_STORE(address_space_stq_be, 64, true)
