/* SPDX-License-Identifier: MIT */
/*
 * Preallocation: all of it is there, its progress is told, and memory or room that is short is a
 * sentence. No test may die of SIGBUS or of the OOM killer.
 */
#include "ram/hostinfo.h"
#include "ram/hostmem.h"
#include "ram/prealloc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/backends.h"

#define MIB ((size_t)1 << 20)

/* ---- All of it ----------------------------------------------------------------- */

typedef struct Told {
    pthread_t thread;
    hwaddr done, total;
    unsigned calls;
} Told;

static void tell(hwaddr done, hwaddr total, void *opaque)
{
    Told *told = opaque;

    assert_true(pthread_equal(pthread_self(), told->thread));
    assert_true(done >= told->done && done <= total);
    assert_true(!told->calls || total == told->total);
    told->done = done;
    told->total = total;
    told->calls++;
}

static void all_of_it(void **state)
{
    static const char *const options[] = {
        "memory-backend-ram,id=m0,size=100M,prealloc=on",
        "memory-backend-ram,id=m0,size=100M,prealloc=on,thp=on",
        "memory-backend-ram,id=m0,size=99996K,prealloc=on,prealloc-threads=1",
        "memory-backend-ram,id=m0,size=4K,prealloc=on,prealloc-threads=256",
        "memory-backend-memfd,id=m0,size=100M,prealloc=on,prealloc-threads=3",
        "memory-backend-memfd,id=m0,size=100M,prealloc=on,share=off",
        "memory-backend-shm,id=m0,size=100M,prealloc=on,prealloc-threads=2",
        "memory-backend-file,id=m0,size=20M,prealloc=on,share=on,mem-path=/tmp",
    };
    MemorySystem *ms = machine_start();

    (void)state;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        Told told = {.thread = pthread_self()};
        HostMemoryConfig config;
        char *storage;
        OK(host_memory_config_parse(options[i], &config, &storage, NULL));
        config.progress = tell;
        config.progress_opaque = &told;
        HostMemoryBackend *backend = host_memory_backend_create_config(ms, &config, NULL);
        if (!backend) {
            fail_msg("%s: %s", options[i], membus_last_error());
        }
        assert_true(told.calls && told.done == config.size && told.total == config.size);
        assert_int_equal(places_smaps(host_of(backend), config.size, "Rss:"), config.size);
        assert_int_equal(host_of(backend)[config.size - 1], 0);
        end(ms, backend);
        free(storage);
    }
    HostMemoryBackend *backend = make(ms, "memory-backend-ram,id=m0,size=100M");
    assert_int_equal(places_smaps(host_of(backend), 100 * MIB, "Rss:"), 0);
    end(ms, backend);
    machine_end(ms);
}

