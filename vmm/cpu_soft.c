/* SPDX-License-Identifier: MIT */
/*
 * The software CPU: libx86emu, a 386-class interpreter without paging, for firmware and boot
 * loaders where there is no KVM. Every fetch, load, store and port access goes through membus.
 *
 * Interrupts. The PIC's output may change at any time, from any thread. `attention` has the next
 * fetch stop the interpreter between two instructions. While an interrupt is pending, a check
 * before each instruction finds the moment to take it: IF is set, and was before the instruction
 * that has just ended, since STI covers the one that follows it; so does a new SS (SDM 3A, 6.8.3).
 * STI, HLT is never torn apart, nor MOV SS, MOV SP.
 */
#include "cpu_soft_opcode.h"
#include "devices.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

/* A page that is read over and over: code. Ends with the next change of the map. */
typedef struct Window {
    MemoryRegionCache cache;
    uint32_t first, length; /* length 0: no memory is there, or it was not looked up */
    bool known;
} Window;

typedef struct Soft {
    Cpu *cpu;
    x86emu_t *emu;
    AddressSpace *memory, *io;
    Window code;
    MemoryListener listener;
    bool was_enabled; /* IF before the last instruction, */
    uint16_t last_ss; /* and SS */

    /* set by others; `attention` is set after what it is about */
    _Atomic bool attention, kicked, pending, map_changed;
    pthread_mutex_t lock; /* for waiting in HLT */
    pthread_cond_t wake;
    /* its own thread */
    bool halted, shut_down;
    SoftOpcode special;
} Soft;

#define ATTRS MEMTXATTRS_UNSPECIFIED

/* ---- Accesses -------------------------------------------------------------------------- */

#define WINDOW_SIZE 4096U

static void close_window(Window *window)
{
    address_space_cache_destroy(&window->cache);
    window->cache = MEMORY_REGION_CACHE_INVALID;
    window->length = 0;
    window->known = false;
}

/* The page around @addr, if it is memory. */
static void open_window(Soft *s, Window *window, uint32_t addr)
{
    close_window(window);
    window->first = addr & ~(WINDOW_SIZE - 1);
    int64_t length =
        address_space_cache_init(&window->cache, s->memory, window->first, WINDOW_SIZE, false);
    window->length = length > 0 && window->cache.ptr ? (uint32_t)length : 0;
    window->known = true;
}

static void map_changed(MemoryListener *listener)
{
    Soft *s = (Soft *)((char *)listener - offsetof(Soft, listener));

    atomic_store(&s->map_changed, true);
    atomic_store(&s->attention, true);
}

static unsigned bytes_of(unsigned width)
{
    return width == X86EMU_MEMIO_32 ? 4 : width == X86EMU_MEMIO_16 ? 2 : 1;
}

static unsigned memory_read(Soft *s, uint32_t addr, unsigned width)
{
    switch (width) {
    case X86EMU_MEMIO_16:
        return address_space_lduw_le(s->memory, addr, ATTRS, NULL);
    case X86EMU_MEMIO_32:
        return address_space_ldl_le(s->memory, addr, ATTRS, NULL);
    default:
        return address_space_ldub(s->memory, addr, ATTRS, NULL);
    }
}

static void memory_write(Soft *s, uint32_t addr, uint32_t value, unsigned width)
{
    switch (width) {
    case X86EMU_MEMIO_16:
        address_space_stw_le(s->memory, addr, (uint16_t)value, ATTRS, NULL);
        break;
    case X86EMU_MEMIO_32:
        address_space_stl_le(s->memory, addr, value, ATTRS, NULL);
        break;
    default:
        address_space_stb(s->memory, addr, (uint8_t)value, ATTRS, NULL);
        break;
    }
}

/* As the bus does it: in parts, where a device is not as wide as the instruction, or unaligned. */
static unsigned port_read(Soft *s, uint32_t port, unsigned width)
{
    uint8_t bytes[4] = {0};

    address_space_read(s->io, port & 0xffff, ATTRS, bytes, bytes_of(width));
    return bytes[0] | (unsigned)bytes[1] << 8 | (unsigned)bytes[2] << 16 | (unsigned)bytes[3] << 24;
}

