/* SPDX-License-Identifier: MIT */
/*
 * The model's memslots and devices: the kernel's rules one by one, as /dev/kvm answers, and random
 * calls to both.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/kvm_calls.h"
#include "support/machine.h"
#include "support/rng.h"

#define PAGE 0x1000U
#define HVA 0x10000000U
#define LOG KVM_MEM_LOG_DIRTY_PAGES
#define READONLY KVM_MEM_READONLY
#define MANUAL KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2

enum { STEPS = 2500, SEEDS = 4, BITS = 64 };

/* ---- a model with a VM --------------------------------------------------------------- */

typedef struct Diary {
    char text[400];
} Diary;

static void on_change(void *opaque, KVMModelChange change, const KVMMemorySlot *before,
                      const KVMMemorySlot *after)
{
    Diary *d = opaque;
    size_t used = strlen(d->text);

    snprintf(d->text + used, sizeof d->text - used, "%c%u:%x>%x ", "+-=~"[change],
             (before ? before : after) -> id, before ? (unsigned)before -> base_gfn : 0,
             after ? (unsigned)after -> base_gfn : 0);
}

typedef struct World {
    KVMModel *model;
    KvmCalls vm;
    Diary diary;
} World;

static void world_start(World *w, KVMModelConfig config)
{
    *w = (World){.model = NULL};
    config.changed = on_change;
    config.opaque = &w->diary;
    w->model = kvm_model_create(&config, NULL);
    assert_non_null(w->model);
    w->vm.kernel = kvm_model_kernel(w->model);
    w->vm.fd = kvm_call_on(&w->vm, kvm_model_fd(w->model), KVM_CREATE_VM, NULL);
    assert_true(w->vm.fd >= 0);
}

static void world_end(World *w)
{
    close(w->vm.fd);
    kvm_model_destroy(w->model);
}

static int set(const World *w, uint32_t number, uint32_t flags, uint64_t gpa, uint64_t size,
               uint64_t hva)
{
    return kvm_call_set(&w->vm, number, flags, gpa, size, hva);
}

static void expect(World *w, const char *text)
{
    assert_string_equal(w->diary.text, text);
    w->diary.text[0] = '\0';
}

/* ---- rules ---------------------------------------------------------------------------- */

static void configs_are_checked(void **state)
{
    Error *err = NULL;
    const KVMModelConfig bad[] = {
        {.levels = 3}, {.levels = 6}, {.nr_memslots = 32768}, {.nr_address_spaces = 3}};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(kvm_model_create(&bad[i], &err));
        assert_int_equal(error_get_errno(err), -EINVAL);
        error_free(err);
    }
    KVMModel *model = kvm_model_create(NULL, NULL);
    assert_non_null(model);
    assert_int_equal(kvm_model_fault(model, 0, 0, false), -EINVAL); /* there is no VM */
    assert_false(kvm_model_find_slot(model, 0, 0, NULL));
    kvm_model_destroy(model);
    kvm_model_destroy(NULL);
}

