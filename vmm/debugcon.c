/* SPDX-License-Identifier: MIT */
/*
 * The debug console: bytes written to port 0x402 (SeaBIOS's log) or 0xe9 go to a file; reading
 * 0xe9 tells that it is there.
 */
#include "devices.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct Debugcon {
    Device device;
    MemoryRegion port_402, port_e9;
    FILE *file;
} Debugcon;

static uint64_t debugcon_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque;
    (void)addr;
    (void)size;
    return 0xe9;
}

static void debugcon_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)addr;
    (void)size;
    putc((int)(uint8_t)data, ((Debugcon *)opaque)->file);
}

static const MemoryRegionOps debugcon_ops = {
    .read = debugcon_read,
    .write = debugcon_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

/* All that it touches is the file, which has a lock of its own. */
static int add_port(Debugcon *debugcon, MemoryRegion *mr, uint16_t port)
{
    Device *device = &debugcon->device;
    int result =
        memory_region_init_io(mr, device->owner, &debugcon_ops, debugcon, "isa-debugcon", 1);

    if (result == 0) {
        result = memory_region_enable_lockless_io(mr);
    }
    return result < 0 ? result
                      : device_map(device, get_system_io(device->machine->ms), port, mr, 0);
}

/* Only here: CPUs may be in a write until then. */
static void debugcon_finalize(Device *device)
{
    Debugcon *debugcon = (Debugcon *)device;

    if (debugcon->file) {
        fclose(debugcon->file);
    }
}

int debugcon_create(Machine *m, const char *file)
{
    if (!file) {
        return 0;
    }
    Debugcon *debugcon = device_create(m, sizeof *debugcon, "isa-debugcon", NULL);
    if (!debugcon) {
        return -ENOMEM;
    }
    debugcon->device.finalize = debugcon_finalize;
    debugcon->file = fopen(file, "we");
    if (!debugcon->file) {
        return error_set(NULL, errno, "debugcon: %s: %s", file, strerror(errno));
    }
    setvbuf(debugcon->file, NULL, _IOLBF, 0);
    int result = add_port(debugcon, &debugcon->port_402, 0x402);
    return result < 0 ? result : add_port(debugcon, &debugcon->port_e9, 0xe9);
}
