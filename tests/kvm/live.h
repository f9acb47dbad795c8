/* SPDX-License-Identifier: MIT */
/*
 * live.h - a machine that really runs: a MemorySystem, KVM, and vCPUs with a thread each.
 *
 *      Live live;
 *      live_open(&live, NULL, &callbacks, opaque);
 *      LiveCpu *cpu = live_cpu(&live, &code_hello, 0x1000, (struct kvm_regs){.rdi = 0x3000});
 *      live_start(cpu);
 *      ... change the map ...
 *      live_join(cpu);                     the guest has come to its HLT
 *      live_close(&live);
 *
 * There is 1 MiB of RAM at 0, and each vCPU has 32 ports of its own. Whatever goes wrong
 * ends the test.
 */
#ifndef TESTS_KVM_LIVE_H
#define TESTS_KVM_LIVE_H

#include "check.h"
#include "code.h"
#include <membus/kvm.h>
#include <membus/membus.h>
#include <pthread.h>
#include <stdatomic.h>

#define LIVE_RAM 0x100000U
#define LIVE_CPUS_MAX 2
#define ATTRS MEMTXATTRS_UNSPECIFIED
#define FOREVER UINT64_MAX

/* A vCPU's ports; the first is LIVE_PORTS + 32 * its number. All but CONSOLE are 4 bytes wide. */
enum {
    PORT_CONSOLE = 0,
    PORT_PASS = 4, /* how far the guest is; reads as 1 when it is to end */
    PORT_ADDRESS = 8,
    PORT_EXPECTED = 12,
    PORT_GOT = 16, /* ... at ADDRESS instead of EXPECTED: the test has failed */
    PORT_PROBE = 20,
    PORT_FACE = 24,
    PORT_BANK = 28,
    LIVE_PORTS = 0x100,
    LIVE_PORTS_EACH = 32,
};

typedef struct Live Live;

typedef struct LiveCpu {
    Live *live;
    unsigned index;
    KVMVcpu *vcpu;
    struct kvm_run *run;
    pthread_t thread;
    MemoryRegion ports;
    atomic_bool stop;   /* what PORT_PASS reads */
    atomic_uint passes; /* what was written to it */
    uint32_t said[8];   /* last words, by port / 4 */
    char console[64];   /* what was printed */
    unsigned long runs, mmio_exits;
    uint64_t entered; /* for exited(): what entering() says */
} LiveCpu;

/* All may be NULL; they run on the vCPU's thread. */
typedef struct LiveCallbacks {
    /* A word was written to a port. */
    void (*said)(LiveCpu *cpu, unsigned port, uint32_t value);
    /* Before each KVM_RUN: the time that goes into ->entered. */
    uint64_t (*entering)(LiveCpu *cpu);
    /* After an exit for memory, before it is served: is there a reason for it? */
    void (*exited)(LiveCpu *cpu);
} LiveCallbacks;

struct Live {
    MemorySystem *ms;
    MemoryOwner *board;
    MemoryRegion *memory; /* the root */
    MemoryRegion ram;
    KVMState *kvm;
    KVMMemoryListener listener, io_listener;
    LiveCpu cpus[LIVE_CPUS_MAX];
    unsigned nr_cpus;
    const LiveCallbacks *callbacks;
    void *opaque;
};

/* @config NULL: as KVM_CONFIG_INIT; @callbacks may be NULL. */
void live_open(Live *live, const KVMConfig *config, const LiveCallbacks *callbacks, void *opaque);
void live_close(Live *live);

/* The next vCPU, which is going to begin with @code at @address, which is RAM. */
LiveCpu *live_cpu(Live *live, const Code *code, uint32_t address, struct kvm_regs regs);
void live_start(LiveCpu *cpu);
void live_join(LiveCpu *cpu);

/* Memory as the guest sees it. */
void live_put(Live *live, hwaddr addr, const void *data, size_t size);
uint32_t live_word(Live *live, hwaddr addr);

#endif