static void capabilities_are_as_configured(void **state)
{
    static const struct {
        KVMModelConfig config;
        int slots, spaces, readonly, manual, memory2;
    } cases[] = {
        {{.levels = 4}, 32764, 2, 1, 3, 1},
        {{.nr_memslots = 509, .nr_address_spaces = 1}, 509, 0, 1, 3, 1},
        {{.no_readonly_mem = true, .no_manual_dirty_log = true, .no_user_memory2 = true},
         32764,
         2,
         0,
         0,
         0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        World w;
        world_start(&w, cases[i].config);
        const KvmCalls *vm = &w.vm;
        assert_int_equal(kvm_call_on(vm, kvm_model_fd(w.model), KVM_GET_API_VERSION, NULL), 12);
        assert_int_equal(kvm_call_on(vm, 12345, KVM_GET_API_VERSION, NULL), -ENOTTY);
        assert_int_equal(kvm_call_number(vm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS),
                         cases[i].slots);
        assert_int_equal(kvm_call_number(vm, KVM_CHECK_EXTENSION, KVM_CAP_MULTI_ADDRESS_SPACE),
                         cases[i].spaces);
        assert_int_equal(kvm_call_number(vm, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM),
                         cases[i].readonly);
        assert_int_equal(kvm_call_number(vm, KVM_CHECK_EXTENSION, MANUAL), cases[i].manual);
        assert_int_equal(kvm_call_number(vm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY2),
                         cases[i].memory2);
        assert_int_equal(kvm_call_set2(vm, 0, 0, 0, PAGE, HVA), cases[i].memory2 ? 0 : -ENOTTY);
        assert_int_equal(set(&w, 1, READONLY, PAGE, PAGE, HVA), cases[i].readonly ? 0 : -EINVAL);
        assert_int_equal(kvm_call_enable(vm, MANUAL, 0, 1), cases[i].manual ? 0 : -EINVAL);
        assert_int_equal(set(&w, 0x10000, 0, 0, PAGE, HVA), cases[i].spaces ? 0 : -EINVAL);
        assert_int_equal(set(&w, (uint32_t)cases[i].slots - 1, 0, 0x80000, PAGE, HVA), 0);
        assert_int_equal(set(&w, (uint32_t)cases[i].slots, 0, 0x90000, PAGE, HVA), -EINVAL);
        world_end(&w);
    }
}

static void slots_are_made_as_the_kernel_does(void **state)
{
    const uint64_t many = UINT64_C(1) << 31;
    World w;

    (void)state;
    world_start(&w, (KVMModelConfig){.levels = 4});
    static const struct {
        uint32_t number, flags;
        uint64_t gpa, size, hva;
        int result;
    } calls[] = {
        {0, 0, 0, 0, 0, -EINVAL}, /* none to delete */
        {0, 0, 0x800, 0x1000, HVA, -EINVAL},
        {0, 0, 0, 0x1800, HVA, -EINVAL},
        {0, 0, 0, 0x1000, HVA + 1, -EINVAL},
        {0, 0, 0, 0x1000, 0xffff800000000000, -EINVAL},
        {0, 0, 0, 0x1000, 0x7ffffffff000, -EINVAL},
        {0, 0, 0, 0x1000, 0x7fffffffe000, 0},
        {0, 0, 0, 0, 0, 0},
        {0, 4, 0, 0x1000, HVA, -EINVAL},
        {0, 0x400, 0, 0x1000, HVA, -EINVAL},
        {32764, 0, 0, 0x1000, HVA, -EINVAL},
        {0x20000, 0, 0, 0x1000, HVA, -EINVAL},
        {0, 0, 0xfffffffffffff000, 0x2000, HVA, -EINVAL},
        {0, 0, 0x000ffffffffff000, 0x2000, HVA, -EINVAL},
        {0, 0, 0x000ffffffffff000, 0x1000, HVA, 0},
        {1, 0, 0x000ffffffffff000, 0x2000, HVA, -EEXIST}, /* asked about first */
        {0, 0, 0, 0, 0, 0},
        {0, 0, 0, 0x10000, HVA, 0},
        {0, 0, 0, 0x10000, HVA, 0},            /* nothing to do */
        {1, 0, 0xf000, 0x1000, HVA, -EEXIST},  /* overlaps 0 */
        {1, 0, 0x10000, 0x10000, HVA, 0},      /* begins where 0 ends */
        {0, 0, 0x8000, 0x10000, HVA, -EEXIST}, /* a move onto 1 */
        {0, 0, 0x100000, 0x10000, HVA, 0},     /* a move */
        {0, 0, 0x108000, 0x10000, HVA, 0},     /* onto itself */
        {0, LOG, 0x200000, 0x10000, HVA, 0},   /* with flags */
        {0, LOG, 0x200000, 0x8000, HVA, -EINVAL},
        {0, LOG, 0x200000, 0x10000, HVA + PAGE, -EINVAL},
        {0, LOG | READONLY, 0x200000, 0x10000, HVA, -EINVAL},
        {0, 0, 0x200000, 0x10000, HVA, 0},       /* flags */
        {0x10000, 0, 0x200000, 0x10000, HVA, 0}, /* another space */
        {1, 0x400, 0, 0, 0, -EINVAL},
        {1, 0, 0x123, 0, 0, -EINVAL},
        {1, 0, 0x3000, 0, 0, 0}, /* where it is does not matter */
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        assert_int_equal(
            set(&w, calls[i].number, calls[i].flags, calls[i].gpa, calls[i].size, calls[i].hva),
            calls[i].result);
    }
    expect(&w, "+0:0>0 -0:0>0 +0:0>ffffffff -0:ffffffff>0 +0:0>0 +1:0>10 =0:0>100 =0:100>108 "
               "=0:108>200 ~0:200>200 +0:0>200 -1:10>0 ");
    assert_int_equal(set(&w, 2, 0, 0x100000000, many * PAGE, HVA), -EINVAL);
    assert_int_equal(set(&w, 2, 0, 0x100000000, (many - 1) * PAGE, HVA), 0);
    assert_int_equal(kvm_call(&w.vm, KVM_SET_USER_MEMORY_REGION, NULL), -EFAULT);
    world_end(&w);
}

static void logs_are_given_and_cleared(void **state)
{
    uint64_t bits[BITS], ones[BITS];
    World w;

    (void)state;
    world_start(&w, (KVMModelConfig){.levels = 4});
    memset(ones, 0xff, sizeof ones);
    assert_int_equal(kvm_call_get_log(&w.vm, 0, bits), -ENOENT);
    assert_int_equal(kvm_call_get_log(&w.vm, 32764, bits), -EINVAL);
    assert_int_equal(set(&w, 0, 0, 0, 65 * PAGE, HVA), 0);
    assert_int_equal(kvm_call_get_log(&w.vm, 0, bits), -ENOENT);
    assert_int_equal(set(&w, 0, LOG, 0, 65 * PAGE, HVA), 0);
    assert_int_equal(kvm_call_get_log(&w.vm, 0, NULL), -EFAULT);

    static const struct {
        uint64_t first;
        uint32_t pages;
        int result;
    } clears[] = {{0, 65, 0},       {0, 64, 0},       {64, 1, 0},        {0, 0, 0},
                  {15, 1, -EINVAL}, {0, 66, -EINVAL}, {0, 128, -EINVAL}, {64, 64, -EINVAL},
                  {0, 15, -EINVAL}, {0, 32, -EINVAL}, {128, 0, -EINVAL}};
    for (size_t i = 0; i < sizeof clears / sizeof *clears; i++) {
        assert_int_equal(kvm_call_clear_log(&w.vm, 0, clears[i].first, clears[i].pages, ones),
                         clears[i].result);
    }
    assert_int_equal(kvm_call_clear_log(&w.vm, 0, 0, 64, NULL), -EFAULT);
    assert_int_equal(kvm_call_clear_log(&w.vm, 7, 0, 64, ones), -ENOENT);

    assert_int_equal(kvm_call_enable(&w.vm, MANUAL, 0, 2), -EINVAL);
    assert_int_equal(kvm_call_enable(&w.vm, MANUAL, 0, 4), -EINVAL);
    assert_int_equal(kvm_call_enable(&w.vm, MANUAL, 1, 1), -EINVAL);
    assert_int_equal(kvm_call_enable(&w.vm, 9999, 0, 0), -EINVAL);
    assert_int_equal(kvm_call_enable(&w.vm, MANUAL, 0, 3), 0);
    /* It moves with the slot, and begins full. */
    assert_int_equal(set(&w, 1, LOG, 0x100000, 65 * PAGE, HVA), 0);
    assert_int_equal(set(&w, 1, LOG, 0x200000, 65 * PAGE, HVA), 0);
    assert_int_equal(kvm_call_get_log(&w.vm, 1, bits), 0);
    assert_true(bits[0] == UINT64_MAX && bits[1] == 1);
    assert_int_equal(kvm_call_clear_log(&w.vm, 1, 64, 1, ones), 0);
    assert_int_equal(kvm_call_get_log(&w.vm, 1, bits), 0);
    assert_true(bits[0] == UINT64_MAX && bits[1] == 0);
    world_end(&w);
}

static void devices_are_taken_and_refused(void **state)
{
    enum { ANY = 0, DATA = 1, PIO = 2, OFF = 4 };
    int a = eventfd(0, EFD_CLOEXEC), b = eventfd(0, EFD_CLOEXEC);
    World w;

    (void)state;
    world_start(&w, (KVMModelConfig){.levels = 4});
    const struct {
        uint64_t addr;
        uint32_t len;
        int fd;
        uint32_t flags;
        uint64_t data;
        int result;
    } calls[] = {
        {0x1000, 4, a, ANY, 0, 0},
        {0x1000, 4, b, ANY, 0, -EEXIST},
        {0x1000, 4, a, DATA, 5, -EEXIST},
        {0x1000, 0, a, ANY, 0, -EEXIST},
        {0x1000, 2, a, ANY, 0, 0},
        {0x2000, 3, a, ANY, 0, -EINVAL},
        {UINT64_MAX - 7, 8, a, ANY, 0, -EINVAL},
        {0x2000, 0, a, DATA, 0, -EINVAL},
        {0x2000, 4, a, 32, 0, -EINVAL},
        {0x2000, 4, 9999, ANY, 0, -EBADF},
        {0x2000, 4, 0, ANY, 0, -EINVAL},
        {0x1000, 4, a, PIO, 0, 0},
        {0x3000, 4, a, DATA, 5, 0},
        {0x3000, 4, b, DATA, 5, -EEXIST},
        {0x3000, 4, b, DATA, 6, 0},
        {0x3000, 4, b, OFF | DATA, 5, -ENOENT},
        {0x3000, 4, a, OFF, 5, -ENOENT},
        {0x3000, 4, a, OFF | DATA, 5, 0},
        {0x1000, 4, a, OFF, 0, 0},
        {0x1000, 4, a, OFF, 0, -ENOENT},
        {0x1000, 3, a, OFF, 0, -ENOENT},
        {0x1000, 3, 9999, OFF, 0, -EBADF},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        assert_int_equal(kvm_call_ioeventfd(&w.vm, calls[i].addr, calls[i].len, calls[i].fd,
                                            calls[i].flags, calls[i].data),
                         calls[i].result);
    }
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(kvm_call_zone(&w.vm, true, 0x100000 + i * 16, 8, 0), 0);
    }
    assert_int_equal(kvm_call_zone(&w.vm, true, 0, 8, 2), -EINVAL);
    assert_int_equal(kvm_call_zone(&w.vm, true, 0, 8, 0), -ENOSPC);
    assert_int_equal(kvm_call_ioeventfd(&w.vm, 0x5000, 4, a, ANY, 0), -ENOSPC);
    assert_int_equal(kvm_call_zone(&w.vm, true, 0, 8, 1), 0);         /* ports are another matter */
    assert_int_equal(kvm_call_zone(&w.vm, false, 0x100004, 8, 0), 0); /* not within one */
    assert_int_equal(kvm_call_zone(&w.vm, true, 0, 8, 0), -ENOSPC);
    assert_int_equal(kvm_call_zone(&w.vm, false, 0x100004, 4, 0), 0); /* within the first */
    assert_int_equal(kvm_call_zone(&w.vm, true, 0, 8, 0), 0);
    world_end(&w);
    close(a);
    close(b);
}

