/* SPDX-License-Identifier: MIT */
/* The 8254: what counters show, when outputs change, when IRQ 0 comes, port 0x61. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support/fake_machine.h"

#define HZ 1193182

static FakeMachine *f;
static int64_t tick; /* since the start */

/* To the middle of a tick, so that rounding is no matter. */
static void to_tick(int64_t to)
{
    int64_t ns = (int64_t)(((__int128)to * 2 + 1) * SECOND / (2 * HZ));

    assert_true(ns >= f->now);
    tick = to;
    fake_machine_run(f, ns - f->now);
}

static void ticks(int64_t n)
{
    to_tick(tick + n);
}

static unsigned read16(uint16_t port)
{
    unsigned low = inb(f, port);

    return low | (unsigned)inb(f, port) << 8;
}

static unsigned latched(unsigned counter)
{
    outb(f, 0x43, counter << 6);
    return read16((uint16_t)(0x40 + counter));
}

static unsigned status(unsigned counter)
{
    outb(f, 0x43, 0xe0 | 2U << counter);
    return inb(f, (uint16_t)(0x40 + counter));
}

static bool out(unsigned counter)
{
    return status(counter) & 0x80;
}

static void program(unsigned counter, unsigned control, unsigned count)
{
    outb(f, 0x43, counter << 6 | control);
    outb(f, (uint16_t)(0x40 + counter), count);
    outb(f, (uint16_t)(0x40 + counter), count >> 8);
}

static int setup(void **state)
{
    (void)state;
    f = fake_machine_start();
    MAKE(pit_create(&f->m));
    fake_machine_reset(f);
    to_tick(10);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_machine_end(f);
    return 0;
}

static void mode_0_ends_once(void **state)
{
    (void)state;
    program(0, 0x30, 1000);
    assert_false(out(0));
    assert_int_equal(status(0) & 0x7f,
                     0x70); /* null count: it is not loaded before the next tick */
    ticks(1);
    assert_int_equal(latched(0), 1000);
    assert_int_equal(status(0), 0x30);
    ticks(400);
    assert_int_equal(latched(0), 600);
    unsigned before = f->rises[0];
    ticks(599);
    assert_false(out(0));
    assert_int_equal(f->rises[0], before);
    ticks(1); /* N + 1 after it was written */
    assert_true(out(0));
    assert_int_equal(f->rises[0], before + 1);
    assert_true(f->irq[0]);
    ticks(5);
    assert_int_equal(latched(0), 0xfffb); /* and counts on */
    ticks(200000);
    assert_int_equal(f->rises[0], before + 1);
}

static void mode_2_comes_again(void **state)
{
    (void)state;
    program(0, 0x34, 100);
    ticks(1);
    unsigned before = f->rises[0];
    assert_int_equal(latched(0), 100);
    ticks(98);
    assert_int_equal(latched(0), 2);
    assert_true(out(0));
    ticks(1);
    assert_int_equal(latched(0), 1);
    assert_false(out(0));
    ticks(1);
    assert_int_equal(latched(0), 100);
    assert_true(out(0));
    assert_int_equal(f->rises[0], before + 1);
    for (int i = 0; i < 9; i++) {
        ticks(100);
    }
    assert_int_equal(f->rises[0], before + 10);
}

static void a_second_has_18_2_of_the_longest(void **state)
{
    (void)state;
    program(0, 0x34, 0);
    unsigned before = f->rises[0];
    fake_machine_run(f, 100 * SECOND);
    assert_in_range(f->rises[0] - before, 1819, 1821);
}

static void a_new_count_waits_for_the_period(void **state)
{
    (void)state;
    program(0, 0x34, 100);
    ticks(1 + 30);
    unsigned before = f->rises[0];
    outb(f, 0x40, 50);
    outb(f, 0x40, 0);
    assert_int_equal(status(0) & 0x40, 0x40);
    assert_int_equal(latched(0), 70);
    ticks(69);
    assert_int_equal(latched(0), 1);
    ticks(1);
    assert_int_equal(latched(0), 50);
    assert_int_equal(f->rises[0], before + 1);
    assert_int_equal(status(0) & 0x40, 0);
    ticks(50);
    assert_int_equal(f->rises[0], before + 2);
}

static void mode_3_is_square(void **state)
{
    static const unsigned shown[] = {4, 2, 0, 4, 2}, high[] = {1, 1, 1, 0, 0};

    (void)state;
    program(0, 0x36, 5);
    ticks(1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(latched(0), shown[i % 5]);
        assert_int_equal(out(0), high[i % 5]);
        ticks(1);
    }
    program(0, 0x36, 100);
    ticks(1 + 10);
    outb(f, 0x40, 40); /* taken at the end of the half */
    outb(f, 0x40, 0);
    ticks(39);
    assert_true(out(0));
    ticks(1);
    assert_false(out(0));
    ticks(19);
    assert_false(out(0));
    ticks(1);
    assert_true(out(0));
    ticks(20);
    assert_false(out(0));
}

