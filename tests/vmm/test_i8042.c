/* SPDX-License-Identifier: MIT */
/* The keyboard controller without a keyboard, and port 0x92. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support/fake_machine.h"

static FakeMachine *f;

static int setup(void **state)
{
    (void)state;
    f = fake_machine_start();
    MAKE(i8042_create(&f->m));
    MAKE(port92_create(&f->m));
    fake_machine_reset(f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_machine_end(f);
    return 0;
}

static void assert_answer(unsigned status, unsigned data)
{
    assert_int_equal(inb(f, 0x64) & 0x61, status);
    assert_int_equal(inb(f, 0x60), data);
    assert_int_equal(inb(f, 0x64) & 0x61, 0);
}

static void commands_are_answered(void **state)
{
    static const unsigned answers[][2] = {{0xaa, 0x55}, {0xab, 0x00}, {0xa9, 0x00},
                                          {0xc0, 0x80}, {0xd0, 0x03}, {0xe0, 0x00}};

    (void)state;
    assert_int_equal(inb(f, 0x64), 0x18);
    for (unsigned i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
        outb(f, 0x64, answers[i][0]);
        assert_answer(0x01, answers[i][1]);
    }
    assert_int_equal(inb(f, 0x64), 0x1c);
    outb(f, 0x64, 0x00); /* unknown */
    assert_int_equal(inb(f, 0x64), 0x1c);
}

static void the_command_byte(void **state)
{
    (void)state;
    outb(f, 0x64, 0x60);
    outb(f, 0x60, 0x47);
    assert_int_equal(inb(f, 0x64) & 0x0c, 0x04);
    outb(f, 0x64, 0xad);
    outb(f, 0x64, 0xa7);
    outb(f, 0x64, 0x20);
    assert_answer(0x01, 0x77);
    outb(f, 0x64, 0xae);
    outb(f, 0x64, 0xa8);
    outb(f, 0x64, 0x20);
    assert_answer(0x01, 0x47);
    outb(f, 0x64, 0x7f);
    outb(f, 0x60, 0x99);
    outb(f, 0x64, 0x3f);
    assert_answer(0x01, 0x99);
}

static void devices_do_not_answer(void **state)
{
    (void)state;
    outb(f, 0x64, 0x60);
    outb(f, 0x60, 0x03); /* both interrupts */
    outb(f, 0x60, 0xff); /* reset, keyboard */
    assert_true(f->irq[1]);
    assert_answer(0x41, 0xfe);
    assert_false(f->irq[1]);
    outb(f, 0x64, 0xd4);
    outb(f, 0x60, 0xf2); /* who are you, mouse */
    assert_true(f->irq[12]);
    assert_false(f->irq[1]);
    assert_answer(0x61, 0xfe);
    assert_false(f->irq[12]);
    outb(f, 0x64, 0xd3);
    outb(f, 0x60, 0x5a); /* the controller's own loop */
    assert_answer(0x21, 0x5a);
    outb(f, 0x64, 0xd2);
    outb(f, 0x60, 0x5b);
    assert_answer(0x01, 0x5b);
}

static void it_resets_the_machine(void **state)
{
    (void)state;
    outb(f, 0x64, 0xff); /* pulses nothing */
    assert_int_equal(f->request, MACHINE_NONE);
    outb(f, 0x64, 0xfe);
    assert_int_equal(f->request, MACHINE_RESET);
    f->request = MACHINE_NONE;
    outb(f, 0x64, 0xd1);
    outb(f, 0x60, 0x01); /* A20 off: it stays on */
    assert_int_equal(f->request, MACHINE_NONE);
    outb(f, 0x64, 0xd0);
    assert_answer(0x01, 0x03);
    outb(f, 0x64, 0xd1);
    outb(f, 0x60, 0x02);
    assert_int_equal(f->request, MACHINE_RESET);
}

static void port_92_does_too(void **state)
{
    (void)state;
    assert_int_equal(inb(f, 0x92), 0x02);
    outb(f, 0x92, 0x00);
    assert_int_equal(inb(f, 0x92), 0x02);
    outb(f, 0x92, 0x03);
    assert_int_equal(f->request, MACHINE_RESET);
    f->request = MACHINE_NONE;
    outb(f, 0x92, 0x03); /* the bit has to rise */
    assert_int_equal(f->request, MACHINE_NONE);
    fake_machine_reset(f);
    outb(f, 0x92, 0x01);
    assert_int_equal(f->request, MACHINE_RESET);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(commands_are_answered), CASE(the_command_byte), CASE(devices_do_not_answer),
        CASE(it_resets_the_machine), CASE(port_92_does_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
