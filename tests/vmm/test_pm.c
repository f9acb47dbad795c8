/* SPDX-License-Identifier: MIT */
/* The PIIX4's power management: where its registers are, PM1 and its timer, events, SMIs, SMBus. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support/fake_machine.h"

#define PM 0x600
#define HZ 3579545
#define GPE 0xafe0

static FakeMachine *f;
static PciBus bus;
static PciDevice *pci;

static unsigned inw(uint16_t port)
{
    return address_space_lduw_le(memory_system_io(f->m.ms), port, ATTRS, NULL);
}

static unsigned inl(uint16_t port)
{
    return address_space_ldl_le(memory_system_io(f->m.ms), port, ATTRS, NULL);
}

static void outw(uint16_t port, unsigned value)
{
    address_space_stw_le(memory_system_io(f->m.ms), port, (uint16_t)value, ATTRS, NULL);
}

static void config_write(unsigned addr, uint32_t value, unsigned len)
{
    memory_system_lock(f->m.ms);
    pci_config_write(pci, addr, value, len);
    memory_system_unlock(f->m.ms);
}

static uint32_t config_read(unsigned addr, unsigned len)
{
    memory_system_lock(f->m.ms);
    uint32_t value = pci_config_read(pci, addr, len);
    memory_system_unlock(f->m.ms);
    return value;
}

/* Who answers at a port: its name, "" if nobody. */
static const char *who(uint16_t port)
{
    static char name[32];
    hwaddr xlat, len = 1;

    memory_read_lock();
    MemoryRegion *mr =
        address_space_translate(memory_system_io(f->m.ms), port, &xlat, &len, false, ATTRS);
    name[0] = '\0';
    if (mr) {
        strncpy(name, memory_region_name(mr), sizeof(name) - 1);
    }
    memory_read_unlock();
    return name;
}

static void start(bool has_smm)
{
    f = fake_machine_start();
    f->has_smm = has_smm;
    bus = (PciBus){
        .machine = &f->m, .memory = get_system_memory(f->m.ms), .io = get_system_io(f->m.ms)};
    f->m.pci = &bus;
    MAKE(piix4_pm_create(&f->m));
    pci = bus.devices[PCI_DEVFN(1, 3)];
    assert_non_null(pci);
    fake_machine_reset(f);
}