static void vcpus_can_be_mapped(void **state)
{
    World w;

    (void)state;
    world_start(&w, (KVMModelConfig){.levels = 4});
    int size = kvm_call_on(&w.vm, kvm_model_fd(w.model), KVM_GET_VCPU_MMAP_SIZE, NULL);
    int fd = kvm_call_number(&w.vm, KVM_CREATE_VCPU, 3);
    assert_int_equal(kvm_call_number(&w.vm, KVM_CREATE_VCPU, 3), -EEXIST);
    assert_int_equal(kvm_call_number(&w.vm, KVM_CREATE_VCPU, 100000), -EINVAL);
    assert_int_equal(kvm_call_on(&w.vm, fd, KVM_RUN, NULL), -ENOTTY);
    struct kvm_run *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(run, MAP_FAILED);
    run->immediate_exit = 1;
    ((char *)run)[size - 1] = 1;
    munmap(run, (size_t)size);
    close(fd);
    world_end(&w);
}

static void another_vm_begins_anew(void **state)
{
    KVMMemorySlot slot;
    World w;

    (void)state;
    world_start(&w, (KVMModelConfig){.levels = 4});
    assert_int_equal(set(&w, 0, 0, 0, PAGE, HVA), 0);
    assert_int_equal(kvm_model_fault(w.model, 0, 0, true), KVM_FAULT_FIXED);
    close(w.vm.fd);
    assert_int_equal(kvm_call_on(&w.vm, kvm_model_fd(w.model), KVM_CREATE_VM, (void *)7), -EINVAL);
    w.vm.fd = kvm_call_on(&w.vm, kvm_model_fd(w.model), KVM_CREATE_VM, NULL);
    assert_false(kvm_model_find_slot(w.model, 0, 0, &slot));
    assert_int_equal(kvm_model_fault(w.model, 0, 0, true), KVM_FAULT_MMIO);
    world_end(&w);
}

