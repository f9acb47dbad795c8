/* SPDX-License-Identifier: MIT */
/* lineage.h - the views that one root region has had, and how long they live. See lineage.c. */
#ifndef MAP_LINEAGE_H
#define MAP_LINEAGE_H

#include "map/flatview.h"
#include "map/system.h"

typedef struct ViewWindow {
    hwaddr first, last;
} ViewWindow;

typedef struct ViewLineage {
    MemorySystem *ms;
    MemoryRegion *root;   /* NULL: shows nothing, for ever */
    FlatView *current;    /* NULL only before the first commit */
    AddressSpace *spaces; /* that show it */
    unsigned users;       /* how many will after the commit at work */

    /* damage: what the next commit paints again */
    ViewWindow *windows;
    size_t nr_windows, max_windows;
    bool damaged;
    struct ViewLineage *damaged_next, *closing_next;

    /* the commit at work */
    FlatView *prepared; /* to be published, NULL: current stays */
    ViewEdit edit;

    FlatView *newest; /* chain of living views; views_lock */
    bool closed;      /* views_lock: no space shows it, its last view frees it */
} ViewLineage;

/* NULL if memory is short. The whole of @root is damaged. */
ViewLineage *lineage_create(MemorySystem *ms, MemoryRegion *root);

/* Free a lineage that never published a view. */
void lineage_discard(ViewLineage *lineage);

/* @as shows @lineage's view; does not any more. */
void lineage_add_space(ViewLineage *lineage, AddressSpace *as);
void lineage_remove_space(AddressSpace *as);

/*
 * Note that [first, last] must be painted again. Cannot fail: if memory is short the window
 * grows instead.
 */
void lineage_damage(ViewLineage *lineage, hwaddr first, hwaddr last);

/*
 * Paint the damaged windows into `prepared`, NULL if nothing came out different. Returns 0,
 * -ENOMEM or -ELOOP; on an error nothing is prepared.
 */
int lineage_prepare(ViewLineage *lineage);
void lineage_abort(ViewLineage *lineage);

/* Make `prepared` current. The old view goes when its readers and holders are gone. Cannot fail. */
void lineage_publish(ViewLineage *lineage);

/* No space shows the lineage any more: it goes when its views are gone. */
void lineage_close(ViewLineage *lineage);

/* A view of @root painted from nothing, in a lineage of its own; NULL on an error. */
FlatView *lineage_render_afresh(MemorySystem *ms, MemoryRegion *root);

#endif
