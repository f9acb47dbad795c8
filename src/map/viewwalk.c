/* SPDX-License-Identifier: MIT */
/*
 * Walking views: in order, and two against each other.
 *
 * Two views of one lineage share every node that no commit between them touched, so a
 * comparison that skips equal slots takes time in proportion to what differs. By F2 of
 * flatview.h unequal slots are the only places where ranges can differ.
 */
#include "base/range.h"
#include "map/flatview.h"
#include "map/lineage.h"

#include <string.h>

/* The first range at or after @from under @slot, whose block starts at @base. */
static const FlatRange *first_range(ViewSlot slot, unsigned shift, hwaddr base, hwaddr from)
{
    if (!slot_is_node(slot)) {
        return slot_range(slot);
    }
    unsigned i = from > base ? (unsigned)(from >> shift) % VIEW_FANOUT : 0;
    for (; i < VIEW_FANOUT; i++) {
        ViewSlot child = slot_node(slot)->slot[i];
        if (child) {
            const FlatRange *range =
                first_range(child, shift - VIEW_BITS, base + ((hwaddr)i << shift), from);
            if (range) {
                return range;
            }
        }
    }
    return NULL;
}

const FlatRange *flatview_from(const FlatView *view, hwaddr addr)
{
    return addr <= view->limit ? first_range(view->root, view->shift, 0, addr) : NULL;
}

typedef struct Subtree {
    ViewSlot slot;
    unsigned shift; /* as FlatView.shift: the slot's block has shift + VIEW_BITS bits */
} Subtree;

/* What @tree shows in the i-th block of a node with @shift; a lower tree is all in the first. */
static Subtree subtree_child(Subtree tree, unsigned shift, unsigned i)
{
    if (tree.shift < shift) {
        return i == 0 ? tree : (Subtree){0, shift - VIEW_BITS};
    }
    return (Subtree){slot_is_node(tree.slot) ? slot_node(tree.slot)->slot[i] : tree.slot,
                     shift - VIEW_BITS};
}

/* The first block from the @i-th on of a node with @shift that the trees do not share. */
static unsigned skip_shared(Subtree a, Subtree b, unsigned shift, unsigned i, unsigned count)
{
    if (a.shift == shift && b.shift == shift && slot_is_node(a.slot) && slot_is_node(b.slot)) {
        const ViewSlot *one = slot_node(a.slot)->slot, *other = slot_node(b.slot)->slot;
        while (i < count && one[i] == other[i]) {
            i++;
        }
    }
    return i;
}

/* Find the first address from @from on at which the slots of the two trees at @base differ. */
static bool find_difference(Subtree a, Subtree b, hwaddr base, hwaddr from, hwaddr *at)
{
    if (a.slot == b.slot && a.shift == b.shift) {
        return false;
    }
    if (!a.slot && !b.slot) {
        return false;
    }
    if (a.shift == b.shift && !slot_is_node(a.slot) && !slot_is_node(b.slot)) {
        *at = hwaddr_max(base, from);
        return true;
    }
    unsigned shift = a.shift > b.shift ? a.shift : b.shift;
    unsigned count = shift + VIEW_BITS > 64 ? 1U << (64 - shift) : VIEW_FANOUT;
    unsigned i = from > base ? (unsigned)(from >> shift) % VIEW_FANOUT : 0;
    while ((i = skip_shared(a, b, shift, i, count)) < count) {
        if (find_difference(subtree_child(a, shift, i), subtree_child(b, shift, i),
                            base + ((hwaddr)i << shift), from, at)) {
            return true;
        }
        i++;
    }
    return false;
}

static bool next_difference(const FlatView *a, const FlatView *b, hwaddr from, hwaddr *at)
{
    if (from > a->limit && from > b->limit) {
        return false;
    }
    return find_difference((Subtree){a->root, a->shift}, (Subtree){b->root, b->shift}, 0, from, at);
}

