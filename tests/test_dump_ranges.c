/* SPDX-License-Identifier: MIT */
/* Dumps of guest addresses, and what dumps are refused for. */
#include "support/rng.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/target.h"

/* ---- guest addresses --------------------------------------------------------------------- */

static uint64_t read_nothing(void *opaque, hwaddr addr, unsigned size)
{
    (void)addr, (void)size;
    ++*(unsigned *)opaque;
    return 0xdead;
}

static void write_nothing(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)addr, (void)data, (void)size;
    ++*(unsigned *)opaque;
}

static const MemoryRegionOps ops = {.read = read_nothing, .write = write_nothing};

/* RAM 0-2fff, ROM 3000-3fff, flash 4000-4fff, uart 5000-50ff, a gap, RAM 6000-8fff */
#define BOARD_SIZE 0x9000U
#define UART 0x5000U
#define GAP 0x5100U

typedef struct Board {
    MemorySystem *ms;
    AddressSpace *as;
    MemoryRegion ram, low, high, rom, flash, uart;
    unsigned calls; /* of devices */
    uint8_t expected[BOARD_SIZE];
} Board;

static void board_start(Board *b)
{
    Rng rng = {3};

    *b = (Board){.ms = machine_start()};
    b->as = memory_system_memory(b->ms);
    MemoryOwner *owner = memory_system_owner(b->ms);
    make_ram(b->ms, &b->ram, "ram", 0x6000);
    make_alias(b->ms, &b->low, &b->ram, 0x3000, 0x3000);
    make_alias(b->ms, &b->high, &b->ram, 0, 0x3000);
    OK(memory_region_init_rom(&b->rom, owner, "bios", 0x1000, NULL));
    OK(memory_region_init_rom_device(&b->flash, owner, &ops, &b->calls, "flash", 0x1000, NULL));
    OK(memory_region_init_io(&b->uart, owner, &ops, &b->calls, "uart", 0x100));
    map_at(b->ms, 0, &b->low);
    map_at(b->ms, 0x3000, &b->rom);
    map_at(b->ms, 0x4000, &b->flash);
    map_at(b->ms, UART, &b->uart);
    map_at(b->ms, 0x6000, &b->high);
    for (unsigned i = 0; i < BOARD_SIZE; i++) {
        if (i < UART || i >= 0x6000) {
            b->expected[i] = (uint8_t)rng_next(&rng);
        }
    }
    address_space_write_rom(b->as, 0, ATTRS, b->expected, BOARD_SIZE);
}

static void guest_ranges(void **state)
{
    static const struct {
        hwaddr addr, size;
        unsigned flags;
    } ranges[] = {{0, UART, 0},          {0x2fff, 2, 0},      {0x123, 0x4321, 0}, {0x8fff, 1, 0},
                  {0x6000, 0x3000, 0},   {77, 0, 0},          {0, BOARD_SIZE, 2}, {UART, 0x100, 2},
                  {GAP, 0xf00, 2},       {0x4fff, 0x1002, 2}, {0x5080, 0x100, 2}, {0x5500, 5, 2},
                  {0xffff0000, 1000, 2}, {0x4001, 0x1000, 2}, {0x4001, 0x1000, 3}};
    static Board b, c;
    static uint8_t found[BOARD_SIZE];

    (void)state;
    assert_int_equal(MEMORY_DUMP_ZERO_FILL, 2);
    board_start(&b);
    for (unsigned i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        hwaddr addr = ranges[i].addr, size = ranges[i].size;
        MemoryDumpOptions options = {.flags = ranges[i].flags};
        uint8_t zero[1000] = {0};
        const uint8_t *expected = addr < BOARD_SIZE ? b.expected + addr : zero;
        int fd = memory_file(0);
        OK(memory_region_rom_device_set_romd(&b.flash, i % 2));
        OK(address_space_save(b.as, addr, size, fd, &options, NULL));
        assert_int_equal(lseek(fd, 0, SEEK_END), size);
        assert_int_equal(pread(fd, found, BOARD_SIZE, 0), size);
        assert_same(found, expected, size);

        board_start(&c); /* its own bytes are others' after this */
        memset(c.expected, 0x3c, UART);
        memset(c.expected + 0x6000, 0x3c, 0x3000);
        address_space_write_rom(c.as, 0, ATTRS, c.expected, BOARD_SIZE);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        OK(address_space_load(c.as, addr, size, fd, &options, NULL));
        for (hwaddr at = addr; at < addr + size && at < BOARD_SIZE; at++) {
            c.expected[at] = b.expected[at];
        }
        address_space_read(c.as, 0, ATTRS, found, UART);
        assert_same(found, c.expected, UART);
        address_space_read(c.as, 0x6000, ATTRS, found, 0x3000);
        assert_same(found, c.expected + 0x6000, 0x3000);
        close(fd);
        assert_int_equal(b.calls + c.calls, 0);
        machine_end(c.ms);
    }
    machine_end(b.ms);
}

