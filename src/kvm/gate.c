/* SPDX-License-Identifier: MIT */
/*
 * The gate between vCPU threads and the guest.
 *
 *      vCPU thread                         who changes the map
 *      inside = 1            (A)           closed = 1            (C)
 *      closed? then back out (B)           inside? then          (D)
 *      KVM_RUN                                 immediate_exit = 1, signal
 *      inside = 0                              wait until it is not
 *      closed? then tell who waits
 *
 * A and B, C and D are sequentially consistent, so one of the two sees the other. A vCPU that is
 * between A and KVM_RUN when it is signalled finds immediate_exit set and comes back at once; one
 * that is in KVM_RUN is brought back by the signal. The signal is sent again while a vCPU stays
 * inside, for kernels without immediate_exit.
 *
 * Guarantees:
 *  G1  Between gate_close() and gate_open() no vCPU executes guest code.
 *  G2  A vCPU thread that is outside is not waited for: it may hold up nobody.
 *  G3  A kick is not lost, whenever it comes: the next KVM_RUN returns or is not entered. (Without
 *      immediate_exit one that comes between A and KVM_RUN is.)
 */
#include "kvm/gate.h"

#include "base/error.h"
#include "kvm/ioctl.h"
#include "kvm/uapi.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KICK_AGAIN_NS 1000000 /* ns */

/* ---- the signal ----------------------------------------------------------------------- */

static void nothing(int signal)
{
    (void)signal;
}

/* One that is ignored would not bring a vCPU back. KVM_RUN ends with SA_RESTART, too. */
static bool has_handler(const struct sigaction *action)
{
    return action->sa_flags & SA_SIGINFO ||
           (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN);
}

static int prepare_signal(int signal)
{
    const struct sigaction empty = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    struct sigaction action;

    if (sigaction(signal, NULL, &action) ||
        (!has_handler(&action) && sigaction(signal, &empty, NULL))) {
        return fail(EINVAL, "signal %d cannot be used to kick vCPUs: %s", signal, strerror(errno));
    }
    return 0;
}

int gate_init(KVMState *s)
{
    pthread_condattr_t monotonic;

    if (!s->config.kick_signal) {
        s->config.kick_signal = SIGUSR1;
    }
    int result = prepare_signal(s->config.kick_signal);
    if (result) {
        return result;
    }
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->gate.lock, NULL);
    pthread_cond_init(&s->gate.opened, NULL);
    pthread_cond_init(&s->gate.left, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return 0;
}

void gate_end(KVMState *s)
{
    pthread_mutex_destroy(&s->gate.lock);
    pthread_cond_destroy(&s->gate.opened);
    pthread_cond_destroy(&s->gate.left);
}

/* ---- who changes the map ---------------------------------------------------------------- */

static bool is_inside(const KVMVcpu *cpu)
{
    return __atomic_load_n(&cpu->inside, __ATOMIC_SEQ_CST);
}

/* Bring back whoever is inside. */
static void call_back(KVMVcpu *cpu)
{
    __atomic_store_n(&cpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    tgkill(getpid(), __atomic_load_n(&cpu->thread, __ATOMIC_RELAXED), cpu->s->config.kick_signal);
}

static bool call_back_all(KVMState *s)
{
    bool any = false;

    for (KVMVcpu *cpu = s->vcpus; cpu; cpu = cpu->next) {
        if (is_inside(cpu)) {
            call_back(cpu);
            any = true;
        }
    }
    return any;
}

static struct timespec soon(void)
{
    struct timespec when;

    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_nsec += KICK_AGAIN_NS;
    if (when.tv_nsec >= 1000000000) {
        when.tv_nsec -= 1000000000;
        when.tv_sec++;
    }
    return when;
}

void gate_close(KVMState *s)
{
    if (s->config.pause_vcpus) {
        if (s->gate.closed++ == 0) {
            s->config.pause_vcpus(s->config.opaque);
        }
        return;
    }
    pthread_mutex_lock(&s->gate.lock);
    __atomic_fetch_add(&s->gate.closed, 1, __ATOMIC_SEQ_CST);
    while (call_back_all(s)) {
        struct timespec when = soon();
        pthread_cond_timedwait(&s->gate.left, &s->gate.lock, &when);
    }
    pthread_mutex_unlock(&s->gate.lock);
}

void gate_open(KVMState *s)
{
    if (s->config.pause_vcpus) {
        if (--s->gate.closed == 0) {
            s->config.resume_vcpus(s->config.opaque);
        }
        return;
    }
    pthread_mutex_lock(&s->gate.lock);
    if (__atomic_sub_fetch(&s->gate.closed, 1, __ATOMIC_SEQ_CST) == 0) {
        pthread_cond_broadcast(&s->gate.opened);
    }
    pthread_mutex_unlock(&s->gate.lock);
}

/* ---- vCPU threads ------------------------------------------------------------------------- */

static __thread pid_t thread_id;

static bool is_closed(const KVMState *s)
{
    return __atomic_load_n(&s->gate.closed, __ATOMIC_SEQ_CST);
}

static void wait_until_open(KVMState *s)
{
    pthread_mutex_lock(&s->gate.lock);
    pthread_cond_signal(&s->gate.left);
    while (is_closed(s)) {
        pthread_cond_wait(&s->gate.opened, &s->gate.lock);
    }
    pthread_mutex_unlock(&s->gate.lock);
}

static void go_outside(KVMVcpu *cpu)
{
    __atomic_store_n(&cpu->inside, 0, __ATOMIC_SEQ_CST);
}

int kvm_vcpu_enter(KVMVcpu *cpu)
{
    KVMState *s = cpu->s;

    if (!thread_id) {
        thread_id = gettid();
    }
    for (;;) {
        __atomic_store_n(&cpu->run->immediate_exit, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&cpu->thread, thread_id, __ATOMIC_RELAXED);
        __atomic_store_n(&cpu->inside, 1, __ATOMIC_SEQ_CST); /* pairs with is_inside() */
        if (__builtin_expect(__atomic_load_n(&cpu->kicked, __ATOMIC_SEQ_CST), 0)) {
            __atomic_store_n(&cpu->kicked, 0, __ATOMIC_RELAXED);
            kvm_vcpu_leave(cpu);
            return -EINTR;
        }
        if (__builtin_expect(!is_closed(s) || s->config.pause_vcpus, 1)) {
            return 0;
        }
        go_outside(cpu);
        wait_until_open(s);
    }
}

void kvm_vcpu_leave(KVMVcpu *cpu)
{
    KVMState *s = cpu->s;

    go_outside(cpu);
    if (__builtin_expect(is_closed(s) && !s->config.pause_vcpus, 0)) {
        pthread_mutex_lock(&s->gate.lock);
        pthread_cond_signal(&s->gate.left);
        pthread_mutex_unlock(&s->gate.lock);
    }
}

int kvm_vcpu_run(KVMVcpu *cpu)
{
    int result = kvm_vcpu_enter(cpu);

    if (!result) {
        result = kvm_ioctl(cpu->s, cpu->fd, KVM_RUN, NULL);
        kvm_vcpu_leave(cpu);
    }
    if (result == -EFAULT && cpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT) {
        return 0; /* the one exit that comes with an error */
    }
    return result < 0 ? result : 0;
}

void kvm_vcpu_kick(KVMVcpu *cpu)
{
    __atomic_store_n(&cpu->kicked, 1, __ATOMIC_SEQ_CST);
    if (is_inside(cpu)) {
        call_back(cpu);
    }
}
