/* SPDX-License-Identifier: MIT */
/*
 * Loads and stores of one width.
 *
 * An access tries the last hit, which calls nothing and so saves no registers; else it jumps,
 * with its section open, to the way through the view; and from there to all that is no plain
 * memory. The section of a caller who holds one is not nested into: storing to the reader's
 * counter would be most of the cost of a hit.
 */
#include "access/fast.h"
#include "access/host.h"
#include "access/mmio.h"
#include "access/rw.h"
#include "ram/log.h"

#include <membus/access.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define OUT_OF_LINE static __attribute__((noinline))
#ifdef __clang__
#define KEEP_ARGUMENTS
#else
#define KEEP_ARGUMENTS __attribute__((noipa)) /* even if they are not used */
#endif

__thread LastHit access_last_hit;

ALWAYS_INLINE unsigned op_size(MemOp op)
{
    return 1U << (op & MO_SIZE);
}

/* A gap, the end of RAM, or across a border: byte by byte, unless it is all one device's. */
OUT_OF_LINE uint64_t load_across(const FlatView *view, const FlatRange *range, hwaddr addr,
                                 MemOp op, MemTxAttrs attrs, MemTxResult *outcome)
{
    unsigned size = op_size(op);
    uint8_t bytes[8] = {0};
    uint64_t value = 0;

    if (range && mmio_wide(range, addr, size, false)) {
        MemoryRegion *mr = range->mr;
        *outcome = mmio_read(mr, range->offset + (addr - range->first), &value, size, attrs);
        return mmio_to_order(mr, value, size, op & MO_BE);
    }
    *outcome = rw_view(view, addr, attrs, bytes, size, RW_READ);
    for (unsigned i = 0; i < size; i++) {
        value |= (uint64_t)bytes[i] << (8 * (op & MO_BE ? size - 1 - i : i));
    }
    return value;
}

OUT_OF_LINE MemTxResult store_across(const FlatView *view, const FlatRange *range, hwaddr addr,
                                     uint64_t value, MemOp op, MemTxAttrs attrs)
{
    unsigned size = op_size(op);
    uint8_t bytes[8];

    if (range && mmio_wide(range, addr, size, true)) {
        MemoryRegion *mr = range->mr;
        value = mmio_to_order(mr, low_bytes(value, size), size, op & MO_BE);
        return mmio_write(mr, range->offset + (addr - range->first), value, size, attrs);
    }
    for (unsigned i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(value >> (8 * (op & MO_BE ? size - 1 - i : i)));
    }
    return rw_view(view, addr, attrs, bytes, size, RW_WRITE);
}

/* The last bytes of a range of RAM, where the fast path stops: still one load of the width. */
static uint64_t load_tail(const uint8_t *host, MemOp op)
{
    switch (op & MO_SIZE) {
    case MO_8:
        return host_load(host, 1, false);
    case MO_16:
        return host_load(host, 2, op & MO_BE);
    case MO_32:
        return host_load(host, 4, op & MO_BE);
    default:
        return host_load(host, 8, op & MO_BE);
    }
}

static void store_tail(uint8_t *host, uint64_t value, MemOp op)
{
    switch (op & MO_SIZE) {
    case MO_8:
        host_store(host, value, 1, false);
        break;
    case MO_16:
        host_store(host, value, 2, op & MO_BE);
        break;
    case MO_32:
        host_store(host, value, 4, op & MO_BE);
        break;
    default:
        host_store(host, value, 8, op & MO_BE);
        break;
    }
}

/*
 * All that is not well inside of RAM; closes the section if it is to `leave`. The order of the
 * arguments keeps those of the access in their registers, and it is called last, so that the
 * way to RAM needs no frame.
 */
ALWAYS_INLINE uint64_t load_elsewhere(const FlatRange *range, hwaddr addr, MemTxAttrs attrs,
                                      MemTxResult *result, const FlatView *view, MemOp op,
                                      bool leave)
{
    unsigned size = op_size(op);
    MemTxResult outcome = MEMTX_OK;
    uint64_t value;

    if (unlikely(!range || range->last - addr < size - 1)) {
        value = load_across(view, range, addr, op, attrs, &outcome);
    } else if (unlikely(range->direct_read)) {
        value = load_tail(range->host + (addr - range->first), op);
    } else {
        MemoryRegion *mr = range->mr;
        hwaddr offset = range->offset + (addr - range->first);
        if (likely(plain_access(mr->plain_read_sizes, offset, size, attrs) && enter_device(mr))) {
            value = low_bytes(mr->ops->read(mr->opaque, offset, size), size);
            leave_device(mr);
        } else {
            outcome = mmio_read(mr, offset, &value, size, attrs);
        }
        value = mmio_to_order(mr, value, size, op & MO_BE);
    }
    if (leave) {
        rcu_leave();
    }
    if (result) {
        *result = outcome;
    }
    return value;
}

