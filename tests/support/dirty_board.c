/* SPDX-License-Identifier: MIT */
#include "dirty_board.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine.h"

typedef struct Place {
    unsigned region;
    hwaddr addr, offset, size;
} Place;

static const Place places[] = {
    {B_RAM, 0x10000, 0, 0x8000},      {B_NEXT, 0x18000, 0, 0x2000},
    {B_RAM, 0x40400, 0x1800, 0x2000}, {B_ROM, 0x50000, 0, 0x3000},
    {B_DEV, 0x60000, 0, 0x2000},      {B_FLASH, 0x70000, 0, 0x2000},
    {B_ODD, 0x80000, 0, B_ODD_SIZE},  {B_GROW, 0x90000, 0, B_GROW_MAX},
};
#define WINDOW places[2]

static uint64_t flash_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)addr, (void)size;
    return 0;
}

static void flash_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque, (void)addr, (void)data, (void)size;
}

static const MemoryRegionOps flash_ops = {.read = flash_read, .write = flash_write};

void board_start(DirtyBoard *b)
{
    static const hwaddr sizes[B_REGIONS] = {
        [B_RAM] = 0x8000,   [B_NEXT] = 0x2000,    [B_ROM] = 0x3000,  [B_DEV] = 0x2000,
        [B_FLASH] = 0x2000, [B_ODD] = B_ODD_SIZE, [B_GROW] = 0x2000,
    };

    *b = (DirtyBoard){.ms = machine_start()};
    MemoryOwner *owner = memory_system_owner(b->ms);
    b->memory = memory_system_memory(b->ms);
    memcpy(b->size, sizes, sizeof sizes);
    memcpy(b->max_size, sizes, sizeof sizes);
    b->max_size[B_GROW] = B_GROW_MAX;
    b->odd = calloc(1, B_ODD_SIZE);
    b->dev = aligned_alloc(B_PAGE, b->size[B_DEV]);
    make_ram(b->ms, &b->mr[B_RAM], "ram", b->size[B_RAM]);
    make_ram(b->ms, &b->mr[B_NEXT], "next", b->size[B_NEXT]);
    OK(memory_region_init_rom(&b->mr[B_ROM], owner, "rom", b->size[B_ROM], NULL));
    OK(memory_region_init_ram_device_ptr(&b->mr[B_DEV], owner, "dev", b->size[B_DEV], b->dev));
    OK(memory_region_init_rom_device(&b->mr[B_FLASH], owner, &flash_ops, b, "flash",
                                     b->size[B_FLASH], NULL));
    OK(memory_region_init_ram_ptr(&b->mr[B_ODD], owner, "odd", B_ODD_SIZE, b->odd));
    OK(memory_region_init_resizeable_ram(&b->mr[B_GROW], owner, "grow", b->size[B_GROW], B_GROW_MAX,
                                         NULL, NULL));
    for (unsigned i = 0; i < B_REGIONS; i++) {
        map_at(b->ms, board_address(i), &b->mr[i]);
    }
    make_alias(b->ms, &b->window, &b->mr[B_RAM], WINDOW.offset, WINDOW.size);
    map_at(b->ms, WINDOW.addr, &b->window);
    make_container(b->ms, &b->root, "root", UINT64_MAX);
    make_alias(b->ms, &b->bus, get_system_memory(b->ms), 0, 0x100000);
    OK(memory_region_add_subregion(&b->root, B_BUS_SHIFT, &b->bus));
    OK(address_space_init(&b->dma, &b->root, "dma"));
}

void board_end(DirtyBoard *b)
{
    OK(address_space_destroy(&b->dma));
    machine_end(b->ms);
    free(b->odd);
    free(b->dev);
}

hwaddr board_address(unsigned region)
{
    for (unsigned i = 0;; i++) {
        if (places[i].region == region) {
            return places[i].addr;
        }
    }
}

hwaddr board_window(void)
{
    return WINDOW.addr;
}

bool board_find(const DirtyBoard *b, const AddressSpace *as, hwaddr addr, unsigned *region,
                hwaddr *offset)
{
    addr -= as == &b->dma ? B_BUS_SHIFT : 0;
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        const Place *p = &places[i];
        if (addr >= p->addr && addr - p->addr < p->size &&
            p->offset + (addr - p->addr) < b->size[p->region]) {
            *region = p->region;
            *offset = p->offset + (addr - p->addr);
            return true;
        }
    }
    return false;
}

