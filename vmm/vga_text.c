/* SPDX-License-Identifier: MIT */
/*
 * The text on the VGA's screen, kept up by dirty logging as a display would: while somebody
 * looks, video memory is logged, and thirty times a second what was written is read again. A
 * second or two after the last look that ends.
 */
#include "devices.h"
#include "vga.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REFRESH_NS (INT64_C(1000000000) / 30)
#define PATIENCE 60 /* refreshes nobody has looked at */
#define MAX_COLUMNS 256U
#define MAX_ROWS 128U

/* What the registers make of video memory. */
typedef struct Layout {
    unsigned columns, rows;
    unsigned start, pitch; /* in cells: the first one, and from line to line */
} Layout;

struct VgaScreen {
    Vga *vga;
    Timer timer;
    unsigned unseen; /* refreshes since the last look */
    Layout layout;
    char text[MAX_ROWS][MAX_COLUMNS];
};

/* Cell @i is at the even offset 2 * i of the planes: its character in plane 0. */
static hwaddr cell_at(unsigned i)
{
    return 4 * (hwaddr)(2 * i % VGA_PLANE_SIZE);
}

static bool is_text(const Vga *vga)
{
    return !(vga->regs.gfx[6] & 1) && !(vga->regs.dispi[DISPI_ENABLE] & DISPI_ON);
}

static Layout layout_now(const Vga *vga)
{
    const uint8_t *crtc = vga->regs.crtc;
    unsigned lines = crtc[0x12] + (crtc[7] & 0x02 ? 0x100U : 0) + (crtc[7] & 0x40 ? 0x200U : 0) + 1;
    unsigned rows = lines / ((crtc[9] & 0x1fU) + 1), columns = crtc[1] + 1U;

    return (Layout){
        .columns = columns < MAX_COLUMNS ? columns : MAX_COLUMNS,
        .rows = rows < MAX_ROWS ? rows : MAX_ROWS,
        .start = crtc[0xcU] * 0x100U + crtc[0xd],
        .pitch = crtc[0x13] * 2U,
    };
}

static char printable(uint8_t c)
{
    return c == 0 || c == 0xff ? ' ' : c < 0x20 || c >= 0x7f ? '.' : (char)c;
}

/* Whether a cell of line @row may have been written. */
static bool line_is_dirty(Vga *vga, const DirtyBitmapSnapshot *snapshot, const Layout *layout,
                          unsigned row)
{
    unsigned first = layout->start + row * layout->pitch, last = first + layout->columns - 1;
    hwaddr from = cell_at(first), to = cell_at(last);

    if (to < from) { /* around the end of the planes */
        return true;
    }
    return memory_region_snapshot_get_dirty(&vga->vram, snapshot, from, to - from + 4);
}

static void read_line(struct VgaScreen *screen, unsigned row)
{
    const Layout *layout = &screen->layout;

    for (unsigned i = 0; i < layout->columns; i++) {
        unsigned cell = layout->start + row * layout->pitch + i;
        screen->text[row][i] = printable(screen->vga->bytes[cell_at(cell)]);
    }
}

static void refresh(struct VgaScreen *screen, bool all)
{
    Vga *vga = screen->vga;
    Layout layout = layout_now(vga);
    DirtyBitmapSnapshot *snapshot =
        memory_region_snapshot_and_clear_dirty(&vga->vram, 0, 4 * VGA_PLANE_SIZE, DIRTY_MEMORY_VGA);

    all |= !snapshot || memcmp(&layout, &screen->layout, sizeof(layout)) != 0;
    screen->layout = layout;
    for (unsigned row = 0; row < layout.rows; row++) {
        if (all || line_is_dirty(vga, snapshot, &layout, row)) {
            read_line(screen, row);
        }
    }
    dirty_bitmap_snapshot_free(snapshot);
}

void vga_screen_end(Vga *vga)
{
    if (vga->screen) {
        timer_stop(&vga->screen->timer);
        memory_region_set_log(&vga->vram, false, DIRTY_MEMORY_VGA);
        free(vga->screen);
        vga->screen = NULL;
    }
}

static void tick(void *opaque)
{
    struct VgaScreen *screen = opaque;

    if (++screen->unseen > PATIENCE) {
        vga_screen_end(screen->vga);
        return;
    }
    refresh(screen, false);
    timer_set(&screen->timer, machine_clock(screen->timer.machine) + REFRESH_NS);
}

static int begin(Vga *vga)
{
    Machine *m = vga->pci.device.machine;
    struct VgaScreen *screen = calloc(1, sizeof(*screen));

    if (!screen) {
        return error_set(NULL, ENOMEM, "the screen: memory is short");
    }
    int result = memory_region_set_log(&vga->vram, true, DIRTY_MEMORY_VGA);
    if (result) {
        free(screen);
        return result;
    }
    screen->vga = vga;
    vga->screen = screen;
    timer_init(&screen->timer, m, tick, screen);
    timer_set(&screen->timer, machine_clock(m) + REFRESH_NS);
    refresh(screen, true);
    return 0;
}

int vga_text(Vga *vga, FILE *out)
{
    int result = 0;

    if (!is_text(vga)) {
        return error_set(NULL, ENOTSUP, "the screen is not in a text mode");
    }
    if (vga->screen) {
        refresh(vga->screen, false);
    } else {
        result = begin(vga);
    }
    if (!result) {
        struct VgaScreen *screen = vga->screen;
        screen->unseen = 0;
        for (unsigned row = 0; row < screen->layout.rows; row++) {
            int length = (int)screen->layout.columns;
            while (length > 0 && screen->text[row][length - 1] == ' ') {
                length--;
            }
            fprintf(out, "%.*s\n", length, screen->text[row]);
        }
    }
    return result;
}
