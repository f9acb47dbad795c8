/* SPDX-License-Identifier: MIT */
/*
 * Which region an alias looks at.
 *
 * Each distinct target has exactly one `memory-region: NAME` section, and the sections stand in the
 * order in which their regions were first mentioned by an alias. So a name with one section needs
 * no thought. Of a name with several, an alias means one that was mentioned before or the next one:
 *
 *     alias a @bridge 0-f        first mention: section 1
 *     alias b @bridge 100-10f    section 1 again, or section 2?
 *     memory-region: bridge      section 1
 *     memory-region: bridge      section 2
 *
 * In this order it is decided by
 *   1. the owner, where the text has owners;
 *   2. how many of the candidate's subregions the flat dump shows where the alias would put them;
 *   3. how many of them lie inside the alias's window;
 *   4. the order: the next section, if all sections before it have been mentioned, else the
 *      latest mentioned.
 */
#include "import/evidence.h"
#include "import/names.h"
#include "import/record.h"

#include <errno.h>
#include <string.h>

#define MAX_LOOKS 50000000UL /* at subregions and candidates; beyond it only the order decides */

typedef struct Resolver {
    ImportRecords *records;
    const FlatIndex *index; /* NULL: no flat dump */
    NameTable sections;     /* name -> first ImportBlock of it */
    NameTable unread;       /* name -> first ImportBlock of it that was not mentioned */
    NameTable regions;      /* name -> the one region of that name, or &ambiguous */
    ImportBlock *pending;   /* the first section that was not mentioned */
    unsigned long looks;
} Resolver;

static ImportNode ambiguous;

static int index_sections(Resolver *r)
{
    NameTable last = {.buckets = NULL};
    int result = 0;

    for (ImportBlock *block = r->records->blocks; block && result == 0; block = block->next) {
        if (block->is_space) {
            continue;
        }
        const char *name = block->names[0];
        void **first = name_table_slot(&r->sections, name, 0);
        void **unread = name_table_slot(&r->unread, name, 0);
        void **tail = name_table_slot(&last, name, 0);
        if (!first || !unread || !tail) {
            result = -ENOMEM;
            break;
        }
        if (*tail) {
            ((ImportBlock *)*tail)->same_name = block;
        } else {
            *first = *unread = block;
        }
        *tail = block;
    }
    name_table_destroy(&last);
    return result;
}

/*
 * For targets without a section: a text that was cut short still resolves where one region has the
 * name.
 */
static int index_regions(Resolver *r)
{
    for (ImportNode *node = r->records->regions; node; node = node->next_region) {
        if (node->is_alias || node->hidden) {
            continue;
        }
        void **slot = name_table_slot(&r->regions, node->name, 0);
        if (!slot) {
            return -ENOMEM;
        }
        *slot = *slot ? &ambiguous : node;
    }
    return 0;
}

/* Both offsets are in the target. */
static bool in_window(const ImportNode *alias, const ImportNode *child)
{
    hwaddr first = import_offset(child), last = first + import_extent(child);

    return first <= last && first >= alias->target_first && last <= alias->target_last;
}

/*
 * How well @target explains @alias: see 2 and 3 above. @in_space: addresses as printed are the
 * space's.
 */
static unsigned long score(Resolver *r, const ImportNode *alias, const ImportNode *target,
                           bool in_space)
{
    unsigned long inside = 0, shown = 0;

    if (alias->target_first == alias->target_last || r->looks > MAX_LOOKS) {
        return 0;
    }
    for (const ImportNode *child = target->children; child; child = child->next) {
        r->looks++;
        if (child->disabled || !in_window(alias, child)) {
            continue;
        }
        inside++;
        hwaddr base = alias->first + (import_offset(child) - alias->target_first);
        if (in_space && r->index && flat_index_get(r->index, child->name, base)) {
            shown++;
        }
    }
    return shown << 20 | (inside < 1 << 20 ? inside : (1 << 20) - 1);
}

static bool same_owner(const ImportNode *alias, const ImportBlock *section)
{
    const char *owner = section->root->owner;

    return alias->owner && owner && strcmp(alias->owner, owner) == 0;
}

