/* SPDX-License-Identifier: MIT */
/*
 * flatview.h - a flat view: a persistent radix tree from addresses to ranges.
 *
 *   root ──► node ──► node ──► range          bits of the address:  ..|23..18|17..12|..
 *             │ 64     │ 64                    an inner node has 64 slots for 6 bits; a slot is
 *             │ slots  │ slots                 bare (0), a range, or a node for the next 6 bits
 *
 * A range stands in every slot that it fills wholly, at whatever level, down to single bytes: a
 * 1 GiB aligned range is one slot, a port is a slot at the lowest level, and no other structure
 * is needed for what is smaller than a page. The tree is as high as the highest address in use
 * asks for.
 *
 * Guarantees:
 *  F1  A published view and all that it reaches never change.
 *  F2  Each range is one FlatRange object, whatever the number of its slots; neighbours that
 *      the contract merges are one range. Hence two slots show the same range if and only if
 *      they are equal.
 *  F3  A node's birth is not below its children's: who shares a node with an older view shares
 *      all below it.
 *  F4  Trees are minimal: no node has 64 equal leaves, no root has all but its first slot bare.
 */
#ifndef MAP_FLATVIEW_H
#define MAP_FLATVIEW_H

#include "map/signals.h"
#include "sync/rcu.h"

#include <membus/space.h>

#define VIEW_BITS 6
#define VIEW_FANOUT (1U << VIEW_BITS)

/* What a store of at most 8 bytes may do without asking any further. */
typedef enum QuickStore {
    QUICK_STORE_NOT,
    QUICK_STORE_PLAIN,
    QUICK_STORE_LOGGED, /* and then its page is to be marked in log_words */
    QUICK_STORE_KEPT,   /* if its page is marked there, that is, if a snapshot has kept it */
} QuickStore;

typedef struct FlatRange {
    /* what the access fast path reads: one cache line */
    hwaddr first, last;
    uint8_t *host; /* of the first byte, where access is direct */
    MemoryRegion *mr;
    hwaddr offset; /* of the first byte, in mr */
    hwaddr room;   /* how many offsets from `first` have 8 bytes of direct memory after them */
    bool direct_read, direct_write; /* writes may have to be logged (ram/log.h) */
    bool romd, readonly, nonvolatile, unmergeable;
    uint8_t dirty_log_mask;
    uint8_t quick_store;       /* a QuickStore */
    const uint64_t *log_words; /* of the only client that logs the range, a bit for each page */

    RegionSignals *signals;
    bool dropped;           /* made and replaced within one edit */
    uint64_t birth;         /* id of the first view that shows it */
    struct FlatRange *link; /* fresh or dead ranges */
} FlatRange;

typedef uintptr_t ViewSlot;

typedef struct ViewNode {
    _Alignas(64) ViewSlot slot[VIEW_FANOUT];
    uint64_t birth;
    struct ViewNode *dead_next;
} ViewNode;

struct FlatView {
    ViewSlot root;
    unsigned shift; /* address bits below those that index the root node */
    hwaddr limit;   /* the last address that the tree reaches; above, all is bare */
    uint64_t id;
    long references;
    struct ViewLineage *lineage;
    FlatView *older, *newer; /* living views of the lineage; views_lock */
    ViewNode *dead_nodes;    /* what the next newer view replaced; see lineage.c */
    FlatRange *dead_ranges;
    uint64_t time; /* ns */
    struct rcu_head rcu;
};

static inline bool slot_is_node(ViewSlot slot)
{
    return slot & 1;
}

static inline ViewNode *slot_node(ViewSlot slot)
{
    return (ViewNode *)(slot - 1); // NOLINT(performance-no-int-to-ptr)
}

static inline const FlatRange *slot_range(ViewSlot slot)
{
    return (const FlatRange *)slot; // NOLINT(performance-no-int-to-ptr)
}

/* The range that covers @addr, NULL if it is bare. Context: RCU reader, or view held. */
static inline const FlatRange *flatview_at(const FlatView *view, hwaddr addr)
{
    ViewSlot slot = addr <= view->limit ? view->root : 0;

    for (unsigned shift = view->shift; slot_is_node(slot); shift -= VIEW_BITS) {
        slot = slot_node(slot)->slot[(addr >> shift) % VIEW_FANOUT];
    }
    return slot_range(slot);
}

/* The first range that ends at @addr or above. */
const FlatRange *flatview_from(const FlatView *view, hwaddr addr);

/*
 * An edit: a new view made from an old one, whose nodes it shares until it touches them.
 */
typedef struct ViewEdit {
    MemorySystem *ms;
    FlatView *view;       /* the new one, not yet published; its id is the birth of what is new */
    ViewNode *dead_nodes; /* of the old view, replaced */
    FlatRange *dead_ranges;
    FlatRange *fresh; /* made by this edit */
    bool changed;
} ViewEdit;

/* @view is a copy of the old view's tree fields. */
void view_edit_begin(ViewEdit *edit, MemorySystem *ms, FlatView *view);

/*
 * Replace what the view shows in [first, last] by @count @ranges: templates (first, last, mr,
 * offset, flags), ascending, inside the window, adjacent ones not mergeable. Neighbours outside
 * the window that merge or get cut become new ranges; ranges that come out as they were are
 * left alone. Returns 0 or -ENOMEM.
 */
int view_edit_splice(ViewEdit *edit, hwaddr first, hwaddr last, const FlatRange *ranges,
                     size_t count);

/* Drop everything that the edit made. */
void view_edit_abort(ViewEdit *edit);
/* The edit is complete; it can still be aborted until the view is published. */
void view_edit_finish(ViewEdit *edit);

void flatrange_free(MemorySystem *ms, FlatRange *range);

/* Neighbours by address: does @b go on where @a ends, as one range? */
bool flatrange_can_merge(const FlatRange *a, const FlatRange *b);
/*
 * The same range with the same answer; the dirty-log mask and the signals are left out of the
 * comparison.
 */
bool flatrange_same(const FlatRange *a, const FlatRange *b);

static inline bool flatrange_identical(const FlatRange *a, const FlatRange *b)
{
    return flatrange_same(a, b) && a->dirty_log_mask == b->dirty_log_mask &&
           a->signals == b->signals;
}

/* Fill @section from @range, cut to [first, last]. */
void flatrange_section(const FlatRange *range, const FlatView *view, hwaddr first, hwaddr last,
                       MemoryRegionSection *section);

/*
 * Walk the differences of two views by ascending address. @visit gets a range of @a that is not
 * in @b (b NULL), one of
 * @b that is not in @a, or both for a range that differs in mask or signals only.
 */
void flatview_compare(const FlatView *a, const FlatView *b,
                      void (*visit)(const FlatRange *before, const FlatRange *after, void *opaque),
                      void *opaque);

#endif
