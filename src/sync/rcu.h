/* SPDX-License-Identifier: MIT */
/*
 * rcu.h - read-copy-update. The only file that includes liburcu.
 *
 * The flavour is "bulletproof": threads register themselves on first use, so that any thread of
 * a program may read guest memory without ceremony. Inlined (_LGPL_SOURCE is liburcu's own
 * switch for compatible licences), a section costs about the same as in the flavours that need
 * registration; docs/design.md has the figures. With sys_membarrier the read side has no fence.
 *
 * ThreadSanitizer does not see liburcu's fences. What it must know is told here: all that
 * happened in a read section comes before any callback whose grace period waited for it.
 */
#ifndef SYNC_RCU_H
#define SYNC_RCU_H

#include <stdbool.h>

#if defined(__SANITIZE_THREAD__)
#define SYNC_TSAN 1
#elif defined(__SANITIZE_ADDRESS__)
#define SYNC_ASAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SYNC_TSAN 1
#elif __has_feature(address_sanitizer)
#define SYNC_ASAN 1
#endif
#endif

/* Not inlined under a sanitizer: liburcu's reader records are less aligned than their type says. */
#if !defined(SYNC_TSAN) && !defined(SYNC_ASAN)
#define _LGPL_SOURCE
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <urcu/urcu-bp.h>
#pragma GCC diagnostic pop

#ifdef SYNC_TSAN
#include <sanitizer/tsan_interface.h>
extern char rcu_tsan_sections; /* its address stands for "the read sections so far" */
#define rcu_tsan_section_ended() __tsan_release(&rcu_tsan_sections)
#define rcu_tsan_sections_seen() __tsan_acquire(&rcu_tsan_sections)
#else
#define rcu_tsan_section_ended() ((void)0)
#define rcu_tsan_sections_seen() ((void)0)
#endif

/*
 * Let liburcu start the thread that runs callbacks; later it would end the program if it could
 * not. 0, or a positive errno if threads cannot be had.
 */
int rcu_start(void);

static inline void rcu_enter(void)
{
    urcu_bp_read_lock();
}

static inline void rcu_leave(void)
{
    rcu_tsan_section_ended();
    urcu_bp_read_unlock();
}

#ifdef _LGPL_SOURCE
/* Whether this thread has been a reader before; until then entering calls into liburcu. */
static inline bool rcu_registered(void)
{
    return URCU_TLS(urcu_bp_reader) != NULL;
}

/* For a registered thread: open a section unless one is open; returns whether it did. */
static inline bool rcu_enter_unless_inside(void)
{
    unsigned long counter = CMM_LOAD_SHARED(URCU_TLS(urcu_bp_reader)->ctr);

    if (counter & URCU_BP_GP_CTR_NEST_MASK) {
        return false;
    }
    _urcu_bp_read_lock_update(counter); /* what read_lock does after the test just made */
    return true;
}
#else
static inline bool rcu_registered(void)
{
    return true;
}

static inline bool rcu_enter_unless_inside(void)
{
    rcu_enter();
    return true;
}
#endif

/*
 * First and last in a callback: what happened before its grace period, and what a drain waits
 * for.
 */
#define rcu_callback_begins() rcu_tsan_sections_seen()
#define rcu_callback_ends() rcu_tsan_section_ended()

/* Run @callback, in a thread of liburcu's, after all read sections that are open now. */
static inline void rcu_defer(struct rcu_head *head, void (*callback)(struct rcu_head *head))
{
    rcu_tsan_section_ended(); /* the callback also comes after its caller */
    urcu_bp_call_rcu(head, callback);
}

/* Wait for all read sections that are open now. Not inside one. */
static inline void rcu_wait(void)
{
    urcu_bp_synchronize_rcu();
    rcu_tsan_sections_seen();
}

/* Whether this thread is in a read section. */
static inline bool rcu_inside(void)
{
    return urcu_bp_read_ongoing();
}

/* Wait until all callbacks deferred so far have run. Not inside a read section. */
static inline void rcu_drain(void)
{
    urcu_bp_barrier();
    rcu_tsan_sections_seen();
}

/*
 * Readers pair with the release store: what was written before publishing is seen behind the
 * pointer.
 */
#define rcu_publish(place, pointer) __atomic_store_n(place, pointer, __ATOMIC_RELEASE)
#define rcu_read(place) __atomic_load_n(place, __ATOMIC_ACQUIRE)

#endif