static void guest_ranges_from_streams(void **state)
{
    MemoryDumpOptions options = {.flags = MEMORY_DUMP_ZERO_FILL};
    static Board b;
    static Target t;
    static uint8_t found[BOARD_SIZE];

    (void)state;
    board_start(&b);
    for (Kind kind = PIPE; kind < NR_KINDS; kind++) {
        target_open(&t, kind, true);
        memset(t.bytes, 0x10 + (int)kind, BOARD_SIZE);
        t.size = BOARD_SIZE;
        target_feed(&t);
        OK(address_space_load(b.as, 0, BOARD_SIZE, t.fd, &options, NULL));
        target_close(&t);
        address_space_read(b.as, 0, ATTRS, found, UART);
        assert_same(found, t.bytes, UART);
        address_space_read(b.as, 0x6000, ATTRS, found, 0x3000);
        assert_same(found, t.bytes, 0x3000);
    }
    assert_int_equal(b.calls, 0);
    machine_end(b.ms);
}

static void refused_ranges(void **state)
{
    static Board b;
    MemoryRegion unbacked, bar, reserved;
    _Alignas(4096) static uint8_t memory[PAGE];
    MemoryOwner *owner;
    int fd = memory_file(0x1000);
    Error *error = NULL;

    (void)state;
    board_start(&b);
    owner = memory_system_owner(b.ms);
    OK(memory_region_init_ram_unbacked(&unbacked, owner, "nothing", PAGE));
    OK(memory_region_init_ram_device_ptr(&bar, owner, "bar", PAGE, memory));
    OK(memory_region_init_io(&reserved, owner, NULL, NULL, "hole", PAGE));
    map_at(b.ms, 0x10000, &unbacked);
    map_at(b.ms, 0x11000, &bar);
    map_at(b.ms, 0x12000, &reserved);
    REFUSED_SAYING(-EFAULT, "'memory' from 0x0: region 'uart' at 0x5000-0x50ff is MMIO",
                   address_space_save(b.as, 0, 0x9000, fd, NULL, &error));
    assert_string_equal(error_get_pretty(error), membus_last_error());
    error_free(error);
    REFUSED_SAYING(-EFAULT, "nothing answers at 0x5100-0x5fff",
                   address_space_load(b.as, 0x5100, 0x1000, fd, NULL, NULL));
    REFUSED_SAYING(-EFAULT, "nothing answers at 0x9000-0x9000",
                   address_space_save(b.as, 0x8fff, 2, fd, NULL, NULL));
    REFUSED_SAYING(-EFAULT, "nothing answers at 0xffffffffffffffff-0xffffffffffffffff",
                   address_space_save(b.as, UINT64_MAX, 1, fd, NULL, NULL));
    REFUSED_SAYING(-EFAULT, "'nothing' at 0x10001-0x10001 has no memory behind it",
                   address_space_save(b.as, 0x10001, 1, fd, NULL, NULL));
    REFUSED_SAYING(-EFAULT, "'bar' at 0x11000-0x11000 is a device's memory",
                   address_space_save(b.as, 0x11000, 1, fd, NULL, NULL));
    REFUSED_SAYING(-EFAULT, "'hole' at 0x12000-0x12000 is a reservation",
                   address_space_save(b.as, 0x12000, 1, fd, NULL, NULL));
    REFUSED_SAYING(-EINVAL, "end above 2^64",
                   address_space_save(b.as, UINT64_MAX, 2, fd, NULL, NULL));
    REFUSED_SAYING(-EFBIG, "are no file", address_space_save(b.as, 0, UINT64_MAX, fd, NULL, NULL));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    REFUSED_SAYING(-EINVAL, "unknown dump flags 0x8",
                   address_space_save(b.as, 0, 1, fd, &(MemoryDumpOptions){.flags = 8}, NULL));
    assert_int_equal(lseek(fd, 0, SEEK_END), 0x1000); /* nothing was written */
    close(fd);
    machine_end(b.ms);
}

