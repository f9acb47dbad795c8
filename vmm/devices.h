/* SPDX-License-Identifier: MIT */
/*
 * devices.h - the devices of the board, one line each: the board makes them in this order. All
 * return 0 or a negative errno with a sentence (membus_last_error()). Context: machine lock.
 */
#ifndef VMM_DEVICES_H
#define VMM_DEVICES_H

#include "chardev.h"
#include "machine.h"
#include "pci.h"

#include <stdio.h>

/* The 82441FX: configuration ports, PAM and SMRAM registers (PCI 00:00.0). Sets m->pci. */
int i440fx_create(Machine *m);
/* The PIIX3: PIRQ routing and edge/level control, reset control (PCI 00:01.0). */
int piix3_create(Machine *m);
/* The PIIX4's power management: PM timer, SMI and ACPI ports (PCI 00:01.3). Sets m->pm. */
int piix4_pm_create(Machine *m);
/* Standard VGA's text mode: 16 MiB video memory, the legacy window (PCI 00:02.0). Sets m->vga. */
int vga_create(Machine *m);
/* Print what the screen shows, a line each; -ENOTSUP in a graphics mode. */
int vga_text(Vga *vga, FILE *out);
/* A virtio 1.0 disk (PCI, next free slot); @file NULL: none. */
int virtio_blk_create(Machine *m, const char *file, bool readonly);

int pic_create(
    Machine *m); /* two 8259A; sets m->pic. Only for CPUs without controllers of theirs */
/* The vector that the CPU is to take; ends the request at the PIC. */
uint8_t pic_acknowledge(Pic *pic);
void pic_set_irq(Pic *pic, unsigned irq, bool level);
int pit_create(Machine *m); /* 8254 and the speaker's port; only as pic_create() */
int rtc_create(Machine *m); /* MC146818 and CMOS memory; sets m->rtc */
void rtc_set_cmos(Rtc *rtc, uint8_t index, uint8_t value);              /* kept at reset */
int uart_create(Machine *m, Chardev *chr, uint16_t port, unsigned irq); /* 16550A */
int debugcon_create(Machine *m, const char *file);                      /* port 0x402, and 0xe9 */
int i8042_create(Machine *m); /* a keyboard controller with nothing plugged in; A20 and reset */
int port92_create(Machine *m);
int ports_create(Machine *m); /* 0x80, 0xf0: written to and forgotten */
/* MSIs: "apic-msi" at 0xfee00000; the IOAPIC's range where it is the CPU's. */
int apic_create(Machine *m);

/* fw_cfg: what firmware asks the board (fw_cfg.h). Sets m->fw_cfg. */
int fw_cfg_create(Machine *m);
/* The board's answers: fw_cfg items, CMOS, ACPI tables. After all devices. */
int firmware_describe(Machine *m);
int acpi_tables_add(Machine *m); /* that part of it */

/* The ports of ACPI memory hotplug; 0 and nothing without slots. Sets m->acpi. */
int acpi_create(Machine *m);
/* A dimm was added or is wanted out: tell the guest. */
void acpi_memory_plugged(Machine *m, MemoryDeviceState *dimm);
int acpi_memory_unplug_request(Machine *m, MemoryDeviceState *dimm, Error **errp);
/* Raise the general purpose event @bit (SCI). */
void piix4_pm_send_gpe(Machine *m, unsigned bit);

/* --kernel, --initrd, --append: an option ROM that boots them; 0 and nothing without a kernel. */
int linux_create(Machine *m);

#endif
