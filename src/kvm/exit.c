/* SPDX-License-Identifier: MIT */
/*
 * Exits of memory and ports.
 *
 * They come from vCPU threads that hold no lock. So the address spaces to go through are found
 * in `served`, which follows the listeners and is read in a read section: who has taken an
 * address space away from KVM frees it after a drain at the earliest. One that shows nothing is
 * not in it, since that is what is left of one that was destroyed and not unregistered.
 */
#include "kvm/exit.h"

#include "base/error.h"
#include "kvm/coalesced.h"
#include "kvm/slots.h"
#include "kvm/uapi.h"
#include "sync/rcu.h"

#include <errno.h>
#include <inttypes.h>
#include <membus/access.h>
#include <string.h>

/* ---- through what ----------------------------------------------------------------- */

static AddressSpace *served_by(const KVMState *s, int as_id, AddressSpace *otherwise)
{
    const KVMMemoryListener *kml = kvm_listener_of(s, as_id);

    if (!kml) {
        return otherwise;
    }
    return kml->space->shows_nothing ? NULL : kml->listener.address_space;
}

static AddressSpace **place(KVMState *s, int as_id)
{
    return &s->served[as_id + 1];
}

void exits_follow(KVMState *s)
{
    AddressSpace *memory = served_by(s, KVM_AS_MEMORY, &s->ms->memory_space);

    __atomic_store_n(place(s, KVM_AS_PORTS), served_by(s, KVM_AS_PORTS, &s->ms->io_space),
                     __ATOMIC_RELEASE);
    __atomic_store_n(place(s, KVM_AS_MEMORY), memory, __ATOMIC_RELEASE);
    __atomic_store_n(place(s, KVM_AS_SMM), served_by(s, KVM_AS_SMM, memory), __ATOMIC_RELEASE);
}

void exit_access(const KVMState *s, int as_id, hwaddr addr, MemTxAttrs attrs, void *data,
                 hwaddr len, bool is_write)
{
    rcu_enter();
    AddressSpace *as = __atomic_load_n(&s->served[as_id + 1], __ATOMIC_ACQUIRE);
    if (as) {
        address_space_rw(as, addr, attrs, data, len, is_write);
    } else if (!is_write) {
        memset(data, 0, len);
    }
    rcu_leave();
}

/* ---- memory and ports ------------------------------------------------------------- */

static bool in_smm(const struct kvm_run *run)
{
#ifdef KVM_RUN_X86_SMM
    return run->flags & KVM_RUN_X86_SMM;
#else
    (void)run;
    return false;
#endif
}

static MemTxAttrs attributes(const struct kvm_run *run)
{
    return (MemTxAttrs){.secure = in_smm(run)};
}

static int serve_memory(const KVMState *s, struct kvm_run *run)
{
    unsigned len = run->mmio.len;

    if (len == 0 || len > sizeof run->mmio.data) {
        return fail(EIO, "KVM exit: an access of %u bytes to GPA 0x%" PRIx64, len,
                    (uint64_t)run->mmio.phys_addr);
    }
    exit_access(s, in_smm(run) ? KVM_AS_SMM : KVM_AS_MEMORY, run->mmio.phys_addr, attributes(run),
                run->mmio.data, len, run->mmio.is_write);
    return 1;
}

/* Where the @bytes of a port access are; NULL if they are not all in the vCPU's area. */
static uint8_t *port_data(const KVMState *s, struct kvm_run *run, uint64_t bytes)
{
    uint64_t offset = run->io.data_offset;

    return offset <= s->run_size && bytes <= s->run_size - offset ? (uint8_t *)run + offset : NULL;
}

static int serve_ports(const KVMState *s, struct kvm_run *run)
{
    uint32_t size = run->io.size, count = run->io.count; /* read once: others may map the area */
    uint8_t *data = port_data(s, run, (uint64_t)size * count);

    if ((size != 1 && size != 2 && size != 4) || !data) {
        return fail(EIO, "KVM exit: %u accesses of %u bytes to port 0x%x, data at 0x%" PRIx64,
                    count, size, run->io.port, (uint64_t)run->io.data_offset);
    }
    for (; count; count--, data += size) {
        exit_access(s, KVM_AS_PORTS, run->io.port, attributes(run), data, size,
                    run->io.direction == KVM_EXIT_IO_OUT);
    }
    return 1;
}

/* ---- private memory --------------------------------------------------------------- */

static int serve_memory_fault(KVMState *s, const struct kvm_run *run)
{
    struct {
        uint64_t flags, gpa, size;
    } fault; /* kvm_run.memory_fault, which older headers lack */

    memcpy(&fault, run->padding, sizeof fault);
    if (fault.flags & ~(uint64_t)KVM_MEMORY_EXIT_FLAG_PRIVATE) {
        return 0; /* of a kind that is not known here */
    }
    int result = kvm_convert_memory(s, fault.gpa, fault.size,
                                    fault.flags & KVM_MEMORY_EXIT_FLAG_PRIVATE, NULL);
    return result ? result : 1;
}

/* ---- all exits -------------------------------------------------------------------- */

int kvm_memory_exit(KVMState *s, struct kvm_run *run)
{
    kvm_flush_coalesced_mmio_buffer(s);
    switch (run->exit_reason) {
    case KVM_EXIT_MMIO:
        return serve_memory(s, run);
    case KVM_EXIT_IO:
        return serve_ports(s, run);
    case KVM_EXIT_DIRTY_RING_FULL:
        kvm_dirty_ring_reap(s);
        return 1;
    case KVM_EXIT_MEMORY_FAULT:
        return serve_memory_fault(s, run);
    default:
        return 0;
    }
}
