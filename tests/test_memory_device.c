/* SPDX-License-Identifier: MIT */
/* Memory devices: where they go, what is refused, what the guest and listeners see. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "support/dimm.h"

/* ---- The area ------------------------------------------------------------------------------ */

static void areas_are_checked(void **state)
{
    MemoryDeviceState *md;

    (void)state;
    assert_int_equal(memory_region_size(memory_devices_region(ms)), 5 * GiB);
    assert_int_equal(memory_region_address(memory_devices_region(ms)), BASE);
    assert_string_equal(memory_region_name(memory_devices_region(ms)), "device-memory");
    REFUSED(-EBUSY, memory_devices_init(ms, BASE, GiB, 1, NULL));
    SAYS("there is an area for memory devices already, at 0x100000000");
    backend("memory-backend-ram,id=m0,size=2M");
    md = add("pc-dimm,id=d0,memdev=m0");
    REFUSED(-EBUSY, memory_devices_finalize(ms, NULL));
    SAYS("memory device 'd0' is still plugged");
    OK(memory_device_del(md, NULL));
    OK(memory_devices_finalize(ms, NULL));
    OK(memory_devices_finalize(ms, NULL));
    assert_null(memory_devices_region(ms));
    refused("pc-dimm,id=d0,memdev=m0", ENODEV,
            "memory device 'd0': the machine has no area for memory devices (memory_devices_init)");
    hwaddr addr;
    REFUSED(-ENODEV, memory_device_get_free_addr(ms, NULL, 4096, 4096, &addr, NULL));
    REFUSED(-EINVAL, memory_devices_init(ms, BASE, GiB, 257, NULL));
    SAYS("257 slots for memory devices are more than 256");
    REFUSED(-EINVAL, memory_devices_init(ms, BASE, 0, 1, NULL));
    REFUSED(-EINVAL, memory_devices_init(ms, BASE + 1, GiB, 1, NULL));
    REFUSED(-EINVAL, memory_devices_init(ms, BASE, GiB + 1, 1, NULL));
    REFUSED(-EINVAL, memory_devices_init(ms, UINT64_MAX - 4095, 8192, 0, NULL));
    REFUSED(-EINVAL, memory_devices_init(ms, 0, UINT64_MAX - 4095, 1, NULL));
    /* Up to the last byte. */
    OK(memory_devices_init(ms, UINT64_MAX - 2 * MiB + 1, 2 * MiB, 0, NULL));
    OK(memory_device_get_free_addr(ms, NULL, 2 * MiB, 2 * MiB, &addr, NULL));
    assert_int_equal(addr, UINT64_MAX - 2 * MiB + 1);
    REFUSED(-ENOSPC, memory_device_get_free_addr(ms, NULL, 4 * MiB, 4 * MiB, &addr, NULL));
    OK(memory_devices_finalize(ms, NULL));
    OK(memory_devices_init(ms, BASE, GiB, 0, NULL));
    refused("pc-dimm,id=d0,memdev=m0", ENOSPC,
            "memory device 'd0': none of the machine's 0 slots is free");
    refused("pc-dimm,id=d0,memdev=m0,slot=0", EINVAL,
            "memory device 'd0': there is no slot 0: the machine has 0");
}

/* ---- Refusals ------------------------------------------------------------------------------ */