/* What a file holds is there afterwards. */
static void contents_stay(void **state)
{
    MemorySystem *ms = machine_start();
    int fd = memfd_create("membus-test", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(ftruncate(fd, 4 * MIB), 0);
    assert_int_equal(pwrite(fd, "guest", 5, 2 * MIB - 2), 5);
    for (unsigned i = 0; i < 4; i++) {
        HostMemoryBackend *backend =
            make(ms, "memory-backend-fd,id=m0,size=4M,fd=%d,prealloc=on,share=%s,readonly=%s", fd,
                 i & 1 ? "on" : "off", i & 2 ? "on" : "off");
        assert_memory_equal(host_of(backend) + 2 * MIB - 2, "guest", 5);
        end(ms, backend);
    }
    close(fd);
    machine_end(ms);
}

/* ---- Without MADV_POPULATE ----------------------------------------------------- */

static void page_by_page(void **state)
{
    int fd = memfd_create("membus-test", MFD_CLOEXEC);
    HostMapping mapping = {.name = "m0", .size = 64 * 4096, .fd = fd, .shared = true};
    HostMemory memory;
    size_t done;

    (void)state;
    assert_int_equal(ftruncate(fd, 64 * 4096), 0);
    assert_int_equal(pwrite(fd, "guest", 5, 4096), 5);
    OK(hostmem_map(&memory, &mapping));
    assert_int_equal(prealloc_touch(memory.host, memory.size, 4096, true, &done), 0);
    assert_int_equal(done, memory.size);
    assert_int_equal(prealloc_touch(memory.host, memory.size, 4096, false, &done), 0);
    assert_int_equal(done, memory.size);
    assert_int_equal(places_smaps(memory.host, memory.size, "Rss:"), memory.size);
    assert_memory_equal(memory.host + 4096, "guest", 5);
    /* The file is cut behind our back: an instruction would be SIGBUS. */
    assert_int_equal(ftruncate(fd, 10 * 4096), 0);
    assert_int_equal(prealloc_touch(memory.host, memory.size, 4096, false, &done), EFAULT);
    assert_int_equal(done, 10 * 4096);
    assert_int_equal(prealloc_touch(memory.host, memory.size, 4096, true, &done), EFAULT);
    assert_int_equal(done, 10 * 4096);

    Prealloc work = {.name = "m0",
                     .host = memory.host,
                     .size = memory.size,
                     .page_size = 4096,
                     .fd = fd,
                     .shared = true};
    assert_int_equal(prealloc(&work), -ENOSPC);
    assert_string_equal(membus_last_error(),
                        "RAM 'm0': preallocation of 262144 bytes stopped in the 33554432 from 0x0: "
                        "the file has no more room there (it was cut, or its file system is full)");
    hostmem_unmap(&memory);
    close(fd);
}

/* ---- Too little ---------------------------------------------------------------- */

static uint64_t meminfo(const char *key)
{
    FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    uint64_t kib = 0;

    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) == 0) {
            kib = strtoull(line + strlen(key), NULL, 10);
        }
    }
    fclose(file);
    return kib * 1024;
}

static void more_memory_than_there_is(void **state)
{
    static const char *const kinds[] = {"memory-backend-ram,reserve=off", "memory-backend-memfd",
                                        "memory-backend-memfd,share=off,reserve=off"};
    MemorySystem *ms = machine_start();
    /* Four times all of it: nothing that others do makes that fit. */
    uint64_t size = 4 * (meminfo("MemTotal:") + meminfo("SwapTotal:"));

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        unsigned fds = places_open_fds();
        char options[200], begin[100];
        Error *err = NULL;
        snprintf(options, sizeof options, "%s,id=m0,prealloc=on,size=%" PRIu64, kinds[i], size);
        snprintf(begin, sizeof begin,
                 "RAM 'm0': preallocation needs %" PRIu64 " bytes of memory, and ", size);
        assert_null(host_memory_backend_create(ms, options, &err));
        assert_int_equal(error_get_errno(err), -ENOMEM);
        if (strncmp(error_get_pretty(err), begin, strlen(begin)) != 0) {
            fail_msg("%s", error_get_pretty(err));
        }
        error_free(err);
        assert_int_equal(places_open_fds(), fds);
    }
    machine_end(ms);
}

static char small_disk[64];

/* A tmpfs of 4 MiB that only this process sees, if it may mount. */
static bool mount_small_disk(void)
{
    if (!*small_disk) {
        return false;
    }
    return mount("none", small_disk, "tmpfs", 0, "size=4M") == 0;
}

