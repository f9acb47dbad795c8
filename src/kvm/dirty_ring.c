/* SPDX-License-Identifier: MIT */
/*
 * Dirty rings: each vCPU's thread notes in a ring of its own which pages it wrote first.
 *
 *      ring_next            where the kernel writes next
 *          v                     v
 *      | R | D | D | D | D |   |   |        D: dirty, R: reset, blank: the kernel's
 *
 *      reap      copy D to the harvest, make it R           (until one is not D)
 *                KVM_RESET_DIRTY_RINGS                      pages of R are protected, R is blank
 *                mark what is in the harvest
 *
 * A page that is in a ring can be written again and again without another entry, until it is
 * reset. So a mark comes after the reset: whoever takes it and reads the page has every write
 * that made no entry. And an entry is copied before the reset: after it the kernel may put
 * another one there.
 *
 * The reaper (dirty_reaper.c) does so every reap_interval_ms while a slot is logged, so that rings
 * seldom run full. A ring that does is an exit of its vCPU; kvm_memory_exit() reaps. Hardware that
 * keeps a list of its own (Intel's PML) hands it over when the vCPU leaves the guest, therefore a
 * sync makes all of them leave.
 *
 * Guarantees:
 *  R1  After a sync everything is marked that was written before it began.
 *  R2  A mark is made when its page is protected again, never before.
 *  R3  An entry is brought in before the slot that it names is changed: slots that are logged are
 *      deleted, moved and unlogged with the gate closed, after a reap (plan.c, update.c).
 *  R4  An entry that names no page of a slot is dropped.
 *  R5  If the kernel does not reset, pages may be written that nobody hears of: everything that is
 *      logged is marked, with each reap until it does and once more then.
 *  R6  A ring that is found full from end to end may have run over (a kernel that notices too late
 *      writes over entries): some pages are open and in no ring. Logging is switched off and on
 *      again, which protects all, then everything is marked. The kernel's next entry is then
 *      farther on than ours; what is between is given back to it unread, when the first entry
 *      behind it shows how much that is.
 *
 *          | R | R | R | - | - | D | D |       -: the kernel thinks that they are dirty
 *                    ring_next
 */
#include "kvm/dirty_ring.h"

#include "base/error.h"
#include "kvm/dirty.h"
#include "kvm/dirty_reaper.h"
#include "kvm/gate.h"
#include "kvm/ioctl.h"
#include "kvm/uapi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define DEFAULT_RING_ENTRIES 4096

struct KvmDirtyRings {
    uint32_t entries; /* of each; a power of two */
    bool unprotected; /* the kernel did not reset what was harvested: R5 */
    bool overran;     /* a ring did, and nothing has been done about it: R6 */
    bool synced;      /* in this commit */

    struct kvm_dirty_gfn *harvest; /* that have yet to be reset; room for all of one ring */
    uint32_t harvested;
};

/* ---- entries ---------------------------------------------------------------------------- */

/* The @n-th of @cpu's ring that was not reaped. */
static struct kvm_dirty_gfn *ring_entry(const KvmDirtyRings *rings, const KVMVcpu *cpu, uint32_t n)
{
    return &cpu->ring[(cpu->ring_next + n) & (rings->entries - 1)];
}

/* The kernel fills in an entry, then its flags ... */
static bool is_dirty(const struct kvm_dirty_gfn *entry)
{
    return __atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY;
}

/* ... and looks at the flags before it fills in another. */
static void give_back(struct kvm_dirty_gfn *entry)
{
    __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
}

/* ---- marks ------------------------------------------------------------------------------- */

/* The entry comes from memory that is shared: nothing of it is taken for granted. */
static void mark(const KVMState *s, const struct kvm_dirty_gfn *entry)
{
    const KVMMemoryListener *kml = kvm_listener_of(s, (int)(entry->slot >> 16));
    unsigned id = entry->slot & 0xffff;
    const Slot *slot = kml && id < kml->space->ids ? kml->space->by_id[id] : NULL;

    if (slot && entry->offset < slot->info.memory_size / s->page_size) {
        slot_mark_dirty(s, &slot->info, entry->offset, 1);
    }
}

