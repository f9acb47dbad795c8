/* SPDX-License-Identifier: MIT */
/*
 * A skip list with one writer and RCU readers.
 *
 *      level 2   head ─────────────────────► D ──────────►
 *      level 1   head ────────► B ─────────► D ──────────►
 *      level 0   head ──► A ──► B ──► C ──► D ──► E ──►
 *
 * A search goes right while the next key is not too large, else down. Nothing is allocated, so
 * nothing can fail, and a change writes a few pointers.
 *
 * Guarantees:
 *  S1  A node's pointers are all set before the first pointer to it is stored.
 *  S2  Removing leaves the node's own pointers as they are: they lead on, to where the list went
 *      on at that moment. A reader who stands on the node misses only what came later.
 *  S3  So a search or a walk meets every node that is there from its beginning to its end, in
 *      order; of those that come or go meanwhile, any.
 */
#include "sync/skiplist.h"

#include "sync/rcu.h"

#include <stddef.h>

static bool precedes(const SkipNode *node, uint64_t key, uint64_t tie)
{
    return node->key != key ? node->key < key : node->tie < tie;
}

/*
 * The last node before (@key, @tie), or the head; on the way, the same for each level into
 * @path.
 */
static SkipNode *seek(SkipList *list, uint64_t key, uint64_t tie, SkipNode **path)
{
    SkipNode *at = &list->head, *next;

    for (unsigned level = SKIPLIST_HEIGHT; level-- > 0;) {
        while ((next = rcu_read(&at->next[level])) && precedes(next, key, tie)) {
            at = next;
        }
        if (path) {
            path[level] = at;
        }
    }
    return at;
}

/* splitmix64: one node in four is higher than the first level, one in four of these ... */
static unsigned random_height(SkipList *list)
{
    uint64_t z = list->random += 0x9e3779b97f4a7c15U;
    unsigned height = 1;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    for (z ^= z >> 31; height < SKIPLIST_HEIGHT && (z & 3) == 0; z >>= 2) {
        height++;
    }
    return height;
}

void skiplist_insert(SkipList *list, SkipNode *node)
{
    SkipNode *path[SKIPLIST_HEIGHT];

    seek(list, node->key, node->tie, path);
    node->height = random_height(list);
    for (unsigned level = 0; level < node->height; level++) { /* S1 */
        __atomic_store_n(&node->next[level], path[level]->next[level], __ATOMIC_RELAXED);
    }
    for (unsigned level = 0; level < node->height; level++) {
        rcu_publish(&path[level]->next[level], node);
    }
}

void skiplist_remove(SkipList *list, SkipNode *node)
{
    SkipNode *path[SKIPLIST_HEIGHT];

    seek(list, node->key, node->tie, path);
    for (unsigned level = node->height; level-- > 0;) {
        rcu_publish(&path[level]->next[level], node->next[level]); /* S2 */
    }
}

static SkipNode *unless_head(SkipList *list, SkipNode *node)
{
    return node == &list->head ? NULL : node;
}

SkipNode *skiplist_last_at_most(SkipList *list, uint64_t key)
{
    return unless_head(list, seek(list, key, UINT64_MAX, NULL));
}

SkipNode *skiplist_first_at_least(SkipList *list, uint64_t key)
{
    SkipNode *node = rcu_read(&seek(list, key, 0, NULL)->next[0]);

    while (node && node->key < key) { /* came in between since */
        node = rcu_read(&node->next[0]);
    }
    return node;
}

SkipNode *skiplist_before(SkipList *list, const SkipNode *node)
{
    return unless_head(list, seek(list, node->key, node->tie, NULL));
}

SkipNode *skiplist_after(SkipList *list, SkipNode *node)
{
    return rcu_read(&(node ? node : &list->head)->next[0]);
}
