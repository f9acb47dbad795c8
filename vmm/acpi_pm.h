/* SPDX-License-Identifier: MIT */
/*
 * acpi_pm.h - ACPI's fixed hardware: PM1 event and control registers, the power management timer,
 * one block of general purpose events. Part of the PIIX4 (piix4_pm.c), which puts it in its place.
 */
#ifndef VMM_ACPI_PM_H
#define VMM_ACPI_PM_H

#include "machine.h"

typedef struct AcpiPm {
    Machine *machine;
    MemoryRegion event_port, control_port, timer_port, gpe_port;
    uint8_t pm1_status[2], pm1_enable[2], pm1_control[2]; /* little-endian, as their ports */
    uint8_t gpe_status[2], gpe_enable[2];
    int64_t halves_seen; /* half turns of the timer that status knows of */
    Timer half_turn;
} AcpiPm;

/* Put the registers of @device at 0, 4 and 8 of @window, the events at @gpe_base. */
int acpi_pm_init(AcpiPm *pm, Device *device, MemoryRegion *window, uint16_t gpe_base);
void acpi_pm_reset(AcpiPm *pm);
void acpi_pm_stop(AcpiPm *pm); /* before its device ends */
/* Whether ACPI, not the firmware, is in charge: what firmware would do in an SMI handler. */
void acpi_pm_set_sci_enabled(AcpiPm *pm, bool enabled);
void acpi_pm_send_gpe(AcpiPm *pm, unsigned bit);

#endif
