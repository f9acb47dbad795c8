/* SPDX-License-Identifier: MIT */
/*
 * pci_board.h - memory, ROM and the PCI devices of the PC, without CPUs: for tests that are the
 * guest. Stands in for machine.c, loop.c and board.c.
 */
#ifndef TESTS_PCI_BOARD_H
#define TESTS_PCI_BOARD_H

#include "vmm/devices.h"

#define ATTRS MEMTXATTRS_UNSPECIFIED
#define BOARD_RAM (UINT64_C(16) << 20)
#define BIOS_SIZE 0x40000

typedef struct PciBoard {
    Machine m; /* first */
    VmmOptions options;
    CpuKind kind;
    MemoryRegion ram;
    uint8_t *ram_bytes;
    struct {
        int fd;
        LoopReady *ready;
        void *opaque;
    } watched[4];
    Timer *timers;
    int64_t now; /* ns */
    bool irq[24];
    unsigned nr_msis;
    hwaddr msi_addr;
    uint32_t msi_data;
    MachineRequest request;
} PciBoard;

/*
 * A disk of @size zeroes without a name of its own: its descriptor, and a @path to it. For groups
 * of tests, one of 2 MiB.
 */
#define BOARD_DISK_PATH 32
int pci_board_make_disk(char path[BOARD_DISK_PATH], off_t size);
extern char board_disk[BOARD_DISK_PATH];
extern int board_disk_fd;
int board_disk_setup(void **state);
int board_disk_teardown(void **state);

/* @disk NULL: none. Aborts with a message if it cannot be made: it is no test. */
PciBoard *pci_board_start(const char *disk, bool readonly, bool bridge);
void pci_board_end(PciBoard *b);
void pci_board_reset(PciBoard *b);
/* Wait @ms milliseconds for a descriptor, then serve all that are ready; returns how many. */
unsigned pci_board_serve(PciBoard *b, int ms);
/* Let time pass; timers fire. */
void pci_board_run(PciBoard *b, int64_t ns);

static inline void outl(PciBoard *b, uint16_t port, uint32_t value)
{
    address_space_stl_le(memory_system_io(b->m.ms), port, value, ATTRS, NULL);
}
static inline void outw(PciBoard *b, uint16_t port, unsigned value)
{
    address_space_stw_le(memory_system_io(b->m.ms), port, (uint16_t)value, ATTRS, NULL);
}
static inline void outb(PciBoard *b, uint16_t port, unsigned value)
{
    address_space_stb(memory_system_io(b->m.ms), port, (uint8_t)value, ATTRS, NULL);
}
static inline uint32_t inl(PciBoard *b, uint16_t port)
{
    return address_space_ldl_le(memory_system_io(b->m.ms), port, ATTRS, NULL);
}
static inline uint16_t inw(PciBoard *b, uint16_t port)
{
    return address_space_lduw_le(memory_system_io(b->m.ms), port, ATTRS, NULL);
}
static inline uint8_t inb(PciBoard *b, uint16_t port)
{
    return address_space_ldub(memory_system_io(b->m.ms), port, ATTRS, NULL);
}

/* Where a function is: bus, devfn. */
#define AT(bus, slot, function) ((uint32_t)(bus) << 16 | (uint32_t)(slot) << 11 | (function) << 8)

static inline void config_select(PciBoard *b, uint32_t at, unsigned reg)
{
    outl(b, 0xcf8, 0x80000000U | at | (reg & 0xfc));
}
static inline uint32_t config_readl(PciBoard *b, uint32_t at, unsigned reg)
{
    config_select(b, at, reg);
    return inl(b, 0xcfc);
}
static inline uint8_t config_readb(PciBoard *b, uint32_t at, unsigned reg)
{
    config_select(b, at, reg);
    return inb(b, (uint16_t)(0xcfc + (reg & 3)));
}
static inline void config_writel(PciBoard *b, uint32_t at, unsigned reg, uint32_t value)
{
    config_select(b, at, reg);
    outl(b, 0xcfc, value);
}
static inline void config_writew(PciBoard *b, uint32_t at, unsigned reg, unsigned value)
{
    config_select(b, at, reg);
    outw(b, (uint16_t)(0xcfc + (reg & 2)), value);
}
static inline void config_writeb(PciBoard *b, uint32_t at, unsigned reg, unsigned value)
{
    config_select(b, at, reg);
    outb(b, (uint16_t)(0xcfc + (reg & 3)), value);
}

#endif
