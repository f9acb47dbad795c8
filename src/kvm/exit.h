/* SPDX-License-Identifier: MIT */
/* exit.h - through which address spaces accesses that left the guest go. See exit.c. */
#ifndef KVM_EXIT_H
#define KVM_EXIT_H

#include "kvm/state.h"

/* The listeners, or what they show, have changed. Context: machine lock held, or none yet. */
void exits_follow(KVMState *s);

/* The access of a CPU of @len bytes at @addr of address space @as_id. */
void exit_access(const KVMState *s, int as_id, hwaddr addr, MemTxAttrs attrs, void *data,
                 hwaddr len, bool is_write);

#endif