static void a_full_disk(void **state)
{
    char path[80], sentence[300];
    MemorySystem *ms;
    struct stat st;

    (void)state;
    if (!mount_small_disk()) {
        print_message("this process may not mount a small tmpfs\n");
        skip();
    }
    ms = machine_start();
    snprintf(path, sizeof path, "%s/ram", small_disk);

    /* More than it has room for: known beforehand, and the file was never there. */
    refused(ms, -ENOSPC,
            "RAM 'm0': preallocation needs 8388608 more bytes in its file, whose file system has "
            "4194304 free",
            "memory-backend-file,id=m0,size=8M,share=on,prealloc=on,mem-path=%s", path);
    assert_true(stat(path, &st) && errno == ENOENT);

    /* Without preallocation a sparse file is as long as one likes. */
    HostMemoryBackend *backend =
        make(ms, "memory-backend-file,id=m0,size=8M,share=on,mem-path=%s", path);
    host_of(backend)[0] = 1;
    end(ms, backend);

    /* Known beforehand for a file that exists and is longer than it will be left. */
    refused(ms, -ENOSPC,
            "RAM 'm0': preallocation needs 16773120 more bytes in its file, whose file system has "
            "4190208 free",
            "memory-backend-file,id=m0,size=16M,share=on,prealloc=on,mem-path=%s", path);
    assert_true(stat(path, &st) == 0 && st.st_size == (off_t)(8 * MIB));

    /* Blocks of another part of the file hide what is missing: found while touching. */
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && fallocate(fd, 0, 0, 3 * MIB) == 0);
    snprintf(
        sentence, sizeof sentence,
        "RAM 'm0': preallocation of 3145728 bytes stopped in the 33554432 from 0x0: the file has "
        "no more room there (it was cut, or its file system is full)");
    refused(ms, -ENOSPC, sentence,
            "memory-backend-file,id=m0,size=3M,offset=4M,share=on,prealloc=on,mem-path=%s", path);
    assert_true(stat(path, &st) == 0 && st.st_size == (off_t)(8 * MIB));

    /* The same through the functions for old kernels. */
    uint8_t *host = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    size_t done;
    assert_true(host != MAP_FAILED);
    assert_int_equal(prealloc_touch(host, 8 * MIB, 4096, false, &done), EFAULT);
    assert_true(done <= 4 * MIB);
    munmap(host, 8 * MIB);

    /* What is there is enough for what is small. */
    assert_int_equal(ftruncate(fd, 0), 0);
    backend = make(ms, "memory-backend-file,id=m0,size=3M,share=on,prealloc=on,mem-path=%s", path);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_blocks * 512, 3 * MIB);
    end(ms, backend);
    close(fd);
    unlink(path);
    machine_end(ms);
    umount(small_disk);
}

/* ---- What is available, on hosts that are made up ------------------------------ */

