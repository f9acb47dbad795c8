/* SPDX-License-Identifier: MIT */
/*
 * test_boot_alloc_fail.c - a machine whose memory ends while it is made: it says so, and takes back
 * all that there was. (What libx86emu and liburcu do without memory is theirs.)
 */
#include "saboteur.h"
#include "vmm/vmm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* One of so many fails, and each of the last ones: all of them would take minutes. */
#define STEP 25
#define LAST 100
#define MANY 100000

static const VmmOptions options = {
    .accel = "soft", .serial = "null", .disk = "/dev/null,readonly", .timeout = 0.001};

/* Returns whether the @k-th allocation was made, and failed. */
static bool boot_without(unsigned long k)
{
    int log = memfd_create("log", MFD_CLOEXEC), before = dup(STDERR_FILENO);

    assert_true(log >= 0 && before >= 0);
    dup2(log, STDERR_FILENO);
    saboteur_arm(k, false);
    int status = vmm_run(&options);
    unsigned long failed = saboteur_disarm();
    dup2(before, STDERR_FILENO);
    if (status == VMM_TROUBLE) {
        assert_true(lseek(log, 0, SEEK_END) > 0);
    } else {
        assert_int_equal(VMM_TIMEOUT, status);
    }
    close(log);
    close(before);
    return failed > 0;
}

static void test_memory_ends(void **state)
{
    unsigned long k = 1;

    (void)state;
    if (access("/usr/share/seabios/bios-256k.bin", R_OK) < 0) {
        print_message("no SeaBIOS\n");
        skip();
    }
    while (k < MANY && boot_without(k)) {
        k += STEP;
    }
    assert_true(k > 1000 && k < MANY);
    for (unsigned long i = k - LAST; i < k; i++) {
        boot_without(i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory_ends)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
