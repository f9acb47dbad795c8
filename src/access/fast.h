/* SPDX-License-Identifier: MIT */
/*
 * fast.h - the reader's fast path.
 *
 * Each thread remembers the last range of direct memory that it hit, and the id of the view that the answer is
 * from. The answer holds while the address space shows that view: one comparison. Ids are never used
 * twice, so a view freed and another at its address cannot be mistaken (a pointer could).
 *
 * The order in which a commit stores view and id does not matter to correctness: the entry is filed under the id
 * found in the view itself, and compared inside a read section, in which what the view showed stays
 * alive, whether or not a newer one has just been published.
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

/*
 * Host memory of up to 8 bytes at @addr, if the last hit has them; else NULL. Context: RCU reader.
 */
static inline uint8_t *fast_hit(const AddressSpace *as, hwaddr addr, bool is_write)
{
    const LastHit *hit = &access_last_hit;

    if (likely(__atomic_load_n(&as->view_id, __ATOMIC_RELAXED) == hit->view_id)) {
        const FlatRange *range = hit->range;
        hwaddr offset = addr - range->first;
        if (likely(offset <= range->span && (!is_write || range->direct_write))) {
            return range->host + offset;
        }
    }
    return NULL;
}

static inline void fast_remember(const FlatView *view, const FlatRange *range)
{
    if (likely(range->cacheable)) {
        access_last_hit = (LastHit){view->id, range};
    }
}

/* The same for the @size bytes at @addr through @view, whose range there is @range. */
static inline uint8_t *fast_find(const FlatView *view, const FlatRange *range, hwaddr addr,
                                 unsigned size, bool is_write)
{
    if (likely(range && (is_write ? range->direct_write : range->direct_read) &&
               range->last - addr >= size - 1)) {
        fast_remember(view, range);
        return range->host + (addr - range->first);
    }
    return NULL;
}

#endif
