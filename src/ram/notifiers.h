/* SPDX-License-Identifier: MIT */
/* notifiers.h - tell a program's RAMBlockNotifiers. Context of all: machine lock held. */
#ifndef RAM_NOTIFIERS_H
#define RAM_NOTIFIERS_H

#include "ram/ram_list.h"

int ram_notifiers_add(RamList *list, RAMBlockNotifier *notifier);
int ram_notifiers_remove(RamList *list, RAMBlockNotifier *notifier);

/* -EBUSY from a notifier's callback, where blocks must not come, go or change. */
int ram_notifiers_check_idle(const RamList *list);

void ram_notifiers_added(RAMBlock *block);
void ram_notifiers_removed(RAMBlock *block);
void ram_notifiers_resized(RAMBlock *block, hwaddr old_size, hwaddr new_size);

#endif
