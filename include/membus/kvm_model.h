/* SPDX-License-Identifier: MIT */
/*
 * kvm_model.h - the kernel's side of KVM memory, as a model to be looked into.
 *
 *      KVMModel *model = kvm_model_create(NULL, &err);
 *      KVMConfig config = KVM_CONFIG_INIT;
 *      config.kernel = kvm_model_kernel(model);
 *      config.kvm_fd = kvm_model_fd(model);
 *      KVMState *kvm = kvm_create(ms, &config, &err);
 *      kvm_memory_listener_register(kvm, &memory, memory_system_memory(ms), 0, "kvm-memory");
 *      kvm_model_fault(model, 0, 0x5000, true);                what a vCPU's store would do
 *      kvm_model_walk(model, 0, 0x5000, print_entry, NULL);    and what it left behind
 *
 * The model answers the ioctls that membus makes as the kernel would, with the kernel's rules and
 * error numbers, on machines with or without KVM. It keeps the table of memory slots and, for each
 * address space, the second-stage page table (Intel: EPT; AMD: NPT) that the kernel fills from the
 * slots when a vCPU touches memory. Guest memory itself is never touched: any addresses do.
 *
 * A model is of one virtual machine: KVM_CREATE_VM begins it anew. It is of x86, with pages of 4
 * KiB. It has no CPUs (a vCPU is an area to be mapped; KVM_RUN is -ENOTTY), no dirty rings and no
 * private memory.
 */
#ifndef MEMBUS_KVM_MODEL_H
#define MEMBUS_KVM_MODEL_H

#include <membus/kvm.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct KVMModel KVMModel;

#define KVM_MODEL_PAGE_SIZE ((hwaddr)4096) /* bytes: what a gfn counts */

/* ---- Memory slots --------------------------------------------------------------- */

/* A slot as the kernel has it (its struct kvm_memory_slot). */
typedef struct KVMMemorySlot {
    uint64_t base_gfn, npages;    /* guest frames: bytes / KVM_MODEL_PAGE_SIZE */
    uint64_t userspace_addr;      /* HVA of the first byte */
    const uint64_t *dirty_bitmap; /* a bit for each page; NULL: it is not logged */
    uint32_t flags;               /* KVM_MEM_* of <linux/kvm.h> */
    unsigned id, as_id;
} KVMMemorySlot;

/* What KVM_SET_USER_MEMORY_REGION did to a slot. */
typedef enum KVMModelChange {
    KVM_MODEL_CREATE, /* no slot before */
    KVM_MODEL_DELETE, /* none after */
    KVM_MODEL_MOVE,   /* another base_gfn, and perhaps other flags */
    KVM_MODEL_FLAGS,  /* logging began or ended */
} KVMModelChange;

/* ---- The model ------------------------------------------------------------------ */

/* All zero: a kernel of today on a machine with four levels. */
typedef struct KVMModelConfig {
    unsigned levels;            /* of the second-stage table: 4 or 5. 0: 4 */
    unsigned nr_memslots;       /* of one address space, at most 32767. 0: 32764 */
    unsigned nr_address_spaces; /* 1 or 2. 0: 2 */
    /* What an older kernel has not. */
    bool no_readonly_mem, no_manual_dirty_log, no_user_memory2;

    /*
     * The largest page, in bytes, with which the host maps @hva, as far as the kernel could use it:
     * 4 KiB, 2 MiB or 1 GiB (hugetlbfs). NULL: 2 MiB everywhere, as transparent huge pages give
     * memory that is aligned. Context: as kvm_model_fault(), and KVM_SET_USER_MEMORY_REGION.
     */
    hwaddr (*host_page_size)(void *opaque, uint64_t hva);
    /* Told of each change of a slot after it was made; @before (@after) is NULL for none. */
    void (*changed)(void *opaque, KVMModelChange change, const KVMMemorySlot *before,
                    const KVMMemorySlot *after);
    void *opaque; /* of both, which must not call the model */
} KVMModelConfig;

/*
 * Make a model; NULL @config: all zero. NULL on an error: -EINVAL for a bad config, -ENOMEM, or
 * what memfd_create(2) failed with.
 * Context: any thread.
 */
MEMBUS_EXPORT KVMModel *kvm_model_create(const KVMModelConfig *config, Error **errp);
/* End it; NULL is fine. After kvm_destroy() of who uses it. */
MEMBUS_EXPORT void kvm_model_destroy(KVMModel *model);

