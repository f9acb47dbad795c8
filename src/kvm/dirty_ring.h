/* SPDX-License-Identifier: MIT */
/* dirty_ring.h - a ring of dirty pages for each vCPU, and who reaps them. See dirty_ring.c. */
#ifndef KVM_DIRTY_RING_H
#define KVM_DIRTY_RING_H

#include "kvm/state.h"

/* Have the kernel use rings; -ENOTSUP, -EINVAL, -ENOMEM, or what failed. */
int dirty_ring_init(KVMState *s);
/* NULL @s->rings is fine. Context: any, with or without the machine lock. */
void dirty_ring_end(KVMState *s);

/* Map @cpu's ring, if there are rings; unmap it, what is left in it being brought in already. */
int dirty_ring_map(KVMVcpu *cpu);
void dirty_ring_unmap(KVMVcpu *cpu);

/*
 * Bring in all that the guest has written, what vCPUs' hardware holds included: vCPUs leave the
 * guest for it. Context: machine lock held; may block.
 */
void dirty_ring_sync(KVMState *s);
/* The same, but once in a commit. */
void dirty_ring_begin_commit(KVMState *s);
void dirty_ring_sync_once(KVMState *s);

#endif
