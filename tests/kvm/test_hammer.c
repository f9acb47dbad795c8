/* SPDX-License-Identifier: MIT */
/*
 * test_hammer.c - guests hammer a memory whose map changes all the time.
 *
 * The memory is one file with many faces. RAM a and RAM b map it, each at a place of its own in
 * the host; a ROM device is it, too, and its callbacks read and write it. a shows all; windows
 * onto b and the device move over a, grow, shrink, come and go, and each change replaces slots.
 *
 *      a       0----------------------------------------63    pages
 *      b            5-----------------21                      in front of a
 *      device                 16-------------31               in front of both; romd or MMIO
 *
 * Whatever is in front, the guests must see one memory that never loses a store: each of their
 * counters is what they left it at (code.S, hammer). And they must get where the map says:
 *  - an exit needs a reason: its page was MMIO (a write: or romd) at some time since KVM_RUN began;
 *  - so does what a probe finds: the file has another word there than the device answers.
 * "Since" is counted in commits. What a commit brings is allowed from before it; what it ends is
 * not for who enters the guest when it is over.
 */
#include "live.h"
#include "tests.h"
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define AT 0x400000U
#define PAGE 4096U
#define PAGES 64U
#define SIZE (PAGES * PAGE)
#define CHANGES 2000
#define ACROSS 4094U /* a counter that reaches into the next page */

/* In each page, at PROBED: what the file has, what the device answers. */
#define PROBED 0xf00U
#define DIRECT 0x44444444U
#define ANSWERED 0x45454545U

typedef enum Event { READ_EXIT, WRITE_EXIT, READ_DIRECT, EVENTS } Event;

/* What is in front of a: pages [first, first + pages - 1] */
typedef struct Window {
    bool shown;
    unsigned first, pages;
} Window;

typedef struct Faces {
    Window b, device;
    bool romd, log_a, log_b;
} Faces;

typedef struct Hammer {
    Live live;
    uint8_t *file;
    MemoryRegion a, b, device, window_b, window_device;
    Faces faces;
    atomic_ulong commits;
    atomic_ulong until[EVENTS][PAGES]; /* the commit that ended it, or FOREVER */
    struct {
        uint64_t probed; /* commits when the guest was about to probe */
        uint64_t since;  /* of the last exit */
        hwaddr next;     /* address after the last exit's */
    } cpu[LIVE_CPUS_MAX];
    uint64_t random;
} Hammer;

static unsigned pick(Hammer *h, unsigned below)
{
    h->random = h->random * 6364136223846793005U + 1442695040888963407U;
    return (unsigned)(h->random >> 33) % below;
}

/* ---- The device ---------------------------------------------------------------------------- */

static uint64_t device_read(void *opaque, hwaddr addr, unsigned size)
{
    Hammer *h = opaque;
    uint64_t value = 0;

    if (addr % PAGE == PROBED) {
        return ANSWERED;
    }
    memcpy(&value, h->file + addr, size);
    return value;
}

static void device_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Hammer *h = opaque;

    memcpy(h->file + addr, &data, size);
}