static void options_are_checked(void **state)
{
    (void)state;
    backend("memory-backend-ram,id=m0,size=4M");
    refused("", EINVAL,
            "'' is no kind of memory device: options begin with pc-dimm, nvdimm or virtio-mem-pci");
    refused("pc-dimmer,id=d0", EINVAL,
            "'pc-dimmer' is no kind of memory device: options begin with pc-dimm, nvdimm or "
            "virtio-mem-pci");
    refused("pc-dimm,id=d0", ENODEV, "memory device 'd0' has no memory backend (memdev)");
    refused("pc-dimm,id=d0,memdev=nope", ENODEV,
            "memory device 'd0': there is no memory backend 'nope'");
    refused("pc-dimm,id=d0,colour=red", EINVAL,
            "pc-dimm: no key 'colour': there are id, memdev, addr, slot, node, hotplugged");
    refused("pc-dimm,id=d0,memdev", EINVAL, "pc-dimm: 'memdev' has no value: write KEY=VALUE");
    refused("pc-dimm,id=d0,id=d1", EINVAL, "pc-dimm: id=d1: id is given twice");
    refused("pc-dimm,id=", EINVAL, "pc-dimm: id= is empty");
    refused("pc-dimm,block-size=2M", EINVAL, "pc-dimm: block-size=2M: this kind has no block-size");
    refused("virtio-mem-pci,slot=2", EINVAL, "virtio-mem-pci: slot=2: this kind has no slot");
    refused("pc-dimm,slot=two", EINVAL, "pc-dimm: slot=two is no number from -1 to 2147483647");
    refused("pc-dimm,node=-1", EINVAL, "pc-dimm: node=-1 is no number from 0 to 2147483647");
    refused("pc-dimm,node=2x", EINVAL, "pc-dimm: node=2x is no number from 0 to 2147483647");
    refused("pc-dimm,,id=d0", EINVAL,
            "'pc-dimm,id=d0' is no kind of memory device: options begin with pc-dimm, nvdimm or "
            "virtio-mem-pci");
    refused("pc-dimm,id=d0,", EINVAL,
            "pc-dimm: there is nothing between two commas or after the last one");
    refused("driver=pc-dimm,id=a,,b\x1b[2J,memdev=nope", ENODEV,
            "memory device 'a,b\\x1b[2J': there is no memory backend 'nope'");
    refused("pc-dimm,id=d0,memdev=m0,node=128", EINVAL,
            "memory device 'd0': node 128 is not below 128");
    MemoryDeviceConfig config = MEMORY_DEVICE_CONFIG_INIT;
    config.memdev = host_memory_backend_find(ms, "m0");
    config.kind = (MemoryDeviceKind)7;
    assert_null(memory_device_add_config(ms, &config, NULL));
    SAYS("memory device '': there is no kind 7");
    MemorySystem *other = machine_start();
    OK(memory_devices_init(other, BASE, GiB, 4, NULL));
    config.kind = MEMORY_DEVICE_DIMM;
    assert_null(memory_device_add_config(other, &config, NULL));
    SAYS("memory device '': its backend belongs to another machine");
    OK(memory_devices_finalize(other, NULL));
    machine_end(other);
    assert_false(host_memory_backend_is_mapped(config.memdev));

    MemoryDeviceState *md = add("pc-dimm,id=d0,memdev=m0,addr=0x100200000,slot=2,node=3,"
                                "hotplugged=off");
    MemoryDeviceInfo info = query(md);
    assert_int_equal(info.kind, MEMORY_DEVICE_DIMM);
    assert_string_equal(info.id, "d0");
    assert_string_equal(info.memdev, "m0");
    assert_int_equal(info.addr, 0x100200000);
    assert_int_equal(info.size, 4 * MiB);
    assert_int_equal(info.slot, 2);
    assert_int_equal(info.node, 3);
    assert_false(info.hotplugged);
    assert_true(info.hotpluggable);
    assert_ptr_equal(memory_device_find(ms, "d0"), md);
    assert_ptr_equal(memory_device_get_backend(md), config.memdev);
    assert_null(memory_device_find(ms, "d1"));
    assert_null(memory_device_find(ms, ""));
}

