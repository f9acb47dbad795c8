/* SPDX-License-Identifier: MIT */
/* kvm_fake_io.c - the fake kernel's buses: ioeventfds, coalesced zones and their ring. */
#include "kvm_fake_state.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CCW KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY

static unsigned zones_on(const KvmFake *fake, bool pio)
{
    unsigned zones = 0;

    for (unsigned i = 0; i < fake->zones; i++) {
        zones += fake->zone[i].pio == pio;
    }
    return zones;
}

/* ---- ioeventfds ------------------------------------------------------------------------- */

static bool same_bus(const FakeIoeventfd *a, const FakeIoeventfd *b)
{
    return a->pio == b->pio && a->ccw == b->ccw && a->addr == b->addr;
}

/* A write could be for both. */
static bool collide(const FakeIoeventfd *a, const FakeIoeventfd *b)
{
    return same_bus(a, b) && (!a->len || !b->len || a->len == b->len) &&
           (a->any_data || b->any_data || a->data == b->data);
}

static int assign(KvmFake *fake, const FakeIoeventfd *e)
{
    for (unsigned i = 0; i < fake->ioeventfds; i++) {
        if (collide(&fake->ioeventfd[i], e)) {
            return -EEXIST;
        }
    }
    if (zones_on(fake, e->pio) >= BUS_DEVICES || fake->ioeventfds == FAKE_IOEVENTFDS) {
        return -ENOSPC;
    }
    int signal = dup(e->user_fd);
    if (signal < 0) {
        return -errno;
    }
    fake->ioeventfd[fake->ioeventfds] = *e;
    fake->ioeventfd[fake->ioeventfds++].signal = signal;
    return 0;
}

static int deassign(KvmFake *fake, const FakeIoeventfd *e)
{
    for (unsigned i = 0; i < fake->ioeventfds; i++) {
        FakeIoeventfd *there = &fake->ioeventfd[i];
        if (same_bus(there, e) && there->len == e->len && there->any_data == e->any_data &&
            (e->any_data || there->data == e->data) && fake_file_same(&there->file, e->user_fd)) {
            close(there->signal);
            *there = fake->ioeventfd[--fake->ioeventfds];
            return 0;
        }
    }
    return -ENOENT;
}

static bool is_eventfd(int fd)
{
    char path[64], name[64] = "";

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(path, name, sizeof name - 1);
    return len > 0 && strstr(name, "[eventfd]");
}

int fake_ioeventfd(KvmFake *fake, const struct kvm_ioeventfd *arg)
{
    FakeIoeventfd e = {.pio = arg->flags & KVM_IOEVENTFD_FLAG_PIO,
                       .ccw = (arg->flags & (CCW | KVM_IOEVENTFD_FLAG_PIO)) == CCW,
                       .any_data = !(arg->flags & KVM_IOEVENTFD_FLAG_DATAMATCH),
                       .addr = arg->addr,
                       .data = arg->datamatch,
                       .len = arg->len,
                       .user_fd = arg->fd};

    if (!fake->caps.ioeventfd) {
        return -ENOTTY;
    }
    if (!(arg->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)) {
        bool sized = arg->len == 1 || arg->len == 2 || arg->len == 4 || arg->len == 8 ||
                     (!arg->len && fake->caps.ioeventfd_any_length);
        if (!sized || arg->addr + arg->len < arg->addr ||
            arg->flags & ~(uint32_t)KVM_IOEVENTFD_VALID_FLAG_MASK || (!arg->len && !e.any_data)) {
            return -EINVAL;
        }
    }
    if (fcntl(arg->fd, F_GETFD) < 0) {
        return -EBADF;
    }
    if (!is_eventfd(arg->fd) || !fake_file_open(&e.file, arg->fd)) {
        return -EINVAL;
    }
    return arg->flags & KVM_IOEVENTFD_FLAG_DEASSIGN ? deassign(fake, &e) : assign(fake, &e);
}

