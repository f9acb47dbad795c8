/* SPDX-License-Identifier: MIT */
/* Memory devices where they meet transactions, dirty tracking, dumps and each other's callbacks. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/dimm.h"

static MemoryRegion *region_of(const char *id)
{
    HostMemoryBackend *found = host_memory_backend_find(ms, id);

    assert_non_null(found);
    return host_memory_backend_get_memory(found);
}

static uint8_t *host_of(const char *id)
{
    return memory_region_get_ram_ptr(region_of(id));
}

static MemTxResult poke(hwaddr addr, uint8_t value)
{
    return address_space_write(memory_system_memory(ms), addr, ATTRS, &value, 1);
}

/* ---- Dirty pages ----------------------------------------------------------------- */

/* Dirty are just the pages [@first, @last] of @mr's @pages; then all are clean. */
static void dirty_are(MemoryRegion *mr, hwaddr first, hwaddr last, hwaddr pages)
{
    DirtyBitmapSnapshot *snapshot =
        memory_region_snapshot_and_clear_dirty(mr, 0, pages * 4096, DIRTY_MEMORY_MIGRATION);

    assert_non_null(snapshot);
    for (hwaddr page = 0; page < pages; page++) {
        assert_int_equal(memory_region_snapshot_get_dirty(mr, snapshot, page * 4096, 4096),
                         page >= first && page <= last);
    }
    dirty_bitmap_snapshot_free(snapshot);
}

static void what_is_discarded_is_dirty(void **state)
{
    static const char *const options[] = {"memory-backend-ram,id=m0,size=8M",
                                          "memory-backend-ram,id=m0,size=8M,share=on"};
    const hwaddr pages = 8 * MiB / 4096;

    (void)state;
    OK(memory_global_dirty_log_start(ms, 1U << DIRTY_MEMORY_MIGRATION, NULL));
    for (size_t i = 0; i < 2; i++) {
        HostMemoryBackend *m0 = backend(options[i]);
        MemoryRegion *mr = region_of("m0");
        RAMBlock *block = memory_region_get_ram_block(mr);
        dirty_are(mr, 0, pages - 1, pages); /* new */
        host_of("m0")[5 * 4096] = host_of("m0")[6 * 4096] = host_of("m0")[7 * 4096] = 1;
        OK(ram_block_discard_range(block, 4 * 4096, 3 * 4096));
        assert_int_equal(host_of("m0")[6 * 4096], 0);
        assert_int_equal(host_of("m0")[7 * 4096], 1);
        dirty_are(mr, 5, 6, pages); /* what was never touched reads as before */
        OK(ram_block_discard_range(block, 4096, 0));
        REFUSED(-EINVAL, ram_block_discard_range(block, 1, 4096));
        REFUSED(-EINVAL, ram_block_discard_range(block, 0, 8 * MiB + 4096));
        dirty_are(mr, 1, 0, pages);
        /* The requests of a guest. */
        MemoryDeviceState *v0 = add("virtio-mem-pci,id=v0,memdev=m0,requested-size=8M");
        dirty_are(mr, 7 - i, 7, pages); /* emptied: of a file, what was only read, too */
        OK(virtio_mem_plug(v0, BASE + 2 * MiB, 4 * MiB, NULL));
        dirty_are(mr, 1, 0, pages);
        assert_int_equal(poke(BASE + 2 * MiB + 4096, 7), MEMTX_OK);
        dirty_are(mr, 513, 513, pages);
        OK(virtio_mem_unplug(v0, BASE + 2 * MiB, 2 * MiB, NULL));
        dirty_are(mr, 513, 513, pages);
        memset(host_of("m0") + 4 * MiB, 1, 2 * MiB);
        OK(virtio_mem_unplug_all(v0, NULL));
        dirty_are(mr, 1024, 1535, pages);
        OK(memory_device_del(v0, NULL));
        OK(host_memory_backend_destroy(m0, NULL));
        memory_system_drain(ms);
    }
    OK(memory_global_dirty_log_stop(ms, 1U << DIRTY_MEMORY_MIGRATION, NULL));
}

