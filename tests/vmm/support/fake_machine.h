/* SPDX-License-Identifier: MIT */
/*
 * fake_machine.h - a machine for tests of single devices: a memory system, a clock that the test
 * moves, and notes of what devices ask of machine and CPU. Stands in for machine.c, loop.c, cpus.c
 * and chardev.c, and with --wrap=clock_gettime for the host's clock. Needs cmocka.h before it.
 */
#ifndef TESTS_FAKE_MACHINE_H
#define TESTS_FAKE_MACHINE_H

#include "vmm/devices.h"

#define ATTRS MEMTXATTRS_UNSPECIFIED
#define US INT64_C(1000)
#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)

struct Chardev {
    ChardevUser user;
    uint8_t sent[256], typed[256]; /* typed: not yet taken */
    unsigned nr_sent, nr_typed;
};

typedef struct FakeMachine {
    Machine m; /* first */
    CpuKind kind;
    Cpu cpu, *cpus[1];
    int64_t now;        /* ns */
    int64_t host_epoch; /* ns; the host's CLOCK_REALTIME when now was 0 */
    Timer *timers;
    unsigned long fired; /* timers, ever */
    bool irq[24];
    unsigned rises[24];
    void (*wire)(Pic *pic, unsigned irq, bool level); /* pic_set_irq(), where it is linked; NULL */
    bool interrupt;                                   /* the CPU's input */
    MachineRequest request;
    int status;
    unsigned smis;
    bool has_smm;
    Chardev chr;
} FakeMachine;

FakeMachine *fake_machine_start(void);
void fake_machine_end(FakeMachine *f);
/* The call that makes a device. */
#define MAKE(call)                                                                                 \
    do {                                                                                           \
        memory_system_lock(f->m.ms);                                                               \
        assert_int_equal((call), 0);                                                               \
        memory_system_unlock(f->m.ms);                                                             \
    } while (0)
/* Let time pass; timers fire at their deadlines. */
void fake_machine_run(FakeMachine *f, int64_t ns);
/* As the loop does. */
void fake_machine_reset(FakeMachine *f);
/* Somebody types. */
void fake_chardev_type(FakeMachine *f, const char *text);

static inline void outb(FakeMachine *f, uint16_t port, unsigned value)
{
    address_space_stb(memory_system_io(f->m.ms), port, (uint8_t)value, ATTRS, NULL);
}

static inline uint8_t inb(FakeMachine *f, uint16_t port)
{
    return address_space_ldub(memory_system_io(f->m.ms), port, ATTRS, NULL);
}

#endif
