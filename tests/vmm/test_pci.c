/* SPDX-License-Identifier: MIT */
/* The PCI bus as a guest sees it: configuration cycles, BARs, bus masters, interrupts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/pci_board.h"

#define HOST AT(0, 0, 0)
#define PIIX AT(0, 1, 0)
#define VGA AT(0, 2, 0)
#define DISK AT(0, 3, 0)
#define DISK_BEHIND AT(1, 3, 0)
#define BRIDGE AT(0, 3, 0)
#define NOBODY UINT32_MAX

/* The name of what answers at @addr of memory (ports): "" for nobody. */
static const char *who(PciBoard *b, hwaddr addr)
{
    static char name[64];
    MemoryRegionSection section = memory_region_find(get_system_memory(b->m.ms), addr, 1);

    snprintf(name, sizeof(name), "%s", section.mr ? memory_region_name(section.mr) : "");
    memory_region_unref(section.mr);
    return name;
}

/* ---- Configuration cycles -------------------------------------------------------------- */

static void functions_have_their_identities(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, false);

    (void)state;
    assert_int_equal(config_readl(b, HOST, 0), 0x12378086);
    assert_int_equal(config_readl(b, PIIX, 0), 0x70008086);
    assert_int_equal(config_readl(b, VGA, 0), 0x11111234);
    assert_int_equal(config_readl(b, DISK, 0), 0x10421af4);
    assert_int_equal(config_readl(b, VGA, 8), 0x03000002);
    assert_int_equal(config_readl(b, DISK, 8), 0x01000001);
    assert_int_equal(config_readl(b, AT(0, 1, 1), 0), NOBODY);
    assert_int_equal(config_readl(b, AT(0, 9, 0), 0), NOBODY);
    assert_int_equal(config_readl(b, AT(1, 0, 0), 0), NOBODY);
    assert_int_equal(config_readl(b, AT(255, 31, 7), 0xfc), NOBODY);
    config_writel(b, AT(0, 9, 0), 4, 7); /* for nobody */
    /* Identity is read-only. */
    config_writel(b, VGA, 0, 0);
    config_writel(b, VGA, 8, 0);
    assert_int_equal(config_readl(b, VGA, 0), 0x11111234);
    assert_int_equal(config_readl(b, VGA, 8), 0x03000002);
    pci_board_end(b);
}

static void only_a_dword_selects(void **state)
{
    PciBoard *b = pci_board_start(NULL, false, false);

    (void)state;
    outl(b, 0xcf8, 0x80000000);
    outb(b, 0xcf8, 0x40);
    outw(b, 0xcf8, 0x1000);
    outw(b, 0xcfa, 0x1234);
    assert_int_equal(inl(b, 0xcf8), 0x80000000);
    assert_int_equal(inb(b, 0xcf8), 0xff);
    assert_int_equal(inw(b, 0xcfa), 0xffff);
    assert_int_equal(inl(b, 0xcfc), 0x12378086);
    assert_int_equal(inw(b, 0xcfe), 0x1237);
    assert_int_equal(inb(b, 0xcfd), 0x80);
    outl(b, 0xcf8, 0); /* not enabled */
    assert_int_equal(inl(b, 0xcfc), NOBODY);
    outb(b, 0xcf9, 0x02); /* the reset port is over it */
    assert_int_equal(inb(b, 0xcf9), 0x02);
    assert_int_equal(b->request, MACHINE_NONE);
    outb(b, 0xcf9, 0x06);
    assert_int_equal(b->request, MACHINE_RESET);
    pci_board_end(b);
}

/* As a real QEMU's were read through its monitor. */
static void capabilities_are_laid_out_as_in_qemu(void **state)
{
    static const uint32_t expected[] = {
        0x01100009, 0x00000004, 0x00000000, 0x00001000, 0x03104009, 0x00000004, 0x00001000,
        0x00001000, 0x04105009, 0x00000004, 0x00002000, 0x00001000, 0x02146009, 0x00000004,
        0x00003000, 0x00001000, 0x00000004, 0x05147009, 0x00000000, 0x00000000, 0x00000000,
        0x00000000, 0x00018411, 0x00000001, 0x00000801,
    };
    PciBoard *b = pci_board_start(board_disk, false, false);

    (void)state;
    for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_int_equal(config_readl(b, DISK, 0x40 + 4 * i), expected[i]);
    }
    assert_int_equal(config_readb(b, DISK, 0x34), 0x98);
    assert_int_equal(config_readl(b, DISK, 4) >> 16, 0x10);
    config_writel(b, DISK, 0x98, NOBODY);
    assert_int_equal(config_readl(b, DISK, 0x98), 0xc0018411);
    pci_board_end(b);
}