/* ---- sizes ------------------------------------------------------------------------------- */

static void wrong_sizes(void **state)
{
    static Board b;
    static Target t;
    int fd = memory_file(0xfff);

    (void)state;
    board_start(&b);
    REFUSED_SAYING(-EINVAL, "has 4095 bytes from offset 0, less than the 4096 to load",
                   address_space_load(b.as, 0, 0x1000, fd, NULL, NULL));
    assert_int_equal(lseek(fd, 0x500, SEEK_SET), 0x500);
    REFUSED_SAYING(-EINVAL, "has 2815 bytes from offset 1280, more than the 16 to load",
                   address_space_load(b.as, 0, 0x10, fd, NULL, NULL));
    assert_int_equal(lseek(fd, 0x5000, SEEK_SET), 0x5000);
    REFUSED_SAYING(-EINVAL, "has 0 bytes from offset 20480, less than the 16 to load",
                   address_space_load(b.as, 0, 0x10, fd,
                                      &(MemoryDumpOptions){.flags = MEMORY_DUMP_PART}, NULL));
    close(fd);

    target_open(&t, PIPE, true);
    memset(t.bytes, 0x99, 0x1000);
    t.size = 0x1000;
    target_feed(&t);
    REFUSED_SAYING(-EIO, "ended after 4096 of 4097 bytes",
                   address_space_load(b.as, 0, 0x1001, t.fd, NULL, NULL));
    target_close(&t);
    assert_int_equal(address_space_ldub(b.as, 0xfff, ATTRS, NULL), 0x99);
    assert_int_equal(address_space_ldub(b.as, 0x1000, ATTRS, NULL), b.expected[0x1000]);

    target_open(&t, SOCKET, true);
    t.size = 0x1001;
    target_feed(&t);
    REFUSED_SAYING(-EINVAL, "has more than the 4096 bytes to load, which are in",
                   address_space_load(b.as, 0, 0x1000, t.fd, NULL, NULL));
    target_close(&t);
    machine_end(b.ms);
}

/* ---- what the system refuses --------------------------------------------------------------- */

static void system_errors(void **state)
{
    static Board b;
    int fds[2], fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    sigset_t pending;

    (void)state;
    board_start(&b);
    assert_true(fd >= 0);
    REFUSED_SAYING(-ENOSPC, "write: No space left on device, after 0 of 4096 bytes",
                   address_space_save(b.as, 0, 0x1000, fd, NULL, NULL));
    close(fd);
    REFUSED_SAYING(-EBADF, "Bad file descriptor",
                   address_space_save(b.as, 0, 0x1000, fd, NULL, NULL));
    fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    REFUSED_SAYING(-EBADF, "write: Bad file descriptor",
                   address_space_save(b.as, 0, 0x1000, fd, NULL, NULL));
    close(fd);
    fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    OK(ftruncate(fd, 0x1000));
    OK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    REFUSED_SAYING(-EPERM, "after 4096 of 8192 bytes",
                   address_space_save(b.as, 0, 0x2000, fd, NULL, NULL));
    close(fd);
    fd = open("/", O_RDONLY | O_CLOEXEC);
    REFUSED_SAYING(-EISDIR, "read: Is a directory",
                   address_space_load(b.as, 0, 0x2000, fd, NULL, NULL));
    close(fd);

    /* Nobody reads: an error, no signal; not even one that waits. */
    OK(pipe(fds));
    close(fds[0]);
    REFUSED_SAYING(-EPIPE, "Broken pipe", address_space_save(b.as, 0, 0x1000, fds[1], NULL, NULL));
    close(fds[1]);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    close(fds[0]);
    REFUSED_SAYING(-EPIPE, "Broken pipe", address_space_save(b.as, 0, 0x1000, fds[1], NULL, NULL));
    close(fds[1]);
    sigpending(&pending);
    assert_false(sigismember(&pending, SIGPIPE));
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    assert_false(sigismember(&mask, SIGPIPE));
    machine_end(b.ms);
}

