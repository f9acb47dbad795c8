/* SPDX-License-Identifier: MIT */
#include "kvm_scene.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine.h"

#define PAGE ((uint64_t)KVM_ORACLE_PAGE)
#define SPAN (KVM_ORACLE_PAGES * PAGE)

static uint64_t read_nothing(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)addr, (void)size;
    return 0;
}

static void write_nothing(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque, (void)addr, (void)data, (void)size;
}

static const MemoryRegionOps ops = {.read = read_nothing, .write = write_nothing};

/* ---- Life -------------------------------------------------------------------------------- */

static void *pages(size_t n)
{
    void *memory = aligned_alloc(PAGE, n * PAGE);

    assert_non_null(memory);
    memset(memory, 0, n * PAGE);
    return memory;
}

static void make_memory(KvmScene *s)
{
    MemoryOwner *board = memory_system_owner(s->ms);

    s->odd = pages(9);
    s->dev = pages(4);
    make_ram(s->ms, &s->mr[K_RAM], "ram", 32 * PAGE);
    make_ram(s->ms, &s->mr[K_RAM2], "ram2", 16 * PAGE);
    OK(memory_region_init_ram_ptr(&s->mr[K_ODD], board, "odd", 8 * PAGE, s->odd + 0x800));
    OK(memory_region_init_rom(&s->mr[K_ROM], board, "rom", 8 * PAGE, NULL));
    OK(memory_region_init_rom_device(&s->mr[K_FLASH], board, &ops, s, "flash", 8 * PAGE, NULL));
    OK(memory_region_init_ram_device_ptr(&s->mr[K_DEV], board, "dev", 4 * PAGE, s->dev));
    OK(memory_region_init_resizeable_ram(&s->mr[K_GROW], board, "grow", 4 * PAGE, 16 * PAGE, NULL,
                                         NULL));
}

static uint64_t random_address(KvmScene *s)
{
    static const uint64_t within[] = {1, 0x10, 0x800, 0xff0};
    uint64_t addr = rng_below(&s->rng, KVM_ORACLE_PAGES - 40) * PAGE;

    return rng_percent(&s->rng, 12) ? addr + within[rng_below(&s->rng, 4)] : addr;
}

static uint64_t random_size(KvmScene *s)
{
    static const uint64_t small[] = {0x10, 0x100, 0x800, PAGE - 1, PAGE + 1, 2 * PAGE + 0x10};

    return rng_percent(&s->rng, 15) ? small[rng_below(&s->rng, 6)]
                                    : (1 + rng_below(&s->rng, 12)) * PAGE;
}

static void make_rest(KvmScene *s)
{
    MemoryOwner *board = memory_system_owner(s->ms);

    for (unsigned i = 0; i < 6; i++) {
        OK(memory_region_init_io(&s->mr[K_MMIO + i], board, &ops, s, "mmio",
                                 i < 2 ? 0x10UL << (4 * i) : PAGE << (i - 2)));
    }
    make_container(s->ms, &s->mr[K_BOX], "box", 24 * PAGE);
    make_container(s->ms, &s->mr[K_BOX + 1], "box2", 40 * PAGE);
    for (unsigned i = K_ALIAS; i < K_REGIONS; i++) {
        make_alias(s->ms, &s->mr[i], &s->mr[rng_below(&s->rng, K_MMIO + 1)],
                   rng_below(&s->rng, 4) * PAGE, random_size(s));
    }
}

/* What SMM sees: the same board, with memory of its own over it. */
static void make_smm(KvmScene *s)
{
    make_container(s->ms, &s->smm_root, "smm", UINT64_MAX);
    make_ram(s->ms, &s->smm_ram, "smram", 4 * PAGE);
    make_alias(s->ms, &s->smm_window, &s->board, 0, SPAN);
    OK(memory_region_add_subregion(&s->smm_root, s->base, &s->smm_window));
    OK(memory_region_add_subregion_overlap(&s->smm_root, s->base + 10 * PAGE, &s->smm_ram, 1));
    OK(address_space_init(&s->smm, &s->smm_root, "smm"));
}

