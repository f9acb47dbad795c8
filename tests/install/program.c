/* SPDX-License-Identifier: MIT */
/* program.c - a program outside the tree, built with nothing but pkg-config's answers. */
#include <membus/membus.h>
#include <stdio.h>

static uint64_t read_id(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque;
    (void)size;
    return 0x600d0000 + addr;
}

static const MemoryRegionOps id_ops = {
    .read = read_id,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

int main(void)
{
    static MemoryRegion ram, id;
    MemorySystem *ms = memory_system_create();
    if (!ms) {
        fprintf(stderr, "%s\n", membus_last_error());
        return 1;
    }
    MemoryRegion *root = get_system_memory(ms);
    if (memory_region_init_ram(&ram, memory_system_owner(ms), "ram", 0x10000, NULL) ||
        memory_region_init_io(&id, memory_system_owner(ms), &id_ops, NULL, "id", 0x100) ||
        memory_region_add_subregion(root, 0, &ram) ||
        memory_region_add_subregion_overlap(root, 0x8000, &id, 1)) {
        fprintf(stderr, "%s\n", membus_last_error());
        return 1;
    }

    AddressSpace *as = memory_system_memory(ms);
    MemTxResult stored, loaded, answered, missed;
    address_space_stl_le(as, 0x1234, 0xcafef00d, MEMTXATTRS_UNSPECIFIED, &stored);
    uint32_t value = address_space_ldl_le(as, 0x1234, MEMTXATTRS_UNSPECIFIED, &loaded);
    uint32_t device = address_space_ldl_le(as, 0x8004, MEMTXATTRS_UNSPECIFIED, &answered);
    address_space_ldl_le(as, 0x20000, MEMTXATTRS_UNSPECIFIED, &missed);
    printf("%08x %08x %u%u%u%u\n", value, device, stored, loaded, answered, missed);

    if (memory_region_del_subregion(root, &id) || memory_region_del_subregion(root, &ram) ||
        memory_system_destroy(ms)) {
        fprintf(stderr, "%s\n", membus_last_error());
        return 1;
    }
    return 0;
}
