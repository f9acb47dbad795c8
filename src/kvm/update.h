/* SPDX-License-Identifier: MIT */
/* update.h - carry out a plan, and take it back. See update.c. */
#ifndef KVM_UPDATE_H
#define KVM_UPDATE_H

#include "kvm/plan.h"

/*
 * Make the kernel's side of @space what @view shows, to be confirmed with update_keep() or taken
 * back with update_undo(); in between the gate is closed if vCPUs must not see the middle of it.
 * Returns 0, or an error and nothing has changed.
 * Context of all: machine lock held.
 */
int update_make(KvmSpace *space, const FlatView *old, const FlatView *view);
void update_keep(KvmSpace *space);
void update_undo(KvmSpace *space);

#endif
