/* SPDX-License-Identifier: MIT */
/*
 * The VGA's legacy window: how bytes at 0xa0000 to 0xbffff become bytes of the four planes.
 *
 * Which planes an access reaches depends on the addressing: chain-4 (the low address bits say
 * which), odd/even (text: even addresses are plane 0 and 2, odd ones 1 and 3), or planar (all that
 * the map mask says). What is written depends on the write mode of the graphics controller.
 */
#include "vga.h"

enum { /* sequencer */
       SEQ_MAP_MASK = 2,
       SEQ_MODE = 4,
       SEQ_MODE_PLANAR = 0x04, /* clear: odd/even */
       SEQ_MODE_CHAIN4 = 0x08,
};

enum { /* graphics controller */
       GFX_SET_RESET = 0,
       GFX_ENABLE_SET_RESET = 1,
       GFX_COMPARE = 2,
       GFX_ROTATE = 3,
       GFX_READ_MAP = 4,
       GFX_MODE = 5,
       GFX_MISC = 6,
       GFX_DONT_CARE = 7,
       GFX_BIT_MASK = 8,
       GFX_MODE_READ_1 = 0x08,
       GFX_MODE_ODD_EVEN = 0x10,
};

/* Where in the planes @addr of the window is; false: the window is elsewhere now. */
static bool in_window(const Vga *vga, hwaddr addr, uint32_t *offset)
{
    static const struct {
        uint32_t first, size;
    } windows[4] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};
    unsigned which = vga->regs.gfx[GFX_MISC] >> 2 & 3;

    *offset = (uint32_t)addr - windows[which].first;
    return addr >= windows[which].first && *offset < windows[which].size;
}

static uint8_t *plane(const Vga *vga, uint32_t offset, unsigned which)
{
    return &vga->bytes[4 * (offset % VGA_PLANE_SIZE) + which];
}

/* Chain-4 addresses are those of video memory, in the bank that the display interface says. */
static uint32_t chained(const Vga *vga, uint32_t offset)
{
    uint32_t bank = vga->regs.dispi[DISPI_ENABLE] & DISPI_ON ? vga->regs.dispi[DISPI_BANK] : 0;

    return (bank * 0x10000 + offset) % VGA_VRAM_SIZE;
}

/* ---- Reading --------------------------------------------------------------------------- */

static uint8_t color_compare(const VgaRegs *regs)
{
    uint8_t differs = 0;

    for (unsigned i = 0; i < 4; i++) {
        if (regs->gfx[GFX_DONT_CARE] >> i & 1) {
            uint8_t wanted = regs->gfx[GFX_COMPARE] >> i & 1 ? 0xff : 0;
            differs |= (uint8_t)(regs->latch[i] ^ wanted);
        }
    }
    return (uint8_t)~differs;
}

static uint64_t lowmem_read(void *opaque, hwaddr addr, unsigned size)
{
    Vga *vga = opaque;
    VgaRegs *regs = &vga->regs;
    unsigned map = regs->gfx[GFX_READ_MAP] & 3;
    uint32_t offset;

    (void)size;
    if (!in_window(vga, addr, &offset)) {
        return 0xff;
    }
    if (regs->seq[SEQ_MODE] & SEQ_MODE_CHAIN4) {
        return vga->bytes[chained(vga, offset)];
    }
    if (regs->gfx[GFX_MODE] & GFX_MODE_ODD_EVEN) {
        map = (map & 2) | (offset & 1);
        offset &= ~1U;
    }
    for (unsigned i = 0; i < 4; i++) {
        regs->latch[i] = *plane(vga, offset, i);
    }
    return regs->gfx[GFX_MODE] & GFX_MODE_READ_1 ? color_compare(regs) : regs->latch[map];
}

/* ---- Writing --------------------------------------------------------------------------- */

static uint8_t rotate(uint8_t value, unsigned by)
{
    return (uint8_t)(value >> by | value << (8 - by));
}

/* What write mode @mode brings into plane @which, before the bit mask. */
static uint8_t raster(const VgaRegs *regs, unsigned mode, unsigned which, uint8_t value)
{
    uint8_t set_reset = regs->gfx[GFX_SET_RESET] >> which & 1 ? 0xff : 0;
    uint8_t latch = regs->latch[which];

    if (mode == 0) {
        value = rotate(value, regs->gfx[GFX_ROTATE] & 7);
        value = regs->gfx[GFX_ENABLE_SET_RESET] >> which & 1 ? set_reset : value;
    } else if (mode == 2) {
        value = value >> which & 1 ? 0xff : 0;
    } else { /* 3 */
        value = set_reset;
    }
    switch (regs->gfx[GFX_ROTATE] >> 3 & 3) {
    case 1:
        return value & latch;
    case 2:
        return value | latch;
    case 3:
        return value ^ latch;
    default:
        return value;
    }
}

static void write_planes(Vga *vga, uint32_t offset, uint8_t planes, uint8_t value)
{
    const VgaRegs *regs = &vga->regs;
    unsigned mode = regs->gfx[GFX_MODE] & 3;
    uint8_t mask = regs->gfx[GFX_BIT_MASK];

    if (mode == 3) {
        mask &= rotate(value, regs->gfx[GFX_ROTATE] & 7);
    }
    for (unsigned i = 0; i < 4; i++) {
        if (planes >> i & 1) {
            uint8_t latch = regs->latch[i];
            *plane(vga, offset, i) =
                mode == 1 ? latch
                          : (uint8_t)((raster(regs, mode, i, value) & mask) | (latch & ~mask));
        }
    }
    memory_region_set_dirty(&vga->vram, 4 * (offset % VGA_PLANE_SIZE), 4);
}

static void lowmem_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Vga *vga = opaque;
    const VgaRegs *regs = &vga->regs;
    uint8_t planes = regs->seq[SEQ_MAP_MASK];
    uint32_t offset;

    (void)size;
    if (!in_window(vga, addr, &offset)) {
        return;
    }
    if (regs->seq[SEQ_MODE] & SEQ_MODE_CHAIN4) {
        if (planes >> (offset & 3) & 1) {
            vga->bytes[chained(vga, offset)] = (uint8_t)data;
            memory_region_set_dirty(&vga->vram, chained(vga, offset), 1);
        }
        return;
    }
    if (!(regs->seq[SEQ_MODE] & SEQ_MODE_PLANAR)) {
        planes &= offset & 1 ? 0xa : 0x5;
        offset &= ~1U;
    }
    write_planes(vga, offset, planes, (uint8_t)data);
}

const MemoryRegionOps vga_lowmem_ops = {
    .read = lowmem_read,
    .write = lowmem_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};
