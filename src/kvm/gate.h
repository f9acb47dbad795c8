/* SPDX-License-Identifier: MIT */
/* gate.h - keep vCPUs out of the guest. See gate.c. */
#ifndef KVM_GATE_H
#define KVM_GATE_H

#include "kvm/state.h"

int gate_init(KVMState *s);
void gate_end(KVMState *s);

/*
 * When it returns no vCPU is in the guest, and none enters until gate_open(). Nests.
 * Context: machine lock held; may block.
 */
void gate_close(KVMState *s);
void gate_open(KVMState *s);

#endif
