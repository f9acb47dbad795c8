/* SPDX-License-Identifier: MIT */
/* Memory backends over files: made, grown, kept, left as they were found. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ram/hostmem.h"
#include "support/backends.h"

#define MIB ((size_t)1 << 20)

static off_t size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) ? -1 : st.st_size;
}

static void a_file_is_made_grown_and_kept(void **state)
{
    MemorySystem *ms = machine_start();
    char dir[64], path[80];

    (void)state;
    places_make_dir(dir);
    snprintf(path, sizeof path, "%s/ram", dir);
    HostMemoryBackend *backend =
        make(ms, "memory-backend-file,id=m0,size=1M,share=on,mem-path=%s", path);
    host_of(backend)[5] = 7;
    assert_int_equal(size_of(path), MIB);
    end(ms, backend);
    assert_int_equal(size_of(path), MIB);

    backend = make(ms, "memory-backend-file,id=m0,size=2M,offset=4K,share=on,mem-path=%s", path);
    assert_int_equal(size_of(path), 2 * MIB + 4096);
    assert_int_equal(qemu_ram_get_fd_offset(block_of(backend)), 4096);
    host_of(backend)[2 * MIB - 1] = 8;
    end(ms, backend);

    backend = make(ms, "memory-backend-file,id=m0,size=8K,readonly=on,mem-path=%s", path);
    assert_int_equal(host_of(backend)[5], 7);
    assert_true(memory_region_is_rom(host_memory_backend_get_memory(backend)));
    end(ms, backend);

    backend =
        make(ms, "memory-backend-file,id=m0,size=4K,share=on,discard-data=on,mem-path=%s", path);
    assert_int_equal(host_of(backend)[5], 7);
    end(ms, backend);
    int fd = open(path, O_RDONLY);
    uint8_t byte = 9;
    assert_true(fd >= 0 && pread(fd, &byte, 1, 5) == 1);
    assert_int_equal(byte, 0);
    assert_int_equal(pread(fd, &byte, 1, 2 * MIB + 4095), 1);
    assert_int_equal(byte, 8);
    close(fd);
    unlink(path);
    places_remove_dir(dir);
    machine_end(ms);
}

static void a_file_that_does_not_do(void **state)
{
    MemorySystem *ms = machine_start();
    char dir[64], path[80], sentence[256];

    (void)state;
    places_make_dir(dir);
    snprintf(path, sizeof path, "%s/ram", dir);

    /* Made, and then the size is wrong: gone again. */
    refused(ms, -EINVAL,
            "RAM 'm0': size=5000 is not a multiple of the memory's pages of 4096 bytes",
            "memory-backend-file,id=m0,size=5000,mem-path=%s", path);
    assert_int_equal(size_of(path), -1);
    refused(ms, -EINVAL, "RAM 'm0': offset 0x201 is not a multiple of the 4096-byte page",
            "memory-backend-file,id=m0,size=8K,offset=513,mem-path=%s", path);
    assert_int_equal(size_of(path), -1);
    refused(ms, -ENOMEM,
            "RAM 'm0': cannot reserve 4611686018427387904 bytes of address space at a "
            "multiple of 0x200000: Cannot allocate memory",
            "memory-backend-file,id=m0,size=4E,mem-path=/dev/null,reserve=off");

    /* Too short, and only to be read. */
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 6000), 0);
    refused(ms, -EINVAL, "RAM 'm0': the file of 6000 bytes ends before offset 0x0 + 8192 bytes",
            "memory-backend-file,id=m0,size=8K,readonly=on,mem-path=%s", path);
    refused(ms, -EINVAL, "RAM 'm0': the file of 6000 bytes ends before offset 0x2000 + 4096 bytes",
            "memory-backend-file,id=m0,size=4K,offset=8K,readonly=on,mem-path=%s", path);
    refused(ms, -EINVAL, "RAM 'm0': the file of 6000 bytes ends before offset 0x0 + 8192 bytes",
            "memory-backend-fd,id=m0,size=8K,share=on,fd=%d", fd);

    /* Grown, and then it cannot be mapped: as long as it was. */
    snprintf(sentence, sizeof sentence,
             "RAM 'm0': cannot grow %s to 9223372036854775808 bytes: File too large", path);
    refused(ms, -EFBIG, sentence, "memory-backend-file,id=m0,size=8E,mem-path=%s", path);
    Error *err = NULL;
    char options[200];
    snprintf(options, sizeof options,
             "memory-backend-file,id=m0,size=1M,policy=bind,host-nodes=127,mem-path=%s", path);
    assert_null(host_memory_backend_create(ms, options, &err)); /* few hosts have that node */
    error_free(err);
    err = NULL;
    assert_int_equal(size_of(path), 6000);

    snprintf(sentence, sizeof sentence,
             "RAM 'm0': cannot open %s/no/ram: No such file or directory", dir);
    refused(ms, -ENOENT, sentence, "memory-backend-file,id=m0,size=8K,mem-path=%s/no/ram", dir);
    snprintf(sentence, sizeof sentence,
             "RAM 'm0': %s is a directory, and a new file cannot be read-only", dir);
    refused(ms, -EISDIR, sentence, "memory-backend-file,id=m0,size=8K,readonly=on,mem-path=%s",
            dir);

    /* A pipe is no memory; nobody waits for its other end. */
    close(fd);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(options, sizeof options, "memory-backend-file,id=m0,size=8K,readonly=on,mem-path=%s",
             path);
    assert_null(host_memory_backend_create(ms, options, &err));
    assert_int_equal(error_get_errno(err), -ENODEV);
    error_free(err);
    unlink(path);
    places_remove_dir(dir);
    machine_end(ms);
}

