/* SPDX-License-Identifier: MIT */
/*
 * fast.h - the reader's fast path.
 *
 * Each thread remembers the last range of direct memory that it hit, and the id of the view
 * that the answer is from. The answer holds while the address space shows that view: one
 * comparison. Ids are never used twice, so a view freed and another at its address cannot be
 * mistaken (a pointer could).
 *
 * The order in which a commit stores view and id does not matter to correctness: the entry is
 * filed under the id found in the view itself, and compared inside a read section, in which
 * what the view showed stays alive, whether or not a newer one has just been published.
 *
 * No reader ever writes a cache line that another thread reads.
 */
#ifndef ACCESS_FAST_H
#define ACCESS_FAST_H

#include "map/flatview.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

typedef struct LastHit {
    uint64_t view_id; /* 0: nothing yet */
    const FlatRange *range;
} LastHit;

extern __thread LastHit access_last_hit;

/* The bytes at @addr in @range, if 8 fit and need nothing but the access; else NULL. */
static inline uint8_t *fast_host(const FlatRange *range, hwaddr addr, bool is_write)
{
    hwaddr offset = addr - range->first;

    if (likely(offset < range->room && (!is_write || range->quick_store == QUICK_STORE_PLAIN))) {
        uint8_t *host = range->host + offset;
        if (!host) {
            __builtin_unreachable(); /* saves the caller a test */
        }
        return host;
    }
    return NULL;
}

/* The same through the last hit, if that holds for @as. Context: RCU reader. */
static inline uint8_t *fast_hit(const AddressSpace *as, hwaddr addr, bool is_write)
{
    const LastHit *hit = &access_last_hit;

    if (likely(__atomic_load_n(&as->view_id, __ATOMIC_RELAXED) == hit->view_id)) {
        return fast_host(hit->range, addr, is_write);
    }
    return NULL;
}

/* The same through @view, whose range at @addr is @range: the hit to remember. */
static inline uint8_t *fast_find(const FlatView *view, const FlatRange *range, hwaddr addr,
                                 bool is_write)
{
    if (unlikely(!range || addr - range->first >= range->room)) {
        return NULL;
    }
    access_last_hit = (LastHit){view->id, range};
    return fast_host(range, addr, is_write);
}

#endif
