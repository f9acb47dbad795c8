/* SPDX-License-Identifier: MIT */
/*
 * System control port A (0x92): fast reset, and the A20 gate. A20 is always on here: the memory
 * map has no wrap at 1 MiB, so the gate is taken note of by nobody and reads as open.
 */
#include "devices.h"

#include <errno.h>

#define PORT92_RESET 0x01
#define PORT92_A20 0x02

typedef struct Port92 {
    Device device;
    MemoryRegion mr;
    uint8_t value;
} Port92;

static uint64_t port92_read(void *opaque, hwaddr addr, unsigned size)
{
    const Port92 *port92 = opaque;

    (void)addr;
    (void)size;
    return port92->value | PORT92_A20;
}

static void port92_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Port92 *port92 = opaque;
    uint8_t risen = (uint8_t)data & (uint8_t)~port92->value;

    (void)addr;
    (void)size;
    port92->value = (uint8_t)data;
    if (risen & PORT92_RESET) {
        machine_request(port92->device.machine, MACHINE_RESET, 0);
    }
}

static const MemoryRegionOps port92_ops = {
    .read = port92_read,
    .write = port92_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

static void port92_reset(Device *device)
{
    ((Port92 *)device)->value = 0;
}

int port92_create(Machine *m)
{
    Port92 *port92 = device_create(m, sizeof *port92, "port92", port92_reset);

    return port92 ? device_map_ports(&port92->device, &port92->mr, &port92_ops, "port92", 0x92, 1)
                  : -ENOMEM;
}