static void port_write(Soft *s, uint32_t port, uint32_t value, unsigned width)
{
    const uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                              (uint8_t)(value >> 24)};

    address_space_write(s->io, port & 0xffff, ATTRS, bytes, bytes_of(width));
}

/* From the window where it holds all that is asked for, else as any load. */
static unsigned fetch(Soft *s, uint32_t addr, unsigned width)
{
    uint32_t offset = addr - s->code.first;

    if (offset >= WINDOW_SIZE || !s->code.known) {
        open_window(s, &s->code, addr);
        offset = addr - s->code.first;
    }
    if (offset + 4 > s->code.length) {
        return memory_read(s, addr, width);
    }
    const uint8_t *at = s->code.cache.ptr + offset;
    switch (width) {
    case X86EMU_MEMIO_16:
        return (unsigned)(at[0] | at[1] << 8);
    case X86EMU_MEMIO_32:
        return at[0] | (unsigned)at[1] << 8 | (unsigned)at[2] << 16 | (unsigned)at[3] << 24;
    default:
        return at[0];
    }
}

static unsigned access_anything(x86emu_t *emu, u32 addr, u32 *value, unsigned type)
{
    Soft *s = emu->_private;
    unsigned width = type & 0xff;

    switch (type & ~0xffU) {
    case X86EMU_MEMIO_X:
        /* What is stopped at its first byte is not begun. */
        if (emu->x86.instr_len == 0 && atomic_load_explicit(&s->attention, memory_order_relaxed)) {
            x86emu_stop(emu);
            break;
        }
        *value = fetch(s, addr, width);
        if (width == X86EMU_MEMIO_8 && soft_opcode_is_special[*value] &&
            soft_opcode_check(emu, &s->special, value)) {
            atomic_store(&s->attention, true);
        }
        break;
    case X86EMU_MEMIO_R:
        *value = memory_read(s, addr, width);
        break;
    case X86EMU_MEMIO_W:
        memory_write(s, addr, *value, width);
        break;
    case X86EMU_MEMIO_I:
        *value = port_read(s, addr, width);
        break;
    case X86EMU_MEMIO_O:
        port_write(s, addr, *value, width);
        break;
    }
    return 0;
}

/* ---- Interrupts ---------------------------------------------------------------------------- */

static int check_before_instruction(x86emu_t *emu)
{
    Soft *s = emu->_private;
    bool enabled = emu->x86.R_EFLG & FB_IF;
    bool take = enabled && s->was_enabled && emu->x86.R_SS == s->last_ss;

    s->was_enabled = enabled;
    s->last_ss = emu->x86.R_SS;
    return take;
}

static void push(Soft *s, uint32_t value, bool wide)
{
    x86emu_regs_t *r = &s->emu->x86;
    uint32_t sp = r->R_ESP - (wide ? 4 : 2);

    if (!ACC_D(r->R_SS_ACC)) {
        sp = (r->R_ESP & 0xffff0000) | (sp & 0xffff);
        memory_write(s, r->R_SS_BASE + (sp & 0xffff), value,
                     wide ? X86EMU_MEMIO_32 : X86EMU_MEMIO_16);
    } else {
        memory_write(s, r->R_SS_BASE + sp, value, wide ? X86EMU_MEMIO_32 : X86EMU_MEMIO_16);
    }
    r->R_ESP = sp;
}

