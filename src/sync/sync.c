/* SPDX-License-Identifier: MIT */
#include "sync/lock.h"
#include "sync/rcu.h"

__thread char lock_self;

#ifdef SYNC_TSAN
char rcu_tsan_sections;
#endif