static void places_are_checked(void **state)
{
    (void)state;
    backend("memory-backend-ram,id=m0,size=256M");
    backend("memory-backend-ram,id=m1,size=128M");
    backend("memory-backend-ram,id=odd,size=3M");
    backend("memory-backend-ram,id=big,size=2G");
    add("pc-dimm,id=d0,memdev=m0,slot=1");
    refused("pc-dimm,id=d1,memdev=m0", EBUSY,
            "RAM 'm0': the memory backend is in use by memory device 'd0'");
    refused("pc-dimm,id=d0,memdev=m1", EEXIST, "there is a memory device 'd0' already");
    refused("pc-dimm,id=d1,memdev=m1,addr=0x100000000", EEXIST,
            "memory device 'd1': 0x100000000-0x107ffffff overlaps memory device 'd0' at "
            "0x100000000-0x10fffffff");
    refused("pc-dimm,id=d1,memdev=m1,addr=0x10fe00000", EEXIST,
            "memory device 'd1': 0x10fe00000-0x117dfffff overlaps memory device 'd0' at "
            "0x100000000-0x10fffffff");
    refused("pc-dimm,id=d1,memdev=m1,addr=0x110001000", EINVAL,
            "memory device 'd1': address 0x110001000 is not a multiple of 0x200000");
    refused("pc-dimm,id=d1,memdev=m1,addr=0xf8000000", ERANGE,
            "memory device 'd1': 0x8000000 bytes at 0xf8000000 are not within "
            "0x100000000-0x23fffffff, where memory devices go");
    refused("pc-dimm,id=d1,memdev=m1,addr=0x238200000", ERANGE,
            "memory device 'd1': 0x8000000 bytes at 0x238200000 are not within "
            "0x100000000-0x23fffffff, where memory devices go");
    refused("pc-dimm,id=d1,memdev=m1,addr=0xffffffffffe00000", ERANGE,
            "memory device 'd1': 0x8000000 bytes at 0xffffffffffe00000 are not within "
            "0x100000000-0x23fffffff, where memory devices go");
    refused("pc-dimm,id=d1,memdev=m1,slot=1", EBUSY,
            "memory device 'd1': slot 1 is taken by memory device 'd0'");
    refused("pc-dimm,id=d1,memdev=m1,slot=4", EINVAL,
            "memory device 'd1': there is no slot 4: the machine has 4");
    refused("pc-dimm,id=d1,memdev=m1,slot=-2", EINVAL,
            "pc-dimm: slot=-2 is no number from -1 to 2147483647");
    refused("pc-dimm,id=d1,memdev=odd", EINVAL,
            "memory device 'd1': its 0x300000 bytes are not a multiple of 0x200000");
    refused("pc-dimm,id=d1,memdev=big", ENOSPC,
            "memory device 'd1': its 0x80000000 bytes are too many: 0x10000000 of the 0x40000000 "
            "for memory devices are in use");
    /* A backend that the board has mapped without a word. */
    MemoryRegion *mr = host_memory_backend_get_memory(host_memory_backend_find(ms, "m1"));
    map_at(ms, 0, mr);
    refused("pc-dimm,id=d1,memdev=m1", EBUSY,
            "memory device 'd1': its backend 'm1' is mapped, or managed, already");
    unmap(ms, mr);
    assert_false(host_memory_backend_is_mapped(host_memory_backend_find(ms, "m1")));

    hwaddr hint = 0x110000000, addr = 1;
    OK(memory_device_get_free_addr(ms, &hint, 2 * MiB, 2 * MiB, &addr, NULL));
    assert_int_equal(addr, hint);
    hint -= 2 * MiB;
    addr = 1;
    REFUSED(-EEXIST, memory_device_get_free_addr(ms, &hint, 2 * MiB, 2 * MiB, &addr, NULL));
    REFUSED(-EINVAL, memory_device_get_free_addr(ms, NULL, 3 * MiB, 3 * MiB, &addr, NULL));
    SAYS("a memory device: an alignment of 0x300000 is not a power of two");
    REFUSED(-EINVAL, memory_device_get_free_addr(ms, NULL, 2 * MiB, 0, &addr, NULL));
    assert_int_equal(addr, 1);

    /* Slots and addresses: the lowest that is free. */
    assert_int_equal(query(add("pc-dimm,id=d1,memdev=m1,addr=0x238000000")).slot, 0);
    backend("memory-backend-ram,id=m2,size=64M");
    MemoryDeviceInfo info = query(add("pc-dimm,memdev=m2"));
    assert_int_equal(info.slot, 2);
    assert_int_equal(info.addr, 0x110000000);
    assert_string_equal(info.id, "");
    backend("memory-backend-ram,id=m3,size=2M");
    backend("memory-backend-ram,id=m4,size=2M");
    add("pc-dimm,memdev=m3");
    refused("pc-dimm,memdev=m4", ENOSPC, "memory device '': none of the machine's 4 slots is free");
}

