/* SPDX-License-Identifier: MIT */
/*
 * The painter.
 *
 * A window of an address space is painted from the front to the back, each leaf only where the
 * canvas is still bare:
 *
 *      container  [ prio 2: B ]         canvas after B:     ......BBBB......
 *                 [ prio 1: A ]         then A:             ..AAAABBBBAA....
 *                 terminates itself     then the container: CCAAAABBBBAACCCC
 *
 * Among siblings the front is the higher priority, then the one added last; subregions come
 * before the region they are in. An alias paints its target shifted. Everything is done in
 * coordinates of the region at hand, clipped before descending: [first, last] in the region,
 * and `shift`, modulo 2^64, which added to an offset gives the address in the view. So nothing
 * overflows, and a walk ends where its window ends even if aliases lead back to an ancestor.
 *
 * The time is that of what overlaps the window, times log.
 */
#include "map/render.h"

#include "base/error.h"
#include "base/range.h"
#include "ram/log.h"

#include <errno.h>
#include <stdlib.h>

typedef struct Paint {
    IntervalNode node;
    FlatRange range;
} Paint;

typedef struct Painter {
    MemorySystem *ms;
    IntervalNode *canvas;
    size_t count;
    unsigned depth;
    unsigned long steps;
    int error;
} Painter;

/* What a region hands down to all that shows through it. */
typedef struct Inherited {
    bool readonly, nonvolatile, unmergeable;
} Inherited;

static void choose_quick_store(FlatRange *range)
{
    unsigned clients = range->dirty_log_mask;

    if (!range->direct_write) {
        return;
    }
    if (!clients) {
        range->quick_store = QUICK_STORE_PLAIN;
    } else if (!(clients & (clients - 1)) && sync_has_membarrier) {
        bool snapshots = clients == region_system(range->mr)->snapshots.client_mask;
        range->quick_store = snapshots ? QUICK_STORE_KEPT : QUICK_STORE_LOGGED;
        range->log_words =
            ram_block_bits(range->mr->ram_block, (unsigned)__builtin_ctz(clients))->level[0];
    }
}

static FlatRange describe(const MemoryRegion *mr, hwaddr offset, hwaddr first, hwaddr last,
                          Inherited flags)
{
    bool romd = mr->rom_device && mr->state.romd_mode;
    bool plain_ram = mr->ram && !mr->ram_device && mr->ram_block;
    FlatRange range = {
        .first = first,
        .last = last,
        .host = mr->ram_block ? mr->ram_block->host + offset : NULL,
        .mr = (MemoryRegion *)mr,
        .offset = offset,
        .direct_read = plain_ram || (romd && mr->ram_block),
        .direct_write = plain_ram && !flags.readonly && !(mr->ram_block->flags & RAM_READONLY),
        .romd = romd,
        .readonly = flags.readonly,
        .nonvolatile = flags.nonvolatile,
        .unmergeable = flags.unmergeable,
        .dirty_log_mask = memory_region_get_dirty_log_mask(mr),
        .signals = mr->state.signals,
    };
    choose_quick_store(&range);
    return range;
}

/* Paint a leaf's [first, last] (offsets in it) wherever the canvas is bare. */
static void paint_leaf(Painter *painter, const MemoryRegion *mr, hwaddr first, hwaddr last,
                       hwaddr shift, Inherited flags)
{
    hwaddr at = first + shift, end = last + shift;

    for (;;) {
        IntervalNode *next = interval_first_overlap(painter->canvas, at, end);
        if (!next || next->first > at) {
            Paint *paint = arena_alloc(&painter->ms->scratch, sizeof *paint);
            if (!paint) {
                painter->error = fail_no_memory("a flat view");
                return;
            }
            hwaddr bare_last = next ? next->first - 1 : end;
            paint->range = describe(mr, at - shift, at, bare_last, flags);
            paint->node.first = at;
            paint->node.last = bare_last;
            interval_insert(&painter->canvas, &paint->node);
            painter->count++;
        }
        if (!next || next->last >= end) {
            return;
        }
        at = next->last + 1;
    }
}

static void paint(Painter *painter, const MemoryRegion *mr, hwaddr first, hwaddr last, hwaddr shift,
                  Inherited flags);

typedef struct Overlaps {
    const MemoryRegion **regions;
    size_t count, max;
    Painter *painter;
} Overlaps;

static bool collect(IntervalNode *node, void *opaque)
{
    Overlaps *overlaps = opaque;
    const MemoryRegion *mr = container_of(node, MemoryRegion, in_container);

    if (!mr->state.enabled || mr->state.size == 0) {
        return false;
    }
    if (overlaps->count == overlaps->max) {
        size_t max = overlaps->max ? 2 * overlaps->max : 8;
        const MemoryRegion **regions =
            arena_alloc(&overlaps->painter->ms->scratch, max * sizeof *regions);
        if (!regions) {
            overlaps->painter->error = fail_no_memory("a flat view");
            return true;
        }
        for (size_t i = 0; i < overlaps->count; i++) {
            regions[i] = overlaps->regions[i];
        }
        overlaps->regions = regions;
        overlaps->max = max;
    }
    overlaps->regions[overlaps->count++] = mr;
    return false;
}

static int front_first(const void *a, const void *b)
{
    const MemoryRegion *x = *(const MemoryRegion *const *)a;
    const MemoryRegion *y = *(const MemoryRegion *const *)b;

    if (x->state.priority != y->state.priority) {
        return x->state.priority > y->state.priority ? -1 : 1;
    }
    return x->state.sequence > y->state.sequence ? -1 : 1;
}

