/* SPDX-License-Identifier: MIT */
/* Host memory backends: the memory of each kind. */
#include <errno.h>
#include <fcntl.h>
#include <numa.h>
#include <numaif.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/backends.h"

#define MIB ((size_t)1 << 20)

/* ---- The memory of each kind --------------------------------------------------- */

static void every_kind(void **state)
{
    static const struct {
        const char *options;
        bool shared, has_fd;
    } kinds[] = {
        {"memory-backend-ram,id=m0,size=4M", false, false},
        {"memory-backend-ram,id=m0,size=4M,share=on", true, true},
        {"memory-backend-memfd,id=m0,size=4M", true, true},
        {"memory-backend-memfd,id=m0,size=4M,share=off", false, true},
        {"memory-backend-shm,id=m0,size=4M", true, true},
        {"memory-backend-file,id=m0,size=4M,mem-path=/tmp", false, true},
        {"memory-backend-file,id=m0,size=4M,mem-path=/tmp,share=on", true, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        MemorySystem *ms = machine_start();
        unsigned fds = places_open_fds();
        HostMemoryBackend *backend = make(ms, "%s", kinds[i].options);
        RAMBlock *block = block_of(backend);
        MemoryRegion *mr = host_memory_backend_get_memory(backend);
        uint8_t *host = host_of(backend);

        assert_int_equal(memory_region_size(mr), 4 * MIB);
        assert_string_equal(memory_region_name(mr), "m0");
        assert_string_equal(memory_owner_name(memory_region_owner(mr)), "/objects/m0");
        assert_string_equal(qemu_ram_get_idstr(block), "m0");
        assert_int_equal(qemu_ram_get_used_length(block), 4 * MIB);
        assert_int_equal(qemu_ram_is_shared(block), kinds[i].shared);
        assert_int_equal(host_memory_backend_config(backend)->share, kinds[i].shared);
        assert_int_equal(qemu_ram_get_fd(block) >= 0, kinds[i].has_fd);
        assert_int_equal((uintptr_t)host % (2 * MIB), 0);
        for (size_t at = 0; at < 4 * MIB; at += 4096) {
            assert_int_equal(host[at], 0);
            host[at] = 1;
        }
        if (kinds[i].has_fd) {
            uint8_t byte = 9;
            assert_int_equal(pread(qemu_ram_get_fd(block), &byte, 1, 4096), 1);
            assert_int_equal(byte, kinds[i].shared);
        }
        /* a guest's write comes to lie there */
        memory_region_add_subregion(get_system_memory(ms), 0x100000, mr);
        address_space_stl_le(memory_system_memory(ms), 0x100010, 0x12345678, ATTRS, NULL);
        assert_int_equal(host[0x10], 0x78);
        unmap(ms, mr);
        end(ms, backend);
        assert_int_equal(places_open_fds(), fds);
        machine_end(ms);
    }
}

static void callers_memory(void **state)
{
    MemorySystem *ms = machine_start();
    static uint8_t bytes[8192];
    HostMemoryConfig config = HOST_MEMORY_CONFIG_INIT;

    (void)state;
    config.kind = HOST_MEMORY_PTR;
    config.id = "mine";
    config.size = sizeof bytes;
    config.ptr = bytes;
    HostMemoryBackend *backend = host_memory_backend_create_config(ms, &config, NULL);
    assert_non_null(backend);
    assert_ptr_equal(host_of(backend), bytes);
    end(ms, backend);
    bytes[8191] = 1; /* still there */
    machine_end(ms);
}

/* A byte before and behind each block cannot be reached. */
static void check_guards(RAMBlock *block)
{
    uint8_t *host = qemu_ram_get_host_addr(block);
    hwaddr size = qemu_ram_get_max_length(block);

    assert_true(places_touchable(host));
    assert_true(places_touchable(host + size - 1));
    assert_false(places_touchable(host - 1));
    assert_false(places_touchable(host - 4096));
    assert_false(places_touchable(host + size));
    assert_false(places_touchable(host + size + 4095));
    assert_true(places_is_guard(host - 4096) && places_is_guard(host + size));
}

static void guard_pages(void **state)
{
    static const char *const options[] = {
        "memory-backend-ram,id=m0,size=4K",
        "memory-backend-ram,id=m0,size=2052K",
        "memory-backend-memfd,id=m0,size=2M",
        "memory-backend-shm,id=m0,size=8K",
        "memory-backend-file,id=m0,size=4M,mem-path=/tmp,align=16M",
    };
    MemorySystem *ms = machine_start();
    MemoryOwner *board = memory_system_owner(ms);
    MemoryRegion ram, rom, grows, file;
    int fd = memfd_create("membus-test", MFD_CLOEXEC);

    (void)state;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        HostMemoryBackend *backend = make(ms, "%s", options[i]);
        check_guards(block_of(backend));
        assert_int_equal(
            (uintptr_t)host_of(backend) % host_memory_backend_config(backend)->size % 4096, 0);
        end(ms, backend);
    }
    assert_int_equal(ftruncate(fd, 0x5000), 0);
    make_ram(ms, &ram, "ram", 0x1000);
    OK(memory_region_init_rom(&rom, board, "rom", 0x3000, NULL));
    OK(memory_region_init_resizeable_ram(&grows, board, "grows", 0x1000, 0x9000, NULL, NULL));
    OK(memory_region_init_ram_from_fd(&file, board, "file", 0x5000, RAM_SHARED, fd, 0, NULL));
    check_guards(memory_region_get_ram_block(&ram));
    check_guards(memory_region_get_ram_block(&rom));
    check_guards(memory_region_get_ram_block(&grows));
    check_guards(memory_region_get_ram_block(&file));
    machine_end(ms);
}

