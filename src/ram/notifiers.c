/* SPDX-License-Identifier: MIT */
#include "ram/notifiers.h"

#include "base/error.h"

#include <errno.h>

int ram_notifiers_check_idle(const RamList *list)
{
    return list->notifying
               ? fail(EBUSY, "RAM blocks cannot be changed from a RAM block notifier's callback")
               : 0;
}

static void tell_added(RAMBlockNotifier *notifier, const RAMBlock *block)
{
    if (notifier->ram_block_added) {
        notifier->ram_block_added(notifier, block->host, (size_t)block->used_length,
                                  (size_t)block->max_length);
    }
}

static void tell_removed(RAMBlockNotifier *notifier, const RAMBlock *block)
{
    if (notifier->ram_block_removed) {
        notifier->ram_block_removed(notifier, block->host, (size_t)block->used_length,
                                    (size_t)block->max_length);
    }
}

void ram_notifiers_added(RAMBlock *block)
{
    block->list->notifying = true;
    for (RAMBlockNotifier *notifier = block->list->notifiers; notifier; notifier = notifier->next) {
        tell_added(notifier, block);
    }
    block->list->notifying = false;
}

void ram_notifiers_removed(RAMBlock *block)
{
    block->list->notifying = true;
    for (RAMBlockNotifier *notifier = block->list->notifiers; notifier; notifier = notifier->next) {
        tell_removed(notifier, block);
    }
    block->list->notifying = false;
}

void ram_notifiers_resized(RAMBlock *block, hwaddr old_size, hwaddr new_size)
{
    block->list->notifying = true;
    for (RAMBlockNotifier *notifier = block->list->notifiers; notifier; notifier = notifier->next) {
        if (notifier->ram_block_resized) {
            notifier->ram_block_resized(notifier, block->host, (size_t)old_size, (size_t)new_size);
        }
    }
    block->list->notifying = false;
}

/* ---- joining and leaving --------------------------------------------------------------- */

/* The link that points to @notifier, or the last one. */
static RAMBlockNotifier **find(RamList *list, const RAMBlockNotifier *notifier)
{
    RAMBlockNotifier **link = &list->notifiers;

    while (*link && *link != notifier) {
        link = &(*link)->next;
    }
    return link;
}

/* Tell one notifier of every block there is. */
static void replay(RamList *list, RAMBlockNotifier *notifier,
                   void (*tell)(RAMBlockNotifier *notifier, const RAMBlock *block))
{
    list->notifying = true;
    for (RAMBlock *block = NULL; (block = ram_list_next(list, block));) {
        tell(notifier, block);
    }
    list->notifying = false;
}

int ram_notifiers_add(RamList *list, RAMBlockNotifier *notifier)
{
    int result = ram_notifiers_check_idle(list);

    if (result) {
        return result;
    }
    RAMBlockNotifier **link = find(list, notifier);
    if (*link) {
        return fail(EEXIST, "this RAM block notifier is registered already");
    }
    notifier->next = NULL;
    *link = notifier;
    replay(list, notifier, tell_added);
    return 0;
}

int ram_notifiers_remove(RamList *list, RAMBlockNotifier *notifier)
{
    int result = ram_notifiers_check_idle(list);

    if (result) {
        return result;
    }
    RAMBlockNotifier **link = find(list, notifier);
    if (!*link) {
        return fail(ENOENT, "this RAM block notifier is not registered");
    }
    replay(list, notifier, tell_removed);
    *link = notifier->next;
    return 0;
}