/* ---- Coalesced zones ------------------------------------------------------------------------ */

static bool zone_holds(const struct kvm_coalesced_mmio_zone *zone, bool pio, uint64_t addr,
                       uint64_t len)
{
    return zone->pio == pio && addr >= zone->addr && addr - zone->addr <= zone->size &&
           len <= zone->size - (addr - zone->addr);
}

int fake_zone(KvmFake *fake, const struct kvm_coalesced_mmio_zone *arg, bool add)
{
    if (!fake->caps.coalesced_mmio) {
        return -ENOTTY;
    }
    if (arg->pio > fake->caps.coalesced_pio) {
        return -EINVAL;
    }
    if (add) {
        if (zones_on(fake, arg->pio) == BUS_DEVICES) {
            return -ENOSPC;
        }
        fake->zone[fake->zones++] = *arg;
        return 0;
    }
    for (unsigned i = 0; i < fake->zones;) { /* all that it is in go, but for long ones */
        if (arg->size <= INT32_MAX && zone_holds(&fake->zone[i], arg->pio, arg->addr, arg->size)) {
            fake->zone[i] = fake->zone[--fake->zones];
        } else {
            i++;
        }
    }
    return 0;
}

static struct kvm_coalesced_mmio_ring *ring_of(const FakeVcpu *cpu)
{
    return (struct kvm_coalesced_mmio_ring *)(void *)(cpu->area + (size_t)COALESCED_PAGE * PAGE);
}

void fake_sync_coalesced(KvmFake *fake)
{
    uint32_t first = fake->coalesced_first;

    for (unsigned i = 0; i < fake->vcpus; i++) {
        uint32_t theirs = __atomic_load_n(&ring_of(&fake->vcpu[i])->first, __ATOMIC_ACQUIRE);
        if (theirs != fake->coalesced_first && theirs < COALESCED_ENTRIES) {
            first = theirs;
        }
    }
    fake->coalesced_first = first;
    for (unsigned i = 0; i < fake->vcpus; i++) {
        __atomic_store_n(&ring_of(&fake->vcpu[i])->first, first, __ATOMIC_RELEASE);
    }
}

static bool coalesce(KvmFake *fake, bool pio, uint64_t addr, const void *data, unsigned len)
{
    uint32_t last = fake->coalesced_last, next = (last + 1) % (uint32_t)COALESCED_ENTRIES;
    bool wanted = false;

    fake_sync_coalesced(fake);
    for (unsigned i = 0; i < fake->zones; i++) {
        wanted |= zone_holds(&fake->zone[i], pio, addr, len);
    }
    if (!wanted || next == fake->coalesced_first) {
        return false;
    }
    for (unsigned i = 0; i < fake->vcpus; i++) {
        struct kvm_coalesced_mmio_ring *ring = ring_of(&fake->vcpu[i]);
        ring->coalesced_mmio[last] =
            (struct kvm_coalesced_mmio){.phys_addr = addr, .len = len, .pio = pio};
        memcpy(ring->coalesced_mmio[last].data, data, len);
        __atomic_store_n(&ring->last, next, __ATOMIC_RELEASE);
    }
    fake->coalesced_last = next;
    return true;
}

KvmFakeOutcome fake_bus_write(KvmFake *fake, bool pio, uint64_t addr, const void *data,
                              unsigned len)
{
    uint64_t value = 0;

    memcpy(&value, data, len);
    FakeIoeventfd access = {.pio = pio, .addr = addr, .len = len, .data = value};
    for (unsigned i = 0; i < fake->ioeventfds; i++) {
        if (collide(&fake->ioeventfd[i], &access)) {
            uint64_t one = 1;
            ssize_t written = write(fake->ioeventfd[i].signal, &one, sizeof one);
            (void)written;
            return KVM_FAKE_SIGNALLED;
        }
    }
    return coalesce(fake, pio, addr, data, len) ? KVM_FAKE_COALESCED : KVM_FAKE_EXIT;
}
