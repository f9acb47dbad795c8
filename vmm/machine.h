/* SPDX-License-Identifier: MIT */
/*
 * machine.h - what the parts of the PC share: the machine, its devices, time and interrupts.
 *
 * Threads: one for each CPU, in its run() (cpu.h), and the main one, in the loop (loop.h), which
 * serves timers, terminals and files. Whatever touches a device holds the machine lock (membus's:
 * memory_system_lock()): membus takes it for callbacks of regions, the loop for those of timers and
 * descriptors. Stopping and resetting wait for CPUs, so only the loop and the monitor do it,
 * without the lock: others ask for it with machine_request().
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include "cpu.h"
#include "loop.h"
#include "vmm.h"

#include <membus/membus.h>

typedef struct Acpi Acpi;
typedef struct Chardev Chardev;
typedef struct Console Console;
typedef struct FwCfg FwCfg;
typedef struct HostBridge HostBridge;
typedef struct Monitor Monitor;
typedef struct PciBus PciBus;
typedef struct Pic Pic;
typedef struct Piix4Pm Piix4Pm;
typedef struct Rtc Rtc;
typedef struct Vga Vga;

/* ---- Devices ---------------------------------------------------------------- */

/*
 * The head of every device: the owner of its regions, and how it is reset and ended. Regions are
 * put in place with device_map(), so that they are taken out at the end. The device's storage is
 * freed by its owner's finaliser, when no reader can be in it any more.
 */
typedef struct Device Device;
struct Device {
    Machine *machine;
    const char *name;
    MemoryOwner *owner;
    void (*reset)(Device *device);     /* NULL: nothing to do. Machine lock held, CPUs stopped */
    void (*unrealize)(Device *device); /* NULL. Let go of what others know: timers, fds, spaces */
    void (*finalize)(Device *device);  /* NULL: only free(3) */
    MemoryRegion **mapped;
    unsigned nr_mapped;
    Device *next; /* in the order of making */
};

/*
 * Make a device of @size bytes, zeroed, that begins with its Device; @name is not copied. The
 * machine resets it with the others, in the order of making, and ends it in reverse order. NULL if
 * memory is short. Context: machine lock, as of all that makes devices.
 */
void *device_create(Machine *m, size_t size, const char *name, void (*reset)(Device *device));
/* Put @mr, a region of @device's, into @container. Complains by returning a negative errno. */
int device_map(Device *device, MemoryRegion *container, hwaddr addr, MemoryRegion *mr,
               int priority);
/* memory_region_init_io() of @device and device_map() into the ports: most devices are that. */
int device_map_ports(Device *device, MemoryRegion *mr, const MemoryRegionOps *ops, const char *name,
                     uint16_t port, unsigned count);

/* Of the board. Reset all devices: as memory_region_transaction_commit(). End them. */
int devices_reset(Machine *m);
void devices_end(Machine *m);
/* Take @mr out of its container, if it is in one. */
void region_unmap(MemoryRegion *mr);

/* ---- The machine ------------------------------------------------------------- */

typedef enum MachineRequest {
    MACHINE_NONE,
    MACHINE_STOP,  /* what the monitor calls stop */
    MACHINE_RESET, /* of all devices and CPUs */
    MACHINE_QUIT,  /* with the status that was given */
} MachineRequest;

struct Machine {
    const VmmOptions *options;
    MemorySystem *ms;
    Loop *loop;
    Device *devices, *last_device;

    /* memory (board.c) */
    hwaddr ram_size, maxmem; /* bytes */
    unsigned slots;
    hwaddr below_4g_size, above_4g_size; /* of ram_size */
    HostMemoryBackend *ram_backend;
    MemoryRegion *ram;                       /* pc.ram */
    MemoryRegion ram_below_4g, ram_above_4g; /* aliases */
    MemoryRegion pci_memory;                 /* "pci": what devices answer */
    MemoryRegion bios, isa_bios, option_rom; /* pc.bios, isa-bios, pc.rom */
    MemoryRegion smram, smram_low;           /* what SMM sees more (host bridge) */

    /* devices that others need; NULL where there is none */
    PciBus *pci;
    HostBridge *host_bridge;
    FwCfg *fw_cfg;
    Acpi *acpi; /* memory slots */
    Pic *pic;   /* NULL: the CPU's (cpu.h) */
    Piix4Pm *pm;
    Rtc *rtc;
    Vga *vga;
    Chardev *serial;

    /* the program's side; NULL where there is none */
    Console *console;
    Monitor *monitor;

    /* CPUs (cpus.c) */
    const CpuKind *kind;
    void *kind_state;
    Cpu **cpus;
    unsigned nr_cpus;
    struct RunState *run;
    MapTrace *trace;
};

/*
 * Have the loop do @request soon; a stronger one goes first. @status is that of the end
 * (MACHINE_QUIT). Context: any thread, with or without the machine lock.
 */
void machine_request(Machine *m, MachineRequest request, int status);

/*
 * Have all CPUs stand still, and the guest's time with them; go on. They return when it is so.
 * Context: no machine lock held; not a CPU's thread (machine_request() is for those).
 */
void machine_stop(Machine *m);
void machine_cont(Machine *m);
/* Back to power-on, whether it stands still or runs: it does so afterwards, too. */
void machine_reset(Machine *m);
bool machine_is_stopped(Machine *m);
/*
 * The same for a moment, whatever others ask for in between, for who looks at CPUs. Nothing that
 * stops, resets or waits between the two. Context: as machine_stop().
 */
void machine_pause(Machine *m);
void machine_resume(Machine *m);
/* The KVM that runs the guest; NULL: none does. */
KVMState *machine_kvm(Machine *m);

/* The CPU whose thread this is, NULL for others: who made the access that is being served. */
Cpu *cpu_current(void);

/* ---- Time ------------------------------------------------------------------- */

/* The guest's time since it was made, in ns; stands still while the machine is stopped. */
int64_t machine_clock(Machine *m);

/*
 * Calls back from the loop, machine lock held, when machine_clock() has reached the deadline.
 * Embedded in a device, stopped by its unrealize(). Context of all: machine lock.
 */
typedef struct Timer {
    Machine *machine;
    void (*fn)(void *opaque);
    void *opaque;
    int64_t deadline; /* ns; -1: stopped */
    struct Timer *next;
} Timer;
void timer_init(Timer *timer, Machine *m, void (*fn)(void *opaque), void *opaque);
void timer_set(Timer *timer, int64_t deadline); /* sooner or later than before, or now */
void timer_stop(Timer *timer);

/* ---- Interrupts --------------------------------------------------------------- */

/*
 * Raise or lower input @irq (0 to 23; 0 to 15 are the ISA's) of the interrupt controllers: the PIC
 * of pic.c, or the CPU's own. Context: machine lock.
 */
void machine_set_irq(Machine *m, unsigned irq, bool level);
/* Raise and lower it: an edge. */
void machine_pulse_irq(Machine *m, unsigned irq);

/* ---- Messages ------------------------------------------------------------------ */

/* "membus boot: ..." on standard error; the terminal's lines stay whole in raw mode. */
void vmm_complain(const char *fmt, ...) MEMBUS_PRINTF(1, 2);

#endif
