/* SPDX-License-Identifier: MIT */
/*
 * test_banks.c - guests change the map themselves: what a port write asks for is there for the next
 * instruction.
 *
 * Each guest has a window of 16 pages onto one of 24 banks of RAM, a ROM or a device (code.S,
 * banks). It knows what must be where and compares; while one does so the other's map changes.
 */
#include "live.h"
#include "tests.h"
#include <string.h>

#define PAGE 4096U
#define PAGES 16U /* of a bank */
#define BANK (PAGES * PAGE)
#define RAM_BANKS 24U
#define ROM_BANKS 28U /* up to here they show the ROM, from here on the device */
#define BANKS 32U
#define ROUNDS 1000
#define WINDOWS 0x800000U
#define TABLES 0x20000U

#define ROM_WORD 0xb0b00000U
#define DEVICE_WORD 0xd0d00000U

typedef struct Bankbox {
    Live live;
    MemoryRegion ram[LIVE_CPUS_MAX], rom, device;
    struct {
        MemoryRegion ram, rom, device;
    } window[LIVE_CPUS_MAX];
} Bankbox;

static uint64_t device_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)size;
    return DEVICE_WORD + addr / PAGE;
}

static void device_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque, (void)addr, (void)data, (void)size;
}

static const MemoryRegionOps device_ops = {
    .read = device_read,
    .write = device_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

static void banks_said(LiveCpu *cpu, unsigned port, uint32_t bank)
{
    Bankbox *b = cpu->live->opaque;
    unsigned i = cpu->index;

    if (port != PORT_BANK) {
        return;
    }
    CHECK(bank < BANKS);
    memory_region_transaction_begin(b->live.ms);
    OK(memory_region_set_enabled(&b->window[i].ram, bank < RAM_BANKS));
    OK(memory_region_set_enabled(&b->window[i].rom, bank >= RAM_BANKS && bank < ROM_BANKS));
    OK(memory_region_set_enabled(&b->window[i].device, bank >= ROM_BANKS));
    if (bank < RAM_BANKS) {
        OK(memory_region_set_alias_offset(&b->window[i].ram, bank * BANK));
    }
    OK(memory_region_transaction_commit(b->live.ms));
}

static void add_window(Bankbox *b, MemoryRegion *window, MemoryRegion *target, hwaddr at)
{
    OK(memory_region_init_alias(window, b->live.board, "window", target, 0, BANK));
    OK(memory_region_set_enabled(window, false));
    OK(memory_region_add_subregion_overlap(b->live.memory, at, window, 0));
}

/* What @bank's @page has at first. */
static uint32_t first_word(unsigned bank, unsigned page)
{
    return bank < RAM_BANKS ? 0 : (bank < ROM_BANKS ? ROM_WORD : DEVICE_WORD) + page;
}

static void add_guest(Bankbox *b, unsigned i)
{
    uint32_t table[BANKS][PAGES], at = WINDOWS + i * 0x100000U;

    OK(memory_region_init_ram(&b->ram[i], b->live.board, "banks", RAM_BANKS * BANK, NULL));
    add_window(b, &b->window[i].ram, &b->ram[i], at);
    add_window(b, &b->window[i].rom, &b->rom, at);
    add_window(b, &b->window[i].device, &b->device, at);
    for (unsigned bank = 0; bank < BANKS; bank++) {
        for (unsigned page = 0; page < PAGES; page++) {
            table[bank][page] = first_word(bank, page);
        }
    }
    live_put(&b->live, TABLES + i * PAGE, table, sizeof table);
    live_cpu(
        &b->live, &code_banks, 0x1000 + i * PAGE,
        (struct kvm_regs){.rsi = at, .rdi = TABLES + i * PAGE, .rbp = ROUNDS, .rsp = 12345 + i});
}

/* What the guest wrote down is what is there. */
static void check_banks(Bankbox *b, unsigned i)
{
    for (unsigned bank = 0; bank < RAM_BANKS; bank++) {
        for (unsigned page = 0; page < PAGES; page++) {
            uint8_t *ram = memory_region_get_ram_ptr(&b->ram[i]);
            uint32_t word, expected;

            memcpy(&word, ram + bank * BANK + page * PAGE, sizeof word);
            expected = live_word(&b->live, TABLES + i * PAGE + 4 * (bank * PAGES + page));
            CHECK(word == expected, "bank %u, page %u: 0x%x instead of 0x%x", bank, page, word,
                  expected);
        }
    }
}

void test_banks(void)
{
    static const LiveCallbacks callbacks = {.said = banks_said};
    static Bankbox b;

    live_open(&b.live, NULL, &callbacks, &b);
    OK(memory_region_init_rom(&b.rom, b.live.board, "rom", BANK, NULL));
    OK(memory_region_init_io(&b.device, b.live.board, &device_ops, NULL, "device", BANK));
    for (unsigned page = 0; page < PAGES; page++) {
        uint8_t *rom = memory_region_get_ram_ptr(&b.rom);

        memcpy(rom + page * PAGE, &(uint32_t){ROM_WORD + page}, 4);
    }
    for (unsigned i = 0; i < LIVE_CPUS_MAX; i++) {
        add_guest(&b, i);
    }
    for (unsigned i = 0; i < LIVE_CPUS_MAX; i++) {
        live_start(&b.live.cpus[i]);
    }
    for (unsigned i = 0; i < LIVE_CPUS_MAX; i++) {
        live_join(&b.live.cpus[i]);
        check_banks(&b, i);
    }
    live_close(&b.live);
}