static void mode_1_waits_for_its_gate(void **state)
{
    (void)state;
    program(2, 0x32, 20);
    ticks(50);
    assert_true(out(2));
    outb(f, 0x61, 1);
    ticks(1);
    assert_false(out(2));
    ticks(10);
    outb(f, 0x61, 0); /* falling does nothing */
    outb(f, 0x61, 1); /* rising begins anew */
    ticks(1 + 19);
    assert_false(out(2));
    ticks(1);
    assert_true(out(2));
}

static void mode_4_and_5_strobe(void **state)
{
    (void)state;
    outb(f, 0x61, 1);
    program(2, 0x38, 10);
    ticks(1 + 9);
    assert_true(out(2));
    ticks(1);
    assert_false(out(2));
    ticks(1);
    assert_true(out(2));
    program(2, 0x3a, 10);
    ticks(30);
    assert_true(out(2));
    outb(f, 0x61, 0);
    outb(f, 0x61, 1);
    ticks(1 + 10);
    assert_false(out(2));
    ticks(1);
    assert_true(out(2));
}

static void the_gate_stops_mode_0(void **state)
{
    (void)state;
    outb(f, 0x61, 1);
    program(2, 0x30, 100);
    ticks(1 + 40);
    outb(f, 0x61, 0);
    ticks(1000);
    assert_int_equal(latched(2), 60);
    outb(f, 0x61, 1);
    ticks(59);
    assert_int_equal(inb(f, 0x61) & 0x21, 0x01);
    ticks(1);
    assert_int_equal(inb(f, 0x61) & 0x21, 0x21); /* as firmware measures the CPU's clock */
}

static void latches_hold(void **state)
{
    (void)state;
    program(0, 0x34, 1000);
    ticks(1 + 100);
    outb(f, 0x43, 0x00);
    ticks(100);
    outb(f, 0x43, 0x00); /* the second is not taken */
    assert_int_equal(read16(0x40), 900);
    assert_int_equal(read16(0x40), 800);
    outb(f, 0x43, 0xc2); /* count and status */
    ticks(10);
    assert_int_equal(inb(f, 0x40), 0xb4);
    assert_int_equal(read16(0x40), 800);
    assert_int_equal(read16(0x40), 790);
    outb(f, 0x43, 0x14); /* low byte only */
    outb(f, 0x40, 200);
    ticks(1 + 50);
    assert_int_equal(inb(f, 0x40), 150);
    outb(f, 0x43, 0x24); /* high byte only */
    outb(f, 0x40, 2);
    ticks(1);
    assert_int_equal(inb(f, 0x40), 2);
}

static void bcd_counts_to_10000(void **state)
{
    (void)state;
    program(0, 0x31, 0x1234);
    ticks(1);
    assert_int_equal(latched(0), 0x1234);
    ticks(235);
    assert_int_equal(latched(0), 0x0999);
    ticks(1000);
    assert_int_equal(latched(0), 0x9999);
    program(0, 0x35, 0);
    ticks(1 + 1);
    assert_int_equal(latched(0), 0x9999);
}

static void port_61(void **state)
{
    unsigned toggles = 0;

    (void)state;
    assert_int_equal(inb(f, 0x61) & 0xe3, 0x20);
    outb(f, 0x61, 0xff);
    assert_int_equal(inb(f, 0x61) & 0xcf, 0x0f);
    for (unsigned i = 0, last = 0; i < 66288 / 18; i++) {
        unsigned now = inb(f, 0x61) & 0x10;
        toggles += now != last;
        last = now;
        ticks(18);
    }
    assert_in_range(toggles, 66288 / 18 - 2, 66288 / 18);
}

static void no_count_floods_the_loop(void **state)
{
    (void)state;
    for (unsigned count = 1; count < 4; count++) {
        for (unsigned mode = 0; mode < 8; mode++) {
            program(0, 0x30 | mode << 1, count);
            unsigned long before = f->fired;
            fake_machine_run(f, 10 * MS);
            assert_in_range(f->fired - before, 0, 501);
        }
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(mode_0_ends_once),
        CASE(mode_2_comes_again),
        CASE(a_second_has_18_2_of_the_longest),
        CASE(a_new_count_waits_for_the_period),
        CASE(mode_3_is_square),
        CASE(mode_1_waits_for_its_gate),
        CASE(mode_4_and_5_strobe),
        CASE(the_gate_stops_mode_0),
        CASE(latches_hold),
        CASE(bcd_counts_to_10000),
        CASE(port_61),
        CASE(no_count_floods_the_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