/* ---- BARs ------------------------------------------------------------------------------ */

static void bars_say_their_size(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, false);
    static const struct {
        uint32_t at;
        unsigned reg;
        uint32_t ones, zeros;
    } expected[] = {
        {VGA, 0x10, 0xff000008, 0x00000008}, {VGA, 0x14, 0, 0},
        {VGA, 0x18, 0xfffff000, 0},          {DISK, 0x10, 0, 0},
        {DISK, 0x14, 0xfffff000, 0},         {DISK, 0x20, 0xffffc00c, 0x0000000c},
        {DISK, 0x24, 0xffffffff, 0},         {HOST, 0x10, 0, 0},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        config_writel(b, expected[i].at, expected[i].reg, NOBODY);
        assert_int_equal(config_readl(b, expected[i].at, expected[i].reg), expected[i].ones);
        config_writel(b, expected[i].at, expected[i].reg, 0);
        assert_int_equal(config_readl(b, expected[i].at, expected[i].reg), expected[i].zeros);
    }
    pci_board_end(b);
}

/* The places that a real QEMU was seen to map a BAR at, and those that it was not. */
static void bars_are_where_they_may_be(void **state)
{
    static const struct {
        uint32_t low, high;
        bool mapped;
    } places[] = {
        {0, 0, false},
        {0, 1, true},
        {0xffffc000, 0xffffffff, false},
        {0xffff8000, 0xffffffff, true},
        {0xffffc000, 0, false}, /* under pc.bios, below */
        {0xfe000000, 0, true},
        {0xffffc000, 1, true},
        {0, 0x80000000, true},
    };
    PciBoard *b = pci_board_start(board_disk, false, false);

    (void)state;
    config_writew(b, DISK, 4, PCI_COMMAND_MEMORY);
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        hwaddr addr = places[i].low | (hwaddr)places[i].high << 32;
        config_writel(b, DISK, 0x20, places[i].low);
        config_writel(b, DISK, 0x24, places[i].high);
        if (places[i].high || places[i].low != 0xffffc000) {
            assert_int_equal(strcmp(who(b, addr), "virtio-pci-common-virtio-blk") == 0,
                             places[i].mapped);
        }
    }
    config_writew(b, VGA, 4, PCI_COMMAND_MEMORY);
    config_writel(b, VGA, 0x10, 0xff000000); /* to the end of 4 GiB: sizing, not an address */
    assert_string_equal(who(b, 0xff000000), "");
    config_writel(b, VGA, 0x10, 0xfe000000);
    assert_string_equal(who(b, 0xfeffffff), "vga.vram");
    assert_string_equal(who(b, 0xff000000), "");
    assert_string_equal(who(b, 0xfee00000), "test-apic-msi"); /* in front of it */
    pci_board_end(b);
}

