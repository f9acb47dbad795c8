/* SPDX-License-Identifier: MIT */
/*
 * The KVM model while the k-th allocation fails, for each k: the call says so, what it was about is
 * as before, and it succeeds when it is made again.
 */
#include "support/saboteur.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/kvm_calls.h"
#include "support/machine.h"

#define GIB (UINT64_C(1) << 30)
#define LOG KVM_MEM_LOG_DIRTY_PAGES

enum { STEPS = 9 };

typedef struct World {
    KVMModel *model;
    KvmCalls vm;
    int eventfd;
} World;

static hwaddr one_gib(void *opaque, uint64_t hva)
{
    (void)opaque, (void)hva;
    return GIB;
}

static int step(World *w, unsigned number)
{
    switch (number) {
    case 0:
        return w->vm.fd = kvm_call_on(&w->vm, kvm_model_fd(w->model), KVM_CREATE_VM, NULL);
    case 1:
        return kvm_call_set(&w->vm, 0, 0, 0, 2 * GIB, GIB);
    case 2: /* a page at each level */
        return kvm_call_set(&w->vm, 1, LOG, UINT64_C(1) << 40, GIB, GIB);
    case 3:
        return kvm_model_fault(w->model, 0, 0, false);
    case 4:
        return kvm_call_set(&w->vm, 0, LOG, 0, 2 * GIB, GIB);
    case 5: /* splits 1 GiB */
        return kvm_model_fault(w->model, 0, 0x5000, true);
    case 6:
        return kvm_model_fault(w->model, 0, UINT64_C(1) << 40, true);
    case 7:
        return kvm_call_ioeventfd(&w->vm, 0, 4, w->eventfd, 0, 0);
    default:
        return kvm_call_zone(&w->vm, true, 0, 8, 0);
    }
}

static bool check_entry(const KVMModelEntry *entry, void *opaque)
{
    assert_true(!entry->table || entry->table->used > 0);
    *(size_t *)opaque += 1;
    return false;
}

static bool count_slot(const KVMMemorySlot *slot, void *opaque)
{
    assert_int_equal(!slot->dirty_bitmap, !(slot->flags & LOG));
    *(size_t *)opaque += 1;
    return false;
}

typedef struct Sight {
    size_t slots, entries;
} Sight;

static Sight look(const World *w)
{
    Sight sight = {0};

    kvm_model_for_each_slot(w->model, count_slot, &sight.slots);
    kvm_model_for_each_entry(w->model, 0, check_entry, &sight.entries);
    return sight;
}

/* Returns whether an allocation failed. */
static bool run(unsigned long k, bool for_good)
{
    KVMModelConfig config = {.host_page_size = one_gib};
    World w = {.eventfd = eventfd(0, EFD_CLOEXEC)};
    bool failed = false;
    Error *err = NULL;

    saboteur_arm(k, for_good);
    w.model = kvm_model_create(&config, &err);
    if (!w.model) {
        failed |= saboteur_disarm() > 0;
        assert_int_equal(error_get_errno(err), -ENOMEM);
        error_free(err);
        w.model = kvm_model_create(&config, NULL);
    }
    w.vm.kernel = kvm_model_kernel(w.model);
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned long paused = saboteur_pause();
        Sight before = look(&w);
        saboteur_resume(paused);
        int result = step(&w, i);
        if (result < 0) {
            assert_int_equal(result, -ENOMEM);
            failed |= saboteur_disarm() > 0;
            Sight after = look(&w);
            assert_int_equal(after.slots, before.slots);
            /* The first half of a split may stay: 512 leaves for one. */
            assert_true(after.entries == before.entries || i == 5);
            assert_true(step(&w, i) >= 0);
        }
    }
    failed |= saboteur_disarm() > 0;
    assert_int_equal(look(&w).slots, 2);
    close(w.vm.fd);
    kvm_model_destroy(w.model);
    close(w.eventfd);
    return failed;
}

static void every_failure(void **state)
{
    (void)state;
    for (int for_good = 0; for_good < 2; for_good++) {
        unsigned long k = 1;
        while (run(k, for_good)) {
            assert_true(++k < 100);
        }
        assert_true(k > 15);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
