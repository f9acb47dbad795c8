/* SPDX-License-Identifier: MIT */
/*
 * kvm.h - hand an address space to KVM.
 *
 *      KVMState *kvm = kvm_create(ms, NULL, &err);
 *      kvm_memory_listener_register(kvm, &memory, memory_system_memory(ms), 0, "kvm-memory");
 *      KVMVcpu *cpu = kvm_vcpu_create(kvm, 0, &err);
 *      for (;;) {
 *          int result = kvm_vcpu_run(cpu);                     KVM_RUN
 *          if (result == 0 && kvm_memory_exit(kvm, kvm_vcpu_get_run(cpu)) != 1) {
 *              ... an exit that is not of memory or ports ...
 *          }
 *      }
 *
 * From registration on the kernel's memory slots are what the address space's flat view shows,
 * through every change. Each commit turns the difference into the fewest ioctls; they run
 * before the new view is published, and if one fails all are undone and the commit is refused:
 * the map that was in force stays in force. (If the kernel refuses to undo, too, KVMConfig.report
 * is told, and the next commit that changes the address space puts it right.) Where a new slot
 * overlaps one that goes, or one that goes, moves or gets another region is being logged, no vCPU
 * runs from then until the commit is over; the other listeners are called meanwhile, and must not
 * wait for one. Else nobody is stopped.
 *
 * What gets a slot: RAM and RAM devices; ROM, read-only RAM and ROM devices in romd mode as
 * KVM_MEM_READONLY, where the kernel has it. Starts are rounded up, ends down, to host pages.
 * What is left over (less than a page; host memory that is not aligned as the guest's is; ROM
 * on a kernel without read-only slots) has no slot: the guest's accesses come out as exits, and
 * kvm_memory_exit() serves them from the view, RAM included.
 *
 * Pages that the guest writes are brought in from the kernel whenever membus wants to know
 * (dirty.h), whatever way the kernel logs them. With rings all vCPUs leave the guest for a moment
 * each time, and when logging ends.
 */
#ifndef MEMBUS_KVM_H
#define MEMBUS_KVM_H

#include <membus/listener.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kvm_run; /* <linux/kvm.h> */

typedef struct KVMState KVMState;
typedef struct KVMVcpu KVMVcpu;

/* ---- The virtual machine -------------------------------------------------------- */

/* How the kernel logs the pages that the guest writes. */
typedef enum KVMDirtyLog {
    KVM_DIRTY_LOG_AUTO,   /* manual where the kernel has it, else the bitmap */
    KVM_DIRTY_LOG_BITMAP, /* KVM_GET_DIRTY_LOG gives and clears */
    KVM_DIRTY_LOG_MANUAL, /* KVM_GET_DIRTY_LOG gives, KVM_CLEAR_DIRTY_LOG clears what was taken */
    KVM_DIRTY_LOG_RING,   /* each vCPU has a ring; a thread reaps it */
} KVMDirtyLog;

/*
 * Who carries out what membus asks of KVM. @ioctl returns what ioctl(2) does when it succeeds, or a
 * negative errno; @arg is its third argument. For tests, and for programs whose KVM fds live in
 * another process.
 */
typedef struct KVMKernel {
    int (*ioctl)(void *opaque, int fd, unsigned long request, void *arg);
    void *opaque;
} KVMKernel;

