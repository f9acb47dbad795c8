/* SPDX-License-Identifier: MIT */
#include "vm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

Vm *vm_create(const VmmOptions *options)
{
    Vm *vm = calloc(1, sizeof *vm);
    Machine *m = &vm->machine;

    vm->options = options ? *options : (VmmOptions){0};
    m->options = &vm->options;
    m->ms = memory_system_create();
    assert_non_null(m->ms);
    assert_int_equal(0, machine_run_begin(m, NULL));
    m->run->pauses = 0; /* there is no CPU to wait for */
    m->run->clock_stopped = false;
    assert_int_equal(0, memory_region_init_ram(&vm->ram, memory_system_owner(m->ms), "pc.ram",
                                               VM_RAM_SIZE, NULL));
    assert_int_equal(0, memory_region_add_subregion(get_system_memory(m->ms), 0, &vm->ram));
    return vm;
}

static void *run_loop(void *opaque)
{
    Vm *vm = opaque;

    vm->status = loop_run(&vm->machine);
    return NULL;
}

void vm_start(Vm *vm)
{
    assert_int_equal(0, pthread_create(&vm->thread, NULL, run_loop, vm));
    vm->running = true;
}

int vm_wait(Vm *vm)
{
    if (vm->running) {
        pthread_join(vm->thread, NULL);
        vm->running = false;
    }
    return vm->status;
}

void vm_destroy(Vm *vm)
{
    Machine *m = &vm->machine;

    if (vm->running) {
        machine_request(m, MACHINE_QUIT, VMM_DONE);
        vm_wait(vm);
    }
    memory_system_lock(m->ms);
    memory_region_del_subregion(get_system_memory(m->ms), &vm->ram);
    memory_system_unlock(m->ms);
    memory_system_drain(m->ms);
    memory_region_finalize(&vm->ram);
    memory_system_drain(m->ms);
    assert_int_equal(0, memory_system_destroy(m->ms));
    machine_run_end(m);
    free(vm);
}
