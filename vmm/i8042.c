/* SPDX-License-Identifier: MIT */
/*
 * The 8042 keyboard controller with nothing plugged in: bytes for the keyboard or the mouse come
 * back as the controller's "resend" with the timeout bit set, so that drivers give up at once.
 * Its output port resets the machine; A20 is always on (port92.c) and reads so.
 */
#include "devices.h"

#include <errno.h>

#define STATUS_OBF 0x01 /* a byte is there to be read */
#define STATUS_SYS 0x04 /* passed its self test */
#define STATUS_CMD 0x08 /* the last write was to 0x64 */
#define STATUS_UNLOCKED 0x10
#define STATUS_AUX 0x20     /* the byte is the mouse's */
#define STATUS_TIMEOUT 0x40 /* nobody answered */

#define CONTROL_KBD_INT 0x01
#define CONTROL_AUX_INT 0x02
#define CONTROL_SYS 0x04
#define CONTROL_KBD_OFF 0x10
#define CONTROL_AUX_OFF 0x20

#define OUTPUT_NO_RESET 0x01
#define OUTPUT_A20 0x02

#define RESEND 0xfe

typedef struct I8042 {
    Device device;
    MemoryRegion data_port, command_port;
    uint8_t status;
    uint8_t data;
    uint8_t ram[32]; /* [0]: the command byte */
    uint8_t output;
    uint8_t command; /* that waits for its byte; 0: bytes are the keyboard's */
} I8042;

static void update(I8042 *kbc)
{
    Machine *m = kbc->device.machine;
    bool full = kbc->status & STATUS_OBF, aux = kbc->status & STATUS_AUX;

    machine_set_irq(m, 1, full && !aux && kbc->ram[0] & CONTROL_KBD_INT);
    machine_set_irq(m, 12, full && aux && kbc->ram[0] & CONTROL_AUX_INT);
}

/* A byte for the guest; @flags: STATUS_AUX, STATUS_TIMEOUT. It replaces one that was not read. */
static void answer(I8042 *kbc, uint8_t data, unsigned flags)
{
    kbc->status &= (uint8_t) ~(STATUS_AUX | STATUS_TIMEOUT | STATUS_OBF);
    update(kbc);
    kbc->status |= (uint8_t)(STATUS_OBF | flags);
    kbc->data = data;
    update(kbc);
}

static void write_output(I8042 *kbc, uint8_t value)
{
    kbc->output = value;
    if (!(value & OUTPUT_NO_RESET)) {
        machine_request(kbc->device.machine, MACHINE_RESET, 0);
    }
}

/* ---- Commands --------------------------------------------------------------------------- */

static void write_command(I8042 *kbc, uint8_t command)
{
    uint8_t *control = &kbc->ram[0];

    kbc->command = 0;
    switch (command) {
    case 0x20 ... 0x3f:
        answer(kbc, kbc->ram[command - 0x20], 0);
        break;
    case 0x60 ... 0x7f: /* write RAM */
    case 0xd1 ... 0xd4: /* write the output port; answer as if from a device; to the mouse */
        kbc->command = command;
        break;
    case 0xa7:
        *control |= CONTROL_AUX_OFF;
        break;
    case 0xa8:
        *control &= (uint8_t)~CONTROL_AUX_OFF;
        break;
    case 0xa9: /* the wires of the ports are fine */
    case 0xab:
        answer(kbc, 0x00, 0);
        break;
    case 0xaa:
        kbc->status |= STATUS_SYS;
        *control |= CONTROL_SYS;
        answer(kbc, 0x55, 0);
        break;
    case 0xad:
        *control |= CONTROL_KBD_OFF;
        break;
    case 0xae:
        *control &= (uint8_t)~CONTROL_KBD_OFF;
        break;
    case 0xc0: /* input port: not locked */
        answer(kbc, 0x80, 0);
        break;
    case 0xd0:
        answer(kbc, kbc->output | OUTPUT_A20, 0);
        break;
    case 0xe0: /* test inputs: clocks are low */
        answer(kbc, 0x00, 0);
        break;
    case 0xf0 ... 0xff: /* pulse the bits that are 0 */
        if (!(command & OUTPUT_NO_RESET)) {
            machine_request(kbc->device.machine, MACHINE_RESET, 0);
        }
        break;
    default: /* unknown ones do nothing, and answer nothing */
        break;
    }
    update(kbc);
}

static void write_data(I8042 *kbc, uint8_t data)
{
    uint8_t command = kbc->command;

    kbc->command = 0;
    switch (command) {
    case 0x60:
        kbc->status =
            (uint8_t)((kbc->status & ~STATUS_SYS) | (data & CONTROL_SYS ? STATUS_SYS : 0));
        kbc->ram[0] = data;
        update(kbc);
        break;
    case 0x61 ... 0x7f:
        kbc->ram[command - 0x60] = data;
        break;
    case 0xd1:
        write_output(kbc, data);
        break;
    case 0xd2:
        answer(kbc, data, 0);
        break;
    case 0xd3:
        answer(kbc, data, STATUS_AUX);
        break;
    case 0xd4:
        answer(kbc, RESEND, STATUS_AUX | STATUS_TIMEOUT);
        break;
    default:
        kbc->ram[0] &= (uint8_t)~CONTROL_KBD_OFF; /* talking to the keyboard turns it on */
        answer(kbc, RESEND, STATUS_TIMEOUT);
    }
}

/* ---- Ports ------------------------------------------------------------------------------ */

static uint64_t data_read(void *opaque, hwaddr addr, unsigned size)
{
    I8042 *kbc = opaque;

    (void)addr;
    (void)size;
    kbc->status &= (uint8_t) ~(STATUS_OBF | STATUS_AUX | STATUS_TIMEOUT);
    update(kbc);
    return kbc->data;
}

static void data_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    I8042 *kbc = opaque;

    (void)addr;
    (void)size;
    kbc->status &= (uint8_t)~STATUS_CMD;
    write_data(kbc, (uint8_t)data);
}

static uint64_t status_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)addr;
    (void)size;
    return ((I8042 *)opaque)->status;
}

static void command_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    I8042 *kbc = opaque;

    (void)addr;
    (void)size;
    kbc->status |= STATUS_CMD;
    write_command(kbc, (uint8_t)data);
}

static const MemoryRegionOps data_ops = {
    .read = data_read,
    .write = data_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

static const MemoryRegionOps command_ops = {
    .read = status_read,
    .write = command_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

/* ---- Making ----------------------------------------------------------------------------- */

static void i8042_reset(Device *device)
{
    I8042 *kbc = (I8042 *)device;

    kbc->status = STATUS_UNLOCKED | STATUS_CMD;
    kbc->data = kbc->command = 0;
    for (unsigned i = 0; i < sizeof kbc->ram; i++) {
        kbc->ram[i] = 0;
    }
    kbc->ram[0] = CONTROL_KBD_OFF | CONTROL_AUX_OFF;
    kbc->output = OUTPUT_NO_RESET | OUTPUT_A20;
    update(kbc);
}

int i8042_create(Machine *m)
{
    I8042 *kbc = device_create(m, sizeof *kbc, "i8042", i8042_reset);

    if (!kbc) {
        return -ENOMEM;
    }
    i8042_reset(&kbc->device);
    int result = device_map_ports(&kbc->device, &kbc->data_port, &data_ops, "i8042-data", 0x60, 1);
    return result < 0 ? result
                      : device_map_ports(&kbc->device, &kbc->command_port, &command_ops,
                                         "i8042-cmd", 0x64, 1);
}
