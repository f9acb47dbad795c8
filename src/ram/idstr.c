/* SPDX-License-Identifier: MIT */
/*
 * Names of blocks: unique, and the same whenever a machine is built in the same order, since
 * whoever saves and loads a machine knows its RAM by them.
 *
 * NAME or OWNER/NAME; if that is taken, the lowest free of NAME#2, NAME#3 ... The block with the
 * bare name remembers below which number none is free, so that many of one name cost no search.
 */
#include "ram/ram_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS 20

char *ram_idstr_choose(RamList *list, const char *owner, const char *name)
{
    const char *parts[] = {owner ? owner : "", owner ? "/" : "", name ? name : ""};
    size_t bare = strlen(parts[0]) + strlen(parts[1]) + strlen(parts[2]);
    size_t size = bare + sizeof "#" + DIGITS;
    char *idstr = malloc(size);

    if (!idstr) {
        return NULL;
    }
    snprintf(idstr, size, "%s%s%s", parts[0], parts[1], parts[2]);
    RAMBlock *first = ram_list_named(list, idstr, bare);
    if (first) {
        do {
            snprintf(idstr + bare, size - bare, "#%" PRIu64, first->next_copy++);
        } while (ram_list_named(list, idstr, strlen(idstr)));
    }
    return idstr;
}

void ram_idstr_release(RamList *list, const RAMBlock *block)
{
    const char *mark = strrchr(block->idstr, '#');
    uint64_t number = mark ? strtoull(mark + 1, NULL, 10) : 0;
    RAMBlock *first =
        number >= 2 ? ram_list_named(list, block->idstr, (size_t)(mark - block->idstr)) : NULL;

    if (first && number < first->next_copy) {
        first->next_copy = number;
    }
}