/* Begin with KVM_CONFIG_INIT; what is 0 or NULL is chosen by membus. */
typedef struct KVMConfig {
    int kvm_fd;            /* /dev/kvm; stays the caller's. -1: it is opened */
    int vm_fd;             /* of KVM_CREATE_VM; stays the caller's. -1: one is made */
    unsigned long vm_type; /* for KVM_CREATE_VM */

    KVMDirtyLog dirty_log;
    uint32_t dirty_ring_entries; /* a vCPU; a power of two. 0: 4096 */
    unsigned reap_interval_ms;   /* the most that entries wait in a ring. 0: 100 */
    unsigned clear_shift;        /* KVM_CLEAR_DIRTY_LOG in stretches of 2^n pages; 6 to 40. 0: 18 */

    hwaddr max_slot_size; /* bytes, whole host pages; longer ranges take several slots. 0, or more
                           * than the kernel takes: what it takes */
    unsigned max_slots;   /* of one address space. 0: what the kernel has */

    /*
     * Keeping vCPUs out of the guest. With kvm_vcpu_enter() and kvm_vcpu_leave() around KVM_RUN
     * membus does it by itself: it sends @kick_signal (0: SIGUSR1) to the threads that are inside;
     * an empty handler is installed for it if it has none. Programs whose loop does not use
     * them give both hooks: pause_vcpus() returns when no vCPU is in KVM_RUN and none will enter
     * until resume_vcpus().
     * Context of the hooks: machine lock held, so they must not wait for a thread that takes it.
     */
    int kick_signal;
    void (*pause_vcpus)(void *opaque);
    void (*resume_vcpus)(void *opaque);

    /*
     * Told of a failure that no call can return: pages count as dirty that may not be; the kernel
     * refuses to take back what a refused commit, or a listener that is unregistered, had in it, so
     * that the guest sees more or less than the map shows; what the kernel tells makes no sense.
     * @err lives until it returns. Context: any thread, machine lock held, often within a commit:
     * the map cannot be changed.
     */
    void (*report)(void *opaque, const Error *err);
    void *opaque; /* of the hooks and of report */

    KVMKernel kernel; /* .ioctl NULL: the running kernel */
} KVMConfig;
#define KVM_CONFIG_INIT ((KVMConfig){.kvm_fd = -1, .vm_fd = -1})

/* What was found out about the kernel. */
typedef struct KVMCapabilities {
    unsigned nr_memslots;       /* of one address space */
    unsigned nr_address_spaces; /* 2 with SMM */
    bool readonly_mem;          /* KVM_MEM_READONLY */
    bool manual_dirty_log;      /* KVM_CLEAR_DIRTY_LOG */
    uint32_t dirty_ring_max;    /* entries; 0: no rings */
    bool coalesced_mmio, coalesced_pio;
    bool ioeventfd, ioeventfd_any_length;
    bool immediate_exit;
    bool user_memory2;      /* KVM_SET_USER_MEMORY_REGION2 */
    bool guest_memfd;       /* KVM_CREATE_GUEST_MEMFD */
    bool memory_attributes; /* private memory */
} KVMCapabilities;

/*
 * A virtual machine for the guest of @ms; NULL @config: as KVM_CONFIG_INIT. NULL on an error:
 * -ENOENT, -EACCES ... if /dev/kvm cannot be opened, -ENOTSUP for a kernel too old or without the
 * dirty log that was asked for, -EBUSY if @ms has a KVMState already or for bitmaps of a VM that
 * has rings, -EINVAL for a bad config (or rings, for a VM that has vCPUs), -ENOMEM, or what an
 * ioctl failed with.
 * Context: any thread.
 */
MEMBUS_EXPORT KVMState *kvm_create(MemorySystem *ms, const KVMConfig *config, Error **errp);
/*
 * End it: listeners that are left are unregistered, vCPUs that are left destroyed, fds that
 * membus opened closed. NULL is fine. Before memory_system_destroy(). -EBUSY from a listener's
 * callback.
 * Context: machine lock; no vCPU runs.
 */
MEMBUS_EXPORT int kvm_destroy(KVMState *s);

/* The fds stay membus's, or whose they were. Context of these: any thread. */
MEMBUS_EXPORT MemorySystem *kvm_memory_system(const KVMState *s);
MEMBUS_EXPORT int kvm_fd(const KVMState *s);
MEMBUS_EXPORT int kvm_vm_fd(const KVMState *s);
MEMBUS_EXPORT const KVMCapabilities *kvm_capabilities(const KVMState *s);
/* The way that AUTO came to. */
MEMBUS_EXPORT KVMDirtyLog kvm_dirty_log(const KVMState *s);
/*
 * KVM_CHECK_EXTENSION of /dev/kvm, of the VM; 0: the kernel does not have it, or does not tell.
 */
