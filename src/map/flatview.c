/* SPDX-License-Identifier: MIT */
/*
 * Editing a view: copy the path, share the rest.
 *
 *      old root ─► A ─► B ─► C            a splice in the window under C makes A' B' C';
 *      new root ─► A'─► B'─► C'           all other children of A' and B' are those of A and B.
 *
 * A node or range born in this edit (birth == view->id) is seen by nobody yet and is changed in
 * place. One that is older belongs to the old view too: it is put on the edit's dead list,
 * which goes to the old view when the new one is published (lineage.c says when it is freed).
 */
#include "map/flatview.h"

#include "base/error.h"
#include "base/range.h"
#include "map/system.h"

#include <string.h>

/* ---- nodes ------------------------------------------------------------------- */

static hwaddr block_mask(unsigned shift)
{
    return shift + VIEW_BITS >= 64 ? UINT64_MAX : ((hwaddr)1 << (shift + VIEW_BITS)) - 1;
}

/* Slots that exist: at the top level only 4 bits are left of the address. */
static unsigned slot_count(unsigned shift)
{
    return shift + VIEW_BITS > 64 ? 1U << (64 - shift) : VIEW_FANOUT;
}

static ViewSlot node_slot(const ViewNode *node)
{
    return (ViewSlot)node + 1;
}

static void drop_node(ViewEdit *edit, ViewNode *node)
{
    if (node->birth == edit->view->id) {
        pool_free(&edit->ms->nodes, node);
    } else {
        node->dead_next = edit->dead_nodes;
        edit->dead_nodes = node;
    }
}

static void drop_subtree(ViewEdit *edit, ViewSlot slot)
{
    if (!slot_is_node(slot)) {
        return;
    }
    ViewNode *node = slot_node(slot);
    for (unsigned i = 0; i < VIEW_FANOUT; i++) {
        if (slot_is_node(node->slot[i])) {
            drop_subtree(edit, node->slot[i]);
        }
    }
    drop_node(edit, node);
}

/*
 * The node under @slot, ours to change: made from a leaf, copied from the old view, or ours
 * already.
 */
static ViewNode *writable_node(ViewEdit *edit, ViewSlot *slot, unsigned shift)
{
    ViewNode *old = slot_is_node(*slot) ? slot_node(*slot) : NULL;

    if (old && old->birth == edit->view->id) {
        return old;
    }
    ViewNode *node = pool_alloc(&edit->ms->nodes);
    if (!node) {
        return NULL;
    }
    if (old) {
        memcpy(node->slot, old->slot, sizeof node->slot);
        drop_node(edit, old);
    } else {
        unsigned count = slot_count(shift);
        for (unsigned i = 0; i < VIEW_FANOUT; i++) {
            node->slot[i] = i < count ? *slot : 0;
        }
    }
    node->birth = edit->view->id;
    *slot = node_slot(node);
    return node;
}

/* F4: a node whose leaves are all equal becomes that leaf. */
static void collapse(ViewEdit *edit, ViewSlot *slot, unsigned shift)
{
    ViewNode *node = slot_node(*slot);
    unsigned count = slot_count(shift);
    ViewSlot leaf = node->slot[0];

    if (slot_is_node(leaf)) {
        return;
    }
    for (unsigned i = count; i-- > 1;) {
        if (node->slot[i] != leaf) {
            return;
        }
    }
    *slot = leaf;
    drop_node(edit, node);
}

/* Put @value into all slots of [first, last] under @slot, whose block starts at @base. */
static bool fill(ViewEdit *edit, ViewSlot *slot, unsigned shift, hwaddr base, hwaddr first,
                 hwaddr last, ViewSlot value)
{
    hwaddr block_last = base + block_mask(shift);

    if (*slot == value) {
        return true;
    }
    edit->changed = true;
    if (first <= base && block_last <= last) {
        drop_subtree(edit, *slot);
        *slot = value;
        return true;
    }
    ViewNode *node = writable_node(edit, slot, shift);
    if (!node) {
        return false;
    }
    unsigned from = (unsigned)(hwaddr_max(first, base) >> shift) % VIEW_FANOUT;
    unsigned to = (unsigned)(hwaddr_min(last, block_last) >> shift) % VIEW_FANOUT;
    for (unsigned i = from; i <= to; i++) {
        ViewSlot *child = &node->slot[i];
        if (shift == 0 || (i > from && i < to && !slot_is_node(*child))) {
            *child = value;
        } else if (!fill(edit, child, shift - VIEW_BITS, base + ((hwaddr)i << shift), first, last,
                         value)) {
            return false;
        }
    }
    collapse(edit, slot, shift);
    return true;
}