/* Enter the handler of @vector: an interrupt vector in real mode, a gate of the same ring else. */
static void enter_handler(Soft *s, uint8_t vector)
{
    x86emu_regs_t *r = &s->emu->x86;
    bool protected_mode = r->R_CR0 & 1;
    uint32_t entry = r->R_IDT_BASE + vector * (protected_mode ? 8U : 4U);
    uint32_t low = memory_read(s, entry, X86EMU_MEMIO_32);
    uint32_t high = protected_mode ? memory_read(s, entry + 4, X86EMU_MEMIO_32) : 0;
    bool wide = protected_mode && high & 0x800, trap = protected_mode && high & 0x100;

    push(s, r->R_EFLG, wide);
    push(s, r->R_CS, wide);
    push(s, r->R_EIP, wide);
    r->R_EFLG &= ~(uint32_t)(trap ? FB_TF : FB_TF | FB_IF);
    x86emu_set_seg_register(s->emu, r->R_CS_SEL, (u16)(low >> 16));
    r->R_EIP = (wide ? high & 0xffff0000 : 0) | (low & 0xffff);
}

/*
 * libx86emu is about to enter a handler; true: it must not. Where none is, there is not one for the
 * fault that this is, either: the CPU shuts down.
 */
static int check_before_handler(x86emu_t *emu, u8 vector, unsigned type)
{
    Soft *s = emu->_private;

    (void)type;
    s->special.opcode = 0; /* it has faulted */
    if (soft_vector_is_good(emu, vector)) {
        return 0;
    }
    s->shut_down = true;
    atomic_store(&s->attention, true);
    return 1;
}

static void take_interrupt(Soft *s)
{
    Machine *m = s->cpu->machine;

    memory_system_lock(m->ms);
    bool pending = atomic_load(&s->pending);
    uint8_t vector = pending ? pic_acknowledge(m->pic) : 0;
    memory_system_unlock(m->ms);
    if (pending) {
        s->halted = false;
        s->shut_down = !soft_vector_is_good(s->emu, vector);
    }
    if (pending && !s->shut_down) {
        enter_handler(s, vector);
    }
}

static void soft_interrupt(Cpu *cpu, bool level)
{
    Soft *s = cpu->state;

    if (!s) {
        return;
    }
    atomic_store(&s->pending, level);
    if (level) {
        atomic_store(&s->attention, true);
        pthread_mutex_lock(&s->lock);
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
    }
}

/* ---- Running ------------------------------------------------------------------------- */

