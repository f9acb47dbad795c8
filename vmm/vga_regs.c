/* SPDX-License-Identifier: MIT */
/*
 * The registers of the VGA, as IBM's programming model has them, and those of the Bochs display
 * interface (docs/specs/standard-vga of QEMU). What they mean for the window is vga_planes.c's
 * business, what they mean for the text on the screen vga_text.c's; the rest is kept.
 */
#include "vga.h"

#include <string.h>

enum { MISC_COLOR = 0x01, CRTC_PROTECT = 0x80 };

/* The CRT controller and status are at 0x3dx, or at 0x3bx of a monochrome display. */
static bool is_hidden(const VgaRegs *regs, uint16_t port)
{
    bool mono = (port & 0xf0) == 0xb0, color = (port & 0xf0) == 0xd0;

    return regs->misc & MISC_COLOR ? mono : color;
}

/* ---- DAC ------------------------------------------------------------------------------- */

static uint8_t dac_read(VgaRegs *regs)
{
    uint8_t value = regs->dac[(regs->dac_read * 3U + regs->dac_part) % sizeof(regs->dac)];

    if (++regs->dac_part == 3) {
        regs->dac_part = 0;
        regs->dac_read++;
    }
    return value;
}

static void dac_write(VgaRegs *regs, uint8_t value)
{
    regs->dac[(regs->dac_write * 3U + regs->dac_part) % sizeof(regs->dac)] = value;
    if (++regs->dac_part == 3) {
        regs->dac_part = 0;
        regs->dac_write++;
    }
}

/* ---- Ports ----------------------------------------------------------------------------- */

uint8_t vga_port_read(Vga *vga, uint16_t port)
{
    VgaRegs *regs = &vga->regs;

    if (is_hidden(regs, port)) {
        return 0xff;
    }
    switch (port) {
    case 0x3c0:
        return regs->attr_data ? 0 : regs->attr_index;
    case 0x3c1:
        return regs->attr[regs->attr_index % sizeof(regs->attr)];
    case 0x3c4:
        return regs->seq_index;
    case 0x3c5:
        return regs->seq[regs->seq_index % sizeof(regs->seq)];
    case 0x3c6:
        return regs->dac_mask;
    case 0x3c7:
        return regs->dac_reading ? 3 : 0;
    case 0x3c8:
        return regs->dac_write;
    case 0x3c9:
        return dac_read(regs);
    case 0x3ca:
        return regs->feature;
    case 0x3cc:
        return regs->misc;
    case 0x3ce:
        return regs->gfx_index;
    case 0x3cf:
        return regs->gfx[regs->gfx_index % sizeof(regs->gfx)];
    case 0x3b4:
    case 0x3d4:
        return regs->crtc_index;
    case 0x3b5:
    case 0x3d5:
        return regs->crtc[regs->crtc_index % sizeof(regs->crtc)];
    case 0x3ba:
    case 0x3da: /* retrace and display enable: who waits for either edge gets it */
        regs->attr_data = false;
        return regs->status ^= 0x09;
    default:
        return 0;
    }
}

static void attr_write(VgaRegs *regs, uint8_t value)
{
    if (regs->attr_data) {
        regs->attr[regs->attr_index % sizeof(regs->attr)] = value;
    } else {
        regs->attr_index = value & 0x3f;
    }
    regs->attr_data = !regs->attr_data;
}

static void crtc_write(VgaRegs *regs, uint8_t value)
{
    unsigned index = regs->crtc_index % sizeof(regs->crtc);

    if (index <= 7 && regs->crtc[0x11] & CRTC_PROTECT) {
        if (index == 7) { /* but for the line compare bit */
            regs->crtc[7] = (uint8_t)((regs->crtc[7] & ~0x10) | (value & 0x10));
        }
        return;
    }
    regs->crtc[index] = value;
}

void vga_port_write(Vga *vga, uint16_t port, uint8_t value)
{
    VgaRegs *regs = &vga->regs;

    if (is_hidden(regs, port)) {
        return;
    }
    switch (port) {
    case 0x3c0:
        attr_write(regs, value);
        break;
    case 0x3c2:
        regs->misc = value;
        break;
    case 0x3c4:
        regs->seq_index = value;
        break;
    case 0x3c5:
        regs->seq[regs->seq_index % sizeof(regs->seq)] = value;
        break;
    case 0x3c6:
        regs->dac_mask = value;
        break;
    case 0x3c7:
        regs->dac_read = value;
        regs->dac_part = 0;
        regs->dac_reading = true;
        break;
    case 0x3c8:
        regs->dac_write = value;
        regs->dac_part = 0;
        regs->dac_reading = false;
        break;
    case 0x3c9:
        dac_write(regs, value);
        break;
    case 0x3ce:
        regs->gfx_index = value;
        break;
    case 0x3cf:
        regs->gfx[regs->gfx_index % sizeof(regs->gfx)] = value;
        break;
    case 0x3b4:
    case 0x3d4:
        regs->crtc_index = value;
        break;
    case 0x3b5:
    case 0x3d5:
        crtc_write(regs, value);
        break;
    case 0x3ba:
    case 0x3da:
        regs->feature = value;
        break;
    default:
        break;
    }
}

/* ---- Bochs display interface ----------------------------------------------------------- */

uint16_t vga_dispi_read(Vga *vga, unsigned index)
{
    static const uint16_t most[DISPI_COUNT] = {
        [DISPI_XRES] = 2560, [DISPI_YRES] = 1600, [DISPI_BPP] = 32};
    const uint16_t *regs = vga->regs.dispi;

    if (index >= DISPI_COUNT) {
        return 0;
    }
    return regs[DISPI_ENABLE] & DISPI_GET_CAPABILITIES && most[index] ? most[index] : regs[index];
}

void vga_dispi_write(Vga *vga, unsigned index, uint16_t value)
{
    VgaRegs *regs = &vga->regs;

    if (index >= DISPI_COUNT || index == DISPI_VRAM ||
        (index == DISPI_ID && (value < DISPI_FIRST_ID || value > DISPI_LAST_ID))) {
        return; /* of the versions a driver asks for, those that there are stay */
    }
    regs->dispi[index] = value;
    if (index == DISPI_BANK) {
        regs->dispi[index] = value % (VGA_VRAM_SIZE / 0x10000);
    } else if (index == DISPI_ENABLE && (value & DISPI_ON)) {
        regs->dispi[DISPI_VIRT_WIDTH] = regs->dispi[DISPI_XRES];
        regs->dispi[DISPI_VIRT_HEIGHT] = regs->dispi[DISPI_YRES];
        regs->dispi[DISPI_X_OFFSET] = regs->dispi[DISPI_Y_OFFSET] = 0;
        if (!(value & DISPI_KEEP)) {
            size_t size = (size_t)regs->dispi[DISPI_XRES] * regs->dispi[DISPI_YRES] *
                          ((regs->dispi[DISPI_BPP] + 7U) / 8);
            size = size < VGA_VRAM_SIZE ? size : VGA_VRAM_SIZE;
            memset(vga->bytes, 0, size);
            memory_region_set_dirty(&vga->vram, 0, size);
        }
    }
}

void vga_regs_reset(Vga *vga)
{
    VgaRegs *regs = &vga->regs;

    memset(regs, 0, sizeof(*regs));
    regs->dac_mask = 0xff;
    regs->dispi[DISPI_ID] = DISPI_LAST_ID;
    regs->dispi[DISPI_VRAM] = VGA_VRAM_SIZE / 0x10000;
}