/* Raise the tree until it reaches @last. */
static bool grow(ViewEdit *edit, hwaddr last)
{
    FlatView *view = edit->view;

    while (last > view->limit) {
        unsigned shift = view->shift + VIEW_BITS;
        if (view->root) {
            ViewNode *node = pool_alloc(&edit->ms->nodes);
            if (!node) {
                return false;
            }
            memset(node->slot, 0, sizeof node->slot);
            node->slot[0] = view->root;
            node->birth = view->id;
            view->root = node_slot(node);
        }
        view->shift = shift;
        view->limit = block_mask(shift);
    }
    return true;
}

/* F4: lower the tree while only the first slot of the root is in use. */
static void shrink(ViewEdit *edit)
{
    FlatView *view = edit->view;

    while (view->shift && (!view->root || slot_is_node(view->root))) {
        if (view->root) {
            ViewNode *node = slot_node(view->root);
            for (unsigned i = 1; i < VIEW_FANOUT; i++) {
                if (node->slot[i]) {
                    return;
                }
            }
            view->root = node->slot[0];
            drop_node(edit, node);
        }
        view->shift -= VIEW_BITS;
        view->limit = block_mask(view->shift);
    }
}

static bool show_range(ViewEdit *edit, const FlatRange *range)
{
    FlatView *view = edit->view;

    return grow(edit, range->last) &&
           fill(edit, &view->root, view->shift, 0, range->first, range->last, (ViewSlot)range);
}

static bool show_nothing(ViewEdit *edit, hwaddr first, hwaddr last)
{
    FlatView *view = edit->view;
    const FlatRange *next = flatview_from(view, first);

    /* Look before filling: fill would copy the path to slots that are bare already. */
    return !next || next->first > last || fill(edit, &view->root, view->shift, 0, first, last, 0);
}

/* ---- ranges ------------------------------------------------------------------ */

bool flatrange_same(const FlatRange *a, const FlatRange *b)
{
    return a->mr == b->mr && a->first == b->first && a->last == b->last && a->offset == b->offset &&
           a->host == b->host && a->romd == b->romd && a->readonly == b->readonly &&
           a->nonvolatile == b->nonvolatile && a->unmergeable == b->unmergeable;
}

bool flatrange_can_merge(const FlatRange *a, const FlatRange *b)
{
    return a->mr == b->mr && a->last + 1 == b->first &&
           b->offset - a->offset == b->first - a->first && a->romd == b->romd &&
           a->readonly == b->readonly && a->nonvolatile == b->nonvolatile && !a->unmergeable &&
           !b->unmergeable && a->dirty_log_mask == b->dirty_log_mask && a->signals == b->signals;
}

static const FlatRange *make_range(ViewEdit *edit, const FlatRange *template)
{
    FlatRange *range = pool_alloc(&edit->ms->ranges);

    if (range) {
        *range = *template;
        range->birth = edit->view->id;
        hwaddr span = range->last - range->first;
        range->room = range->direct_read && span >= 7 ? span - 6 : 0;
        range->dropped = false;
        range->link = edit->fresh;
        edit->fresh = range;
        memory_region_ref(range->mr);
        signals_ref(range->signals);
    }
    return range;
}

void flatrange_free(MemorySystem *ms, FlatRange *range)
{
    MemoryRegion *mr = range->mr;

    signals_unref(range->signals);
    pool_free(&ms->ranges, range);
    memory_region_unref(mr);
}

static void drop_range(ViewEdit *edit, FlatRange *range)
{
    if (range->birth == edit->view->id) {
        range->dropped = true;
    } else {
        range->link = edit->dead_ranges;
        edit->dead_ranges = range;
    }
}

/* Cut @range to [first, last], inside it. */
static FlatRange cut_range(const FlatRange *range, hwaddr first, hwaddr last)
{
    FlatRange cut = *range;

    cut.offset += first - range->first;
    if (cut.host) {
        cut.host += first - range->first;
    }
    cut.first = first;
    cut.last = last;
    return cut;
}

static void append(FlatRange *list, size_t *count, const FlatRange *range)
{
    if (*count && flatrange_can_merge(&list[*count - 1], range)) {
        list[*count - 1].last = range->last;
    } else {
        list[(*count)++] = *range;
    }
}

