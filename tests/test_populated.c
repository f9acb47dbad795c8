/* SPDX-License-Identifier: MIT */
/* Which pages of a block may hold anything: never too few, and for untouched memory none. */
#include "map/system.h"
#include "ram/populated.h"
#include "support/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/backends.h"

#define PAGES 2000u
#define PAGE 4096u

/* Mark the pages of the runs in @seen, which come in order and do not overlap. */
static void scan_block(RAMBlock *block, bool *seen)
{
    PopulatedScan scan;
    hwaddr at = 0, first, last;

    memset(seen, 0, PAGES);
    populated_begin(&scan, block);
    while (populated_next(&scan, at, &first, &last)) {
        assert_true(first >= at && last >= first && last < (hwaddr)PAGES * PAGE);
        for (hwaddr page = first / PAGE; page <= last / PAGE; page++) {
            seen[page] = true;
        }
        at = last + 1;
    }
    /* Asked at random places, it says the same. */
    Rng rng = {1};
    for (unsigned i = 0; i < 500; i++) {
        unsigned page = rng_below(&rng, PAGES), next = page;
        while (next < PAGES && !seen[next]) {
            next++;
        }
        hwaddr offset = (hwaddr)page * PAGE + rng_below(&rng, PAGE);
        if (populated_next(&scan, offset, &first, &last)) {
            assert_int_equal(first, next == page ? offset : (hwaddr)next * PAGE);
            assert_true(last >= first);
        } else {
            assert_int_equal(next, PAGES);
        }
    }
    populated_end(&scan);
}

/* Write some pages, read others; @exact: what was not written is not seen. */
static void check_block(RAMBlock *block, bool exact, bool *expected)
{
    uint8_t *host = qemu_ram_get_host_addr(block);
    static bool seen[PAGES];
    Rng rng = {42};

    for (unsigned round = 0; round < 8; round++) {
        scan_block(block, seen);
        for (unsigned page = 0; page < PAGES; page++) {
            if (expected[page] && !seen[page]) {
                fail_msg("page %u of %s is missed", page, qemu_ram_get_idstr(block));
            }
            if (exact && seen[page] && !expected[page]) {
                fail_msg("page %u of %s was never touched", page, qemu_ram_get_idstr(block));
            }
        }
        for (unsigned i = 0; i < 1u << round; i++) {
            unsigned page = rng_below(&rng, PAGES), run = 1 + rng_below(&rng, 20);
            for (unsigned k = page; k < PAGES && k < page + run; k++) {
                host[(size_t)k * PAGE + rng_below(&rng, PAGE)] = 1;
                expected[k] = true;
            }
        }
    }
}

static void memory_of_ours(void **state)
{
    static const struct {
        const char *options;
        bool exact;
    } kinds[] = {
        {"memory-backend-ram,id=anonymous,size=8000K,thp=off", true},
        {"memory-backend-ram,id=unreserved,size=8000K,thp=off,reserve=off", true},
        {"memory-backend-ram,id=shared,size=8000K,share=on", true},
        {"memory-backend-memfd,id=memfd,size=8000K", true},
        {"memory-backend-memfd,id=private,size=8000K,share=off", true},
        {"memory-backend-shm,id=shm,size=8000K", true},
        {"memory-backend-file,id=file,size=8000K,mem-path=/tmp,share=on", false},
        {"memory-backend-file,id=private-file,size=8000K,mem-path=/tmp", false},
        {"memory-backend-ram,id=huge,size=8000K,thp=on", false},
    };
    MemorySystem *ms = machine_start();

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bool expected[PAGES] = {false};
        HostMemoryBackend *backend = make(ms, "%s", kinds[i].options);
        check_block(block_of(backend), kinds[i].exact, expected);
        end(ms, backend);
    }
    machine_end(ms);
}

