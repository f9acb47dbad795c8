/* SPDX-License-Identifier: MIT */
/*
 * interval.h - an index of closed, possibly overlapping intervals, embedded in what it indexes.
 *
 * A treap ordered by `first` (ties by address of the node), each node carrying the highest
 * `last` below it: insert, remove and "lowest interval that overlaps" take logarithmic time,
 * visiting k overlaps log + k. Nothing is allocated, so nothing can fail. The caller sets
 * node->first and node->last before insertion and leaves them alone after.
 */
#ifndef BASE_INTERVAL_H
#define BASE_INTERVAL_H

#include <membus/types.h> /* IntervalNode */

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

void interval_insert(IntervalNode **root, IntervalNode *node);
void interval_remove(IntervalNode **root, IntervalNode *node);

/* The overlapping interval with the lowest first, or NULL. */
IntervalNode *interval_first_overlap(IntervalNode *root, hwaddr first, hwaddr last);

/*
 * Visit overlapping intervals by ascending first until @visit returns true; returns whether it
 * did.
 */
bool interval_for_each_overlap(IntervalNode *root, hwaddr first, hwaddr last,
                               bool (*visit)(IntervalNode *node, void *opaque), void *opaque);

#endif