static void bars_move_and_overlap(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, false);
    AddressSpace *memory = memory_system_memory(b->m.ms);
    MemTxResult result;

    (void)state;
    config_writel(b, VGA, 0x10, 0x80000000);
    config_writel(b, VGA, 0x18, 0x90000000);
    assert_string_equal(who(b, 0x80000000), ""); /* decoding is off */
    config_writew(b, VGA, 4, PCI_COMMAND_MEMORY);
    address_space_stl_le(memory, 0x80000010, 0x12345678, ATTRS, &result);
    assert_int_equal(result, MEMTX_OK);
    config_writel(b, VGA, 0x10, 0xa0000000);
    assert_string_equal(who(b, 0x80000010), "");
    assert_int_equal(address_space_ldl_le(memory, 0xa0000010, ATTRS, NULL), 0x12345678);
    /* BAR 2 over BAR 0: equal priority, so who came last is seen; then BAR 0 comes again. */
    config_writel(b, VGA, 0x18, 0xa0100000);
    assert_string_equal(who(b, 0xa0100500), "bochs dispi interface");
    assert_string_equal(who(b, 0xa0100fff), "vga.mmio");
    assert_string_equal(who(b, 0xa0101000), "vga.vram");
    config_writel(b, VGA, 0x10, 0x80000000);
    config_writel(b, VGA, 0x10, 0xa0000000);
    assert_string_equal(who(b, 0xa0100500), "vga.vram");
    /* Over RAM: RAM is in front of all of PCI. */
    config_writel(b, VGA, 0x18, 0x00100000);
    assert_string_equal(who(b, 0x00100500), "pc.ram");
    config_writew(b, VGA, 4, 0);
    assert_string_equal(who(b, 0xa0100500), "");
    pci_board_end(b);
}

static void the_rom_has_an_enable_bit(void **state)
{
    PciBoard *b = pci_board_start(NULL, false, false);

    (void)state;
    config_writel(b, VGA, 0x30, 0xfffff800);
    uint32_t size = ~(config_readl(b, VGA, 0x30) & ~1U) + 1;
    if (size == 0) {
        print_message("# no vgabios on this host\n");
        pci_board_end(b);
        skip();
    }
    config_writel(b, VGA, 0x30, 0x90000001);
    assert_string_equal(who(b, 0x90000000), "");
    config_writew(b, VGA, 4, PCI_COMMAND_MEMORY);
    assert_string_equal(who(b, 0x90000000), "vga.rom");
    assert_int_equal(address_space_lduw_le(memory_system_memory(b->m.ms), 0x90000000, ATTRS, NULL),
                     0xaa55);
    config_writel(b, VGA, 0x30, 0x90000000);
    assert_string_equal(who(b, 0x90000000), "");
    pci_board_end(b);
}

/* ---- Transactions ---------------------------------------------------------------------- */

typedef struct Watcher {
    MemoryListener listener;
    unsigned commits, adds, dels;
} Watcher;

static void count_commit(MemoryListener *listener)
{
    ((Watcher *)listener)->commits++;
}

static void count_add(MemoryListener *listener, MemoryRegionSection *section)
{
    (void)section;
    ((Watcher *)listener)->adds++;
}

static void count_del(MemoryListener *listener, MemoryRegionSection *section)
{
    (void)section;
    ((Watcher *)listener)->dels++;
}

static void a_write_is_one_commit(void **state)
{
    PciBoard *b = pci_board_start(NULL, false, false);
    Watcher w = {.listener = {.name = "watcher",
                              .commit = count_commit,
                              .region_add = count_add,
                              .region_del = count_del}};

    (void)state;
    config_writel(b, VGA, 0x10, 0x80000000);
    config_writel(b, VGA, 0x18, 0x90000000);
    assert_int_equal(memory_listener_register(&w.listener, memory_system_memory(b->m.ms)), 0);
    w.commits = w.adds = w.dels = 0;
    config_writew(b, VGA, 4, PCI_COMMAND_MEMORY); /* vram and the parts of BAR 2 */
    assert_int_equal(w.commits, 1);
    assert_true(w.adds > 2);
    config_writel(b, VGA, 0x10, 0xa0000000);
    assert_int_equal(w.commits, 2);
    assert_int_equal(w.dels, 1);
    config_writel(b, VGA, 0x10, 0xa0000000); /* nothing new */
    assert_int_equal(w.commits, 2);
    memory_listener_unregister(&w.listener);
    pci_board_end(b);
}

/* A listener that has no room for vga.vram at one place: as KVM without a free slot. */
static bool refuse(MemoryListener *listener, const FlatView *old, const FlatView *view,
                   Error **errp)
{
    MemoryRegionSection section;

    (void)listener, (void)old;
    if (!flatview_lookup(view, 0x80000000, &section)) {
        return true;
    }
    error_set(errp, ENOSPC, "no room");
    return false;
}

