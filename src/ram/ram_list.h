/* SPDX-License-Identifier: MIT */
/* ram_list.h - the blocks of a machine, found without a lock. See ram_list.c. */
#ifndef RAM_RAM_LIST_H
#define RAM_RAM_LIST_H

#include "ram/block.h"

/* All zero is an empty list. */
typedef struct RamList {
    SkipList orders[RAM_ORDERS];
    SkipList gaps;
    RamGap first_gap; /* before the first block */
    uint64_t serial;  /* blocks made so far */
    uint64_t version; /* atomic */
    RAMBlockNotifier *notifiers;
    bool notifying; /* a notifier is being called: blocks must not come or go */
    bool resizing;  /* a region's size is ahead of its block's used_length (ram_resize.c) */
} RamList;

/*
 * Name @block, give it a place in the RAM address space and let readers find it. -ENOMEM,
 * -ENOSPC. Context: machine lock held, as ram_list_remove().
 */
int ram_list_add(RamList *list, RAMBlock *block, const char *owner, const char *name);
void ram_list_remove(RAMBlock *block);

/*
 * The block at a host address or a RAM address, or of a name (@length bytes at @idstr); NULL:
 * none.
 * Context: a read section, or machine lock held.
 */
RAMBlock *ram_list_at_host(RamList *list, const void *host);
RAMBlock *ram_list_at_offset(RamList *list, ram_addr_t addr);
RAMBlock *ram_list_named(RamList *list, const char *idstr, size_t length);

/* The blocks, largest first: the first for NULL, else the next after it. Context: as above. */
RAMBlock *ram_list_next(RamList *list, RAMBlock *block);

/*
 * The name that a block of @owner's region @name gets, which the caller frees; NULL if memory is
 * short (idstr.c).
 */
char *ram_idstr_choose(RamList *list, const char *owner, const char *name);
/* @block has left the list: its name is free again. */
void ram_idstr_release(RamList *list, const RAMBlock *block);

#endif
