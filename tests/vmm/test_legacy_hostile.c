/* SPDX-License-Identifier: MIT */
/*
 * A hostile guest: random accesses of all widths to the ports of all the old devices together,
 * while time passes in random steps. Nothing breaks, nothing floods the loop with timers, and after
 * a reset they work. For sanitizers above all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support/fake_machine.h"
#include "support/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STEPS 300000

static FakeMachine *f;
static PciBus bus;
static PciDevice *pm;

static const uint16_t places[] = {0x20,  0x21,  0xa0,  0xa1,  0x40,  0x41,  0x42,  0x43,   0x60,
                                  0x61,  0x64,  0x70,  0x71,  0x80,  0x92,  0xb2,  0xb3,   0xe9,
                                  0xf0,  0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe,  0x3ff,
                                  0x402, 0x4d0, 0x4d1, 0x600, 0x602, 0x604, 0x608, 0xafe0, 0xb100};
#define NR_PLACES (sizeof(places) / sizeof(*places))

static void access_ports(Rng *rng)
{
    AddressSpace *io = memory_system_io(f->m.ms);
    uint16_t port = (uint16_t)(places[rng_below(rng, NR_PLACES)] + rng_below(rng, 3));
    uint64_t value = rng_next(rng);
    unsigned size = rng_below(rng, 6);

    if (rng_percent(rng, 40)) {
        uint8_t bytes[8];
        address_space_read(io, port, ATTRS, bytes, 1 + rng_below(rng, 8));
    } else if (size < 4) { /* small values are commands more often */
        outb(f, port, size < 2 ? (unsigned)value & 0x3f : (unsigned)value);
    } else if (size == 4) {
        address_space_stw_le(io, port, (uint16_t)value, ATTRS, NULL);
    } else {
        address_space_stl_le(io, port, (uint32_t)value, ATTRS, NULL);
    }
}

static void disturb(Rng *rng)
{
    unsigned value = (unsigned)rng_next(rng);

    memory_system_lock(f->m.ms);
    switch (value % 4) {
    case 0:
        pci_config_write(pm, 0x40 + (value >> 8) % 0xc0, value >> 16, 1U << (value >> 4) % 3);
        break;
    case 1:
        machine_set_irq(&f->m, (value >> 8) % 16, value >> 16 & 1);
        break;
    case 2:
        piix4_pm_send_gpe(&f->m, value >> 8);
        break;
    default:
        if (f->interrupt) {
            pic_acknowledge(f->m.pic);
        }
    }
    memory_system_unlock(f->m.ms);
    if (f->chr.nr_typed < 100) {
        fake_chardev_type(f, "typed");
    }
}

/* At most one timer fires each 15 us: the periodic ones' limit, together. */
static void pass_time(Rng *rng)
{
    static const int64_t steps[] = {100, 50 * US, 5 * MS, 50 * MS};
    int64_t ns = steps[rng_below(rng, 4)];
    unsigned long before = f->fired;

    fake_machine_run(f, ns);
    assert_in_range(f->fired - before, 0, 8 + (unsigned long)(ns / (15 * US)));
}

static void check_they_work(void)
{
    fake_machine_reset(f);
    f->chr.nr_sent = 0;
    outb(f, 0x3f8, 'x');
    assert_int_equal(f->chr.nr_sent, 1);
    outb(f, 0x64, 0xaa);
    assert_int_equal(inb(f, 0x60), 0x55);
    outb(f, 0x70, 0x0d);
    assert_int_equal(inb(f, 0x71), 0x80);
    assert_int_equal(inb(f, 0x402), 0xe9);
    assert_int_equal(inb(f, 0x80), 0xff);
    outb(f, 0x20, 0x11);
    outb(f, 0x21, 0x20);
    outb(f, 0x21, 0x04);
    outb(f, 0x21, 0x01);
    outb(f, 0x43, 0x34);
    outb(f, 0x40, 0x00);
    outb(f, 0x40, 0x10);
    fake_machine_run(f, 10 * MS);
    assert_true(f->interrupt);
    memory_system_lock(f->m.ms);
    assert_int_equal(pic_acknowledge(f->m.pic), 0x20);
    memory_system_unlock(f->m.ms);
}

static void nothing_breaks(void **state)
{
    char log[] = "/tmp/membus-debugcon-XXXXXX";
    int fd = mkstemp(log);
    Rng rng = {7};

    (void)state;
    assert_true(fd >= 0);
    f = fake_machine_start();
    f->has_smm = true;
    f->wire = pic_set_irq;
    bus = (PciBus){
        .machine = &f->m, .memory = get_system_memory(f->m.ms), .io = get_system_io(f->m.ms)};
    f->m.pci = &bus;
    MAKE(pic_create(&f->m));
    MAKE(pit_create(&f->m));
    MAKE(rtc_create(&f->m));
    MAKE(uart_create(&f->m, &f->chr, 0x3f8, 4));
    MAKE(debugcon_create(&f->m, log));
    MAKE(i8042_create(&f->m));
    MAKE(port92_create(&f->m));
    MAKE(ports_create(&f->m));
    MAKE(piix4_pm_create(&f->m));
    pm = bus.devices[PCI_DEVFN(1, 3)];
    fake_machine_reset(f);
    for (unsigned i = 0; i < STEPS; i++) {
        access_ports(&rng);
        if (rng_percent(&rng, 20)) {
            disturb(&rng);
        }
        if (rng_percent(&rng, 10)) {
            pass_time(&rng);
        }
        if (i % 50000 == 49999) {
            check_they_work();
        }
    }
    fake_machine_end(f);
    close(fd);
    unlink(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_breaks)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
