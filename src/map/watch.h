/* SPDX-License-Identifier: MIT */
/*
 * watch.h - be told of the views of all address spaces, those to come included.
 *
 * A MemoryListener is bound to one address space, hears of it once it is bound, and may refuse. A
 * watch can refuse nothing and misses nothing. Context of all calls: machine lock; they must not
 * edit the map.
 */
#ifndef MAP_WATCH_H
#define MAP_WATCH_H

#include "map/system.h"

typedef struct MapWatch {
    /* A space is there, showing the empty view; it goes. What it showed last is not taken back. */
    void (*space_made)(struct MapWatch *watch, AddressSpace *as);
    void (*space_gone)(struct MapWatch *watch, AddressSpace *as);
    /*
     * It shows @view now instead of @old. A view that any space has been said to show lives until
     * all of them have been told of another one.
     */
    void (*shown)(struct MapWatch *watch, AddressSpace *as, const FlatView *old,
                  const FlatView *view);
    /* The outermost transaction is over: there was one commit in it at most. */
    void (*ended)(struct MapWatch *watch);
    struct MapWatch *next;
} MapWatch;

/* Context: machine lock held, outside transactions. */
static inline void map_watch_add(MemorySystem *ms, MapWatch *watch)
{
    watch->next = ms->watches;
    ms->watches = watch;
}

static inline void map_watch_remove(MemorySystem *ms, MapWatch *watch)
{
    MapWatch **link = &ms->watches;

    while (*link != watch) {
        link = &(*link)->next;
    }
    *link = watch->next;
}

/* Call @name of every watch of @ms. */
#define TELL_WATCHES(ms, name, ...)                                                                \
    for (MapWatch *w_ = (ms)->watches; w_; w_ = w_->next) {                                        \
        w_->name(w_, ##__VA_ARGS__);                                                               \
    }

#endif
