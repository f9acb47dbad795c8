/* SPDX-License-Identifier: MIT */
/* skiplist.h - an ordered index that is searched without a lock. See skiplist.c. */
#ifndef SYNC_SKIPLIST_H
#define SYNC_SKIPLIST_H

#include <stdint.h>

/* Each level has a quarter of the nodes of the one below: enough for 4^10, a million. */
#define SKIPLIST_HEIGHT 10

/* Embedded in what is indexed. The order is that of key, then of tie; no two nodes have both. */
typedef struct SkipNode {
    uint64_t key;
    uint64_t tie; /* not UINT64_MAX */
    unsigned height;
    struct SkipNode *next[SKIPLIST_HEIGHT];
} SkipNode;

/* All zero is an empty list. */
typedef struct SkipList {
    SkipNode head;
    uint64_t random;
} SkipList;

/* Context: one writer at a time. A removed node may be freed or inserted after a grace period. */
void skiplist_insert(SkipList *list, SkipNode *node);
void skiplist_remove(SkipList *list, SkipNode *node);

/*
 * The last node with a key of at most @key; the first with at least @key; the one before @node;
 * the one after it, the first for NULL. NULL if there is none.
 * Context: the writer, or a read section.
 */
SkipNode *skiplist_last_at_most(SkipList *list, uint64_t key);
SkipNode *skiplist_first_at_least(SkipList *list, uint64_t key);
SkipNode *skiplist_before(SkipList *list, const SkipNode *node);
SkipNode *skiplist_after(SkipList *list, SkipNode *node);

#endif