/* Behind an absent page of a private mapping is the file. */
static void a_file_with_data(void **state)
{
    MemorySystem *ms = machine_start();
    int fd = memfd_create("membus-test", MFD_CLOEXEC);
    uint8_t byte = 1;

    (void)state;
    assert_int_equal(ftruncate(fd, (off_t)(PAGES + 16) * PAGE), 0);
    for (unsigned share = 0; share < 2; share++) {
        bool expected[PAGES] = {false};
        for (unsigned page = 3; page < PAGES; page += 97) {
            assert_int_equal(pwrite(fd, &byte, 1, (off_t)(page + 16) * PAGE), 1);
        }
        /* Data before and behind the block is none of its own. */
        assert_int_equal(pwrite(fd, &byte, 1, 0), 1);
        off_t position = lseek(fd, 1234, SEEK_SET);
        HostMemoryBackend *backend =
            make(ms, "memory-backend-fd,id=m0,size=8000K,offset=64K,thp=off,share=%s,fd=%d",
                 share ? "on" : "off", fd);
        for (unsigned page = 0; page < PAGES; page++) {
            expected[page] = page >= 3 && (page - 3) % 97 == 0;
        }
        check_block(block_of(backend), true, expected);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), position); /* nobody moved the caller's file */
        end(ms, backend);
        assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                                   (off_t)(PAGES + 16) * PAGE),
                         0);
    }
    close(fd);
    machine_end(ms);
}

/* What another descriptor writes counts as well; a hole that is punched does not. */
static void others_write_too(void **state)
{
    MemorySystem *ms = machine_start();
    HostMemoryBackend *backend = make(ms, "memory-backend-memfd,id=m0,size=8000K");
    int fd = qemu_ram_get_fd(block_of(backend));
    static bool seen[PAGES];
    uint8_t byte = 1;

    (void)state;
    assert_int_equal(pwrite(fd, &byte, 1, 700 * PAGE + 5), 1);
    scan_block(block_of(backend), seen);
    for (unsigned page = 0; page < PAGES; page++) {
        assert_int_equal(seen[page], page == 700);
    }
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 700 * PAGE, PAGE),
                     0);
    scan_block(block_of(backend), seen);
    assert_false(seen[700]);
    end(ms, backend);
    machine_end(ms);
}

static void memory_that_nobody_knows(void **state)
{
    MemorySystem *ms = machine_start();
    uint8_t *bytes =
        mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    PopulatedScan scan;
    MemoryRegion mr;
    hwaddr first, last;

    (void)state;
    assert_true(bytes != MAP_FAILED);
    OK(memory_region_init_ram_ptr(&mr, memory_system_owner(ms), "mine", PAGES * PAGE - 7, bytes));
    populated_begin(&scan, memory_region_get_ram_block(&mr));
    assert_true(populated_next(&scan, 0, &first, &last));
    assert_true(first == 0 && last == PAGES * PAGE - 8);
    assert_true(populated_next(&scan, 12345, &first, &last));
    assert_true(first == 12345 && last == PAGES * PAGE - 8);
    assert_false(populated_next(&scan, PAGES * PAGE - 7, &first, &last));
    populated_end(&scan);
    machine_end(ms);
    munmap(bytes, PAGES * PAGE);
}

/* A terabyte of which two pages are used: found at once, and no page comes of looking. */
static void a_terabyte(void **state)
{
    MemorySystem *ms = machine_start();
    HostMemoryBackend *backend = make(ms, "memory-backend-ram,id=m0,size=1T,reserve=off,thp=off");
    uint8_t *host = host_of(backend);
    PopulatedScan scan;
    hwaddr first, last;

    (void)state;
    host[1ULL << 39] = 1;
    host[(1ULL << 40) - 1] = 1;
    populated_begin(&scan, block_of(backend));
    assert_true(populated_next(&scan, 0, &first, &last));
    assert_true(first == 1ULL << 39 && last == (1ULL << 39) + PAGE - 1);
    assert_true(populated_next(&scan, last + 1, &first, &last));
    assert_true(first == (1ULL << 40) - PAGE && last == (1ULL << 40) - 1);
    assert_false(populated_next(&scan, last + 1, &first, &last));
    populated_end(&scan);
    assert_int_equal(places_smaps(host, 1ULL << 40, "Rss:"), 2 * PAGE);
    end(ms, backend);
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_of_ours),   cmocka_unit_test(a_file_with_data),
        cmocka_unit_test(others_write_too), cmocka_unit_test(memory_that_nobody_knows),
        cmocka_unit_test(a_terabyte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
