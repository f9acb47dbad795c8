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
    m->run = calloc(1, sizeof *m->run);
    assert_true(m->ms && m->run);
    pthread_mutex_init(&m->run->lock, NULL);
    pthread_mutex_init(&m->run->control, NULL);
    pthread_cond_init(&m->run->changed, NULL);
    m->loop = loop_create(m);
    assert_non_null(m->loop);
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
    loop_destroy(m->loop);
    pthread_mutex_destroy(&m->run->lock);
    pthread_mutex_destroy(&m->run->control);
    pthread_cond_destroy(&m->run->changed);
    free(m->run);
    free(vm);
}