static void labels_are_dirty(void **state)
{
    const hwaddr pages = 4 * MiB / 4096;
    char bytes[4097] = "label";

    (void)state;
    OK(memory_global_dirty_log_start(ms, 1U << DIRTY_MEMORY_MIGRATION, NULL));
    backend("memory-backend-ram,id=m0,size=4M");
    MemoryDeviceState *n0 = add("nvdimm,id=n0,memdev=m0,label-size=128K");
    dirty_are(region_of("m0"), 0, pages - 1, pages);
    OK(nvdimm_read_label_data(n0, bytes, sizeof bytes, 0, NULL));
    dirty_are(region_of("m0"), 1, 0, pages);
    OK(nvdimm_write_label_data(n0, bytes, sizeof bytes, 4095, NULL));
    dirty_are(region_of("m0"), pages - 32, pages - 31, pages);
    REFUSED(-EINVAL, nvdimm_write_label_data(n0, bytes, 2, 128 * 1024 - 1, NULL));
    dirty_are(region_of("m0"), 1, 0, pages);
    OK(memory_global_dirty_log_stop(ms, 1U << DIRTY_MEMORY_MIGRATION, NULL));
}

/* ---- Dumps ----------------------------------------------------------------------- */

/* The first byte of each MiB in the file @fd, of @size bytes. */
static void firsts_are(int fd, hwaddr size, const uint8_t *firsts)
{
    assert_int_equal(lseek(fd, 0, SEEK_END), size);
    for (hwaddr at = 0; at < size; at += MiB) {
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        assert_int_equal(byte, firsts[at / MiB]);
    }
}

/* A guest should not touch what is not plugged; if it has, that is in no dump. */
static void discarded_memory_is_not_dumped(void **state)
{
    static const char *const options[] = {"memory-backend-ram,id=m0,size=8M",
                                          "memory-backend-ram,id=m0,size=8M,share=on"};
    static const uint8_t plugged[8] = {0, 2, 3, 0, 0, 6, 0, 0}, all[8] = {1, 2, 3, 4, 5, 6, 7, 8};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        int fd = memfd_create("dump", MFD_CLOEXEC);
        assert_true(fd >= 0);
        HostMemoryBackend *m0 = backend(options[i]);
        RAMBlock *block = memory_region_get_ram_block(region_of("m0"));
        MemoryDeviceState *v0 =
            add("virtio-mem-pci,id=v0,memdev=m0,requested-size=8M,block-size=1M");
        OK(virtio_mem_plug(v0, BASE + MiB, 2 * MiB, NULL));
        OK(virtio_mem_plug(v0, BASE + 5 * MiB, MiB, NULL));
        for (hwaddr k = 0; k < 8; k++) {
            host_of("m0")[k * MiB] = (uint8_t)(k + 1);
        }
        OK(ram_block_save(block, fd, NULL, NULL));
        firsts_are(fd, 8 * MiB, plugged);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        OK(address_space_save(memory_system_memory(ms), BASE + MiB, 4 * MiB, fd, NULL, NULL));
        firsts_are(fd, 4 * MiB, plugged + 1);
        /* Loaded is all that the file has. */
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        OK(ftruncate(fd, 0));
        OK(ftruncate(fd, 8 * MiB));
        assert_int_equal(pwrite(fd, all, 1, 4 * MiB), 1);
        OK(ram_block_load(block, fd, NULL, NULL));
        assert_int_equal(host_of("m0")[0], 1); /* untouched */
        assert_int_equal(host_of("m0")[MiB], 0);
        assert_int_equal(host_of("m0")[4 * MiB], 1);
        OK(virtio_mem_unplug_all(v0, NULL));
        OK(memory_device_del(v0, NULL));
        for (hwaddr k = 0; k < 8; k++) {
            host_of("m0")[k * MiB] = (uint8_t)(k + 1);
        }
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        OK(ram_block_save(block, fd, NULL, NULL));
        firsts_are(fd, 8 * MiB, all);
        close(fd);
        OK(host_memory_backend_destroy(m0, NULL));
        memory_system_drain(ms);
    }
}

/* ---- Transactions ---------------------------------------------------------------- */

static int take(RamDiscardListener *rdl, MemoryRegionSection *section)
{
    (void)rdl;
    (void)section;
    return 0;
}

