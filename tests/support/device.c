/* SPDX-License-Identifier: MIT */
#include "device.h"
#include <stdlib.h>
#include <string.h>

static void note(Device *d, DeviceCall call)
{
    call.locked = memory_system_locked(memory_owner_system(d->owner));
    if (d->calls < DEVICE_CALLS) {
        d->call[d->calls] = call;
    }
    d->calls++;
    if (d->hook) {
        d->hook(d, call.addr, call.is_write);
    }
}

static unsigned lane(const Device *d, unsigned i, unsigned size)
{
    return 8 * (d->big ? size - 1 - i : i);
}

static uint64_t get(Device *d, hwaddr addr, unsigned size, MemTxAttrs attrs)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size && addr + i < DEVICE_BYTES; i++) {
        value |= (uint64_t)d->bytes[addr + i] << lane(d, i, size);
    }
    note(d, (DeviceCall){.addr = addr, .size = size, .data = value, .attrs = attrs});
    return value;
}

static void put(Device *d, hwaddr addr, uint64_t data, unsigned size, MemTxAttrs attrs)
{
    for (unsigned i = 0; i < size && addr + i < DEVICE_BYTES; i++) {
        d->bytes[addr + i] = (uint8_t)(data >> lane(d, i, size));
    }
    note(d,
         (DeviceCall){.addr = addr, .size = size, .data = data, .is_write = true, .attrs = attrs});
}

static uint64_t plain_read(void *opaque, hwaddr addr, unsigned size)
{
    return get(opaque, addr, size, (MemTxAttrs){0});
}

static void plain_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    put(opaque, addr, data, size, (MemTxAttrs){0});
}

static MemTxResult answer(const Device *d, hwaddr addr)
{
    return d->result_at == UINT64_MAX || d->result_at == addr ? d->result : MEMTX_OK;
}

static MemTxResult attrs_read(void *opaque, hwaddr addr, uint64_t *data, unsigned size,
                              MemTxAttrs attrs)
{
    *data = get(opaque, addr, size, attrs);
    return answer(opaque, addr);
}

static MemTxResult attrs_write(void *opaque, hwaddr addr, uint64_t data, unsigned size,
                               MemTxAttrs attrs)
{
    put(opaque, addr, data, size, attrs);
    return answer(opaque, addr);
}

static void finalize_device(void *opaque)
{
    Device *d = opaque;

    if (d->finalized) {
        __atomic_add_fetch(d->finalized, 1, __ATOMIC_RELAXED);
    }
    memset(d, 0xdd, sizeof(*d));
    free(d);
}

Device *device_new(MemorySystem *ms, const char *name, bool with_attrs)
{
    Device *d = calloc(1, sizeof(*d));

    if (!d) {
        abort();
    }
    d->owner = memory_owner_create(ms, name, finalize_device, d);
    if (!d->owner) {
        abort();
    }
    d->ops.endianness = DEVICE_LITTLE_ENDIAN;
    d->result_at = UINT64_MAX;
    if (with_attrs) {
        d->ops.read_with_attrs = attrs_read;
        d->ops.write_with_attrs = attrs_write;
    } else {
        d->ops.read = plain_read;
        d->ops.write = plain_write;
    }
    device_reset(d);
    return d;
}

int device_init(Device *device, hwaddr size, enum device_endian target)
{
    enum device_endian order = device->ops.endianness;

    device->big = (order == DEVICE_NATIVE_ENDIAN ? target : order) == DEVICE_BIG_ENDIAN;
    return memory_region_init_io(&device->mr, device->owner, &device->ops, device, "device", size);
}

void device_drop(Device *device)
{
    memory_owner_unref(device->owner);
}

void device_reset(Device *device)
{
    for (unsigned i = 0; i < DEVICE_BYTES; i++) {
        device->bytes[i] = (uint8_t)(0x11 + i * 0x11 + (i >> 4));
    }
    device->calls = 0;
}
