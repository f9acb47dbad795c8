/* SPDX-License-Identifier: MIT */
/*
 * code.h - what guests run, and how a vCPU begins with it.
 *
 * The code is in code.S, one label a guest, none of which uses FPU or SSE. Wherever it is put it
 * runs: offsets in it are relative to its begin.
 *
 * In real mode a guest begins at CS:0, in flat mode (32 bits, segments of 4 GiB from 0, no paging)
 * at the address where it was put. It ends with HLT.
 */
#ifndef TESTS_KVM_CODE_H
#define TESTS_KVM_CODE_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

typedef enum CodeMode { CODE_REAL, CODE_FLAT } CodeMode;

typedef struct Code {
    CodeMode mode;
    const uint8_t *begin, *end;
} Code;

extern const Code code_hello, code_asks, code_smi; /* real mode */
/* flat mode */
extern const Code code_sums, code_hammer, code_banks, code_scribble, code_io;

size_t code_size(const Code *code);
/* Have the vCPU begin @code, which is at @address (real mode: below 1 MiB, a multiple of 16). */
void code_enter(int vcpu_fd, const Code *code, uint32_t address, const struct kvm_regs *regs);

#endif