/* In a process of its own: the result of a save below a file size limit. */
static int save_with_limit(Board *b, rlim_t limit)
{
    char path[] = "/tmp/test_dump.XXXXXX";
    int status, fd = mkstemp(path);

    assert_true(fd >= 0);
    unlink(path);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, limit});
        int result = address_space_save(b->as, 0, 0x4000, fd, NULL, NULL);
        bool told = strstr(membus_last_error(), "write: File too large, after 8192 of 16384 bytes");
        _exit(result == -EFBIG ? (told ? 1 : 2) : result ? 3 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    close(fd);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void file_size_limit(void **state)
{
    static Board b;

    (void)state;
    board_start(&b);
    assert_int_equal(save_with_limit(&b, 0x2000), 1);
    assert_int_equal(save_with_limit(&b, 0x4000), 0);
    machine_end(b.ms);
}

enum { CHILD_FINE, CHILD_WRONG, CHILD_NO_MOUNT };

static int save_to_full_disk(Board *b)
{
    char path[] = "/tmp/test_dump.XXXXXX", file[64];
    static uint8_t found[0x5000];

    if (!mkdtemp(path)) {
        return CHILD_WRONG;
    }
    bool mounted = unshare(geteuid() ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS) == 0 &&
                   mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                   mount("none", path, "tmpfs", 0, "size=16k") == 0;
    int result = CHILD_NO_MOUNT;
    if (mounted) {
        snprintf(file, sizeof file, "%s/dump", path);
        int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        int saved = address_space_save(b->as, 0, 0x5000, fd, NULL, NULL);
        const char *said = membus_last_error();
        result = saved == -ENOSPC &&
                         strstr(said, "No space left on device, after 16384 of 20480") &&
                         pread(fd, found, sizeof found, 0) == 0x4000 &&
                         memcmp(found, b->expected, 0x4000) == 0
                     ? CHILD_FINE
                     : CHILD_WRONG;
        close(fd);
        umount2(path, MNT_DETACH);
    }
    rmdir(path);
    return result;
}

static void full_disk(void **state)
{
    static Board b;
    int status;

    (void)state;
    board_start(&b);
    pid_t child = fork();
    if (child == 0) {
        _exit(save_to_full_disk(&b));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    machine_end(b.ms);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_NO_MOUNT) {
        print_message("# a small tmpfs cannot be mounted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), CHILD_FINE);
}

static void wrong_files(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryOwner *owner = memory_system_owner(ms);
    MemoryRegion shared, readonly;
    int fd = memory_file(16 * PAGE), fd2 = memory_file(16 * PAGE), other = memory_file(16 * PAGE);
    int same = dup(fd);

    (void)state;
    OK(memory_region_init_ram_from_fd(&shared, owner, "shared", 16 * PAGE, RAM_SHARED, fd, 0,
                                      NULL));
    OK(memory_region_init_ram_from_fd(&readonly, owner, "frozen", 16 * PAGE,
                                      RAM_SHARED | RAM_READONLY, fd2, 0, NULL));
    map_at(ms, 0, &shared);
    map_at(ms, 16 * PAGE, &readonly);
    memset(memory_region_get_ram_ptr(&shared), 1, 16 * PAGE);
    REFUSED_SAYING(-EINVAL, "is the file of RAM 'shared' itself",
                   ram_block_save(memory_region_get_ram_block(&shared), same, NULL, NULL));
    REFUSED_SAYING(-EINVAL, "is the file of RAM 'shared' itself",
                   address_space_save(memory_system_memory(ms), 0, 16 * PAGE, same, NULL, NULL));
    assert_int_equal(*(uint8_t *)memory_region_get_ram_ptr(&shared), 1);
    REFUSED_SAYING(-EACCES, "'frozen' is mapped read-only",
                   ram_block_load(memory_region_get_ram_block(&readonly), other, NULL, NULL));
    OK(ftruncate(other, 32 * PAGE));
    REFUSED_SAYING(-EACCES, "'frozen' is mapped read-only",
                   address_space_load(memory_system_memory(ms), 0, 32 * PAGE, other, NULL, NULL));
    assert_int_equal(*(uint8_t *)memory_region_get_ram_ptr(&shared), 1); /* refused before */
    OK(ftruncate(other, 0));
    OK(ram_block_save(memory_region_get_ram_block(&readonly), other, NULL, NULL));
    close(same);
    close(other);
    machine_end(ms);
}

/* ---- a map that changes meanwhile ------------------------------------------------------- */

typedef struct Shrinking {
    MemoryRegion ram, low, high;
} Shrinking;

static bool shrink(hwaddr done, hwaddr total, void *opaque)
{
    Shrinking *s = opaque;

    (void)done, (void)total;
    OK(memory_region_ram_resize(&s->ram, PAGE, NULL));
    return false;
}

/* A dump is one of the map as it was: with the bytes of what has been cut off since. */
static void ram_that_shrinks(void **state)
{
    MemorySystem *ms = machine_start();
    int fd = memory_file(0);
    Shrinking s;
    uint64_t word = 0;

    (void)state;
    OK(memory_region_init_resizeable_ram(&s.ram, memory_system_owner(ms), "ram", 2 * PAGE, 2 * PAGE,
                                         NULL, NULL));
    make_alias(ms, &s.low, &s.ram, 0, PAGE);
    make_alias(ms, &s.high, &s.ram, PAGE, PAGE);
    map_at(ms, 0, &s.low);
    map_at(ms, 2 * PAGE, &s.high);
    address_space_stq_le(memory_system_memory(ms), 0, 1, ATTRS, NULL);
    address_space_stq_le(memory_system_memory(ms), 2 * PAGE, 2, ATTRS, NULL);
    MemoryDumpOptions options = {.flags = MEMORY_DUMP_ZERO_FILL, .progress = shrink, .opaque = &s};
    OK(address_space_save(memory_system_memory(ms), 0, 3 * PAGE, fd, &options, NULL));
    assert_int_equal(pread(fd, &word, sizeof word, 2 * PAGE), sizeof word);
    assert_int_equal(word, 2);
    close(fd);
    machine_end(ms);
}

static bool cut_file(hwaddr done, hwaddr total, void *opaque)
{
    (void)total;
    return done == 1U << 20 && ftruncate(*(int *)opaque, 1U << 20) != 0;
}

/* What a file lost while it was loaded is missing, not zero. */
static void a_file_that_is_cut(void **state)
{
    MemorySystem *ms = machine_start();
    static uint8_t bytes[2U << 20];
    MemoryRegion ram;
    int fd = memory_file(0);

    (void)state;
    make_ram(ms, &ram, "ram", sizeof bytes);
    memset(bytes, 7, sizeof bytes);
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, 0), sizeof bytes);
    /* Two runs of data, so that the second is looked for after the cut. */
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1U << 20, PAGE), 0);
    MemoryDumpOptions options = {.progress = cut_file, .opaque = &fd};
    REFUSED_SAYING(-EIO, "ended after 1048576 of 2097152 bytes",
                   ram_block_load(memory_region_get_ram_block(&ram), fd, &options, NULL));
    close(fd);
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guest_ranges),     cmocka_unit_test(guest_ranges_from_streams),
        cmocka_unit_test(refused_ranges),   cmocka_unit_test(wrong_sizes),
        cmocka_unit_test(system_errors),    cmocka_unit_test(file_size_limit),
        cmocka_unit_test(full_disk),        cmocka_unit_test(wrong_files),
        cmocka_unit_test(ram_that_shrinks), cmocka_unit_test(a_file_that_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
