/* SPDX-License-Identifier: MIT */
/* The monitor: which pages are written. */
#include "monitor.h"

#include <errno.h>
#include <inttypes.h>
#include <membus/dirty.h>
#include <string.h>

#define CLIENT_NAME "monitor"

/* The monitor's client number; -1: nothing is logged for it. Context: machine lock. */
static int find_client(MemorySystem *ms)
{
    for (int client = DIRTY_MEMORY_FIRST_FREE; client < DIRTY_MEMORY_NUM; client++) {
        const char *name = memory_dirty_client_name(ms, (unsigned)client);
        if (name && strcmp(name, CLIENT_NAME) == 0) {
            return client;
        }
    }
    return -1;
}

static int start(MonitorCall *call)
{
    MemorySystem *ms = call->machine->ms;

    memory_system_lock(ms);
    int client = find_client(ms);
    if (client < 0) {
        client = memory_dirty_client_register(ms, CLIENT_NAME, &call->err);
    }
    memory_system_unlock(ms);
    if (client < 0) {
        return client;
    }
    /* Waits until writers have seen it: not with the machine lock. Twice is once. */
    int result = memory_global_dirty_log_start(ms, 1U << client, &call->err);
    if (result < 0) {
        memory_system_lock(ms);
        memory_dirty_client_unregister(ms, (unsigned)client, NULL);
        memory_system_unlock(ms);
    }
    return result;
}

static int stop(MonitorCall *call, unsigned client)
{
    MemorySystem *ms = call->machine->ms;
    int result = memory_global_dirty_log_stop(ms, 1U << client, &call->err);

    return result < 0 ? result : memory_dirty_client_unregister(ms, client, &call->err);
}

static int take(MonitorCall *call, unsigned client)
{
    DirtyEpoch *epoch = memory_dirty_take(call->machine->ms, client, &call->err);

    if (!epoch) {
        return error_get_errno(call->err);
    }
    dirty_epoch_commit(epoch);
    return 0;
}

int monitor_dirty(MonitorCall *call)
{
    MemorySystem *ms = call->machine->ms;
    const char *what = call->args[0].text;
    bool off = strcmp(what, "off") == 0;

    if (strcmp(what, "on") == 0) {
        return start(call);
    }
    if (!off && strcmp(what, "take") != 0) {
        return error_set(&call->err, EINVAL, "dirty: on, off or take");
    }
    memory_system_lock(ms);
    int client = find_client(ms), result = 0;
    if (client >= 0) {
        result = off ? stop(call, (unsigned)client) : take(call, (unsigned)client);
    } else if (!off) {
        result = error_set(&call->err, ENOENT, "the dirty log is off");
    }
    memory_system_unlock(ms);
    return result;
}

/* ---- info dirty ------------------------------------------------------------------------ */

static void print_runs(const DirtyEpoch *epoch, FILE *out)
{
    DirtyRun run = DIRTY_RUN_INIT;
    const RAMBlock *block = NULL;
    uint64_t pages = 0;

    fprintf(out, "dirty log: on, %" PRIu64 " pages\n", dirty_epoch_pages(epoch));
    for (bool more = true; more;) {
        more = dirty_epoch_next(epoch, &run);
        if (block && (!more || run.block != block)) {
            fprintf(out, "  %s: %" PRIu64 "\n", qemu_ram_get_idstr(block), pages);
            pages = 0;
        }
        block = run.block;
        pages += (run.size + RAM_PAGE_SIZE - 1) / RAM_PAGE_SIZE;
    }
}

static json_t *list_runs(const DirtyEpoch *epoch)
{
    DirtyRun run = DIRTY_RUN_INIT;
    json_t *runs = json_array();

    while (dirty_epoch_next(epoch, &run)) {
        json_array_append_new(runs, json_pack("{s:o, s:o, s:o}", "block",
                                              monitor_json_text(qemu_ram_get_idstr(run.block)),
                                              "offset", monitor_json_address(run.offset), "size",
                                              monitor_json_address(run.size)));
    }
    return json_pack("{s:b, s:I, s:o}", "logging", 1, "pages", (json_int_t)dirty_epoch_pages(epoch),
                     "runs", runs);
}

/* The marks stay: an epoch is taken and rolled back. */
int monitor_info_dirty(MonitorCall *call)
{
    MemorySystem *ms = call->machine->ms;

    memory_system_lock(ms);
    int client = find_client(ms);
    DirtyEpoch *epoch = client < 0 ? NULL : memory_dirty_take(ms, (unsigned)client, &call->err);
    memory_system_unlock(ms);
    if (client >= 0 && !epoch) {
        return error_get_errno(call->err);
    }
    if (call->json) {
        monitor_set_result(call, epoch ? list_runs(epoch) : json_pack("{s:b}", "logging", 0));
    } else if (epoch) {
        print_runs(epoch, call->out);
    } else {
        fputs("dirty log: off\n", call->out);
    }
    dirty_epoch_rollback(epoch);
    return 0;
}
