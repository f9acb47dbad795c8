/* SPDX-License-Identifier: MIT */
/* model.h - what the model of the kernel's side consists of. */
#ifndef KVM_MODEL_H
#define KVM_MODEL_H

#include "base/interval.h"
#include "base/vec.h"
#include "kvm/stage2.h"
#include "kvm/uapi.h"

#include <pthread.h>

#define MODEL_SPACES 2U
#define MODEL_VCPUS 1024U /* KVM_CAP_MAX_VCPUS */

/* A slot of the kernel's. */
typedef struct ModelSlot {
    KVMMemorySlot info;
    IntervalNode node; /* [base_gfn, last gfn], in the space's index */
    uint64_t *dirty_bitmap;
} ModelSlot;

typedef struct ModelSpace {
    ModelSlot **by_id; /* nr_memslots of them; NULL: no slot */
    IntervalNode *by_gfn;
    Stage2 stage2;
} ModelSpace;

/* Where ioeventfds and coalesced zones are told apart. */
typedef enum ModelBus { MODEL_BUS_MMIO, MODEL_BUS_PIO, MODEL_BUS_CCW, MODEL_BUSES } ModelBus;

typedef struct ModelDevices {
    Vec ioeventfds; /* struct kvm_ioeventfd */
    Vec zones;      /* struct kvm_coalesced_mmio_zone */
} ModelDevices;

struct KVMModel {
    KVMModelConfig config;
    pthread_mutex_t lock; /* guards the rest */
    int kvm_fd;
    int vm_fd; /* the user's; -1: no VM */
    ModelSpace spaces[MODEL_SPACES];
    uint64_t manual_dirty_log; /* what KVM_ENABLE_CAP was given: KVM_DIRTY_LOG_* */
    ModelDevices buses[MODEL_BUSES];
    bool vcpus[MODEL_VCPUS];
};

/* ---- Slots and dirty logs (model_slots.c); return 0 or a negative errno ---- */

int model_set_slot(KVMModel *model, const struct kvm_userspace_memory_region *region);
int model_get_dirty_log(KVMModel *model, const struct kvm_dirty_log *log);
int model_clear_dirty_log(KVMModel *model, const struct kvm_clear_dirty_log *log);

static inline ModelSlot *model_slot_at(const ModelSpace *space, uint64_t gfn)
{
    IntervalNode *node = interval_first_overlap(space->by_gfn, gfn, gfn);

    return node ? container_of(node, ModelSlot, node) : NULL;
}

/* @gfn of @slot is going to be written: set its bit, if it is logged. */
void model_mark_dirty(ModelSlot *slot, uint64_t gfn);

/* All slots and page tables of @space go. */
void model_space_end(KVMModel *model, ModelSpace *space);

/* ---- ioeventfds and coalesced zones (model_devices.c); return 0 or a negative errno ---- */

int model_ioeventfd(KVMModel *model, const struct kvm_ioeventfd *arg);
int model_coalesced(KVMModel *model, const struct kvm_coalesced_mmio_zone *zone, bool add);
void model_devices_end(KVMModel *model);

#endif
