/* SPDX-License-Identifier: MIT */
/* --trace-map: every commit of the map, and which instruction led to it. */
#include "machine_run.h"

#include <errno.h>

/* A linear address, so that real mode's are told apart. Commits of other threads have none. */
static bool where(void *opaque, uint64_t *where)
{
    Machine *m = opaque;
    Cpu *cpu = cpu_current();
    CpuState state;

    if (!cpu || m->kind->get_state(cpu, &state) < 0) {
        return false;
    }
    *where = state.cs.base + state.rip;
    return true;
}

int trace_begin(Machine *m, Error **errp)
{
    const MapTraceConfig config = {.where = where, .opaque = m};

    if (!m->options->trace_map) {
        return 0;
    }
    memory_system_lock(m->ms);
    m->trace = map_trace_create(m->ms, m->options->trace_map, &config, errp);
    memory_system_unlock(m->ms);
    return m->trace ? 0 : -EIO;
}

void trace_end(Machine *m)
{
    Error *err = NULL;

    memory_system_lock(m->ms);
    if (map_trace_stop(m->trace, &err) < 0) {
        vmm_complain("--trace-map: %s", error_get_pretty(err));
        error_free(err);
    }
    memory_system_unlock(m->ms);
    m->trace = NULL;
}
