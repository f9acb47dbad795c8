/* SPDX-License-Identifier: MIT */
/* The board for tests of the PCI devices. */
#include "pci_board.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUARD_SIZE ((size_t)1 << 20)

static void must(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "the board: %s: %s (%d)\n", what, membus_last_error(), result);
        abort();
    }
}

/* ---- What machine.c does --------------------------------------------------------------- */

void machine_set_irq(Machine *m, unsigned irq, bool level)
{
    ((PciBoard *)m)->irq[irq] = level;
}

void machine_request(Machine *m, MachineRequest request, int status)
{
    (void)status;
    ((PciBoard *)m)->request = request;
}

void vmm_complain(const char *fmt, ...)
{
    va_list args;

    if (getenv("PCI_BOARD_COMPLAINTS")) {
        va_start(args, fmt);
        vfprintf(stderr, fmt, args);
        fputc('\n', stderr);
        va_end(args);
    }
}

/* ---- What loop.c does ------------------------------------------------------------------ */

static PciBoard *looping; /* one board at a time has descriptors to wait for */

int loop_watch(Loop *loop, int fd, short events, LoopReady *ready, void *opaque)
{
    (void)loop, (void)events;
    for (unsigned i = 0; i < 4; i++) {
        if (!looping->watched[i].ready) {
            looping->watched[i].fd = fd;
            looping->watched[i].ready = ready;
            looping->watched[i].opaque = opaque;
            return 0;
        }
    }
    return -ENOMEM;
}

void loop_remove(Loop *loop, int fd)
{
    (void)loop;
    for (unsigned i = 0; i < 4; i++) {
        if (looping->watched[i].fd == fd) {
            looping->watched[i].ready = NULL;
        }
    }
}

unsigned pci_board_serve(PciBoard *b, int ms)
{
    unsigned served = 0;
    bool found = true;

    while (found) {
        found = false;
        for (unsigned i = 0; i < 4; i++) {
            struct pollfd fd = {.fd = b->watched[i].fd, .events = POLLIN};
            if (b->watched[i].ready && poll(&fd, 1, ms) > 0) {
                memory_system_lock(b->m.ms);
                b->watched[i].ready(b->watched[i].opaque, fd.revents);
                memory_system_unlock(b->m.ms);
                found = true;
                ms = 0;
                served++;
            }
        }
    }
    return served;
}

int64_t machine_clock(Machine *m)
{
    return ((PciBoard *)m)->now;
}

void timer_init(Timer *timer, Machine *m, void (*fn)(void *opaque), void *opaque)
{
    *timer = (Timer){.machine = m, .fn = fn, .opaque = opaque, .deadline = -1};
}

void timer_stop(Timer *timer)
{
    Timer **at = &((PciBoard *)timer->machine)->timers;

    while (*at && *at != timer) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = timer->next;
    }
    timer->deadline = -1;
}

void timer_set(Timer *timer, int64_t deadline)
{
    PciBoard *b = (PciBoard *)timer->machine;

    timer_stop(timer);
    timer->deadline = deadline;
    timer->next = b->timers;
    b->timers = timer;
}

void pci_board_run(PciBoard *b, int64_t ns)
{
    memory_system_lock(b->m.ms);
    for (int64_t end = b->now + ns; b->now < end; b->now += 1000000) {
        for (Timer *timer = b->timers; timer; timer = timer->next) {
            if (timer->deadline <= b->now) {
                timer_stop(timer);
                timer->fn(timer->opaque);
                break;
            }
        }
    }
    memory_system_unlock(b->m.ms);
}

/* ---- The board ------------------------------------------------------------------------- */

static void msi(Machine *m, hwaddr addr, uint32_t data)
{
    PciBoard *b = (PciBoard *)m;

    b->nr_msis++;
    b->msi_addr = addr;
    b->msi_data = data;
}

/* Nothing can be reached on either side of it. */
static uint8_t *guarded_memory(size_t size)
{
    uint8_t *at = mmap(NULL, size + 2 * GUARD_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED || mprotect(at + GUARD_SIZE, size, PROT_READ | PROT_WRITE) < 0) {
        abort();
    }
    return at + GUARD_SIZE;
}