/* All of the slots that have one of @flags. */
static void mark_slots(KVMState *s, uint32_t flags)
{
    for (const KVMMemoryListener *kml = s->listeners; kml; kml = kml->next) {
        hwaddr at = 0;
        for (Slot *slot; (slot = space_first_overlap(kml->space, at, UINT64_MAX));
             at = slot_last(slot) + 1) {
            if (slot->info.flags & flags) {
                slot_mark_dirty(s, &slot->info, 0, slot->info.memory_size / s->page_size);
            }
        }
    }
}

/* ---- rings that ran over ----------------------------------------------------------------- */

/* How far the first dirty entry is from @cpu's next; all of them if there is none. */
static uint32_t find_dirty(const KvmDirtyRings *rings, const KVMVcpu *cpu)
{
    uint32_t n = 0;

    while (n < rings->entries && !is_dirty(ring_entry(rings, cpu, n))) {
        n++;
    }
    return n;
}

/* Go to where the kernel goes on; false if it has not yet. */
static bool skip_hole(const KvmDirtyRings *rings, KVMVcpu *cpu)
{
    /* Entries appear in order: once one is seen, a second look finds the first. */
    if (find_dirty(rings, cpu) == rings->entries) {
        return false;
    }
    for (uint32_t n = find_dirty(rings, cpu); n; n--) {
        give_back(ring_entry(rings, cpu, 0));
        cpu->ring_next++;
    }
    return true;
}

/* Have the kernel protect all of @slot's pages. */
static int log_afresh(const KVMState *s, const KVMSlot *slot)
{
    KVMSlot off = *slot;

    off.flags &= ~(uint32_t)KVM_MEM_LOG_DIRTY_PAGES;
    int result = kvm_set_slot(s, &off, off.memory_size, "end the log of");
    return result ? result : kvm_set_slot(s, slot, slot->memory_size, "log afresh");
}

/* If a slot cannot be told the next reap tries again. */
static void recover(KVMState *s)
{
    KvmDirtyRings *rings = s->rings;

    kvm_report(s, fail(EOVERFLOW, "a dirty ring of %u entries ran over", rings->entries));
    gate_close(s);
    rings->overran = false;
    for (const KVMMemoryListener *kml = s->listeners; kml; kml = kml->next) {
        hwaddr at = 0;
        for (Slot *slot; (slot = space_first_overlap(kml->space, at, UINT64_MAX));
             at = slot_last(slot) + 1) {
            int result = slot_is_logged(&slot->info) ? log_afresh(s, &slot->info) : 0;
            if (result) {
                kvm_report(s, result);
                rings->overran = true;
            }
        }
    }
    mark_slots(s, KVM_MEM_LOG_DIRTY_PAGES);
    gate_open(s);
}

/* ---- reaping ----------------------------------------------------------------------------- */

static bool harvest_entry(KvmDirtyRings *rings, KVMVcpu *cpu)
{
    struct kvm_dirty_gfn *entry = ring_entry(rings, cpu, 0);

    if (!is_dirty(entry)) {
        return false;
    }
    rings->harvest[rings->harvested++] = *entry;
    give_back(entry);
    cpu->ring_next++;
    return true;
}

/* Have the harvest protected, then mark it (R2). Returns how many entries it had. */
static uint32_t bring_in(KVMState *s)
{
    KvmDirtyRings *rings = s->rings;
    uint32_t count = rings->harvested;

    if (!count && !rings->unprotected) {
        return 0;
    }
    int result = kvm_reset_dirty_rings(s);
    if (result < 0 || rings->unprotected) {
        mark_slots(s, KVM_MEM_LOG_DIRTY_PAGES);
    }
    rings->unprotected = result < 0;
    if (result < 0) {
        kvm_report(s, result);
    }
    for (uint32_t i = 0; i < count; i++) {
        mark(s, &rings->harvest[i]);
    }
    rings->harvested = 0;
    return count;
}

/* No more than a ring's entries: a vCPU that runs writes new ones all the while. */
static uint32_t reap_vcpu(KVMState *s, KVMVcpu *cpu)
{
    KvmDirtyRings *rings = s->rings;
    uint32_t n = 0;

    if (cpu->ring_overran && skip_hole(rings, cpu)) {
        cpu->ring_overran = false;
    }
    for (; n < rings->entries && harvest_entry(rings, cpu); n++) {
    }
    if (n == rings->entries) {
        cpu->ring_overran = rings->overran = true;
    }
    return bring_in(s);
}

