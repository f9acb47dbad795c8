/* SPDX-License-Identifier: MIT */
/*
 * ram.c - guest RAM as a VMM has it: made from options, grown by a dimm, followed page by page,
 * and put back to what it was.
 */
#include <membus/membus.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(truth)                                                                               \
    ((truth) ? (void)0                                                                             \
             : (fprintf(stderr, "failed: %s: %s\n", #truth, membus_last_error()), exit(1)))

static const MemTxAttrs attrs = MEMTXATTRS_UNSPECIFIED;

/* What a migration would send. */
static void save_dirty_pages(MemorySystem *ms, bool link_is_up)
{
    DirtyEpoch *epoch = memory_dirty_take(ms, DIRTY_MEMORY_MIGRATION, NULL);
    DirtyRun run = DIRTY_RUN_INIT;

    CHECK(epoch);
    while (dirty_epoch_next(epoch, &run)) {
        printf("  %s + 0x%05llx: %llu bytes%s\n", qemu_ram_get_idstr(run.block),
               (unsigned long long)run.offset, (unsigned long long)run.size,
               link_is_up ? "" : ", not sent");
    }
    if (link_is_up) {
        dirty_epoch_commit(epoch);
    } else {
        dirty_epoch_rollback(epoch); /* they are dirty again: the next epoch has them */
    }
}

static void show(AddressSpace *as)
{
    printf("  0x20000 holds %02x, the dimm is %s\n", address_space_ldub(as, 0x20000, attrs, NULL),
           address_space_access_valid(as, 0x100000000, 4, false, attrs) ? "there" : "not there");
}

int main(void)
{
    MemorySystem *ms = memory_system_create();
    AddressSpace *as = memory_system_memory(ms);

    puts("RAM from options, and a dimm that is plugged while the machine runs:");
    HostMemoryBackend *ram = host_memory_backend_create(
        ms, "memory-backend-memfd,id=pc.ram,size=64M,share=on,prealloc=on", NULL);
    CHECK(ram && host_memory_backend_claim(ram, "the board", NULL) == 0);
    memory_region_add_subregion(get_system_memory(ms), 0, host_memory_backend_get_memory(ram));

    CHECK(memory_devices_init(ms, 0x100000000, 1ULL << 30, 4, NULL) == 0);
    HostMemoryBackend *more =
        host_memory_backend_create(ms, "memory-backend-ram,id=m1,size=32M", NULL);
    MemoryDeviceState *dimm = memory_device_add(ms, "pc-dimm,id=dimm1,memdev=m1", NULL);
    CHECK(more && dimm);
    memory_devices_print(ms, stdout);
    mtree_print(ms, stdout, MTREE_FLAT, "memory");

    puts("Pages that are written while all RAM is logged:");
    CHECK(memory_global_dirty_log_start(ms, GLOBAL_DIRTY_MIGRATION, NULL) == 0);
    address_space_set(as, 0x20000, 0xee, 0x3000, attrs);
    address_space_stl_le(as, 0x100000ffe, 1, attrs, NULL); /* across a page border of the dimm */
    save_dirty_pages(ms, false);
    address_space_stb(as, 0x40000, 1, attrs, NULL);
    save_dirty_pages(ms, true);
    memory_global_dirty_log_stop(ms, GLOBAL_DIRTY_MIGRATION, NULL);

    puts("A snapshot, a round that goes wrong, and back:");
    MemorySnapshot *snapshot = memory_snapshot_take(ms, 0, NULL);
    CHECK(snapshot);
    address_space_set(as, 0x20000, 0, 0x100000, attrs);
    memory_region_set_enabled(memory_device_get_memory_region(dimm), false);
    show(as);
    CHECK(memory_snapshot_restore(snapshot, NULL) == 0);
    show(as);

    memory_snapshot_free(snapshot);
    CHECK(memory_device_del(dimm, NULL) == 0 && memory_devices_finalize(ms, NULL) == 0);
    memory_region_del_subregion(get_system_memory(ms), host_memory_backend_get_memory(ram));
    host_memory_backend_release(ram);
    CHECK(host_memory_backend_destroy(ram, NULL) == 0);
    CHECK(host_memory_backend_destroy(more, NULL) == 0);
    CHECK(memory_system_destroy(ms) == 0);
    return 0;
}