/* Who undoes a step that failed must not unmap what others have mapped there since. */
static void a_failed_mapping_leaves_no_trace(void **state)
{
    HostMapping mapping = {.name = "m0", .size = 4096, .fd = -1};
    HostMemory memory;
    int pipe_fds[2];

    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    mapping.fd = pipe_fds[0];
    REFUSED(-ENODEV, hostmem_map(&memory, &mapping));
    assert_null(memory.area);
    close(pipe_fds[0]);
    close(pipe_fds[1]);

    mapping.fd = -1;
    OK(hostmem_map(&memory, &mapping));
    void *area = memory.area;
    hostmem_unmap(&memory);
    void *other = mmap(area, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    assert_ptr_equal(other, area);
    hostmem_unmap(&memory);
    assert_int_equal(*(volatile char *)other, 0);
    munmap(other, 4096);
}

/* A limit of the program is an error, not the end of the program. */
static void limits_of_the_process(void **state)
{
    MemorySystem *ms = machine_start();
    struct rlimit before, low;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    low = (struct rlimit){65536, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    refused(ms, -EFBIG, "RAM 'm0': cannot grow its memory file to 1048576 bytes: File too large",
            "memory-backend-memfd,id=m0,size=1M");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);

    /* Not "the host does not set bytes aside": there is no room for them. */
    refused(ms, -ENOMEM,
            "RAM 'm0': cannot reserve 4611686018427387904 bytes of address space at a "
            "multiple of 0x200000: Cannot allocate memory",
            "memory-backend-ram,id=m0,size=4E");
    machine_end(ms);
}

/* However long the path is, the reason is in the sentence. */
static void a_long_path(void **state)
{
    MemorySystem *ms = machine_start();
    char path[401] = "/nowhere/", sentence[256];

    (void)state;
    memset(path + 9, 'x', 200);
    memset(path + 209, '/', 1);
    memset(path + 210, 'y', 190);
    snprintf(sentence, sizeof sentence, "RAM 'm0': cannot open ...%s: No such file or directory",
             path + 400 - 124);
    refused(ms, -ENOENT, sentence, "memory-backend-file,id=m0,size=8K,mem-path=%s", path);
    machine_end(ms);
}

static void the_callers_fd(void **state)
{
    MemorySystem *ms = machine_start();
    int fd = memfd_create("membus-test", MFD_CLOEXEC), other;
    uint8_t byte = 7;

    (void)state;
    assert_int_equal(ftruncate(fd, 0x3000), 0);
    HostMemoryBackend *backend =
        make(ms, "memory-backend-fd,id=m0,size=8K,offset=4K,share=on,fd=%d", fd);
    assert_int_equal(pwrite(fd, &byte, 1, 0x1003), 1);
    other = dup(fd);
    close(fd); /* by the caller */
    assert_int_equal(host_of(backend)[3], 7);
    host_of(backend)[0x1fff] = 8;
    assert_int_equal(pread(other, &byte, 1, 0x2fff), 1);
    assert_int_equal(byte, 8);
    end(ms, backend);
    assert_true(fcntl(other, F_GETFD) >= 0);
    close(other);

    char sentence[100];
    snprintf(sentence, sizeof sentence, "RAM 'm0': cannot duplicate fd %d: Bad file descriptor",
             other);
    refused(ms, -EBADF, sentence, "memory-backend-fd,id=m0,size=8K,fd=%d", other);
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_made_grown_and_kept),
        cmocka_unit_test(a_file_that_does_not_do),
        cmocka_unit_test(a_failed_mapping_leaves_no_trace),
        cmocka_unit_test(limits_of_the_process),
        cmocka_unit_test(a_long_path),
        cmocka_unit_test(the_callers_fd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
