/* SPDX-License-Identifier: MIT */
/* The machine that is none: what devices call, recorded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fake_machine.h"

static FakeMachine *current; /* whose time the host's is */

static FakeMachine *fake(Machine *m)
{
    return (FakeMachine *)m;
}

/* Everything here is called with the machine lock. */
static FakeMachine *locked(Machine *m)
{
    assert_true(memory_system_locked(m->ms));
    return fake(m);
}

/* ---- Time ------------------------------------------------------------------------------- */

int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
    if (clock != CLOCK_REALTIME || !current) {
        return __real_clock_gettime(clock, ts);
    }
    int64_t now = current->host_epoch + current->now;
    *ts = (struct timespec){.tv_sec = now / SECOND, .tv_nsec = now % SECOND};
    return 0;
}

int64_t machine_clock(Machine *m)
{
    return locked(m)->now;
}

void timer_init(Timer *timer, Machine *m, void (*fn)(void *opaque), void *opaque)
{
    *timer = (Timer){.machine = m, .fn = fn, .opaque = opaque, .deadline = -1};
}

void timer_stop(Timer *timer)
{
    for (Timer **at = &locked(timer->machine)->timers; *at; at = &(*at)->next) {
        if (*at == timer) {
            *at = timer->next;
            break;
        }
    }
    timer->deadline = -1;
}

void timer_set(Timer *timer, int64_t deadline)
{
    timer_stop(timer);
    timer->deadline = deadline;
    timer->next = fake(timer->machine)->timers;
    fake(timer->machine)->timers = timer;
}

static Timer *first_due(FakeMachine *f, int64_t until)
{
    Timer *first = NULL;

    for (Timer *timer = f->timers; timer; timer = timer->next) {
        if (timer->deadline <= until && (!first || timer->deadline < first->deadline)) {
            first = timer;
        }
    }
    return first;
}

void fake_machine_run(FakeMachine *f, int64_t ns)
{
    int64_t until = f->now + ns;
    Timer *timer;

    memory_system_lock(f->m.ms);
    while ((timer = first_due(f, until))) {
        f->now = timer->deadline > f->now ? timer->deadline : f->now;
        timer_stop(timer);
        timer->fn(timer->opaque);
        f->fired++;
    }
    f->now = until;
    memory_system_unlock(f->m.ms);
}

/* ---- The machine and its CPU ------------------------------------------------------------ */

void machine_set_irq(Machine *m, unsigned irq, bool level)
{
    FakeMachine *f = locked(m);

    assert_in_range(irq, 0, 23);
    f->rises[irq] += level && !f->irq[irq];
    f->irq[irq] = level;
    if (f->wire && m->pic) {
        f->wire(m->pic, irq, level);
    }
}

void machine_pulse_irq(Machine *m, unsigned irq)
{
    machine_set_irq(m, irq, true);
    machine_set_irq(m, irq, false);
}

void machine_request(Machine *m, MachineRequest request, int status)
{
    fake(m)->request = request;
    fake(m)->status = status;
}

void vmm_complain(const char *fmt, ...)
{
    fail_msg("a device complains: %s", fmt);
}

Cpu *cpu_current(void)
{
    return NULL;
}

static void interrupt(Cpu *cpu, bool level)
{
    locked(cpu->machine)->interrupt = level;
}

static bool has_smm(Machine *m)
{
    return fake(m)->has_smm;
}

static void smi(Cpu *cpu)
{
    fake(cpu->machine)->smis++;
}

/* ---- The chardev ------------------------------------------------------------------------ */

void chardev_set_user(Chardev *chr, const ChardevUser *user)
{
    chr->user = *user;
}

void chardev_accept_input(Chardev *chr)
{
    size_t can;

    while (chr->nr_typed && (can = chr->user.can_receive(chr->user.opaque))) {
        uint8_t bytes[256];
        unsigned count = chr->nr_typed < can ? chr->nr_typed : (unsigned)can;
        memcpy(bytes, chr->typed, count);
        chr->nr_typed -= count;
        memmove(chr->typed, chr->typed + count, chr->nr_typed);
        chr->user.receive(chr->user.opaque, bytes, count);
    }
}

void chardev_write(Chardev *chr, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        chr->sent[chr->nr_sent++ % sizeof(chr->sent)] = bytes[i];
    }
}

void fake_chardev_type(FakeMachine *f, const char *text)
{
    Chardev *chr = &f->chr;
    size_t count = strlen(text);

    assert_true(chr->nr_typed + count <= sizeof(chr->typed));
    memcpy(chr->typed + chr->nr_typed, text, count);
    chr->nr_typed += (unsigned)count;
    memory_system_lock(f->m.ms);
    chardev_accept_input(chr);
    memory_system_unlock(f->m.ms);
}

/* ---- Life ------------------------------------------------------------------------------- */

FakeMachine *fake_machine_start(void)
{
    FakeMachine *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->m.ms = memory_system_create();
    assert_non_null(f->m.ms);
    f->kind = (CpuKind){.name = "fake", .interrupt = interrupt, .has_smm = has_smm, .smi = smi};
    f->m.kind = &f->kind;
    f->cpu.machine = &f->m;
    f->cpu.state = f;
    f->cpus[0] = &f->cpu;
    f->m.cpus = f->cpus;
    f->m.nr_cpus = 1;
    current = f;
    return f;
}

void fake_machine_reset(FakeMachine *f)
{
    memory_system_lock(f->m.ms);
    assert_int_equal(devices_reset(&f->m), 0);
    memory_system_unlock(f->m.ms);
}

void fake_machine_end(FakeMachine *f)
{
    memory_system_lock(f->m.ms);
    devices_end(&f->m);
    assert_null(f->timers);
    memory_system_unlock(f->m.ms);
    memory_system_drain(f->m.ms);
    assert_int_equal(memory_system_destroy(f->m.ms), 0);
    current = NULL;
    free(f);
}
