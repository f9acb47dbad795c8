/* SPDX-License-Identifier: MIT */
/*
 * The ring of coalesced writes, one for the VM, in a page that each vCPU's fd can map. The kernel
 * adds at `last`, we take at `first`:
 *
 *      first        last
 *        v            v
 *      | w1 | w2 | w3 |    |    |
 *
 * An entry is given back after its write has been done, not when it is read: who finds the ring
 * empty, without a lock, knows that all has been delivered. Only what was there at the beginning
 * is: a guest that goes on writing does not keep a thread here for ever.
 *
 * A device that gets such a write may want the ring flushed, itself most of all: it is left to
 * who is at it already.
 */
#include "kvm/coalesced.h"

#include "access/mmio.h"
#include "base/error.h"
#include "kvm/exit.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static void flush(void *opaque)
{
    kvm_flush_coalesced_mmio_buffer(opaque);
}

int coalesced_init(KVMState *s)
{
    MemorySystem *ms = s->ms;
    int result = 0;

    machine_lock(ms);
    if (ms->flush_coalesced) {
        result = fail(EBUSY, "another KVM runs this machine's guest");
    } else {
        ms->flush_coalesced = flush;
        ms->flush_opaque = s;
    }
    machine_unlock(ms);
    return result;
}

void coalesced_end(KVMState *s)
{
    MemorySystem *ms = s->ms;

    machine_lock(ms);
    if (ms->flush_opaque == s) {
        ms->flush_coalesced = NULL;
        ms->flush_opaque = NULL;
    }
    machine_unlock(ms);
    if (s->coalesced) {
        munmap(s->coalesced, s->page_size);
    }
}

int coalesced_open(KVMState *s, int vcpu_fd)
{
    off_t offset = (off_t)(s->coalesced_page * s->page_size);
    int result = 0;

    machine_lock(s->ms);
    if (s->caps.coalesced_mmio && !s->coalesced) {
        void *ring = mmap(NULL, s->page_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd, offset);
        if (ring == MAP_FAILED) {
            result =
                fail(errno, "KVM's ring of coalesced writes cannot be mapped: %s", strerror(errno));
        } else {
            __atomic_store_n(&s->coalesced, ring, __ATOMIC_RELEASE);
        }
    }
    machine_unlock(s->ms);
    return result;
}

/* ---- delivering ------------------------------------------------------------------------- */

static uint32_t ring_entries(const KVMState *s)
{
    return (uint32_t)((s->page_size - sizeof(struct kvm_coalesced_mmio_ring)) /
                      sizeof(struct kvm_coalesced_mmio));
}

static void deliver(const KVMState *s, struct kvm_coalesced_mmio entry)
{
    if (entry.len == 0 || entry.len > sizeof entry.data) {
        kvm_report(s, fail(EIO, "KVM kept back a write of %u bytes: it is dropped", entry.len));
        return;
    }
    exit_access(s, entry.pio && s->caps.coalesced_pio ? KVM_AS_PORTS : KVM_AS_MEMORY,
                entry.phys_addr, (MemTxAttrs){0}, entry.data, entry.len, true);
}

static void deliver_all(KVMState *s)
{
    struct kvm_coalesced_mmio_ring *ring = s->coalesced;
    uint32_t entries = ring_entries(s);
    uint32_t first = __atomic_load_n(&ring->first, __ATOMIC_RELAXED);
    uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);

    if (first >= entries || last >= entries) {
        kvm_report(s, fail(EIO, "KVM's ring of %u coalesced writes begins at %u and ends at %u",
                           entries, first, last));
        last = first = 0;
        __atomic_store_n(&ring->first, 0, __ATOMIC_RELEASE);
    }
    while (first != last) {
        deliver(s, ring->coalesced_mmio[first]);
        first = first + 1 == entries ? 0 : first + 1;
        __atomic_store_n(&ring->first, first, __ATOMIC_RELEASE);
    }
}

/*
 * The writes are CPUs': a device whose callback this thread is in gets them as well, and would
 * not if they counted as its DMA. Not without end, since flushing does not nest.
 */
static void deliver_for_cpus(KVMState *s)
{
    EnteredDevices entered = entered_devices;

    entered_devices.count = 0;
    deliver_all(s);
    entered_devices = entered;
}

void kvm_flush_coalesced_mmio_buffer(KVMState *s)
{
    if (!coalesced_any(s)) {
        return;
    }
    machine_lock(s->ms);
    if (!s->delivering) {
        s->delivering = true;
        deliver_for_cpus(s);
        s->delivering = false;
    }
    machine_unlock(s->ms);
}
