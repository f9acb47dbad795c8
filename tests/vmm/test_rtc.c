/* SPDX-License-Identifier: MIT */
/* The MC146818: the time in its forms, setting it, its three interrupts, what reset keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support/fake_machine.h"
#define A 10
#define B 11
#define C 12
#define D 13
#define CENTURY 0x32

static FakeMachine *f;

static unsigned get(unsigned index)
{
    outb(f, 0x70, index);
    return inb(f, 0x71);
}

/* C without the periodic flag, which comes and goes all the time. */
static unsigned get_c(void)
{
    return get(C) & 0xbf;
}

static void set(unsigned index, unsigned value)
{
    outb(f, 0x70, index);
    outb(f, 0x71, value);
}

/* year month day hour minute second, as the registers have them */
static void assert_time(unsigned century, unsigned year, unsigned month, unsigned day,
                        unsigned hour, unsigned minute, unsigned second)
{
    assert_int_equal(get(CENTURY), century);
    assert_int_equal(get(9), year);
    assert_int_equal(get(8), month);
    assert_int_equal(get(7), day);
    assert_int_equal(get(4), hour);
    assert_int_equal(get(2), minute);
    assert_int_equal(get(0), second);
}

static int setup(void **state)
{
    (void)state;
    f = fake_machine_start();
    f->host_epoch = INT64_C(1709164799) * SECOND; /* 2024-02-28 23:59:59, a Wednesday */
    MAKE(rtc_create(&f->m));
    fake_machine_reset(f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_machine_end(f);
    return 0;
}

static void it_shows_the_hosts_time(void **state)
{
    (void)state;
    assert_int_equal(get(A), 0x26);
    assert_int_equal(get(B), 0x02);
    assert_int_equal(get(D), 0x80);
    assert_time(0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x59);
    assert_int_equal(get(6), 4);
    fake_machine_run(f, SECOND);
    assert_time(0x20, 0x24, 0x02, 0x29, 0x00, 0x00, 0x00);
    assert_int_equal(get(6), 5);
    assert_int_equal(inb(f, 0x70), 0xff);
}

static void forms_of_the_time(void **state)
{
    (void)state;
    set(B, 0x06); /* binary */
    assert_time(0x20, 24, 2, 28, 23, 59, 59);
    set(B, 0x04); /* 12 hours */
    assert_int_equal(get(4), 0x80 | 11);
    set(B, 0x00);
    assert_int_equal(get(4), 0x91);
    fake_machine_run(f, SECOND);
    assert_int_equal(get(4), 0x12);
    fake_machine_run(f, 12 * 3600 * SECOND);
    assert_int_equal(get(4), 0x92);
    fake_machine_run(f, 3600 * SECOND);
    assert_int_equal(get(4), 0x81);
}

static void the_guest_sets_it(void **state)
{
    (void)state;
    fake_machine_run(f, 300 * MS);
    set(B, 0x82);
    fake_machine_run(f, 10 * SECOND);
    assert_int_equal(get(0), 0x59); /* stands still */
    set(CENTURY, 0x19);
    set(9, 0x99);
    set(8, 0x12);
    set(7, 0x31);
    set(4, 0x23);
    set(2, 0x59);
    set(0, 0x58);
    assert_int_equal(get(0), 0x58);
    set(B, 0x02);
    assert_time(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58);
    fake_machine_run(f, 699 * MS); /* SET leaves the divider alone */
    assert_int_equal(get(0), 0x58);
    fake_machine_run(f, 1 * MS);
    assert_int_equal(get(0), 0x59);
    fake_machine_run(f, SECOND);
    assert_time(0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00);
    fake_machine_reset(f);
    assert_time(0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00);
}

static void the_guest_sets_it_in_12_hours(void **state)
{
    (void)state;
    set(B, 0x80);
    set(4, 0x92); /* noon */
    set(B, 0x00);
    assert_int_equal(get(4), 0x92);
    set(B, 0x02);
    assert_int_equal(get(4), 0x12);
    set(B, 0x84);
    set(4, 12); /* midnight, binary; now they are all written anew */
    set(2, 0);
    set(0, 1);
    set(B, 0x04);
    assert_int_equal(get(4), 12);
    set(B, 0x06);
    assert_int_equal(get(4), 0);
    set(B, 0x00);
    set(5, 0x81); /* alarm at 1 PM */
    set(3, 0x00);
    set(1, 0x00);
    set(B, 0x20);
    fake_machine_run(f, (13 * 3600 - 1) * SECOND - 1);
    assert_false(f->irq[8]);
    fake_machine_run(f, 1);
    assert_true(f->irq[8]);
}

static void the_dividers_reset(void **state)
{
    (void)state;
    fake_machine_run(f, 900 * MS);
    set(A, 0x76);
    fake_machine_run(f, 10 * SECOND);
    assert_int_equal(get(0), 0x59);
    assert_int_equal(get(A) & 0x80, 0);
    set(A, 0x26); /* the first update is half a second later */
    fake_machine_run(f, 499 * MS);
    assert_int_equal(get(0), 0x59);
    assert_int_equal(get(A) & 0x80, 0x80);
    fake_machine_run(f, MS);
    assert_int_equal(get(0), 0x00);
}

static void a_single_register_at_a_time(void **state)
{
    (void)state;
    set(0, 0x10); /* without SET */
    assert_time(0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x10);
    set(4, 0x05);
    assert_time(0x20, 0x24, 0x02, 0x28, 0x05, 0x59, 0x10);
}

static void update_in_progress(void **state)
{
    (void)state;
    assert_int_equal(get(A) & 0x80, 0);
    fake_machine_run(f, SECOND - 2228 * US - 1);
    assert_int_equal(get(A) & 0x80, 0);
    fake_machine_run(f, 1);
    assert_int_equal(get(A) & 0x80, 0x80);
    set(B, 0x82);
    assert_int_equal(get(A) & 0x80, 0);
    set(B, 0x02);
    fake_machine_run(f, 2228 * US);
    assert_int_equal(get(A) & 0x80, 0);
}

static void update_ended_interrupts(void **state)
{
    (void)state;
    set(5, 0x77); /* no alarm */
    fake_machine_run(f, 3 * SECOND);
    assert_int_equal(get_c(), 0x10); /* the flag comes without the interrupt */
    assert_int_equal(get_c(), 0);
    assert_int_equal(f->rises[8], 0);
    set(B, 0x12);
    fake_machine_run(f, SECOND - 1);
    assert_false(f->irq[8]);
    fake_machine_run(f, 1);
    assert_true(f->irq[8]);
    fake_machine_run(f, 5 * SECOND);
    assert_int_equal(f->rises[8], 1); /* until it is read */
    assert_int_equal(get_c(), 0x90);
    assert_false(f->irq[8]);
    fake_machine_run(f, SECOND);
    assert_int_equal(f->rises[8], 2);
    set(B, 0x92); /* SET ends it */
    assert_int_equal(get(B), 0x82);
}

static void the_alarm(void **state)
{
    (void)state;
    set(1, 0x30);
    set(3, 0x02);
    set(5, 0x00);
    set(B, 0x22);
    fake_machine_run(f, 1 * SECOND + 149 * SECOND);
    assert_false(f->irq[8]);
    fake_machine_run(f, SECOND);
    assert_true(f->irq[8]);
    assert_int_equal(get_c(), 0xb0);
    set(5, 0xff); /* any hour */
    fake_machine_run(f, 3599 * SECOND);
    assert_false(f->irq[8]);
    fake_machine_run(f, SECOND);
    assert_true(f->irq[8]);
    get(C);
    set(3, 0xc0);
    set(1, 0xc0); /* any second */
    fake_machine_run(f, SECOND);
    assert_true(f->irq[8]);
    get(C);
    set(5, 0x77); /* never */
    fake_machine_run(f, 48 * 3600 * SECOND);
    assert_false(f->irq[8]);
    assert_int_equal(get_c(), 0x10);
}

static void periodic_interrupts(void **state)
{
    (void)state;
    set(B, 0x42);
    for (unsigned i = 0; i < 1024; i++) { /* 976.5625 us */
        fake_machine_run(f, SECOND / 1024);
        assert_int_equal(get(C) & 0x40, 0x40 * (i > 0 || f->rises[8]));
    }
    assert_in_range(f->rises[8], 1023, 1024);
    set(A, 0x2f); /* twice a second */
    get(C);
    unsigned before = f->rises[8];
    for (unsigned i = 0; i < 20; i++) {
        fake_machine_run(f, SECOND / 2);
        get(C);
    }
    assert_in_range(f->rises[8] - before, 19, 20);
    set(A, 0x20);
    before = f->rises[8];
    fake_machine_run(f, 10 * SECOND);
    assert_int_equal(f->rises[8], before);
}

static void memory_is_kept(void **state)
{
    (void)state;
    set(0x0f, 0xaa);
    set(0x7f, 0x55);
    set(0x80 | 0x40, 0x77); /* bit 7 is the NMI's */
    memory_system_lock(f->m.ms);
    rtc_set_cmos(f->m.rtc, 0x34, 0x12);
    memory_system_unlock(f->m.ms);
    set(B, 0x7a);
    fake_machine_reset(f);
    assert_int_equal(get(0x0f), 0xaa);
    assert_int_equal(get(0x7f), 0x55);
    assert_int_equal(get(0x40), 0x77);
    assert_int_equal(get(0x34), 0x12);
    assert_int_equal(get(B), 0x02); /* its interrupts are off */
    set(D, 0);
    assert_int_equal(get(D), 0x80);
}

static void a_host_that_sets_its_clock(void **state)
{
    (void)state;
    set(B, 0x12);
    f->host_epoch -= 100 * SECOND;
    fake_machine_run(f, 2 * SECOND);
    assert_int_equal(get(C) & 0x10, 0x10);
    assert_time(0x20, 0x24, 0x02, 0x28, 0x23, 0x58, 0x21);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(it_shows_the_hosts_time),
        CASE(forms_of_the_time),
        CASE(the_guest_sets_it),
        CASE(the_guest_sets_it_in_12_hours),
        CASE(the_dividers_reset),
        CASE(a_single_register_at_a_time),
        CASE(update_in_progress),
        CASE(update_ended_interrupts),
        CASE(the_alarm),
        CASE(periodic_interrupts),
        CASE(memory_is_kept),
        CASE(a_host_that_sets_its_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
