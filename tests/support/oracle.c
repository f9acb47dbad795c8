/* SPDX-License-Identifier: MIT */
#include "oracle.h"
#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 wide;

int oracle_new(Oracle *o, uint64_t size, bool terminates)
{
    for (int i = 0; i < ORACLE_REGIONS; i++) {
        if (!o->region[i].live) {
            o->region[i] = (OracleRegion){.live = true,
                                          .terminates = terminates,
                                          .enabled = true,
                                          .size = size,
                                          .parent = ORACLE_NONE,
                                          .alias = ORACLE_NONE};
            o->used = i < o->used ? o->used : i + 1;
            return i;
        }
    }
    return ORACLE_NONE;
}

int oracle_new_alias(Oracle *o, int target, uint64_t offset, uint64_t size)
{
    int i = oracle_new(o, size, false);

    if (i != ORACLE_NONE) {
        o->region[i].alias = target;
        o->region[i].alias_offset = offset;
    }
    return i;
}

void oracle_add(Oracle *o, int parent, int child, uint64_t addr, int priority)
{
    OracleRegion *r = &o->region[child];

    r->parent = parent;
    r->addr = addr;
    r->priority = priority;
    r->added = ++o->clock;
}

void oracle_del(Oracle *o, int child)
{
    o->region[child].parent = ORACLE_NONE;
}

void oracle_move(Oracle *o, int region, uint64_t addr)
{
    if (o->region[region].addr != addr) {
        o->region[region].addr = addr;
        o->region[region].added = ++o->clock;
    }
}

/* ---- The graph -------------------------------------------------------------- */

static void mark_reachable(const Oracle *o, int from, bool *seen)
{
    for (int i = 0; i < o->used; i++) {
        const OracleRegion *r = &o->region[i];
        bool below = r->live && (r->parent == from || o->region[from].alias == i);

        if (below && !seen[i]) {
            seen[i] = true;
            mark_reachable(o, i, seen);
        }
    }
}

bool oracle_reaches(const Oracle *o, int from, int to)
{
    bool seen[ORACLE_REGIONS] = {false};

    mark_reachable(o, from, seen);
    return seen[to];
}

bool oracle_has_cycle(const Oracle *o)
{
    for (int i = 0; i < o->used; i++) {
        if (o->region[i].live && oracle_reaches(o, i, i)) {
            return true;
        }
    }
    return false;
}

/* ---- Edges ------------------------------------------------------------------ */

static wide size_of(const OracleRegion *r)
{
    return r->size == UINT64_MAX ? (wide)UINT64_MAX + 1 : (wide)r->size;
}

typedef struct Edges {
    uint64_t *at;
    size_t count, room;
    unsigned visits;
} Edges;

static void add_edge(Edges *edges, wide at)
{
    if (at < 0 || at > (wide)UINT64_MAX) {
        return;
    }
    if (edges->count == edges->room) {
        edges->room = edges->room ? edges->room * 2 : 64;
        edges->at = realloc(edges->at, edges->room * sizeof(*edges->at));
        if (!edges->at) {
            abort();
        }
    }
    edges->at[edges->count++] = (uint64_t)at;
}

/* Region @i stands with its byte 0 at @base and shows in [lo, end) only. */
static bool collect(const Oracle *o, int i, wide base, wide lo, wide end, int depth, Edges *edges)
{
    const OracleRegion *r = &o->region[i];

    if (depth > ORACLE_DEPTH || ++edges->visits > ORACLE_VISITS) {
        return false;
    }
    if (!r->enabled) {
        return true;
    }
    lo = base > lo ? base : lo;
    end = base + size_of(r) < end ? base + size_of(r) : end;
    if (lo >= end) {
        return true;
    }
    add_edge(edges, lo);
    add_edge(edges, end);
    if (r->alias != ORACLE_NONE) {
        return collect(o, r->alias, base - (wide)r->alias_offset, lo, end, depth + 1, edges);
    }
    for (int c = 0; c < o->used; c++) {
        const OracleRegion *child = &o->region[c];

        if (child->live && child->parent == i &&
            !collect(o, c, base + (wide)child->addr, lo, end, depth + 1, edges)) {
            return false;
        }
    }
    return true;
}

