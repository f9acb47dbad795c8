/* SPDX-License-Identifier: MIT */
/* uart.c - the program of README.md: RAM, a device, and a window onto it that comes and goes. */
#include <membus/membus.h>
#include <stdio.h>

static void uart_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque, (void)addr, (void)size;
    putchar((int)data);
}

static const MemoryRegionOps uart_ops = {
    .write = uart_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 4}, /* what the guest may do */
    .impl = {.min_access_size = 1, .max_access_size = 1},  /* what the callback does */
};

int main(void)
{
    MemorySystem *ms = memory_system_create();
    MemoryOwner *board = memory_system_owner(ms);
    MemoryRegion *system = get_system_memory(ms), ram, uart, window;
    AddressSpace *as = memory_system_memory(ms);

    memory_region_init_ram(&ram, board, "ram", 1 << 20, NULL);
    memory_region_init_io(&uart, board, &uart_ops, NULL, "uart", 8);
    memory_region_init_alias(&window, board, "window", &uart, 0, 8);
    memory_region_add_subregion(system, 0, &ram);
    memory_region_add_subregion(system, 0x10000000, &uart);
    memory_region_add_subregion_overlap(system, 0x8000, &window, 1); /* in front of the RAM */

    address_space_stl_le(as, 0x8000, 0x0a216948, MEMTXATTRS_UNSPECIFIED, NULL);
    mtree_print(ms, stdout, MTREE_FLAT, "memory");

    memory_region_set_enabled(&window, false); /* now the RAM is whole */
    address_space_stl_le(as, 0x8000, 0x0a216948, MEMTXATTRS_UNSPECIFIED, NULL);
    mtree_print(ms, stdout, MTREE_FLAT, "memory");

    MemTxResult result;
    address_space_ldl_le(as, 0x20000000, MEMTXATTRS_UNSPECIFIED, &result);
    printf("0x20000000: %s\n", result & MEMTX_DECODE_ERROR ? "nobody answers" : "?");
    return memory_system_destroy(ms);
}
