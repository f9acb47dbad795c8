/* SPDX-License-Identifier: MIT */
/*
 * linux_rom.h - the option ROM that starts Linux, as machine code, so that any host can build it.
 *
 * Firmware finds a boot device in it (the bootstrap entry of its Plug and Play header). Chosen, it
 * has the fw_cfg device carry out the descriptors that linux.c puts behind the code, which copy
 * kernel, initrd and command line to their places, and jumps to the kernel's real-mode part. ROM
 * cannot be written to, so each descriptor is first copied to 0x7c00, where boot sectors go.
 */
#ifndef VMM_LINUX_ROM_H
#define VMM_LINUX_ROM_H

#include <stdint.h>

#define LINUX_ROM_SIZE 512
#define LINUX_ROM_CHECKSUM 5 /* a byte that nobody cares for: all of them add up to 0 */
#define LINUX_ROM_PNP 0x20   /* so do these */
#define LINUX_ROM_PNP_SIZE 32
#define LINUX_ROM_PNP_CHECKSUM 0x29
#define LINUX_ROM_DESCRIPTORS 0xa0 /* ending with one whose control word is 0 */

/* Where the real-mode part goes and how much of it there is room for; the stack ends there. */
#define LINUX_SETUP_SEGMENT 0x1000
#define LINUX_SETUP_ROOM 0xe000

/* clang-format off */
static const uint8_t linux_rom_code[] = {
    /* 00 */ 0x55, 0xaa, LINUX_ROM_SIZE / 512,
    /* 03 */ 0xcb,                               /* lret: nothing to initialise */
    /* 04 */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    /* 10 */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    /* 1a */ LINUX_ROM_PNP, 0, 0, 0, 0, 0,
    /* 20 */ '$', 'P', 'n', 'P', 1, LINUX_ROM_PNP_SIZE / 16,
    /* 26 */ 0, 0, 0, 0,                         /* no further header; checksum */
    /* 2a */ 0, 0, 0, 0,                         /* device id */
    /* 2e */ 0x40, 0, 0x40, 0,                   /* manufacturer and product: the text at 40 */
    /* 32 */ 0, 0, 0, 0,                         /* type */
    /* 36 */ 0, 0, 0, 0, 0x48, 0,                /* the bootstrap entry is 48 */
    /* 3c */ 0, 0, 0, 0,
    /* 40 */ 'L', 'i', 'n', 'u', 'x', 0, 0, 0,
    /* boot: */
    /* 48 */ 0xfc,                               /* cld */
    /* 49 */ 0x31, 0xc0,                         /* xor  %ax, %ax */
    /* 4b */ 0x8e, 0xc0,                         /* mov  %ax, %es */
    /* 4d */ 0xbe, LINUX_ROM_DESCRIPTORS, 0x00,  /* mov  $LINUX_ROM_DESCRIPTORS, %si */
    /* next: */
    /* 50 */ 0x2e, 0x66, 0x83, 0x3c, 0x00,       /* cmpl $0, %cs:(%si) */
    /* 55 */ 0x74, 0x31,                         /* je   go */
    /* 57 */ 0xbf, 0x00, 0x7c,                   /* mov  $0x7c00, %di */
    /* 5a */ 0xb9, 0x04, 0x00,                   /* mov  $4, %cx */
    /* 5d */ 0x2e, 0x66, 0xf3, 0xa5,             /* rep movsl %cs:(%si), %es:(%di) */
    /* 61 */ 0xba, 0x14, 0x05,                   /* mov  $0x514, %dx */
    /* 64 */ 0x66, 0x31, 0xc0,                   /* xor  %eax, %eax */
    /* 67 */ 0x66, 0xef,                         /* outl %eax, %dx: the address's upper half */
    /* 69 */ 0xba, 0x18, 0x05,                   /* mov  $0x518, %dx */
    /* 6c */ 0x66, 0xb8, 0x00, 0x00, 0x7c, 0x00, /* mov  $0x007c0000, %eax */
    /* 72 */ 0x66, 0xef,                         /* outl %eax, %dx: the lower one, big-endian */
    /* wait: */
    /* 74 */ 0x26, 0x66, 0xa1, 0x00, 0x7c,       /* mov  %es:0x7c00, %eax */
    /* 79 */ 0x66, 0x85, 0xc0,                   /* test %eax, %eax */
    /* 7c */ 0x74, 0xd2,                         /* jz   next */
    /* 7e */ 0x66, 0x3d, 0x00, 0x00, 0x00, 0x01, /* cmp  $0x01000000, %eax: the error bit */
    /* 84 */ 0x75, 0xee,                         /* jne  wait */
    /* 86 */ 0xcd, 0x18,                         /* int  $0x18: boot something else */
    /* go: */
    /* 88 */ 0xfa,                               /* cli */
    /* 89 */ 0xb8, 0x00, 0x10,                   /* mov  $LINUX_SETUP_SEGMENT, %ax */
    /* 8c */ 0x8e, 0xd8,                         /* mov  %ax, %ds */
    /* 8e */ 0x8e, 0xc0,                         /* mov  %ax, %es */
    /* 90 */ 0x8e, 0xe0,                         /* mov  %ax, %fs */
    /* 92 */ 0x8e, 0xe8,                         /* mov  %ax, %gs */
    /* 94 */ 0x8e, 0xd0,                         /* mov  %ax, %ss */
    /* 96 */ 0xbc, 0x00, 0xe0,                   /* mov  $LINUX_SETUP_ROOM, %sp */
    /* 99 */ 0xea, 0x00, 0x00, 0x20, 0x10,       /* ljmp $LINUX_SETUP_SEGMENT + 0x20, $0 */
    /* 9e */ 0, 0,
};
/* clang-format on */
_Static_assert(sizeof(linux_rom_code) == LINUX_ROM_DESCRIPTORS, "the descriptors come next");

#endif
