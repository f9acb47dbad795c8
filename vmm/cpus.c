/* SPDX-License-Identifier: MIT */
/* CPUs: their address spaces and threads, and who chooses their kind. */
#include "machine_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const CpuKind *const kinds[] = {
    &cpu_kvm,
    &cpu_soft,
};
#define NR_KINDS (sizeof kinds / sizeof *kinds)

static _Thread_local Cpu *running_cpu;

Cpu *cpu_current(void)
{
    return running_cpu;
}

/* ---- The kind ---------------------------------------------------------------------- */

/* The first kind that can run the guest, saying which and why; `auto` tries them in order. */
int cpus_choose_kind(Machine *m, Error **errp)
{
    const char *wanted = m->options->accel ? m->options->accel : "auto";
    bool automatic = strcmp(wanted, "auto") == 0;
    char reasons[512] = "", names[128] = "auto";

    for (size_t i = 0; i < NR_KINDS; i++) {
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, ", %s", kinds[i]->name);
        if (!automatic && strcmp(wanted, kinds[i]->name) != 0) {
            continue;
        }
        Error *err = NULL;
        m->kind = kinds[i];
        int result = kinds[i]->open(m, &err);
        if (result == 0) {
            if (automatic) {
                vmm_complain("CPU: %s, %s%s", kinds[i]->name,
                             *reasons ? "since " : "which can run this guest", reasons);
            }
            return 0;
        }
        m->kind = NULL;
        size_t used = strlen(reasons);
        snprintf(reasons + used, sizeof reasons - used, "%s%s: %s", used ? "; " : "",
                 kinds[i]->name, err ? error_get_pretty(err) : membus_last_error());
        error_free(err);
    }
    if (!*reasons) {
        return error_set(errp, EINVAL, "--accel %s: there is %s", wanted, names);
    }
    return error_set(errp, ENOTSUP, "no CPU can run this guest: %s", reasons);
}

/* ---- Address spaces --------------------------------------------------------------------- */

/*
 * cpu-memory-N is the system memory; cpu-smm-N has what SMM sees more over it:
 *      memory ─┬─ smram (1)   what the host bridge shows in SMM
 *              └─ memory (0)  the system memory
 */
static int make_spaces(Cpu *cpu)
{
    Machine *m = cpu->machine;
    MemoryOwner *board = memory_system_owner(m->ms);
    MemoryRegion *system = get_system_memory(m->ms);
    char name[32];
    int result;

    snprintf(name, sizeof name, "cpu-memory-%u", cpu->index);
    if ((result = address_space_init(&cpu->memory, system, name)) < 0 ||
        (result = memory_region_init(&cpu->smm_root, board, "memory", UINT64_MAX)) < 0 ||
        (result = memory_region_init_alias(&cpu->smm_memory, board, "memory", system, 0,
                                           UINT64_MAX)) < 0 ||
        (result = memory_region_init_alias(&cpu->smm_smram, board, "smram", &m->smram, 0,
                                           UINT64_C(1) << 32)) < 0 ||
        (result = memory_region_add_subregion(&cpu->smm_root, 0, &cpu->smm_memory)) < 0 ||
        (result = memory_region_add_subregion_overlap(&cpu->smm_root, 0, &cpu->smm_smram, 1)) < 0) {
        return result;
    }
    if (m->kind->has_smm && !m->kind->has_smm(m)) {
        return 0;
    }
    snprintf(name, sizeof name, "cpu-smm-%u", cpu->index);
    return address_space_init(&cpu->smm, &cpu->smm_root, name);
}

static void end_spaces(Cpu *cpu)
{
    if (address_space_name(&cpu->smm)) {
        address_space_destroy(&cpu->smm);
    }
    if (address_space_name(&cpu->memory)) {
        address_space_destroy(&cpu->memory);
    }
    if (memory_region_is_mapped(&cpu->smm_smram)) {
        memory_region_del_subregion(&cpu->smm_root, &cpu->smm_smram);
    }
    if (memory_region_is_mapped(&cpu->smm_memory)) {
        memory_region_del_subregion(&cpu->smm_root, &cpu->smm_memory);
    }
}