OUT_OF_LINE uint64_t load_elsewhere_stay(const FlatRange *range, hwaddr addr, MemTxAttrs attrs,
                                         MemTxResult *result, const FlatView *view, MemOp op)
{
    return load_elsewhere(range, addr, attrs, result, view, op, false);
}

OUT_OF_LINE uint64_t load_elsewhere_leave(const FlatRange *range, hwaddr addr, MemTxAttrs attrs,
                                          MemTxResult *result, const FlatView *view, MemOp op)
{
    return load_elsewhere(range, addr, attrs, result, view, op, true);
}

OUT_OF_LINE MemTxResult store_elsewhere(const FlatView *view, const FlatRange *range, hwaddr addr,
                                        uint64_t value, MemOp op, MemTxAttrs attrs)
{
    unsigned size = op_size(op);

    if (unlikely(!range || range->last - addr < size - 1)) {
        return store_across(view, range, addr, value, op, attrs);
    }
    MemoryRegion *mr = range->mr;
    hwaddr offset = range->offset + (addr - range->first);
    if (likely(range->direct_write)) {
        ram_before_write(mr->ram_block, offset, size);
        store_tail(range->host + (addr - range->first), value, op);
        ram_after_write(mr->ram_block, offset, size);
        return MEMTX_OK;
    }
    if (unlikely(mr->ram)) {
        return store_across(view, range, addr, value, op, attrs); /* read-only, or a device's RAM */
    }
    value = mmio_to_order(mr, low_bytes(value, size), size, op & MO_BE);
    if (likely(plain_access(mr->plain_write_sizes, offset, size, attrs) && enter_device(mr))) {
        mr->ops->write(mr->opaque, offset, value, size);
        leave_device(mr);
        return MEMTX_OK;
    }
    return mmio_write(mr, offset, value, size, attrs);
}

ALWAYS_INLINE uint64_t load_by_view(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                    MemTxResult *result, bool leave, MemOp op)
{
    const FlatView *view = rcu_read(&as->view);
    const FlatRange *range = flatview_at(view, addr);
    const uint8_t *host = fast_find(view, range, addr, false);

    if (unlikely(!host)) {
        return leave ? load_elsewhere_leave(range, addr, attrs, result, view, op)
                     : load_elsewhere_stay(range, addr, attrs, result, view, op);
    }
    uint64_t value = host_load(host, op_size(op), op & MO_BE);
    if (leave) {
        rcu_leave();
    }
    if (result) {
        *result = MEMTX_OK;
    }
    return value;
}

ALWAYS_INLINE void store_by_view(AddressSpace *as, hwaddr addr, uint64_t value, MemTxAttrs attrs,
                                 MemTxResult *result, bool leave, MemOp op)
{
    const FlatView *view = rcu_read(&as->view);
    const FlatRange *range = flatview_at(view, addr);
    uint8_t *host = fast_find(view, range, addr, true);
    MemTxResult outcome = MEMTX_OK;

    if (unlikely(!host)) {
        outcome = store_elsewhere(view, range, addr, value, op, attrs);
    } else {
        host_store(host, value, op_size(op), op & MO_BE);
    }
    if (leave) {
        rcu_leave();
    }
    if (result) {
        *result = outcome;
    }
}

ALWAYS_INLINE bool is_marked(const FlatRange *range, hwaddr offset)
{
    uint64_t word =
        __atomic_load_n(&range->log_words[offset / (64 * RAM_PAGE_SIZE)], __ATOMIC_ACQUIRE);

    return word >> (offset / RAM_PAGE_SIZE) % 64 & 1;
}

/* The last hit, if it holds for @as and has 8 bytes of memory at @addr; else NULL. */
ALWAYS_INLINE const FlatRange *store_hit(const AddressSpace *as, hwaddr addr)
{
    const FlatRange *range = access_last_hit.range;

    if (unlikely(__atomic_load_n(&as->view_id, __ATOMIC_RELAXED) != access_last_hit.view_id ||
                 addr - range->first >= range->room)) {
        return NULL;
    }
    return range;
}

typedef enum QuickResult {
    QUICK_DONE,
    QUICK_NOT,  /* nothing was stored: it is not that simple */
    QUICK_MARK, /* stored, and the page has no mark */
} QuickResult;

