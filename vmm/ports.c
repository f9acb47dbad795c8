/* SPDX-License-Identifier: MIT */
/* Ports that take what is written and do nothing with it: 0x80 (POST codes) and 0xf0 (FPU). */
#include "devices.h"

#include <errno.h>

typedef struct Ports {
    Device device;
    MemoryRegion post, fpu;
} Ports;

static uint64_t ports_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque;
    (void)addr;
    (void)size;
    return UINT64_MAX;
}

static void ports_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque;
    (void)addr;
    (void)data;
    (void)size;
}

static const MemoryRegionOps ports_ops = {
    .read = ports_read,
    .write = ports_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

/* Guests write to port 0x80 to pass the time: no need for them to wait for each other. */
static int add_port(Ports *ports, MemoryRegion *mr, const char *name, uint16_t port)
{
    Device *device = &ports->device;
    int result = memory_region_init_io(mr, device->owner, &ports_ops, device, name, 1);

    if (result == 0) {
        result = memory_region_enable_lockless_io(mr);
    }
    return result < 0 ? result
                      : device_map(device, get_system_io(device->machine->ms), port, mr, 0);
}

int ports_create(Machine *m)
{
    Ports *ports = device_create(m, sizeof *ports, "ports", NULL);

    if (!ports) {
        return -ENOMEM;
    }
    int result = add_port(ports, &ports->post, "ioport80", 0x80);
    return result < 0 ? result : add_port(ports, &ports->fpu, "ioportF0", 0xf0);
}
