/* SPDX-License-Identifier: MIT */
/* The walk of the guest's page tables, in each mode, with tables made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/vm.h"
#include "vmm/paging.h"

#define CR0_PG (1U << 31)
#define PSE (1U << 4)
#define PAE (1U << 5)
#define LA57 (1U << 12)
#define LMA (1U << 10)
#define PS 0x80U
#define P 1U

static Vm *vm;
static AddressSpace *as;

static int setup(void **state)
{
    (void)state;
    vm = vm_create(NULL);
    as = memory_system_memory(vm->machine.ms);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vm_destroy(vm);
    return 0;
}

static void put32(hwaddr addr, uint32_t value)
{
    address_space_stl_le(as, addr, value, MEMTXATTRS_UNSPECIFIED, NULL);
}

static void put64(hwaddr addr, uint64_t value)
{
    address_space_stq_le(as, addr, value, MEMTXATTRS_UNSPECIFIED, NULL);
}

static void mapped(const CpuState *s, uint64_t gva, hwaddr expected)
{
    hwaddr gpa = ~expected;

    assert_true(paging_translate(as, s, gva, &gpa));
    assert_int_equal(gpa, expected);
}

static void unmapped(const CpuState *s, uint64_t gva)
{
    hwaddr gpa;

    assert_false(paging_translate(as, s, gva, &gpa));
}

static void without_paging_addresses_are_physical(void **state)
{
    CpuState s = {.cr3 = 0x1000, .cr4 = PAE};

    (void)state;
    mapped(&s, 0x12345678, 0x12345678);
    mapped(&s, 0xfffffff0, 0xfffffff0);
    mapped(&s, 0xffffffff00001234, 0x1234);
}

static void two_levels(void **state)
{
    CpuState s = {.cr0 = CR0_PG, .cr3 = 0x1018}; /* PWT and PCD are no address */

    (void)state;
    put32(0x1000 + 0x300 * 4, 0x2000 | P);          /* 0xc0000000 */
    put32(0x2000 + 0x3ff * 4, 0x00abc000 | 0xe67);  /* last page; flags */
    put32(0x1000 + 0x301 * 4, 0x00c00000 | PS | P); /* a page of 4 MiB, if CR4 says so */
    put32(0x00c00000 + 5 * 4, 0x00007000 | P);
    mapped(&s, 0xc03ff123, 0x00abc123);
    unmapped(&s, 0xc03fe123);
    unmapped(&s, 0xbfffffff);
    mapped(&s, 0xc0405678, 0x00007678);
    s.cr4 = PSE;
    mapped(&s, 0xc0405678, 0x00c05678);
    put32(0x1000 + 0x301 * 4, 0xffc00000 | 0xffU << 13 | PS | P); /* PSE-36 */
    mapped(&s, 0xc0405678, 0xffffc05678);
    mapped(&s, 0x5a5a5a5ac0405678, 0xffffc05678); /* addresses have 32 bits */
}

static void pae(void **state)
{
    CpuState s = {.cr0 = CR0_PG, .cr3 = 0x1020, .cr4 = PAE};

    (void)state;
    put64(0x1020 + 3 * 8, 0x2000 | P); /* the pointers are aligned to 32 bytes */
    put64(0x2000 + 0x1ff * 8, 0x3000 | P);
    put64(0x3000 + 0x1fe * 8, UINT64_C(0x8000000123456000) | P); /* NX; above what is RAM */
    put64(0x2000 + 0x010 * 8, UINT64_C(0x8000004000200000) | PS | P);
    put64(0x1020 + 2 * 8, 0x40000000 | PS | P); /* no pages of 1 GiB here: a table that is not */
    mapped(&s, 0xffffeabc, 0x123456abc);
    mapped(&s, 0xc21fffff, 0x40003fffff);
    unmapped(&s, 0xfffffabc);
    unmapped(&s, 0x80000000);
    unmapped(&s, 0x00000000);
}

