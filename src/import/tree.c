/* SPDX-License-Identifier: MIT */
/*
 * Lines -> blocks, each a tree by indentation.
 *
 * Without -D the text leaves disabled regions out but prints their children, one level deeper, so
 * that a line can stand below one that is not its parent:
 *
 *       0-ff  system
 *         0-f   alias a @ram 0-f      an alias has no children, so ...
 *           4-7   b                   ... b is of a disabled region that was not printed
 *             5-5   c
 *         2-3   d
 *           1-1   e                   outside of d: of another one after d
 *           0-0   f                   siblings ascend: of yet another one
 *
 * Such a parent is put in as a hidden node. It comes after the sibling that was printed before it
 * and has that one's address, so that it keeps its place when siblings are sorted again.
 */
#include "import/record.h"

#include "base/error.h"
#include "import/scan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Of a longer path the end is shown: the line and the reason must fit into an error. */
#define LONGEST_SHOWN_PATH 80

int import_fail(const ImportRecords *records, unsigned long line, int err, const char *fmt, ...)
{
    char reason[200];
    size_t length = strlen(records->file);
    bool cut = length > LONGEST_SHOWN_PATH;
    va_list args;

    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    return fail(err, "%s%s:%lu: %s", cut ? "..." : "",
                records->file + (cut ? length - LONGEST_SHOWN_PATH : 0), line, reason);
}

ImportNode *import_next_node(const ImportNode *root, ImportNode *node)
{
    if (node->children) {
        return node->children;
    }
    while (node != root && !node->next) {
        node = node->parent;
    }
    return node == root ? NULL : node->next;
}

typedef struct Builder {
    ImportRecords *records;
    ImportBlock *block;                            /* NULL between blocks */
    ImportNode *path[MEMORY_REGION_MAX_DEPTH + 2]; /* path[n]: the latest node of level n */
    unsigned depth;                                /* of the latest node; 0: none in this block */
} Builder;

static int out_of_memory(const Builder *b, unsigned long line)
{
    return import_fail(b->records, line, ENOMEM, "out of memory");
}

/* ---- regions --------------------------------------------------------------------- */

/* Siblings come by address, then by falling priority. */
static bool may_follow(const ImportNode *sibling, const ImportNode *node)
{
    return sibling->first != node->first ? sibling->first < node->first
                                         : sibling->priority >= node->priority;
}

/* Whether @node can be below @parent, as a subregion or deeper. */
static bool may_lead_to(const Builder *b, const ImportNode *parent, const ImportNode *node)
{
    if (parent->is_alias || parent->level == 1 || parent->level + 1 < node->level) {
        return !parent->is_alias;
    }
    if (parent->last_child && !may_follow(parent->last_child, node)) {
        return false;
    }
    if (parent->hidden || b->records->prints_disabled) {
        return true;
    }
    return node->first >= parent->first && node->first <= parent->last;
}

/* Put @node in at its level, whose parent stands in the path. */
static int attach(Builder *b, ImportNode *node)
{
    ImportNode *parent = node->level > 1 ? b->path[node->level - 1] : NULL;

    if (!parent && b->block->root) {
        return import_fail(b->records, node->line, EINVAL,
                           "a second root in the block that begins at line %lu", b->block->line);
    }
    node->parent = parent;
    if (!parent) {
        b->block->root = node;
    } else if (parent->last_child) {
        parent->last_child->next = node;
    } else {
        parent->children = node;
    }
    if (parent) {
        parent->last_child = node;
    }
    for (ImportNode *up = parent; up && up->hidden && up->last < node->last; up = up->parent) {
        up->last = node->last;
    }
    b->path[node->level] = node;
    b->depth = node->level;
    b->records->nr_nodes++;
    return 0;
}

static int attach_hidden(Builder *b, unsigned level, const ImportNode *child)
{
    ImportNode *node = arena_alloc(&b->records->arena, sizeof *node);
    ImportNode *before = level > 1 ? b->path[level - 1]->last_child : NULL;

    if (!node) {
        return out_of_memory(b, child->line);
    }
    *node = (ImportNode){
        .line = child->line,
        .level = level,
        .first = before ? before->first : child->first,
        .last = child->last,
        .priority = before ? before->priority : 0,
        .type = IMPORT_CONTAINER,
        .name = level == 1 && !b->block->is_space ? b->block->names[0] : "",
        .disabled = true,
        .hidden = true,
    };
    return attach(b, node);
}