/* The end of what can be judged at @at: of the range there, or of the gap before the next one. */
static hwaddr last_alike(const FlatView *view, const FlatRange *range, hwaddr at)
{
    if (range) {
        return range->last;
    }
    const FlatRange *next = flatview_from(view, at);
    return next ? next->first - 1 : UINT64_MAX;
}

void flatview_compare(const FlatView *a, const FlatView *b,
                      void (*visit)(const FlatRange *before, const FlatRange *after, void *opaque),
                      void *opaque)
{
    hwaddr at = 0, from = 0;

    if (a == b) {
        return;
    }
    while (next_difference(a, b, from, &at)) {
        const FlatRange *before = flatview_at(a, at), *after = flatview_at(b, at);
        hwaddr last = hwaddr_min(last_alike(a, before, at), last_alike(b, after, at));

        if (before && after && flatrange_same(before, after)) {
            if (!flatrange_identical(before, after)) {
                visit(before, after, opaque);
            }
        } else {
            /* A range that began before `at` began in the previous difference: it has been told. */
            if (before && before->first >= from) {
                visit(before, NULL, opaque);
            }
            if (after && after->first >= from) {
                visit(NULL, after, opaque);
            }
        }
        if (last == UINT64_MAX) {
            return;
        }
        from = last + 1;
    }
}

/* ---- the public face ------------------------------------------------------------- */

void flatrange_section(const FlatRange *range, const FlatView *view, hwaddr first, hwaddr last,
                       MemoryRegionSection *section)
{
    *section = (MemoryRegionSection){
        .mr = range->mr,
        .fv = (FlatView *)view,
        .offset_within_region = range->offset + (first - range->first),
        .offset_within_address_space = first,
        .last_within_address_space = last,
        .size = range_size(first, last),
        .romd = range->romd,
        .readonly = range->readonly,
        .nonvolatile = range->nonvolatile,
        .unmergeable = range->unmergeable,
        .dirty_log_mask = range->dirty_log_mask,
    };
}

static bool give_section(const FlatView *view, const FlatRange *range, MemoryRegionSection *section)
{
    if (!range) {
        memset(section, 0, sizeof *section);
        return false;
    }
    flatrange_section(range, view, range->first, range->last, section);
    return true;
}

bool flatview_lookup(const FlatView *view, hwaddr addr, MemoryRegionSection *section)
{
    return give_section(view, flatview_at(view, addr), section);
}

bool flatview_next(const FlatView *view, hwaddr addr, MemoryRegionSection *section)
{
    return give_section(view, flatview_from(view, addr), section);
}

struct SectionDiff {
    const FlatView *a, *b;
    FlatViewDiffFn *fn;
    void *opaque;
};

static void tell_sections(const FlatRange *before, const FlatRange *after, void *opaque)
{
    struct SectionDiff *diff = opaque;
    MemoryRegionSection old, new;

    if (before && after && before->dirty_log_mask == after->dirty_log_mask) {
        return; /* only the signals differ */
    }
    if (before) {
        flatrange_section(before, diff->a, before->first, before->last, &old);
    }
    if (after) {
        flatrange_section(after, diff->b, after->first, after->last, &new);
    }
    diff->fn(before ? &old : NULL, after ? &new : NULL, diff->opaque);
}

void flatview_diff(const FlatView *a, const FlatView *b, FlatViewDiffFn *fn, void *opaque)
{
    struct SectionDiff diff = {a, b, fn, opaque};

    flatview_compare(a, b, tell_sections, &diff);
}

static void note_difference(const MemoryRegionSection *before, const MemoryRegionSection *after,
                            void *opaque)
{
    (void)before;
    (void)after;
    *(bool *)opaque = true;
}

bool flatview_equal(const FlatView *a, const FlatView *b)
{
    bool differs = false;

    flatview_diff(a, b, note_difference, &differs);
    return !differs;
}

MemoryRegion *flatview_root(const FlatView *view)
{
    return view->lineage->root;
}

uint64_t flatview_id(const FlatView *view)
{
    return view->id;
}

uint64_t flatview_time(const FlatView *view)
{
    return view->time;
}