/* ---- many ------------------------------------------------------------------------------- */

typedef struct Listing {
    unsigned count;
    uint64_t next_gfn;
} Listing;

static bool note_slot(const KVMMemorySlot *slot, void *opaque)
{
    Listing *l = opaque;

    assert_true(slot->base_gfn >= l->next_gfn);
    l->next_gfn = slot->base_gfn + slot->npages;
    return ++l->count == 30000;
}

static void thousands_of_slots(void **state)
{
    enum { SLOTS = 32764 };
    Listing l = {0};
    KVMMemorySlot slot;
    World w;

    (void)state;
    world_start(&w, (KVMModelConfig){.levels = 4});
    for (uint32_t i = 0; i < SLOTS; i++) { /* in an order that is neither up nor down */
        uint32_t id = (uint32_t)((i * UINT64_C(7919)) % SLOTS);
        assert_int_equal(set(&w, id, 0, id * UINT64_C(0x3000), 0x2000, HVA + id * 0x2000), 0);
    }
    for (uint32_t id = 0; id < SLOTS; id += 7) {
        assert_true(kvm_model_find_slot(w.model, 0, id * UINT64_C(0x3000) + 0x1fff, &slot));
        assert_int_equal(slot.id, id);
        assert_int_equal(slot.as_id, 0);
        assert_int_equal(slot.userspace_addr, HVA + id * 0x2000);
        assert_false(kvm_model_find_slot(w.model, 0, id * UINT64_C(0x3000) + 0x2000, &slot));
    }
    assert_true(kvm_model_for_each_slot(w.model, note_slot, &l));
    assert_int_equal(l.count, 30000);
    world_end(&w);
}

