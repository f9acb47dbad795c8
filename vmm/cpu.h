/* SPDX-License-Identifier: MIT */
/*
 * cpu.h - what a kind of CPU is to the machine. Another kind is one more file with a CpuKind in it,
 * and a line in cpus.c's table.
 *
 * Each CPU has a thread of its own, which calls run() again and again while the machine is
 * running. A CPU reaches memory through its address space and ports through the machine's "I/O".
 */
#ifndef VMM_CPU_H
#define VMM_CPU_H

#include <membus/kvm.h>
#include <membus/space.h>

typedef struct Machine Machine;
typedef struct CpuKind CpuKind;

typedef struct Cpu {
    Machine *machine;
    unsigned index;
    AddressSpace memory;                          /* cpu-memory-N */
    AddressSpace smm;                             /* cpu-smm-N */
    MemoryRegion smm_root, smm_smram, smm_memory; /* of cpu-smm-N */
    void *state;                                  /* the kind's own */
    struct CpuThread *thread;                     /* cpus.c */
} Cpu;

typedef enum CpuExit {
    CPU_KICKED,   /* nothing to say: call again */
    CPU_SHUTDOWN, /* a triple fault: the machine is reset */
    CPU_FAILED,   /* it cannot go on; said why */
} CpuExit;

/* What a debugger asks for. Values of registers that a kind does not have are 0. */
typedef struct CpuState {
    uint64_t rip, rsp, rflags;
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t cr0, cr2, cr3, cr4, efer;
    struct CpuSegment {
        uint16_t selector;
        uint64_t base;
        uint32_t limit; /* bytes less 1 */
    } cs, ds, es, fs, gs, ss;
    bool smm;
    bool long_mode, code32; /* how wide the code is */
} CpuState;

struct CpuKind {
    const char *name; /* of --accel */

    /*
     * Whether this host and build can run @m's guest (m->options, m->nr_cpus): 0 and m->kind_state,
     * or a negative errno with a sentence. Called before the board is built. close() ends it, after
     * the CPUs and before the memory system.
     */
    int (*open)(Machine *m, Error **errp);
    void (*close)(Machine *m);

    /* After the board was built. The CPU is reset before it first runs. */
    int (*create)(Cpu *cpu, Error **errp);
    void (*destroy)(Cpu *cpu);

    /*
     * To the state at power-on; CPUs but the first wait for a start-up IPI. Its thread is parked.
     */
    void (*reset)(Cpu *cpu);

    /*
     * Execute until something is to be done elsewhere. Context: @cpu's thread, no lock held.
     */
    CpuExit (*run)(Cpu *cpu);
    /* Have run() return soon, or at once when it is next called. Context: any thread. */
    void (*kick)(Cpu *cpu);

    /*
     * The interrupt controllers: set_irq is that of the kind's own (PIC and IOAPIC, PIT too), which
     * are then not in vmm/; else it is NULL, and interrupt() is the PIC's output: while it is
     * raised, the CPU asks pic_acknowledge() for a vector as soon as it takes one. Context: machine
     * lock.
     */
    void (*set_irq)(Machine *m, unsigned irq, bool level);
    void (*interrupt)(Cpu *cpu, bool level);
    /* A message-signalled interrupt: a write of @data to @addr. NULL: nobody takes them. */
    void (*msi)(Machine *m, hwaddr addr, uint32_t data);

    /* System management interrupts; NULL: the kind has no SMM, and the firmware is told so. */
    bool (*has_smm)(Machine *m);
    void (*smi)(Cpu *cpu);

    /* Context: the machine is stopped, or @cpu's own thread (in an access of its own). */
    int (*get_state)(Cpu *cpu, CpuState *state);

    /* The KVM that it runs on; NULL: none. */
    KVMState *(*kvm)(Machine *m);
};

extern const CpuKind cpu_kvm, cpu_soft;

#endif