static void room_is_for_devices_only(void **state)
{
    (void)state;
    backend("memory-backend-memfd,id=m0,size=1022M");
    backend("memory-backend-memfd,id=m1,size=2M");
    backend("memory-backend-memfd,id=m2,size=4K");
    /* Off its place by the room of a slot. */
    assert_int_equal(addr_of(add("pc-dimm,id=d0,memdev=m0,addr=0x140000000")), 0x140000000);
    add("pc-dimm,id=d1,memdev=m1");
    assert_int_equal(memory_devices_plugged_size(ms), GiB);
    refused("pc-dimm,id=d2,memdev=m2", ENOSPC,
            "memory device 'd2': its 0x1000 bytes are too many: 0x40000000 of the 0x40000000 for "
            "memory devices are in use");
    OK(memory_device_del(memory_device_find(ms, "d1"), NULL));
    assert_int_equal(addr_of(add("pc-dimm,id=d2,memdev=m2,addr=0x23ffff000")), 0x23ffff000);
}

/* ---- What the guest and listeners see ------------------------------------------------------ */

static int commits, adds, dels;

static void on_commit(MemoryListener *listener)
{
    (void)listener;
    commits++;
}

static void on_add(MemoryListener *listener, MemoryRegionSection *section)
{
    (void)listener;
    (void)section;
    adds++;
}

static void on_del(MemoryListener *listener, MemoryRegionSection *section)
{
    (void)listener;
    (void)section;
    dels++;
}

static MemTxResult poke(hwaddr addr, uint64_t value)
{
    uint8_t bytes[8];

    memcpy(bytes, &value, sizeof bytes);
    return address_space_write(memory_system_memory(ms), addr, ATTRS, bytes, sizeof bytes);
}

static uint64_t peek(hwaddr addr, MemTxResult *result)
{
    uint64_t value = 0;

    *result = address_space_read(memory_system_memory(ms), addr, ATTRS, &value, sizeof value);
    return value;
}

static void plugging_is_one_commit(void **state)
{
    MemoryListener listener = {.commit = on_commit, .region_add = on_add, .region_del = on_del};
    static const char *const devices[] = {"pc-dimm,memdev=m0", "nvdimm,memdev=m0,label-size=128K",
                                          "virtio-mem-pci,memdev=m0"};
    MemTxResult result;

    (void)state;
    backend("memory-backend-memfd,id=m0,size=8M");
    OK(memory_listener_register(&listener, memory_system_memory(ms)));
    for (size_t i = 0; i < 3; i++) {
        commits = adds = dels = 0;
        assert_int_equal(poke(BASE, 1), MEMTX_DECODE_ERROR);
        MemoryDeviceState *md = add(devices[i]);
        assert_int_equal(commits, 1);
        assert_int_equal(adds, 1);
        assert_int_equal(dels, 0);
        assert_int_equal(poke(BASE + 4096, 77 + i), MEMTX_OK);
        assert_int_equal(peek(BASE + 4096, &result), 77 + i);
        OK(memory_device_del(md, NULL));
        assert_int_equal(commits, 2);
        assert_int_equal(adds, 1);
        assert_int_equal(dels, 1);
        peek(BASE + 4096, &result);
        assert_int_equal(result, MEMTX_DECODE_ERROR);
        memory_system_drain(ms);
    }
    OK(memory_listener_unregister(&listener));
}

static MemoryDeviceState *victim;
static int listener_said[3];

static void edit_from_listener(MemoryListener *listener)
{
    (void)listener;
    listener_said[0] = memory_device_del(victim, NULL);
    Error *err = NULL;
    assert_null(memory_device_add(ms, "pc-dimm,id=d9,memdev=m1", &err));
    listener_said[1] = error_get_errno(err);
    error_free(err);
    assert_null(memory_device_add(ms, "virtio-mem-pci,id=v9,memdev=m1", &err));
    listener_said[2] = error_get_errno(err);
    error_free(err);
}

