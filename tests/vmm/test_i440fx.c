/* SPDX-License-Identifier: MIT */
/*
 * The host bridge's PAM and SMRAM registers, every value of them, by reads and writes of memory.
 * Each place has three memories behind it, told apart by what is in them: RAM, ROM on the bus, and
 * video memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/pci_board.h"

#define HOST AT(0, 0, 0)
#define VGA AT(0, 2, 0)
#define PAM 0x59
#define SMRAM 0x72
#define IN_RAM 0x5a
#define IN_ROM 0xc3

static uint8_t *ram(PciBoard *b, hwaddr addr)
{
    return (uint8_t *)memory_region_get_ram_ptr(&b->ram) + addr;
}

/* What the bus has at @addr, 0xc0000 and above: pc.rom, or the end of pc.bios. */
static uint8_t *rom(PciBoard *b, hwaddr addr)
{
    return addr < 0xe0000
               ? (uint8_t *)memory_region_get_ram_ptr(&b->m.option_rom) + (addr - 0xc0000)
               : (uint8_t *)memory_region_get_ram_ptr(&b->m.bios) + (addr - 0xe0000) +
                     (BIOS_SIZE - 0x20000);
}

static uint8_t load(PciBoard *b, hwaddr addr)
{
    return address_space_ldub(memory_system_memory(b->m.ms), addr, ATTRS, NULL);
}

static void store(PciBoard *b, hwaddr addr, uint8_t value)
{
    address_space_stb(memory_system_memory(b->m.ms), addr, value, ATTRS, NULL);
}

/* ---- PAM ------------------------------------------------------------------------------- */

/* The segments as the data sheet lists them: registers 0x59 to 0x5f, the half, the range. */
static const struct Segment {
    unsigned reg, shift;
    hwaddr first, last;
} segments[] = {
    {0x59, 4, 0xf0000, 0xfffff}, {0x5a, 0, 0xc0000, 0xc3fff}, {0x5a, 4, 0xc4000, 0xc7fff},
    {0x5b, 0, 0xc8000, 0xcbfff}, {0x5b, 4, 0xcc000, 0xcffff}, {0x5c, 0, 0xd0000, 0xd3fff},
    {0x5c, 4, 0xd4000, 0xd7fff}, {0x5d, 0, 0xd8000, 0xdbfff}, {0x5d, 4, 0xdc000, 0xdffff},
    {0x5e, 0, 0xe0000, 0xe3fff}, {0x5e, 4, 0xe4000, 0xe7fff}, {0x5f, 0, 0xe8000, 0xebfff},
    {0x5f, 4, 0xec000, 0xeffff},
};
#define NR_SEGMENTS (sizeof(segments) / sizeof(segments[0]))

/* Whether @addr reads from RAM, and what a write there changes, with @mode (RE 1, WE 2). */
static void check_place(PciBoard *b, hwaddr addr, unsigned mode)
{
    /* A write-only segment reads RAM, too: one alias cannot do both, in QEMU neither. */
    bool reads_ram = mode != 0, writes_ram = mode & 2;

    *ram(b, addr) = IN_RAM;
    *rom(b, addr) = IN_ROM;
    assert_int_equal(load(b, addr), reads_ram ? IN_RAM : IN_ROM);
    store(b, addr, 0x77);
    assert_int_equal(*ram(b, addr), writes_ram ? 0x77 : IN_RAM);
    assert_int_equal(*rom(b, addr), IN_ROM);
    assert_int_equal(load(b, addr), writes_ram ? 0x77 : reads_ram ? IN_RAM : IN_ROM);
}

static void check_segments(PciBoard *b)
{
    for (unsigned i = 0; i < NR_SEGMENTS; i++) {
        const struct Segment *s = &segments[i];
        unsigned mode = config_readb(b, HOST, s->reg) >> s->shift & 3;
        check_place(b, s->first, mode);
        check_place(b, s->last, mode);
        check_place(b, (s->first + s->last) / 2, mode);
    }
}

static void each_value_of_each_register(void **state)
{
    PciBoard *b = pci_board_start(NULL, false, false);

    (void)state;
    for (unsigned reg = PAM; reg < PAM + 7; reg++) {
        for (unsigned value = 0; value < 256; value++) {
            config_writeb(b, HOST, reg, value);
            assert_int_equal(config_readb(b, HOST, reg), value);
            if ((value & 0xcc) == 0 || value == 0xff) {
                check_segments(b);
            }
        }
        config_writeb(b, HOST, reg, reg & 1 ? 0x12 : 0x21);
    }
    pci_board_reset(b);
    check_segments(b);
    assert_int_equal(load(b, 0xf0000), IN_ROM);
    pci_board_end(b);
}

static void registers_may_be_written_together(void **state)
{
    PciBoard *b = pci_board_start(NULL, false, false);

    (void)state;
    srand(1);
    for (unsigned i = 0; i < 2000; i++) {
        uint32_t value = (uint32_t)rand() << 8 ^ (uint32_t)rand();
        switch (rand() % 3) {
        case 0:
            config_writel(b, HOST, rand() & 1 ? 0x58 : 0x5c, value);
            break;
        case 1:
            config_writew(b, HOST, 0x58 + 2 * (unsigned)(rand() % 4), value & 0xffff);
            break;
        default:
            config_writeb(b, HOST, PAM + (unsigned)(rand() % 7), value & 0xff);
        }
        check_segments(b);
    }
    pci_board_end(b);
}