static void drop(RamDiscardListener *rdl, MemoryRegionSection *section)
{
    (void)rdl;
    (void)section;
}

static RamDiscardListener pin;

static void pin_added(MemoryListener *listener, MemoryRegionSection *section)
{
    RamDiscardManager *rdm = memory_region_get_ram_discard_manager(section->mr);

    (void)listener;
    if (rdm) {
        /* The device is there when its memory is. */
        assert_non_null(memory_device_find(ms, "v0"));
        OK(ram_discard_manager_register_listener(rdm, &pin, section));
    }
}

static void pin_removed(MemoryListener *listener, MemoryRegionSection *section)
{
    RamDiscardManager *rdm = memory_region_get_ram_discard_manager(section->mr);

    (void)listener;
    if (rdm) {
        assert_non_null(memory_device_find(ms, "v0"));
        OK(ram_discard_manager_unregister_listener(rdm, &pin));
    }
}

/* Who listens learns of unplugging from region_del, which a transaction puts off. */
static void a_pinned_device_stays_for_the_transaction(void **state)
{
    MemoryListener listener = {.region_add = pin_added, .region_del = pin_removed};

    (void)state;
    ram_discard_listener_init(&pin, take, drop, false);
    backend("memory-backend-ram,id=m0,size=4M");
    OK(memory_listener_register(&listener, memory_system_memory(ms)));
    MemoryDeviceState *v0 = add("virtio-mem-pci,id=v0,memdev=m0,requested-size=4M");
    assert_non_null(pin.manager);
    memory_region_transaction_begin(ms);
    int said = memory_device_del(v0, NULL);
    OK(memory_region_transaction_commit(ms));
    assert_int_equal(said, -EBUSY);
    SAYS("virtio-mem 'v0': RAM discard listeners are registered, which cannot be told within a "
         "transaction that it goes");
    assert_non_null(pin.manager);
    OK(memory_device_del(v0, NULL));
    assert_null(pin.manager);
    /* One that nobody has seen can be taken back. */
    memory_region_transaction_begin(ms);
    v0 = add("virtio-mem-pci,id=v0,memdev=m0,requested-size=4M");
    OK(virtio_mem_plug(v0, BASE, 2 * MiB, NULL));
    OK(virtio_mem_unplug_all(v0, NULL));
    OK(memory_device_del(v0, NULL));
    OK(memory_region_transaction_commit(ms));
    assert_null(pin.manager);
    OK(memory_listener_unregister(&listener));
}

/* ---- Refusals -------------------------------------------------------------------- */

static MemoryDeviceState *plugged;
static int grumbled;

/* Fails in its callback, with a sentence of its own. */
static void grumble(RamDiscardListener *rdl, MemoryRegionSection *section)
{
    (void)rdl;
    (void)section;
    REFUSED(-EBUSY, virtio_mem_unplug_all(plugged, NULL));
    REFUSED(-EBUSY, memory_device_del(plugged, NULL));
    grumbled++;
}

static int refuse(RamDiscardListener *rdl, MemoryRegionSection *section)
{
    (void)rdl;
    return section->offset_within_region >= 2 * MiB ? -ENOSPC : 0;
}

static void a_refusal_keeps_its_sentence(void **state)
{
    static const char sentence[] = "RAM 'm0': listener 'B' refuses to have 0x200000-0x3fffff "
                                   "populated: No space left on device";
    RamDiscardListener a, b;

    (void)state;
    backend("memory-backend-ram,id=m0,size=4M");
    plugged = add("virtio-mem-pci,id=v0,memdev=m0,requested-size=4M");
    MemoryRegion *mr = memory_device_get_memory_region(plugged);
    RamDiscardManager *rdm = memory_region_get_ram_discard_manager(mr);
    MemoryRegionSection section = {.mr = mr, .size = 4 * MiB};
    ram_discard_listener_init(&a, take, grumble, false);
    ram_discard_listener_init(&b, refuse, grumble, false);
    b.name = "B";
    OK(ram_discard_manager_register_listener(rdm, &a, &section));
    OK(ram_discard_manager_register_listener(rdm, &b, &section));
    Error *err = NULL;
    assert_int_equal(virtio_mem_plug(plugged, BASE + 2 * MiB, 2 * MiB, &err), -ENOSPC);
    assert_string_equal(error_get_pretty(err), sentence);
    error_free(err);
    assert_int_equal(grumbled, 1);
    OK(ram_discard_manager_unregister_listener(rdm, &b));
    /* Registering, too. */
    section.offset_within_region = 4096;
    section.size -= 4096;
    OK(virtio_mem_plug(plugged, BASE + 2 * MiB, 2 * MiB, NULL));
    REFUSED(-ENOSPC, ram_discard_manager_register_listener(rdm, &b, &section));
    SAYS(sentence);
    OK(ram_discard_manager_unregister_listener(rdm, &a));
    assert_int_equal(grumbled, 2);
}