MEMBUS_EXPORT int kvm_check_extension(KVMState *s, unsigned extension);
MEMBUS_EXPORT int kvm_vm_check_extension(KVMState *s, unsigned extension);

/* ---- Address spaces --------------------------------------------------------------- */

#define KVM_AS_MEMORY 0   /* what CPUs see */
#define KVM_AS_SMM 1      /* what x86 CPUs see in system management mode */
#define KVM_AS_PORTS (-1) /* x86 ports: no slots, but ioeventfds and coalesced writes */

/* Private: use the functions; the layout is here so that it can be embedded. */
typedef struct KVMMemoryListener {
    MemoryListener listener;
    KVMState *kvm;
    struct KvmSpace *space; /* what is in the kernel of it */
    int as_id;
    struct KVMMemoryListener *next; /* all of kvm */
} KVMMemoryListener;

/*
 * From now on the guest sees @as as address space @as_id. @kml is the caller's storage until
 * kvm_memory_listener_unregister() or kvm_destroy(); it begins all zero. @name is for messages
 * and not copied. The slots of @as_id are membus's alone: a VM that was given (KVMConfig.vm_fd) has
 * none there. Exits of memory (ports) are served through the space that has this @as_id; SMM's
 * through KVM_AS_MEMORY while nothing else is registered.
 * Returns 0; -EINVAL for an @as_id that the kernel does not have or an @as of another machine;
 * -EBUSY if @kml or @as_id is taken, or from a listener's callback; -ENOSPC if the map needs more
 * slots than there are; -ENOTSUP if it shows a block with a guest_memfd and the kernel has none;
 * -ENOMEM; or what an ioctl failed with: nothing is left in the kernel then. A commit is refused
 * for the same reasons later: -ENOSPC, -ENOTSUP, -ENOMEM, what an ioctl failed with.
 * Context: machine lock.
 */
MEMBUS_EXPORT int kvm_memory_listener_register(KVMState *s, KVMMemoryListener *kml,
                                               AddressSpace *as, int as_id, const char *name);
/*
 * Take all of it out of the kernel; the dirty pages that it knows of are brought in first. What
 * the kernel does not let go of is reported and forgotten. Does nothing if it is not registered. An
 * address space that is destroyed takes out its slots by itself, but @kml stays registered until
 * this is called. -EBUSY from a listener's callback.
 * Context: machine lock.
 */
MEMBUS_EXPORT int kvm_memory_listener_unregister(KVMMemoryListener *kml);

/* A slot as it is in the kernel. */
typedef struct KVMSlot {
    unsigned as_id, slot;           /* the kernel's number for it is as_id << 16 | slot */
    hwaddr start_addr, memory_size; /* bytes */
    void *ram;                      /* HVA of the first byte */
    uint32_t flags;                 /* KVM_MEM_* */
    MemoryRegion *mr; /* NULL: the kernel holds on to a slot that the map has not (report) */
    hwaddr offset_within_region; /* of the first byte */
    int guest_memfd;             /* -1: none */
    hwaddr guest_memfd_offset;
} KVMSlot;

/*
 * Visit the slots by address space, then address, until @visit returns true; returns whether it
 * did. @visit may change the map: those behind its slot are visited as they are then. Context:
 * machine lock, held during @visit.
 */
MEMBUS_EXPORT bool kvm_for_each_slot(KVMState *s, bool (*visit)(const KVMSlot *slot, void *opaque),
                                     void *opaque);
