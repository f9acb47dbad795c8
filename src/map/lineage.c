/* SPDX-License-Identifier: MIT */
/*
 * The life of views.
 *
 * Views share nodes and ranges, and neither are reference-counted: copying a node would touch
 * 64 counters. Instead each object remembers the view that first showed it (birth), and when
 * view v+1 replaces v, all that v+1 does not show any more goes onto v's dead lists. Such an
 * object is shown by the views birth..v and by no other:
 *
 *      oldest                            newest
 *        u  ◄──────►  v  ◄──────►  w               living views, in order of id
 *        dead: x       dead: y, z
 *
 * When v dies, each object on its dead lists is either still shown by u, the next older living
 * view (birth <= u.id), and moves onto u's lists; or by nobody, and is freed. The time is that
 * of what changed.
 *
 * Guarantees:
 *  L1  A view lives while it is current, within the grace period after, or held (references).
 *  L2  Each object is on at most one dead list, or shown by the newest view.
 *  L3  When the newest view of a closed lineage dies, what it shows and the next older one does
 *      not is freed by walking it.
 */
#include "map/lineage.h"

#include "base/error.h"
#include "map/render.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* View ids are unique in the process: thread-local caches of accesses are keyed by them. */
static uint64_t next_view_id = 1;

static FlatView *view_create(ViewLineage *lineage)
{
    FlatView *view = pool_alloc(&lineage->ms->views);

    if (!view) {
        fail_no_memory("a flat view");
        return NULL;
    }
    *view = (FlatView){
        .limit = VIEW_FANOUT - 1,
        .id = __atomic_fetch_add(&next_view_id, 1, __ATOMIC_RELAXED),
        .references = 1,
        .lineage = lineage,
    };
    if (lineage->current) {
        view->root = lineage->current->root;
        view->shift = lineage->current->shift;
        view->limit = lineage->current->limit;
    }
    return view;
}

/* ---- death --------------------------------------------------------------------- */

typedef struct Corpses {
    ViewNode *nodes;
    FlatRange *ranges;
} Corpses;

static void lineage_free(ViewLineage *lineage);

static void add_node(Corpses *dead, ViewNode *node)
{
    node->dead_next = dead->nodes;
    dead->nodes = node;
}

static void add_range(Corpses *dead, FlatRange *range)
{
    range->link = dead->ranges;
    dead->ranges = range;
}

/*
 * Give what @view's successor dropped to the next older view if that one shows it, else to
 * @dead.
 */
static void pass_on(FlatView *view, Corpses *dead)
{
    uint64_t older_id = view->older ? view->older->id : 0;
    Corpses kept = {view->older ? view->older->dead_nodes : NULL,
                    view->older ? view->older->dead_ranges : NULL};

    for (ViewNode *node = view->dead_nodes, *next; node; node = next) {
        next = node->dead_next;
        add_node(node->birth <= older_id ? &kept : dead, node);
    }
    for (FlatRange *range = view->dead_ranges, *next; range; range = next) {
        next = range->link;
        add_range(range->birth <= older_id ? &kept : dead, range);
    }
    if (view->older) {
        view->older->dead_nodes = kept.nodes;
        view->older->dead_ranges = kept.ranges;
    }
}

/*
 * L3: all under @slot that is younger than @older_id. A range is counted at the slot with its
 * last byte.
 */
static void take_young(ViewSlot slot, unsigned shift, hwaddr base, uint64_t older_id, Corpses *dead)
{
    if (!slot) {
        return;
    }
    if (!slot_is_node(slot)) {
        FlatRange *range = (FlatRange *)slot_range(slot);
        hwaddr mask = shift + VIEW_BITS >= 64 ? UINT64_MAX : ((hwaddr)1 << (shift + VIEW_BITS)) - 1;
        if (range->birth > older_id && range->last - base <= mask) {
            add_range(dead, range);
        }
        return;
    }
    ViewNode *node = slot_node(slot);
    if (node->birth <= older_id) {
        return;
    }
    for (unsigned i = 0; i < VIEW_FANOUT; i++) {
        take_young(node->slot[i], shift - VIEW_BITS, base + ((hwaddr)i << shift), older_id, dead);
    }
    add_node(dead, node);
}