static void ids_are_checked(void **state)
{
    MemoryDeviceConfig config = MEMORY_DEVICE_CONFIG_INIT;
    char longest[130];

    (void)state;
    backend("memory-backend-ram,id=m0,size=4M");
    refused("pc-dimm,id=1st,memdev=m0", EINVAL,
            "a memory device's id has 0x31 as character 0: an id begins with a letter and goes on "
            "with letters, digits, '-', '.' and '_'");
    refused("pc-dimm,id=d\n0,memdev=m0", EINVAL,
            "a memory device's id has 0x0a as character 1: an id begins with a letter and goes on "
            "with letters, digits, '-', '.' and '_'");
    refused("nvdimm,id=d\xc3\xa4,memdev=m0", EINVAL,
            "a memory device's id has 0xc3 as character 1: an id begins with a letter and goes on "
            "with letters, digits, '-', '.' and '_'");
    memset(longest, 'x', 128);
    longest[128] = '\0';
    config.id = longest;
    config.memdev = host_memory_backend_find(ms, "m0");
    assert_null(memory_device_add_config(ms, &config, NULL));
    SAYS("memory device 'xxxxxxxxxxxxxxxxxxxx...': an id of 128 bytes is longer than 127");
    longest[127] = '\0';
    MemoryDeviceState *md = memory_device_add_config(ms, &config, NULL);
    assert_non_null(md);
    OK(memory_device_del(md, NULL));
    OK(memory_device_del(add("pc-dimm,id=a.Z-9_,memdev=m0"), NULL));
    assert_null(memory_device_add_config(ms, NULL, NULL));
    SAYS("a memory device: config is NULL");
    assert_null(memory_device_add(ms, NULL, NULL));
    OK(memory_device_del(NULL, NULL));
    assert_null(memory_device_find(ms, NULL));
}

static void managers_come_before_views(void **state)
{
    AddressSpace as;

    (void)state;
    backend("memory-backend-ram,id=m0,size=4M");
    MemoryRegion *mr = region_of("m0");
    OK(address_space_init(&as, mr, "bare"));
    refused("virtio-mem-pci,id=v0,memdev=m0", EBUSY,
            "RAM 'm0' is mapped through an address space: its discard manager cannot change");
    assert_false(memory_region_has_ram_discard_manager(mr));
    OK(address_space_destroy(&as));
    memory_system_drain(ms);
    add("virtio-mem-pci,id=v0,memdev=m0");
}

/* ---- Snapshots ------------------------------------------------------------------- */

static MemorySnapshot *take_snapshot(void)
{
    MemorySnapshot *snapshot = memory_snapshot_take(ms, 0, NULL);

    assert_non_null(snapshot);
    return snapshot;
}

/* Memory devices stay as they are: plugged ... */
static void restored_to_before_the_device(void **state)
{
    static const char *const devices[] = {"pc-dimm,id=d0,memdev=m0", "nvdimm,id=d0,memdev=m0",
                                          "virtio-mem-pci,id=d0,memdev=m0"};

    (void)state;
    backend("memory-backend-ram,id=m0,size=4M");
    for (size_t i = 0; i < 3; i++) {
        MemorySnapshot *snapshot = take_snapshot();
        MemoryDeviceState *md = add(devices[i]);
        assert_int_equal(poke(BASE, 1), MEMTX_OK);
        OK(memory_snapshot_restore(snapshot, NULL));
        assert_int_equal(poke(BASE, 1), MEMTX_OK);
        OK(memory_device_del(md, NULL));
        assert_int_equal(poke(BASE, 1), MEMTX_DECODE_ERROR);
        memory_snapshot_free(snapshot);
        OK(memory_device_del(add(devices[i]), NULL));
    }
}