static void a_refused_write_is_taken_back(void **state)
{
    PciBoard *b = pci_board_start(NULL, false, false);
    MemoryListener listener = {.name = "full", .prepare = refuse};

    (void)state;
    config_writew(b, VGA, 4, PCI_COMMAND_MEMORY);
    config_writel(b, VGA, 0x10, 0x90000000);
    assert_int_equal(memory_listener_register(&listener, memory_system_memory(b->m.ms)), 0);
    config_writel(b, VGA, 0x10, 0x80000000);
    assert_int_equal(config_readl(b, VGA, 0x10), 0x90000008);
    assert_string_equal(who(b, 0x90000000), "vga.vram");
    config_writel(b, VGA, 0x10, 0xa0000000);
    assert_string_equal(who(b, 0xa0000000), "vga.vram");
    memory_listener_unregister(&listener);
    pci_board_end(b);
}

/* ---- Bus masters ----------------------------------------------------------------------- */

static PciDevice *device_at(PciBoard *b, unsigned bus, unsigned slot)
{
    return pci_find(b->m.pci, bus, PCI_DEVFN(slot, 0));
}

static void bus_masters_see_memory_while_they_may(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, false);
    AddressSpace *dma = pci_dma(device_at(b, 0, 3));
    MemTxResult result;

    (void)state;
    assert_string_equal(address_space_name(dma), "virtio-blk-pci");
    address_space_stl_le(dma, 0x2000, 0xaaaa5555, ATTRS, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    config_writew(b, DISK, 4, PCI_COMMAND_MASTER);
    address_space_stl_le(dma, 0x2000, 0xaaaa5555, ATTRS, &result);
    assert_int_equal(result, MEMTX_OK);
    assert_int_equal(address_space_ldl_le(memory_system_memory(b->m.ms), 0x2000, ATTRS, NULL),
                     0xaaaa5555);
    pci_board_reset(b);
    address_space_ldl_le(dma, 0x2000, ATTRS, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR);
    pci_board_end(b);
}

/* ---- Interrupts ------------------------------------------------------------------------ */

static void set_irq(PciBoard *b, PciDevice *pci, bool level)
{
    memory_system_lock(b->m.ms);
    pci_set_irq(pci, level);
    memory_system_unlock(b->m.ms);
}

static void pins_are_routed(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, false);
    PciDevice *pci = device_at(b, 0, 3); /* slot 3, pin A: PIRQ C */

    (void)state;
    set_irq(b, pci, true);
    for (unsigned i = 0; i < 16; i++) {
        assert_false(b->irq[i]); /* off at reset */
    }
    assert_true(config_readl(b, DISK, 4) & PCI_STATUS_INTERRUPT << 16);
    config_writeb(b, PIIX, 0x62, 11);
    assert_true(b->irq[11]);
    config_writeb(b, PIIX, 0x62, 10);
    assert_false(b->irq[11]);
    assert_true(b->irq[10]);
    config_writeb(b, PIIX, 0x62, 2); /* taken by the second PIC */
    assert_false(b->irq[10]);
    assert_false(b->irq[2]);
    config_writeb(b, PIIX, 0x62, 10);
    config_writew(b, DISK, 4, PCI_COMMAND_INTX_DISABLE);
    assert_false(b->irq[10]);
    assert_true(config_readl(b, DISK, 4) & PCI_STATUS_INTERRUPT << 16);
    config_writew(b, DISK, 4, 0);
    assert_true(b->irq[10]);
    pci_board_reset(b);
    assert_false(b->irq[10]);
    pci_board_end(b);
}

static void an_interrupt_is_a_store(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, false);
    AddressSpace *memory = memory_system_memory(b->m.ms);
    const hwaddr table = 0x90000000, pba = table + 0x800;

    (void)state;
    config_writel(b, DISK, 0x14, (uint32_t)table);
    config_writew(b, DISK, 4, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    assert_string_equal(who(b, table), "msix-table");
    assert_string_equal(who(b, pba), "msix-pba");
    assert_int_equal(address_space_ldl_le(memory, table + 12, ATTRS, NULL), 1); /* masked */
    address_space_stl_le(memory, table + 16, 0xfee01000, ATTRS, NULL);
    address_space_stl_le(memory, table + 24, 0x4041, ATTRS, NULL);
    config_writew(b, DISK, 0x9a, 0x8000);
    assert_int_equal(b->nr_msis, 0);
    assert_int_equal(address_space_ldl_le(memory, pba, ATTRS, NULL), 0);
    /* The area itself: 32 bits are a message, nothing else is. */
    address_space_stl_le(memory, 0xfee00ffc, 0x77, ATTRS, NULL);
    address_space_stw_le(memory, 0xfee00ffc, 0x78, ATTRS, NULL);
    assert_int_equal(b->nr_msis, 1);
    assert_int_equal(b->msi_addr, 0xfee00ffc);
    assert_int_equal(b->msi_data, 0x77);
    pci_board_end(b);
}

