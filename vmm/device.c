/* SPDX-License-Identifier: MIT */
/* Devices: a head with an owner, its regions in place, and all of it back again. */
#include "machine.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

static void finalize_device(void *opaque)
{
    Device *device = opaque;

    free(device->mapped);
    if (device->finalize) {
        device->finalize(device);
    }
    free(device);
}

void *device_create(Machine *m, size_t size, const char *name, void (*reset)(Device *device))
{
    Device *device = calloc(1, size);

    if (!device) {
        error_set(NULL, ENOMEM, "%s: memory is short", name);
        return NULL;
    }
    device->machine = m;
    device->name = name;
    device->reset = reset;
    device->owner = memory_owner_create(m->ms, name, finalize_device, device);
    if (!device->owner) {
        free(device);
        return NULL;
    }
    *(m->last_device ? &m->last_device->next : &m->devices) = device;
    m->last_device = device;
    return device;
}

int device_map(Device *device, MemoryRegion *container, hwaddr addr, MemoryRegion *mr, int priority)
{
    MemoryRegion **mapped =
        realloc(device->mapped, (device->nr_mapped + 1) * sizeof *device->mapped);

    if (!mapped) {
        return error_set(NULL, ENOMEM, "%s: memory is short", device->name);
    }
    device->mapped = mapped;
    int result = memory_region_add_subregion_overlap(container, addr, mr, priority);
    if (result == 0) {
        device->mapped[device->nr_mapped++] = mr;
    }
    return result;
}

int device_map_ports(Device *device, MemoryRegion *mr, const MemoryRegionOps *ops, const char *name,
                     uint16_t port, unsigned count)
{
    int result = memory_region_init_io(mr, device->owner, ops, device, name, count);

    return result < 0 ? result
                      : device_map(device, get_system_io(device->machine->ms), port, mr, 0);
}

/* An edit takes memory, which may be short for a moment. At the end there is no other way. */
void region_unmap(MemoryRegion *mr)
{
    const struct timespec moment = {.tv_nsec = 1000000};

    for (unsigned i = 0; i < 1000 && memory_region_is_mapped(mr); i++) {
        if (memory_region_del_subregion(memory_region_container(mr), mr) == -ENOMEM) {
            nanosleep(&moment, NULL);
        }
    }
}

static void end_device(Device *device)
{
    if (device->unrealize) {
        device->unrealize(device);
    }
    for (unsigned i = 0; i < device->nr_mapped; i++) {
        region_unmap(device->mapped[i]);
    }
    memory_owner_unref(device->owner);
}

/* In reverse order: a device may stand on those before it. */
static void end_devices(Device *first)
{
    if (first) {
        end_devices(first->next);
        end_device(first);
    }
}

/* The map goes back to power-on in one commit. */
int devices_reset(Machine *m)
{
    memory_region_transaction_begin(m->ms);
    for (Device *device = m->devices; device; device = device->next) {
        if (device->reset) {
            device->reset(device);
        }
    }
    return memory_region_transaction_commit(m->ms);
}

void devices_end(Machine *m)
{
    end_devices(m->devices);
    m->devices = m->last_device = NULL;
}