/* ... or unplugged, their place and their backend being free. */
static void restored_to_before_unplugging(void **state)
{
    (void)state;
    HostMemoryBackend *m0 = backend("memory-backend-ram,id=m0,size=4M");
    MemoryDeviceState *md = add("pc-dimm,id=d0,memdev=m0");
    assert_int_equal(poke(BASE, 7), MEMTX_OK);
    MemorySnapshot *snapshot = take_snapshot();
    assert_int_equal(poke(BASE, 8), MEMTX_OK);
    OK(memory_device_del(md, NULL));
    OK(memory_snapshot_restore(snapshot, NULL));
    memory_snapshot_free(snapshot);
    assert_int_equal(poke(BASE + 1, 1), MEMTX_DECODE_ERROR);
    assert_int_equal(host_of("m0")[0], 7); /* what is in the memory goes back */
    OK(memory_device_del(add("pc-dimm,id=d0,memdev=m0"), NULL));
    OK(host_memory_backend_destroy(m0, NULL));
}

static unsigned long resident_pages(void)
{
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");

    assert_non_null(statm);
    assert_int_equal(fscanf(statm, "%*u %lu", &pages), 1);
    fclose(statm);
    return pages;
}

/* What was given back is kept, and comes back. */
static void restored_to_before_a_discard(void **state)
{
    (void)state;
    backend("memory-backend-ram,id=m0,size=512M");
    MemoryDeviceState *v0 = add("virtio-mem-pci,id=v0,memdev=m0,requested-size=4M");
    OK(virtio_mem_plug(v0, BASE, 4 * MiB, NULL));
    assert_int_equal(poke(BASE + 2 * MiB, 7), MEMTX_OK);
    MemorySnapshot *snapshot = take_snapshot();
    unsigned long before = resident_pages();
    OK(virtio_mem_unplug_all(v0, NULL));
    assert_true(resident_pages() < before + 64 * MiB / 4096); /* no copy of nothing */
    assert_int_equal(host_of("m0")[2 * MiB], 0);
    OK(virtio_mem_plug(v0, BASE, 4 * MiB, NULL));
    assert_int_equal(poke(BASE + 3 * MiB, 7), MEMTX_OK); /* was not kept before */
    OK(memory_snapshot_restore(snapshot, NULL));
    assert_int_equal(host_of("m0")[2 * MiB], 7);
    assert_int_equal(host_of("m0")[3 * MiB], 0);
    assert_int_equal(query(v0).size, 4 * MiB);
    memory_snapshot_free(snapshot);
}

/* ---- From a device's callback ---------------------------------------------------- */

enum { PLUG, REPLACE, UNPLUG };

/* The guest's orders at a register: each is done when the store is. */
static void obey(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    HostMemoryBackend *m0 = host_memory_backend_find(ms, "m0");

    (void)opaque;
    (void)addr;
    (void)size;
    if (value == PLUG) {
        backend("memory-backend-ram,id=m0,size=4M");
        add("pc-dimm,id=d0,memdev=m0");
    } else if (value == REPLACE) {
        OK(memory_device_del(memory_device_find(ms, "d0"), NULL));
        MemoryDeviceState *v0 = add("virtio-mem-pci,id=v0,memdev=m0,requested-size=4M");
        OK(virtio_mem_plug(v0, BASE, 2 * MiB, NULL));
        OK(virtio_mem_unplug_all(v0, NULL));
    } else {
        OK(memory_device_del(memory_device_find(ms, "v0"), NULL));
        OK(host_memory_backend_destroy(m0, NULL));
    }
}