static void soft_kick(Cpu *cpu)
{
    Soft *s = cpu->state;

    atomic_store(&s->kicked, true);
    atomic_store(&s->attention, true);
    pthread_mutex_lock(&s->lock);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

/* In HLT nothing happens until an interrupt or a kick comes. */
static void wait_for_interrupt(Soft *s)
{
    pthread_mutex_lock(&s->lock);
    while (!atomic_load(&s->kicked) && !atomic_load(&s->pending)) {
        pthread_cond_wait(&s->wake, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
}

static CpuExit soft_run(Cpu *cpu)
{
    Soft *s = cpu->state;

    while (!s->shut_down) {
        atomic_store(&s->attention, false);
        if (atomic_exchange(&s->map_changed, false)) {
            close_window(&s->code);
        }
        if (atomic_exchange(&s->kicked, false)) {
            close_window(&s->code); /* nothing is held while the machine stands still */
            return CPU_KICKED;
        }
        bool pending = atomic_load(&s->pending);
        if (s->halted) {
            if (pending && s->emu->x86.R_EFLG & FB_IF) {
                take_interrupt(s);
            } else if (pending) { /* and masked: only a reset ends this */
                atomic_store(&s->pending, false);
            } else {
                wait_for_interrupt(s);
            }
            continue;
        }
        s->was_enabled = false;
        x86emu_set_code_handler(s->emu, pending ? check_before_instruction : NULL);
        unsigned reason = x86emu_run(s->emu, 0);
        s->halted = soft_opcode_finish(s->emu, &s->special);
        if (reason & X86EMU_RUN_NO_CODE) {
            take_interrupt(s);
        }
    }
    close_window(&s->code);
    return CPU_SHUTDOWN;
}

/* ---- Life ---------------------------------------------------------------------------- */

/* A 386 with a time stamp counter, which counts instructions. */
static void cpuid(x86emu_t *emu)
{
    bool identify = emu->x86.R_EAX == 0;

    emu->x86.R_EAX = identify ? 1 : 0x300;
    emu->x86.R_EBX = identify ? 0x626d656d : 0; /* "membus, software" */
    emu->x86.R_EDX = identify ? 0x202c7375 : 1 << 4;
    emu->x86.R_ECX = identify ? 0x74666f73 : 0;
}

static int soft_open(Machine *m, Error **errp)
{
    if (m->options->kernel) {
        return error_set(errp, ENOTSUP, "the software CPU has no paging, which --kernel needs");
    }
    if (m->nr_cpus > 1) {
        return error_set(errp, ENOTSUP, "the software CPU is one CPU, not %u", m->nr_cpus);
    }
    return 0;
}

static void soft_close(Machine *m)
{
    (void)m;
}

static void soft_reset(Cpu *cpu)
{
    Soft *s = cpu->state;

    x86emu_reset(s->emu);
    s->emu->x86.R_CS_BASE = 0xffff0000; /* until CS is loaded (SDM 3A, 9.1.4) */
    s->emu->x86.R_EDX = 0x300;
    s->halted = s->shut_down = false;
    s->special.opcode = 0;
}

static int soft_create(Cpu *cpu, Error **errp)
{
    Soft *s = calloc(1, sizeof *s);

    if (s) {
        s->emu = x86emu_new(0, 0);
    }
    if (!s || !s->emu) {
        free(s);
        return error_set(errp, ENOMEM, "memory is short");
    }
    s->cpu = cpu;
    s->memory = &cpu->memory;
    s->io = memory_system_io(cpu->machine->ms);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    s->emu->_private = s;
    x86emu_set_memio_handler(s->emu, access_anything);
    x86emu_set_cpuid_handler(s->emu, cpuid);
    x86emu_set_intr_handler(s->emu, check_before_handler);
    s->listener = (MemoryListener){.commit = map_changed, .name = "soft CPU"};
    int result = memory_listener_register(&s->listener, &cpu->memory);
    cpu->state = s; /* ended by soft_destroy() from now on */
    return result;
}

static void soft_destroy(Cpu *cpu)
{
    Soft *s = cpu->state;

    close_window(&s->code);
    memory_listener_unregister(&s->listener);
    x86emu_done(s->emu);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    free(s);
}

static struct CpuSegment segment(const sel_t *seg)
{
    return (struct CpuSegment){seg->sel, seg->base, seg->limit};
}

static int soft_get_state(Cpu *cpu, CpuState *state)
{
    const x86emu_regs_t *r = &((Soft *)cpu->state)->emu->x86;

    bool in_access = cpu_current() == cpu; /* EIP is somewhere in the instruction */

    *state = (CpuState){.rip = in_access ? r->saved_eip : r->R_EIP,
                        .rsp = r->R_ESP,
                        .rflags = r->R_EFLG,
                        .rax = r->R_EAX,
                        .rbx = r->R_EBX,
                        .rcx = r->R_ECX,
                        .rdx = r->R_EDX,
                        .rsi = r->R_ESI,
                        .rdi = r->R_EDI,
                        .rbp = r->R_EBP,
                        .cr0 = r->R_CR0,
                        .cr2 = r->R_CR2,
                        .cr3 = r->R_CR3,
                        .cr4 = r->R_CR4,
                        .cs = segment(r->R_CS_SEL),
                        .ds = segment(r->R_DS_SEL),
                        .es = segment(r->R_ES_SEL),
                        .fs = segment(r->R_FS_SEL),
                        .gs = segment(r->R_GS_SEL),
                        .ss = segment(r->R_SS_SEL),
                        .code32 = ACC_D(r->R_CS_ACC)};
    return 0;
}

const CpuKind cpu_soft = {
    .name = "soft",
    .open = soft_open,
    .close = soft_close,
    .create = soft_create,
    .destroy = soft_destroy,
    .reset = soft_reset,
    .run = soft_run,
    .kick = soft_kick,
    .interrupt = soft_interrupt,
    .get_state = soft_get_state,
};
