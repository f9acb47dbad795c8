/* SPDX-License-Identifier: MIT */
/* VGA: what the legacy window does to video memory, against a naive model; text on the screen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/pci_board.h"
#include "vmm/vga.h"

#define VGA AT(0, 2, 0)
#define WINDOW 0xa0000U

static void seq(PciBoard *b, unsigned index, unsigned value)
{
    outw(b, 0x3c4, value << 8 | index);
}

static void gfx(PciBoard *b, unsigned index, unsigned value)
{
    outw(b, 0x3ce, value << 8 | index);
}

static void crtc(PciBoard *b, unsigned index, unsigned value)
{
    outw(b, 0x3d4, value << 8 | index);
}

static void store(PciBoard *b, hwaddr addr, unsigned value)
{
    address_space_stb(memory_system_memory(b->m.ms), addr, (uint8_t)value, ATTRS, NULL);
}

static uint8_t load(PciBoard *b, hwaddr addr)
{
    return address_space_ldub(memory_system_memory(b->m.ms), addr, ATTRS, NULL);
}

/* ---- Planes ---------------------------------------------------------------------------- */

typedef struct Model {
    uint8_t seq[8], gfx[16], latch[4];
    uint8_t planes[4][0x10000];
} Model;

/* Offset in the window that the miscellaneous register shows, -1: outside. */
static int offset_in(const Model *v, unsigned addr)
{
    switch (v->gfx[6] >> 2 & 3) {
    case 0:
        return (int)addr;
    case 1:
        return addr < 0x10000 ? (int)addr : -1;
    case 2:
        return addr >= 0x10000 && addr < 0x18000 ? (int)addr - 0x10000 : -1;
    default:
        return addr >= 0x18000 ? (int)addr - 0x18000 : -1;
    }
}

static bool bit(unsigned value, unsigned n)
{
    return value >> n & 1;
}

/* One bit of one plane at a time. */
static void model_write(Model *v, unsigned addr, unsigned value)
{
    int offset = offset_in(v, addr);
    unsigned turn = v->gfx[3] & 7, mode = v->gfx[5] & 3, rotated = (value | value << 8) >> turn;

    if (offset < 0) {
        return;
    }
    for (unsigned p = 0; p < 4; p++) {
        if (!bit(v->seq[2], p)) {
            continue;
        }
        if (v->seq[4] & 8) { /* chain-4 */
            if ((offset & 3) == (int)p) {
                v->planes[p][(offset >> 2) & 0xffff] = (uint8_t)value;
            }
            continue;
        }
        bool odd_even = !(v->seq[4] & 4);
        if (odd_even && (offset & 1) != (int)(p & 1)) {
            continue;
        }
        uint8_t *byte = &v->planes[p][(odd_even ? offset & ~1 : offset) & 0xffff];
        for (unsigned i = 0; i < 8; i++) {
            bool mask = bit(v->gfx[8], i), latch = bit(v->latch[p], i), in;
            switch (mode) {
            case 0:
                in = bit(v->gfx[1], p) ? bit(v->gfx[0], p) : bit(rotated, i);
                break;
            case 1:
                *byte = v->latch[p];
                continue;
            case 2:
                in = bit(value, p);
                break;
            default:
                in = bit(v->gfx[0], p);
                mask = mask && bit(rotated, i);
            }
            switch (v->gfx[3] >> 3 & 3) {
            case 1:
                in = in && latch;
                break;
            case 2:
                in = in || latch;
                break;
            case 3:
                in = in != latch;
                break;
            default:
                break;
            }
            bool out = mask ? in : latch;
            *byte = (uint8_t)((*byte & ~(1U << i)) | (unsigned)out << i);
        }
    }
}

static uint8_t model_read(Model *v, unsigned addr)
{
    int offset = offset_in(v, addr);
    unsigned map = v->gfx[4] & 3, equal = 0;

    if (offset < 0) {
        return 0xff;
    }
    if (v->seq[4] & 8) {
        return v->planes[offset & 3][(offset >> 2) & 0xffff];
    }
    if (v->gfx[5] & 0x10) {
        map = (map & 2) | (unsigned)(offset & 1);
        offset &= ~1;
    }
    for (unsigned p = 0; p < 4; p++) {
        v->latch[p] = v->planes[p][offset & 0xffff];
    }
    if (!(v->gfx[5] & 8)) {
        return v->latch[map];
    }
    for (unsigned i = 0; i < 8; i++) {
        bool same = true;
        for (unsigned p = 0; p < 4; p++) {
            same &= !bit(v->gfx[7], p) || bit(v->latch[p], i) == bit(v->gfx[2], p);
        }
        equal |= (unsigned)same << i;
    }
    return (uint8_t)equal;
}