static void long_mode(unsigned levels)
{
    CpuState s = {.cr0 = CR0_PG, .cr3 = 0x1fff, .cr4 = PAE, .efer = LMA};
    uint64_t kernel = 0xffff800000000000; /* PML4 entry 256 */

    if (levels == 5) {
        s.cr4 |= LA57;
        s.cr3 = 0x9000;
        put64(0x9000 + 0x1ff * 8, 0x1000 | P);
        put64(0x9000 + 0x100 * 8, 0x1000 | P);
        put64(0x9000, 0x1000 | P);
    }
    put64(0x1000 + 256 * 8, 0x2000 | P);
    put64(0x2000 + 1 * 8, 0x3000 | P);
    put64(0x2000 + 2 * 8, UINT64_C(0x8000007f80000000) | PS | P); /* 1 GiB */
    put64(0x3000 + 2 * 8, 0x4000 | P);
    put64(0x3000 + 3 * 8, 0x00600000 | 1U << 12 | PS | P);   /* 2 MiB; PAT is no address */
    put64(0x4000 + 3 * 8, UINT64_C(0xfff0000000bad000) | P); /* protection keys are none */
    put64(0x1000 + 257 * 8, 0x2000 | PS | P);                /* no pages of 512 GiB */
    mapped(&s, kernel + 0x40403123, 0xbad123);
    mapped(&s, kernel + 0x407fffff, 0x7fffff);
    mapped(&s, kernel + 0xbfffffff, 0x7fbfffffff);
    mapped(&s, kernel + 0x8040403123, 0xbad123);
    unmapped(&s, kernel + 0x40404123);
    unmapped(&s, kernel);
    unmapped(&s, UINT64_MAX);
    if (levels == 4) {
        unmapped(&s, kernel & 0x0000ffffffffffff); /* not canonical */
    } else {
        unmapped(&s, 0x0100800040403123);
        mapped(&s, 0xff00800040403123, 0xbad123);
        mapped(&s, 0x0000800040403123, 0xbad123); /* is, with five levels */
    }
}

static void four_levels(void **state)
{
    (void)state;
    long_mode(4);
}

static void five_levels(void **state)
{
    (void)state;
    long_mode(5);
}

/* A table that is its own next: each level finds it again, and there is an end. */
static void loops_end(void **state)
{
    CpuState s = {.cr0 = CR0_PG, .cr3 = 0x1000, .cr4 = PAE | LA57, .efer = LMA};

    (void)state;
    for (unsigned i = 0; i < 512; i++) {
        put64(0x1000 + i * 8, 0x1000 | P);
    }
    mapped(&s, 0x123, 0x1123);
    mapped(&s, UINT64_MAX, 0x1fff);
    s.cr4 = PAE;
    mapped(&s, 0x0000123456789abc, 0x1abc);
    s.efer = 0;
    mapped(&s, 0xdeadbeef, 0x1eef);
    s.cr4 = 0;
    mapped(&s, 0xdeadaeef, 0x1eef);
}

static unsigned reads;

static uint64_t read_device(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)addr, (void)size;
    reads++;
    return UINT64_MAX;
}

static const MemoryRegionOps device_ops = {
    .read = read_device,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.max_access_size = 8},
    .impl = {.max_access_size = 8},
};

static void tables_outside_ram_are_not_read(void **state)
{
    MemorySystem *ms = vm->machine.ms;
    CpuState s = {.cr0 = CR0_PG, .cr3 = 0xfe000000, .cr4 = PAE, .efer = LMA};
    static MemoryRegion device;

    (void)state;
    assert_int_equal(0, memory_region_init_io(&device, memory_system_owner(ms), &device_ops, NULL,
                                              "device", 0x1000));
    memory_region_add_subregion(get_system_memory(ms), 0xfe000000, &device);
    unmapped(&s, 0);
    s.cr3 = UINT64_MAX;
    unmapped(&s, 0);
    unmapped(&s, UINT64_MAX);
    s.cr3 = VM_RAM_SIZE - 0x1000;
    put64(s.cr3, 0xfe000000 | P);
    put64(s.cr3 + 8, UINT64_C(0xffffffffff000) | P);
    unmapped(&s, 0);
    unmapped(&s, UINT64_C(1) << 39);
    s.efer = s.cr4 = 0;
    s.cr3 = 0xfe000000;
    unmapped(&s, 0x1000);
    s.cr3 = VM_RAM_SIZE - 0x1000;
    put32(s.cr3 + 0x3ff * 4, 0xfffff000 | P);
    unmapped(&s, 0xfffff000);
    assert_int_equal(reads, 0);
    memory_region_del_subregion(get_system_memory(ms), &device);
    memory_region_finalize(&device);
}

/* Accessed and dirty bits are the guest's. */
static void tables_stay_as_they_are(void **state)
{
    CpuState s = {.cr0 = CR0_PG, .cr3 = 0x1000};
    uint8_t *ram = memory_region_get_ram_ptr(&vm->ram), *before = malloc(VM_RAM_SIZE);

    (void)state;
    put32(0x1000, 0x2000 | P);
    put32(0x2000, 0x3000 | P);
    memcpy(before, ram, VM_RAM_SIZE);
    mapped(&s, 0x456, 0x3456);
    assert_memory_equal(before, ram, VM_RAM_SIZE);
    free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_paging_addresses_are_physical, setup, teardown),
        cmocka_unit_test_setup_teardown(two_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(pae, setup, teardown),
        cmocka_unit_test_setup_teardown(four_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(five_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(loops_end, setup, teardown),
        cmocka_unit_test_setup_teardown(tables_outside_ram_are_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(tables_stay_as_they_are, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
