/* SPDX-License-Identifier: MIT */
/*
 * The thread that reaps dirty rings now and then.
 *
 * It takes the machine lock by trying, so that who holds it can wait for the thread's end. Its own
 * lock comes within the machine lock.
 */
#include "kvm/dirty_reaper.h"

#include "base/error.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRY_AGAIN_MS 1

struct KvmReaper {
    pthread_t thread;
    pthread_mutex_t lock; /* for the rest */
    pthread_cond_t wake;
    bool wanted, ending;
};

static void wait_ms(KvmReaper *reaper, unsigned ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    while (!reaper->ending &&
           pthread_cond_timedwait(&reaper->wake, &reaper->lock, &until) != ETIMEDOUT) {
    }
}

/* False if it is to end. */
static bool get_machine_lock(KVMState *s)
{
    while (!s->reaper->ending && !lock_try(&s->ms->lock)) {
        wait_ms(s->reaper, TRY_AGAIN_MS);
    }
    return !s->reaper->ending;
}

/* Context: machine lock held, released; reaper->lock held. */
static void reap_and_unlock(KVMState *s)
{
    pthread_mutex_unlock(&s->reaper->lock);
    kvm_dirty_ring_reap(s);
    pthread_mutex_lock(&s->reaper->lock);
    s->reaper->wanted = s->logged_slots != 0;
    pthread_mutex_unlock(&s->reaper->lock);
    machine_unlock(s->ms);
    pthread_mutex_lock(&s->reaper->lock);
}

static void *reap_on(void *opaque)
{
    KVMState *s = opaque;
    KvmReaper *reaper = s->reaper;

    pthread_mutex_lock(&reaper->lock);
    while (!reaper->ending) {
        if (!reaper->wanted) {
            pthread_cond_wait(&reaper->wake, &reaper->lock);
            continue;
        }
        wait_ms(reaper, s->config.reap_interval_ms);
        if (get_machine_lock(s)) {
            reap_and_unlock(s);
        }
    }
    pthread_mutex_unlock(&reaper->lock);
    return NULL;
}

void reaper_wake(KVMState *s)
{
    if (s->reaper) {
        pthread_mutex_lock(&s->reaper->lock);
        s->reaper->wanted = true;
        pthread_cond_signal(&s->reaper->wake);
        pthread_mutex_unlock(&s->reaper->lock);
    }
}

static void free_reaper(KVMState *s)
{
    pthread_cond_destroy(&s->reaper->wake);
    pthread_mutex_destroy(&s->reaper->lock);
    free(s->reaper);
    s->reaper = NULL;
}

static int start_thread(KVMState *s)
{
    sigset_t all, before;

    /* The program's signals are for its own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int err = pthread_create(&s->reaper->thread, NULL, reap_on, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err ? fail(err, "the thread that reaps dirty rings cannot be started: %s", strerror(err))
               : 0;
}

int reaper_start(KVMState *s)
{
    KvmReaper *reaper = calloc(1, sizeof *reaper);
    pthread_condattr_t monotonic;

    if (!reaper) {
        return fail_no_memory("the thread that reaps dirty rings");
    }
    pthread_mutex_init(&reaper->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&reaper->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->reaper = reaper;
    int result = start_thread(s);
    if (result) {
        free_reaper(s);
    }
    return result;
}

void reaper_stop(KVMState *s)
{
    pthread_mutex_lock(&s->reaper->lock);
    s->reaper->ending = true;
    pthread_cond_signal(&s->reaper->wake);
    pthread_mutex_unlock(&s->reaper->lock);
    pthread_join(s->reaper->thread, NULL);
    free_reaper(s);
}
