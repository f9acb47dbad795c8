/* SPDX-License-Identifier: MIT */
/*
 * The 8254 timer and the speaker's port 0x61.
 *
 * Nothing counts: what a counter shows follows from the time since it was loaded. Counter 0's
 * output is IRQ 0, counter 1 (refresh) is seen in bit 4 of port 0x61, counter 2 in bit 5, with
 * its gate in bit 0. There is no sound.
 */
#include "devices.h"

#include <errno.h>

#define PIT_HZ 1193182
/* IRQ 0 does not come more often, whatever the count: a guest may not keep the loop busy. */
#define MIN_INTERVAL 20000 /* ns */
#define REFRESH_TICKS 18   /* as BIOSes set counter 1 */

typedef struct Counter {
    uint8_t control; /* as written: access, mode, BCD */
    uint8_t mode;    /* 0 to 5 */
    bool gate;
    bool loaded;    /* has a count since the control word; modes 1 and 5: and a trigger */
    bool wrote_low; /* of two bytes */
    uint8_t low;    /* that byte */
    int64_t count;  /* ticks, 1 to 65536 */
    int64_t start;  /* tick at which count was in the counter */
    int64_t frozen; /* tick at which the gate stopped it */
    bool pending;   /* the count written is not in the counter yet: */
    int64_t next_count;
    int64_t switch_at;  /* tick; -1: at the next trigger */
    int64_t next_start; /* start from then on */
    int64_t rises;      /* of the output since start, as far as they were told */
    unsigned read_left; /* bytes of a two-byte read, or of a latched count, still to come */
    bool count_latched, status_latched;
    uint16_t latch;
    uint8_t status;
} Counter;

typedef struct Pit {
    Device device;
    MemoryRegion ports, speaker_port;
    Counter counters[3];
    uint8_t speaker; /* bits of port 0x61 that are kept */
    Timer timer;
} Pit;

static int64_t ticks_now(const Pit *pit)
{
    return (int64_t)((__int128)machine_clock(pit->device.machine) * PIT_HZ / 1000000000);
}

/* The first moment of a tick. */
static int64_t time_of(int64_t tick)
{
    return (int64_t)(((__int128)tick * 1000000000 + PIT_HZ - 1) / PIT_HZ);
}

/* ---- What follows from the time --------------------------------------------------------- */