/* A store to a range with one client: a plain one, but for a look at the page's mark. */
ALWAYS_INLINE QuickResult store_logged(const FlatRange *range, hwaddr addr, uint64_t value,
                                       MemOp op)
{
    unsigned size = op_size(op);
    hwaddr offset = range->offset + (addr - range->first);
    bool logged = range->quick_store == QUICK_STORE_LOGGED;

    if (unlikely(offset & (size - 1))) {
        return QUICK_NOT;
    }
    if (unlikely(!logged && (range->quick_store == QUICK_STORE_NOT || !is_marked(range, offset)))) {
        return QUICK_NOT;
    }
    host_store(range->host + (addr - range->first), value, size, op & MO_BE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* light: such ranges are with membarrier only */
    return likely(!logged || is_marked(range, offset)) ? QUICK_DONE : QUICK_MARK;
}

/*
 * What is left of a store that was QUICK_MARK. The arguments are those of the store and stay in
 * their registers.
 */
ALWAYS_INLINE void mark_last_hit(hwaddr addr, MemTxResult *result, unsigned size, bool leave)
{
    const FlatRange *range = access_last_hit.range;

    ram_after_write(range->mr->ram_block, range->offset + (addr - range->first), size);
    if (leave) {
        rcu_leave();
    }
    if (result) {
        *result = MEMTX_OK;
    }
}

KEEP_ARGUMENTS OUT_OF_LINE void mark_last_hit_stay(AddressSpace *as, hwaddr addr, uint64_t value,
                                                   MemTxAttrs attrs, MemTxResult *result,
                                                   unsigned size)
{
    (void)as;
    (void)value;
    (void)attrs;
    mark_last_hit(addr, result, size, false);
}

KEEP_ARGUMENTS OUT_OF_LINE void mark_last_hit_leave(AddressSpace *as, hwaddr addr, uint64_t value,
                                                    MemTxAttrs attrs, MemTxResult *result,
                                                    unsigned size)
{
    (void)as;
    (void)value;
    (void)attrs;
    mark_last_hit(addr, result, size, true);
}

/* `view` and `view_leave` go on in the section at hand; `first` is a thread's first access. */
#define DEFINE_LOAD(name, type, op)                                                                \
    OUT_OF_LINE type name##_view(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,                  \
                                 MemTxResult *result)                                              \
    {                                                                                              \
        return (type)load_by_view(as, addr, attrs, result, false, op);                             \
    }                                                                                              \
    OUT_OF_LINE type name##_view_leave(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,            \
                                       MemTxResult *result)                                        \
    {                                                                                              \
        return (type)load_by_view(as, addr, attrs, result, true, op);                              \
    }                                                                                              \
    OUT_OF_LINE type name##_first(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,                 \
                                  MemTxResult *result)                                             \
    {                                                                                              \
        rcu_enter();                                                                               \
        return name##_view_leave(as, addr, attrs, result);                                         \
    }                                                                                              \
    type name(AddressSpace *as, hwaddr addr, MemTxAttrs attrs, MemTxResult *result)                \
    {                                                                                              \
        const uint8_t *host;                                                                       \
        uint64_t value;                                                                            \
        if (unlikely(!rcu_registered())) {                                                         \
            return name##_first(as, addr, attrs, result);                                          \
        }                                                                                          \
        if (rcu_enter_unless_inside()) {                                                           \
            host = fast_hit(as, addr, false);                                                      \
            if (unlikely(!host)) {                                                                 \
                return name##_view_leave(as, addr, attrs, result);                                 \
            }                                                                                      \
            value = host_load(host, op_size(op), (op)&MO_BE);                                      \
            rcu_leave();                                                                           \
        } else {                                                                                   \
            host = fast_hit(as, addr, false);                                                      \
            if (unlikely(!host)) {                                                                 \
                return name##_view(as, addr, attrs, result);                                       \
            }                                                                                      \
            value = host_load(host, op_size(op), (op)&MO_BE);                                      \
        }                                                                                          \
        if (result) {                                                                              \
            *result = MEMTX_OK;                                                                    \
        }                                                                                          \
        return (type)value;                                                                        \
    }

