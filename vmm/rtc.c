/* SPDX-License-Identifier: MIT */
/*
 * The MC146818 real-time clock and the 128 bytes of CMOS memory around it.
 *
 * The clock is the host's (UTC) plus what the guest has set. While it runs, the time registers are
 * made from it whenever they are looked at; while SET or the divider's reset stops it, they keep
 * what is written, and when it goes on they are the time. Its flags are found in the same way, when
 * somebody looks; timers wake it only for interrupts that are enabled.
 */
#include "devices.h"

#include <errno.h>
#include <time.h>

enum {
    RTC_SECONDS = 0,
    RTC_SECONDS_ALARM,
    RTC_MINUTES,
    RTC_MINUTES_ALARM,
    RTC_HOURS,
    RTC_HOURS_ALARM,
    RTC_DAY_OF_WEEK,
    RTC_DAY,
    RTC_MONTH,
    RTC_YEAR,
    RTC_A,
    RTC_B,
    RTC_C,
    RTC_D,
    RTC_CENTURY = 0x32, /* always BCD; the ACPI tables name it */
    RTC_SIZE = 128,
};

#define A_UIP 0x80
#define A_DIVIDER 0x70
#define A_DIVIDER_RESET 0x60 /* and 0x70 */
#define B_SET 0x80
#define B_PIE 0x40
#define B_AIE 0x20
#define B_UIE 0x10
#define B_SQWE 0x08
#define B_BINARY 0x04
#define B_24H 0x02
#define C_IRQF 0x80
#define C_PF 0x40
#define C_AF 0x20
#define C_UF 0x10
#define D_VALID 0x80
#define HOURS_PM 0x80
#define ALARM_ANY 0xc0 /* matches any value */

#define RTC_IRQ 8
#define SECOND 1000000000
/* UIP: 244 us of warning and 1984 us of updating, at whose end the next second is seen. */
#define UPDATE_TIME 2228000
#define RTC_HZ 32768

struct Rtc {
    Device device;
    MemoryRegion ports, index_port;
    uint8_t index;
    uint8_t cmos[RTC_SIZE];
    int64_t phase;       /* ns after the host's that its seconds begin, below SECOND */
    int64_t offset;      /* seconds that it is before the host and the phase */
    int64_t seen;        /* second up to which UF and AF are known */
    int64_t period_seen; /* and PF */
    Timer second_timer, periodic_timer;
};

/* ---- The time --------------------------------------------------------------------------- */

static int64_t host_time(const Rtc *rtc)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec + rtc->phase;
}

static int64_t now_seconds(const Rtc *rtc)
{
    return host_time(rtc) / SECOND + rtc->offset;
}

static bool is_running(const Rtc *rtc)
{
    return !(rtc->cmos[RTC_B] & B_SET) && (rtc->cmos[RTC_A] & A_DIVIDER_RESET) != A_DIVIDER_RESET;
}

