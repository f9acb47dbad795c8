/* SPDX-License-Identifier: MIT */
/* kvm_fake_guest.c - what a guest does under the fake kernel, and the exits that it causes. */
#include "kvm_fake_state.h"
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

typedef enum Access { READ, WRITE, FETCH } Access;

static FakeVcpu *vcpu(KvmFake *fake, unsigned cpu)
{
    return cpu < fake->vcpus ? &fake->vcpu[cpu] : NULL;
}

static struct kvm_run *run_of(FakeVcpu *cpu)
{
    return (struct kvm_run *)(void *)cpu->area;
}

/* With a system call, since there may be no memory at @hva. */
static bool copy_host(uint64_t hva, void *data, size_t len, bool write)
{
    struct iovec local = {data, len};
    struct iovec remote = {(void *)(uintptr_t)hva, len}; // NOLINT(performance-no-int-to-ptr)
    ssize_t copied = write ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0)
                           : process_vm_readv(getpid(), &local, 1, &remote, 1, 0);

    return copied == (ssize_t)len;
}

static KvmFakeOutcome exit_mmio(FakeVcpu *cpu, uint64_t gpa, const void *data, size_t len,
                                bool write)
{
    if (cpu) {
        struct kvm_run *run = run_of(cpu);
        run->exit_reason = KVM_EXIT_MMIO;
        run->mmio.phys_addr = gpa;
        run->mmio.len = (uint32_t)len;
        run->mmio.is_write = write;
        memset(run->mmio.data, 0, sizeof run->mmio.data);
        if (write) {
            memcpy(run->mmio.data, data, len);
        }
    }
    return KVM_FAKE_EXIT;
}

/* Devices are reached 8 bytes at a time; an exit tells of the first that nothing else took. */
static KvmFakeOutcome access_device(KvmFake *fake, FakeVcpu *cpu, uint64_t gpa, const uint8_t *data,
                                    size_t len, Access access)
{
    KvmFakeOutcome outcome = KVM_FAKE_EXIT;

    for (size_t done = 0; done < len;) {
        size_t part = len - done < 8 ? len - done : 8;
        if (access == WRITE) {
            outcome = fake_bus_write(fake, false, gpa + done, data + done, (unsigned)part);
        }
        if (outcome == KVM_FAKE_EXIT) {
            return access == FETCH ? KVM_FAKE_EXIT
                                   : exit_mmio(cpu, gpa + done, data + done, part, access == WRITE);
        }
        done += part;
    }
    return outcome;
}

static KvmFakeOutcome fault(FakeVcpu *cpu, uint64_t gpa, bool private)
{
    if (cpu) {
        struct {
            uint64_t flags, gpa, size;
        } told = {private ? KVM_MEMORY_EXIT_FLAG_PRIVATE : 0, gpa / PAGE * PAGE, PAGE};
        struct kvm_run *run = run_of(cpu);
        run->exit_reason = KVM_EXIT_MEMORY_FAULT;
        memcpy(&run->mmio, &told, sizeof told); /* all exits share the place */
    }
    return KVM_FAKE_MEMORY_FAULT;
}

static bool ring_is_full(const KvmFake *fake, const FakeVcpu *cpu)
{
    return cpu && fake->ring_entries &&
           cpu->dirty_next - cpu->reset_next + fake->caps.ring_reserved >= fake->ring_entries;
}

static KvmFakeOutcome access_page(KvmFake *fake, FakeVcpu *cpu, unsigned as_id, uint64_t gpa,
                                  uint8_t *data, size_t len, Access access, bool private)
{
    KvmFakeSlot *slot = fake_slot_at(fake, as_id, gpa);

    if (ring_is_full(fake, cpu)) {
        run_of(cpu)->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
        return KVM_FAKE_RING_FULL;
    }
    if (private != fake_is_private(fake, gpa) || (private && (!slot || slot->guest_memfd < 0))) {
        return fault(cpu, gpa, private);
    }
    if (!slot || (access == WRITE && slot->flags & KVM_MEM_READONLY)) {
        return access_device(fake, cpu, gpa, data, len, access);
    }
    uint64_t offset = gpa - slot->gpa;
    if (private) {
        off_t at = (off_t)(slot->guest_memfd_offset + offset);
        ssize_t copied = access == WRITE ? pwrite(slot->guest_memfd, data, len, at)
                                         : pread(slot->guest_memfd, data, len, at);
        return copied == (ssize_t)len ? KVM_FAKE_DONE : KVM_FAKE_BAD_HOST;
    }
    if (!copy_host(slot->hva + offset, data, len, access == WRITE)) {
        return KVM_FAKE_BAD_HOST;
    }
    /* soft-full comes first: there is room in the ring, or no ring at all */
    return access != WRITE || fake_mark_dirty(fake, cpu, slot, offset / PAGE) ? KVM_FAKE_DONE
                                                                              : KVM_FAKE_RING_FULL;
}

