/* SPDX-License-Identifier: MIT */
/* shortcuts.h - writes that the kernel takes without an exit. See shortcuts.c. */
#ifndef KVM_SHORTCUTS_H
#define KVM_SHORTCUTS_H

#include "base/vec.h"
#include "map/flatview.h"

#include <membus/kvm.h>

struct KvmSpace;

/* A zone of coalesced writes, or an ioeventfd. */
typedef struct Shortcut {
    bool is_zone;
    hwaddr addr;
    hwaddr len; /* bytes; of an ioeventfd 0: a write of any width */
    bool match_data;
    uint64_t data; /* as a CPU of the host's byte order writes it */
    int fd;
} Shortcut;

/* What one address space has of them. */
typedef struct Shortcuts {
    Vec there;             /* Shortcut: in the kernel */
    Vec gone, come;        /* Shortcut, ascending: the difference of the update at work */
    size_t removed, added; /* so many of them are carried out */
} Shortcuts;

void shortcuts_free(Shortcuts *shortcuts);

/* Find the difference between what is there and @view. -ENOMEM. */
int shortcuts_plan(struct KvmSpace *space, const FlatView *old, const FlatView *view);
/* Carry out its halves; take back what was carried out, and say if the kernel refuses that. */
int shortcuts_remove(struct KvmSpace *space);
int shortcuts_add(struct KvmSpace *space);
bool shortcuts_undo(struct KvmSpace *space);
/* Forget the difference. */
void shortcuts_drop(Shortcuts *shortcuts);

/* Remove what is there as far as the kernel does it, and forget it. */
void shortcuts_abandon(struct KvmSpace *space);

#endif