void kvm_scene_start(KvmScene *s, uint64_t seed, uint64_t base)
{
    memset(s, 0, sizeof *s);
    s->rng = (Rng){seed};
    s->base = base;
    s->ms = machine_start();
    for (unsigned i = 0; i < K_REGIONS; i++) {
        s->in[i] = -1;
    }
    make_memory(s);
    make_rest(s);
    make_container(s->ms, &s->board, "board", SPAN);
    map_at(s->ms, base, &s->board);
    make_smm(s);
}

void kvm_scene_end(KvmScene *s)
{
    OK(address_space_destroy(&s->smm));
    machine_end(s->ms);
    free(s->odd);
    free(s->dev);
}

/* ---- Edits ----------------------------------------------------------------------------------- */

static void did(KvmScene *s, const char *what, unsigned i, uint64_t with)
{
    size_t told = strlen(s->did);

    snprintf(s->did + told, sizeof s->did - told, "%s %u %#llx; ", what, i,
             (unsigned long long)with);
}

static int add_or_take(KvmScene *s, unsigned i)
{
    if (s->in[i] >= 0) {
        MemoryRegion *from = s->in[i] == K_REGIONS ? &s->board : &s->mr[s->in[i]];
        did(s, "take", i, 0);
        s->in[i] = -1;
        return memory_region_del_subregion(from, &s->mr[i]);
    }
    bool boxed = i != K_BOX && i != K_BOX + 1 && rng_percent(&s->rng, 30);
    int where = boxed ? K_BOX + (int)rng_below(&s->rng, 2) : K_REGIONS;
    uint64_t addr = boxed ? random_address(s) % (20 * PAGE) : random_address(s);
    did(s, "add", i, addr);
    s->in[i] = where;
    return memory_region_add_subregion_overlap(where == K_REGIONS ? &s->board : &s->mr[where], addr,
                                               &s->mr[i], (int)rng_below(&s->rng, 4));
}

static int move(KvmScene *s, unsigned i)
{
    uint64_t addr = random_address(s);

    if (rng_percent(&s->rng, 40)) { /* a short way: it overlaps itself */
        addr = memory_region_address(&s->mr[i]) + rng_below(&s->rng, 5) * PAGE;
        addr = addr >= 2 * PAGE && addr < SPAN / 2 ? addr - 2 * PAGE : addr % (SPAN / 2);
    }
    addr = s->in[i] != K_REGIONS ? addr % (20 * PAGE) : addr;
    did(s, "move", i, addr);
    return memory_region_set_address(&s->mr[i], addr);
}

static int resize(KvmScene *s, unsigned i)
{
    uint64_t size = random_size(s);

    if (i == K_GROW) {
        did(s, "grow", i, size);
        return memory_region_ram_resize(&s->mr[i], size < 16 * PAGE ? size : 16 * PAGE, NULL);
    }
    if (i < K_MMIO) {
        return move(s, i);
    }
    did(s, "resize", i, size);
    return memory_region_set_size(&s->mr[i], size);
}

static int set_flag(KvmScene *s, unsigned i)
{
    bool on = rng_percent(&s->rng, 50);

    if (i == K_FLASH && rng_percent(&s->rng, 70)) {
        did(s, "romd", i, on);
        return memory_region_rom_device_set_romd(&s->mr[i], on);
    }
    if (i < K_MMIO && rng_percent(&s->rng, 60)) {
        did(s, "log", i, on);
        return memory_region_set_log(&s->mr[i], on, rng_below(&s->rng, 2));
    }
    if (i >= K_ALIAS && rng_percent(&s->rng, 50)) {
        uint64_t offset = random_address(s) % (12 * PAGE);
        did(s, "slide", i, offset);
        return memory_region_set_alias_offset(&s->mr[i], offset);
    }
    on = rng_percent(&s->rng, 25);
    did(s, "readonly", i, on);
    return memory_region_set_readonly(&s->mr[i], on);
}

int kvm_scene_edit(KvmScene *s)
{
    unsigned i = rng_below(&s->rng, K_REGIONS), what = rng_below(&s->rng, 100);

    if (s->in[i] < 0 ? what < 95 : what < 8) {
        return add_or_take(s, i);
    }
    if (what < 30) {
        bool on = !memory_region_is_enabled(&s->mr[i]) || rng_percent(&s->rng, 30);
        did(s, "enable", i, on);
        return memory_region_set_enabled(&s->mr[i], on);
    }
    return what < 60 ? move(s, i) : what < 75 ? resize(s, i) : set_flag(s, i);
}
