/* SPDX-License-Identifier: MIT */
/* ACPI's fixed hardware, as acpi_pm.h says. */
#include "acpi_pm.h"

#include <string.h>

#define PM_TIMER_HZ 3579545
#define PM_TIMER_MASK 0xffffff
#define PM_TIMER_HALF 23 /* the bit whose change sets TMR_STS */

/* bytes of PM1 */
#define PM1_TIMER 0x01        /* [0] of status and enable */
#define PM1_SCI_ENABLED 0x01  /* [0] of control */
#define PM1_SLEEP 0x20        /* [1] of control; reads 0 */
#define PM1_SLEEP_TYPE 0x1c   /* [1] */
#define PM1_SOFT_OFF (0 << 2) /* as the PIIX4 numbers its states */
#define SCI_IRQ 9

/* ---- The timer -------------------------------------------------------------------------- */

static int64_t ticks_now(const AcpiPm *pm)
{
    return (int64_t)((__int128)machine_clock(pm->machine) * PM_TIMER_HZ / 1000000000);
}

/* ---- Status and the interrupt ----------------------------------------------------------- */

static void update(AcpiPm *pm)
{
    int64_t halves = ticks_now(pm) >> PM_TIMER_HALF;
    bool event = false;

    if (halves != pm->halves_seen) {
        pm->pm1_status[0] |= PM1_TIMER;
        pm->halves_seen = halves;
    }
    for (unsigned i = 0; i < 2; i++) {
        event |= pm->pm1_status[i] & pm->pm1_enable[i];
        event |= pm->gpe_status[i] & pm->gpe_enable[i];
    }
    machine_set_irq(pm->machine, SCI_IRQ, event && pm->pm1_control[0] & PM1_SCI_ENABLED);
    if (pm->pm1_enable[0] & ~pm->pm1_status[0] & PM1_TIMER) {
        __int128 tick = (__int128)(halves + 1) << PM_TIMER_HALF;
        timer_set(&pm->half_turn, (int64_t)((tick * 1000000000 + PM_TIMER_HZ - 1) / PM_TIMER_HZ));
    } else {
        timer_stop(&pm->half_turn);
    }
}

static void half_turn(void *opaque)
{
    update(opaque);
}

void acpi_pm_send_gpe(AcpiPm *pm, unsigned bit)
{
    pm->gpe_status[bit / 8 & 1] |= (uint8_t)(1 << bit % 8);
    update(pm);
}

void acpi_pm_set_sci_enabled(AcpiPm *pm, bool enabled)
{
    pm->pm1_control[0] =
        (uint8_t)((pm->pm1_control[0] & ~PM1_SCI_ENABLED) | (enabled ? PM1_SCI_ENABLED : 0));
    update(pm);
}

/* ---- Registers -------------------------------------------------------------------------- */

/* Two bytes of status, which 1s clear, then two of enable. */
static uint8_t *event_byte(uint8_t status[2], uint8_t enable[2], hwaddr addr)
{
    return addr < 2 ? &status[addr] : &enable[addr - 2];
}

static void event_write(uint8_t status[2], uint8_t enable[2], hwaddr addr, uint8_t value)
{
    uint8_t *at = event_byte(status, enable, addr);

    *at = addr < 2 ? *at & (uint8_t)~value : value;
}

static uint64_t pm1_event_read(void *opaque, hwaddr addr, unsigned size)
{
    AcpiPm *pm = opaque;

    (void)size;
    update(pm);
    return *event_byte(pm->pm1_status, pm->pm1_enable, addr);
}

static void pm1_event_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    AcpiPm *pm = opaque;

    (void)size;
    update(pm);
    event_write(pm->pm1_status, pm->pm1_enable, addr, (uint8_t)data);
    update(pm);
}

static uint64_t gpe_read(void *opaque, hwaddr addr, unsigned size)
{
    AcpiPm *pm = opaque;

    (void)size;
    return *event_byte(pm->gpe_status, pm->gpe_enable, addr);
}

static void gpe_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    AcpiPm *pm = opaque;

    (void)size;
    event_write(pm->gpe_status, pm->gpe_enable, addr, (uint8_t)data);
    update(pm);
}

static uint64_t control_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)size;
    return ((AcpiPm *)opaque)->pm1_control[addr];
}

static void control_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    AcpiPm *pm = opaque;
    uint8_t value = (uint8_t)data;

    (void)size;
    pm->pm1_control[addr] = addr == 1 ? value & (uint8_t)~PM1_SLEEP : value;
    /* No other state is in the ACPI tables. */
    if (addr == 1 && value & PM1_SLEEP && (value & PM1_SLEEP_TYPE) == PM1_SOFT_OFF) {
        machine_request(pm->machine, MACHINE_QUIT, VMM_DONE);
    }
    update(pm);
}

static uint64_t timer_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)addr;
    (void)size;
    return (uint64_t)ticks_now(opaque) & PM_TIMER_MASK;
}

static void timer_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque;
    (void)addr;
    (void)data;
    (void)size;
}

static const MemoryRegionOps pm1_event_ops = {
    .read = pm1_event_read,
    .write = pm1_event_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

static const MemoryRegionOps gpe_ops = {
    .read = gpe_read,
    .write = gpe_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

static const MemoryRegionOps control_ops = {
    .read = control_read,
    .write = control_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

static const MemoryRegionOps timer_ops = {
    .read = timer_read,
    .write = timer_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.min_access_size = 4,
};

/* ---- Life ------------------------------------------------------------------------------- */

void acpi_pm_reset(AcpiPm *pm)
{
    memset(pm->pm1_status, 0, sizeof pm->pm1_status);
    memset(pm->pm1_enable, 0, sizeof pm->pm1_enable);
    memset(pm->pm1_control, 0, sizeof pm->pm1_control);
    memset(pm->gpe_status, 0, sizeof pm->gpe_status);
    memset(pm->gpe_enable, 0, sizeof pm->gpe_enable);
    pm->halves_seen = ticks_now(pm) >> PM_TIMER_HALF;
    update(pm);
}

void acpi_pm_stop(AcpiPm *pm)
{
    timer_stop(&pm->half_turn);
}

int acpi_pm_init(AcpiPm *pm, Device *device, MemoryRegion *window, uint16_t gpe_base)
{
    const struct {
        MemoryRegion *mr, *container;
        const MemoryRegionOps *ops;
        const char *name;
        hwaddr addr, size;
    } ports[] = {
        {&pm->event_port, window, &pm1_event_ops, "acpi-evt", 0, 4},
        {&pm->control_port, window, &control_ops, "acpi-cnt", 4, 2},
        {&pm->timer_port, window, &timer_ops, "acpi-tmr", 8, 4},
        {&pm->gpe_port, get_system_io(device->machine->ms), &gpe_ops, "acpi-gpe0", gpe_base, 4},
    };
    int result = 0;

    pm->machine = device->machine;
    timer_init(&pm->half_turn, pm->machine, half_turn, pm);
    for (unsigned i = 0; i < sizeof ports / sizeof *ports && result == 0; i++) {
        result = memory_region_init_io(ports[i].mr, device->owner, ports[i].ops, pm, ports[i].name,
                                       ports[i].size);
        if (result == 0) {
            result = device_map(device, ports[i].container, ports[i].addr, ports[i].mr, 0);
        }
    }
    return result;
}
