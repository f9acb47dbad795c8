/* SPDX-License-Identifier: MIT */
/*
 * membarrier.h - a fence that costs those who are many nothing.
 *
 * A writer stores to guest memory and then looks whether the page is marked; who takes marks
 * clears them and then reads the memory. One of the two must see the other, for which both need
 * a full fence between their two steps. Writers are many and takes are few: where the kernel
 * has membarrier(2), the taker's fence is one on every CPU that runs a thread of the process,
 * and the writers' is nothing but an order to the compiler.
 */
#ifndef SYNC_MEMBARRIER_H
#define SYNC_MEMBARRIER_H

#include <stdbool.h>

extern bool sync_has_membarrier; /* constant once the library is loaded */

/* The cheap side. */
static inline void sync_fence_light(void)
{
    if (__builtin_expect(sync_has_membarrier, 1)) {
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
    } else {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
}

/* The other: pairs with every sync_fence_light(). */
void sync_fence_heavy(void);

#endif