static void how_the_kernel_treats_it(void **state)
{
    MemorySystem *ms = machine_start();
    HostMemoryBackend *backend = make(ms, "memory-backend-ram,id=m0,size=4M");
    uint8_t *host = host_of(backend);

    (void)state;
    assert_false(places_has_flag(host, 4 * MIB, "dd"));
    assert_false(places_has_flag(host, 4 * MIB, "nr"));
    end(ms, backend);
    backend = make(ms, "memory-backend-ram,id=m0,size=4M,dump=off,reserve=off,merge=off");
    host = host_of(backend);
    assert_true(places_has_flag(host, 4 * MIB, "dd"));
    assert_true(places_has_flag(host, 4 * MIB, "nr"));
    assert_false(places_has_flag(host, 4 * MIB, "mg"));
    end(ms, backend);
    if (access("/sys/kernel/mm/ksm", F_OK) == 0) {
        backend = make(ms, "memory-backend-ram,id=m0,size=4M");
        assert_true(places_has_flag(host_of(backend), 4 * MIB, "mg"));
        end(ms, backend);
    }
    if (access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0) {
        backend = make(ms, "memory-backend-ram,id=m0,size=4M,thp=on");
        assert_true(places_has_flag(host_of(backend), 4 * MIB, "hg"));
        end(ms, backend);
        backend = make(ms, "memory-backend-ram,id=m0,size=4M,thp=off");
        assert_true(places_has_flag(host_of(backend), 4 * MIB, "nh"));
        end(ms, backend);
    }
    machine_end(ms);
}

static void a_memfd_is_sealed(void **state)
{
    MemorySystem *ms = machine_start();
    HostMemoryBackend *backend = make(ms, "memory-backend-memfd,id=m0,size=1M");
    int fd = qemu_ram_get_fd(block_of(backend));

    (void)state;
    assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    assert_true(ftruncate(fd, 0) && errno == EPERM);
    assert_true(ftruncate(fd, 2 << 20) && errno == EPERM);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    end(ms, backend);
    backend = make(ms, "memory-backend-memfd,id=m0,size=1M,seal=off");
    assert_int_equal(ftruncate(qemu_ram_get_fd(block_of(backend)), 2 << 20), 0);
    end(ms, backend);
    machine_end(ms);
}

static void sizes_are_whole_pages(void **state)
{
    MemorySystem *ms = machine_start();

    (void)state;
    refused(ms, -EINVAL,
            "RAM 'm0': size=5000 is not a multiple of the memory's pages of 4096 bytes",
            "memory-backend-ram,id=m0,size=5000");
    refused(ms, -EINVAL, "RAM 'm0': size=1 is not a multiple of the memory's pages of 4096 bytes",
            "memory-backend-memfd,id=m0,size=1");
    machine_end(ms);
}

static void more_than_the_host_has(void **state)
{
    MemorySystem *ms = machine_start();
    HostMemoryBackend *backend;
    Error *err = NULL;

    (void)state;
    /* More than the address space. */
    refused(ms, -ENOMEM,
            "RAM 'm0': cannot reserve 1152921504606846976 bytes of address space at a "
            "multiple of 0x200000: Cannot allocate memory",
            "memory-backend-ram,id=m0,size=1E,reserve=off");
    /* 16 TiB are mapped without memory behind them, or refused with the way out. */
    backend = host_memory_backend_create(ms, "memory-backend-ram,id=m0,size=16T", &err);
    if (!backend) {
        assert_int_equal(error_get_errno(err), -ENOMEM);
        assert_string_equal(error_get_pretty(err),
                            "RAM 'm0': the host does not set 17592186044416 bytes aside "
                            "(reserve=off maps them all the same): Cannot allocate memory");
        error_free(err);
    }
    OK(host_memory_backend_destroy(backend, NULL));
    memory_system_drain(ms);
    machine_end(ms);
}

