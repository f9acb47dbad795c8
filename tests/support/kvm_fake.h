/* SPDX-License-Identifier: MIT */
/*
 * kvm_fake.h - a kernel to put behind KVMConfig.kernel: naive, separate from the code under
 * test, and strict. What it refuses, and with which errno, was taken from the kernel's
 * documentation and from asking a running one; tests/test_kvm_fake.c compares the two.
 *
 * Slots are an array that is searched from end to end. A page of a slot that is logged is either
 * protected or writable: the guest's first write to a protected page marks it (a bit, or an entry
 * in the vCPU's ring) and makes it writable, further writes mark nothing, until GET, CLEAR or
 * RESET has protected it again. So who forgets a mark has lost the page, here as there.
 *
 * All functions may be called by several threads at once. One fake is one /dev/kvm with one VM.
 */
#ifndef TESTS_KVM_FAKE_H
#define TESTS_KVM_FAKE_H

#include "kvm/uapi.h"
#include <membus/kvm.h>

typedef struct KvmFake KvmFake;

/* What the kernel has. Begin with KVM_FAKE_CAPS_INIT. */
typedef struct KvmFakeCaps {
    unsigned nr_memslots;       /* of one address space */
    unsigned nr_address_spaces; /* 1 to KVM_FAKE_SPACES */
    unsigned gpa_bits;
    bool readonly_mem, manual_log, immediate_exit;
    bool coalesced_mmio, coalesced_pio, ioeventfd, ioeventfd_any_length;
    bool user_memory2, guest_memfd;
    uint64_t memory_attributes;
    uint32_t ring_bytes_max, ring_bytes_min; /* 0: no dirty rings */
    unsigned ring_reserved;                  /* entries left when a vCPU stops for its ring */
} KvmFakeCaps;
#define KVM_FAKE_SPACES 2
#define KVM_FAKE_VCPUS 8
#define KVM_FAKE_CAPS_INIT                                                                         \
    ((KvmFakeCaps){.nr_memslots = 512,                                                             \
                   .nr_address_spaces = 1,                                                         \
                   .gpa_bits = 52,                                                                 \
                   .readonly_mem = true,                                                           \
                   .manual_log = true,                                                             \
                   .immediate_exit = true,                                                         \
                   .coalesced_mmio = true,                                                         \
                   .coalesced_pio = true,                                                          \
                   .ioeventfd = true,                                                              \
                   .ioeventfd_any_length = true,                                                   \
                   .user_memory2 = true,                                                           \
                   .guest_memfd = true,                                                            \
                   .ring_bytes_max = 1U << 20,                                                     \
                   .ring_bytes_min = 4096,                                                         \
                   .ring_reserved = 64})

/* NULL @caps: KVM_FAKE_CAPS_INIT. NULL if the host has no memory or file descriptor left. */
KvmFake *kvm_fake_create(const KvmFakeCaps *caps);
void kvm_fake_destroy(KvmFake *fake);
/* To begin with instead of KVM_CONFIG_INIT: kvm_fd and kernel are the fake's. */
KVMConfig kvm_fake_config(KvmFake *fake);
/* The seam itself: what ioctl(2) returns, or -errno. @opaque: the fake. */
int kvm_fake_ioctl(void *opaque, int fd, unsigned long request, void *arg);
/* /dev/kvm; the VM, -1 before it is made. */
int kvm_fake_fd(KvmFake *fake);
int kvm_fake_vm_fd(KvmFake *fake);

/* ---- What was asked of it ---------------------------------------------------------- */

/* The argument as it came, for the requests that have one. */
typedef struct KvmFakeCall {
    unsigned long request;
    int result; /* or -errno */
    union {
        struct kvm_userspace_memory_region2 region; /* of both requests */
        struct kvm_clear_dirty_log clear;
        struct kvm_dirty_log get;
        struct kvm_ioeventfd ioeventfd;
        struct kvm_coalesced_mmio_zone zone;
        struct kvm_enable_cap cap;
        struct kvm_memory_attributes attributes;
        unsigned long number;
    };
} KvmFakeCall;

/* Calls of @request since the log was forgotten; 0: of any. KVM_CHECK_EXTENSION is not logged. */
unsigned long kvm_fake_calls(KvmFake *fake, unsigned long request);
/* Of both KVM_SET_USER_MEMORY_REGIONs. */
unsigned long kvm_fake_slot_calls(KvmFake *fake);
/* The @n-th call since then; false if there is none. */
bool kvm_fake_call(KvmFake *fake, unsigned long n, KvmFakeCall *call);
void kvm_fake_forget_calls(KvmFake *fake);

/*
 * The @k-th call from now on (1: the next) of @request (0: any that is logged) fails with @err and
 * does nothing; with @for_good all after it too. kvm_fake_heal() ends it and returns how many
 * failed. KVM_SET_USER_MEMORY_REGION stands for its successor as well.
 */