static void put(const char *root, const char *path, const char *text)
{
    char whole[256];

    snprintf(whole, sizeof whole, "%s%s", root, path);
    for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *file = fopen(whole, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void remove_tree(const char *root)
{
    char command[128];

    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
}

#define MEMINFO                                                                                    \
    "MemTotal: 99999 kB\nMemFree: 1 kB\nMemAvailable:    1000 kB\nSwapTotal: 500 kB\nSwapFree:  "  \
    "200 kB\n"

static void check_available(const char *root, uint64_t bytes, const char *limit)
{
    AvailableMemory all = hostinfo_available(root, NULL, 0);

    assert_int_equal(all.bytes, bytes);
    assert_string_equal(all.limit, limit);
}

static void available_on_a_plain_host(void **state)
{
    char root[64];

    (void)state;
    places_make_dir(root);
    assert_true(hostinfo_available(root, NULL, 0).bytes == UINT64_MAX); /* nobody says anything */
    put(root, "/proc/meminfo", MEMINFO);
    check_available(root, 1200 * 1024, "what the host has available");
    remove_tree(root);
}

static void available_in_cgroups(void **state)
{
    char root[64];

    (void)state;
    places_make_dir(root);
    put(root, "/proc/meminfo", MEMINFO);
    put(root, "/proc/self/cgroup", "0::/vm.slice/guest\n");
    put(root, "/sys/fs/cgroup/vm.slice/guest/memory.max", "max\n");
    put(root, "/sys/fs/cgroup/vm.slice/memory.max", "900000\n");
    put(root, "/sys/fs/cgroup/vm.slice/memory.current", "700000\n");
    put(root, "/sys/fs/cgroup/vm.slice/memory.stat",
        "anon 1\nfile 300000\ninactive_file 50000\nactive_file 7000\n");
    /* 900000 - (700000 - 57000) and the swap space */
    check_available(root, 257000 + 200 * 1024, "the limit of memory cgroup /vm.slice");
    put(root, "/sys/fs/cgroup/vm.slice/memory.swap.max", "5000\n");
    put(root, "/sys/fs/cgroup/vm.slice/memory.swap.current", "4000\n");
    check_available(root, 258000, "the limit of memory cgroup /vm.slice");
    put(root, "/sys/fs/cgroup/memory.max", "1\n"); /* a container's own root */
    put(root, "/sys/fs/cgroup/memory.swap.max", "0\n");
    check_available(root, 1, "the limit of memory cgroup /");
    put(root, "/sys/fs/cgroup/memory.max", "max\n");
    put(root, "/sys/fs/cgroup/vm.slice/guest/memory.max", "100\n");
    put(root, "/sys/fs/cgroup/vm.slice/guest/memory.swap.max", "0\n");
    put(root, "/sys/fs/cgroup/vm.slice/guest/memory.current", "5000\n"); /* above its limit */
    check_available(root, 0, "the limit of memory cgroup /vm.slice/guest");

    put(root, "/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/old\n0::/none\n");
    put(root, "/sys/fs/cgroup/memory/old/memory.limit_in_bytes", "400000\n");
    put(root, "/sys/fs/cgroup/memory/old/memory.usage_in_bytes", "150000\n");
    put(root, "/sys/fs/cgroup/memory/old/memory.stat",
        "inactive_file 9\ntotal_inactive_file 1000\ntotal_active_file 500\n");
    check_available(root, 251500 + 200 * 1024, "the limit of memory cgroup /old");
    put(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    check_available(root, 251500 + 200 * 1024, "the limit of memory cgroup /old");
    remove_tree(root);
}

static void available_on_nodes(void **state)
{
    unsigned long first = 1, both = 3;
    char root[64];

    (void)state;
    places_make_dir(root);
    put(root, "/proc/meminfo", MEMINFO);
    put(root, "/sys/devices/system/node/node0/meminfo",
        "Node 0 MemTotal: 999 kB\nNode 0 MemFree: 100 kB\nNode 0 Active(file): 20 kB\nNode 0 "
        "Inactive(file): 3 kB\n");
    assert_int_equal(hostinfo_available(root, &first, 64).bytes, 1200 * 1024); /* the only one */
    put(root, "/sys/devices/system/node/node1/meminfo",
        "Node 1 MemTotal: 999 kB\nNode 1 MemFree: 100 kB\nNode 1 Active(file): 20 kB\nNode 1 "
        "Inactive(file): 3 kB\n");
    AvailableMemory all = hostinfo_available(root, &first, 64);
    assert_int_equal(all.bytes, 123 * 1024);
    assert_string_equal(all.limit, "what its NUMA nodes have free");
    assert_int_equal(hostinfo_available(root, &both, 64).bytes, 1200 * 1024);
    remove_tree(root);
}

/* A mount namespace of its own, so that no mount is left or seen; before there are threads. */
static void own_mounts(void)
{
    if (unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
        snprintf(small_disk, sizeof small_disk, "/tmp/membus-test-XXXXXX");
        if (!mkdtemp(small_disk)) {
            *small_disk = '\0';
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it),
        cmocka_unit_test(contents_stay),
        cmocka_unit_test(page_by_page),
        cmocka_unit_test(more_memory_than_there_is),
        cmocka_unit_test(a_full_disk),
        cmocka_unit_test(available_on_a_plain_host),
        cmocka_unit_test(available_in_cgroups),
        cmocka_unit_test(available_on_nodes),
    };

    own_mounts();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (*small_disk) {
        umount2(small_disk, MNT_DETACH);
        rmdir(small_disk);
    }
    return failed;
}
