/* SPDX-License-Identifier: MIT */
/* A machine's RAM blocks as the program finds them. */
#include "base/error.h"
#include "map/system.h"
#include "ram/notifiers.h"

#include <string.h>

static RAMBlock *with_offset(RAMBlock *block, ram_addr_t at, ram_addr_t *offset)
{
    if (block && offset) {
        *offset = at;
    }
    return block;
}

static ram_addr_t offset_of(const RAMBlock *block, const void *host)
{
    return block ? (uintptr_t)host - (uintptr_t)block->host : 0;
}

int qemu_ram_foreach_block(MemorySystem *ms, int (*visit)(RAMBlock *block, void *opaque),
                           void *opaque)
{
    int result = 0;

    rcu_enter();
    for (RAMBlock *block = NULL; !result && (block = ram_list_next(&ms->ram, block));) {
        result = visit(block, opaque);
    }
    rcu_leave();
    return result;
}

uint64_t ram_list_version(MemorySystem *ms)
{
    return __atomic_load_n(&ms->ram.version, __ATOMIC_ACQUIRE);
}

RAMBlock *qemu_ram_block_from_host(MemorySystem *ms, const void *host, ram_addr_t *offset)
{
    rcu_enter();
    RAMBlock *block = ram_list_at_host(&ms->ram, host);
    with_offset(block, offset_of(block, host), offset);
    rcu_leave();
    return block;
}

ram_addr_t qemu_ram_addr_from_host(MemorySystem *ms, const void *host)
{
    rcu_enter();
    const RAMBlock *block = ram_list_at_host(&ms->ram, host);
    ram_addr_t addr = block ? block->offset + offset_of(block, host) : RAM_ADDR_INVALID;
    rcu_leave();
    return addr;
}

RAMBlock *qemu_ram_block_from_addr(MemorySystem *ms, ram_addr_t addr, ram_addr_t *offset)
{
    rcu_enter();
    RAMBlock *block = ram_list_at_offset(&ms->ram, addr);
    with_offset(block, block ? addr - block->offset : 0, offset);
    rcu_leave();
    return block;
}

RAMBlock *qemu_ram_block_by_name(MemorySystem *ms, const char *idstr)
{
    rcu_enter();
    RAMBlock *block = ram_list_named(&ms->ram, idstr, strlen(idstr));
    rcu_leave();
    return block;
}

/* ---- regions ------------------------------------------------------------------------- */

MemoryRegion *qemu_ram_ref_region(RAMBlock *block)
{
    MemorySystem *ms = container_of(block->list, MemorySystem, ram);

    machine_lock(ms);
    MemoryRegion *mr = block->mr;
    if (mr && !region_ref_if_alive(mr)) {
        mr = NULL;
    }
    machine_unlock(ms);
    return mr;
}

MemoryRegion *memory_region_from_host(MemorySystem *ms, const void *host, ram_addr_t *offset)
{
    rcu_enter();
    RAMBlock *block = qemu_ram_block_from_host(ms, host, offset);
    MemoryRegion *mr = block ? qemu_ram_ref_region(block) : NULL;
    rcu_leave();
    return mr;
}

/* ---- notifiers ------------------------------------------------------------------------ */

int ram_block_notifier_add(MemorySystem *ms, RAMBlockNotifier *n)
{
    machine_lock(ms);
    int result = ram_notifiers_add(&ms->ram, n);
    machine_unlock(ms);
    return result;
}

int ram_block_notifier_remove(MemorySystem *ms, RAMBlockNotifier *n)
{
    machine_lock(ms);
    int result = ram_notifiers_remove(&ms->ram, n);
    machine_unlock(ms);
    return result;
}