/* The slot at @addr of address space @as_id; false if there is none. Context: machine lock. */
MEMBUS_EXPORT bool kvm_find_slot(KVMState *s, unsigned as_id, hwaddr addr, KVMSlot *slot);
/* Slots of one address space: how many there can be, how many are free. Context: machine lock. */
MEMBUS_EXPORT unsigned kvm_get_max_memslots(const KVMState *s);
MEMBUS_EXPORT unsigned kvm_get_free_memslots(KVMState *s, unsigned as_id);

/* ---- vCPUs -------------------------------------------------------------------------- */

/*
 * KVM_CREATE_VCPU, or take over @vcpu_fd, which stays the caller's. Its kvm_run area (and
 * dirty ring, which nobody has reaped before) is mapped. Coalesced writes are found by way of the
 * first vCPU: a program with vCPUs of its own has one of them taken over. NULL on an error:
 * -ENOMEM, what the ioctl or mmap(2) failed with. The kernel keeps a vCPU until the VM ends: its
 * number is not free again (-EEXIST) after kvm_vcpu_destroy(), or an error of mmap(2).
 * Context: machine lock.
 */
MEMBUS_EXPORT KVMVcpu *kvm_vcpu_create(KVMState *s, unsigned long vcpu_id, Error **errp);
MEMBUS_EXPORT KVMVcpu *kvm_vcpu_adopt(KVMState *s, int vcpu_fd, Error **errp);
/* NULL is fine. Context: machine lock; nobody is in KVM_RUN of it, or will be. */
MEMBUS_EXPORT void kvm_vcpu_destroy(KVMVcpu *cpu);

/* They stay @cpu's. Context of both: any thread. */
MEMBUS_EXPORT int kvm_vcpu_fd(const KVMVcpu *cpu);
MEMBUS_EXPORT struct kvm_run *kvm_vcpu_get_run(const KVMVcpu *cpu);

/*
 * Around KVM_RUN. enter waits while the map is being changed. It returns 0, or -EINTR if
 * kvm_vcpu_kick() was called since the last time: then KVM_RUN is not for now, and there is no
 * leave. After it KVM_RUN may come back with EINTR for no reason that concerns the program.
 * enter clears kvm_run's immediate_exit.
 * Context: one thread at a time for a vCPU; no machine lock held, outside read sections; the kick
 * signal is not blocked; may block.
 */
MEMBUS_EXPORT int kvm_vcpu_enter(KVMVcpu *cpu);
MEMBUS_EXPORT void kvm_vcpu_leave(KVMVcpu *cpu);
/*
 * enter, KVM_RUN, leave. Returns 0: kvm_run tells of an exit; or -EINTR after a kick, a signal or
 * a change of the map, or what KVM_RUN failed with: kvm_run tells of nothing new. 0 for
 * KVM_EXIT_MEMORY_FAULT too, with which KVM_RUN itself fails with EFAULT.
 * Context: as enter.
 */
MEMBUS_EXPORT int kvm_vcpu_run(KVMVcpu *cpu);
/*
 * Have @cpu's thread leave KVM_RUN, or not enter it. One that was in KVM_RUN may find the next
 * enter interrupted as well; on a kernel without immediate_exit (KVMCapabilities) one that is about
 * to be in it may miss the kick. With hooks it works for who uses enter and leave all the same.
 * Context: any thread; a signal handler.
 */
MEMBUS_EXPORT void kvm_vcpu_kick(KVMVcpu *cpu);

/* ---- Exits ---------------------------------------------------------------------------- */

/*
 * Writes without an exit: the coalesced ranges and ioeventfds of regions (region.h), where the
 * spaces KVM_AS_MEMORY and KVM_AS_PORTS show them, are the kernel's and follow each commit as
 * slots do. One that the kernel refuses (no room: ENOSPC; two that one write would be for: EEXIST;
 * a notifier whose fd is closed: EBADF) refuses the commit. One that this kernel cannot have
 * (KVMCapabilities; an ioeventfd of any width with data to match; a coalesced range of 2 GiB or
 * more) is left out: the write is an exit, and kvm_memory_exit() calls the region's callback.
 * The kernel does not tell SMM here: writes in it that no slot takes meet KVM_AS_MEMORY's, and
 * those that only KVM_AS_SMM shows are exits.
 */