static bool is_periodic(const Counter *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Ticks that it has counted. */
static int64_t elapsed(const Counter *c, int64_t now)
{
    int64_t ticks = now - c->start;

    if (!c->gate && (is_periodic(c) || c->mode == 0 || c->mode == 4)) {
        ticks = c->frozen - c->start;
    }
    return ticks < 0 ? 0 : ticks;
}

static bool output(const Counter *c, int64_t now)
{
    int64_t e = elapsed(c, now);

    if (!c->loaded) {
        return c->mode != 0;
    }
    switch (c->mode) {
    case 0:
    case 1:
        return e >= c->count;
    case 2:
        return !c->gate || e % c->count != c->count - 1;
    case 3:
        return !c->gate || e % c->count < (c->count + 1) / 2;
    default:
        return e != c->count;
    }
}

/* How often the output rose since start. */
static int64_t rises(const Counter *c, int64_t now)
{
    int64_t e = elapsed(c, now);

    if (!c->loaded) {
        return 0;
    }
    return is_periodic(c) ? e / c->count : e >= c->count + (c->mode >= 4);
}

/* The tick of the next rise; -1: there is none in sight. */
static int64_t next_rise(const Counter *c, int64_t now)
{
    if (!c->loaded || !c->gate) {
        return -1;
    }
    if (is_periodic(c)) {
        return c->pending && c->switch_at >= 0 ? c->switch_at
                                               : c->start + (rises(c, now) + 1) * c->count;
    }
    return rises(c, now) ? -1 : c->start + c->count + (c->mode >= 4);
}

static uint16_t value(const Counter *c, int64_t now)
{
    int64_t e = elapsed(c, now), shown;

    if (!c->loaded) {
        shown = c->pending ? c->next_count : c->count;
    } else if (c->mode == 2) {
        shown = c->count - e % c->count;
    } else if (c->mode == 3) { /* by twos, twice a period; the first half has the odd tick */
        int64_t half = (c->count + 1) / 2, at = e % c->count;
        shown = (c->count & ~INT64_C(1)) - 2 * (at < half ? at : at - half);
    } else {
        shown = c->count - e;
    }
    if (!(c->control & 1)) {
        return (uint16_t)shown;
    }
    unsigned digits = (unsigned)(shown % 10000 + 10000) % 10000;
    return (uint16_t)(digits / 1000 << 12 | digits / 100 % 10 << 8 | digits / 10 % 10 << 4 |
                      digits % 10);
}

/* Bring the counter to @now; returns whether its output rose since the last time. */
static bool advance(Counter *c, int64_t now)
{
    bool rose = false;

    if (c->pending && c->loaded && c->switch_at >= 0 && now >= c->switch_at) {
        rose = rises(c, c->switch_at) > c->rises;
        c->pending = false;
        c->count = c->next_count;
        c->start = c->next_start;
        c->rises = rises(c, c->switch_at);
    }
    int64_t n = rises(c, now);
    rose |= n > c->rises;
    c->rises = n;
    return rose;
}

/* ---- IRQ 0 ------------------------------------------------------------------------------ */

/* Before and after a change of a counter: IRQ 0 follows what it did, and will be followed. */
static void update(Pit *pit)
{
    Machine *m = pit->device.machine;
    Counter *c = &pit->counters[0];
    int64_t now = ticks_now(pit);

    advance(&pit->counters[1], now);
    advance(&pit->counters[2], now);
    if (advance(c, now)) { /* one edge, however many there were */
        machine_set_irq(m, 0, false);
        machine_set_irq(m, 0, true);
    }
    machine_set_irq(m, 0, output(c, now));
    int64_t rise = next_rise(c, now);
    if (rise < 0) {
        timer_stop(&pit->timer);
        return;
    }
    int64_t deadline = time_of(rise), soonest = machine_clock(m) + MIN_INTERVAL;
    if (deadline != pit->timer.deadline) {
        timer_set(&pit->timer, deadline < soonest ? soonest : deadline);
    }
}

static void expired(void *opaque)
{
    update(opaque);
}

/* ---- Counting --------------------------------------------------------------------------- */

static void begin(Counter *c, int64_t count, int64_t start)
{
    c->count = count;
    c->start = c->frozen = start;
    c->rises = 0;
    c->loaded = true;
    c->pending = false;
}

static int64_t count_of(const Counter *c, unsigned written)
{
    if (!(c->control & 1)) {
        return written ? written : 65536;
    }
    unsigned count = (written >> 12) * 1000 + (written >> 8 & 15) * 100 + (written >> 4 & 15) * 10 +
                     (written & 15);
    return count ? count : 10000;
}

/* A whole count was written: it is in the counter a tick later, or when the mode takes it. */
static void load(Counter *c, unsigned written, int64_t now)
{
    int64_t count = count_of(c, written);

    if (c->mode == 1 || c->mode == 5) {
        c->pending = true;
        c->next_count = count;
        c->switch_at = -1;
    } else if (!is_periodic(c) || !c->loaded) {
        begin(c, count, now + 1);
    } else {
        int64_t e = elapsed(c, now), at = e % c->count, half = (c->count + 1) / 2;
        bool first_half = c->mode == 3 && at < half;
        c->pending = true;
        c->next_count = count;
        c->switch_at = now - at + (first_half ? half : c->count);
        c->next_start = c->switch_at - (first_half ? (count + 1) / 2 : 0);
    }
}

static void set_gate(Counter *c, bool gate, int64_t now)
{
    if (gate == c->gate) {
        return;
    }
    if (!gate) {
        c->frozen = now;
    } else if (is_periodic(c)) { /* a trigger: from the beginning */
        if (c->loaded) {
            begin(c, c->pending ? c->next_count : c->count, now + 1);
        }
    } else if (c->mode == 0 || c->mode == 4) { /* go on; what was not begun begins now */
        c->start += now - (c->frozen > c->start ? c->frozen : c->start);
    } else if (c->loaded || c->pending) {
        begin(c, c->pending ? c->next_count : c->count, now + 1);
    }
    c->gate = gate;
}

/* ---- Registers -------------------------------------------------------------------------- */

static void latch_count(Counter *c, int64_t now)
{
    if (!c->count_latched) {
        c->count_latched = true;
        c->latch = value(c, now);
        c->read_left = (c->control >> 4 & 3) == 3 ? 2 : 1;
    }
}

static void latch_status(Counter *c, int64_t now)
{
    if (!c->status_latched) {
        bool null_count = !c->loaded || c->pending || now < c->start;
        c->status_latched = true;
        c->status = (uint8_t)(output(c, now) << 7 | null_count << 6 | (c->control & 0x3f));
    }
}

static void write_control(Pit *pit, uint8_t control, int64_t now)
{
    unsigned which = control >> 6;

    if (which == 3) { /* read back */
        for (unsigned i = 0; i < 3; i++) {
            if (!(control >> (i + 1) & 1)) {
                continue;
            }
            if (!(control & 0x20)) {
                latch_count(&pit->counters[i], now);
            }
            if (!(control & 0x10)) {
                latch_status(&pit->counters[i], now);
            }
        }
        return;
    }
    Counter *c = &pit->counters[which];
    if ((control & 0x30) == 0) {
        latch_count(c, now);
        return;
    }
    c->control = control & 0x3f;
    c->mode = control >> 1 & 7;
    c->mode = c->mode > 5 ? c->mode - 4 : c->mode;
    c->loaded = c->pending = c->wrote_low = false;
    c->count_latched = c->status_latched = false;
    c->read_left = 0;
    c->rises = 0;
}

static void write_count(Counter *c, uint8_t byte, int64_t now)
{
    switch (c->control >> 4 & 3) {
    case 1:
        load(c, byte, now);
        break;
    case 2:
        load(c, (unsigned)byte << 8, now);
        break;
    default:
        if (c->wrote_low) {
            load(c, c->low | (unsigned)byte << 8, now);
        } else {
            c->low = byte;
            if (c->mode == 0) { /* the first of two bytes stops it */
                c->loaded = false;
            }
        }
        c->wrote_low = !c->wrote_low;
    }
}

static uint8_t read_counter(Counter *c, int64_t now)
{
    unsigned access = c->control >> 4 & 3;

    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    uint16_t shown = c->count_latched ? c->latch : value(c, now);
    if (c->read_left == 0) {
        c->read_left = access == 3 ? 2 : 1;
    }
    bool high = access == 2 || (access == 3 && c->read_left == 1);
    if (--c->read_left == 0) {
        c->count_latched = false;
    }
    return (uint8_t)(high ? shown >> 8 : shown);
}

static void pit_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Pit *pit = opaque;

    (void)size;
    update(pit);
    if (addr == 3) {
        write_control(pit, (uint8_t)data, ticks_now(pit));
    } else {
        write_count(&pit->counters[addr], (uint8_t)data, ticks_now(pit));
    }
    update(pit);
}