static int add_region(Builder *b, unsigned long line, Scan text)
{
    ImportNode *node = arena_alloc(&b->records->arena, sizeof *node);

    if (!node) {
        return out_of_memory(b, line);
    }
    int result = import_parse_line(b->records, line, text.at, text.end, node);
    if (result < 0) {
        return result;
    }
    if (!b->block) {
        return import_fail(b->records, line, EINVAL, "a region outside of any block");
    }
    b->records->prints_owners |= node->owner != NULL;
    b->records->prints_containers |= node->type == IMPORT_CONTAINER;
    if (b->depth >= node->level) {
        b->depth = node->level - 1;
    }
    /* The line above may be no parent of this one: then a hidden region of its level is. */
    if (b->depth > 0 && !may_lead_to(b, b->path[b->depth], node)) {
        if (b->depth == 1) {
            return import_fail(b->records, line, EINVAL, "a subregion of an alias");
        }
        b->depth--;
    }
    while (b->depth < node->level - 1) {
        result = attach_hidden(b, b->depth + 1, node);
        if (result < 0) {
            return result;
        }
    }
    return attach(b, node);
}

/* ---- headings -------------------------------------------------------------------- */

static int open_block(Builder *b, bool is_space, unsigned long line)
{
    ImportBlock *block = arena_alloc(&b->records->arena, sizeof *block);

    if (!block) {
        return out_of_memory(b, line);
    }
    *block = (ImportBlock){.is_space = is_space, .line = line};
    *b->records->last_block = block;
    b->records->last_block = &block->next;
    b->block = block;
    b->depth = 0;
    return 0;
}

/* A block of nothing but names is one of a disabled root. */
static int close_block(Builder *b)
{
    ImportBlock *block = b->block;
    int result = 0;

    if (block && !block->root) {
        ImportNode nothing = {.line = block->line};
        result = attach_hidden(b, 1, &nothing);
    }
    b->block = NULL;
    return result;
}

static int grow_names(ImportRecords *records, ImportBlock *block)
{
    size_t max = block->max_names ? 2 * block->max_names : 4;
    const char **names = arena_alloc(&records->arena, max * sizeof *names);
    unsigned long *lines = arena_alloc(&records->arena, max * sizeof *lines);

    if (!names || !lines) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < block->nr_names; i++) {
        names[i] = block->names[i];
        lines[i] = block->name_lines[i];
    }
    block->names = names;
    block->name_lines = lines;
    block->max_names = max;
    return 0;
}

static int add_heading(Builder *b, bool is_space, Scan name, unsigned long line)
{
    bool shares = b->block && is_space && b->block->is_space && !b->block->root;

    if (!shares) {
        int result = close_block(b);
        if (result == 0) {
            result = open_block(b, is_space, line);
        }
        if (result < 0) {
            return result;
        }
    }
    ImportBlock *block = b->block;
    if (block->nr_names == block->max_names && grow_names(b->records, block) < 0) {
        return out_of_memory(b, line);
    }
    const char *copy = scan_copy(name, &b->records->arena);
    if (!copy) {
        return out_of_memory(b, line);
    }
    block->names[block->nr_names] = copy;
    block->name_lines[block->nr_names++] = line;
    return 0;
}

/* ---- the text -------------------------------------------------------------------- */

static bool is_chatter(Scan line)
{
    return scan_word(&line, "(qemu)") || scan_word(&line, "QEMU ");
}

static int add_line(Builder *b, unsigned long number, Scan line)
{
    Scan name = line;

    if (line.at == line.end) {
        return close_block(b);
    }
    if (memchr(line.at, '\0', (size_t)(line.end - line.at))) {
        return import_fail(b->records, number, EINVAL, "the line contains a NUL byte");
    }
    if (scan_word(&name, "address-space: ")) {
        return add_heading(b, true, name, number);
    }
    if (scan_word(&name, "memory-region: ")) {
        return add_heading(b, false, name, number);
    }
    /* what a monitor's transcript has around the text */
    if (!b->block && is_chatter(line)) {
        return 0;
    }
    return add_region(b, number, line);
}

int import_parse_tree(ImportRecords *records, const char *text, size_t len)
{
    Builder b = {.records = records};
    Scan rest = {text, text + len}, line;
    int result = 0;

    records->last_block = &records->blocks;
    records->prints_disabled = memmem(text, len, " [disabled]", 11) != NULL;
    for (unsigned long number = 1; result == 0 && scan_line(&rest, &line); number++) {
        result = add_line(&b, number, line);
    }
    if (result == 0) {
        result = close_block(&b);
    }
    if (result == 0 && !records->blocks) {
        return import_fail(records, 1, EINVAL, "no `address-space:` in this text");
    }
    return result;
}
