/* SPDX-License-Identifier: MIT */
/*
 * The PIC against a model that keeps its priorities as a list and looks through it: random lines,
 * commands, masks, polls and acknowledgements.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support/fake_machine.h"
#include "support/rng.h"

#define STEPS 200000
#define NOBODY (-1)

typedef struct Model {
    int order[8]; /* inputs, the first first */
    bool line[8], edge[8], level[8], masked[8], served[8];
    unsigned vector, next_icw;
    bool wants_icw4, single, auto_eoi, auto_rotate, special_mask, special_nested;
    bool shows_isr, polled, is_master;
} Model;

static Model models[2];
static FakeMachine *f;

static bool wanted(const Model *c, int i)
{
    return c->level[i] ? c->line[i] : c->edge[i];
}

static int model_pending(const Model *c)
{
    for (int place = 0; place < 8 && !c->next_icw; place++) {
        int i = c->order[place];
        bool cascade = c->is_master && i == 2;
        if (c->served[i] && !(c->special_mask && c->masked[i])) {
            return c->special_nested && cascade && wanted(c, i) && !c->masked[i] ? i : NOBODY;
        }
        if (wanted(c, i) && !c->masked[i]) {
            return i;
        }
    }
    return NOBODY;
}

static void model_line(Model *c, int i, bool level)
{
    if (level && !c->line[i] && !c->level[i]) {
        c->edge[i] = true;
    }
    c->line[i] = level;
}

static void cascade(void)
{
    model_line(&models[0], 2, model_pending(&models[1]) != NOBODY);
}

/* Make @last the last: turn the list until it is. */
static void rotate_to(Model *c, int last)
{
    while (c->order[7] != last) {
        int first = c->order[0];
        memmove(c->order, c->order + 1, 7 * sizeof(int));
        c->order[7] = first;
    }
}

static int model_acknowledge(Model *c)
{
    int i = model_pending(c);

    if (i != NOBODY) {
        c->edge[i] = false;
        c->served[i] = !c->auto_eoi;
        if (c->auto_eoi && c->auto_rotate) {
            rotate_to(c, i);
        }
    }
    return i;
}

static unsigned model_vector(void)
{
    Model *c = &models[0];
    int i = model_acknowledge(c);

    if (i == 2) {
        c = &models[1];
        i = model_acknowledge(c);
    }
    cascade();
    return c->vector + (i == NOBODY ? 7U : (unsigned)i);
}

static void model_start(Model *c, unsigned icw1)
{
    bool level[8], line[8], master = c->is_master;
    unsigned vector = c->vector;

    memcpy(level, c->level, sizeof(level));
    memcpy(line, c->line, sizeof(line));
    *c = (Model){.order = {0, 1, 2, 3, 4, 5, 6, 7}, .vector = vector, .is_master = master};
    memcpy(c->level, level, sizeof(level));
    memcpy(c->line, line, sizeof(line));
    c->wants_icw4 = icw1 & 1;
    c->single = icw1 & 2;
    c->next_icw = 2;
}

static void model_end(Model *c, bool specific, int i, bool rotate)
{
    for (int place = 0; place < 8 && !specific; place++) {
        int at = c->order[place];
        if (c->served[at] && !(c->special_mask && c->masked[at])) {
            i = at;
            specific = true;
        }
    }
    if (specific) {
        c->served[i] = false;
        if (rotate) {
            rotate_to(c, i);
        }
    }
}

static void model_command(Model *c, unsigned value)
{
    int i = (int)value & 7;

    if (value & 0x10) {
        model_start(c, value);
        return;
    }
    if (value & 0x08) {
        c->special_mask = (value & 0x60) == 0x60   ? true
                          : (value & 0x60) == 0x40 ? false
                                                   : c->special_mask;
        c->polled = value & 4;
        c->shows_isr = (value & 3) == 3 ? true : (value & 3) == 2 ? false : c->shows_isr;
        return;
    }
    switch (value >> 5) {
    case 0:
    case 4:
        c->auto_rotate = value >> 5 == 4;
        break;
    case 1:
    case 5:
        model_end(c, false, 0, value >> 5 == 5);
        break;
    case 3:
    case 7:
        model_end(c, true, i, value >> 5 == 7);
        break;
    case 6:
        rotate_to(c, i);
        break;
    default:
        break;
    }
}