/*
 * Drop the old ranges of [first, last] that are not among @list; in @list, point `link` of
 * those that stay to the old object.
 */
static void match_old_ranges(ViewEdit *edit, hwaddr first, hwaddr last, FlatRange *list,
                             size_t count)
{
    size_t i = 0;
    hwaddr at = first;

    for (const FlatRange *old; (old = flatview_from(edit->view, at)) && old->first <= last;) {
        while (i < count && list[i].first < old->first) {
            i++;
        }
        if (i < count && flatrange_identical(&list[i], old)) {
            list[i].link = (FlatRange *)old;
        } else {
            drop_range(edit, (FlatRange *)old);
        }
        if (old->last == UINT64_MAX) {
            break;
        }
        at = old->last + 1;
    }
}

/* Bring the slots of [first, last] to what @list says; outside the window it has no gaps. */
static bool write_ranges(ViewEdit *edit, hwaddr first, hwaddr last, const FlatRange *list,
                         size_t count)
{
    hwaddr at = first;

    for (size_t i = 0; i < count; i++) {
        const FlatRange *range = list[i].link;
        if (list[i].first > at && !show_nothing(edit, at, list[i].first - 1)) {
            return false;
        }
        if (!range) {
            range = make_range(edit, &list[i]);
            if (!range || !show_range(edit, range)) {
                return false;
            }
        }
        if (range->last >= last) {
            return true;
        }
        at = range->last + 1;
    }
    return show_nothing(edit, at, last);
}

int view_edit_splice(ViewEdit *edit, hwaddr first, hwaddr last, const FlatRange *ranges,
                     size_t count)
{
    const FlatRange *left = first > 0 ? flatview_at(edit->view, first - 1) : NULL;
    const FlatRange *right = last < UINT64_MAX ? flatview_at(edit->view, last + 1) : NULL;
    FlatRange few[6], *list = few;
    size_t n = 0;

    if (count + 2 > sizeof few / sizeof *few) {
        list = arena_alloc(&edit->ms->scratch, (count + 2) * sizeof *list);
        if (!list) {
            return fail_no_memory("a flat view");
        }
    }
    if (left) {
        FlatRange outside = cut_range(left, left->first, hwaddr_min(left->last, first - 1));
        append(list, &n, &outside);
    }
    for (size_t i = 0; i < count; i++) {
        append(list, &n, &ranges[i]);
    }
    if (right) {
        FlatRange outside = cut_range(right, hwaddr_max(right->first, last + 1), right->last);
        append(list, &n, &outside);
    }
    for (size_t i = 0; i < n; i++) {
        list[i].link = NULL;
    }
    hwaddr from = left ? left->first : first, to = right ? right->last : last;
    match_old_ranges(edit, from, to, list, n);
    if (!write_ranges(edit, from, to, list, n)) {
        return fail_no_memory("a flat view");
    }
    return 0;
}

/* ---- the life of an edit ------------------------------------------------------- */

void view_edit_begin(ViewEdit *edit, MemorySystem *ms, FlatView *view)
{
    *edit = (ViewEdit){.ms = ms, .view = view};
}

static void free_fresh_nodes(ViewEdit *edit, ViewSlot slot)
{
    if (!slot_is_node(slot) || slot_node(slot)->birth != edit->view->id) {
        return; /* F3: nothing below an older node is fresh */
    }
    ViewNode *node = slot_node(slot);
    for (unsigned i = 0; i < VIEW_FANOUT; i++) {
        free_fresh_nodes(edit, node->slot[i]);
    }
    pool_free(&edit->ms->nodes, node);
}

/* Free the ranges that the edit made: all, or those that it dropped again. */
static void free_fresh_ranges(ViewEdit *edit, bool all)
{
    FlatRange **link = &edit->fresh;

    while (*link) {
        FlatRange *range = *link;
        if (all || range->dropped) {
            *link = range->link;
            flatrange_free(edit->ms, range);
        } else {
            link = &range->link;
        }
    }
}

void view_edit_abort(ViewEdit *edit)
{
    free_fresh_nodes(edit, edit->view->root);
    edit->view->root = 0;
    free_fresh_ranges(edit, true);
}

void view_edit_finish(ViewEdit *edit)
{
    shrink(edit);
    free_fresh_ranges(edit, false);
}
