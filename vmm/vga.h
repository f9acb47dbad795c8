/* SPDX-License-Identifier: MIT */
/*
 * vga.h - what the files of the display adapter share: vga.c, vga_regs.c, vga_planes.c.
 *
 * Video memory holds the four planes of a VGA interleaved: byte @o of plane @p is vram[4 * o + p],
 * so that in chain-4 and linear modes addresses are those of the guest.
 */
#ifndef VMM_VGA_H
#define VMM_VGA_H

#include "pci.h"

#define VGA_VRAM_SIZE (16U << 20)
#define VGA_PLANE_SIZE 0x10000U /* bytes, of what the legacy window reaches */

enum { /* bochs display interface */
       DISPI_ID,
       DISPI_XRES,
       DISPI_YRES,
       DISPI_BPP,
       DISPI_ENABLE,
       DISPI_BANK,
       DISPI_VIRT_WIDTH,
       DISPI_VIRT_HEIGHT,
       DISPI_X_OFFSET,
       DISPI_Y_OFFSET,
       DISPI_VRAM, /* in 64 KiB */
       DISPI_COUNT,
};

enum { /* DISPI_ENABLE, DISPI_ID */
       DISPI_ON = 0x01,
       DISPI_GET_CAPABILITIES = 0x02, /* the resolution registers say the highest */
       DISPI_KEEP = 0x80,             /* do not clear the memory */
       DISPI_FIRST_ID = 0xb0c0,
       DISPI_LAST_ID = 0xb0c5,
};

typedef struct VgaRegs {
    uint8_t misc, feature, status;
    uint8_t seq_index, seq[8];
    uint8_t gfx_index, gfx[16];
    uint8_t crtc_index, crtc[32];
    uint8_t attr_index, attr[32];
    bool attr_data; /* the next write to 0x3c0 is data */
    uint8_t dac_mask, dac_read, dac_write, dac_part;
    bool dac_reading;
    uint8_t dac[768];
    uint8_t latch[4];
    uint16_t dispi_index, dispi[DISPI_COUNT];
} VgaRegs;

typedef struct VgaPorts {
    Vga *vga;
    uint16_t first;
    MemoryRegion mr;
} VgaPorts;

struct Vga {
    PciDevice pci;
    MemoryRegion vram, mmio, rom, lowmem;
    MemoryRegion edid, remapped, dispi, extended; /* in mmio */
    VgaPorts ports[5];
    MemoryRegion vbe;
    uint8_t *bytes; /* of vram */
    VgaRegs regs;
    struct VgaScreen *screen; /* while somebody looks at it */
};

/* The registers at the ports 0x3b0 to 0x3df. */
uint8_t vga_port_read(Vga *vga, uint16_t port);
void vga_port_write(Vga *vga, uint16_t port, uint8_t value);
uint16_t vga_dispi_read(Vga *vga, unsigned index);
void vga_dispi_write(Vga *vga, unsigned index, uint16_t value);
void vga_regs_reset(Vga *vga);

/* The window at 0xa0000 to 0xbffff: what a CPU reads and writes there. */
extern const MemoryRegionOps vga_lowmem_ops;

/* vga_text.c: the end of looking. */
void vga_screen_end(Vga *vga);

#endif
