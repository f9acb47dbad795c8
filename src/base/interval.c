/* SPDX-License-Identifier: MIT */
#include "base/interval.h"

#include "base/range.h"

static bool comes_before(const IntervalNode *a, const IntervalNode *b)
{
    return a->first != b->first ? a->first < b->first : (uintptr_t)a < (uintptr_t)b;
}

/*
 * A treap is balanced if heap keys look random: mix the address, which neighbours in an array
 * share.
 */
static uint32_t heap_key(const IntervalNode *node)
{
    uint64_t x = (uintptr_t)node;

    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ULL;
    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ULL;
    return (uint32_t)(x >> 32);
}

static void update_max(IntervalNode *node)
{
    node->max_last = node->last;
    if (node->left) {
        node->max_last = hwaddr_max(node->max_last, node->left->max_last);
    }
    if (node->right) {
        node->max_last = hwaddr_max(node->max_last, node->right->max_last);
    }
}

/* Part @tree into what comes before @pivot and what comes after. */
static void split(IntervalNode *tree, const IntervalNode *pivot, IntervalNode **before,
                  IntervalNode **after)
{
    if (!tree) {
        *before = *after = NULL;
    } else if (comes_before(tree, pivot)) {
        *before = tree;
        split(tree->right, pivot, &tree->right, after);
        update_max(tree);
    } else {
        *after = tree;
        split(tree->left, pivot, before, &tree->left);
        update_max(tree);
    }
}

static IntervalNode *join(IntervalNode *before, IntervalNode *after)
{
    if (!before || !after) {
        return before ? before : after;
    }
    if (before->heap >= after->heap) {
        before->right = join(before->right, after);
        update_max(before);
        return before;
    }
    after->left = join(before, after->left);
    update_max(after);
    return after;
}

void interval_insert(IntervalNode **root, IntervalNode *node)
{
    IntervalNode **place = root;

    node->heap = heap_key(node);
    while (*place && (*place)->heap >= node->heap) {
        IntervalNode *parent = *place;
        parent->max_last = hwaddr_max(parent->max_last, node->last);
        place = comes_before(node, parent) ? &parent->left : &parent->right;
    }
    split(*place, node, &node->left, &node->right);
    update_max(node);
    *place = node;
}

void interval_remove(IntervalNode **root, IntervalNode *node)
{
    if (*root == node) {
        *root = join(node->left, node->right);
        return;
    }
    interval_remove(comes_before(node, *root) ? &(*root)->left : &(*root)->right, node);
    update_max(*root);
}

IntervalNode *interval_first_overlap(IntervalNode *root, hwaddr first, hwaddr last)
{
    while (root) {
        if (root->left && root->left->max_last >= first) {
            /* Either the left subtree has the lowest overlap, or its intervals that reach
             * `first` all start after `last`, and so does everything to the right of them. */
            root = root->left;
        } else if (root->first > last) {
            return NULL;
        } else if (root->last >= first) {
            return root;
        } else {
            root = root->right;
        }
    }
    return NULL;
}

bool interval_for_each_overlap(IntervalNode *root, hwaddr first, hwaddr last,
                               bool (*visit)(IntervalNode *node, void *opaque), void *opaque)
{
    while (root && root->max_last >= first) {
        if (interval_for_each_overlap(root->left, first, last, visit, opaque)) {
            return true;
        }
        if (root->first > last) {
            return false;
        }
        IntervalNode *right = root->right; /* the visitor may free the node */
        if (root->last >= first && visit(root, opaque)) {
            return true;
        }
        root = right;
    }
    return false;
}
