/* SPDX-License-Identifier: MIT */
/* kvm_fake_state.h - what the parts of the fake kernel share. All but `inside` under its lock. */
#ifndef TESTS_KVM_FAKE_STATE_H
#define TESTS_KVM_FAKE_STATE_H

#include "kvm_fake.h"
#include <pthread.h>
#include <sys/types.h>

#define PAGE 4096U
#define MAX_SLOT_PAGES ((1UL << 31) - 1)
#define HVA_END 0x7ffffffff000U /* of a process; on x86-64 */
#define COALESCED_PAGE 2U       /* of the vCPU's area; what KVM_CAP_COALESCED_MMIO tells */
#define COALESCED_ENTRIES                                                                          \
    ((PAGE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))
#define BUS_DEVICES 1000U /* zones; how many the kernel has room for */
#define FAKE_IOEVENTFDS 4096U
#define FAKE_MEMFDS 64U
#define FAKE_ATTRIBUTES 1024U

#ifndef KVM_DIRTY_LOG_PAGE_OFFSET
#define KVM_DIRTY_LOG_PAGE_OFFSET 64
#elif KVM_DIRTY_LOG_PAGE_OFFSET == 0
#undef KVM_DIRTY_LOG_PAGE_OFFSET
#define KVM_DIRTY_LOG_PAGE_OFFSET 64
#endif

/* An open file, told from another one that has got its number since. */
typedef struct FakeFile {
    int fd;
    dev_t dev;
    ino_t ino;
} FakeFile;

typedef struct FakeVcpu {
    FakeFile file;
    unsigned long id;
    uint8_t *area; /* kvm_run, the coalesced ring, the dirty ring */
    size_t area_size;
    uint32_t dirty_next, reset_next; /* of the dirty ring; they only grow */
} FakeVcpu;

typedef struct FakeIoeventfd {
    bool ccw, pio, any_data;
    uint64_t addr, data;
    uint32_t len;
    int user_fd; /* what it was named with */
    FakeFile file;
    int signal; /* the fake's own duplicate */
} FakeIoeventfd;

typedef struct FakePrivate {
    uint64_t first, last;
} FakePrivate;

struct KvmFake {
    pthread_mutex_t lock;
    KvmFakeCaps caps;
    FakeFile kvm, vm;
    bool manual, initially_set; /* KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 */
    uint32_t ring_entries;      /* 0: bitmaps */

    KvmFakeSlot *slot; /* nr_address_spaces * nr_memslots */
    FakeVcpu vcpu[KVM_FAKE_VCPUS];
    unsigned vcpus;
    FakeIoeventfd ioeventfd[FAKE_IOEVENTFDS];
    unsigned ioeventfds;
    struct kvm_coalesced_mmio_zone zone[2 * BUS_DEVICES];
    unsigned zones;
    uint32_t coalesced_first, coalesced_last; /* of the one ring that all vCPUs show */
    FakeFile memfd[FAKE_MEMFDS];
    unsigned memfds;
    FakePrivate private[FAKE_ATTRIBUTES];
    unsigned privates;

    KvmFakeCall *call;
    unsigned long calls, calls_size;
    struct {
        unsigned long request, countdown, failed;
        int err;
        bool for_good;
    } sabotage;
    KvmFakeSlotHook *slot_hook;
    void *slot_opaque;
    KvmFakeRun *run_hook;
    void *run_opaque;
    unsigned inside; /* atomic */
};

/* Each serves a request and returns what the ioctl does, or -errno. */
int fake_set_region(KvmFake *fake, const struct kvm_userspace_memory_region2 *r, bool second);
int fake_create_guest_memfd(KvmFake *fake, const struct kvm_create_guest_memfd *arg);
int fake_set_attributes(KvmFake *fake, const struct kvm_memory_attributes *arg);
int fake_get_dirty_log(KvmFake *fake, const struct kvm_dirty_log *arg);
int fake_clear_dirty_log(KvmFake *fake, const struct kvm_clear_dirty_log *arg);
int fake_reset_dirty_rings(KvmFake *fake);
int fake_enable_ring(KvmFake *fake, uint32_t bytes);
int fake_ioeventfd(KvmFake *fake, const struct kvm_ioeventfd *arg);
int fake_zone(KvmFake *fake, const struct kvm_coalesced_mmio_zone *arg, bool add);

/* NULL if there is none. */
KvmFakeSlot *fake_slot(KvmFake *fake, unsigned as_id, unsigned id);
KvmFakeSlot *fake_slot_at(KvmFake *fake, unsigned as_id, uint64_t gpa);
bool fake_is_private(const KvmFake *fake, uint64_t gpa);
void fake_drop_slot(KvmFakeSlot *slot);

/* The guest is about to write the page of @slot. False: its ring is full. */
bool fake_mark_dirty(KvmFake *fake, FakeVcpu *cpu, KvmFakeSlot *slot, uint64_t page);
/* Whether the ring, or an ioeventfd, took the write; EXIT if neither. */
KvmFakeOutcome fake_bus_write(KvmFake *fake, bool pio, uint64_t addr, const void *data,
                              unsigned len);
/* Take over where the program has drained the ring to, whichever vCPU's area it did it in. */
void fake_sync_coalesced(KvmFake *fake);

bool fake_file_open(FakeFile *file, int fd);
bool fake_file_same(const FakeFile *file, int fd);

#endif