static int setup(void **state)
{
    (void)state;
    start(false);
    config_write(0x40, PM | 1, 4);
    config_write(0x80, 1, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_machine_end(f);
    return 0;
}

static void who_it_is(void **state)
{
    (void)state;
    assert_int_equal(config_read(0x00, 4), 0x71138086);
    assert_int_equal(config_read(0x08, 4), 0x06800003);
    assert_int_equal(config_read(0x40, 4), PM | 1);
    assert_int_equal(config_read(0x90, 4), 0xb101);
    assert_int_equal(config_read(0xd2, 1), 0x09);
    config_write(0x40, 0xffffffff, 4);
    assert_int_equal(config_read(0x40, 4), 0xffc1);
    fake_machine_reset(f);
    assert_int_equal(config_read(0x40, 4), 1);
    assert_int_equal(config_read(0x80, 1), 0);
    assert_string_equal(who(0xffc0), "io");
}

static void registers_move(void **state)
{
    (void)state;
    assert_string_equal(who(PM), "acpi-evt");
    assert_string_equal(who(PM + 3), "acpi-evt");
    assert_string_equal(who(PM + 5), "acpi-cnt");
    assert_string_equal(who(PM + 8), "acpi-tmr");
    assert_string_equal(who(PM + 0xc), "io");
    config_write(0x40, 0x4041, 4);
    assert_string_equal(who(PM), "io");
    assert_string_equal(who(0x4048), "acpi-tmr");
    config_write(0x80, 0, 1);
    assert_string_equal(who(0x4048), "io");
    assert_string_equal(who(0xb100), "pm-smbus");
    config_write(0x90, 0x701, 4);
    assert_string_equal(who(0x73f), "pm-smbus");
    assert_string_equal(who(0xb100), "io");
    config_write(0xd2, 0x08, 1);
    assert_string_equal(who(0x700), "io");
    assert_string_equal(who(0xb3), "apm-io");
    assert_string_equal(who(GPE + 3), "acpi-gpe0");
}

static void the_timer_runs(void **state)
{
    (void)state;
    uint32_t before = inl(PM + 8);
    fake_machine_run(f, SECOND);
    assert_in_range((inl(PM + 8) - before) & 0xffffff, HZ - 1, HZ + 1);
    unsigned low = inb(f, PM + 8);
    assert_int_equal(low, inl(PM + 8) & 0xff);
    assert_int_equal(inb(f, PM + 10), inl(PM + 8) >> 16);
    fake_machine_run(f, 100 * SECOND);
    assert_in_range(inl(PM + 8), 0, 0xffffff);
}

static void its_half_turns_interrupt(void **state)
{
    int64_t half = (INT64_C(1) << 23) * SECOND / HZ; /* rounded down: half a ns before */

    (void)state;
    assert_int_equal(inw(PM), 0);
    fake_machine_run(f, half);
    assert_int_equal(inw(PM), 0);
    fake_machine_run(f, 1);
    assert_int_equal(inw(PM), 1);
    assert_false(f->irq[9]);
    outw(PM + 2, 1);
    assert_false(f->irq[9]); /* ACPI is not in charge */
    outw(PM + 4, 1);
    assert_true(f->irq[9]);
    outw(PM, 0xfffe);
    assert_true(f->irq[9]);
    outw(PM, 1);
    assert_false(f->irq[9]);
    fake_machine_run(f, half + 1);
    assert_true(f->irq[9]);
    fake_machine_run(f, 100 * SECOND);
    assert_int_equal(f->rises[9], 2);
}

static void acpi_is_switched_on(void **state)
{
    (void)state;
    outb(f, 0xb2, 0xf1);
    assert_int_equal(inw(PM + 4), 1);
    assert_int_equal(inb(f, 0xb2), 0xf1);
    outb(f, 0xb2, 0xf0);
    assert_int_equal(inw(PM + 4), 0);
    outb(f, 0xb3, 0x12);
    assert_int_equal(inb(f, 0xb3), 0x12);
}

static void soft_off(void **state)
{
    (void)state;
    outw(PM + 4, 0x0001);
    outw(PM + 4, 0x2401); /* another state */
    assert_int_equal(f->request, MACHINE_NONE);
    assert_int_equal(inw(PM + 4), 0x0401);
    outw(PM + 4, 0x2001);
    assert_int_equal(f->request, MACHINE_QUIT);
    assert_int_equal(f->status, VMM_DONE);
    assert_int_equal(inw(PM + 4), 0x0001);
}

static void general_purpose_events(void **state)
{
    (void)state;
    outw(PM + 4, 1);
    memory_system_lock(f->m.ms);
    piix4_pm_send_gpe(&f->m, 3);
    memory_system_unlock(f->m.ms);
    assert_int_equal(inl(GPE), 0x00000008);
    assert_false(f->irq[9]);
    outb(f, GPE + 2, 0x08);
    assert_true(f->irq[9]);
    outb(f, GPE, 0xf7);
    assert_true(f->irq[9]);
    outb(f, GPE, 0x08);
    assert_false(f->irq[9]);
    assert_int_equal(inl(GPE), 0x00080000);
    fake_machine_reset(f);
    assert_int_equal(inl(GPE), 0);
}

static void smis(void **state)
{
    (void)state;
    assert_int_equal(config_read(0x58, 4), 1U << 25); /* no SMM: nothing to be set up */
    outb(f, 0xb2, 1);
    assert_int_equal(f->smis, 0);
    fake_machine_end(f);
    start(true);
    assert_int_equal(config_read(0x58, 4), 0);
    outb(f, 0xb2, 1);
    assert_int_equal(f->smis, 0);
    config_write(0x58, 1U << 25, 4);
    outb(f, 0xb2, 1);
    assert_int_equal(f->smis, 1);
    outb(f, 0xb3, 1);
    assert_int_equal(f->smis, 1);
    fake_machine_reset(f);
    assert_int_equal(config_read(0x58, 4), 0);
}

static void nobody_is_on_the_smbus(void **state)
{
    (void)state;
    outb(f, 0xb104, 0xa1);
    assert_int_equal(inb(f, 0xb104), 0xa1);
    outb(f, 0xb102, 0x48);
    assert_int_equal(inb(f, 0xb100), 0x04);
    assert_int_equal(inb(f, 0xb102), 0x08);
    outb(f, 0xb100, 0xff);
    assert_int_equal(inb(f, 0xb100), 0x00);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(who_it_is),
        CASE(registers_move),
        CASE(the_timer_runs),
        CASE(its_half_turns_interrupt),
        CASE(acpi_is_switched_on),
        CASE(soft_off),
        CASE(general_purpose_events),
        CASE(smis),
        CASE(nobody_is_on_the_smbus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
