/* SPDX-License-Identifier: MIT */
/*
 * The two 8259A interrupt controllers of a PC, with the PIIX3's edge/level control registers.
 *
 * The master's output goes to the CPUs, the slave's to the master's input 2. As in chipsets, and
 * unlike the 8259A, whether an input is edge or level triggered is said for each by ELCR (ICW1's
 * LTIM is ignored), and an edge stays requested when its line falls: devices here may pulse.
 * A level that falls before it is acknowledged gives the spurious interrupt 7 of its chip.
 */
#include "devices.h"

#include <errno.h>

#define CASCADE 2
#define NONE 8 /* lower than the lowest priority */

typedef struct Chip {
    Pic *pic;
    MemoryRegion ports, elcr_port;
    uint8_t lines;   /* as they are */
    uint8_t edges;   /* seen and not yet acknowledged; only of edge triggered inputs */
    uint8_t level;   /* inputs that are level triggered */
    uint8_t elcr;    /* what the register says of them; the cascade is not in it */
    uint8_t elcr_rw; /* bits of it that can be set */
    uint8_t imr, isr;
    uint8_t base;    /* vector of input 0 */
    uint8_t highest; /* input of the highest priority */
    uint8_t expects; /* which ICW comes next, 2 to 4; 0: none, it is at work */
    bool single, needs_icw4;
    bool auto_eoi, rotate_on_auto_eoi, special_mask, special_nested;
    bool read_isr, poll;
} Chip;

struct Pic {
    Device device;
    Chip master, slave;
    bool output;
};

static uint8_t requests(const Chip *chip)
{
    return (uint8_t)(chip->edges | (chip->lines & chip->level));
}

/* The set's member of the highest priority, as its distance from the highest there is; or NONE. */
static unsigned first_of(const Chip *chip, unsigned set)
{
    unsigned rotated = (set << 8 | set) >> chip->highest & 0xff;

    return rotated ? (unsigned)__builtin_ctz(rotated) : NONE;
}

static unsigned input_at(const Chip *chip, unsigned priority)
{
    return (chip->highest + priority) & 7;
}

/* The input that @chip asks to be served; NONE. */
static unsigned pending(const Chip *chip)
{
    unsigned wanted = first_of(chip, requests(chip) & ~(unsigned)chip->imr);
    /* In special mask mode what is masked holds nobody up. */
    unsigned served = first_of(chip, chip->special_mask ? chip->isr & ~chip->imr : chip->isr);

    if (wanted == NONE || chip->expects) {
        return NONE;
    }
    if (wanted < served) {
        return input_at(chip, wanted);
    }
    /* The slave sees to the order among its own. */
    bool nested = chip->special_nested && chip == &chip->pic->master;
    return wanted == served && nested && input_at(chip, wanted) == CASCADE ? CASCADE : NONE;
}

static void set_line(Chip *chip, unsigned input, bool level)
{
    uint8_t bit = (uint8_t)(1 << input);

    if (level) {
        chip->edges |= bit & ~chip->lines & ~chip->level;
        chip->lines |= bit;
    } else {
        chip->lines &= (uint8_t)~bit;
    }
}

static void update(Pic *pic)
{
    Machine *m = pic->device.machine;

    set_line(&pic->master, CASCADE, pending(&pic->slave) != NONE);
    bool output = pending(&pic->master) != NONE;
    if (output != pic->output) {
        pic->output = output;
        Cpu *cpu = m->cpus ? m->cpus[0] : NULL;
        if (cpu && cpu->state) { /* not yet, and no longer, while the board is made and ended */
            m->kind->interrupt(cpu, output);
        }
    }
}

void pic_set_irq(Pic *pic, unsigned irq, bool level)
{
    if (irq != CASCADE) {
        set_line(irq < 8 ? &pic->master : &pic->slave, irq & 7, level);
        update(pic);
    }
}

/* ---- Acknowledging and ending --------------------------------------------------------- */

static void end_of(Chip *chip, unsigned input, bool rotate)
{
    chip->isr &= (uint8_t) ~(1 << input);
    if (rotate) {
        chip->highest = (input + 1) & 7;
    }
}

/* The input that is served from now on; NONE if the request went away. */
static unsigned acknowledge(Chip *chip)
{
    unsigned input = pending(chip);

    if (input != NONE) {
        chip->edges &= (uint8_t) ~(1 << input);
        chip->isr |= (uint8_t)(1 << input);
        if (chip->auto_eoi) {
            end_of(chip, input, chip->rotate_on_auto_eoi);
        }
    }
    return input;
}

uint8_t pic_acknowledge(Pic *pic)
{
    Chip *chip = &pic->master;
    unsigned input = acknowledge(chip);

    if (input == CASCADE) {
        chip = &pic->slave;
        input = acknowledge(chip);
    }
    update(pic);
    return (uint8_t)(chip->base + (input == NONE ? 7 : input));
}

/* ---- Command words ---------------------------------------------------------------------- */

static void write_icw1(Chip *chip, uint8_t value)
{
    chip->edges = chip->imr = chip->isr = 0;
    chip->highest = 0;
    chip->auto_eoi = chip->rotate_on_auto_eoi = false;
    chip->special_mask = chip->special_nested = false;
    chip->read_isr = chip->poll = false;
    chip->single = value & 0x02;
    chip->needs_icw4 = value & 0x01;
    chip->expects = 2;
}

