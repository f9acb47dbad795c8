/* SPDX-License-Identifier: MIT */
/*
 * msix.h - message-signalled interrupts of a PCI device: an interrupt is a store into the device's
 * own view of memory, where the interrupt controller's range takes it.
 */
#ifndef VMM_MSIX_H
#define VMM_MSIX_H

#include "pci.h"

#define MSIX_MAX_VECTORS 32
#define MSIX_NO_VECTOR 0xffff

typedef struct Msix {
    PciDevice *pci;
    uint8_t capability; /* its offset */
    unsigned nr_vectors;
    MemoryRegion bar, table, pba;
    uint32_t entries[MSIX_MAX_VECTORS][4]; /* address, its upper half, data, control */
    uint32_t pending;                      /* 1 << vector */
} Msix;

/* Give @pci @vectors of them; table and pending bits are BAR @bar, called @name. */
int msix_init(Msix *msix, PciDevice *pci, unsigned vectors, unsigned bar, const char *name);
void msix_reset(Msix *msix);
/* The configuration was written: what was held back may go now. */
void msix_config_written(Msix *msix);
bool msix_enabled(const Msix *msix);
/* Send vector @vector, or note that it is pending. Context of all: machine lock. */
void msix_notify(Msix *msix, unsigned vector);

#endif