static void make_memory(PciBoard *b)
{
    Machine *m = &b->m;
    MemoryOwner *board = memory_system_owner(m->ms);
    MemoryRegion *system = get_system_memory(m->ms);

    b->ram_bytes = guarded_memory(BOARD_RAM);
    must(memory_region_init_ram_ptr(&b->ram, board, "pc.ram", BOARD_RAM, b->ram_bytes), "RAM");
    m->ram = &b->ram;
    m->ram_size = m->below_4g_size = BOARD_RAM;
    must(memory_region_init_alias(&m->ram_below_4g, board, "ram-below-4g", m->ram, 0, BOARD_RAM),
         "RAM");
    must(memory_region_add_subregion(system, 0, &m->ram_below_4g), "RAM");
    must(memory_region_init(&m->pci_memory, board, "pci", UINT64_MAX), "pci");
    must(memory_region_add_subregion_overlap(system, 0, &m->pci_memory, -1), "pci");
    must(memory_region_init_rom(&m->option_rom, board, "pc.rom", 0x20000, NULL), "pc.rom");
    must(memory_region_add_subregion_overlap(&m->pci_memory, 0xc0000, &m->option_rom, 1), "ROM");
    must(memory_region_init_rom(&m->bios, board, "pc.bios", BIOS_SIZE, NULL), "pc.bios");
    must(memory_region_add_subregion(&m->pci_memory, 0x100000000 - BIOS_SIZE, &m->bios), "ROM");
    must(memory_region_init_alias(&m->isa_bios, board, "isa-bios", &m->bios, BIOS_SIZE - 0x20000,
                                  0x20000),
         "isa-bios");
    must(memory_region_set_readonly(&m->isa_bios, true), "isa-bios");
    must(memory_region_add_subregion_overlap(&m->pci_memory, 0xe0000, &m->isa_bios, 1), "ROM");
}

int pci_board_make_disk(char path[BOARD_DISK_PATH], off_t size)
{
    int fd = memfd_create("disk", MFD_CLOEXEC);

    must(fd < 0 ? -errno : ftruncate(fd, size), "disk");
    snprintf(path, BOARD_DISK_PATH, "/proc/self/fd/%d", fd);
    return fd;
}

char board_disk[BOARD_DISK_PATH];
int board_disk_fd;

int board_disk_setup(void **state)
{
    (void)state;
    board_disk_fd = pci_board_make_disk(board_disk, 2 << 20);
    return 0;
}

int board_disk_teardown(void **state)
{
    (void)state;
    return close(board_disk_fd);
}

PciBoard *pci_board_start(const char *disk, bool readonly, bool bridge)
{
    PciBoard *b = calloc(1, sizeof(*b));
    Machine *m = &b->m;

    looping = b;
    b->kind = (CpuKind){.name = "test", .msi = msi};
    m->kind = &b->kind;
    b->options.bridge = bridge;
    m->options = &b->options;
    m->ms = memory_system_create();
    memory_system_lock(m->ms);
    make_memory(b);
    must(i440fx_create(m), "i440fx");
    must(piix3_create(m), "piix3");
    must(apic_create(m), "apic");
    must(vga_create(m), "vga");
    must(virtio_blk_create(m, disk, readonly), "virtio-blk");
    memory_system_unlock(m->ms);
    pci_board_reset(b);
    return b;
}

void pci_board_reset(PciBoard *b)
{
    memory_system_lock(b->m.ms);
    must(devices_reset(&b->m), "reset");
    memory_system_unlock(b->m.ms);
}

void pci_board_end(PciBoard *b)
{
    MemorySystem *ms = b->m.ms;

    memory_system_lock(ms);
    devices_end(&b->m);
    memory_system_unlock(ms);
    memory_system_drain(ms);
    must(memory_system_destroy(ms), "the end");
    munmap(b->ram_bytes - GUARD_SIZE, BOARD_RAM + 2 * GUARD_SIZE);
    free(b);
}