static uint8_t to_bcd(int value)
{
    return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

static int from_bcd(uint8_t value)
{
    return (value >> 4) * 10 + (value & 15);
}

static uint8_t encode(const Rtc *rtc, int value)
{
    return rtc->cmos[RTC_B] & B_BINARY ? (uint8_t)value : to_bcd(value);
}

static int decode(const Rtc *rtc, uint8_t value)
{
    return rtc->cmos[RTC_B] & B_BINARY ? value : from_bcd(value);
}

static uint8_t encode_hours(const Rtc *rtc, int hours)
{
    if (rtc->cmos[RTC_B] & B_24H) {
        return encode(rtc, hours);
    }
    int shown = hours % 12 ? hours % 12 : 12;
    return (uint8_t)(encode(rtc, shown) | (hours >= 12 ? HOURS_PM : 0));
}

static int decode_hours(const Rtc *rtc, uint8_t value)
{
    if (rtc->cmos[RTC_B] & B_24H) {
        return decode(rtc, value);
    }
    return decode(rtc, value & (uint8_t)~HOURS_PM) % 12 + (value & HOURS_PM ? 12 : 0);
}

/* Registers from the time. */
static void show_time(Rtc *rtc)
{
    time_t now = (time_t)now_seconds(rtc);
    struct tm tm;

    if (!is_running(rtc) || !gmtime_r(&now, &tm)) {
        return;
    }
    int year = ((tm.tm_year + 1900) % 10000 + 10000) % 10000;
    rtc->cmos[RTC_SECONDS] = encode(rtc, tm.tm_sec);
    rtc->cmos[RTC_MINUTES] = encode(rtc, tm.tm_min);
    rtc->cmos[RTC_HOURS] = encode_hours(rtc, tm.tm_hour);
    rtc->cmos[RTC_DAY_OF_WEEK] = encode(rtc, tm.tm_wday + 1);
    rtc->cmos[RTC_DAY] = encode(rtc, tm.tm_mday);
    rtc->cmos[RTC_MONTH] = encode(rtc, tm.tm_mon + 1);
    rtc->cmos[RTC_YEAR] = encode(rtc, year % 100);
    rtc->cmos[RTC_CENTURY] = to_bcd(year / 100);
}

/* The time from registers. What is no date, as 31 February, is the day that it would be. */
static void take_time(Rtc *rtc)
{
    const uint8_t *cmos = rtc->cmos;
    struct tm tm = {
        .tm_sec = decode(rtc, cmos[RTC_SECONDS]),
        .tm_min = decode(rtc, cmos[RTC_MINUTES]),
        .tm_hour = decode_hours(rtc, cmos[RTC_HOURS]),
        .tm_mday = decode(rtc, cmos[RTC_DAY]),
        .tm_mon = decode(rtc, cmos[RTC_MONTH]) - 1,
        .tm_year = from_bcd(cmos[RTC_CENTURY]) * 100 + decode(rtc, cmos[RTC_YEAR]) - 1900,
    };

    rtc->offset += (int64_t)timegm(&tm) - now_seconds(rtc);
    rtc->seen = now_seconds(rtc);
}

/* ---- Flags and interrupts --------------------------------------------------------------- */

static bool alarm_matches(const Rtc *rtc, uint8_t alarm, int value, bool hours)
{
    return alarm >= ALARM_ANY || (hours ? decode_hours(rtc, alarm) : decode(rtc, alarm)) == value;
}

/* The first second after @after at which the alarm goes off; INT64_MAX: never. */
static int64_t next_alarm(const Rtc *rtc, int64_t after)
{
    const uint8_t *cmos = rtc->cmos;
    int64_t first = after + 1, midnight = first - (first % 86400 + 86400) % 86400;

    for (int hour = 0; hour < 48; hour++) {
        if (!alarm_matches(rtc, cmos[RTC_HOURS_ALARM], hour % 24, true) ||
            midnight + (hour + 1) * 3600 <= first) {
            continue;
        }
        for (int minute = 0; minute < 60; minute++) {
            int64_t start = midnight + hour * 3600 + minute * 60;
            if (!alarm_matches(rtc, cmos[RTC_MINUTES_ALARM], minute, false) ||
                start + 60 <= first) {
                continue;
            }
            for (int second = start < first ? (int)(first - start) : 0; second < 60; second++) {
                if (alarm_matches(rtc, cmos[RTC_SECONDS_ALARM], second, false)) {
                    return start + second;
                }
            }
        }
    }
    return INT64_MAX;
}

/* Ticks of 32768 Hz between periodic interrupts; 0: none. */
static unsigned period(const Rtc *rtc)
{
    unsigned rate = rtc->cmos[RTC_A] & 15;

    return rate == 0 ? 0 : 1U << (rate <= 2 ? rate + 6 : rate - 1);
}

static int64_t periods_now(const Rtc *rtc)
{
    int64_t ticks = (int64_t)((__int128)machine_clock(rtc->device.machine) * RTC_HZ / SECOND);

    return period(rtc) ? ticks / period(rtc) : 0;
}

static void find_flags(Rtc *rtc)
{
    int64_t now = now_seconds(rtc), periods = periods_now(rtc);

    if (is_running(rtc) && now > rtc->seen) {
        rtc->cmos[RTC_C] |= C_UF | (next_alarm(rtc, rtc->seen) <= now ? C_AF : 0);
    }
    rtc->seen = now;
    if ((rtc->cmos[RTC_A] & A_DIVIDER_RESET) != A_DIVIDER_RESET && periods > rtc->period_seen) {
        rtc->cmos[RTC_C] |= C_PF;
    }
    rtc->period_seen = periods;
}

/* Wake up for what is enabled and has not come yet. */
static void set_timers(Rtc *rtc)
{
    Machine *m = rtc->device.machine;
    uint8_t wanted = rtc->cmos[RTC_B] & (uint8_t)~rtc->cmos[RTC_C];
    int64_t second = INT64_MAX;

    if (is_running(rtc) && wanted & C_UF) {
        second = rtc->seen + 1;
    } else if (is_running(rtc) && wanted & C_AF) {
        second = next_alarm(rtc, rtc->seen);
    }
    if (second == INT64_MAX) {
        timer_stop(&rtc->second_timer);
    } else {
        int64_t wait = (second - rtc->offset) * SECOND - host_time(rtc);
        timer_set(&rtc->second_timer, machine_clock(m) + (wait > 0 ? wait : 0));
    }
    if (!(wanted & C_PF) || !period(rtc)) {
        timer_stop(&rtc->periodic_timer);
    } else {
        __int128 ticks = (__int128)(rtc->period_seen + 1) * period(rtc);
        timer_set(&rtc->periodic_timer, (int64_t)((ticks * SECOND + RTC_HZ - 1) / RTC_HZ));
    }
}

static void update_irq(Rtc *rtc)
{
    uint8_t *c = &rtc->cmos[RTC_C];

    *c &= (uint8_t)~C_IRQF;
    if (*c & rtc->cmos[RTC_B] & (C_PF | C_AF | C_UF)) {
        *c |= C_IRQF;
    }
    machine_set_irq(rtc->device.machine, RTC_IRQ, *c & C_IRQF);
    set_timers(rtc);
}

static void expired(void *opaque)
{
    find_flags(opaque);
    update_irq(opaque);
}

/* ---- Registers -------------------------------------------------------------------------- */

static void write_a(Rtc *rtc, uint8_t value)
{
    bool was_reset = (rtc->cmos[RTC_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
    bool was_running = is_running(rtc);

    show_time(rtc);
    rtc->cmos[RTC_A] = value & (uint8_t)~A_UIP;
    if (was_reset && (value & A_DIVIDER_RESET) != A_DIVIDER_RESET) {
        /* The first update comes half a second later. */
        int64_t host = host_time(rtc) - rtc->phase;
        rtc->phase = (SECOND + SECOND / 2 - host % SECOND) % SECOND;
        take_time(rtc);
    } else if (is_running(rtc) && !was_running) {
        take_time(rtc);
    }
    rtc->period_seen = periods_now(rtc);
}

static void write_b(Rtc *rtc, uint8_t value)
{
    bool was_running = is_running(rtc);

    show_time(rtc);
    if (value & B_SET) {
        value &= (uint8_t)~B_UIE;
    }
    rtc->cmos[RTC_B] = value;
    if (is_running(rtc) && !was_running) {
        take_time(rtc);
    }
}

static void write_register(Rtc *rtc, uint8_t index, uint8_t value)
{
    find_flags(rtc);
    switch (index) {
    case RTC_A:
        write_a(rtc, value);
        break;
    case RTC_B:
        write_b(rtc, value);
        break;
    case RTC_C:
    case RTC_D:
        break; /* read only */
    case RTC_SECONDS_ALARM:
    case RTC_MINUTES_ALARM:
    case RTC_HOURS_ALARM:
        rtc->cmos[index] = value;
        break;
    default: /* the time */
        show_time(rtc);
        rtc->cmos[index] = value;
        if (is_running(rtc)) {
            take_time(rtc);
        }
    }
    update_irq(rtc);
}

static uint8_t read_register(Rtc *rtc, uint8_t index)
{
    uint8_t value;

    switch (index) {
    case RTC_A:
        value = rtc->cmos[RTC_A];
        if (is_running(rtc) && host_time(rtc) % SECOND >= SECOND - UPDATE_TIME) {
            value |= A_UIP;
        }
        return value;
    case RTC_C:
        find_flags(rtc);
        update_irq(rtc);
        value = rtc->cmos[RTC_C];
        rtc->cmos[RTC_C] = 0;
        update_irq(rtc);
        return value;
    default:
        show_time(rtc);
        return rtc->cmos[index];
    }
}

static bool is_plain_memory(uint8_t index)
{
    return index > RTC_D && index != RTC_CENTURY;
}

static void rtc_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Rtc *rtc = opaque;
    uint8_t value = (uint8_t)data;

    (void)size;
    if (addr == 0) {
        rtc->index = value & (RTC_SIZE - 1); /* bit 7 masks NMIs, of which there are none */
    } else if (is_plain_memory(rtc->index)) {
        rtc->cmos[rtc->index] = value;
    } else {
        write_register(rtc, rtc->index, value);
    }
}

static uint64_t rtc_read(void *opaque, hwaddr addr, unsigned size)
{
    Rtc *rtc = opaque;

    (void)size;
    if (addr == 0) {
        return UINT64_MAX; /* write only */
    }
    return is_plain_memory(rtc->index) ? rtc->cmos[rtc->index] : read_register(rtc, rtc->index);
}

static const MemoryRegionOps rtc_ops = {
    .read = rtc_read,
    .write = rtc_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

void rtc_set_cmos(Rtc *rtc, uint8_t index, uint8_t value)
{
    index &= RTC_SIZE - 1;
    if (is_plain_memory(index)) {
        rtc->cmos[index] = value;
    }
}

/* ---- Making ----------------------------------------------------------------------------- */

/* The battery keeps the time, the alarm and the memory. */
static void rtc_reset(Device *device)
{
    Rtc *rtc = (Rtc *)device;

    find_flags(rtc);
    rtc->cmos[RTC_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    rtc->cmos[RTC_C] = 0;
    rtc->index = 0;
    update_irq(rtc);
}

static void rtc_unrealize(Device *device)
{
    Rtc *rtc = (Rtc *)device;

    timer_stop(&rtc->second_timer);
    timer_stop(&rtc->periodic_timer);
    device->machine->rtc = NULL;
}

int rtc_create(Machine *m)
{
    Rtc *rtc = device_create(m, sizeof *rtc, "mc146818rtc", rtc_reset);

    if (!rtc) {
        return -ENOMEM;
    }
    rtc->cmos[RTC_A] = 0x26; /* 32768 Hz, 1024 periodic interrupts a second */
    rtc->cmos[RTC_B] = B_24H;
    rtc->cmos[RTC_D] = D_VALID;
    timer_init(&rtc->second_timer, m, expired, rtc);
    timer_init(&rtc->periodic_timer, m, expired, rtc);
    rtc->device.unrealize = rtc_unrealize;
    rtc->seen = now_seconds(rtc);
    rtc_reset(&rtc->device);
    int result = device_map_ports(&rtc->device, &rtc->ports, &rtc_ops, "rtc", 0x70, 2);
    if (result == 0) {
        result = memory_region_init_io(&rtc->index_port, rtc->device.owner, &rtc_ops, rtc,
                                       "rtc-index", 1);
    }
    if (result == 0) {
        result = device_map(&rtc->device, &rtc->ports, 0, &rtc->index_port, 0);
    }
    if (result == 0) {
        m->rtc = rtc;
    }
    return result;
}
