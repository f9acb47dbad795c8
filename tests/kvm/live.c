/* SPDX-License-Identifier: MIT */
#include "live.h"
#include <errno.h>
#include <string.h>

/* ---- The ports ------------------------------------------------------------------------ */

static uint64_t ports_read(void *opaque, hwaddr addr, unsigned size)
{
    LiveCpu *cpu = opaque;

    (void)size;
    return addr == PORT_PASS ? cpu->stop : 0;
}

static void ports_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    LiveCpu *cpu = opaque;
    const LiveCallbacks *callbacks = cpu->live->callbacks;

    (void)size;
    if (addr == PORT_CONSOLE) {
        size_t length = strlen(cpu->console);

        CHECK(length + 1 < sizeof cpu->console, "the guest prints and prints: %s", cpu->console);
        cpu->console[length] = (char)data;
        return;
    }
    cpu->said[addr / 4] = (uint32_t)data;
    if (addr == PORT_PASS) {
        cpu->passes = (unsigned)data;
    }
    if (callbacks && callbacks->said) {
        callbacks->said(cpu, (unsigned)addr, (uint32_t)data);
    }
    if (addr == PORT_GOT) {
        FAIL("vCPU %u at 0x%x, pass %u: expected 0x%x, got 0x%x", cpu->index,
             cpu->said[PORT_ADDRESS / 4], cpu->passes, cpu->said[PORT_EXPECTED / 4],
             (uint32_t)data);
    }
}

static const MemoryRegionOps ports_ops = {
    .read = ports_read,
    .write = ports_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

/* ---- The machine ---------------------------------------------------------------------- */

static Live *machine;

static void tell_machine(void)
{
    for (unsigned i = 0; i < machine->nr_cpus; i++) {
        const LiveCpu *cpu = &machine->cpus[i];

        note("vCPU %u: pass %u, %lu exits for memory, %lu runs, last exit's reason %u, "
             "immediate_exit %u",
             i, cpu->passes, cpu->mmio_exits, cpu->runs, cpu->run->exit_reason,
             cpu->run->immediate_exit);
    }
}

void live_open(Live *live, const KVMConfig *config, const LiveCallbacks *callbacks, void *opaque)
{
    Error *err = NULL;

    *live = (Live){.ms = memory_system_create(), .callbacks = callbacks, .opaque = opaque};
    CHECK(live->ms);
    machine = live;
    check_tell_hang(tell_machine);
    live->board = memory_system_owner(live->ms);
    live->memory = get_system_memory(live->ms);
    OK(memory_region_init_ram(&live->ram, live->board, "ram", LIVE_RAM, NULL));
    OK(memory_region_add_subregion(live->memory, 0, &live->ram));
    live->kvm = kvm_create(live->ms, config, &err);
    CHECK(live->kvm, "%s", error_get_pretty(err));
    OK(kvm_memory_listener_register(live->kvm, &live->listener, memory_system_memory(live->ms),
                                    KVM_AS_MEMORY, "kvm-memory"));
    OK(kvm_memory_listener_register(live->kvm, &live->io_listener, memory_system_io(live->ms),
                                    KVM_AS_PORTS, "kvm-ports"));
}

void live_close(Live *live)
{
    kvm_destroy(live->kvm);
    OK(memory_system_destroy(live->ms));
}

LiveCpu *live_cpu(Live *live, const Code *code, uint32_t address, struct kvm_regs regs)
{
    LiveCpu *cpu = &live->cpus[live->nr_cpus];
    hwaddr port = LIVE_PORTS + LIVE_PORTS_EACH * live->nr_cpus;
    Error *err = NULL;

    CHECK(live->nr_cpus < LIVE_CPUS_MAX);
    *cpu = (LiveCpu){.live = live, .index = live->nr_cpus};
    cpu->vcpu = kvm_vcpu_create(live->kvm, live->nr_cpus, &err);
    CHECK(cpu->vcpu, "%s", error_get_pretty(err));
    cpu->run = kvm_vcpu_get_run(cpu->vcpu);
    OK(memory_region_init_io(&cpu->ports, live->board, &ports_ops, cpu, "ports", LIVE_PORTS_EACH));
    OK(memory_region_add_subregion(get_system_io(live->ms), port, &cpu->ports));
    live_put(live, address, code->begin, code_size(code));
    regs.rdx = port;
    code_enter(kvm_vcpu_fd(cpu->vcpu), code, address, &regs);
    live->nr_cpus++;
    return cpu;
}

void live_put(Live *live, hwaddr addr, const void *data, size_t size)
{
    CHECK(address_space_write(memory_system_memory(live->ms), addr, ATTRS, data, size) == MEMTX_OK);
}

uint32_t live_word(Live *live, hwaddr addr)
{
    return address_space_ldl_le(memory_system_memory(live->ms), addr, ATTRS, NULL);
}

/* ---- The vCPUs' threads ------------------------------------------------------------------ */

static void *run_cpu(void *opaque)
{
    LiveCpu *cpu = opaque;
    const LiveCallbacks *callbacks = cpu->live->callbacks;

    for (;;) {
        if (callbacks && callbacks->entering) {
            cpu->entered = callbacks->entering(cpu);
        }
        cpu->runs++;
        int result = kvm_vcpu_run(cpu->vcpu);

        if (result == -EINTR) {
            continue;
        }
        CHECK(result == 0, "KVM_RUN of vCPU %u: %s", cpu->index, strerror(-result));
        if (cpu->run->exit_reason == KVM_EXIT_HLT) {
            return NULL;
        }
        if (cpu->run->exit_reason == KVM_EXIT_MMIO) {
            cpu->mmio_exits++;
            if (callbacks && callbacks->exited) {
                callbacks->exited(cpu);
            }
        }
        result = kvm_memory_exit(cpu->live->kvm, cpu->run);
        CHECK(result == 1, "vCPU %u: exit reason %u is not of memory: %d", cpu->index,
              cpu->run->exit_reason, result);
    }
}

void live_start(LiveCpu *cpu)
{
    CHECK(pthread_create(&cpu->thread, NULL, run_cpu, cpu) == 0);
}

void live_join(LiveCpu *cpu)
{
    CHECK(pthread_join(cpu->thread, NULL) == 0);
}