/* ---- Behind a bridge ------------------------------------------------------------------- */

static void a_bridge_passes_on_what_is_in_its_windows(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, true);

    (void)state;
    assert_int_equal(config_readl(b, BRIDGE, 0), 0x00011b36);
    assert_int_equal(config_readb(b, BRIDGE, 0xe), PCI_HEADER_TYPE_BRIDGE);
    assert_int_equal(config_readl(b, DISK_BEHIND, 0), NOBODY);
    config_writel(b, BRIDGE, 0x18, 0x00020100); /* buses 1 and 2 are behind it */
    assert_int_equal(config_readl(b, DISK_BEHIND, 0), 0x10421af4);
    assert_int_equal(config_readl(b, AT(2, 3, 0), 0), NOBODY);
    assert_int_equal(config_readl(b, AT(3, 3, 0), 0), NOBODY);
    config_writel(b, DISK_BEHIND, 0x20, 0x80004000);
    config_writel(b, DISK_BEHIND, 0x14, 0xa0000000);
    config_writew(b, DISK_BEHIND, 4, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    assert_string_equal(who(b, 0x80004000), "");
    config_writel(b, BRIDGE, 0x20, 0x80008000); /* 0x80000000 to 0x800fffff */
    config_writew(b, BRIDGE, 4, PCI_COMMAND_MEMORY);
    assert_string_equal(who(b, 0x80004000), "virtio-pci-common-virtio-blk");
    assert_string_equal(who(b, 0xa0000000), "");
    config_writel(b, BRIDGE, 0x24, 0xa000a000);
    assert_string_equal(who(b, 0xa0000000), "msix-table");
    config_writel(b, BRIDGE, 0x20, 0x80008010); /* the limit below the base */
    assert_string_equal(who(b, 0x80004000), "");
    /* 64 bits: only the prefetchable window. */
    config_writel(b, DISK_BEHIND, 0x24, 0x12);
    config_writel(b, BRIDGE, 0x28, 0x12);
    config_writel(b, BRIDGE, 0x2c, 0x12);
    config_writel(b, BRIDGE, 0x24, 0x80008000);
    assert_string_equal(who(b, 0x1280004000), "virtio-pci-common-virtio-blk");
    /* Pin A of slot 3 is pin D of the bridge in slot 3, which is PIRQ B. */
    config_writeb(b, PIIX, 0x61, 5);
    set_irq(b, device_at(b, 1, 3), true);
    assert_true(b->irq[5]);
    set_irq(b, device_at(b, 1, 3), false);
    assert_false(b->irq[5]);
    pci_board_end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_have_their_identities),
        cmocka_unit_test(only_a_dword_selects),
        cmocka_unit_test(capabilities_are_laid_out_as_in_qemu),
        cmocka_unit_test(bars_say_their_size),
        cmocka_unit_test(bars_are_where_they_may_be),
        cmocka_unit_test(bars_move_and_overlap),
        cmocka_unit_test(the_rom_has_an_enable_bit),
        cmocka_unit_test(a_write_is_one_commit),
        cmocka_unit_test(a_refused_write_is_taken_back),
        cmocka_unit_test(bus_masters_see_memory_while_they_may),
        cmocka_unit_test(pins_are_routed),
        cmocka_unit_test(an_interrupt_is_a_store),
        cmocka_unit_test(a_bridge_passes_on_what_is_in_its_windows),
    };

    return cmocka_run_group_tests(tests, board_disk_setup, board_disk_teardown);
}