static void listeners_cannot_plug(void **state)
{
    MemoryListener listener = {.commit = edit_from_listener};

    (void)state;
    backend("memory-backend-ram,id=m0,size=2M");
    backend("memory-backend-ram,id=m1,size=2M");
    uint8_t *host = memory_region_get_ram_ptr(
        host_memory_backend_get_memory(host_memory_backend_find(ms, "m1")));
    *host = 7;
    victim = add("pc-dimm,id=d0,memdev=m0");
    OK(memory_listener_register(&listener, memory_system_memory(ms)));
    assert_int_equal(listener_said[0], -EBUSY);
    assert_int_equal(listener_said[1], -EBUSY);
    assert_int_equal(listener_said[2], -EBUSY);
    assert_int_equal(*host, 7);
    assert_ptr_equal(memory_device_find(ms, "d0"), victim);
    assert_false(host_memory_backend_is_mapped(host_memory_backend_find(ms, "m1")));
    OK(memory_listener_unregister(&listener));
}

/* Within the program's own transaction the edits wait for its commit. */
static void transactions_are_kept(void **state)
{
    MemTxResult result;

    (void)state;
    backend("memory-backend-ram,id=m0,size=2M");
    backend("memory-backend-ram,id=m1,size=2M");
    MemoryDeviceState *md = add("nvdimm,memdev=m0");
    assert_int_equal(poke(BASE, 5), MEMTX_OK);
    memory_region_transaction_begin(ms);
    OK(memory_device_del(md, NULL));
    md = add("nvdimm,memdev=m1");
    assert_int_equal(addr_of(md), BASE);
    assert_int_equal(peek(BASE, &result), 5);
    OK(memory_region_transaction_commit(ms));
    assert_int_equal(peek(BASE, &result), 0);
    assert_int_equal(result, MEMTX_OK);
}

/* Whether the page at @host is mapped at all. */
static bool is_mapped(void *host)
{
    unsigned char resident;

    return mincore(host, 4096, &resident) == 0;
}

static void mappings_outlive_the_device(void **state)
{
    HostMemoryBackend *m0;
    hwaddr length = 4096;
    MemTxResult result;

    (void)state;
    m0 = backend("memory-backend-ram,id=m0,size=4M");
    MemoryDeviceState *md = add("pc-dimm,id=d0,memdev=m0");
    uint8_t *host = address_space_map(memory_system_memory(ms), BASE + 4096, &length, true, ATTRS);
    assert_non_null(host);
    assert_int_equal(length, 4096);
    FlatView *view = address_space_get_flatview(memory_system_memory(ms));
    REFUSED(-EBUSY, host_memory_backend_destroy(m0, NULL));
    OK(memory_device_del(md, NULL));
    peek(BASE + 4096, &result);
    assert_int_equal(result, MEMTX_DECODE_ERROR); /* at once */
    OK(host_memory_backend_destroy(m0, NULL));
    assert_null(host_memory_backend_find(ms, "m0"));
    memory_system_drain(ms);
    memset(host, 0x5a, length); /* ours still */
    flatview_unref(view);
    memory_system_drain(ms);
    assert_true(is_mapped(host));
    address_space_unmap(memory_system_memory(ms), host, length, true, length);
    memory_system_drain(ms);
    assert_false(is_mapped(host)); /* gone with the last one */
}

static void readers_outlive_the_device(void **state)
{
    (void)state;
    HostMemoryBackend *m0 = backend("memory-backend-ram,id=m0,size=4M");
    MemoryDeviceState *md = add("virtio-mem-pci,id=v0,memdev=m0");
    uint8_t *host = memory_region_get_ram_ptr(memory_device_get_memory_region(md));
    MemoryRegionSection found = memory_region_find(get_system_memory(ms), BASE, 1);
    assert_ptr_equal(found.mr, memory_device_get_memory_region(md));
    OK(memory_device_del(md, NULL));
    assert_false(memory_region_has_ram_discard_manager(found.mr));
    OK(host_memory_backend_destroy(m0, NULL));
    memory_system_drain(ms);
    assert_true(is_mapped(host));
    memory_region_unref(found.mr);
    memory_system_drain(ms);
    assert_false(is_mapped(host));
}

/* ---- First fit, against a list of chunks --------------------------------------------------- */

#define CHUNK (2 * MiB)
#define CHUNKS 96 /* of the area */
#define KINDS 6

/* Chunks of each of the backends, and what virtio-mem aligns to. */
static const unsigned sizes[KINDS] = {1, 2, 3, 8, 16, 32}, aligns[KINDS] = {1, 1, 1, 4, 8, 32};