static KvmFakeOutcome access_memory(KvmFake *fake, unsigned number, unsigned as_id, uint64_t gpa,
                                    uint8_t *data, size_t len, Access access, bool private)
{
    KvmFakeOutcome outcome = KVM_FAKE_DONE;

    pthread_mutex_lock(&fake->lock);
    for (size_t done = 0; done < len && outcome == KVM_FAKE_DONE;) {
        size_t part = PAGE - (gpa + done) % PAGE;
        part = part < len - done ? part : len - done;
        outcome = access_page(fake, vcpu(fake, number), as_id, gpa + done, data + done, part,
                              access, private);
        done += part;
    }
    pthread_mutex_unlock(&fake->lock);
    return outcome;
}

KvmFakeOutcome kvm_fake_guest_write(KvmFake *fake, unsigned cpu, unsigned as_id, uint64_t gpa,
                                    const void *data, size_t len)
{
    return access_memory(fake, cpu, as_id, gpa, (uint8_t *)(uintptr_t)data, len, WRITE, false);
}

KvmFakeOutcome kvm_fake_guest_read(KvmFake *fake, unsigned cpu, unsigned as_id, uint64_t gpa,
                                   void *data, size_t len)
{
    return access_memory(fake, cpu, as_id, gpa, data, len, READ, false);
}

KvmFakeOutcome kvm_fake_guest_fetch(KvmFake *fake, unsigned cpu, unsigned as_id, uint64_t gpa,
                                    void *data, size_t len)
{
    return access_memory(fake, cpu, as_id, gpa, data, len, FETCH, false);
}

KvmFakeOutcome kvm_fake_guest_write_private(KvmFake *fake, unsigned cpu, uint64_t gpa,
                                            const void *data, size_t len)
{
    return access_memory(fake, cpu, 0, gpa, (uint8_t *)(uintptr_t)data, len, WRITE, true);
}

KvmFakeOutcome kvm_fake_guest_read_private(KvmFake *fake, unsigned cpu, uint64_t gpa, void *data,
                                           size_t len)
{
    return access_memory(fake, cpu, 0, gpa, data, len, READ, true);
}

/* ---- Ports ------------------------------------------------------------------------------- */

/* The data is in the page behind kvm_run, as the kernel does it on x86. */
static KvmFakeOutcome exit_io(FakeVcpu *cpu, uint16_t port, const void *data, unsigned len,
                              bool write)
{
    if (cpu) {
        struct kvm_run *run = run_of(cpu);
        run->exit_reason = KVM_EXIT_IO;
        run->io.direction = write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
        run->io.size = (uint8_t)len;
        run->io.port = port;
        run->io.count = 1;
        run->io.data_offset = PAGE;
        memset(cpu->area + PAGE, 0, len);
        if (write) {
            memcpy(cpu->area + PAGE, data, len);
        }
    }
    return KVM_FAKE_EXIT;
}

static KvmFakeOutcome access_port(KvmFake *fake, unsigned number, uint16_t port, const void *data,
                                  unsigned len, bool write)
{
    KvmFakeOutcome outcome = KVM_FAKE_EXIT;

    len = len > 8 ? 8 : len;
    pthread_mutex_lock(&fake->lock);
    if (write) {
        outcome = fake_bus_write(fake, true, port, data, len);
    }
    if (outcome == KVM_FAKE_EXIT) {
        outcome = exit_io(vcpu(fake, number), port, data, len, write);
    }
    pthread_mutex_unlock(&fake->lock);
    return outcome;
}

KvmFakeOutcome kvm_fake_guest_out(KvmFake *fake, unsigned cpu, uint16_t port, const void *data,
                                  unsigned len)
{
    return access_port(fake, cpu, port, data, len, true);
}

KvmFakeOutcome kvm_fake_guest_in(KvmFake *fake, unsigned cpu, uint16_t port, unsigned len)
{
    return access_port(fake, cpu, port, NULL, len, false);
}
