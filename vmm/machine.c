/* SPDX-License-Identifier: MIT */
/* The machine as a whole: what is asked of it, interrupts, messages. */
#include "devices.h"
#include "machine_run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void vmm_complain(const char *fmt, ...)
{
    char line[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    /* One write: CPUs complain, too. In raw mode terminals still end lines in CR LF (signals.h). */
    fprintf(stderr, "membus boot: %s\n", line);
}

int machine_run_begin(Machine *m, Error **errp)
{
    m->run = calloc(1, sizeof *m->run);
    if (!m->run) {
        return error_set(errp, ENOMEM, "memory is short");
    }
    pthread_mutex_init(&m->run->lock, NULL);
    pthread_mutex_init(&m->run->control, NULL);
    pthread_cond_init(&m->run->changed, NULL);
    m->run->pauses = 1;
    m->run->clock_stopped = true;
    m->loop = loop_create(m);
    return m->loop ? 0 : error_set(errp, errno, "no loop: %m");
}

void machine_run_end(Machine *m)
{
    loop_destroy(m->loop);
    if (m->run) {
        pthread_mutex_destroy(&m->run->lock);
        pthread_mutex_destroy(&m->run->control);
        pthread_cond_destroy(&m->run->changed);
        free(m->run);
    }
}

/* ---- Stopping and resetting -------------------------------------------------------------- */

void machine_request(Machine *m, MachineRequest request, int status)
{
    RunState *run = m->run;

    pthread_mutex_lock(&run->lock);
    if (request > run->request) {
        run->request = request;
        run->status = status;
    }
    pthread_mutex_unlock(&run->lock);
    loop_wake(m->loop);
}

void machine_wait_for_request(Machine *m)
{
    RunState *run = m->run;

    pthread_mutex_lock(&run->lock);
    while (run->request != MACHINE_NONE && run->pauses == 0 && !run->ending) {
        pthread_cond_wait(&run->changed, &run->lock);
    }
    pthread_mutex_unlock(&run->lock);
}

/* Context of both: RunState.control held. */
static void pause_cpus(Machine *m)
{
    RunState *run = m->run;

    pthread_mutex_lock(&run->lock);
    bool first = run->pauses++ == 0;
    pthread_cond_broadcast(&run->changed);
    pthread_mutex_unlock(&run->lock);
    if (first) {
        cpus_wait_parked(m);
        memory_system_lock(m->ms);
        machine_clock_stop(m);
        memory_system_unlock(m->ms);
    }
}

static void resume_cpus(Machine *m)
{
    RunState *run = m->run;

    pthread_mutex_lock(&run->lock);
    bool last = run->pauses == 1;
    pthread_mutex_unlock(&run->lock);
    if (last) {
        memory_system_lock(m->ms);
        machine_clock_start(m);
        memory_system_unlock(m->ms);
    }
    pthread_mutex_lock(&run->lock);
    run->pauses--;
    pthread_cond_broadcast(&run->changed);
    pthread_mutex_unlock(&run->lock);
}

void machine_stop(Machine *m)
{
    pthread_mutex_lock(&m->run->control);
    if (!m->run->stopped) {
        m->run->stopped = true;
        pause_cpus(m);
    }
    pthread_mutex_unlock(&m->run->control);
}

void machine_cont(Machine *m)
{
    pthread_mutex_lock(&m->run->control);
    if (m->run->stopped) {
        m->run->stopped = false;
        resume_cpus(m);
    }
    pthread_mutex_unlock(&m->run->control);
}

bool machine_is_stopped(Machine *m)
{
    pthread_mutex_lock(&m->run->control);
    bool stopped = m->run->stopped;
    pthread_mutex_unlock(&m->run->control);
    return stopped;
}

void machine_pause(Machine *m)
{
    pthread_mutex_lock(&m->run->control);
    pause_cpus(m);
}

void machine_resume(Machine *m)
{
    resume_cpus(m);
    pthread_mutex_unlock(&m->run->control);
}

KVMState *machine_kvm(Machine *m)
{
    return m->kind && m->kind->kvm ? m->kind->kvm(m) : NULL;
}

/* The map goes back to power-on in one commit; RAM keeps what is in it, as on a real PC. */
void machine_reset(Machine *m)
{
    pthread_mutex_lock(&m->run->control);
    pause_cpus(m);
    memory_system_lock(m->ms);
    if (devices_reset(m) < 0) {
        vmm_complain("reset: %s", membus_last_error());
        machine_request(m, MACHINE_QUIT, VMM_CRASHED);
    }
    memory_system_unlock(m->ms);
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        m->kind->reset(m->cpus[i]);
    }
    resume_cpus(m);
    pthread_mutex_unlock(&m->run->control);
}

/* The machine was made with one pause; this ends it. */
void machine_power_on(Machine *m)
{
    machine_reset(m);
    pthread_mutex_lock(&m->run->control);
    resume_cpus(m);
    pthread_mutex_unlock(&m->run->control);
}

bool machine_serve_requests(Machine *m, int *status)
{
    RunState *run = m->run;

    pthread_mutex_lock(&run->lock);
    MachineRequest request = run->request;
    *status = run->status;
    pthread_mutex_unlock(&run->lock);
    if (request == MACHINE_STOP) {
        machine_stop(m);
    } else if (request == MACHINE_RESET) {
        machine_reset(m);
    }
    pthread_mutex_lock(&run->lock);
    if (run->request == request && request != MACHINE_QUIT) { /* that one is for ever */
        run->request = MACHINE_NONE;
    }
    pthread_cond_broadcast(&run->changed);
    pthread_mutex_unlock(&run->lock);
    return request == MACHINE_QUIT;
}

/* ---- Interrupts ------------------------------------------------------------------------------ */

void machine_set_irq(Machine *m, unsigned irq, bool level)
{
    if (m->kind->set_irq) {
        m->kind->set_irq(m, irq, level);
    } else if (irq < 16 && m->pic) {
        pic_set_irq(m->pic, irq, level);
    }
}

void machine_pulse_irq(Machine *m, unsigned irq)
{
    machine_set_irq(m, irq, true);
    machine_set_irq(m, irq, false);
}
