/* SPDX-License-Identifier: MIT */
/* The 8259As, as their data sheet has them: initialisation, priorities, masks, ends, polling. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support/fake_machine.h"

#define MASTER 0x20
#define SLAVE 0xa0

static FakeMachine *f;

static void set_irq(unsigned irq, bool level)
{
    memory_system_lock(f->m.ms);
    pic_set_irq(f->m.pic, irq, level);
    memory_system_unlock(f->m.ms);
}

static void pulse(unsigned irq)
{
    set_irq(irq, true);
    set_irq(irq, false);
}

static unsigned acknowledge(void)
{
    memory_system_lock(f->m.ms);
    unsigned vector = pic_acknowledge(f->m.pic);
    memory_system_unlock(f->m.ms);
    return vector;
}

static void initialise(unsigned icw4)
{
    outb(f, MASTER, 0x11);
    outb(f, MASTER + 1, 0x20);
    outb(f, MASTER + 1, 0x04);
    outb(f, MASTER + 1, icw4);
    outb(f, SLAVE, 0x11);
    outb(f, SLAVE + 1, 0x28);
    outb(f, SLAVE + 1, 0x02);
    outb(f, SLAVE + 1, 0x01);
}

static int setup(void **state)
{
    (void)state;
    f = fake_machine_start();
    MAKE(pic_create(&f->m));
    fake_machine_reset(f);
    initialise(0x01);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_machine_end(f);
    return 0;
}

static void an_edge_is_served_once(void **state)
{
    (void)state;
    set_irq(4, true);
    assert_true(f->interrupt);
    assert_int_equal(inb(f, MASTER), 0x10);
    assert_int_equal(acknowledge(), 0x24);
    assert_false(f->interrupt);
    assert_int_equal(inb(f, MASTER), 0);
    outb(f, MASTER, 0x0b); /* read ISR */
    assert_int_equal(inb(f, MASTER), 0x10);
    set_irq(4, false);
    set_irq(4, true); /* a second one waits for the end of the first */
    assert_false(f->interrupt);
    outb(f, MASTER, 0x20);
    assert_int_equal(inb(f, MASTER), 0);
    assert_true(f->interrupt);
    assert_int_equal(acknowledge(), 0x24);
    outb(f, MASTER, 0x64); /* specific */
    assert_false(f->interrupt);
    outb(f, MASTER, 0x0a); /* read IRR */
    assert_int_equal(inb(f, MASTER), 0);
}

static void a_level_asks_again(void **state)
{
    (void)state;
    outb(f, 0x4d1, 0xff);
    assert_int_equal(inb(f, 0x4d1), 0xde);
    outb(f, 0x4d0, 0xff);
    assert_int_equal(inb(f, 0x4d0), 0xf8);
    set_irq(11, true);
    assert_int_equal(acknowledge(), 0x2b);
    outb(f, SLAVE, 0x20);
    outb(f, MASTER, 0x20);
    assert_true(f->interrupt);
    set_irq(11, false);
    assert_false(f->interrupt);
    outb(f, SLAVE, 0x0a);
    assert_int_equal(inb(f, SLAVE), 0);
}

static void an_edge_is_no_level(void **state)
{
    (void)state;
    pulse(5);
    outb(f, 0x4d0, 0x20); /* level triggered from now on: the line is low */
    assert_false(f->interrupt);
    outb(f, 0x4d0, 0x00);
    assert_false(f->interrupt);
}

static void what_went_away_is_spurious(void **state)
{
    (void)state;
    outb(f, 0x4d0, 0x20);
    set_irq(5, true);
    set_irq(5, false);
    assert_int_equal(acknowledge(), 0x27);
    outb(f, MASTER, 0x0b);
    assert_int_equal(inb(f, MASTER), 0); /* nothing is in service */
}

static void priorities_nest(void **state)
{
    (void)state;
    pulse(3);
    assert_int_equal(acknowledge(), 0x23);
    pulse(5);
    assert_false(f->interrupt);
    pulse(1);
    assert_int_equal(acknowledge(), 0x21);
    pulse(0);
    assert_int_equal(acknowledge(), 0x20);
    outb(f, MASTER, 0x20);
    outb(f, MASTER, 0x20);
    assert_false(f->interrupt);
    outb(f, MASTER, 0x20);
    assert_int_equal(acknowledge(), 0x25);
}

static void masks_hold_back(void **state)
{
    (void)state;
    outb(f, MASTER + 1, 0x10);
    assert_int_equal(inb(f, MASTER + 1), 0x10);
    pulse(4);
    assert_false(f->interrupt);
    assert_int_equal(inb(f, MASTER), 0x10);
    outb(f, MASTER + 1, 0x00);
    assert_int_equal(acknowledge(), 0x24);
}

