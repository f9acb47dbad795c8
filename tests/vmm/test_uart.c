/* SPDX-License-Identifier: MIT */
/* The 16550A: FIFOs and their interrupts, loopback, modem lines, and a chardev held back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support/fake_machine.h"

#define PORT 0x3f8
enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };
#define CHARACTER (10 * SECOND / 115200)

static FakeMachine *f;

static unsigned in(unsigned reg)
{
    return inb(f, (uint16_t)(PORT + reg));
}

static void out(unsigned reg, unsigned value)
{
    outb(f, (uint16_t)(PORT + reg), value);
}

/* 115200 8n1, interrupts let out. */
static void initialise(unsigned fcr, unsigned ier)
{
    out(LCR, 0x83);
    out(DATA, 1);
    out(IER, 0);
    out(LCR, 0x03);
    out(IIR, fcr);
    out(MCR, 0x0b);
    out(IER, ier);
}

static int setup(void **state)
{
    (void)state;
    f = fake_machine_start();
    MAKE(uart_create(&f->m, &f->chr, PORT, 4));
    fake_machine_reset(f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_machine_end(f);
    return 0;
}

static void as_reset_leaves_it(void **state)
{
    static const unsigned registers[] = {0, 0, 1, 0, 0, 0x60, 0xb0, 0};

    (void)state;
    initialise(0xc1, 0x0f);
    out(SCR, 0x5a);
    fake_chardev_type(f, "x");
    fake_machine_reset(f);
    for (unsigned i = 1; i < 8; i++) {
        assert_int_equal(in(i), registers[i]);
    }
    assert_false(f->irq[4]);
    out(LCR, 0x80);
    assert_int_equal(in(DATA), 12);
    assert_int_equal(in(IER), 0);
}

static void registers_hold(void **state)
{
    (void)state;
    out(SCR, 0xa5);
    assert_int_equal(in(SCR), 0xa5);
    out(LCR, 0x80);
    out(DATA, 0x34);
    out(IER, 0x12);
    assert_int_equal(in(DATA), 0x34);
    assert_int_equal(in(IER), 0x12);
    out(LCR, 0x1b);
    assert_int_equal(in(LCR), 0x1b);
    out(IER, 0xff);
    assert_int_equal(in(IER), 0x0f);
    out(MCR, 0xff);
    assert_int_equal(in(MCR), 0x1f);
    assert_int_equal(f->chr.nr_sent, 0);
}

static void bytes_are_sent(void **state)
{
    (void)state;
    initialise(0x01, 0);
    for (const char *c = "hello"; *c; c++) {
        assert_int_equal(in(LSR)&0x60, 0x60);
        out(DATA, (unsigned char)*c);
    }
    assert_int_equal(f->chr.nr_sent, 5);
    assert_memory_equal(f->chr.sent, "hello", 5);
}

static void an_empty_transmitter_interrupts(void **state)
{
    (void)state;
    initialise(0x01, 0);
    assert_false(f->irq[4]);
    out(IER, 0x02); /* it is empty already */
    assert_true(f->irq[4]);
    assert_int_equal(in(IIR), 0xc2);
    assert_false(f->irq[4]);
    assert_int_equal(in(IIR), 0xc1);
    out(DATA, 'a');
    assert_true(f->irq[4]);
    unsigned before = f->rises[4];
    out(DATA, 'b'); /* an edge each */
    assert_int_equal(f->rises[4], before + 1);
    out(MCR, 0x03); /* OUT2 */
    assert_false(f->irq[4]);
    out(MCR, 0x0b);
    assert_true(f->irq[4]);
}

static void the_fifo_has_a_trigger(void **state)
{
    static const unsigned triggers[] = {1, 4, 8, 14};

    (void)state;
    for (unsigned t = 0; t < 4; t++) {
        initialise(0x07 | t << 6, 0x01);
        for (unsigned i = 1; i <= 16; i++) {
            fake_chardev_type(f, "x");
            assert_int_equal(f->irq[4], i >= triggers[t]);
            assert_int_equal(in(IIR), i >= triggers[t] ? 0xc4 : 0xc1);
        }
        for (unsigned i = 16; i-- > 0;) {
            assert_int_equal(in(LSR)&1, 1);
            assert_int_equal(in(DATA), 'x');
            assert_int_equal(f->irq[4], i >= triggers[t]);
        }
        assert_int_equal(in(LSR), 0x60);
    }
}

static void what_waits_times_out(void **state)
{
    (void)state;
    initialise(0xc1, 0x01);
    fake_chardev_type(f, "ab");
    fake_machine_run(f, 4 * CHARACTER - US);
    assert_false(f->irq[4]);
    fake_machine_run(f, 2 * US);
    assert_true(f->irq[4]);
    assert_int_equal(in(IIR), 0xcc);
    assert_int_equal(in(DATA), 'a');
    assert_false(f->irq[4]);
    fake_machine_run(f, 4 * CHARACTER + US);
    assert_int_equal(in(IIR), 0xcc);
    assert_int_equal(in(DATA), 'b');
    fake_machine_run(f, SECOND);
    assert_int_equal(in(IIR), 0xc1);
    fake_chardev_type(f, "c");
    out(IIR, 0xc3); /* cleared */
    fake_machine_run(f, SECOND);
    assert_int_equal(in(IIR), 0xc1);
    assert_int_equal(in(LSR), 0x60);
}

static void the_chardev_is_held_back(void **state)
{
    static const char text[] = "abcdefghijklmnopqrstuvwxyz";

    (void)state;
    initialise(0x01, 0);
    fake_chardev_type(f, text);
    assert_int_equal(f->chr.nr_typed, 10);
    for (const char *c = text; *c; c++) {
        assert_int_equal(in(DATA), *c);
    }
    assert_int_equal(f->chr.nr_typed, 0);
    assert_int_equal(in(LSR), 0x60);
    out(IIR, 0x00);
    fake_chardev_type(f, text);
    assert_int_equal(f->chr.nr_typed, 25); /* one */
    assert_int_equal(in(IIR), 0x01);
    for (const char *c = text; *c; c++) {
        assert_int_equal(in(DATA), *c);
    }
}

static void loopback(void **state)
{
    (void)state;
    initialise(0x01, 0x07);
    in(IIR);
    out(MCR, 0x18);
    fake_chardev_type(f, "z"); /* the line is cut */
    out(DATA, 'a');
    out(DATA, 'b');
    assert_int_equal(f->chr.nr_sent, 0);
    assert_int_equal(in(IIR), 0xc4);
    assert_int_equal(in(DATA), 'a');
    assert_int_equal(in(DATA), 'b');
    assert_int_equal(in(IIR), 0xc2);
    for (unsigned i = 0; i < 17; i++) {
        out(DATA, i);
    }
    assert_int_equal(in(IIR), 0xc6); /* overrun */
    assert_int_equal(in(LSR), 0x63);
    assert_int_equal(in(LSR), 0x61);
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(in(DATA), i);
    }
    out(MCR, 0x0b);
    assert_int_equal(in(DATA), 'z');
    initialise(0x00, 0);
    out(MCR, 0x10);
    out(DATA, 1);
    out(DATA, 2); /* without a FIFO the newer one is kept */
    assert_int_equal(in(DATA), 2);
}

