/* SPDX-License-Identifier: MIT */
/*
 * Configuration space written to at random, in every width. After each write nobody answers whose
 * registers, read back, say otherwise, and somebody does where one says so. There is a VGA on the
 * host's bus, and a disk behind a bridge.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/pci_board.h"

#define VGA AT(0, 2, 0)
#define BRIDGE AT(0, 3, 0)
#define DISK AT(1, 3, 0)

/* ---- What the registers say ------------------------------------------------------------ */

typedef struct Window {
    hwaddr first, last; /* first > last: nothing */
} Window;

static const Window nothing = {1, 0};

static bool contains(Window w, hwaddr addr)
{
    return w.first <= addr && addr <= w.last;
}

static Window bar(PciBoard *b, uint32_t at, unsigned reg, bool wide, hwaddr size)
{
    hwaddr addr = config_readl(b, at, reg) & 0xfffffff0, top = wide ? UINT64_MAX : UINT32_MAX;

    if (wide) {
        addr |= (hwaddr)config_readl(b, at, reg + 4) << 32;
    }
    assert_int_equal(addr % size, 0);
    if (!(config_readb(b, at, 4) & PCI_COMMAND_MEMORY) || addr == 0 || addr > top - size) {
        return nothing;
    }
    return (Window){addr, addr + size - 1};
}

static Window bridge_window(PciBoard *b, bool prefetchable)
{
    uint32_t both = config_readl(b, BRIDGE, prefetchable ? 0x24 : 0x20);
    hwaddr first = (hwaddr)(both & 0xfff0) << 16, last = (both & 0xfff00000) | 0xfffff;

    if (prefetchable) {
        first |= (hwaddr)config_readl(b, BRIDGE, 0x28) << 32;
        last |= (hwaddr)config_readl(b, BRIDGE, 0x2c) << 32;
    }
    return config_readb(b, BRIDGE, 4) & PCI_COMMAND_MEMORY ? (Window){first, last} : nothing;
}

/* The BARs of which a part, at least, is somebody's; the names begin so. */
static const struct Part {
    uint32_t at;
    unsigned reg;
    bool wide;
    hwaddr size, offset, length; /* of the BAR; of the part in it */
    const char *name;
} parts[] = {
    {VGA, 0x10, false, 16 << 20, 0, 16 << 20, "vga.vram"},
    {VGA, 0x18, false, 0x1000, 0x400, 0x20, "vga ioports remapped"},
    {DISK, 0x14, false, 0x1000, 0, 0x20, "msix-table"},
    {DISK, 0x20, true, 0x4000, 0x1000, 0x1000, "virtio-pci-isr"},
};
#define NR_PARTS (sizeof(parts) / sizeof(parts[0]))

static bool answers(PciBoard *b, const struct Part *part, hwaddr addr)
{
    Window w = bar(b, part->at, part->reg, part->wide, part->size);

    return contains(w, addr) && addr - w.first - part->offset < part->length &&
           (part->at == VGA || contains(bridge_window(b, false), addr) ||
            contains(bridge_window(b, true), addr));
}

static void check(PciBoard *b, hwaddr addr)
{
    MemoryRegionSection section = memory_region_find(&b->m.pci_memory, addr, 1);
    const char *name = section.mr ? memory_region_name(section.mr) : "";

    for (size_t i = 0; i < NR_PARTS; i++) {
        bool answered = answers(b, &parts[i], addr);
        assert_true(answered || strncmp(name, parts[i].name, strlen(parts[i].name)) != 0);
        assert_true(*name || !answered); /* it, or one in front of it */
    }
    memory_region_unref(section.mr);
}

/* ---- Writing --------------------------------------------------------------------------- */

static uint32_t interesting(void)
{
    static const uint32_t values[] = {0,          UINT32_MAX, 0x80000000, 0x80100000, 0x81000000,
                                      0x80008000, 0x80108000, 0x81008100, 0xfff0fff0, 0xfff00000,
                                      0x80000400, 0xfffff000, 0xff000000, 0xfee00000, 1};

    return rand() % 4 ? values[(unsigned)rand() % (sizeof(values) / sizeof(values[0]))]
                      : (uint32_t)rand() << 8;
}

static void write_something(PciBoard *b)
{
    static const uint32_t functions[] = {VGA, BRIDGE, DISK};
    static const unsigned registers[] = {4, 0x10, 0x14, 0x18, 0x20, 0x24, 0x28, 0x2c, 0x30};
    uint32_t at = functions[rand() % 3];
    unsigned reg = registers[(unsigned)rand() % 9], byte = (unsigned)rand() & 3;

    if (at == BRIDGE && reg == 0x18) {
        return; /* the numbers of the buses stay */
    }
    if (rand() % 8 == 0) {
        config_writeb(b, at, 4, (unsigned)rand() % 4 ? 7 : 0);
    } else if (rand() % 3) {
        config_writel(b, at, reg, interesting());
    } else if (rand() & 1) {
        config_writew(b, at, reg + (byte & 2), interesting() & 0xffff);
    } else {
        config_writeb(b, at, reg + byte, interesting() & 0xff);
    }
}

static void who_answers_is_what_registers_say(void **state)
{
    static const hwaddr probes[] = {0x80000000,         0x80000400,        0x80001000, 0x80101000,
                                    0x81000000,         0xfffff000,        0xff000000, 0x180001000,
                                    0xffffffff80001000, 0xfffffffffff01000};
    PciBoard *b = pci_board_start(board_disk, false, true);
    unsigned found = 0;

    (void)state;
    config_writel(b, BRIDGE, 0x18, 0x00010100);
    srand(5);
    for (unsigned i = 0; i < 6000; i++) {
        write_something(b);
        for (size_t k = 0; k < sizeof(probes) / sizeof(probes[0]); k++) {
            check(b, probes[k]);
        }
        for (size_t k = 0; k < NR_PARTS; k++) {
            Window w = bar(b, parts[k].at, parts[k].reg, parts[k].wide, parts[k].size);
            if (w.first <= w.last) {
                check(b, w.first + parts[k].offset);
                found += answers(b, &parts[k], w.first + parts[k].offset);
            }
        }
    }
    assert_true(found > 1000);
    pci_board_end(b);
}

/* 2^64 bytes have a size, too. */
static void a_window_may_be_all_there_is(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, true);

    (void)state;
    config_writel(b, BRIDGE, 0x18, 0x00010100);
    config_writel(b, BRIDGE, 0x24, 0xfff00000);
    config_writel(b, BRIDGE, 0x28, 0);
    config_writel(b, BRIDGE, 0x2c, UINT32_MAX);
    config_writew(b, BRIDGE, 4, PCI_COMMAND_MEMORY);
    config_writel(b, DISK, 0x20, 0x80000000);
    config_writel(b, DISK, 0x24, 0xffffff00);
    config_writew(b, DISK, 4, PCI_COMMAND_MEMORY);
    assert_true(answers(b, &parts[3], 0xffffff0080001000));
    check(b, 0xffffff0080001000);
    pci_board_end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_answers_is_what_registers_say),
        cmocka_unit_test(a_window_may_be_all_there_is),
    };

    return cmocka_run_group_tests(tests, board_disk_setup, board_disk_teardown);
}