static void the_slave_goes_through_input_2(void **state)
{
    (void)state;
    pulse(12);
    assert_int_equal(inb(f, MASTER), 0x04);
    assert_int_equal(acknowledge(), 0x2c);
    pulse(9); /* more urgent, but the master is busy with its input 2 */
    assert_false(f->interrupt);
    outb(f, MASTER, 0x20);
    assert_true(f->interrupt);
    assert_int_equal(acknowledge(), 0x29);
    outb(f, SLAVE, 0x20);
    outb(f, MASTER, 0x20);
    outb(f, SLAVE, 0x20);
    assert_false(f->interrupt);
    pulse(2); /* not wired */
    assert_false(f->interrupt);
}

static void special_nesting_lets_the_slave_in(void **state)
{
    (void)state;
    initialise(0x11);
    pulse(12);
    assert_int_equal(acknowledge(), 0x2c);
    pulse(14);
    assert_false(f->interrupt);
    pulse(9);
    assert_int_equal(acknowledge(), 0x29);
}

static void rotation_makes_the_served_one_last(void **state)
{
    (void)state;
    pulse(1);
    acknowledge();
    outb(f, MASTER, 0xa0); /* rotate on non-specific end: now 2 is first, 1 is last */
    pulse(1);
    pulse(7);
    assert_int_equal(acknowledge(), 0x27);
    outb(f, MASTER, 0xe7); /* rotate on specific end: 0 first */
    assert_int_equal(acknowledge(), 0x21);
    outb(f, MASTER, 0x20);
    outb(f, MASTER, 0xc3); /* 3 is last: 4 first */
    pulse(0);
    pulse(4);
    assert_int_equal(acknowledge(), 0x24);
    outb(f, MASTER, 0x20);
    assert_int_equal(acknowledge(), 0x20);
}

static void automatic_ends(void **state)
{
    (void)state;
    initialise(0x03);
    outb(f, MASTER, 0x80); /* rotating */
    pulse(3);
    assert_int_equal(acknowledge(), 0x23);
    outb(f, MASTER, 0x0b);
    assert_int_equal(inb(f, MASTER), 0);
    pulse(3);
    pulse(4);
    assert_int_equal(acknowledge(), 0x24);
    assert_int_equal(acknowledge(), 0x23);
}

static void special_mask_opens_lower_ones(void **state)
{
    (void)state;
    pulse(1);
    acknowledge();
    pulse(6);
    assert_false(f->interrupt);
    outb(f, MASTER, 0x68); /* special mask mode */
    assert_false(f->interrupt);
    outb(f, MASTER + 1, 0x02);
    assert_int_equal(acknowledge(), 0x26);
    outb(f, MASTER, 0x20); /* ends 6, not the masked 1 */
    outb(f, MASTER, 0x0b);
    assert_int_equal(inb(f, MASTER), 0x02);
    outb(f, MASTER, 0x48); /* and back */
    pulse(6);
    assert_false(f->interrupt);
}

static void polling_acknowledges(void **state)
{
    (void)state;
    outb(f, MASTER, 0x0c);
    assert_int_equal(inb(f, MASTER), 0);
    pulse(6);
    outb(f, MASTER, 0x0c);
    assert_int_equal(inb(f, MASTER), 0x86);
    assert_false(f->interrupt);
    assert_int_equal(inb(f, MASTER), 0); /* IRR again */
    outb(f, MASTER, 0x0b);
    assert_int_equal(inb(f, MASTER), 0x40);
}

static void initialisation_forgets(void **state)
{
    (void)state;
    pulse(3);
    outb(f, MASTER + 1, 0xff);
    outb(f, MASTER, 0x10); /* no ICW4 */
    assert_int_equal(inb(f, MASTER + 1), 0);
    pulse(6);
    assert_false(f->interrupt); /* not complete */
    outb(f, MASTER + 1, 0x47);
    outb(f, MASTER + 1, 0x04);
    assert_int_equal(acknowledge(), 0x46);
    outb(f, MASTER + 1, 0x55); /* a mask, not an ICW */
    assert_int_equal(inb(f, MASTER + 1), 0x55);
    outb(f, SLAVE, 0x12); /* single: no ICW3 */
    outb(f, SLAVE + 1, 0x70);
    outb(f, SLAVE + 1, 0x01);
    assert_int_equal(inb(f, SLAVE + 1), 0x01);
}

static void reset_keeps_lines_only(void **state)
{
    (void)state;
    outb(f, 0x4d0, 0x20);
    set_irq(5, true);
    pulse(4);
    assert_true(f->interrupt);
    fake_machine_reset(f);
    assert_false(f->interrupt);
    assert_int_equal(inb(f, 0x4d0), 0);
    initialise(0x01);
    assert_false(f->interrupt);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(an_edge_is_served_once),
        CASE(a_level_asks_again),
        CASE(an_edge_is_no_level),
        CASE(what_went_away_is_spurious),
        CASE(priorities_nest),
        CASE(masks_hold_back),
        CASE(the_slave_goes_through_input_2),
        CASE(special_nesting_lets_the_slave_in),
        CASE(rotation_makes_the_served_one_last),
        CASE(automatic_ends),
        CASE(special_mask_opens_lower_ones),
        CASE(polling_acknowledges),
        CASE(initialisation_forgets),
        CASE(reset_keeps_lines_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