#define DEFINE_STORE(name, type, op)                                                               \
    OUT_OF_LINE void name##_view(AddressSpace *as, hwaddr addr, type val, MemTxAttrs attrs,        \
                                 MemTxResult *result)                                              \
    {                                                                                              \
        store_by_view(as, addr, val, attrs, result, false, op);                                    \
    }                                                                                              \
    OUT_OF_LINE void name##_view_leave(AddressSpace *as, hwaddr addr, type val, MemTxAttrs attrs,  \
                                       MemTxResult *result)                                        \
    {                                                                                              \
        store_by_view(as, addr, val, attrs, result, true, op);                                     \
    }                                                                                              \
    OUT_OF_LINE void name##_logged(AddressSpace *as, hwaddr addr, type val, MemTxAttrs attrs,      \
                                   MemTxResult *result, const FlatRange *range)                    \
    {                                                                                              \
        QuickResult quick = store_logged(range, addr, val, op);                                    \
        if (unlikely(quick == QUICK_NOT)) {                                                        \
            name##_view(as, addr, val, attrs, result);                                             \
        } else if (unlikely(quick == QUICK_MARK)) {                                                \
            mark_last_hit_stay(as, addr, val, attrs, result, op_size(op));                         \
        } else if (result) {                                                                       \
            *result = MEMTX_OK;                                                                    \
        }                                                                                          \
    }                                                                                              \
    OUT_OF_LINE void name##_logged_leave(AddressSpace *as, hwaddr addr, type val,                  \
                                         MemTxAttrs attrs, MemTxResult *result,                    \
                                         const FlatRange *range)                                   \
    {                                                                                              \
        QuickResult quick = store_logged(range, addr, val, op);                                    \
        if (unlikely(quick == QUICK_NOT)) {                                                        \
            name##_view_leave(as, addr, val, attrs, result);                                       \
            return;                                                                                \
        }                                                                                          \
        if (unlikely(quick == QUICK_MARK)) {                                                       \
            mark_last_hit_leave(as, addr, val, attrs, result, op_size(op));                        \
            return;                                                                                \
        }                                                                                          \
        rcu_leave();                                                                               \
        if (result) {                                                                              \
            *result = MEMTX_OK;                                                                    \
        }                                                                                          \
    }                                                                                              \
    OUT_OF_LINE void name##_first(AddressSpace *as, hwaddr addr, type val, MemTxAttrs attrs,       \
                                  MemTxResult *result)                                             \
    {                                                                                              \
        rcu_enter();                                                                               \
        name##_view_leave(as, addr, val, attrs, result);                                           \
    }                                                                                              \
    void name(AddressSpace *as, hwaddr addr, type val, MemTxAttrs attrs, MemTxResult *result)      \
    {                                                                                              \
        const FlatRange *range;                                                                    \
        if (unlikely(!rcu_registered())) {                                                         \
            name##_first(as, addr, val, attrs, result);                                            \
            return;                                                                                \
        }                                                                                          \
        if (rcu_enter_unless_inside()) {                                                           \
            range = store_hit(as, addr);                                                           \
            if (unlikely(!range)) {                                                                \
                name##_view_leave(as, addr, val, attrs, result);                                   \
                return;                                                                            \
            }                                                                                      \
            if (unlikely(range->quick_store != QUICK_STORE_PLAIN)) {                               \
                name##_logged_leave(as, addr, val, attrs, result, range);                          \
                return;                                                                            \
            }                                                                                      \
            host_store(range->host + (addr - range->first), val, op_size(op), (op)&MO_BE);         \
            rcu_leave();                                                                           \
        } else {                                                                                   \
            range = store_hit(as, addr);                                                           \
            if (unlikely(!range)) {                                                                \
                name##_view(as, addr, val, attrs, result);                                         \
                return;                                                                            \
            }                                                                                      \
            if (unlikely(range->quick_store != QUICK_STORE_PLAIN)) {                               \
                name##_logged(as, addr, val, attrs, result, range);                                \
                return;                                                                            \
            }                                                                                      \
            host_store(range->host + (addr - range->first), val, op_size(op), (op)&MO_BE);         \
        }                                                                                          \
        if (result) {                                                                              \
            *result = MEMTX_OK;                                                                    \
        }                                                                                          \
    }

DEFINE_LOAD(address_space_ldub, uint8_t, MO_8)
DEFINE_LOAD(address_space_lduw_le, uint16_t, MO_16)
DEFINE_LOAD(address_space_lduw_be, uint16_t, MO_16 | MO_BE)
DEFINE_LOAD(address_space_ldl_le, uint32_t, MO_32)
DEFINE_LOAD(address_space_ldl_be, uint32_t, MO_32 | MO_BE)
DEFINE_LOAD(address_space_ldq_le, uint64_t, MO_64)
DEFINE_LOAD(address_space_ldq_be, uint64_t, MO_64 | MO_BE)
DEFINE_STORE(address_space_stb, uint8_t, MO_8)
DEFINE_STORE(address_space_stw_le, uint16_t, MO_16)
DEFINE_STORE(address_space_stw_be, uint16_t, MO_16 | MO_BE)
DEFINE_STORE(address_space_stl_le, uint32_t, MO_32)
DEFINE_STORE(address_space_stl_be, uint32_t, MO_32 | MO_BE)
DEFINE_STORE(address_space_stq_le, uint64_t, MO_64)
DEFINE_STORE(address_space_stq_be, uint64_t, MO_64 | MO_BE)
