/* SPDX-License-Identifier: MIT */
/* A machine's life: options, memory system, board, CPUs, loop, and all of it back again. */
#include "console.h"
#include "devices.h"
#include "machine_run.h"
#include "monitor.h"
#include "signals.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int complain_of(Error *err)
{
    vmm_complain("%s", err ? error_get_pretty(err) : membus_last_error());
    error_free(err);
    return VMM_TROUBLE;
}

/* What is there without a board. */
static int begin(Machine *m, Error **errp)
{
    int result = board_read_options(m, errp);

    if (result < 0) {
        return result;
    }
    m->ms = memory_system_create();
    if (!m->ms) {
        return error_set(errp, ENOMEM, "%s", membus_last_error());
    }
    if ((result = machine_run_begin(m, errp)) < 0 || (result = signals_begin(m, errp)) < 0) {
        return result;
    }
    memory_system_lock(m->ms);
    m->console = console_create(m, STDIN_FILENO, STDOUT_FILENO);
    memory_system_unlock(m->ms);
    return m->console ? cpus_choose_kind(m, errp)
                      : error_set(errp, ENOMEM, "%s", membus_last_error());
}

static int build(Machine *m, Error **errp)
{
    memory_system_lock(m->ms);
    int result = board_create(m, errp);
    if (result == 0) {
        result = cpus_create(m, errp);
    }
    memory_system_unlock(m->ms);
    if (result < 0 || (result = trace_begin(m, errp)) < 0 ||
        (result = monitor_create(m, errp)) < 0) {
        return result;
    }
    return cpus_start(m, errp);
}

static void end(Machine *m)
{
    monitor_destroy(m);
    if (m->run) {
        cpus_end(m);
    }
    if (m->ms) {
        trace_end(m);
        memory_system_lock(m->ms);
        cpus_destroy(m);
        board_dismantle(m);
        console_destroy(m->console);
        if (m->kind) {
            m->kind->close(m);
        }
        memory_system_unlock(m->ms);
        signals_end(m);
        memory_system_drain(m->ms);
        cpus_finalize(m);
        memory_system_drain(m->ms);
        memory_system_lock(m->ms);
        board_destroy(m);
        memory_system_unlock(m->ms);
        memory_system_drain(m->ms);
        if (memory_system_destroy(m->ms) < 0) {
            vmm_complain("at the end: %s", membus_last_error());
        }
    }
    cpus_free(m);
    machine_run_end(m);
    free(m);
}

int vmm_run(const VmmOptions *options)
{
    Machine *m = calloc(1, sizeof *m);
    Error *err = NULL;
    int status;

    if (!m) {
        vmm_complain("memory is short");
        return VMM_TROUBLE;
    }
    m->options = options;
    m->nr_cpus = options->smp ? options->smp : 1;
    if (begin(m, &err) < 0 || build(m, &err) < 0) {
        status = complain_of(err);
    } else {
        if (options->timeout > 0) {
            loop_give_up_after(m, options->timeout);
        }
        machine_power_on(m);
        status = loop_run(m);
    }
    end(m);
    return status;
}
