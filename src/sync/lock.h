/* SPDX-License-Identifier: MIT */
/*
 * lock.h - a recursive mutex that knows its holder.
 *
 * pthread's recursive type asks for the thread id by a call each time; here the fast paths are
 * one comparison with the address of a thread-local byte.
 */
#ifndef SYNC_LOCK_H
#define SYNC_LOCK_H

#include <pthread.h>
#include <stdbool.h>

typedef struct Lock {
    pthread_mutex_t mutex;
    const char *holder; /* written by the holder only; others may compare it with themselves */
    unsigned depth;
} Lock;

#define LOCK_INIT ((Lock){.mutex = PTHREAD_MUTEX_INITIALIZER})

extern __thread char lock_self;

static inline bool lock_held(const Lock *lock)
{
    return __atomic_load_n(&lock->holder, __ATOMIC_RELAXED) == &lock_self;
}

static inline void lock_take(Lock *lock)
{
    if (!lock_held(lock)) {
        pthread_mutex_lock(&lock->mutex);
        __atomic_store_n(&lock->holder, &lock_self, __ATOMIC_RELAXED);
    }
    lock->depth++;
}

/* False if another thread holds it. */
static inline bool lock_try(Lock *lock)
{
    if (!lock_held(lock)) {
        if (pthread_mutex_trylock(&lock->mutex)) {
            return false;
        }
        __atomic_store_n(&lock->holder, &lock_self, __ATOMIC_RELAXED);
    }
    lock->depth++;
    return true;
}

static inline void lock_release(Lock *lock)
{
    if (--lock->depth == 0) {
        __atomic_store_n(&lock->holder, NULL, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&lock->mutex);
    }
}

#endif
