/* SPDX-License-Identifier: MIT */
/*
 * The gate: vCPU threads enter and leave without pause while the map changes under them.
 *
 * The guest is a stand-in for KVM_RUN that stays inside until it is brought back, as a guest
 * that never exits: by immediate_exit, or by the signal where the kernel has only that.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/kvm_fake.h"
#include "support/machine.h"

#define PAGE 4096ULL
#define SIZE (16 * PAGE)
#define VCPUS 2
#define HANGS 100 /* seconds: the test is ended, something waits for ever */

#define GET(place) __atomic_load_n(&(place), __ATOMIC_SEQ_CST)
#define SET(place, value) __atomic_store_n(&(place), (value), __ATOMIC_SEQ_CST)
#define ADD(place) __atomic_add_fetch(&(place), 1, __ATOMIC_SEQ_CST)

typedef struct Board {
    MemorySystem *ms;
    KvmFake *fake;
    KVMState *kvm;
    KVMMemoryListener kml;
    MemoryRegion ram, other;

    bool only_signals;       /* the kernel has no immediate_exit */
    unsigned long runs, end; /* of KVM_RUN; atomic */
    bool exclusive;          /* the edit at work: nobody may be inside; atomic */
    unsigned long violations, changes;
    unsigned long paused, resumed;
} Board;

/* ---- KVM_RUN ------------------------------------------- */