/*
 * For KVMConfig: who carries out the ioctls, and what stands for /dev/kvm (the model's; it is
 * closed with it). Context of the ioctls: any thread.
 */
MEMBUS_EXPORT KVMKernel kvm_model_kernel(KVMModel *model);
MEMBUS_EXPORT int kvm_model_fd(const KVMModel *model);

/*
 * The slot at @gpa of address space @as_id; false if there is none. Takes logarithmic time.
 * Here and below bitmaps and page tables are borrowed: until the next ioctl or fault.
 * Context: any thread.
 */
MEMBUS_EXPORT bool kvm_model_find_slot(KVMModel *model, unsigned as_id, hwaddr gpa,
                                       KVMMemorySlot *slot);
/*
 * Visit the slots by address space, then address, until @visit returns true; returns whether it
 * did. @visit must not call the model.
 */
MEMBUS_EXPORT bool kvm_model_for_each_slot(KVMModel *model,
                                           bool (*visit)(const KVMMemorySlot *slot, void *opaque),
                                           void *opaque);

/* ---- The second-stage page table ------------------------------------------------- */

/*
 * One page of it (the kernel's struct kvm_mmu_page). An entry in @spt is as the CPU reads it, with
 * an HVA where the CPU has a host physical address: KVM_SPTE_* bits, and in KVM_SPTE_ADDRESS that
 * of the next page's spt, or of the memory. 0: not present.
 */
typedef struct KVMMMUPage {
    uint64_t spt[512];
    uint64_t gfn; /* the first that it translates */
    struct {
        unsigned level; /* 1: its entries are pages of 4 KiB */
        unsigned as_id;
    } role;
    unsigned used; /* entries that are present */
} KVMMMUPage;

#define KVM_SPTE_READ (UINT64_C(1) << 0)
#define KVM_SPTE_WRITE (UINT64_C(1) << 1)
#define KVM_SPTE_EXECUTE (UINT64_C(1) << 2)
#define KVM_SPTE_LARGE (UINT64_C(1) << 7) /* a leaf in a page of level 2 or 3 */
#define KVM_SPTE_ADDRESS UINT64_C(0x000ffffffffff000)

typedef enum KVMModelEntryKind {
    KVM_ENTRY_NOT_PRESENT,
    KVM_ENTRY_TABLE, /* the next level's page */
    KVM_ENTRY_LEAF,  /* memory */
} KVMModelEntryKind;

typedef struct KVMModelEntry {
    const KVMMMUPage *page; /* that it stands in */
    unsigned level, index;  /* @page's level; which of its entries */
    KVMModelEntryKind kind;
    uint64_t spte;
    uint64_t first_gfn, last_gfn; /* what it translates */
    const KVMMMUPage *table;      /* a table's page, else NULL */
    uint64_t hva;                 /* a leaf's first byte, else 0 */
} KVMModelEntry;

/* What became of an access. */
typedef enum KVMModelFault {
    KVM_FAULT_NONE,  /* the table allows it as it is: the CPU does not leave the guest */
    KVM_FAULT_FIXED, /* the kernel put an entry in, or made one writable; the guest goes on */
    KVM_FAULT_MMIO,  /* no slot, or a write to a read-only one: KVM_EXIT_MMIO */
} KVMModelFault;

/*
 * Access @gpa as a vCPU of address space @as_id (KVM_AS_SMM: in SMM) would. Returns a
 * KVMModelFault; -EINVAL for an address space or a @gpa that the model has not (above 48 bits with
 * four levels, 57 with five), or before KVM_CREATE_VM; -ENOMEM.
 * Context: any thread.
 */
MEMBUS_EXPORT int kvm_model_fault(KVMModel *model, unsigned as_id, hwaddr gpa, bool is_write);

/*
 * Walk the table for @gpa as the CPU does: call @visit for the entry of each level, the root's
 * first, down to a leaf or to one that is not present, until it returns true. Returns whether it
 * did. Nothing is visited for what kvm_model_fault() would refuse. @visit must not call the model.
 * Context: any thread.
 */
MEMBUS_EXPORT bool kvm_model_walk(KVMModel *model, unsigned as_id, hwaddr gpa,
                                  bool (*visit)(const KVMModelEntry *entry, void *opaque),
                                  void *opaque);
/* The same for all entries that are present, by address, tables before what is in them. */
MEMBUS_EXPORT bool kvm_model_for_each_entry(KVMModel *model, unsigned as_id,
                                            bool (*visit)(const KVMModelEntry *entry, void *opaque),
                                            void *opaque);

#ifdef __cplusplus
}
#endif
#endif