static const MemoryRegionOps device_ops = {
    .read = device_read,
    .write = device_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

/* ---- What may happen ----------------------------------------------------------------------- */

static bool covers(const Window *w, unsigned page)
{
    return w->shown && page >= w->first && page < w->first + w->pages;
}

static bool possible(const Faces *f, Event event, unsigned page)
{
    bool device = covers(&f->device, page);

    switch (event) {
    case READ_EXIT:
        return device && !f->romd;
    case WRITE_EXIT:
        return device;
    default:
        return !device || f->romd;
    }
}

static void allow(Hammer *h, const Faces *next)
{
    for (unsigned page = 0; page < PAGES; page++) {
        for (Event e = 0; e < EVENTS; e++) {
            if (possible(next, e, page)) {
                h->until[e][page] = FOREVER;
            }
        }
    }
}

static void forbid(Hammer *h)
{
    unsigned long now = h->commits + 1;

    for (unsigned page = 0; page < PAGES; page++) {
        for (Event e = 0; e < EVENTS; e++) {
            if (h->until[e][page] == FOREVER && !possible(&h->faces, e, page)) {
                h->until[e][page] = now;
            }
        }
    }
    h->commits = now;
}

static void need_reason(LiveCpu *cpu, Event event, hwaddr addr, uint64_t since)
{
    static const char *const names[] = {"an exit for a read", "an exit for a write",
                                        "a read past the device"};
    Hammer *h = cpu->live->opaque;
    unsigned long until;

    CHECK(addr >= AT && addr < AT + SIZE, "%s at 0x%llx", names[event], (unsigned long long)addr);
    until = h->until[event][(addr - AT) / PAGE];
    if (until <= since) {
        FAIL("vCPU %u: %s at 0x%llx, which commit %lu had ended; this one was of a vCPU that "
             "entered after commit %lu",
             cpu->index, names[event], (unsigned long long)addr, until, (unsigned long)since);
    }
}

static uint64_t hammer_entering(LiveCpu *cpu)
{
    return ((Hammer *)cpu->live->opaque)->commits;
}

static void hammer_exited(LiveCpu *cpu)
{
    Hammer *h = cpu->live->opaque;
    hwaddr addr = cpu->run->mmio.phys_addr;
    uint64_t since = cpu->entered;

    /* The second half of an access across a border was decided with the first. */
    if (addr % PAGE == 0 && addr == h->cpu[cpu->index].next) {
        since = h->cpu[cpu->index].since;
    }
    need_reason(cpu, cpu->run->mmio.is_write ? WRITE_EXIT : READ_EXIT, addr, since);
    h->cpu[cpu->index].since = since;
    h->cpu[cpu->index].next = addr + cpu->run->mmio.len;
}

static void hammer_said(LiveCpu *cpu, unsigned port, uint32_t value)
{
    Hammer *h = cpu->live->opaque;

    if (port == PORT_PROBE) {
        h->cpu[cpu->index].probed = h->commits;
    } else if (port == PORT_FACE) {
        CHECK(value == DIRECT || value == ANSWERED, "0x%x", value);
        need_reason(cpu, value == DIRECT ? READ_DIRECT : READ_EXIT, cpu->said[PORT_PROBE / 4],
                    h->cpu[cpu->index].probed);
    }
}

/* ---- The map ------------------------------------------------------------------------------- */

static void map_ram(Hammer *h, MemoryRegion *mr, const char *name, int fd)
{
    OK(memory_region_init_ram_from_fd(mr, h->live.board, name, SIZE, RAM_SHARED, dup(fd), 0, NULL));
}

static void map_memory(Hammer *h)
{
    int fd = (int)CALL(memfd_create("faces", MFD_CLOEXEC));
    MemoryRegion *root = h->live.memory;

    CALL(ftruncate(fd, SIZE));
    h->file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(h->file != MAP_FAILED);
    for (unsigned page = 0; page < PAGES; page++) {
        memcpy(h->file + page * PAGE + PROBED, &(uint32_t){DIRECT}, 4);
    }
    map_ram(h, &h->a, "a", fd);
    map_ram(h, &h->b, "b", fd);
    OK(memory_region_init_rom_device(&h->device, h->live.board, &device_ops, h, "device", SIZE,
                                     NULL));
    CHECK(mmap(memory_region_get_ram_ptr(&h->device), SIZE, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
    OK(memory_region_init_alias(&h->window_b, h->live.board, "window b", &h->b, 0, SIZE));
    OK(memory_region_init_alias(&h->window_device, h->live.board, "window device", &h->device, 0,
                                SIZE));
    memory_region_transaction_begin(h->live.ms);
    OK(memory_region_set_enabled(&h->window_b, false));
    OK(memory_region_set_enabled(&h->window_device, false));
    OK(memory_region_add_subregion(root, AT, &h->a));
    OK(memory_region_add_subregion_overlap(root, AT, &h->window_b, 1));
    OK(memory_region_add_subregion_overlap(root, AT, &h->window_device, 2));
    OK(memory_region_transaction_commit(h->live.ms));
    close(fd);
}

static void put_window(MemoryRegion *mr, const Window *w)
{
    OK(memory_region_set_enabled(mr, w->shown));
    OK(memory_region_set_address(mr, AT + w->first * PAGE));
    OK(memory_region_set_alias_offset(mr, w->first * PAGE));
    OK(memory_region_set_size(mr, w->pages * PAGE));
}

static void commit_faces(Hammer *h, const Faces *next)
{
    allow(h, next);
    memory_system_lock(h->live.ms);
    memory_region_transaction_begin(h->live.ms);
    put_window(&h->window_b, &next->b);
    put_window(&h->window_device, &next->device);
    OK(memory_region_rom_device_set_romd(&h->device, next->romd));
    OK(memory_region_set_log(&h->a, next->log_a, DIRTY_MEMORY_VGA));
    OK(memory_region_set_log(&h->b, next->log_b, DIRTY_MEMORY_VGA));
    OK(memory_region_transaction_commit(h->live.ms));
    memory_system_unlock(h->live.ms);
    h->faces = *next;
    forbid(h);
}

static void move_window(Hammer *h, Window *w)
{
    w->first = pick(h, PAGES);
    w->pages = 1 + pick(h, PAGES - w->first);
    w->shown = pick(h, 4) != 0;
}

/* One to four things at once. */
static void change(Hammer *h)
{
    Faces next = h->faces;

    do {
        switch (pick(h, 8)) {
        case 0:
        case 1:
            move_window(h, &next.b);
            break;
        case 2:
        case 3:
        case 4:
            move_window(h, &next.device);
            break;
        case 5:
        case 6:
            next.romd = !next.romd;
            break;
        default:
            *(pick(h, 2) ? &next.log_a : &next.log_b) ^= true;
        }
    } while (pick(h, 3) == 0);
    commit_faces(h, &next);
}

/* ---- The test ------------------------------------------------------------------------------ */

/* Let a guest come further, however slow it is. */
static void let_run(LiveCpu *cpu)
{
    unsigned passes = cpu->passes;

    while (cpu->passes == passes) {
        usleep(50);
    }
}

static void check_counter(Hammer *h, const LiveCpu *cpu, unsigned offset, unsigned size)
{
    uint32_t value = 0;

    memcpy(&value, h->file + offset, size);
    CHECK(value == (cpu->passes & (UINT32_MAX >> (32 - 8 * size))),
          "vCPU %u, page %u+0x%x: %u after %u passes", cpu->index, offset / PAGE, offset % PAGE,
          value, cpu->passes);
}

static void check_storage(Hammer *h, const LiveCpu *cpu, unsigned offset)
{
    for (unsigned page = 0; page < PAGES; page++) {
        check_counter(h, cpu, page * PAGE + offset, 4);
        check_counter(h, cpu, page * PAGE + offset + 4, 2);
        check_counter(h, cpu, page * PAGE + offset + 6, 1);
        if (cpu->index == 0 && page + 1 < PAGES) {
            check_counter(h, cpu, page * PAGE + ACROSS, 4);
        }
    }
}

static const LiveCallbacks hammer_callbacks = {
    .said = hammer_said,
    .entering = hammer_entering,
    .exited = hammer_exited,
};

/* @cpus guests; each has its counters at a place of its own in the pages. */
static void hammer(const KVMConfig *config, unsigned cpus)
{
    static const unsigned offsets[LIVE_CPUS_MAX] = {8, 24};
    static Hammer h;

    live_open(&h.live, config, &hammer_callbacks, &h);
    map_memory(&h);
    h.random = cpus;
    h.faces = (Faces){.romd = true};
    commit_faces(&h, &(Faces){.b.pages = 1, .device.pages = 1});
    for (unsigned i = 0; i < cpus; i++) {
        live_start(live_cpu(&h.live, &code_hammer, 0x1000 + i * PAGE,
                            (struct kvm_regs){.rsi = AT, .rdi = AT + SIZE, .rbp = offsets[i]}));
    }
    while (h.commits < CHANGES) {
        change(&h);
        if (pick(&h, 4) == 0) {
            let_run(&h.live.cpus[pick(&h, cpus)]);
        }
    }
    for (unsigned i = 0; i < cpus; i++) {
        LiveCpu *cpu = &h.live.cpus[i];

        cpu->stop = true;
        live_join(cpu);
        check_storage(&h, cpu, offsets[i]);
        note("vCPU %u: %u passes over %u pages, %lu exits for memory, %lu changes of the map", i,
             cpu->passes, PAGES, cpu->mmio_exits, h.commits);
    }
    live_close(&h.live);
}

void test_hammer(void)
{
    hammer(NULL, 1);
}

void test_hammer_two_vcpus(void)
{
    hammer(NULL, 2);
}
