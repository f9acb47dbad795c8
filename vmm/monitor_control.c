/* SPDX-License-Identifier: MIT */
/* The monitor: what changes the machine. */
#include "devices.h"
#include "monitor.h"

#include <errno.h>
#include <membus/memory_device.h>

/* ---- Memory -------------------------------------------------------------------------- */

int monitor_object_add(MonitorCall *call)
{
    HostMemoryBackend *backend =
        host_memory_backend_create(call->machine->ms, call->args[0].text, &call->err);

    return backend ? 0 : error_get_errno(call->err);
}

int monitor_object_del(MonitorCall *call)
{
    MemorySystem *ms = call->machine->ms;

    memory_system_lock(ms);
    HostMemoryBackend *backend = host_memory_backend_find(ms, call->args[0].text);
    int result = backend
                     ? host_memory_backend_destroy(backend, &call->err)
                     : error_set(&call->err, ENOENT, "object '%s' not found", call->args[0].text);
    memory_system_unlock(ms);
    return result;
}

int monitor_device_add(MonitorCall *call)
{
    Machine *m = call->machine;

    memory_system_lock(m->ms);
    MemoryDeviceState *md = memory_device_add(m->ms, call->args[0].text, &call->err);
    if (md) {
        acpi_memory_plugged(m, md);
    }
    memory_system_unlock(m->ms);
    return md ? 0 : error_get_errno(call->err);
}

int monitor_device_del(MonitorCall *call)
{
    Machine *m = call->machine;
    int result;

    memory_system_lock(m->ms);
    MemoryDeviceState *md = memory_device_find(m->ms, call->args[1].text);
    if (!md) {
        result = error_set(&call->err, ENOENT, "Device '%s' not found", call->args[1].text);
    } else if (call->args[0].given) {
        result = memory_device_del(md, &call->err);
    } else {
        result = acpi_memory_unplug_request(m, md, &call->err);
    }
    memory_system_unlock(m->ms);
    return result;
}

/* ---- Running -------------------------------------------------------------------------- */

int monitor_stop(MonitorCall *call)
{
    machine_stop(call->machine);
    return 0;
}

int monitor_cont(MonitorCall *call)
{
    machine_cont(call->machine);
    return 0;
}

int monitor_info_status(MonitorCall *call)
{
    bool running = !machine_is_stopped(call->machine);
    const char *status = running ? "running" : "paused";

    if (call->json) {
        return monitor_set_result(call,
                                  json_pack("{s:b, s:s}", "running", running, "status", status));
    }
    fprintf(call->out, "VM status: %s\n", status);
    return 0;
}

int monitor_system_reset(MonitorCall *call)
{
    machine_reset(call->machine);
    return 0;
}

int monitor_quit(MonitorCall *call)
{
    call->session->quit = true;
    return 0;
}