/*
 * Serve the exit that @run tells of, after KVM_RUN: accesses to memory and ports go through
 * the address spaces (what nobody answers reads as the model says), a ring of dirty pages that
 * is full is reaped, memory that the guest wants private or shared is converted. Coalesced
 * writes that came before are delivered before, whatever the exit.
 *
 * An access is made as address_space_rw() makes it: a device that takes its width sees one of that
 * width, another one the parts that it takes. Of string I/O each item is an access. Of the
 * attributes only `secure` is set, in SMM (KVM tells no more of a CPU). Spaces that are not
 * registered are the machine's own: ports go to memory_system_io(), say.
 *
 * @run is a vCPU's area, as it was mapped from the vCPU's fd: port data may be anywhere in it.
 * Returns 1 if it was one of these; 0 if it is for the program; -EIO for an exit that makes no
 * sense (a width that no CPU has, data outside of @run); what a conversion failed with.
 * Context: no lock held; may block.
 */
MEMBUS_EXPORT int kvm_memory_exit(KVMState *s, struct kvm_run *run);

/*
 * Deliver the writes that the kernel has kept back, in their order. Done before exits, before
 * changes of the map, and before accesses to regions with memory_region_set_flush_coalesced(); a
 * program that looks at a device's state from elsewhere calls it first. A device that calls it from
 * such a write finds that write, and those after it, not delivered yet.
 * Context: machine lock.
 */
MEMBUS_EXPORT void kvm_flush_coalesced_mmio_buffer(KVMState *s);

/* ---- Dirty pages ---------------------------------------------------------------------- */

/*
 * Bring in what the rings hold; the reaper and kvm_memory_exit() do. Returns how many entries; 0
 * where there are no rings.
 * Context: machine lock.
 */
MEMBUS_EXPORT uint64_t kvm_dirty_ring_reap(KVMState *s);

/* ---- Private memory --------------------------------------------------------------------- */

/*
 * A RAM block with a guest_memfd (ram_block_set_guest_memfd(), ram.h) gets slots that have both
 * memories. What the kernel asks of them:
 *  - it has no dirty log of them: while anybody logs the block, all that is mapped of it is
 *    dirty at each sync;
 *  - where the view shows the block read-only, the slot has the shared memory only;
 *  - no page of a guest_memfd is at two places at once (two aliases, SMM): such a commit is
 *    refused, and so is any that shows the block on a kernel without guest_memfds;
 *  - private or shared is an attribute of guest addresses: it does not go with memory that moves.
 *
 * KVM_CREATE_GUEST_MEMFD of @size bytes; @flags are the kernel's. To be given to a RAM block with
 * ram_block_set_guest_memfd() (ram.h). Returns the fd, the caller's, or -ENOTSUP, or what the
 * ioctl failed with.
 * Context: any thread.
 */
MEMBUS_EXPORT int kvm_create_guest_memfd(KVMState *s, uint64_t size, uint64_t flags, Error **errp);
/*
 * Make the guest memory at [@start, @start + @size - 1] private or shared
 * (KVM_SET_MEMORY_ATTRIBUTES) and give back what the guest does not see any more: it is zero when
 * it is seen again, unless it is the program's, a part of a huge page, or the host does not take
 * it (KVMConfig.report). Multiples of the host page.
 * Returns 0; -EINVAL misaligned, or not all of it memory with a guest_memfd that is mapped as
 * address space KVM_AS_MEMORY; -ENOTSUP; or what the ioctl failed with.
 * Context: machine lock; may block.
 */
MEMBUS_EXPORT int kvm_convert_memory(KVMState *s, hwaddr start, hwaddr size, bool to_private,
                                     Error **errp);

#ifdef __cplusplus
}
#endif
#endif
