/* SPDX-License-Identifier: MIT */
/* A machine of vmm/ without CPUs and devices: memory, loop, locks. */
#ifndef TESTS_VMM_VM_H
#define TESTS_VMM_VM_H

#include "vmm/machine_run.h"

#define VM_RAM_SIZE (16U << 20)

typedef struct Vm {
    Machine machine;
    VmmOptions options;
    MemoryRegion ram; /* "pc.ram" at 0 */
    pthread_t thread; /* of the loop */
    bool running;
    int status;
} Vm;

/* NULL @options: none. */
Vm *vm_create(const VmmOptions *options);
/* Run the loop in a thread; have it end, and tell how it did. */
void vm_start(Vm *vm);
int vm_wait(Vm *vm);
/* Ends the loop, if it runs. */
void vm_destroy(Vm *vm);

#endif