static int compare_addresses(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* ---- One address ------------------------------------------------------------- */

/* The best child of @i at @off among those that come after @before; ORACLE_NONE if none. */
static int next_child(const Oracle *o, int i, wide off, int before)
{
    int best = ORACLE_NONE;

    for (int c = 0; c < o->used; c++) {
        const OracleRegion *r = &o->region[c];

        if (!r->live || r->parent != i || off < (wide)r->addr ||
            off >= (wide)r->addr + size_of(r)) {
            continue;
        }
        if (before != ORACLE_NONE) {
            const OracleRegion *b = &o->region[before];

            if (r->priority > b->priority || (r->priority == b->priority && r->added >= b->added)) {
                continue;
            }
        }
        if (best == ORACLE_NONE || r->priority > o->region[best].priority ||
            (r->priority == o->region[best].priority && r->added > o->region[best].added)) {
            best = c;
        }
    }
    return best;
}

static uint64_t extend_path(uint64_t path, int region)
{
    uint64_t z = path * 0x9e3779b97f4a7c15U + (uint64_t)(region + 1);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    return z ^ (z >> 27);
}

/* Who answers at byte @off of region @i, the flags of @up inherited. */
static bool resolve(const Oracle *o, int i, wide off, OracleRange up, OracleRange *found)
{
    const OracleRegion *r = &o->region[i];

    if (!r->enabled || off < 0 || off >= size_of(r)) {
        return false;
    }
    up.readonly |= r->readonly;
    up.nonvolatile |= r->nonvolatile;
    up.unmergeable |= r->unmergeable;
    up.path = extend_path(up.path, i);
    if (r->alias != ORACLE_NONE) {
        return resolve(o, r->alias, off + (wide)r->alias_offset, up, found);
    }
    for (int c = next_child(o, i, off, ORACLE_NONE); c != ORACLE_NONE;
         c = next_child(o, i, off, c)) {
        if (resolve(o, c, off - (wide)o->region[c].addr, up, found)) {
            return true;
        }
    }
    if (!r->terminates) {
        return false;
    }
    *found = up;
    found->region = i;
    found->offset = (uint64_t)off;
    found->log_mask = r->log_mask;
    found->romd = r->rom_device && r->romd;
    return true;
}

/* ---- The view ---------------------------------------------------------------- */

static bool may_merge(const OracleRange *a, const OracleRange *b)
{
    bool one_piece = a->path == b->path; /* never was split: nothing to merge */

    return a->last + 1 == b->first && a->region == b->region &&
           a->offset + (b->first - a->first) == b->offset && a->log_mask == b->log_mask &&
           a->romd == b->romd && a->readonly == b->readonly && a->nonvolatile == b->nonvolatile &&
           (one_piece || (!a->unmergeable && !b->unmergeable));
}

bool oracle_render(const Oracle *o, int root, OracleView *view)
{
    wide base = (wide)o->region[root].addr; /* a view starts at its root's own address */
    Edges edges = {0};

    *view = (OracleView){0};
    if (!collect(o, root, base, 0, (wide)UINT64_MAX + 1, 1, &edges)) {
        free(edges.at);
        return false;
    }
    if (edges.count) {
        qsort(edges.at, edges.count, sizeof(*edges.at), compare_addresses);
    }
    view->edge = edges.at;
    for (size_t i = 0; i < edges.count; i++) {
        if (!view->edges || view->edge[view->edges - 1] != edges.at[i]) {
            view->edge[view->edges++] = edges.at[i];
        }
    }
    view->range = calloc(view->edges + 1, sizeof(*view->range));
    if (!view->range) {
        abort();
    }
    for (size_t i = 0; i < view->edges; i++) {
        OracleRange *at = &view->range[view->count];

        if (!resolve(o, root, (wide)view->edge[i] - base, (OracleRange){0}, at)) {
            continue;
        }
        at->first = view->edge[i];
        at->last = i + 1 < view->edges ? view->edge[i + 1] - 1 : UINT64_MAX;
        if (view->count && may_merge(at - 1, at)) {
            at[-1].last = at->last;
        } else {
            view->count++;
        }
    }
    return true;
}

void oracle_view_free(OracleView *view)
{
    free(view->range);
    free(view->edge);
    *view = (OracleView){0};
}

const OracleRange *oracle_view_next(const OracleView *view, uint64_t addr)
{
    for (size_t i = 0; i < view->count; i++) {
        if (view->range[i].last >= addr) {
            return &view->range[i];
        }
    }
    return NULL;
}

bool oracle_signal_shows(const OracleRange *range, const OracleSignal *signal, uint64_t *addr,
                         uint64_t *length)
{
    wide low = (wide)range->offset, high = low + (wide)(range->last - range->first);
    wide first = (wide)signal->at, last = first + (wide)signal->length - 1;

    first = first > low ? first : low;
    last = last < high ? last : high;
    if (first > last) {
        return false;
    }
    *addr = range->first + (uint64_t)(first - low);
    *length = (uint64_t)(last - first) + 1;
    return true;
}

/* ---- Sharing ----------------------------------------------------------------- */

static bool carries_flags(const OracleRegion *r)
{
    return r->readonly || r->nonvolatile || r->unmergeable;
}

/* A child of container @i that is enabled and has a size, the only one if *@shown is 1. */
static int only_child(const Oracle *o, int i, int *shown)
{
    int only = ORACLE_NONE;

    *shown = 0;
    for (int c = 0; c < o->used; c++) {
        const OracleRegion *r = &o->region[c];

        if (r->live && r->parent == i && r->enabled && r->size) {
            only = c;
            ++*shown;
        }
    }
    return only;
}

int oracle_resolve_root(const Oracle *o, int root)
{
    for (int steps = 0; steps < ORACLE_DEPTH; steps++) {
        const OracleRegion *r = &o->region[root];
        int next = r->alias, shown = 1;

        if (!r->enabled || !r->size) {
            return ORACLE_NONE;
        }
        if (next == ORACLE_NONE && !r->terminates) {
            next = only_child(o, root, &shown);
        }
        if (!shown || (next != ORACLE_NONE && !(o->region[next].enabled && o->region[next].size))) {
            return ORACLE_NONE;
        }
        if (next == ORACLE_NONE || shown > 1 || carries_flags(r) || r->alias_offset || r->addr ||
            o->region[next].addr || size_of(r) < size_of(&o->region[next])) {
            return root;
        }
        root = next;
    }
    return root;
}