void kvm_fake_fail(KvmFake *fake, unsigned long request, unsigned long k, int err, bool for_good);
unsigned long kvm_fake_heal(KvmFake *fake);

/* ---- What is in it -------------------------------------------------------------------- */

typedef struct KvmFakeSlot {
    bool used;
    unsigned as_id, id;
    uint64_t gpa, size, hva;
    uint32_t flags;
    int guest_memfd; /* the fake's own duplicate; -1: none */
    uint64_t guest_memfd_offset;
    /* one byte a page, NULL if it is not logged: */
    uint8_t *dirty;    /* marked in the bitmap */
    uint8_t *writable; /* writes go through unmarked */
} KvmFakeSlot;

/* A copy, without dirty and writable; false if that id is not in use. */
bool kvm_fake_slot(KvmFake *fake, unsigned as_id, unsigned id, KvmFakeSlot *slot);
/* The slot that covers @gpa. */
bool kvm_fake_find(KvmFake *fake, unsigned as_id, uint64_t gpa, KvmFakeSlot *slot);
unsigned kvm_fake_slots(KvmFake *fake, unsigned as_id);
/* Copies of the first @room of them, by number; returns how many. */
unsigned kvm_fake_copy_slots(KvmFake *fake, unsigned as_id, KvmFakeSlot *slot, unsigned room);
unsigned kvm_fake_ioeventfds(KvmFake *fake);
unsigned kvm_fake_zones(KvmFake *fake);
/* Whether the VM's page is private. */
bool kvm_fake_is_private(KvmFake *fake, uint64_t gpa);

/*
 * Called before a change of the slots, with what goes (NULL: a create) and what comes (NULL: a
 * delete), to check what the kernel does not mind and membus promises. The fake is locked: it may
 * use kvm_fake_vcpus_inside() and nothing else.
 */
typedef void KvmFakeSlotHook(void *opaque, const KvmFakeSlot *before, const KvmFakeSlot *after);
void kvm_fake_on_slot_change(KvmFake *fake, KvmFakeSlotHook *hook, void *opaque);

/* ---- The guest ----------------------------------------------------------------------------- */

typedef enum KvmFakeOutcome {
    KVM_FAKE_DONE,         /* memory was accessed */
    KVM_FAKE_SIGNALLED,    /* an ioeventfd took the write */
    KVM_FAKE_COALESCED,    /* the ring took the write */
    KVM_FAKE_EXIT,         /* MMIO or port exit: kvm_run says which; data of a read comes there */
    KVM_FAKE_RING_FULL,    /* KVM_EXIT_DIRTY_RING_FULL; nothing was written */
    KVM_FAKE_MEMORY_FAULT, /* private or shared, but not as the guest wants it */
    KVM_FAKE_BAD_HOST,     /* the slot has no host memory there */
} KvmFakeOutcome;

/*
 * What vCPU @cpu (the order of making) does; its kvm_run tells of an exit. An access that crosses
 * pages is several, and ends with the first that is not DONE. A @cpu that is not there writes no
 * kvm_run and has no ring. A fetch is a read that no device answers: EXIT stands for the kernel's
 * internal error.
 */
KvmFakeOutcome kvm_fake_guest_write(KvmFake *fake, unsigned cpu, unsigned as_id, uint64_t gpa,
                                    const void *data, size_t len);
KvmFakeOutcome kvm_fake_guest_read(KvmFake *fake, unsigned cpu, unsigned as_id, uint64_t gpa,
                                   void *data, size_t len);
KvmFakeOutcome kvm_fake_guest_fetch(KvmFake *fake, unsigned cpu, unsigned as_id, uint64_t gpa,
                                    void *data, size_t len);
/* The same of memory that the guest takes for private. */
KvmFakeOutcome kvm_fake_guest_write_private(KvmFake *fake, unsigned cpu, uint64_t gpa,
                                            const void *data, size_t len);
KvmFakeOutcome kvm_fake_guest_read_private(KvmFake *fake, unsigned cpu, uint64_t gpa, void *data,
                                           size_t len);
/* 1, 2 or 4 bytes to or from a port. */
KvmFakeOutcome kvm_fake_guest_out(KvmFake *fake, unsigned cpu, uint16_t port, const void *data,
                                  unsigned len);
KvmFakeOutcome kvm_fake_guest_in(KvmFake *fake, unsigned cpu, uint16_t port, unsigned len);

/*
 * What KVM_RUN does, with the fake unlocked; -errno or 0 with kvm_run filled in. Without it KVM_RUN
 * is a KVM_EXIT_HLT. In both cases -EINTR if kvm_run's immediate_exit is set.
 */
typedef int KvmFakeRun(void *opaque, unsigned cpu, struct kvm_run *run);
void kvm_fake_on_run(KvmFake *fake, KvmFakeRun *run, void *opaque);
/* vCPUs that are in KVM_RUN. */
unsigned kvm_fake_vcpus_inside(KvmFake *fake);

#endif
