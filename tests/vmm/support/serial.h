/* SPDX-License-Identifier: MIT */
/* serial.h - a machine whose serial console has a user that keeps what it gets. */
#ifndef TESTS_SERIAL_H
#define TESTS_SERIAL_H

#include "vm.h"
#include "vmm/chardev.h"
#include "vmm/console.h"

/* Takes what is typed, @at_once bytes at a time. */
typedef struct Taker {
    size_t at_once, count;
    char bytes[200000];
} Taker;
extern Taker taker;

/* vm_create(); skips the test where there are no pseudo-terminals (a bare chroot). */
Vm *vm_with_terminals(void);
Chardev *open_serial(Vm *vm, const char *what);
void use_taker(Chardev *chr, size_t at_once);
size_t taken(Vm *vm);
void wait_taken(Vm *vm, size_t count);
/* What the guest prints. */
void put(Vm *vm, const char *text);
/* Ends the serial console, the console and the machine. */
void finish(Vm *vm);

#endif
