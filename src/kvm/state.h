/* SPDX-License-Identifier: MIT */
/* state.h - what a KVMState, its vCPUs and its address spaces consist of. */
#ifndef KVM_STATE_H
#define KVM_STATE_H

#include "base/interval.h" /* container_of */
#include "map/listeners.h"
#include "map/system.h"

#include <membus/kvm.h>
#include <pthread.h>

#define KVM_MAX_SPACES 2 /* memory, SMM */

typedef struct KvmDirtyRings KvmDirtyRings; /* dirty_ring.c */
typedef struct KvmReaper KvmReaper;         /* dirty_reaper.c */

struct KVMVcpu {
    KVMState *s;
    int fd;
    bool own_fd;
    struct kvm_run *run;

    /* gate.c; atomic */
    int inside; /* between enter and leave */
    int kicked;
    pid_t thread; /* that was inside last */

    /* dirty_ring.c; machine lock */
    struct kvm_dirty_gfn *ring; /* NULL: none */
    uint32_t ring_next;         /* entry that is reaped next; it only grows */
    bool ring_overran;          /* the kernel may be farther on */

    KVMVcpu *next;
};

/* Keeps vCPUs out of the guest: gate.c. */
typedef struct Gate {
    int closed; /* how many want it so; atomic, written under the lock */
    pthread_mutex_t lock;
    pthread_cond_t opened, left;
} Gate;

struct KVMState {
    MemorySystem *ms; /* whose machine lock guards everything here but what says otherwise */
    KVMConfig config;
    KVMCapabilities caps;
    KVMDirtyLog dirty_log;
    int kvm_fd, vm_fd;
    hwaddr page_size;     /* bytes, of the host */
    unsigned max_slots;   /* of one address space */
    hwaddr max_slot_size; /* bytes */
    KVMMemoryListener *listeners;
    KVMVcpu *vcpus;
    KvmDirtyRings *rings;      /* NULL: dirty logs are bitmaps */
    KvmReaper *reaper;         /* NULL: none */
    unsigned logged_slots;     /* that the kernel logs */
    unsigned unloggable_slots; /* that it does not, and the guest writes */
    Gate gate;

    /* exit.c */
    AddressSpace *served[KVM_MAX_SPACES + 1]; /* by as_id + 1; NULL: shows nothing; atomic */
    size_t run_size;                          /* bytes of a vCPU's area */

    /* coalesced.c */
    struct kvm_coalesced_mmio_ring *coalesced; /* NULL: no vCPU was ever made; atomic */
    unsigned coalesced_page;                   /* where it is in a vCPU's area */
    bool delivering;
};

/* The listener of address space @as_id; NULL: none. Context: machine lock held. */
KVMMemoryListener *kvm_listener_of(const KVMState *s, int as_id);

/* Hand this thread's sentence to the program (KVMConfig.report). */
void kvm_report(const KVMState *s, int result);

#endif