static ImportBlock *choose(Resolver *r, const ImportNode *alias, ImportBlock *first,
                           ImportBlock *unread, bool in_space)
{
    ImportBlock *best = NULL, *latest = NULL;
    bool best_owned = false, next_is_due = unread && (unread == r->pending || unread == first);
    unsigned long best_score = 0;

    if (!first->same_name) {
        return first;
    }
    for (ImportBlock *block = first; block; block = block->same_name) {
        bool owned = same_owner(alias, block);
        unsigned long points = score(r, alias, block->root, in_space);
        bool better = owned != best_owned ? owned : points > best_score;
        bool equal = owned == best_owned && points == best_score;
        /* Of equals the latest mentioned, or the next one if it is its turn. */
        if (!best || better ||
            (equal && (block != unread || next_is_due) && !(owned && block == unread))) {
            best = block;
            best_owned = owned;
            best_score = points;
        }
        latest = block;
        if (block == unread || ++r->looks > MAX_LOOKS) {
            break;
        }
    }
    if (r->looks > MAX_LOOKS) {
        return next_is_due ? unread : latest;
    }
    return best;
}

/* Mark @block and what of its name stands before it as mentioned. */
static int mention(Resolver *r, ImportBlock *block)
{
    if (!block->claimed) {
        void **slot = name_table_slot(&r->unread, block->names[0], 0);
        if (!slot) {
            return -ENOMEM;
        }
        block->claimed = true;
        *slot = block->same_name;
    }
    while (r->pending && (r->pending->claimed || r->pending->is_space)) {
        r->pending = r->pending->next;
    }
    return 0;
}

/*
 * Cut "NAME @TARGET" at the first " @" whose right side is the name of a section, then of a region.
 */
static const char *split_name(Resolver *r, ImportNode *alias, const NameTable *table)
{
    for (char *at = strstr(alias->name, " @"); at; at = strstr(at + 1, " @")) {
        if (name_table_get(table, at + 2, 0)) {
            char *name = arena_alloc(&r->records->arena, (size_t)(at - alias->name) + 1);
            if (!name) {
                return NULL;
            }
            memcpy(name, alias->name, (size_t)(at - alias->name));
            name[at - alias->name] = '\0';
            alias->name = name;
            return at + 2;
        }
    }
    return NULL;
}

static int resolve(Resolver *r, ImportNode *line, bool in_space)
{
    ImportNode *alias = line->canonical;
    const char *target;

    if (alias->resolved) {
        return 0;
    }
    alias->resolved = true;
    target = split_name(r, alias, &r->sections);
    if (target) {
        ImportBlock *first = name_table_get(&r->sections, target, 0);
        ImportBlock *unread = name_table_get(&r->unread, target, 0);
        ImportBlock *block = choose(r, line, first, unread, in_space);
        alias->target = block->root->canonical;
        return mention(r, block);
    }
    target = split_name(r, alias, &r->regions);
    alias->target = target ? name_table_get(&r->regions, target, 0) : NULL;
    if (!alias->target || alias->target == &ambiguous) {
        return import_fail(r->records, line->line, EINVAL,
                           "no `memory-region:` section for the target of alias '%s'", alias->name);
    }
    return 0;
}

int import_resolve_targets(ImportRecords *records, const FlatIndex *index)
{
    Resolver r = {.records = records, .index = index, .pending = records->blocks};
    int result = index_sections(&r);

    if (result == 0) {
        result = index_regions(&r);
    }
    while (r.pending && r.pending->is_space) {
        r.pending = r.pending->next;
    }
    for (ImportBlock *block = records->blocks; block && result == 0; block = block->next) {
        for (ImportNode *node = block->root; node && result == 0;
             node = import_next_node(block->root, node)) {
            if (node->is_alias) {
                result = resolve(&r, node, block->is_space);
            }
        }
    }
    name_table_destroy(&r.sections);
    name_table_destroy(&r.unread);
    name_table_destroy(&r.regions);
    return result == -ENOMEM ? import_fail(records, 1, ENOMEM, "out of memory") : result;
}
