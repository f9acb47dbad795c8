/* SPDX-License-Identifier: MIT */
#include "sync/lock.h"
#include "sync/rcu.h"

#include <pthread.h>

__thread char lock_self;

#ifdef SYNC_TSAN
char rcu_tsan_sections;
#endif

static void *nothing(void *unused)
{
    return unused;
}

int rcu_start(void)
{
    static bool started; /* atomic; a thread that reads false does what was done once more */
    pthread_t trial;

    if (__atomic_load_n(&started, __ATOMIC_ACQUIRE)) {
        return 0;
    }
    int err = pthread_create(&trial, NULL, nothing, NULL);
    if (err) {
        return err;
    }
    pthread_join(trial, NULL);
    urcu_bp_get_default_call_rcu_data();
    __atomic_store_n(&started, true, __ATOMIC_RELEASE);
    return 0;
}