static void view_die(FlatView *view)
{
    ViewLineage *lineage = view->lineage;
    MemorySystem *ms = lineage->ms;
    Corpses dead = {NULL, NULL};

    pthread_mutex_lock(&ms->views_lock);
    if (view->newer) {
        view->newer->older = view->older;
        pass_on(view, &dead);
    } else {
        lineage->newest = view->older;
        take_young(view->root, view->shift, 0, view->older ? view->older->id : 0, &dead);
    }
    if (view->older) {
        view->older->newer = view->newer;
    }
    bool last = lineage->closed && !lineage->newest;
    ms->nr_views--;
    __atomic_fetch_add(&ms->ended, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&ms->views_lock);

    while (dead.nodes) {
        ViewNode *node = dead.nodes;
        dead.nodes = node->dead_next;
        pool_free(&ms->nodes, node);
    }
    while (dead.ranges) {
        FlatRange *range = dead.ranges;
        dead.ranges = range->link;
        flatrange_free(ms, range);
    }
    pool_free(&ms->views, view);
    if (last) {
        lineage_free(lineage);
    }
}

void flatview_ref(FlatView *view)
{
    __atomic_fetch_add(&view->references, 1, __ATOMIC_RELAXED);
}

void flatview_unref(FlatView *view)
{
    if (view && __atomic_sub_fetch(&view->references, 1, __ATOMIC_ACQ_REL) == 0) {
        view_die(view);
    }
}

static void grace_period_over(struct rcu_head *head)
{
    rcu_callback_begins();
    flatview_unref(container_of(head, FlatView, rcu));
    rcu_callback_ends();
}

/*
 * Nobody finds the view any more: drop the reference of being current once its readers are
 * through.
 */
static void retire(FlatView *view)
{
    rcu_defer(&view->rcu, grace_period_over);
}

/* ---- damage -------------------------------------------------------------------- */

static void queue_damaged(ViewLineage *lineage)
{
    if (!lineage->damaged) {
        lineage->damaged = true;
        lineage->damaged_next = lineage->ms->damaged;
        lineage->ms->damaged = lineage;
    }
}

static bool grow_windows(ViewLineage *lineage)
{
    size_t max = lineage->max_windows ? 2 * lineage->max_windows : 8;
    ViewWindow *windows = realloc(lineage->windows, max * sizeof *windows);

    if (!windows) {
        return false;
    }
    lineage->windows = windows;
    lineage->max_windows = max;
    return true;
}

void lineage_damage(ViewLineage *lineage, hwaddr first, hwaddr last)
{
    ViewWindow *newest = lineage->nr_windows ? &lineage->windows[lineage->nr_windows - 1] : NULL;

    queue_damaged(lineage);
    if (newest && newest->first <= first && last <= newest->last) {
        return;
    }
    if (lineage->nr_windows < lineage->max_windows || grow_windows(lineage)) {
        lineage->windows[lineage->nr_windows++] = (ViewWindow){first, last};
    } else {
        /* max_windows is not 0: lineage_create saw to it */
        newest->first = first < newest->first ? first : newest->first;
        newest->last = last > newest->last ? last : newest->last;
    }
}

