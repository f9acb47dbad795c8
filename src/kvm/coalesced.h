/* SPDX-License-Identifier: MIT */
/* coalesced.h - the writes that the kernel keeps back. See coalesced.c. */
#ifndef KVM_COALESCED_H
#define KVM_COALESCED_H

#include "kvm/state.h"
#include "kvm/uapi.h"

/* Have accesses flush them (memory_region_set_flush_coalesced()), and no more. -EBUSY. */
int coalesced_init(KVMState *s);
void coalesced_end(KVMState *s);

/* Map the ring by way of a vCPU's fd, if it is not yet. What mmap(2) failed with. */
int coalesced_open(KVMState *s, int vcpu_fd);

/* Whether a write waits, or is on its way to its device. Context: any thread. */
static inline bool coalesced_any(const KVMState *s)
{
    const struct kvm_coalesced_mmio_ring *ring = __atomic_load_n(&s->coalesced, __ATOMIC_ACQUIRE);

    return ring && __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE) !=
                       __atomic_load_n(&ring->last, __ATOMIC_RELAXED);
}

#endif