static void paint_children(Painter *painter, const MemoryRegion *mr, hwaddr first, hwaddr last,
                           hwaddr shift, Inherited flags)
{
    const MemoryRegion *few[8];
    Overlaps overlaps = {few, 0, sizeof few / sizeof *few, painter};

    interval_for_each_overlap(mr->children, first, last, collect, &overlaps);
    if (overlaps.count > 1) {
        qsort(overlaps.regions, overlaps.count, sizeof *overlaps.regions, front_first);
    }
    for (size_t i = 0; i < overlaps.count && !painter->error; i++) {
        const MemoryRegion *child = overlaps.regions[i];
        hwaddr addr = child->state.addr;
        hwaddr child_first = first > addr ? first - addr : 0;
        hwaddr child_last = hwaddr_min(last - addr, region_last(child));
        paint(painter, child, child_first, child_last, shift + addr, flags);
    }
}

static void paint_target(Painter *painter, const MemoryRegion *alias, hwaddr first, hwaddr last,
                         hwaddr shift, Inherited flags)
{
    const MemoryRegion *target = alias->alias;
    hwaddr offset = alias->state.alias_offset;

    if (target->state.size == 0 || first > UINT64_MAX - offset ||
        first + offset > region_last(target)) {
        return;
    }
    paint(painter, target, first + offset,
          hwaddr_min(hwaddr_add_clipped(last, offset), region_last(target)), shift - offset, flags);
}

/* [first, last] is inside @mr, and all of it is inside the window when @shift is added. */
static void paint(Painter *painter, const MemoryRegion *mr, hwaddr first, hwaddr last, hwaddr shift,
                  Inherited flags)
{
    if (!mr->state.enabled || painter->error) {
        return;
    }
    if (painter->depth == MEMORY_REGION_MAX_DEPTH || ++painter->steps > MAP_MAX_STEPS) {
        painter->error =
            fail(ELOOP, "region '%s': aliases and subregions lead on without end here", mr->name);
        return;
    }
    flags.readonly |= mr->state.readonly;
    flags.nonvolatile |= mr->state.nonvolatile;
    flags.unmergeable |= mr->state.unmergeable;
    painter->depth++;
    if (mr->alias) {
        paint_target(painter, mr, first, last, shift, flags);
    } else {
        paint_children(painter, mr, first, last, shift, flags);
        if (mr->terminates && !painter->error) {
            paint_leaf(painter, mr, first, last, shift, flags);
        }
    }
    painter->depth--;
}

typedef struct Output {
    FlatRange *ranges;
    size_t count;
} Output;

static bool output(IntervalNode *node, void *opaque)
{
    Output *out = opaque;
    const FlatRange *range = &container_of(node, Paint, node)->range;
    FlatRange *previous = out->count ? &out->ranges[out->count - 1] : NULL;

    if (previous && flatrange_can_merge(previous, range)) {
        previous->last = range->last;
    } else {
        out->ranges[out->count++] = *range;
    }
    return false;
}

int render_window(MemorySystem *ms, MemoryRegion *root, hwaddr first, hwaddr last,
                  FlatRange **ranges, size_t *count)
{
    Painter painter = {.ms = ms};
    hwaddr addr = root->state.addr; /* a view begins at its root's own address */

    if (root->state.size && last >= addr) {
        hwaddr end = hwaddr_min(last - addr, region_last(root));
        end = hwaddr_min(end, UINT64_MAX - addr);
        hwaddr begin = first > addr ? first - addr : 0;
        if (begin <= end) {
            paint(&painter, root, begin, end, addr, (Inherited){0});
        }
    }
    Output out = {NULL, 0};
    if (!painter.error && painter.count) {
        out.ranges = arena_alloc(&ms->scratch, painter.count * sizeof *out.ranges);
        if (!out.ranges) {
            return fail_no_memory("a flat view");
        }
        interval_for_each_overlap(painter.canvas, 0, UINT64_MAX, output, &out);
    }
    *ranges = out.ranges;
    *count = out.count;
    return painter.error;
}

/* ---- roots that stand for one another ------------------------------------------- */

static bool hands_down_nothing(const MemoryRegion *mr)
{
    return !mr->state.readonly && !mr->state.nonvolatile && !mr->state.unmergeable;
}

/*
 * The one region that @root shows, whole and unchanged, and nothing beside it; NULL if there is
 * none such.
 */
static MemoryRegion *stand_in(const MemoryRegion *root)
{
    MemoryRegion *next;

    if (root->alias) {
        bool whole = root->state.alias_offset == 0 && root->state.size >= root->alias->state.size;
        next = whole ? root->alias : NULL;
    } else {
        /* An only child smaller than the container will do: around it both are bare. */
        next = root->nr_shown == 1 && !root->terminates ? (MemoryRegion *)root->shown_xor : NULL;
        if (next && next->state.size > root->state.size) {
            next = NULL;
        }
    }
    /* A view begins at its root's address, so both must be 0 for the two to look alike. */
    if (!next || !hands_down_nothing(root) || root->state.addr || next->state.addr) {
        return NULL;
    }
    return next;
}

static bool shows_nothing(const MemoryRegion *root)
{
    const MemoryRegion *target = root->alias;

    return !root->state.enabled || root->state.size == 0 ||
           (target && (!target->state.enabled || target->state.size == 0)) ||
           (!target && !root->terminates && root->nr_shown == 0);
}

MemoryRegion *render_resolve_root(MemoryRegion *root)
{
    for (unsigned i = 0; i < MEMORY_REGION_MAX_DEPTH; i++) {
        if (shows_nothing(root)) {
            return NULL;
        }
        MemoryRegion *next = stand_in(root);
        if (!next) {
            return root;
        }
        root = next;
    }
    return root;
}
