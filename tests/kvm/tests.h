/* SPDX-License-Identifier: MIT */
/* tests.h - all tests of kvm-live. */
#ifndef TESTS_KVM_TESTS_H
#define TESTS_KVM_TESTS_H

void test_bare_real_mode(void);
void test_bare_flat_mode(void);
void test_real_mode(void);
void test_register_again(void);
void test_slots(void);
void test_smm(void);
void test_banks(void);
void test_io(void);
void test_io_by_exits(void);
void test_hammer(void);
void test_hammer_two_vcpus(void);
void test_dirty_bitmap(void);
void test_dirty_manual(void);
void test_dirty_ring(void);
void test_dirty_ring_full(void);

#endif