/* ---- the same calls to the model and to /dev/kvm ------------------------------------------ */

static uint32_t random_number(Rng *rng)
{
    return rng_percent(rng, 3) ? (uint32_t)rng_next(rng) & 0x3ffff : rng_below(rng, 6);
}

static uint64_t random_gpa(Rng *rng)
{
    uint64_t pages = rng_below(rng, 300);

    return rng_percent(rng, 3)   ? UINT64_MAX - PAGE * pages + 1
           : rng_percent(rng, 3) ? (UINT64_C(1) << 52) - PAGE * 64 + PAGE * pages
           : rng_percent(rng, 3) ? pages * PAGE + 8
                                 : pages * PAGE;
}

static int random_set(Rng *rng, const KvmCalls *vm, bool memory2)
{
    static const uint64_t pages[] = {0, 1, 1, 63, 64, 65, 200, UINT64_C(1) << 31};
    static const uint64_t hvas[] = {HVA, HVA, HVA + PAGE, HVA + 1, 0, UINT64_C(-1) << 47};
    uint32_t number = random_number(rng);
    uint32_t flags = rng_percent(rng, 5) ? 1U << rng_below(rng, 32) : rng_below(rng, 4);
    uint64_t gpa = random_gpa(rng), hva = hvas[rng_below(rng, rng_percent(rng, 90) ? 2 : 6)];
    uint64_t size = pages[rng_below(rng, 8)] * PAGE + rng_percent(rng, 2);

    if (flags & KVM_MEM_GUEST_MEMFD) {
        memory2 = false; /* there it is not a mistake */
    }
    return memory2 && rng_percent(rng, 30) ? kvm_call_set2(vm, number, flags, gpa, size, hva)
                                           : kvm_call_set(vm, number, flags, gpa, size, hva);
}