static uint64_t seed;

static unsigned below(unsigned n)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(seed >> 33) % n;
}

static bool all_free(const int *chunks, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        if (i >= CHUNKS || chunks[i]) {
            return false;
        }
    }
    return true;
}

/* What adding should say; the place in *@first, which is the hint if there is one. */
static int expected(const int *chunks, unsigned offset, unsigned size, unsigned align, bool hint,
                    unsigned *first)
{
    unsigned used = 0;

    for (unsigned i = 0; i < CHUNKS; i++) {
        used += chunks[i] != 0;
    }
    if (used + size > CHUNKS) {
        return -ENOSPC;
    }
    if (hint) {
        return (*first + offset) % align        ? -EINVAL
               : *first + size > CHUNKS         ? -ERANGE
               : all_free(chunks, *first, size) ? 0
                                                : -EEXIST;
    }
    for (*first = 0; *first < CHUNKS; ++*first) {
        if ((*first + offset) % align == 0 && all_free(chunks, *first, size)) {
            return 0;
        }
    }
    return -ENOSPC;
}

static void random_plugging(void **state)
{
    const unsigned offset = 3; /* chunks: so that the base is not aligned for all */
    const hwaddr base = BASE + offset * CHUNK;
    struct {
        MemoryDeviceState *md;
        HostMemoryBackend *backend;
        unsigned kind, first;
    } devices[24] = {{0}};
    int chunks[CHUNKS] = {0}, said[200] = {0};

    (void)state;
    OK(memory_devices_finalize(ms, NULL));
    OK(memory_devices_init(ms, base, CHUNKS * CHUNK, 0, NULL));
    for (unsigned i = 0; i < 24; i++) {
        char options[128];
        devices[i].kind = i % KINDS;
        snprintf(options, sizeof options, "memory-backend-memfd,id=m%u,size=%uM", i,
                 2 * sizes[devices[i].kind]);
        devices[i].backend = backend(options);
    }
    seed = 3;
    for (int step = 0; step < 20000; step++) {
        unsigned i = below(24), size = sizes[devices[i].kind], align = aligns[devices[i].kind];
        if (devices[i].md) {
            OK(memory_device_del(devices[i].md, NULL));
            devices[i].md = NULL;
            for (unsigned k = 0; k < size; k++) {
                chunks[devices[i].first + k] = 0;
            }
            continue;
        }
        unsigned first = below(CHUNKS);
        bool hint = below(3) == 0;
        MemoryDeviceConfig config = MEMORY_DEVICE_CONFIG_INIT;
        config.kind = MEMORY_DEVICE_VIRTIO_MEM;
        config.memdev = devices[i].backend;
        config.block_size = align * CHUNK;
        config.addr = hint ? base + first * CHUNK : 0;
        Error *err = NULL;
        int want = expected(chunks, offset, size, align, hint, &first);
        devices[i].md = memory_device_add_config(ms, &config, &err);
        assert_int_equal(err ? error_get_errno(err) : 0, want);
        said[-want]++;
        error_free(err);
        if (!want) {
            assert_int_equal(addr_of(devices[i].md), base + first * CHUNK);
            devices[i].first = first;
            for (unsigned k = 0; k < size; k++) {
                chunks[first + k] = 1;
            }
        }
    }
    for (unsigned i = 0; i < 24; i++) {
        if (devices[i].md) {
            OK(memory_device_del(devices[i].md, NULL));
        }
    }
    assert_in_range(said[0], 500, 20000);
    assert_in_range(said[ENOSPC], 20, 20000);
    assert_in_range(said[EINVAL], 20, 20000);
    assert_in_range(said[ERANGE], 20, 20000);
    assert_in_range(said[EEXIST], 20, 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(areas_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(options_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(places_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(room_is_for_devices_only, setup, teardown),
        cmocka_unit_test_setup_teardown(plugging_is_one_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(listeners_cannot_plug, setup, teardown),
        cmocka_unit_test_setup_teardown(transactions_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(mappings_outlive_the_device, setup, teardown),
        cmocka_unit_test_setup_teardown(readers_outlive_the_device, setup, teardown),
        cmocka_unit_test_setup_teardown(random_plugging, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
