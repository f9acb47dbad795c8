/* SPDX-License-Identifier: MIT */
#include "serial.h"

#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

Taker taker;

static size_t can_take(void *opaque)
{
    const Taker *t = opaque;

    return t->at_once;
}

static void take(void *opaque, const uint8_t *bytes, size_t count)
{
    Taker *t = opaque;

    assert_true(count <= t->at_once && t->count + count < sizeof t->bytes);
    memcpy(t->bytes + t->count, bytes, count);
    t->count += count;
}

void use_taker(Chardev *chr, size_t at_once)
{
    taker = (Taker){.at_once = at_once};
    chardev_set_user(chr, &(ChardevUser){can_take, take, &taker});
}

size_t taken(Vm *vm)
{
    memory_system_lock(vm->machine.ms);
    size_t count = taker.count;
    memory_system_unlock(vm->machine.ms);
    return count;
}

void wait_taken(Vm *vm, size_t count)
{
    for (unsigned i = 0; i < 5000 && taken(vm) < count; i++) {
        usleep(1000);
    }
    assert_int_equal(taken(vm), count);
}

Chardev *open_serial(Vm *vm, const char *what)
{
    Machine *m = &vm->machine;
    Error *err = NULL;

    memory_system_lock(m->ms);
    m->serial = chardev_open(m, what, &err);
    if (!m->serial) {
        print_error("%s\n", err ? error_get_pretty(err) : membus_last_error());
    }
    assert_non_null(m->serial);
    memory_system_unlock(m->ms);
    return m->serial;
}

void put(Vm *vm, const char *text)
{
    memory_system_lock(vm->machine.ms);
    chardev_write(vm->machine.serial, (const uint8_t *)text, strlen(text));
    memory_system_unlock(vm->machine.ms);
}

void finish(Vm *vm)
{
    Machine *m = &vm->machine;

    if (vm->running) {
        machine_request(m, MACHINE_QUIT, VMM_DONE);
        vm_wait(vm);
    }
    memory_system_lock(m->ms);
    chardev_close(m->serial);
    console_destroy(m->console);
    memory_system_unlock(m->ms);
    vm_destroy(vm);
}

Vm *vm_with_terminals(void)
{
    int ends[2];

    if (openpty(&ends[0], &ends[1], NULL, NULL, NULL) < 0) {
        print_message("no pseudo-terminals here\n");
        skip();
    }
    close(ends[0]);
    close(ends[1]);
    return vm_create(NULL);
}