static uint64_t reap(KVMState *s)
{
    uint64_t count = 0;

    for (KVMVcpu *cpu = s->vcpus; cpu; cpu = cpu->next) {
        count += reap_vcpu(s, cpu);
    }
    if (s->rings->overran) {
        recover(s);
    }
    return count;
}

uint64_t kvm_dirty_ring_reap(KVMState *s)
{
    uint64_t count = 0;

    machine_lock(s->ms);
    if (s->rings) {
        count = reap(s);
    }
    machine_unlock(s->ms);
    return count;
}

void dirty_ring_sync(KVMState *s)
{
    if (s->logged_slots) {
        gate_close(s);
        reap(s);
        gate_open(s);
    }
    if (s->unloggable_slots) {
        mark_slots(s, KVM_MEM_GUEST_MEMFD);
    }
}

void dirty_ring_begin_commit(KVMState *s)
{
    s->rings->synced = false;
}

void dirty_ring_sync_once(KVMState *s)
{
    if (!s->rings->synced) {
        s->rings->synced = true;
        dirty_ring_sync(s);
    }
}

/* ---- making them ------------------------------------------------------------------------- */

static KvmDirtyRings *create_rings(uint32_t entries)
{
    KvmDirtyRings *rings = calloc(1, sizeof *rings);

    if (rings) {
        rings->harvest = malloc(entries * sizeof *rings->harvest);
    }
    if (!rings || !rings->harvest) {
        free(rings);
        return NULL;
    }
    rings->entries = entries;
    return rings;
}

static void destroy_rings(KVMState *s)
{
    free(s->rings->harvest);
    free(s->rings);
    s->rings = NULL;
}

static int enable_rings(KVMState *s, uint32_t entries)
{
    unsigned extension = kvm_vm_check_extension(s, KVM_CAP_DIRTY_LOG_RING_ACQ_REL)
                             ? KVM_CAP_DIRTY_LOG_RING_ACQ_REL
                             : KVM_CAP_DIRTY_LOG_RING;
    int result = kvm_enable_vm_cap(s, extension, entries * sizeof(struct kvm_dirty_gfn));

    if (result >= 0) {
        return 0;
    }
    return fail(-result, "KVM cannot make dirty rings of %u entries%s: %s", entries,
                s->config.vm_fd >= 0 ? " (the VM that was given may have vCPUs or rings already)"
                                     : "",
                strerror(-result));
}

int dirty_ring_init(KVMState *s)
{
    uint32_t max = s->caps.dirty_ring_max, entries = s->config.dirty_ring_entries;

    if (!max) {
        return fail(ENOTSUP, "KVM has no dirty rings here");
    }
    if (entries > max) {
        return fail(EINVAL, "KVM: a dirty ring of %u entries is too large (there can be %u)",
                    entries, max);
    }
    if (!entries) {
        entries = max < DEFAULT_RING_ENTRIES ? max : DEFAULT_RING_ENTRIES;
    }
    s->rings = create_rings(entries);
    if (!s->rings) {
        return fail_no_memory("dirty rings");
    }
    int result = enable_rings(s, entries);
    if (!result) {
        result = reaper_start(s);
    }
    if (result) {
        destroy_rings(s);
    }
    return result;
}

void dirty_ring_end(KVMState *s)
{
    if (s->rings) {
        reaper_stop(s);
        destroy_rings(s);
    }
}

int dirty_ring_map(KVMVcpu *cpu)
{
    KVMState *s = cpu->s;

    if (!s->rings) {
        return 0;
    }
    size_t size = s->rings->entries * sizeof *cpu->ring;
    void *ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd,
                      (off_t)(KVM_DIRTY_LOG_PAGE_OFFSET * s->page_size));
    if (ring == MAP_FAILED) {
        return fail(errno, "a vCPU's dirty ring of %u entries cannot be mapped: %s",
                    s->rings->entries, strerror(errno));
    }
    cpu->ring = ring;
    return 0;
}

void dirty_ring_unmap(KVMVcpu *cpu)
{
    if (cpu->ring) {
        munmap(cpu->ring, cpu->s->rings->entries * sizeof *cpu->ring);
        cpu->ring = NULL;
    }
}
