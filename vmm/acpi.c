/* SPDX-License-Identifier: MIT */
/*
 * acpi.c - the ports of ACPI memory hotplug (docs/specs/acpi_mem_hotplug of QEMU), through which
 * AML (dsdt.asl) asks what is in the memory slots and lets go of it. Which dimm is in a slot is
 * looked up each time, since others take dimms out, too.
 *
 *      a00  read: address (8 bytes), size (8), node (4), flags (1) of the selected slot
 *      a00  write: which slot is selected
 *      a04  write: event that _OST speaks of; a08: its status
 *      a14  write: flags: acknowledge an event, eject
 */
#include "devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ACPI_MEMORY_PORT 0xa00
#define ACPI_MEMORY_PORTS 24
#define ACPI_MEMORY_GPE 3

enum { SELECT = 0x0, OST_EVENT = 0x4, OST_STATUS = 0x8, FLAGS = 0x14 };
enum { SLOT_USED = 1, SLOT_INSERTED = 2, SLOT_WANTED_OUT = 4, SLOT_EJECT = 8 };

/* What _OST says of an ejection: its events, and the status that is not final. */
enum { OST_EJECT_REQUEST = 0x3, OST_OSPM_EJECT = 0x103, OST_SUCCESS = 0, OST_IN_PROGRESS = 0x84 };

struct Acpi {
    Device device;
    MemoryRegion ports;
    uint32_t selected;
    struct AcpiSlot {
        uint8_t events; /* SLOT_INSERTED, SLOT_WANTED_OUT: not yet taken up by the guest */
        bool asked;     /* to let go, and has not yet said whether it does */
        uint32_t ost_event;
    } slots[MEMORY_DEVICES_MAX_SLOTS];
};

/* ---- Slots ---------------------------------------------------------------------------- */

typedef struct InSlot {
    int slot;
    MemoryDeviceState *dimm; /* NULL: the slot is empty */
    MemoryDeviceInfo info;
} InSlot;

static bool is_in_slot(MemoryDeviceState *dimm, void *opaque)
{
    InSlot *in = opaque;
    MemoryDeviceInfo info;

    memory_device_query(dimm, &info);
    if (info.kind != MEMORY_DEVICE_DIMM || info.slot != in->slot) {
        return false;
    }
    in->dimm = dimm;
    in->info = info;
    return true;
}

static InSlot look_into(Acpi *acpi, uint32_t slot)
{
    InSlot in = {.slot = (int)slot};

    if (slot < acpi->device.machine->slots) {
        memory_devices_for_each(acpi->device.machine->ms, is_in_slot, &in);
    }
    return in;
}

static struct AcpiSlot *selected_slot(Acpi *acpi)
{
    return acpi->selected < acpi->device.machine->slots ? &acpi->slots[acpi->selected] : NULL;
}

/* The guest has stopped using the dimm. */
static void eject(Acpi *acpi)
{
    InSlot in = look_into(acpi, acpi->selected);

    if (in.dimm && memory_device_del(in.dimm, NULL) < 0) {
        vmm_complain("slot %d: %s", in.slot, membus_last_error());
    }
}

/* ---- Ports ------------------------------------------------------------------------------ */

static void put_number(uint8_t *at, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

static uint64_t read_ports(void *opaque, hwaddr addr, unsigned size)
{
    Acpi *acpi = opaque;
    InSlot in = look_into(acpi, acpi->selected);
    uint8_t bytes[ACPI_MEMORY_PORTS] = {0};
    uint64_t value = 0;

    memset(bytes + FLAGS + 1, 0xff, sizeof(bytes) - FLAGS - 1); /* nothing is there */
    if (in.dimm) {
        put_number(bytes, in.info.addr, 8);
        put_number(bytes + 8, in.info.size, 8);
        put_number(bytes + 16, in.info.node, 4);
        bytes[FLAGS] = (uint8_t)(SLOT_USED | acpi->slots[in.slot].events);
    }
    for (unsigned i = 0; i < size; i++) {
        value |= (uint64_t)bytes[addr + i] << 8 * i;
    }
    return value;
}

/* The guest says how it went. */
static void take_status(struct AcpiSlot *slot, uint32_t number, uint32_t status)
{
    bool ejection = slot->ost_event == OST_EJECT_REQUEST || slot->ost_event == OST_OSPM_EJECT;

    if (slot->asked && ejection && status != OST_SUCCESS && status != OST_IN_PROGRESS) {
        slot->asked = false;
        vmm_complain("the guest does not let go of the memory in slot %u: _OST status 0x%x", number,
                     status);
    }
}

static void write_ports(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Acpi *acpi = opaque;
    struct AcpiSlot *slot = selected_slot(acpi);

    (void)size;
    if (addr == SELECT) {
        acpi->selected = (uint32_t)data;
    } else if (slot && addr == OST_EVENT) {
        slot->ost_event = (uint32_t)data;
    } else if (slot && addr == OST_STATUS) {
        take_status(slot, acpi->selected, (uint32_t)data);
    } else if (slot && addr == FLAGS) {
        slot->events &= (uint8_t)~data;
        if (data & SLOT_EJECT) {
            eject(acpi);
        }
    }
}

static const MemoryRegionOps ops = {
    .read = read_ports,
    .write = write_ports,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 4},
    .impl = {.min_access_size = 1, .max_access_size = 4},
};

/* ---- The machine's side ------------------------------------------------------------------- */

/* @dimm's slot; NULL: the guest sees no such thing. */
static struct AcpiSlot *slot_of(Machine *m, MemoryDeviceState *dimm)
{
    MemoryDeviceInfo info;

    memory_device_query(dimm, &info);
    return m->acpi && info.kind == MEMORY_DEVICE_DIMM ? &m->acpi->slots[info.slot] : NULL;
}

void acpi_memory_plugged(Machine *m, MemoryDeviceState *dimm)
{
    struct AcpiSlot *slot = slot_of(m, dimm);

    if (slot) {
        *slot = (struct AcpiSlot){.events = SLOT_INSERTED}; /* nothing of who was there before */
        piix4_pm_send_gpe(m, ACPI_MEMORY_GPE);
    }
}

int acpi_memory_unplug_request(Machine *m, MemoryDeviceState *dimm, Error **errp)
{
    struct AcpiSlot *slot = slot_of(m, dimm);

    if (slot == NULL) {
        MemoryDeviceInfo info;
        memory_device_query(dimm, &info);
        return error_set(errp, ENOTSUP, "the guest cannot be asked to let go of %s", info.id);
    }
    slot->events |= SLOT_WANTED_OUT;
    slot->asked = true;
    piix4_pm_send_gpe(m, ACPI_MEMORY_GPE);
    return 0;
}

/* A guest that starts finds what is there without being told. */
static void reset(Device *device)
{
    Acpi *acpi = (Acpi *)device;

    acpi->selected = 0;
    memset(acpi->slots, 0, sizeof(acpi->slots));
}

int acpi_create(Machine *m)
{
    Acpi *acpi;

    if (m->slots == 0) {
        return 0;
    }
    acpi = device_create(m, sizeof(*acpi), "acpi", reset);
    if (acpi == NULL) {
        return -ENOMEM;
    }
    m->acpi = acpi;
    return device_map_ports(&acpi->device, &acpi->ports, &ops, "acpi-mem-hotplug", ACPI_MEMORY_PORT,
                            ACPI_MEMORY_PORTS);
}