static void modem_lines(void **state)
{
    (void)state;
    assert_int_equal(in(MSR), 0xb0);
    out(MCR, 0x10);
    assert_int_equal(in(MSR), 0x0b);
    assert_int_equal(in(MSR), 0x00);
    out(MCR, 0x11);
    assert_int_equal(in(MSR), 0x22);
    out(MCR, 0x12);
    assert_int_equal(in(MSR), 0x13);
    out(MCR, 0x14);
    assert_int_equal(in(MSR), 0x41); /* a beginning ring does not count */
    out(MCR, 0x18);
    assert_int_equal(in(MSR), 0x8c); /* its end does */
    out(IER, 0x08);
    assert_int_equal(in(IIR), 0x01);
    out(MCR, 0x19);
    assert_int_equal(in(IIR), 0x00);
    assert_true(f->irq[4]);
    in(MSR);
    assert_false(f->irq[4]);
    assert_int_equal(in(IIR), 0x01);
}

static void priorities(void **state)
{
    (void)state;
    initialise(0x01, 0x0f);
    out(MCR, 0x1b);
    out(MCR, 0x18);
    for (unsigned i = 0; i < 17; i++) {
        out(DATA, i);
    }
    assert_int_equal(in(IIR), 0xc6);
    in(LSR);
    assert_int_equal(in(IIR), 0xc4);
    for (unsigned i = 0; i < 16; i++) {
        in(DATA);
    }
    assert_int_equal(in(IIR), 0xc2);
    assert_int_equal(in(IIR), 0xc0);
    in(MSR);
    assert_int_equal(in(IIR), 0xc1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(as_reset_leaves_it),
        CASE(registers_hold),
        CASE(bytes_are_sent),
        CASE(an_empty_transmitter_interrupts),
        CASE(the_fifo_has_a_trigger),
        CASE(what_waits_times_out),
        CASE(the_chardev_is_held_back),
        CASE(loopback),
        CASE(modem_lines),
        CASE(priorities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