static int window_order(const void *a, const void *b)
{
    const ViewWindow *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

/* Sort the windows and join those that overlap. */
static void tidy_windows(ViewLineage *lineage)
{
    ViewWindow *windows = lineage->windows;
    size_t kept = 0;

    if (lineage->nr_windows < 2) {
        return;
    }
    qsort(windows, lineage->nr_windows, sizeof *windows, window_order);
    for (size_t i = 1; i < lineage->nr_windows; i++) {
        if (windows[i].first <= windows[kept].last) {
            if (windows[i].last > windows[kept].last) {
                windows[kept].last = windows[i].last;
            }
        } else {
            windows[++kept] = windows[i];
        }
    }
    lineage->nr_windows = kept + 1;
}

/* ---- lineages ------------------------------------------------------------------ */

static ViewLineage *lineage_alloc(MemorySystem *ms, MemoryRegion *root)
{
    ViewLineage *lineage = calloc(1, sizeof *lineage);

    if (!lineage || !grow_windows(lineage)) {
        free(lineage);
        fail_no_memory("a flat view");
        return NULL;
    }
    lineage->ms = ms;
    lineage->root = root;
    if (root) {
        memory_region_ref(root);
    }
    return lineage;
}

static void lineage_free(ViewLineage *lineage)
{
    if (lineage->root) {
        memory_region_unref(lineage->root);
    }
    free(lineage->windows);
    free(lineage);
}

ViewLineage *lineage_create(MemorySystem *ms, MemoryRegion *root)
{
    ViewLineage *lineage = lineage_alloc(ms, root);

    if (lineage) {
        if (root) {
            root->lineage = lineage;
        }
        lineage_damage(lineage, 0, UINT64_MAX);
    }
    return lineage;
}

void lineage_add_space(ViewLineage *lineage, AddressSpace *as)
{
    as->lineage = lineage;
    as->lineage_link = lineage->spaces;
    as->lineage_back = &lineage->spaces;
    if (as->lineage_link) {
        as->lineage_link->lineage_back = &as->lineage_link;
    }
    lineage->spaces = as;
}

void lineage_remove_space(AddressSpace *as)
{
    *as->lineage_back = as->lineage_link;
    if (as->lineage_link) {
        as->lineage_link->lineage_back = as->lineage_back;
    }
}

static void leave_damaged(ViewLineage *lineage)
{
    ViewLineage **link = &lineage->ms->damaged;

    while (*link && *link != lineage) {
        link = &(*link)->damaged_next;
    }
    if (*link) {
        *link = lineage->damaged_next;
    }
}

void lineage_discard(ViewLineage *lineage)
{
    leave_damaged(lineage);
    if (lineage->root) {
        lineage->root->lineage = NULL;
    }
    lineage_free(lineage);
}

void lineage_close(ViewLineage *lineage)
{
    MemorySystem *ms = lineage->ms;
    FlatView *current = lineage->current;

    leave_damaged(lineage);
    lineage->root->lineage = NULL;
    pthread_mutex_lock(&ms->views_lock);
    lineage->closed = true;
    pthread_mutex_unlock(&ms->views_lock);
    retire(current);
}

/*
 * Ranges that do not merge with their neighbours are painted whole: whether two of them are one
 * piece or two side by side only the painter can tell, not the border of a window.
 */
static ViewWindow widen(const FlatView *view, ViewWindow window)
{
    const FlatRange *range;

    while (window.first > 0 && (range = flatview_at(view, window.first - 1)) &&
           range->unmergeable) {
        window.first = range->first;
    }
    while (window.last < UINT64_MAX && (range = flatview_at(view, window.last + 1)) &&
           range->unmergeable) {
        window.last = range->last;
    }
    return window;
}

static int paint_window(ViewLineage *lineage, ViewWindow window)
{
    MemorySystem *ms = lineage->ms;
    FlatRange *ranges;
    size_t count;

    window = widen(lineage->edit.view, window);
    int result = render_window(ms, lineage->root, window.first, window.last, &ranges, &count);
    if (!result) {
        result = view_edit_splice(&lineage->edit, window.first, window.last, ranges, count);
    }
    arena_reset(&ms->scratch);
    return result;
}

/* ---- preparing and publishing ---------------------------------------------------- */

int lineage_prepare(ViewLineage *lineage)
{
    MemorySystem *ms = lineage->ms;
    FlatView *view = view_create(lineage);
    int result = view ? 0 : -ENOMEM;

    if (result) {
        return result;
    }
    view_edit_begin(&lineage->edit, ms, view);
    tidy_windows(lineage);
    for (size_t i = 0; i < lineage->nr_windows && !result && lineage->root; i++) {
        result = paint_window(lineage, lineage->windows[i]);
    }
    if (result || (lineage->current && !lineage->edit.changed)) {
        view_edit_abort(&lineage->edit);
        pool_free(&ms->views, view);
        return result;
    }
    view_edit_finish(&lineage->edit);
    lineage->prepared = view;
    return 0;
}

void lineage_abort(ViewLineage *lineage)
{
    if (lineage->prepared) {
        view_edit_abort(&lineage->edit);
        pool_free(&lineage->ms->views, lineage->prepared);
        lineage->prepared = NULL;
    }
}

void lineage_publish(ViewLineage *lineage)
{
    MemorySystem *ms = lineage->ms;
    FlatView *old = lineage->current, *view = lineage->prepared;

    if (ms->keep_times) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        view->time = (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
    }
    pthread_mutex_lock(&ms->views_lock);
    view->older = lineage->newest;
    if (view->older) {
        view->older->newer = view;
    }
    lineage->newest = view;
    ms->nr_views++;
    if (old) {
        old->dead_nodes = lineage->edit.dead_nodes;
        old->dead_ranges = lineage->edit.dead_ranges;
    }
    pthread_mutex_unlock(&ms->views_lock);
    lineage->current = view;
    lineage->prepared = NULL;
    if (old) {
        retire(old);
    }
}

FlatView *lineage_render_afresh(MemorySystem *ms, MemoryRegion *root)
{
    ViewLineage *lineage = lineage_alloc(ms, root);

    if (!lineage) {
        return NULL;
    }
    lineage->windows[lineage->nr_windows++] = (ViewWindow){0, UINT64_MAX};
    if (lineage_prepare(lineage)) {
        lineage_free(lineage);
        return NULL;
    }
    lineage_publish(lineage);
    lineage->closed = true;
    return lineage->current;
}