static void model_data(Model *c, unsigned value)
{
    switch (c->next_icw) {
    case 0:
        for (int i = 0; i < 8; i++) {
            c->masked[i] = value >> i & 1;
        }
        break;
    case 2:
        c->vector = value / 8 * 8;
        c->next_icw = !c->single ? 3 : c->wants_icw4 ? 4 : 0;
        break;
    case 3:
        c->next_icw = c->wants_icw4 ? 4 : 0;
        break;
    default:
        c->auto_eoi = value & 2;
        c->special_nested = value & 0x10;
        c->next_icw = 0;
    }
}

static unsigned bits(const bool *set)
{
    unsigned value = 0;

    for (int i = 0; i < 8; i++) {
        value |= (unsigned)set[i] << i;
    }
    return value;
}

static unsigned model_read(Model *c, bool data)
{
    if (c->polled) {
        c->polled = false;
        int i = model_acknowledge(c);
        cascade();
        return i == NOBODY ? 0 : 0x80U | (unsigned)i;
    }
    bool requested[8];
    for (int i = 0; i < 8; i++) {
        requested[i] = wanted(c, i);
    }
    return bits(data ? c->masked : c->shows_isr ? c->served : requested);
}

static void model_elcr(Model *c, unsigned value)
{
    for (int i = 0; i < 8; i++) {
        bool may = (c->is_master ? 0xf8 : 0xde) >> i & 1;
        c->level[i] = (may && value >> i & 1) || (c->is_master && i == 2);
        c->edge[i] &= !c->level[i];
    }
}

static void step(Rng *rng)
{
    unsigned which = rng_below(rng, 2), value = rng_below(rng, 256), what = rng_below(rng, 100);
    uint16_t port = which ? 0xa0 : 0x20;
    Model *c = &models[which];

    if (what < 40) {
        unsigned irq = rng_below(rng, 16);
        memory_system_lock(f->m.ms);
        pic_set_irq(f->m.pic, irq, value & 1);
        memory_system_unlock(f->m.ms);
        if (irq != 2) {
            model_line(&models[irq / 8], (int)irq % 8, value & 1);
        }
    } else if (what < 60 && f->interrupt) {
        memory_system_lock(f->m.ms);
        unsigned vector = pic_acknowledge(f->m.pic);
        memory_system_unlock(f->m.ms);
        assert_int_equal(vector, model_vector());
    } else if (what < 75) {
        value &= rng_percent(rng, 5) ? 0xff : 0xef; /* few beginnings */
        outb(f, port, value);
        model_command(c, value);
    } else if (what < 85) {
        value &= rng_percent(rng, 50) ? rng_below(rng, 256) : 0xff;
        outb(f, port + 1, value);
        model_data(c, value);
    } else if (what < 98) {
        assert_int_equal(inb(f, (uint16_t)(port + (value & 1))), model_read(c, value & 1));
    } else {
        outb(f, (uint16_t)(0x4d0 + which), value);
        model_elcr(c, value);
        assert_int_equal(inb(f, (uint16_t)(0x4d0 + which)), value & (which ? 0xde : 0xf8));
    }
    cascade();
    assert_int_equal(f->interrupt, model_pending(&models[0]) != NOBODY);
}

static void it_does_as_the_model(void **state)
{
    Rng rng = {2024};

    (void)state;
    f = fake_machine_start();
    MAKE(pic_create(&f->m));
    for (int i = 0; i < 2; i++) {
        models[i].is_master = i == 0;
        model_start(&models[i], 0);
        models[i].next_icw = 0;
        model_elcr(&models[i], 0);
    }
    for (unsigned i = 0; i < STEPS; i++) {
        step(&rng);
    }
    fake_machine_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_does_as_the_model)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