static bool takes(unsigned region, BoardWrite how)
{
    switch (how) {
    case WRITE_GUEST:
        return region != B_ROM && region != B_FLASH;
    case WRITE_DEBUG:
        return region != B_FLASH;
    default:
        return region != B_DEV;
    }
}

void board_wrote(DirtyBoard *b, const AddressSpace *as, hwaddr addr, hwaddr len, BoardWrite how)
{
    unsigned region;
    hwaddr offset;

    for (hwaddr i = 0; i < len; i++) {
        if (board_find(b, as, addr + i, &region, &offset) && takes(region, how)) {
            board_marked(b, region, offset, 1);
        }
    }
}

void board_marked(DirtyBoard *b, unsigned region, hwaddr offset, hwaddr len)
{
    unsigned mask = b->own_mask[region] | b->global_mask;

    for (; len && offset < b->max_size[region]; offset++, len--) {
        for (unsigned client = 0; client < DIRTY_MEMORY_NUM; client++) {
            b->dirty[region][client][offset / B_PAGE] |= mask >> client & 1;
        }
    }
}

void board_clean(DirtyBoard *b)
{
    for (unsigned region = 0; region < B_REGIONS; region++) {
        for (unsigned client = 0; client < DIRTY_MEMORY_NUM; client++) {
            memory_region_reset_dirty(&b->mr[region], 0, UINT64_MAX, client);
        }
    }
    memset(b->dirty, 0, sizeof b->dirty);
}

void board_check(DirtyBoard *b, const char *what)
{
    for (unsigned region = 0; region < B_REGIONS; region++) {
        for (unsigned client = 0; client < DIRTY_MEMORY_NUM; client++) {
            for (hwaddr page = 0; page * B_PAGE < b->max_size[region]; page++) {
                bool is = memory_region_get_dirty(&b->mr[region], page * B_PAGE, 1, client);
                if (is != b->dirty[region][client][page]) {
                    fail_msg("%s: page %u of '%s' is %sdirty for client %u", what, (unsigned)page,
                             memory_region_name(&b->mr[region]), is ? "" : "not ", client);
                }
            }
        }
    }
}

void board_take(DirtyBoard *b, unsigned client, BoardSet *set)
{
    *set = (BoardSet){0};
    for (unsigned region = 0; region < B_REGIONS; region++) {
        for (hwaddr page = 0; page * B_PAGE < b->size[region]; page++) {
            set->dirty[region][page] = b->dirty[region][client][page];
            b->dirty[region][client][page] = 0;
        }
    }
}

void board_check_epoch(DirtyBoard *b, const DirtyEpoch *epoch, const BoardSet *set)
{
    BoardSet named = {0};
    DirtyRun run = DIRTY_RUN_INIT, last = DIRTY_RUN_INIT;
    uint64_t pages = 0;

    assert_non_null(epoch);
    while (dirty_epoch_next(epoch, &run)) {
        size_t region = (size_t)(run.mr - b->mr);
        assert_true(region < B_REGIONS);
        assert_ptr_equal(run.block, memory_region_get_ram_block(run.mr));
        assert_true(run.offset % B_PAGE == 0 && run.size);
        assert_true(run.offset + run.size <= b->max_size[region]);
        assert_true(run.mr != last.mr || run.offset > last.offset + last.size);
        for (hwaddr at = run.offset; at < run.offset + run.size; at += B_PAGE, pages++) {
            named.dirty[region][at / B_PAGE]++;
        }
        last = run;
    }
    assert_memory_equal(&named, set, sizeof named);
    assert_int_equal(dirty_epoch_pages(epoch), pages);
}

void board_set_log(DirtyBoard *b, unsigned region, bool log, unsigned client)
{
    OK(memory_region_set_log(&b->mr[region], log, client));
    b->own_mask[region] =
        (uint8_t)(log ? b->own_mask[region] | 1U << client : b->own_mask[region] & ~(1U << client));
}

void board_start_global(DirtyBoard *b, unsigned clients)
{
    OK(memory_global_dirty_log_start(b->ms, clients, NULL));
    b->global_mask |= (uint8_t)clients;
}

void board_stop_global(DirtyBoard *b, unsigned clients)
{
    OK(memory_global_dirty_log_stop(b->ms, clients, NULL));
    b->global_mask &= (uint8_t)~clients;
}
