/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm_pair.h"
#include "machine.h"

uint64_t pair_pick(Pair *p, const uint64_t *from, unsigned n)
{
    return from[rng_below(&p->rng, n)];
}
int pair_ask(Pair *p, unsigned long request, void *ours, void *theirs, const char *what)
{
    int fake = kvm_fake_ioctl(p->fake, p->fake_vm, request, ours);
    int host = ioctl(p->host.vm, request, theirs);
    host = host < 0 ? -errno : host;

    if (fake != host) {
        fail_msg("step %u, %s: the fake says %d, the kernel %d", p->step, what, fake, host);
    }
    p->done++;
    p->agreed[host > 0 ? 2 : host < 0]++;
    return host;
}

/* ---- The pair ------------------------------------------------------------------------------- */

static void enable(Pair *p, uint32_t cap, uint64_t value)
{
    struct kvm_enable_cap arg = {.cap = cap, .args = {value}};

    OK(pair_ask(p, KVM_ENABLE_CAP, &arg, &arg, "KVM_ENABLE_CAP"));
}

void pair_start(Pair *p, uint64_t seed, Mode mode)
{
    const char *why = "";
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;

    memset(p, 0, sizeof *p);
    p->rng = (Rng){seed};
    if (!kvm_host_open(&p->host, &why)) {
        print_message("# skipped: no usable /dev/kvm: %s\n", why);
        skip();
    }
    p->nr_memslots = (unsigned)ioctl(p->host.vm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
    caps.nr_memslots = p->nr_memslots;
    p->fake = kvm_fake_create(&caps);
    assert_non_null(p->fake);
    p->fake_vm = kvm_fake_ioctl(p->fake, kvm_fake_fd(p->fake), KVM_CREATE_VM, NULL);
    assert_true(p->fake_vm >= 0);
    if (mode == RING) {
        enable(p, KVM_CAP_DIRTY_LOG_RING, 4096);
    } else if (mode != PLAIN) {
        enable(p, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, mode == MANUAL ? 1 : 3);
    }
    if (!kvm_host_start(&p->host, &why)) {
        fail_msg("%s", why);
    }
    p->fake_vcpu = kvm_fake_ioctl(p->fake, p->fake_vm, KVM_CREATE_VCPU, NULL);
    assert_true(p->fake_vcpu >= 0);
    struct kvm_userspace_memory_region region = {.slot = KVM_HOST_SLOT,
                                                 .guest_phys_addr = KVM_HOST_CODE,
                                                 .memory_size = PAGE,
                                                 .userspace_addr = (uintptr_t)p->host.code};
    OK(kvm_fake_ioctl(p->fake, p->fake_vm, KVM_SET_USER_MEMORY_REGION, &region));
    p->memory =
        mmap(NULL, HOST_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p->memory, MAP_FAILED);
    p->area_size = 64 * PAGE + (mode == RING ? PAGE : 0);
    p->area = mmap(NULL, p->area_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->fake_vcpu, 0);
    assert_ptr_not_equal(p->area, MAP_FAILED);
    for (unsigned i = 0; i < 2 * EVENTFDS; i++) {
        p->event[i / EVENTFDS][i % EVENTFDS] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }
}

void pair_end(Pair *p)
{
    for (unsigned i = 0; i < 2 * EVENTFDS; i++) {
        close(p->event[i / EVENTFDS][i % EVENTFDS]);
    }
    munmap(p->area, p->area_size);
    munmap(p->memory, HOST_PAGES * PAGE);
    close(p->fake_vcpu);
    close(p->fake_vm);
    kvm_host_close(&p->host);
    kvm_fake_destroy(p->fake);
}

/* ---- The guest --------------------------------------------------------------------------- */

static uint64_t taken(int fd)
{
    uint64_t count = 0;

    return read(fd, &count, sizeof count) == sizeof count ? count : 0;
}

/* How many writes the ring holds; all are taken out. */
static unsigned drain(void *area)
{
    struct kvm_coalesced_mmio_ring *ring = (void *)((uint8_t *)area + 2 * (size_t)PAGE);
    unsigned count = 0, entries = (PAGE - sizeof *ring) / sizeof ring->coalesced_mmio[0];

    while (ring->first != ring->last) {
        ring->first = (ring->first + 1) % entries;
        count++;
    }
    return count;
}

static void compare_outcome(Pair *p, KvmFakeOutcome ours, KvmFakeOutcome theirs, uint64_t addr,
                            const char *what)
{
    unsigned coalesced = drain(p->area), expected = drain(p->host.run);
    KvmFakeOutcome seen = ours;

    for (unsigned i = 0; i < EVENTFDS; i++) {
        uint64_t signalled = taken(p->event[0][i]), wanted = taken(p->event[1][i]);
        if (signalled != wanted) {
            fail_msg("step %u: %s %#llx: outcome %d, eventfd %u counts %llu, the kernel's %llu",
                     p->step, what, (unsigned long long)addr, ours, i,
                     (unsigned long long)signalled, (unsigned long long)wanted);
        }
    }
    if (seen == KVM_FAKE_SIGNALLED || seen == KVM_FAKE_COALESCED) {
        seen = KVM_FAKE_DONE; /* the guest goes on in all three cases */
    }
    if (seen != theirs || coalesced != expected || (ours == KVM_FAKE_COALESCED) != coalesced) {
        fail_msg("step %u: %s %#llx: outcome %d, the kernel's %d; coalesced %u, the kernel %u",
                 p->step, what, (unsigned long long)addr, ours, theirs, coalesced, expected);
    }
    p->done++;
    p->agreed[2]++;
}

typedef struct Device {
    bool zone;
    uint64_t first, last;
} Device;

/*
 * Where zones overlap ioeventfds or each other, whom the kernel finds depends on the order in
 * which they were made, and it may find nobody: it searches as if they did not. Whether there is
 * such a place on the bus.
 */
bool pair_is_ambiguous(const KvmFake *fake, bool pio)
{
    static Device device[8192];
    unsigned devices = 0;

    for (unsigned i = 0; i < fake->zones && devices < 4096; i++) {
        const struct kvm_coalesced_mmio_zone *z = &fake->zone[i];
        if (z->pio == pio) {
            device[devices++] = (Device){true, z->addr, z->addr + z->size};
        }
    }
    for (unsigned i = 0; i < fake->ioeventfds && devices < 8192; i++) {
        const FakeIoeventfd *e = &fake->ioeventfd[i];
        if (e->pio == pio) {
            device[devices++] = (Device){false, e->addr, e->addr + 8};
        }
    }
    for (unsigned i = 0; i < devices; i++) {
        for (unsigned j = 0; j < i; j++) {
            if ((device[i].zone || device[j].zone) && device[i].first <= device[j].last &&
                device[j].first <= device[i].last) {
                return true;
            }
        }
    }
    return false;
}

void pair_store(Pair *p, uint32_t gpa, uint32_t data, unsigned len)
{
    uintptr_t memory = (uintptr_t)p->memory;
    KvmFakeSlot slot;

    if (kvm_fake_find(p->fake, 0, gpa, &slot) &&
        (slot.hva < memory || slot.hva - memory >= HOST_PAGES * PAGE)) {
        return; /* some kinds of KVM fail the run, some make it an exit */
    }
    if (!pair_is_ambiguous(p->fake, false)) {
        KvmFakeOutcome ours = kvm_fake_guest_write(p->fake, 0, 0, gpa, &data, len);
        compare_outcome(p, ours, kvm_host_store(&p->host, gpa, data, len), gpa, "store to");
    }
}

void pair_out(Pair *p, uint16_t port, uint32_t data, unsigned len)
{
    if (!pair_is_ambiguous(p->fake, true)) {
        KvmFakeOutcome ours = kvm_fake_guest_out(p->fake, 0, port, &data, len);
        compare_outcome(p, ours, kvm_host_out(&p->host, port, data, len), port, "out to");
    }
}