static void the_window_writes_planes(void **state)
{
    PciBoard *b = pci_board_start(NULL, false, false);
    Model *v = calloc(1, sizeof(*v));
    const uint8_t *vram = b->m.vga->bytes;

    (void)state;
    srand(3);
    for (unsigned i = 0; i < 60000; i++) {
        unsigned addr = (unsigned)rand() % 4
                            ? (unsigned)rand() % 64 + 0x8000U * ((unsigned)rand() % 4)
                            : (unsigned)rand() % 0x20000;
        unsigned value = (unsigned)rand() & 0xff, index = (unsigned)rand() % 9;
        switch (rand() % 8) {
        case 0:
            v->gfx[index] = (uint8_t)value;
            gfx(b, index, value);
            break;
        case 1:
            index = rand() & 1 ? 2 : 4;
            v->seq[index] = (uint8_t)value;
            seq(b, index, value);
            break;
        case 2:
        case 3:
        case 4:
            assert_int_equal(load(b, WINDOW + addr), model_read(v, addr));
            break;
        default:
            model_write(v, addr, value);
            store(b, WINDOW + addr, value);
        }
    }
    for (unsigned i = 0; i < 0x40000; i++) {
        assert_int_equal(vram[i], v->planes[i % 4][i / 4]);
    }
    free(v);
    pci_board_end(b);
}

/* ---- Text ------------------------------------------------------------------------------ */

/* The registers that count, as for mode 3. */
static void set_text_mode(PciBoard *b)
{
    outb(b, 0x3c2, 0x67);
    seq(b, 2, 3);
    seq(b, 4, 2);
    gfx(b, 5, 0x10);
    gfx(b, 6, 0x0e);
    gfx(b, 8, 0xff);
    crtc(b, 0x11, 0);
    crtc(b, 1, 79);
    crtc(b, 7, 0x1f);
    crtc(b, 9, 0x4f);
    crtc(b, 0x12, 0x8f);
    crtc(b, 0x13, 40);
}

static void type(PciBoard *b, unsigned row, unsigned column, const char *text)
{
    for (hwaddr at = 0xb8000 + 2 * (80 * row + column); *text; at += 2) {
        store(b, at, (uint8_t)*text++);
        store(b, at + 1, 7);
    }
}

/* Line @row of the screen, without its end. */
static const char *line(PciBoard *b, unsigned row)
{
    static char text[128 * 257];
    FILE *out = fmemopen(text, sizeof(text), "w");
    char *at = text;

    memory_system_lock(b->m.ms);
    assert_int_equal(vga_text(b->m.vga, out), 0);
    memory_system_unlock(b->m.ms);
    fclose(out);
    while (row-- > 0) {
        at = strchr(at, '\n') + 1;
    }
    *strchr(at, '\n') = '\0';
    return at;
}

static void text_is_on_the_screen(void **state)
{
    PciBoard *b = pci_board_start(NULL, false, false);

    (void)state;
    set_text_mode(b);
    type(b, 0, 0, "hello");
    type(b, 24, 75, "world");
    assert_string_equal(line(b, 0), "hello");
    assert_int_equal(strlen(line(b, 24)), 80);
    assert_string_equal(line(b, 24) + 75, "world");
    /* While somebody looks: dirty pages only, also of writes to BAR 0. */
    assert_int_not_equal(memory_region_get_dirty_log_mask(&b->m.vga->vram), 0);
    type(b, 0, 0, "H");
    assert_string_equal(line(b, 0), "Hello");
    config_writel(b, VGA, 0x10, 0x80000000);
    config_writew(b, VGA, 4, PCI_COMMAND_MEMORY);
    store(b, 0x80000000 + 8, 'E');
    pci_board_run(b, 100000000);
    assert_string_equal(line(b, 0), "HEllo");
    crtc(b, 0xd, 80 * 24 & 0xff); /* scrolled, without a write to memory */
    crtc(b, 0xc, 80 * 24 >> 8);
    assert_string_equal(line(b, 0) + 75, "world");
    /* Nobody looks any more. */
    pci_board_run(b, 5000000000);
    assert_int_equal(memory_region_get_dirty_log_mask(&b->m.vga->vram), 0);
    assert_null(b->timers);
    gfx(b, 6, 0x0f);
    assert_int_not_equal(vga_text(b->m.vga, stderr), 0); /* graphics */
    pci_board_end(b);
}

/* ---- The display interface ------------------------------------------------------------- */

static void the_display_interface_answers(void **state)
{
    PciBoard *b = pci_board_start(NULL, false, false);

    (void)state;
    config_writel(b, VGA, 0x18, 0x90000000);
    config_writew(b, VGA, 4, PCI_COMMAND_MEMORY);
    outw(b, 0x1ce, DISPI_ID);
    outw(b, 0x1cf, 0xb0c2);
    assert_int_equal(inw(b, 0x1cf), 0xb0c2);
    outw(b, 0x1d0, 0x1234);
    assert_int_equal(inw(b, 0x1d0), 0xb0c2);
    outw(b, 0x1ce, DISPI_VRAM);
    assert_int_equal(inw(b, 0x1d0), 256);
    outw(b, 0x1ce, DISPI_XRES);
    outw(b, 0x1d0, 1024);
    assert_int_equal(address_space_lduw_le(memory_system_memory(b->m.ms), 0x90000502, ATTRS, NULL),
                     1024);
    outw(b, 0x1ce, 0xffff);
    assert_int_equal(inw(b, 0x1d0), 0);
    /* All of memory, and more than there is. */
    for (unsigned i = 1; i < 4; i++) {
        outw(b, 0x1ce, i);
        outw(b, 0x1d0, 0xffff);
    }
    outw(b, 0x1ce, DISPI_ENABLE);
    outw(b, 0x1d0, 1);
    assert_int_equal(inw(b, 0x1d0), 1);
    pci_board_end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_window_writes_planes),
        cmocka_unit_test(text_is_on_the_screen),
        cmocka_unit_test(the_display_interface_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