int cpus_create(Machine *m, Error **errp)
{
    m->cpus = calloc(m->nr_cpus, sizeof *m->cpus);
    if (!m->cpus) {
        return error_set(errp, ENOMEM, "memory is short");
    }
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        struct {
            Cpu cpu;
            CpuThread thread;
        } *both = calloc(1, sizeof *both);
        if (!both) {
            return error_set(errp, ENOMEM, "memory is short");
        }
        Cpu *cpu = m->cpus[i] = &both->cpu;
        *cpu = (Cpu){.machine = m, .index = i, .thread = &both->thread};
        int result = make_spaces(cpu);
        if (result < 0) {
            return error_set(errp, -result, "CPU %u: %s", i, membus_last_error());
        }
        if ((result = m->kind->create(cpu, errp)) < 0) {
            return result;
        }
    }
    return 0;
}

void cpus_destroy(Machine *m)
{
    for (unsigned i = 0; m->cpus && i < m->nr_cpus && m->cpus[i]; i++) {
        if (m->cpus[i]->state) {
            m->kind->destroy(m->cpus[i]);
            m->cpus[i]->state = NULL;
        }
        end_spaces(m->cpus[i]);
    }
}

/* Aliases keep what they look at; nobody looks at them any more. */
void cpus_finalize(Machine *m)
{
    for (unsigned i = 0; m->cpus && i < m->nr_cpus && m->cpus[i]; i++) {
        MemoryRegion *aliases[] = {&m->cpus[i]->smm_smram, &m->cpus[i]->smm_memory};
        for (size_t k = 0; k < sizeof aliases / sizeof *aliases; k++) {
            if (memory_region_alias_target(aliases[k])) {
                memory_region_finalize(aliases[k]);
            }
        }
    }
}

void cpus_free(Machine *m)
{
    for (unsigned i = 0; m->cpus && i < m->nr_cpus && m->cpus[i]; i++) {
        free(m->cpus[i]);
    }
    free(m->cpus);
    m->cpus = NULL;
}

/* ---- Threads -------------------------------------------------------------------------------- */

/* Wait until the machine runs; false: the thread is to end. */
static bool wait_to_run(Cpu *cpu)
{
    RunState *run = cpu->machine->run;

    pthread_mutex_lock(&run->lock);
    while (run->pauses > 0 && !run->ending) {
        if (!cpu->thread->parked) {
            cpu->thread->parked = true;
            pthread_cond_broadcast(&run->changed);
        }
        pthread_cond_wait(&run->changed, &run->lock);
    }
    cpu->thread->parked = false;
    bool go_on = !run->ending;
    pthread_mutex_unlock(&run->lock);
    return go_on;
}

static void *run_cpu(void *opaque)
{
    Cpu *cpu = opaque;
    Machine *m = cpu->machine;

    running_cpu = cpu;
    while (wait_to_run(cpu)) {
        switch (m->kind->run(cpu)) {
        case CPU_KICKED:
            break;
        case CPU_SHUTDOWN:
            machine_request(m, MACHINE_RESET, 0);
            machine_wait_for_request(m);
            break;
        case CPU_FAILED:
            machine_request(m, MACHINE_QUIT, VMM_CRASHED);
            machine_wait_for_request(m);
            break;
        }
    }
    return NULL;
}

int cpus_start(Machine *m, Error **errp)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        CpuThread *thread = m->cpus[i]->thread;
        int result = pthread_create(&thread->thread, NULL, run_cpu, m->cpus[i]);
        if (result != 0) {
            return error_set(errp, result, "CPU %u gets no thread: %s", i, strerror(result));
        }
        thread->started = true;
    }
    return 0;
}

static void kick_all(Machine *m)
{
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        m->kind->kick(m->cpus[i]);
    }
}

/* Wait until no CPU is in the guest: RunState.pauses is above 0 by now. */
void cpus_wait_parked(Machine *m)
{
    kick_all(m);
    pthread_mutex_lock(&m->run->lock);
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        while (m->cpus[i]->thread->started && !m->cpus[i]->thread->parked) {
            pthread_cond_wait(&m->run->changed, &m->run->lock);
        }
    }
    pthread_mutex_unlock(&m->run->lock);
}

void cpus_end(Machine *m)
{
    if (!m->cpus) {
        return;
    }
    pthread_mutex_lock(&m->run->lock);
    m->run->ending = true;
    pthread_cond_broadcast(&m->run->changed);
    pthread_mutex_unlock(&m->run->lock);
    for (unsigned i = 0; i < m->nr_cpus && m->cpus[i]; i++) {
        if (m->cpus[i]->thread->started) {
            m->kind->kick(m->cpus[i]);
            pthread_join(m->cpus[i]->thread->thread, NULL);
            m->cpus[i]->thread->started = false;
        }
    }
}