/* ---- Huge pages and nodes ------------------------------------------------------ */

static bool read_pool(size_t kib, const char *what, unsigned long *value)
{
    char path[128];
    FILE *file;
    bool ok;

    snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%zukB/%s", kib, what);
    file = fopen(path, "re");
    ok = file && fscanf(file, "%lu", value) == 1;
    if (file) {
        fclose(file);
    }
    return ok;
}

static void huge_pages(void **state)
{
    unsigned long total = 0, unused = 0, promised = 0;
    MemorySystem *ms;
    char sentence[200];

    (void)state;
    if (!read_pool(2048, "nr_hugepages", &total) || !read_pool(2048, "free_hugepages", &unused) ||
        !read_pool(2048, "resv_hugepages", &promised)) {
        print_message("this host has no huge pages of 2M\n");
        skip();
    }
    ms = machine_start();
    /* One more than there can be. */
    snprintf(
        sentence, sizeof sentence,
        "RAM 'm0': it needs %lu huge pages of 2M; the host has %lu, %lu of them free and %lu of "
        "the free ones promised",
        total + 1, total, unused, promised);
    refused(ms, -ENOMEM, sentence, "memory-backend-memfd,id=m0,hugetlb=on,hugetlbsize=2M,size=%luM",
            2 * (total + 1));
    if (unused > promised) {
        HostMemoryBackend *backend =
            make(ms, "memory-backend-memfd,id=m0,hugetlb=on,hugetlbsize=2M,size=2M,prealloc=on");
        assert_int_equal(qemu_ram_pagesize(block_of(backend)), 2 * MIB);
        host_of(backend)[2 * MIB - 1] = 1;
        check_guards(block_of(backend));
        end(ms, backend);
        refused(ms, -EINVAL,
                "RAM 'm0': size=4096 is not a multiple of the memory's pages of 2097152 bytes",
                "memory-backend-memfd,id=m0,hugetlb=on,hugetlbsize=2M,size=4K");
    }
    machine_end(ms);
}

static void unknown_huge_pages(void **state)
{
    MemorySystem *ms = machine_start();
    Error *err = NULL;

    (void)state;
    assert_null(host_memory_backend_create(
        ms, "memory-backend-memfd,id=m0,hugetlb=on,hugetlbsize=3M,size=3M", &err));
    assert_int_equal(error_get_errno(err), -EINVAL);
    if (access("/sys/kernel/mm/hugepages/hugepages-2048kB", F_OK) == 0 &&
        access("/sys/kernel/mm/hugepages/hugepages-1048576kB", F_OK) == 0) {
        assert_string_equal(error_get_pretty(err),
                            "RAM 'm0': hugetlbsize=3145728 is no huge page size of this host, "
                            "which has 2M and 1G");
    }
    error_free(err);
    machine_end(ms);
}

static void numa_nodes(void **state)
{
    unsigned long nodes[16];
    MemorySystem *ms;
    int mode;

    (void)state;
    if (numa_available() < 0) {
        print_message("this kernel has no NUMA policies\n");
        skip();
    }
    ms = machine_start();
    static const struct {
        const char *policy;
        int mode;
    } policies[] = {
        {"bind", MPOL_BIND}, {"preferred", MPOL_PREFERRED}, {"interleave", MPOL_INTERLEAVE}};
    for (size_t i = 0; i < 3; i++) {
        HostMemoryBackend *backend =
            make(ms, "memory-backend-ram,id=m0,size=1M,policy=%s,host-nodes=0,prealloc=on",
                 policies[i].policy);
        assert_int_equal(
            get_mempolicy(&mode, nodes, 8 * sizeof nodes, host_of(backend), MPOL_F_ADDR), 0);
        assert_int_equal(mode, policies[i].mode);
        assert_int_equal(nodes[0], 1);
        end(ms, backend);
    }
    Error *err = NULL;
    assert_null(host_memory_backend_create(
        ms, "memory-backend-ram,id=m0,size=1M,policy=bind,host-nodes=0,host-nodes=100-101", &err));
    assert_int_equal(error_get_errno(err), -EINVAL);
    if (numa_max_node() == 0) {
        assert_string_equal(error_get_pretty(err),
                            "RAM 'm0': host-nodes: the host has no node 100 with memory, only 0");
    }
    error_free(err);
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),
        cmocka_unit_test(callers_memory),
        cmocka_unit_test(guard_pages),
        cmocka_unit_test(how_the_kernel_treats_it),
        cmocka_unit_test(a_memfd_is_sealed),
        cmocka_unit_test(sizes_are_whole_pages),
        cmocka_unit_test(more_than_the_host_has),
        cmocka_unit_test(huge_pages),
        cmocka_unit_test(unknown_huge_pages),
        cmocka_unit_test(numa_nodes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
