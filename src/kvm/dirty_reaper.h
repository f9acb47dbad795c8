/* SPDX-License-Identifier: MIT */
/* dirty_reaper.h - a thread that reaps dirty rings. See dirty_reaper.c. */
#ifndef KVM_DIRTY_REAPER_H
#define KVM_DIRTY_REAPER_H

#include "kvm/state.h"

/* -ENOMEM, or what pthread_create(3) failed with. */
int reaper_start(KVMState *s);
/* Context: with or without the machine lock. */
void reaper_stop(KVMState *s);
/* Something is logged from now on. NULL @s->reaper is fine. Context: machine lock held. */
void reaper_wake(KVMState *s);

#endif