static void a_device_plugs(void **state)
{
    static const MemoryRegionOps ops = {.write = obey};
    static MemoryRegion mmio; /* until the machine ends */

    (void)state;
    OK(memory_region_init_io(&mmio, memory_system_owner(ms), &ops, NULL, "hotplug", 4096));
    map_at(ms, 0x1000, &mmio);
    for (int round = 0; round < 20; round++) {
        assert_int_equal(poke(BASE, 1), MEMTX_DECODE_ERROR);
        assert_int_equal(poke(0x1000, PLUG), MEMTX_OK);
        assert_int_equal(poke(BASE, 1), MEMTX_OK);
        assert_int_equal(poke(0x1000, REPLACE), MEMTX_OK);
        assert_int_equal(poke(BASE, 1), MEMTX_OK);
        assert_int_equal(poke(0x1000, UNPLUG), MEMTX_OK);
    }
    unmap(ms, &mmio);
}

/* ---- Addresses at the end -------------------------------------------------------- */

static int place(hwaddr align, hwaddr size, hwaddr *addr)
{
    return memory_device_get_free_addr(ms, NULL, align, size, addr, NULL);
}

static void the_end_of_all_addresses(void **state)
{
    const hwaddr top = UINT64_MAX - 8 * MiB + 1, half = 1ULL << 63;
    hwaddr addr = 1;

    (void)state;
    OK(memory_devices_finalize(ms, NULL));
    OK(memory_devices_init(ms, top, 8 * MiB, 0, NULL));
    backend("memory-backend-ram,id=m0,size=2M");
    backend("memory-backend-ram,id=m1,size=2M");
    /* The last 2 MiB, then the middle: each gap is found, and none behind the end. */
    add("virtio-mem-pci,id=v0,memdev=m0,memaddr=0xffffffffffe00000");
    OK(place(2 * MiB, 6 * MiB, &addr));
    assert_int_equal(addr, top);
    REFUSED(-EEXIST, memory_device_get_free_addr(ms, &(hwaddr){top + 4 * MiB}, 4 * MiB, 4 * MiB,
                                                 &addr, NULL));
    OK(place(4 * MiB, 4 * MiB, &addr));
    assert_int_equal(addr, top);
    add("virtio-mem-pci,id=v1,memdev=m1,memaddr=0xffffffffffa00000");
    addr = 1;
    REFUSED(-ENOSPC, place(4 * MiB, 4 * MiB, &addr));
    REFUSED(-ENOSPC, place(16 * MiB, 16 * MiB, &addr));
    REFUSED(-ENOSPC, place(half, half, &addr));
    REFUSED(-EINVAL, place(half, 2 * MiB, &addr));
    REFUSED(-EINVAL, place(0, 2 * MiB, &addr));
    REFUSED(-ERANGE, memory_device_get_free_addr(ms, &(hwaddr){0}, 1, 1, &addr, NULL));
    assert_int_equal(addr, 1);
    OK(place(1, 1, &addr));
    assert_int_equal(addr, top);
    OK(memory_device_del(memory_device_find(ms, "v0"), NULL));
    OK(memory_device_del(memory_device_find(ms, "v1"), NULL));
    OK(memory_devices_finalize(ms, NULL));
    /* Half of all. */
    OK(memory_devices_init(ms, half, half, 0, NULL));
    OK(place(half, half, &addr));
    assert_int_equal(addr, half);
    add("virtio-mem-pci,id=v0,memdev=m0,memaddr=0xffffffffffe00000");
    REFUSED(-ENOSPC, place(half, half, &addr));
    OK(place(half / 2, half / 2, &addr));
    assert_int_equal(addr, half);
    add("virtio-mem-pci,id=v1,memdev=m1");
    REFUSED(-ENOSPC, place(half / 2, half / 2, &addr));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_discarded_is_dirty, setup, teardown),
        cmocka_unit_test_setup_teardown(labels_are_dirty, setup, teardown),
        cmocka_unit_test_setup_teardown(discarded_memory_is_not_dumped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pinned_device_stays_for_the_transaction, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_keeps_its_sentence, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(managers_come_before_views, setup, teardown),
        cmocka_unit_test_setup_teardown(restored_to_before_the_device, setup, teardown),
        cmocka_unit_test_setup_teardown(restored_to_before_unplugging, setup, teardown),
        cmocka_unit_test_setup_teardown(restored_to_before_a_discard, setup, teardown),
        cmocka_unit_test_setup_teardown(a_device_plugs, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_of_all_addresses, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
