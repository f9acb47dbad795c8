/* SPDX-License-Identifier: MIT */
/* nvdimms and virtio-mem: what they add to a dimm. */
#include "ram/block.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/dimm.h"

static RAMBlock *block_of(const char *id)
{
    HostMemoryBackend *found = host_memory_backend_find(ms, id);

    assert_non_null(found);
    return memory_region_get_ram_block(host_memory_backend_get_memory(found));
}

static uint8_t *host_of(const char *id)
{
    return qemu_ram_get_host_addr(block_of(id));
}

/* Bytes of memory that the host spends on @block, from its page tables (and page cache). */
static hwaddr resident(const char *id)
{
    hwaddr size = qemu_ram_get_used_length(block_of(id)), pages = size / 4096, count = 0;
    unsigned char *seen = malloc(pages);

    assert_non_null(seen);
    assert_int_equal(mincore(host_of(id), size, seen), 0);
    for (hwaddr i = 0; i < pages; i++) {
        count += seen[i] & 1;
    }
    free(seen);
    return count * 4096;
}

/* ---- A file that goes with the test --------------------------------------------------- */

static char path[] = "/tmp/membus-test-XXXXXX";

static void make_file(hwaddr size)
{
    strcpy(path + sizeof path - 7, "XXXXXX");
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

static HostMemoryBackend *file_backend(const char *id, const char *rest)
{
    char options[256];

    snprintf(options, sizeof options, "memory-backend-file,id=%s,mem-path=%s,%s", id, path, rest);
    return backend(options);
}

static uint64_t in_file(hwaddr offset)
{
    uint64_t value = 0;
    FILE *file = fopen(path, "rb");

    assert_non_null(file);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    assert_int_equal(fread(&value, sizeof value, 1, file), 1);
    fclose(file);
    return value;
}

/* ---- nvdimm ------------------------------------------------------------------------------ */

static void nvdimms_are_checked(void **state)
{
    (void)state;
    make_file(8 * MiB);
    file_backend("ro", "size=8M,share=on,readonly=on");
    backend("memory-backend-ram,id=m0,size=4M");
    refused("nvdimm,id=n0,memdev=m0,label-size=4K", EINVAL,
            "nvdimm 'n0': a label area of 0x1000 bytes is below 0x20000");
    refused("nvdimm,id=n0,memdev=m0,label-size=3M", EINVAL,
            "nvdimm 'n0': the 0x400000 bytes of its backend are too few for a label area of "
            "0x300000 and memory in steps of 0x200000");
    refused("nvdimm,id=n0,memdev=m0,label-size=5M", EINVAL,
            "nvdimm 'n0': the 0x400000 bytes of its backend are too few for a label area of "
            "0x500000 and memory in steps of 0x200000");
    refused("nvdimm,id=n0,memdev=ro", EINVAL,
            "nvdimm 'n0' has to be unarmed: its backend is read-only");
    MemoryDeviceState *md = add("nvdimm,id=n0,memdev=ro,label-size=128K,unarmed=on");
    assert_true(query(md).unarmed);
    char label[16] = "";
    OK(nvdimm_read_label_data(md, label, sizeof label, 0, NULL));
    REFUSED(-EROFS, nvdimm_write_label_data(md, label, sizeof label, 0, NULL));
    REFUSED(-EROFS, nvdimm_flush(md, 0, 0, NULL));
    SAYS("nvdimm 'n0' is unarmed: nothing is written to it for good");
    MemoryRegionSection section;
    FlatView *view = address_space_get_flatview(memory_system_memory(ms));
    assert_true(flatview_lookup(view, BASE, &section));
    assert_true(section.readonly && section.nonvolatile);
    flatview_unref(view);

    add("pc-dimm,id=d0,memdev=m0");
    md = memory_device_find(ms, "d0");
    REFUSED(-EINVAL, nvdimm_flush(md, 0, 0, NULL));
    SAYS("memory device 'd0' is a pc-dimm, not a nvdimm");
    REFUSED(-EINVAL, nvdimm_read_label_data(md, label, 1, 0, NULL));
    REFUSED(-EINVAL, virtio_mem_plug(md, BASE, MiB, NULL));
    unlink(path);
}

static void what_is_flushed_is_in_the_file(void **state)
{
    (void)state;
    make_file(0);
    file_backend("nv", "size=8M,share=on");
    MemoryDeviceState *md = add("nvdimm,id=n0,memdev=nv,label-size=136K");
    MemoryDeviceInfo info = query(md);
    assert_int_equal(info.size, (8 * MiB - 136 * 1024) / 4096 * 4096);
    assert_int_equal(info.label_size, 136 * 1024);
    assert_int_equal(memory_region_size(memory_device_get_memory_region(md)), info.size);
    MemoryRegionSection section;
    FlatView *view = address_space_get_flatview(memory_system_memory(ms));
    assert_true(flatview_lookup(view, BASE, &section));
    assert_true(section.nonvolatile && !section.readonly);
    assert_string_equal(memory_region_name(section.mr), "nv");
    flatview_unref(view);

    uint64_t value = 0x1122334455667788;
    assert_int_equal(
        address_space_write(memory_system_memory(ms), BASE + 0x12345, ATTRS, &value, 8), 0);
    OK(nvdimm_flush(md, 0x12345, 8, NULL));
    assert_int_equal(in_file(0x12345), value);
    OK(nvdimm_flush(md, 0, 0, NULL));
    OK(nvdimm_flush(md, info.size, 0, NULL));
    REFUSED(-EINVAL, nvdimm_flush(md, info.size - 4, 8, NULL));
    SAYS("nvdimm 'n0': 0x8 bytes at 0x7ddffc are not within the 0x7de000 of its memory");
    REFUSED(-EINVAL, nvdimm_flush(md, UINT64_MAX, 8, NULL));

    /* The label area is the end of the backend, and no guest memory. */
    uint64_t label = 0xfeedface, back = 0;
    OK(nvdimm_write_label_data(md, &label, sizeof label, 136 * 1024 - 8, NULL));
    OK(nvdimm_read_label_data(md, &back, sizeof back, 136 * 1024 - 8, NULL));
    assert_int_equal(back, label);
    assert_int_equal(in_file(8 * MiB - 8), label);
    REFUSED(-EINVAL, nvdimm_read_label_data(md, &back, sizeof back, 136 * 1024 - 7, NULL));
    REFUSED(-EINVAL, nvdimm_write_label_data(md, &back, UINT64_MAX, 8, NULL));
    assert_int_equal(
        address_space_write(memory_system_memory(ms), BASE + info.size, ATTRS, &value, 8),
        MEMTX_DECODE_ERROR);

    /* As persistent memory is: the CPU's way. */
    block_of("nv")->memory.synchronous = true;
    OK(nvdimm_flush(md, 1, 8 * MiB - 136 * 1024 - 1, NULL));
    block_of("nv")->memory.synchronous = false;

    /* The kernel is asked, and its reason told: here, of a hole that is then filled. */
    assert_int_equal(munmap(host_of("nv") + 4096, 4096), 0);
    REFUSED(-ENOMEM, nvdimm_flush(md, 4096, 4096, NULL));
    SAYS("RAM 'nv': cannot write back 0x1000 bytes at 0x1000: Cannot allocate memory");
    assert_ptr_equal(mmap(host_of("nv") + 4096, 4096, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                     host_of("nv") + 4096);

    /* Contents survive. */
    OK(memory_device_del(md, NULL));
    OK(host_memory_backend_destroy(host_memory_backend_find(ms, "nv"), NULL));
    memory_system_drain(ms);
    file_backend("nv", "size=8M,share=on");
    add("nvdimm,id=n0,memdev=nv,label-size=136K");
    value = 0;
    assert_int_equal(address_space_read(memory_system_memory(ms), BASE + 0x12345, ATTRS, &value, 8),
                     0);
    assert_int_equal(value, 0x1122334455667788);
    unlink(path);
}

static void private_memory_is_not_durable(void **state)
{
    (void)state;
    backend("memory-backend-ram,id=m0,size=4M");
    backend("memory-backend-ram,id=m1,size=4M,share=on");
    MemoryDeviceState *md = add("nvdimm,id=n0,memdev=m0,label-size=128K");
    REFUSED(-ENOTSUP, nvdimm_flush(md, 0, 8, NULL));
    SAYS("RAM 'm0' is private memory: it has nowhere to be written back to");
    OK(nvdimm_write_label_data(md, "label", 6, 0, NULL));
    OK(nvdimm_flush(add("nvdimm,id=n1,memdev=m1"), 0, 0, NULL));
    REFUSED(-EINVAL, ram_block_writeback(block_of("m1"), 4 * MiB, 1));
    OK(ram_block_writeback(block_of("m1"), 4 * MiB, 0));
}

/* ---- Giving back ----------------------------------------------------------------------- */

static void pages_go_back_to_the_host(void **state)
{
    static const char *const kinds[] = {
        "memory-backend-ram,id=m,size=8M", "memory-backend-ram,id=m,size=8M,share=on",
        "memory-backend-memfd,id=m,size=8M", "memory-backend-shm,id=m,size=8M"};

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        HostMemoryBackend *m = backend(kinds[i]);
        uint8_t *host = host_of("m");
        memset(host, 1, 8 * MiB);
        assert_int_equal(resident("m"), 8 * MiB);
        OK(ram_block_discard_range(block_of("m"), 2 * MiB, 4 * MiB));
        assert_int_equal(resident("m"), 4 * MiB);
        assert_int_equal(host[2 * MiB - 1], 1);
        assert_int_equal(host[2 * MiB], 0);
        assert_int_equal(host[6 * MiB - 1], 0);
        assert_int_equal(host[6 * MiB], 1);
        OK(host_memory_backend_destroy(m, NULL));
    }
    memory_system_drain(ms);
    HostMemoryBackend *m = backend(kinds[0]);
    REFUSED(-EINVAL, ram_block_discard_range(block_of("m"), 1, 4096));
    SAYS("RAM 'm': 0x1000 bytes at 0x1 are not whole pages of 0x1000 bytes");
    REFUSED(-EINVAL, ram_block_discard_range(block_of("m"), 0, 4097));
    REFUSED(-EINVAL, ram_block_discard_range(block_of("m"), 8 * MiB, 4096));
    SAYS("RAM 'm': 0x1000 bytes at 0x800000 are not within its 0x800000");
    REFUSED(-EINVAL, ram_block_discard_range(block_of("m"), 4096, UINT64_MAX - 4095));
    OK(ram_block_discard_range(block_of("m"), 8 * MiB, 0));
    /* The system's reason. Sanitizers make mlock(3) do nothing. */
    if (syscall(SYS_mlock, host_of("m"), 4096) == 0) {
        REFUSED(-EINVAL, ram_block_discard_range(block_of("m"), 0, 4096));
        SAYS("RAM 'm': cannot give back 0x1000 bytes at 0x0: Invalid argument");
        syscall(SYS_munlock, host_of("m"), 4096);
    }
    OK(host_memory_backend_destroy(m, NULL));
    /* What is private of a file goes; what is in the file stays. */
    make_file(2 * MiB);
    m = file_backend("m", "size=2M");
    host_of("m")[0] = 1;
    OK(ram_block_discard_range(block_of("m"), 0, 2 * MiB));
    assert_int_equal(host_of("m")[0], 0);
    OK(host_memory_backend_destroy(m, NULL));
    file_backend("m", "size=2M,share=on,readonly=on");
    REFUSED(-ENOTSUP, ram_block_discard_range(block_of("m"), 0, 4096));
    SAYS("RAM 'm': memory that is mapped read-only cannot be given back");
    unlink(path);
}

/* ---- virtio-mem ---------------------------------------------------------------------------- */

static void virtio_mems_are_checked(void **state)
{
    static uint8_t bytes[4 * MiB] __attribute__((aligned(4096)));
    HostMemoryConfig caller = HOST_MEMORY_CONFIG_INIT;

    (void)state;
    make_file(4 * MiB);
    file_backend("ro", "size=4M,share=on,readonly=on");
    unlink(path);
    caller.kind = HOST_MEMORY_PTR;
    caller.id = "ptr";
    caller.size = sizeof bytes;
    caller.ptr = bytes;
    assert_non_null(host_memory_backend_create_config(ms, &caller, NULL));
    backend("memory-backend-ram,id=m0,size=6M");
    refused("virtio-mem-pci,id=v0,memdev=m0,block-size=3M", EINVAL,
            "virtio-mem 'v0': a block size of 0x300000 is not a power of two of at least 1 MiB and "
            "the page size 0x1000");
    refused("virtio-mem-pci,id=v0,memdev=m0,block-size=512K", EINVAL,
            "virtio-mem 'v0': a block size of 0x80000 is not a power of two of at least 1 MiB and "
            "the page size 0x1000");
    refused("virtio-mem-pci,id=v0,memdev=m0,block-size=4M", EINVAL,
            "RAM 'm0': its 0x600000 bytes cannot be managed in blocks of 0x400000 (a power of two "
            "that divides them)");
    refused("virtio-mem-pci,id=v0,memdev=m0,requested-size=3M", EINVAL,
            "virtio-mem 'v0': a requested size of 0x300000 is not a multiple of the block size "
            "0x200000 up to 0x600000");
    refused("virtio-mem-pci,id=v0,memdev=m0,requested-size=8M", EINVAL,
            "virtio-mem 'v0': a requested size of 0x800000 is not a multiple of the block size "
            "0x200000 up to 0x600000");
    refused("virtio-mem-pci,id=v0,memdev=ro", EINVAL, "virtio-mem 'v0': its backend is read-only");
    refused("virtio-mem-pci,id=v0,memdev=ptr", ENOTSUP,
            "virtio-mem 'v0': the caller's memory cannot be given back");
    backend("memory-backend-memfd,id=m1,size=6M,share=off");
    refused("virtio-mem-pci,id=v0,memdev=m1", ENOTSUP,
            "virtio-mem 'v0': its backend 'm1' is a private mapping of a file, which keeps what is "
            "given back (share=on does not)");
    MemoryRegion window, *mr = host_memory_backend_get_memory(host_memory_backend_find(ms, "m0"));
    make_alias(ms, &window, mr, 0, MiB);
    refused("virtio-mem-pci,id=v0,memdev=m0", EBUSY,
            "RAM 'm0' is mapped through an alias: its discard manager cannot change");
    OK(memory_region_finalize(&window));
    assert_false(memory_region_has_ram_discard_manager(mr));
    /* What was refused has lost nothing. */
    host_of("m0")[0] = 7;
    refused("virtio-mem-pci,id=v0,memdev=m0,memaddr=0x1000", EINVAL,
            "memory device 'v0': address 0x1000 is not a multiple of 0x200000");
    assert_int_equal(host_of("m0")[0], 7);
}

static void blocks_come_and_go(void **state)
{
    (void)state;
    backend("memory-backend-ram,id=m0,size=16M");
    memset(host_of("m0"), 1, 16 * MiB);
    MemoryDeviceState *md =
        add("virtio-mem-pci,id=v0,memdev=m0,requested-size=8M,block-size=2M,memaddr=0x100400000");
    MemoryDeviceInfo info = query(md);
    const hwaddr at = info.addr;
    assert_int_equal(at, 0x100400000);
    assert_int_equal(info.size, 0);
    assert_int_equal(info.requested_size, 8 * MiB);
    assert_int_equal(info.max_size, 16 * MiB);
    assert_int_equal(info.block_size, 2 * MiB);
    assert_int_equal(info.slot, -1);
    assert_int_equal(resident("m0"), 0);
    RamDiscardManager *rdm =
        memory_region_get_ram_discard_manager(memory_device_get_memory_region(md));
    assert_non_null(rdm);

    OK(virtio_mem_plug(md, at + 2 * MiB, 4 * MiB, NULL));
    assert_int_equal(query(md).size, 4 * MiB);
    REFUSED(-EINVAL, virtio_mem_plug(md, at + 4 * MiB, 4 * MiB, NULL));
    SAYS("RAM 'm0': 0x400000-0x5fffff is populated already");
    REFUSED(-EINVAL, virtio_mem_plug(md, at + MiB, MiB, NULL));
    REFUSED(-EINVAL, virtio_mem_plug(md, at + 16 * MiB, 2 * MiB, NULL));
    SAYS("virtio-mem 'v0': 0x200000 bytes at 0x101400000 are not within its "
         "0x100400000-0x1013fffff");
    REFUSED(-EINVAL, virtio_mem_plug(md, at - 2 * MiB, 2 * MiB, NULL));
    REFUSED(-EINVAL, virtio_mem_plug(md, at, 0, NULL));
    REFUSED(-EINVAL, virtio_mem_plug(md, at + 2 * MiB, 0 - 2 * MiB, NULL));
    REFUSED(-ENOSPC, virtio_mem_plug(md, at + 8 * MiB, 6 * MiB, NULL));
    SAYS("virtio-mem 'v0': 0x600000 bytes more than the plugged 0x400000 are beyond the requested "
         "0x800000");
    OK(virtio_mem_plug(md, at + 8 * MiB, 4 * MiB, NULL));
    assert_int_equal(memory_devices_plugged_size(ms), 8 * MiB);
    memset(host_of("m0") + 8 * MiB, 1, 4 * MiB);
    assert_int_equal(resident("m0"), 4 * MiB);

    REFUSED(-EBUSY, memory_device_del(md, NULL));
    SAYS("virtio-mem 'v0': 0x800000 bytes are plugged still");
    REFUSED(-EINVAL, virtio_mem_unplug(md, at + 6 * MiB, 4 * MiB, NULL));
    SAYS("virtio-mem 'v0': not all of the 0x400000 bytes at 0x100a00000 are plugged");
    OK(virtio_mem_unplug(md, at + 8 * MiB, 2 * MiB, NULL));
    assert_int_equal(resident("m0"), 2 * MiB);
    REFUSED(-EINVAL, virtio_mem_set_requested_size(md, 3 * MiB, NULL));
    REFUSED(-EINVAL, virtio_mem_set_requested_size(md, 18 * MiB, NULL));
    OK(virtio_mem_set_requested_size(md, 2 * MiB, NULL)); /* below what is plugged: for the guest */
    REFUSED(-ENOSPC, virtio_mem_plug(md, at + 8 * MiB, 2 * MiB, NULL));
    OK(virtio_mem_unplug_all(md, NULL));
    assert_int_equal(query(md).size, 0);
    assert_int_equal(resident("m0"), 0);
    OK(virtio_mem_unplug_all(md, NULL));
    OK(memory_device_del(md, NULL));
}

typedef struct Pinner {
    MemoryListener listener;
    RamDiscardListener rdl;
    hwaddr pinned; /* bytes */
    bool refuse, leave_registered;
    MemoryDeviceState *unplugs; /* from its callback */
} Pinner;

static int pin(RamDiscardListener *rdl, MemoryRegionSection *section)
{
    Pinner *p = (Pinner *)((char *)rdl - offsetof(Pinner, rdl));

    if (p->unplugs) {
        REFUSED(-EBUSY, virtio_mem_unplug_all(p->unplugs, NULL));
        REFUSED(-EBUSY, virtio_mem_plug(p->unplugs, addr_of(p->unplugs), 2 * MiB, NULL));
        REFUSED(-EBUSY, memory_device_del(p->unplugs, NULL));
    }
    if (p->refuse) {
        return -EMFILE;
    }
    p->pinned += section->size;
    return 0;
}

static void unpin(RamDiscardListener *rdl, MemoryRegionSection *section)
{
    Pinner *p = (Pinner *)((char *)rdl - offsetof(Pinner, rdl));

    p->pinned -= section->size;
}

/* As a device with page tables of its own would. */
static void on_add(MemoryListener *listener, MemoryRegionSection *section)
{
    Pinner *p = (Pinner *)(void *)listener;

    if (memory_region_has_ram_discard_manager(section->mr)) {
        OK(ram_discard_manager_register_listener(memory_region_get_ram_discard_manager(section->mr),
                                                 &p->rdl, section));
    }
}

static void on_del(MemoryListener *listener, MemoryRegionSection *section)
{
    Pinner *p = (Pinner *)(void *)listener;

    if (!p->leave_registered && memory_region_has_ram_discard_manager(section->mr)) {
        OK(ram_discard_manager_unregister_listener(
            memory_region_get_ram_discard_manager(section->mr), &p->rdl));
    }
}

static void pinners_are_told(void **state)
{
    Pinner p = {.listener = {.region_add = on_add, .region_del = on_del}};

    (void)state;
    ram_discard_listener_init(&p.rdl, pin, unpin, false);
    p.rdl.name = "pinner";
    backend("memory-backend-memfd,id=m0,size=16M");
    OK(memory_listener_register(&p.listener, memory_system_memory(ms)));
    MemoryDeviceState *md = add("virtio-mem-pci,id=v0,memdev=m0,requested-size=16M");
    OK(virtio_mem_plug(md, BASE, 6 * MiB, NULL));
    assert_int_equal(p.pinned, 6 * MiB);
    /* Moved away from under it, and back. */
    OK(memory_region_set_enabled(memory_devices_region(ms), false));
    assert_int_equal(p.pinned, 0);
    OK(memory_region_set_enabled(memory_devices_region(ms), true));
    assert_int_equal(p.pinned, 6 * MiB);
    p.unplugs = md;
    OK(virtio_mem_plug(md, BASE + 8 * MiB, 2 * MiB, NULL));
    p.unplugs = NULL;

    p.refuse = true;
    Error *err = NULL;
    assert_int_equal(virtio_mem_plug(md, BASE + 10 * MiB, 2 * MiB, &err), -EMFILE);
    assert_string_equal(error_get_pretty(err),
                        "RAM 'm0': listener 'pinner' refuses to have 0xa00000-0xbfffff populated: "
                        "Too many open files");
    error_free(err);
    assert_int_equal(query(md).size, 8 * MiB);
    p.refuse = false;

    OK(virtio_mem_unplug(md, BASE, 2 * MiB, NULL));
    assert_int_equal(p.pinned, 6 * MiB);
    OK(virtio_mem_unplug_all(md, NULL));
    assert_int_equal(p.pinned, 0);
    p.leave_registered = true;
    OK(memory_device_del(md, NULL));
    assert_null(p.rdl.manager);
    OK(memory_listener_unregister(&p.listener));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nvdimms_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_flushed_is_in_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(private_memory_is_not_durable, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_go_back_to_the_host, setup, teardown),
        cmocka_unit_test_setup_teardown(virtio_mems_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(blocks_come_and_go, setup, teardown),
        cmocka_unit_test_setup_teardown(pinners_are_told, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
