/* SPDX-License-Identifier: MIT */
/*
 * make_trace FILE - write a trace of a small PC that shadows its firmware, moves a BAR, has a CPU
 * come and go and opens SMRAM to it.
 */
#include <membus/membus.h>

#include <stdio.h>
#include <stdlib.h>

static uint64_t rip;

static bool where(void *opaque, uint64_t *value)
{
    (void)opaque;
    *value = rip;
    return rip;
}

static void must(int result)
{
    if (result) {
        fprintf(stderr, "make_trace: %s\n", membus_last_error());
        exit(1);
    }
}

static MemoryRegion ram, bios, shadow, vga, bar, view, all, smram;
static AddressSpace cpu;

static void build(MemorySystem *ms)
{
    MemoryOwner *board = memory_system_owner(ms);
    MemoryRegion *system = get_system_memory(ms);

    must(memory_region_init_ram_unbacked(&ram, board, "pc.ram", 0x1000000));
    must(memory_region_init_ram_unbacked(&bios, board, "pc.bios", 0x20000));
    must(memory_region_set_readonly(&bios, true));
    must(memory_region_init_alias(&shadow, board, "pam-ram", &ram, 0xf0000, 0x10000));
    must(memory_region_init_alias(&smram, board, "smram", &ram, 0xa0000, 0x20000));
    must(memory_region_init_io(&vga, board, NULL, NULL, "vga-lowmem", 0x20000));
    must(memory_region_init_io(&bar, board, NULL, NULL, "e1000-mmio", 0x20000));
    must(memory_region_set_enabled(&shadow, false));
    must(memory_region_set_enabled(&smram, false));
    must(memory_region_add_subregion(system, 0, &ram));
    must(memory_region_add_subregion_overlap(system, 0xa0000, &vga, 1));
    must(memory_region_add_subregion_overlap(system, 0xe0000, &bios, 1));
    must(memory_region_add_subregion_overlap(system, 0xf0000, &shadow, 2));
    must(memory_region_init(&view, board, "cpu-view", UINT64_MAX));
    must(memory_region_init_alias(&all, board, "system", system, 0, UINT64_MAX));
    must(memory_region_add_subregion(&view, 0, &all));
    must(memory_region_add_subregion_overlap(&view, 0xa0000, &smram, 1));
}

static void run(MemorySystem *ms)
{
    MemoryRegion *system = get_system_memory(ms);

    must(address_space_init(&cpu, &view, "cpu-memory-0")); /* 1 */
    rip = 0xfffd41ac;
    must(memory_region_set_enabled(&shadow, true)); /* 2 */
    rip = 0xf1234;
    must(memory_region_add_subregion(system, 0xfebc0000, &bar)); /* 3 */
    memory_region_transaction_begin(ms);
    must(memory_region_set_address(&bar, 0xfec00000));
    must(memory_region_set_readonly(&shadow, true));
    must(memory_region_transaction_commit(ms));     /* 4 */
    must(memory_region_set_enabled(&smram, true));  /* 5 */
    must(memory_region_set_enabled(&smram, false)); /* 6 */
    rip = 0;
    must(address_space_destroy(&cpu)); /* 7 */
}

int main(int argc, char **argv)
{
    const MapTraceConfig config = {.where = where};
    MemorySystem *ms = memory_system_create();
    Error *err = NULL;

    if (argc != 2 || !ms) {
        return 1;
    }
    build(ms);
    MapTrace *trace = map_trace_create(ms, argv[1], &config, &err);
    if (!trace) {
        fprintf(stderr, "make_trace: %s\n", error_get_pretty(err));
        return 1;
    }
    run(ms);
    must(map_trace_stop(trace, NULL));
    return 0; /* what is left goes with the process */
}