static int random_step(Rng *rng, const KvmCalls *vm, bool memory2, const int *fds, uint64_t *bits)
{
    static const uint32_t sizes[] = {0, 1, 2, 4, 8, 3};
    unsigned what = rng_below(rng, 100);

    memset(bits, 0, BITS * sizeof *bits);
    if (what < 50) {
        return random_set(rng, vm, memory2);
    }
    if (what < 65) {
        return kvm_call_get_log(vm, random_number(rng), bits);
    }
    if (what < 80) {
        for (unsigned i = 0; i < BITS; i++) {
            bits[i] = rng_next(rng);
        }
        uint32_t number = random_number(rng);
        uint64_t first = rng_below(rng, 5) * 64 + rng_percent(rng, 5);
        uint32_t pages = rng_percent(rng, 50) ? rng_below(rng, 5) * 64 : rng_below(rng, 210);
        return kvm_call_clear_log(vm, number, first, pages, bits);
    }
    if (what < 82) {
        uint32_t cap = rng_percent(rng, 10) ? 9999 : MANUAL, flags = rng_percent(rng, 5);
        return kvm_call_enable(vm, cap, flags, rng_below(rng, 5));
    }
    uint64_t addr = rng_below(rng, 6);
    uint32_t size = sizes[rng_below(rng, 6)];
    if (what < 94) {
        int fd = fds[rng_below(rng, rng_percent(rng, 90) ? 2 : 4)];
        uint32_t flags = rng_percent(rng, 2) ? 64 : rng_below(rng, 8);
        return kvm_call_ioeventfd(vm, addr, size, fd, flags, rng_below(rng, 3));
    }
    bool add = rng_percent(rng, 60);
    return kvm_call_zone(vm, add, addr, size, rng_below(rng, rng_percent(rng, 95) ? 2 : 3));
}

static int extension(const KvmCalls *vm, uintptr_t number)
{
    return kvm_call_number(vm, KVM_CHECK_EXTENSION, number);
}

static void compare_with_kernel(int kvm, unsigned seed, const int *fds)
{
    static const char *const kinds[] = {"ok", "refused"};
    KvmCalls real = {.fd = ioctl(kvm, KVM_CREATE_VM, 0)};
    unsigned counts[2] = {0};
    World w;

    assert_true(real.fd >= 0);
    int spaces = extension(&real, KVM_CAP_MULTI_ADDRESS_SPACE);
    bool memory2 = extension(&real, KVM_CAP_USER_MEMORY2) > 0;
    world_start(&w, (KVMModelConfig){
                        .nr_memslots = (unsigned)extension(&real, KVM_CAP_NR_MEMSLOTS),
                        .nr_address_spaces = spaces > 1 ? (unsigned)spaces : 1,
                        .no_readonly_mem = !extension(&real, KVM_CAP_READONLY_MEM),
                        .no_manual_dirty_log = extension(&real, MANUAL) != 3,
                        .no_user_memory2 = !memory2,
                    });
    Rng rng = {seed};
    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t ours[BITS], theirs[BITS];
        Rng again = rng;
        int result = random_step(&rng, &w.vm, memory2, fds, ours);
        int wanted = random_step(&again, &real, memory2, fds, theirs);
        if (result != wanted || memcmp(ours, theirs, sizeof ours) != 0) {
            fail_msg("seed %u, step %u: the model says %d, the kernel %d%s", seed, i, result,
                     wanted, result == wanted ? ", and another log" : "");
        }
        counts[result < 0]++;
        w.diary.text[0] = '\0';
    }
    for (unsigned i = 0; i < 2; i++) {
        if (counts[i] < STEPS / 5) {
            fail_msg("only %u calls of %u were %s", counts[i], STEPS, kinds[i]);
        }
    }
    world_end(&w);
    close(real.fd);
}

static void model_and_kernel_agree(void **state)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    (void)state;
    if (kvm < 0) {
        print_message("cannot open /dev/kvm: %s\n", strerror(errno));
        skip();
    }
    int fds[] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC), kvm, 9999};
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        compare_with_kernel(kvm, seed, fds);
    }
    close(fds[0]);
    close(fds[1]);
    close(kvm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configs_are_checked),
        cmocka_unit_test(capabilities_are_as_configured),
        cmocka_unit_test(slots_are_made_as_the_kernel_does),
        cmocka_unit_test(logs_are_given_and_cleared),
        cmocka_unit_test(devices_are_taken_and_refused),
        cmocka_unit_test(vcpus_can_be_mapped),
        cmocka_unit_test(another_vm_begins_anew),
        cmocka_unit_test(thousands_of_slots),
        cmocka_unit_test(model_and_kernel_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