static uint64_t pit_read(void *opaque, hwaddr addr, unsigned size)
{
    Pit *pit = opaque;

    (void)size;
    if (addr == 3) {
        return UINT64_MAX;
    }
    update(pit);
    return read_counter(&pit->counters[addr], ticks_now(pit));
}

static const MemoryRegionOps pit_ops = {
    .read = pit_read,
    .write = pit_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

/* Bits 0 to 3: gate of counter 2, speaker data, two checks; what they check is never wrong. */
static void speaker_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Pit *pit = opaque;

    (void)addr;
    (void)size;
    update(pit);
    pit->speaker = data & 0x0f;
    set_gate(&pit->counters[2], data & 1, ticks_now(pit));
}

static uint64_t speaker_read(void *opaque, hwaddr addr, unsigned size)
{
    Pit *pit = opaque;

    (void)addr;
    (void)size;
    update(pit);
    int64_t now = ticks_now(pit);
    unsigned refresh = (unsigned)(now / REFRESH_TICKS) & 1;
    return (uint64_t)(pit->speaker | refresh << 4 | (unsigned)output(&pit->counters[2], now) << 5);
}

static const MemoryRegionOps speaker_ops = {
    .read = speaker_read,
    .write = speaker_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

/* ---- Making ----------------------------------------------------------------------------- */

/* Real ones count anything at power-on; here they wait for a count, outputs high. */
static void pit_reset(Device *device)
{
    Pit *pit = (Pit *)device;

    for (unsigned i = 0; i < 3; i++) {
        pit->counters[i] = (Counter){.control = 0x36, .mode = 3, .gate = i != 2, .count = 65536};
    }
    pit->speaker = 0;
    update(pit);
}

static void pit_unrealize(Device *device)
{
    timer_stop(&((Pit *)device)->timer);
}

int pit_create(Machine *m)
{
    Pit *pit = device_create(m, sizeof *pit, "isa-pit", pit_reset);

    if (!pit) {
        return -ENOMEM;
    }
    timer_init(&pit->timer, m, expired, pit);
    pit->device.unrealize = pit_unrealize;
    pit_reset(&pit->device);
    int result = device_map_ports(&pit->device, &pit->ports, &pit_ops, "pit", 0x40, 4);
    return result < 0
               ? result
               : device_map_ports(&pit->device, &pit->speaker_port, &speaker_ops, "pcspk", 0x61, 1);
}
