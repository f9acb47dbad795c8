/* SPDX-License-Identifier: MIT */
/* The monitor: what memory there is, in QEMU's text, and for programs. */
#include "monitor.h"

#include <errno.h>
#include <inttypes.h>
#include <membus/hostmem.h>
#include <membus/inspect.h>
#include <membus/memory_device.h>
#include <membus/ram.h>

static int printed(MonitorCall *call, int result)
{
    return result < 0 ? error_set(&call->err, -result, "%s", membus_last_error()) : 0;
}

/* ---- RAM ------------------------------------------------------------------------------- */

static int list_block(RAMBlock *block, void *opaque)
{
    json_array_append_new(opaque,
                          json_pack("{s:o, s:I, s:o, s:o, s:o, s:o, s:b}", "name",
                                    monitor_json_text(qemu_ram_get_idstr(block)), "page_size",
                                    (json_int_t)qemu_ram_pagesize(block), "offset",
                                    monitor_json_address(qemu_ram_get_offset(block)), "used",
                                    monitor_json_address(qemu_ram_get_used_length(block)), "max",
                                    monitor_json_address(qemu_ram_get_max_length(block)), "host",
                                    monitor_json_address((uintptr_t)qemu_ram_get_host_addr(block)),
                                    "shared", qemu_ram_is_shared(block)));
    return 0;
}

int monitor_info_ramblock(MonitorCall *call)
{
    if (!call->json) {
        return printed(call, ramblock_print(call->machine->ms, call->out, 0));
    }
    json_t *list = json_array();
    qemu_ram_foreach_block(call->machine->ms, list_block, list);
    return monitor_set_result(call, list);
}

static bool list_device(MemoryDeviceState *md, void *opaque)
{
    static const char *const kinds[] = {"dimm", "nvdimm", "virtio-mem"};
    MemoryDeviceInfo info;

    memory_device_query(md, &info);
    json_array_append_new(opaque, json_pack("{s:s, s:o, s:o, s:o, s:o, s:i, s:i, s:b}", "kind",
                                            kinds[info.kind], "id", monitor_json_text(info.id),
                                            "memdev", monitor_json_text(info.memdev), "address",
                                            monitor_json_address(info.addr), "size",
                                            monitor_json_address(info.size), "slot", info.slot,
                                            "node", (int)info.node, "hotplugged", info.hotplugged));
    return false;
}

int monitor_info_memory_devices(MonitorCall *call)
{
    MemorySystem *ms = call->machine->ms;

    if (!call->json) {
        return printed(call, memory_devices_print(ms, call->out));
    }
    json_t *list = json_array();
    memory_system_lock(ms);
    memory_devices_for_each(ms, list_device, list);
    memory_system_unlock(ms);
    return monitor_set_result(call, list);
}

static bool list_backend(HostMemoryBackend *backend, void *opaque)
{
    const HostMemoryConfig *config = host_memory_backend_config(backend);

    json_array_append_new(
        opaque, json_pack("{s:o, s:o, s:b, s:b, s:b}", "id", monitor_json_text(config->id), "size",
                          monitor_json_address(config->size), "share", config->share, "prealloc",
                          config->prealloc, "mapped", host_memory_backend_is_mapped(backend)));
    return false;
}

int monitor_info_memdev(MonitorCall *call)
{
    MemorySystem *ms = call->machine->ms;

    if (!call->json) {
        return printed(call, memdev_print(ms, call->out));
    }
    json_t *list = json_array();
    memory_system_lock(ms);
    host_memory_backend_for_each(ms, list_backend, list);
    memory_system_unlock(ms);
    return monitor_set_result(call, list);
}

/* ---- KVM's slots ------------------------------------------------------------------------- */

static const char *slot_flags(uint32_t flags)
{
    /* KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY */
    static const char *const names[] = {"", " log", " readonly", " log readonly"};

    return names[flags & 3];
}

static bool print_slot(const KVMSlot *slot, void *opaque)
{
    fprintf(opaque, "%u:%-4u %016" PRIx64 "-%016" PRIx64 " host %p %s @%016" PRIx64 "%s\n",
            slot->as_id, slot->slot, slot->start_addr, slot->start_addr + slot->memory_size - 1,
            slot->ram, slot->mr ? memory_region_name(slot->mr) : "?", slot->offset_within_region,
            slot_flags(slot->flags));
    return false;
}

static bool list_slot(const KVMSlot *slot, void *opaque)
{
    json_array_append_new(
        opaque, json_pack("{s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:b, s:b}", "as", (int)slot->as_id,
                          "slot", (int)slot->slot, "first", monitor_json_address(slot->start_addr),
                          "last", monitor_json_address(slot->start_addr + slot->memory_size - 1),
                          "host", monitor_json_address((uintptr_t)slot->ram), "region",
                          monitor_json_text(slot->mr ? memory_region_name(slot->mr) : ""), "offset",
                          monitor_json_address(slot->offset_within_region), "log", slot->flags & 1,
                          "readonly", slot->flags >> 1 & 1));
    return false;
}

int monitor_info_slots(MonitorCall *call)
{
    Machine *m = call->machine;
    KVMState *kvm = machine_kvm(m);

    if (!kvm) {
        return error_set(&call->err, ENODEV, "no KVM: the guest runs on %s",
                         m->kind ? m->kind->name : "no CPU");
    }
    json_t *list = call->json ? json_array() : NULL;
    memory_system_lock(m->ms);
    unsigned most = kvm_get_max_memslots(kvm);
    fprintf(call->out, "%u of %u slots are in use, SMM's apart\n",
            most - kvm_get_free_memslots(kvm, KVM_AS_MEMORY), most);
    kvm_for_each_slot(kvm, list ? list_slot : print_slot, list ? (void *)list : call->out);
    memory_system_unlock(m->ms);
    return call->json ? monitor_set_result(call, list) : 0;
}