static void a_bus_master_sees_the_same(void **state)
{
    PciBoard *b = pci_board_start(NULL, false, false);
    AddressSpace *dma = pci_dma(pci_find(b->m.pci, 0, PCI_DEVFN(2, 0)));

    (void)state;
    config_writew(b, VGA, 4, PCI_COMMAND_MASTER);
    *ram(b, 0xf1234) = IN_RAM;
    *rom(b, 0xf1234) = IN_ROM;
    assert_int_equal(address_space_ldub(dma, 0xf1234, ATTRS, NULL), IN_ROM);
    config_writeb(b, HOST, PAM, 0x10);
    assert_int_equal(address_space_ldub(dma, 0xf1234, ATTRS, NULL), IN_RAM);
    pci_board_end(b);
}

/* ---- SMRAM ----------------------------------------------------------------------------- */

typedef struct SmmView {
    MemoryRegion root, smram, system;
    AddressSpace as;
} SmmView;

/* As a CPU's address space in system management mode. */
static SmmView *smm_view_start(PciBoard *b)
{
    SmmView *v = calloc(1, sizeof(*v));
    MemoryOwner *board = memory_system_owner(b->m.ms);
    MemoryRegion *system = get_system_memory(b->m.ms);

    assert_int_equal(memory_region_init(&v->root, board, "memory", UINT64_MAX), 0);
    assert_int_equal(memory_region_init_alias(&v->system, board, "memory", system, 0, UINT64_MAX),
                     0);
    assert_int_equal(
        memory_region_init_alias(&v->smram, board, "smram", &b->m.smram, 0, UINT64_C(1) << 32), 0);
    assert_int_equal(memory_region_add_subregion(&v->root, 0, &v->system), 0);
    assert_int_equal(memory_region_add_subregion_overlap(&v->root, 0, &v->smram, 1), 0);
    assert_int_equal(address_space_init(&v->as, &v->root, "cpu-smm-0"), 0);
    return v;
}

static void smm_view_end(PciBoard *b, SmmView *v)
{
    assert_int_equal(address_space_destroy(&v->as), 0);
    memory_system_drain(b->m.ms);
    assert_int_equal(memory_region_del_subregion(&v->root, &v->smram), 0);
    assert_int_equal(memory_region_del_subregion(&v->root, &v->system), 0);
    memory_system_drain(b->m.ms);
    assert_int_equal(memory_region_finalize(&v->smram), 0);
    assert_int_equal(memory_region_finalize(&v->system), 0);
    assert_int_equal(memory_region_finalize(&v->root), 0);
    free(v);
}

/* What the data sheet says of the register: a model of one byte. */
typedef struct Smram {
    bool open, close, lock, enable;
} Smram;

static void model_write(Smram *r, unsigned value)
{
    bool locked = r->lock && r->enable;

    r->close = value & 0x20;
    if (locked) {
        return; /* the others are read-only until reset */
    }
    r->open = value & 0x40;
    r->lock = value & 0x10;
    r->enable = value & 0x08;
    if (r->lock && r->enable) {
        r->open = false;
    }
}

static void check_smram(PciBoard *b, SmmView *v, const Smram *r)
{
    static const hwaddr places[] = {0xa0000, 0xaffff, 0xb8000, 0xbffff};
    bool seen_by_all = r->enable && r->open, seen_in_smm = r->enable;

    for (unsigned i = 0; i < 4; i++) {
        *ram(b, places[i]) = IN_RAM;
        assert_int_equal(load(b, places[i]) == IN_RAM, seen_by_all);
        assert_int_equal(address_space_ldub(&v->as, places[i], ATTRS, NULL) == IN_RAM,
                         seen_by_all || seen_in_smm);
        store(b, places[i], 0x11);
        assert_int_equal(*ram(b, places[i]) == 0x11, seen_by_all);
        address_space_stb(&v->as, places[i], 0x22, ATTRS, NULL);
        assert_int_equal(*ram(b, places[i]) == 0x22, seen_by_all || seen_in_smm);
    }
    uint8_t reg = config_readb(b, HOST, SMRAM);
    assert_int_equal(!!(reg & 0x40), r->open);
    assert_int_equal(!!(reg & 0x10), r->lock);
    assert_int_equal(!!(reg & 0x08), r->enable);
}

static void each_pair_of_values(void **state)
{
    PciBoard *b = pci_board_start(NULL, false, false);
    SmmView *v = smm_view_start(b);

    (void)state;
    assert_int_equal(config_readb(b, HOST, SMRAM), 0x02);
    for (unsigned first = 0; first < 128; first += 8) {
        for (unsigned second = 0; second < 128; second += 8) {
            Smram model = {0};
            pci_board_reset(b);
            check_smram(b, v, &model);
            config_writeb(b, HOST, SMRAM, first | 2);
            model_write(&model, first);
            check_smram(b, v, &model);
            config_writeb(b, HOST, SMRAM, second | 2);
            model_write(&model, second);
            check_smram(b, v, &model);
        }
    }
    smm_view_end(b, v);
    pci_board_end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_value_of_each_register),
        cmocka_unit_test(registers_may_be_written_together),
        cmocka_unit_test(a_bus_master_sees_the_same),
        cmocka_unit_test(each_pair_of_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
