/* SPDX-License-Identifier: MIT */
/*
 * The model's ioeventfds and coalesced zones: only the rules by which the kernel takes and refuses
 * them, since nothing in the model writes to devices.
 */
#include "kvm/model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BUS_LIMIT 1000U /* zones; with as many, ioeventfds are refused, too */
#define IOEVENTFD_FLAGS 31U

/* ---- ioeventfds -------------------------------------------------------------------- */

static ModelBus bus_of(uint32_t flags)
{
    return flags & KVM_IOEVENTFD_FLAG_PIO                 ? MODEL_BUS_PIO
           : flags & KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY ? MODEL_BUS_CCW
                                                          : MODEL_BUS_MMIO;
}

static bool matches_data(const struct kvm_ioeventfd *e)
{
    return e->flags & KVM_IOEVENTFD_FLAG_DATAMATCH;
}

/* 0, or what the kernel says of a descriptor that is no eventfd. */
static int check_eventfd(int fd)
{
    char path[32], target[64];

    if (fcntl(fd, F_GETFD) < 0) {
        return -EBADF;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length > 0 ? length : 0] = '\0';
    return length <= 0 || strstr(target, "[eventfd]") ? 0 : -EINVAL;
}

/* Whether there is a write that both would be told of. */
static bool collide(const struct kvm_ioeventfd *a, const struct kvm_ioeventfd *b)
{
    return a->addr == b->addr && (!a->len || !b->len ||
                                  (a->len == b->len && (!matches_data(a) || !matches_data(b) ||
                                                        a->datamatch == b->datamatch)));
}

static bool same_ioeventfd(const struct kvm_ioeventfd *a, const struct kvm_ioeventfd *b)
{
    return a->addr == b->addr && a->len == b->len && a->fd == b->fd &&
           matches_data(a) == matches_data(b) && (!matches_data(a) || a->datamatch == b->datamatch);
}

static struct kvm_ioeventfd *ioeventfd_at(const ModelDevices *bus, size_t index)
{
    return VEC_AT(&bus->ioeventfds, struct kvm_ioeventfd, index);
}

static int add_ioeventfd(ModelDevices *bus, const struct kvm_ioeventfd *arg)
{
    bool sized = arg->len == 1 || arg->len == 2 || arg->len == 4 || arg->len == 8;

    if ((arg->len && !sized) || arg->addr + arg->len < arg->addr || arg->flags & ~IOEVENTFD_FLAGS ||
        (!arg->len && matches_data(arg))) {
        return -EINVAL;
    }
    int result = check_eventfd(arg->fd);
    if (result < 0) {
        return result;
    }
    for (size_t i = 0; i < bus->ioeventfds.count; i++) {
        if (collide(ioeventfd_at(bus, i), arg)) {
            return -EEXIST;
        }
    }
    if (bus->zones.count >= BUS_LIMIT) {
        return -ENOSPC;
    }
    struct kvm_ioeventfd *added = vec_add(&bus->ioeventfds, sizeof *arg);
    if (!added) {
        return -ENOMEM;
    }
    *added = *arg;
    return 0;
}

static int remove_ioeventfd(ModelDevices *bus, const struct kvm_ioeventfd *arg)
{
    int result = check_eventfd(arg->fd);

    if (result < 0) {
        return result;
    }
    for (size_t i = 0; i < bus->ioeventfds.count; i++) {
        if (same_ioeventfd(ioeventfd_at(bus, i), arg)) {
            *ioeventfd_at(bus, i) = *ioeventfd_at(bus, --bus->ioeventfds.count);
            return 0;
        }
    }
    return -ENOENT;
}

int model_ioeventfd(KVMModel *model, const struct kvm_ioeventfd *arg)
{
    ModelDevices *bus = &model->buses[bus_of(arg->flags)];

    return arg->flags & KVM_IOEVENTFD_FLAG_DEASSIGN ? remove_ioeventfd(bus, arg)
                                                    : add_ioeventfd(bus, arg);
}

/* ---- coalesced zones ------------------------------------------------------------------ */

static bool contains(const struct kvm_coalesced_mmio_zone *zone,
                     const struct kvm_coalesced_mmio_zone *part)
{
    return part->addr >= zone->addr && part->addr - zone->addr <= zone->size &&
           part->size <= zone->size - (part->addr - zone->addr);
}

static int add_zone(ModelDevices *bus, const struct kvm_coalesced_mmio_zone *zone)
{
    if (bus->zones.count >= BUS_LIMIT) {
        return -ENOSPC;
    }
    struct kvm_coalesced_mmio_zone *added = vec_add(&bus->zones, sizeof *zone);
    if (!added) {
        return -ENOMEM;
    }
    *added = *zone;
    return 0;
}

/* Those that @part is within; none if its size has the highest bit, as in the kernel. */
static int remove_zones(ModelDevices *bus, const struct kvm_coalesced_mmio_zone *part)
{
    struct kvm_coalesced_mmio_zone *zones = bus->zones.items;
    size_t kept = 0;

    for (size_t i = 0; i < bus->zones.count; i++) {
        if (part->size > INT32_MAX || !contains(&zones[i], part)) {
            zones[kept++] = zones[i];
        }
    }
    bus->zones.count = kept;
    return 0;
}

int model_coalesced(KVMModel *model, const struct kvm_coalesced_mmio_zone *zone, bool add)
{
    if (zone->pio > 1) {
        return -EINVAL;
    }
    ModelDevices *bus = &model->buses[zone->pio ? MODEL_BUS_PIO : MODEL_BUS_MMIO];
    return add ? add_zone(bus, zone) : remove_zones(bus, zone);
}

void model_devices_end(KVMModel *model)
{
    for (unsigned i = 0; i < MODEL_BUSES; i++) {
        vec_free(&model->buses[i].ioeventfds);
        vec_free(&model->buses[i].zones);
    }
}