static void a_moment(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

static int guest_runs(void *opaque, unsigned cpu, struct kvm_run *run)
{
    Board *b = opaque;

    (void)cpu;
    ADD(b->runs);
    for (;;) {
        if (b->only_signals) {
            struct timespec long_time = {.tv_sec = HANGS};
            if (nanosleep(&long_time, NULL) && errno == EINTR) {
                return -EINTR;
            }
        } else if (__atomic_load_n(&run->immediate_exit, __ATOMIC_SEQ_CST)) {
            return -EINTR;
        } else {
            a_moment();
        }
    }
}

static void on_slot_change(void *opaque, const KvmFakeSlot *before, const KvmFakeSlot *after)
{
    Board *b = opaque;

    (void)before, (void)after;
    ADD(b->changes);
    if (GET(b->exclusive) && kvm_fake_vcpus_inside(b->fake)) {
        ADD(b->violations);
    }
}

/* ---- the machine ------------------------------------------- */

static void pause_vcpus(void *opaque)
{
    Board *b = opaque;

    b->paused++;
    assert_int_equal(b->paused, b->resumed + 1);
}

static void resume_vcpus(void *opaque)
{
    Board *b = opaque;

    b->resumed++;
    assert_int_equal(b->paused, b->resumed);
}

static void start(Board *b, bool only_signals, bool hooks)
{
    KvmFakeCaps caps = KVM_FAKE_CAPS_INIT;

    alarm(HANGS);
    caps.immediate_exit = !only_signals;
    *b = (Board){
        .ms = machine_start(), .fake = kvm_fake_create(&caps), .only_signals = only_signals};
    kvm_fake_on_run(b->fake, guest_runs, b);
    kvm_fake_on_slot_change(b->fake, on_slot_change, b);
    KVMConfig config = kvm_fake_config(b->fake);
    if (hooks) {
        config.pause_vcpus = pause_vcpus;
        config.resume_vcpus = resume_vcpus;
        config.opaque = b;
    }
    b->kvm = kvm_create(b->ms, &config, NULL);
    assert_non_null(b->kvm);
    make_ram(b->ms, &b->ram, "ram", SIZE);
    make_ram(b->ms, &b->other, "other", SIZE);
    map_at(b->ms, 0, &b->ram);
    OK(kvm_memory_listener_register(b->kvm, &b->kml, memory_system_memory(b->ms), 0, "kvm"));
}

static void end(Board *b)
{
    OK(kvm_destroy(b->kvm));
    machine_end(b->ms);
    kvm_fake_destroy(b->fake);
    alarm(0);
}

/* A slot that goes and one that comes overlap. */
static void edit_exclusively(Board *b, bool readonly)
{
    SET(b->exclusive, true);
    OK(memory_region_set_readonly(&b->ram, readonly));
    SET(b->exclusive, false);
}

/* ---- vCPU threads ------------------------------------------- */

typedef struct Runner {
    Board *board;
    KVMVcpu *cpu;
    pthread_t thread;
    bool stop;               /* atomic */
    unsigned long wish, met; /* what it was kicked for, and what it has seen; atomic */
    unsigned long interrupted;
} Runner;

static void *run_loop(void *opaque)
{
    Runner *r = opaque;

    while (!GET(r->stop)) {
        int result = kvm_vcpu_run(r->cpu);
        r->interrupted += result == -EINTR;
        SET(r->met, GET(r->wish));
    }
    return NULL;
}

static void start_runner(Board *b, Runner *r, unsigned id)
{
    *r = (Runner){.board = b, .cpu = kvm_vcpu_create(b->kvm, id, NULL)};
    assert_non_null(r->cpu);
    assert_int_equal(pthread_create(&r->thread, NULL, run_loop, r), 0);
}

static void end_runner(Runner *r)
{
    SET(r->stop, true);
    kvm_vcpu_kick(r->cpu);
    pthread_join(r->thread, NULL);
}

static void wait_for_inside(Board *b, unsigned vcpus)
{
    while (kvm_fake_vcpus_inside(b->fake) < vcpus) {
        a_moment();
    }
}

/* ---- nobody is inside while slots overlap ------------------------------------------- */

static void exclusive_updates(bool only_signals)
{
    Board b;
    Runner runner[VCPUS];

    start(&b, only_signals, false);
    for (unsigned i = 0; i < VCPUS; i++) {
        start_runner(&b, &runner[i], i);
    }
    for (unsigned i = 0; i < 300; i++) {
        if (i % 4 == 0) { /* else the vCPUs are anywhere between two runs */
            wait_for_inside(&b, VCPUS);
        }
        edit_exclusively(&b, i % 2 == 0);
    }
    wait_for_inside(&b, VCPUS); /* the gate is open again */
    for (unsigned i = 0; i < VCPUS; i++) {
        end_runner(&runner[i]);
        assert_true(runner[i].interrupted > 0);
    }
    assert_int_equal(b.violations, 0);
    assert_true(b.changes >= 600);
    end(&b);
}

static void test_exclusive_updates(void **state)
{
    (void)state;
    exclusive_updates(false);
}

static void test_exclusive_updates_by_signal(void **state)
{
    (void)state;
    exclusive_updates(true);
}

/* One that only adds, or only takes away, stops nobody. */
static void test_others_stop_nobody(void **state)
{
    Board b;
    Runner runner;

    (void)state;
    start(&b, false, false);
    start_runner(&b, &runner, 0);
    wait_for_inside(&b, 1);
    for (unsigned i = 0; i < 50; i++) {
        map_at(b.ms, 0x100000, &b.other);
        assert_int_equal(kvm_fake_slots(b.fake, 0), 2);
        unmap(b.ms, &b.other);
    }
    assert_int_equal(kvm_fake_vcpus_inside(b.fake), 1);
    assert_int_equal(GET(b.runs), 1);
    edit_exclusively(&b, true);
    wait_for_inside(&b, 1);
    assert_int_equal(GET(b.runs), 2);
    end_runner(&runner);
    end(&b);
}

/* A thread that is outside, busy with something of its own, holds up nobody. */
static void test_outside_is_not_waited_for(void **state)
{
    Board b;

    (void)state;
    start(&b, false, false);
    KVMVcpu *cpu = kvm_vcpu_create(b.kvm, 0, NULL);
    edit_exclusively(&b, true);
    OK(kvm_vcpu_enter(cpu));
    kvm_vcpu_leave(cpu);
    edit_exclusively(&b, false);
    assert_int_equal(b.violations, 0);
    end(&b);
}

/* ---- who is inside is waited for, and no longer ------------------------------------------- */

typedef struct Editor {
    Board *board;
    bool done;
} Editor;

static void *edit_once(void *opaque)
{
    Editor *e = opaque;

    edit_exclusively(e->board, true);
    SET(e->done, true);
    return NULL;
}

static void test_inside_is_waited_for(void **state)
{
    Board b;
    pthread_t thread;

    (void)state;
    start(&b, false, false);
    KVMVcpu *cpu = kvm_vcpu_create(b.kvm, 0, NULL);
    Editor editor = {.board = &b};
    unsigned long changes = GET(b.changes);
    OK(kvm_vcpu_enter(cpu));
    assert_int_equal(kvm_vcpu_get_run(cpu)->immediate_exit, 0);
    pthread_create(&thread, NULL, edit_once, &editor);
    while (!__atomic_load_n(&kvm_vcpu_get_run(cpu)->immediate_exit, __ATOMIC_SEQ_CST)) {
        a_moment();
    }
    for (unsigned i = 0; i < 50; i++) { /* it is kicked again and again */
        a_moment();
    }
    assert_false(GET(editor.done));
    assert_int_equal(GET(b.changes), changes);
    kvm_vcpu_leave(cpu);
    pthread_join(thread, NULL);
    assert_true(GET(b.changes) > changes);
    end(&b);
}

/* ---- kicks ------------------------------------------- */

static void test_kicks_before_entering(void **state)
{
    Board b;

    (void)state;
    start(&b, false, false);
    KVMVcpu *cpu = kvm_vcpu_create(b.kvm, 0, NULL);
    kvm_vcpu_kick(cpu);
    kvm_vcpu_kick(cpu);
    assert_int_equal(kvm_vcpu_enter(cpu), -EINTR); /* once */
    OK(kvm_vcpu_enter(cpu));
    kvm_vcpu_leave(cpu);
    kvm_vcpu_kick(cpu);
    assert_int_equal(kvm_vcpu_run(cpu), -EINTR);
    assert_int_equal(b.runs, 0);
    edit_exclusively(&b, true); /* a refused entry is none */
    end(&b);
}

/* Each wish is seen by a run that ended after the kick, whenever that comes. */
static void test_no_kick_is_lost(void **state)
{
    Board b;
    Runner runner;

    (void)state;
    start(&b, false, false);
    start_runner(&b, &runner, 0);
    for (unsigned long i = 1; i <= 3000; i++) {
        SET(runner.wish, i);
        kvm_vcpu_kick(runner.cpu);
        while (GET(runner.met) < i) { /* a lost kick ends in SIGALRM */
        }
        if (i % 7 == 0) {
            wait_for_inside(&b, 1);
        }
    }
    end_runner(&runner);
    end(&b);
}

static void *edit_without_pause(void *opaque)
{
    Board *b = opaque;

    for (unsigned i = 0; !GET(b->end); i++) {
        edit_exclusively(b, i % 2 == 0);
    }
    return NULL;
}

static void test_no_kick_is_lost_beside_updates(void **state)
{
    Board b;
    Runner runner;
    pthread_t editor;

    (void)state;
    start(&b, false, false);
    start_runner(&b, &runner, 0);
    pthread_create(&editor, NULL, edit_without_pause, &b);
    for (unsigned long i = 1; i <= 500; i++) {
        SET(runner.wish, i);
        kvm_vcpu_kick(runner.cpu);
        while (GET(runner.met) < i) {
            a_moment();
        }
    }
    SET(b.end, 1);
    pthread_join(editor, NULL);
    end_runner(&runner);
    assert_int_equal(b.violations, 0);
    end(&b);
}

/* ---- a loop of the program's own ------------------------------------------- */

static bool refuse(MemoryListener *listener, const FlatView *old, const FlatView *view,
                   Error **errp)
{
    (void)listener, (void)old, (void)view;
    error_set(errp, EPERM, "no");
    return false;
}

static void test_hooks(void **state)
{
    Board b;
    MemoryRegion device;
    KvmFakeSlot slot;

    (void)state;
    start(&b, false, true);
    map_at(b.ms, 0x100000, &b.other);
    assert_int_equal(b.paused, 0);
    edit_exclusively(&b, true);
    edit_exclusively(&b, false);
    assert_int_equal(b.paused, 2);
    assert_int_equal(b.resumed, 2);

    /* also when it fails */
    kvm_fake_fail(b.fake, KVM_SET_USER_MEMORY_REGION, 2, EIO, false);
    REFUSED(-EIO, memory_region_set_readonly(&b.ram, true));
    assert_int_equal(b.paused, 3);
    assert_int_equal(b.resumed, 3);
    assert_true(kvm_fake_find(b.fake, 0, 0, &slot) && !(slot.flags & KVM_MEM_READONLY));

    /* a hole is a delete and creates */
    OK(memory_region_init_io(&device, memory_system_owner(b.ms), NULL, NULL, "device", PAGE));
    OK(memory_region_add_subregion_overlap(get_system_memory(b.ms), PAGE, &device, 1));
    assert_int_equal(b.paused, 4);
    assert_int_equal(b.resumed, 4);

    /* also when somebody else refuses what KVM has agreed to */
    MemoryListener refuser = {.priority = MEMORY_LISTENER_PRIORITY_ACCEL + 1};
    OK(memory_listener_register(&refuser, memory_system_memory(b.ms)));
    refuser.prepare = refuse;
    REFUSED(-EPERM, memory_region_set_readonly(&b.ram, true));
    refuser.prepare = NULL;
    OK(memory_listener_unregister(&refuser));
    assert_int_equal(b.paused, 5);
    assert_int_equal(b.resumed, 5);
    end(&b);
    assert_int_equal(b.paused, b.resumed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exclusive_updates),
        cmocka_unit_test(test_exclusive_updates_by_signal),
        cmocka_unit_test(test_others_stop_nobody),
        cmocka_unit_test(test_outside_is_not_waited_for),
        cmocka_unit_test(test_inside_is_waited_for),
        cmocka_unit_test(test_kicks_before_entering),
        cmocka_unit_test(test_no_kick_is_lost),
        cmocka_unit_test(test_no_kick_is_lost_beside_updates),
        cmocka_unit_test(test_hooks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
