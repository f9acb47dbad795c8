/* SPDX-License-Identifier: MIT */
/*
 * cpu_soft_opcode.h - what libx86emu must not be left alone with: looked at when an opcode is
 * fetched, and finished when its instruction has been executed.
 */
#ifndef VMM_CPU_SOFT_OPCODE_H
#define VMM_CPU_SOFT_OPCODE_H

#include <stdbool.h>
#include <stdint.h>
#include <x86emu.h>

/* An instruction that is not over when libx86emu has executed it. */
typedef struct SoftOpcode {
    uint8_t opcode; /* HLT or a string instruction; 0: none */
    bool wide;      /* its count and index have 32 bits */
    bool repne;     /* repeated while not equal, if it compares */
    uint32_t start; /* its EIP */
    uint32_t left;  /* repetitions to come */
    int32_t step;   /* what its index is short of */
} SoftOpcode;

/* Which bytes are worth a call of soft_opcode_check(), if they are an opcode or a prefix. */
extern const bool soft_opcode_is_special[256];

/*
 * @byte is being fetched at the instruction pointer: what libx86emu is to see there. True: have it
 * stop before the next instruction and call soft_opcode_finish().
 */
bool soft_opcode_check(x86emu_t *emu, SoftOpcode *special, uint32_t *byte);
/* Returns whether it was HLT. */
bool soft_opcode_finish(x86emu_t *emu, SoftOpcode *special);

/* Whether the descriptor of @vector leads to a handler. */
bool soft_vector_is_good(x86emu_t *emu, uint8_t vector);

#endif
