/* SPDX-License-Identifier: MIT */
/* tiny.c - a machine of RAM, ROM and one device, and a map that changes under a running reader. */
#include <membus/membus.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(truth) ((truth) ? (void)0 : (fprintf(stderr, "failed: %s\n", #truth), exit(1)))

static const MemTxAttrs attrs = MEMTXATTRS_UNSPECIFIED;
static atomic_ulong seen_ram, seen_rom;

static uint64_t counter_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)addr, (void)size;
    return (*(uint64_t *)opaque)++;
}

static const MemoryRegionOps counter_ops = {.read = counter_read,
                                            .endianness = DEVICE_LITTLE_ENDIAN};

/* Whenever it looks, 0x8000 shows RAM (0x11...) or the ROM's shadow (0x22...), and never a hole. */
static void *reader(void *as)
{
    while (seen_ram < 1000 || seen_rom < 1000) {
        MemTxResult result;
        uint32_t value = address_space_ldl_le(as, 0x8000, attrs, &result);
        CHECK(result == MEMTX_OK && (value == 0x11111111 || value == 0x22222222));
        atomic_fetch_add(value == 0x11111111 ? &seen_ram : &seen_rom, 1);
    }
    return NULL;
}

int main(void)
{
    MemorySystem *ms = memory_system_create();
    MemoryOwner *board = memory_system_owner(ms);
    MemoryRegion *system = get_system_memory(ms), ram, rom, counter, shadow;
    AddressSpace *as = memory_system_memory(ms);
    uint32_t firmware = 0x22222222;
    uint64_t count = 41;

    CHECK(memory_region_init_ram(&ram, board, "ram", 0x10000, NULL) == 0);
    CHECK(memory_region_init_rom(&rom, board, "rom", 0x1000, NULL) == 0);
    CHECK(memory_region_init_io(&counter, board, &counter_ops, &count, "counter", 8) == 0);
    CHECK(memory_region_init_alias(&shadow, board, "shadow", &rom, 0, 0x1000) == 0);
    CHECK(memory_region_add_subregion(system, 0, &ram) == 0);
    CHECK(memory_region_add_subregion(system, 0xf0000, &rom) == 0);
    CHECK(memory_region_add_subregion(system, 0x100000, &counter) == 0);
    CHECK(memory_region_add_subregion_overlap(system, 0x8000, &shadow, 1) == 0);

    /* RAM keeps what is written, ROM does not, the device answers through its callback. */
    CHECK(address_space_set(as, 0, 0x11, 0x8000, attrs) == MEMTX_OK);
    CHECK(address_space_write_rom(as, 0xf0000, attrs, &firmware, sizeof firmware) == MEMTX_OK);
    CHECK(address_space_set(as, 0x8000, 0, 4, attrs) != MEMTX_OK); /* the shadow is ROM */
    CHECK(address_space_ldl_le(as, 0x8000, attrs, NULL) == firmware);
    CHECK(address_space_ldl_le(as, 0x7ffc, attrs, NULL) == 0x11111111);
    CHECK(address_space_ldl_le(as, 0x100000, attrs, NULL) == 41 && count == 42);
    mtree_print(ms, stdout, MTREE_FLAT, "memory");

    /* Take the shadow away and put it back, while a reader looks at it. */
    CHECK(memory_region_set_enabled(&shadow, false) == 0);
    CHECK(address_space_set(as, 0x8000, 0x11, 0x1000, attrs) == MEMTX_OK);
    pthread_t thread;
    unsigned long commits = 0;
    CHECK(pthread_create(&thread, NULL, reader, as) == 0);
    for (; seen_ram < 1000 || seen_rom < 1000; commits++) {
        CHECK(memory_region_set_enabled(&shadow, commits % 2) == 0);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    printf("%lu commits: the reader saw RAM %lu times, ROM %lu times, and nothing else\n", commits,
           seen_ram, seen_rom);
    CHECK(memory_system_destroy(ms) == 0);
    return 0;
}