static void write_icw(Chip *chip, uint8_t value)
{
    unsigned written = chip->expects;

    if (written == 2) {
        chip->base = value & 0xf8;
    } else if (written == 4) { /* ICW3 says how the board is wired: it is as it is */
        chip->auto_eoi = value & 0x02;
        chip->special_nested = value & 0x10;
    }
    if (written == 2 && !chip->single) {
        chip->expects = 3;
    } else {
        chip->expects = written != 4 && chip->needs_icw4 ? 4 : 0;
    }
}

static void write_ocw2(Chip *chip, uint8_t value)
{
    bool rotate = value & 0x80, specific = value & 0x40, end = value & 0x20;
    unsigned input = value & 7;

    if (end && !specific) {
        /* What is masked in special mask mode is not the one that has been served. */
        unsigned first = first_of(chip, chip->special_mask ? chip->isr & ~chip->imr : chip->isr);
        if (first != NONE) {
            end_of(chip, input_at(chip, first), rotate);
        }
    } else if (end) {
        end_of(chip, input, rotate);
    } else if (specific && rotate) {
        chip->highest = (input + 1) & 7;
    } else if (!specific) {
        chip->rotate_on_auto_eoi = rotate;
    }
}

static void write_ocw3(Chip *chip, uint8_t value)
{
    if (value & 0x40) {
        chip->special_mask = value & 0x20;
    }
    chip->poll = value & 0x04;
    if (value & 0x02) {
        chip->read_isr = value & 0x01;
    }
}

static void chip_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Chip *chip = opaque;
    uint8_t value = (uint8_t)data;

    (void)size;
    if (addr == 0 && value & 0x10) {
        write_icw1(chip, value);
    } else if (addr == 0 && value & 0x08) {
        write_ocw3(chip, value);
    } else if (addr == 0) {
        write_ocw2(chip, value);
    } else if (chip->expects) {
        write_icw(chip, value);
    } else {
        chip->imr = value;
    }
    update(chip->pic);
}

static uint64_t chip_read(void *opaque, hwaddr addr, unsigned size)
{
    Chip *chip = opaque;

    (void)size;
    if (chip->poll) { /* the next read is an acknowledgement, whatever its address */
        chip->poll = false;
        unsigned input = acknowledge(chip);
        update(chip->pic);
        return input == NONE ? 0 : 0x80 | input;
    }
    return addr == 1 ? chip->imr : chip->read_isr ? chip->isr : requests(chip);
}

static const MemoryRegionOps chip_ops = {
    .read = chip_read,
    .write = chip_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

/* ---- Edge or level ---------------------------------------------------------------------- */

static void set_elcr(Chip *chip, uint8_t value)
{
    chip->elcr = value & chip->elcr_rw;
    /* The slave's request stands as long as it has one. */
    chip->level = (uint8_t)(chip->elcr | (chip == &chip->pic->master ? 1 << CASCADE : 0));
    chip->edges &= (uint8_t)~chip->level;
}

static void elcr_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Chip *chip = opaque;

    (void)addr;
    (void)size;
    set_elcr(chip, (uint8_t)data);
    update(chip->pic);
}

static uint64_t elcr_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)addr;
    (void)size;
    return ((Chip *)opaque)->elcr;
}

static const MemoryRegionOps elcr_ops = {
    .read = elcr_read,
    .write = elcr_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

/* ---- Making ----------------------------------------------------------------------------- */

static void chip_reset(Chip *chip)
{
    write_icw1(chip, 0);
    chip->expects = 0;
    chip->base = 0;
    set_elcr(chip, 0);
}

/* Lines are their devices'. */
static void pic_reset(Device *device)
{
    Pic *pic = (Pic *)device;

    chip_reset(&pic->master);
    chip_reset(&pic->slave);
    update(pic);
}

static int chip_init(Pic *pic, Chip *chip, uint16_t port, uint16_t elcr_port, uint8_t elcr_rw)
{
    MemoryOwner *owner = pic->device.owner;
    MemoryRegion *io = get_system_io(pic->device.machine->ms);

    chip->pic = pic;
    chip->elcr_rw = elcr_rw;
    int result = memory_region_init_io(&chip->ports, owner, &chip_ops, chip, "pic", 2);
    if (result == 0) {
        result = device_map(&pic->device, io, port, &chip->ports, 0);
    }
    if (result == 0) {
        result = memory_region_init_io(&chip->elcr_port, owner, &elcr_ops, chip, "elcr", 1);
    }
    return result < 0 ? result : device_map(&pic->device, io, elcr_port, &chip->elcr_port, 0);
}

static void pic_unrealize(Device *device)
{
    device->machine->pic = NULL;
}

int pic_create(Machine *m)
{
    Pic *pic = device_create(m, sizeof *pic, "pic", pic_reset);

    if (!pic) {
        return -ENOMEM;
    }
    pic->device.unrealize = pic_unrealize;
    /* IRQs 0, 1, 2, 8 and 13 are edge triggered for ever. */
    int result = chip_init(pic, &pic->master, 0x20, 0x4d0, 0xf8);
    if (result == 0) {
        result = chip_init(pic, &pic->slave, 0xa0, 0x4d1, 0xde);
    }
    if (result == 0) {
        pic_reset(&pic->device);
        m->pic = pic;
    }
    return result;
}
