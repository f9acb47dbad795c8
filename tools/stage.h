/* SPDX-License-Identifier: MIT */
/*
 * stage.h - a map's memory under the library's KVM code, and the kernel's side as a model. See
 * stage.c.
 */
#ifndef TOOLS_STAGE_H
#define TOOLS_STAGE_H

#include <membus/kvm_model.h>
#include <membus/space.h>

#define STAGE_MAPS 2

typedef struct StageConfig {
    unsigned as_id;
    hwaddr max_slot;    /* 0: as large as can be */
    unsigned max_slots; /* 0: as many as there are */
    hwaddr host_page;   /* the largest that the host maps memory with */
    bool log;           /* log all memory */
} StageConfig;

/* Memory of the maps: the same region in each, as far as names tell. */
typedef struct StageRegion {
    MemoryRegion mr;
    const MemoryRegion *shown; /* a captured one, for its name */
    void *reserved;            /* address space, without memory */
    size_t reserved_size;
    uintptr_t host;
    hwaddr size;
} StageRegion;

/* What became of one KVM_SET_USER_MEMORY_REGION. */
typedef struct StageCall {
    KVMModelChange change;
    KVMMemorySlot before, after;
} StageCall;

typedef struct Stage {
    StageConfig config;
    KVMModel *model;
    MemorySystem *ms;
    KVMState *kvm;
    KVMMemoryListener listener;
    struct StageUse *uses; /* of regions, by map and captured region */
    size_t nr_uses;
    StageRegion *regions, **by_host; /* in no order; by host address */
    size_t nr_regions;
    MemoryRegion *aliases[STAGE_MAPS];
    size_t nr_aliases[STAGE_MAPS];
    StageCall *calls; /* of the map that was shown last */
    size_t nr_calls, max_calls;
    bool no_memory;
} Stage;

/*
 * Get ready for @views, of which the later may be NULL. What fails says so on standard error, and
 * stage_end() is needed nevertheless.
 */
bool stage_begin(Stage *stage, const StageConfig *config, FlatView *const views[STAGE_MAPS]);
/* Have the guest see map @map. False if that cannot be: the slots do not suffice, say. */
bool stage_show(Stage *stage, const FlatView *view, unsigned map);
void stage_end(Stage *stage);

/* Whether a range with what @section says is memory that KVM could have a slot for. */
bool stage_is_memory(const MemoryRegionSection *section);
/* The region at @hva, and the offset in it; never NULL for a slot's. */
const StageRegion *stage_region_at(const Stage *stage, uint64_t hva, hwaddr *offset);

#endif
