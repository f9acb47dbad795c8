/* SPDX-License-Identifier: MIT */
/* main.c - tests on a real kernel's KVM: kvm-live [NAME...] */
#include "check.h"
#include "kind.h"
#include "tests.h"

static const LiveTest tests[] = {
    {"bare_real_mode", test_bare_real_mode},
    {"bare_flat_mode", test_bare_flat_mode},
    {"real_mode", test_real_mode},
    {"register_again", test_register_again},
    {"slots", test_slots},
    {"smm", test_smm},
    {"io", test_io},
    {"io_by_exits", test_io_by_exits},
    {"banks", test_banks},
    {"hammer", test_hammer},
    {"hammer_two_vcpus", test_hammer_two_vcpus},
    {"dirty_bitmap", test_dirty_bitmap},
    {"dirty_manual", test_dirty_manual},
    {"dirty_ring", test_dirty_ring},
    {"dirty_ring_full", test_dirty_ring_full},
};

int main(int argc, char **argv)
{
    const char *unusable = kind_unusable();

    if (unusable) {
        return check_skip_all(unusable);
    }
    kind_print();
    return check_main(tests, sizeof tests / sizeof tests[0], argc, argv);
}
