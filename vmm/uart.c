/* SPDX-License-Identifier: MIT */
/*
 * The 16550A serial port, between a chardev and its guest.
 *
 * What is sent is gone at once: the transmitter is always empty. What is received comes when there
 * is room for it, and stays with the chardev until then. The line's other end is always there:
 * CTS, DSR and DCD are raised.
 */
#include "devices.h"

#include <errno.h>
#include <string.h>

enum {
    UART_DATA = 0, /* and the divisor's low byte */
    UART_IER,      /* and its high byte */
    UART_IIR,      /* written: FCR */
    UART_LCR,
    UART_MCR,
    UART_LSR,
    UART_MSR,
    UART_SCR,
};

#define IER_RECEIVED 0x01
#define IER_SENT 0x02
#define IER_LINE 0x04
#define IER_MODEM 0x08
#define IIR_NONE 0x01
#define IIR_MODEM 0x00
#define IIR_SENT 0x02
#define IIR_RECEIVED 0x04
#define IIR_LINE 0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFOS 0xc0
#define FCR_ENABLE 0x01
#define FCR_CLEAR_RX 0x02
#define LCR_DIVISOR 0x80
#define MCR_DTR 0x01
#define MCR_RTS 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08 /* lets interrupts out, on a PC */
#define MCR_LOOP 0x10
#define LSR_DATA 0x01
#define LSR_OVERRUN 0x02
#define LSR_ERRORS 0x1e
#define LSR_EMPTY 0x60 /* THRE and TEMT */
#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI 0x40
#define MSR_DCD 0x80

#define FIFO_SIZE 16
#define UART_CLOCK 115200 /* baud with a divisor of 1 */

typedef struct Uart {
    Device device;
    MemoryRegion mr;
    Chardev *chr;
    unsigned irq;
    uint8_t ier, fcr, lcr, mcr, msr, scr;
    uint8_t errors; /* of LSR */
    uint16_t divisor;
    uint8_t fifo[FIFO_SIZE]; /* a ring; without FIFOs, of one byte */
    unsigned first, count;
    bool sent;      /* the transmitter became empty, and nobody was told */
    bool timed_out; /* what is in the FIFO has waited for long */
    Timer timeout;
} Uart;

/* ---- Interrupts ------------------------------------------------------------------------- */

static unsigned trigger_level(const Uart *uart)
{
    static const uint8_t levels[] = {1, 4, 8, 14};

    return uart->fcr & FCR_ENABLE ? levels[uart->fcr >> 6] : 1;
}

/* What IIR shows: the most urgent reason. */
static uint8_t reason(const Uart *uart)
{
    if (uart->ier & IER_LINE && uart->errors) {
        return IIR_LINE;
    }
    if (uart->ier & IER_RECEIVED && uart->count >= trigger_level(uart)) {
        return IIR_RECEIVED;
    }
    if (uart->ier & IER_RECEIVED && uart->timed_out) {
        return IIR_TIMEOUT;
    }
    if (uart->ier & IER_SENT && uart->sent) {
        return IIR_SENT;
    }
    if (uart->ier & IER_MODEM && uart->msr & 0x0f) {
        return IIR_MODEM;
    }
    return IIR_NONE;
}

static void update_irq(Uart *uart)
{
    machine_set_irq(uart->device.machine, uart->irq,
                    reason(uart) != IIR_NONE && uart->mcr & MCR_OUT2);
}

/* Four characters' time without one coming or being taken. */
static void restart_timeout(Uart *uart)
{
    unsigned bits = 1 + 5 + (uart->lcr & 3) + 1U + !!(uart->lcr & 4) + !!(uart->lcr & 8);
    int64_t divisor = uart->divisor ? uart->divisor : 65536;

    uart->timed_out = false;
    if (uart->count && uart->fcr & FCR_ENABLE) {
        timer_set(&uart->timeout, machine_clock(uart->device.machine) +
                                      4 * bits * divisor * 1000000000 / UART_CLOCK);
    } else {
        timer_stop(&uart->timeout);
    }
}

static void timeout_expired(void *opaque)
{
    Uart *uart = opaque;

    uart->timed_out = true;
    update_irq(uart);
}

/* ---- Receiving and sending -------------------------------------------------------------- */

static unsigned room(const Uart *uart)
{
    return (uart->fcr & FCR_ENABLE ? FIFO_SIZE : 1) - uart->count;
}

static void put(Uart *uart, uint8_t byte)
{
    if (room(uart)) {
        uart->fifo[(uart->first + uart->count++) % FIFO_SIZE] = byte;
    } else {
        uart->errors |= LSR_OVERRUN;
        if (!(uart->fcr & FCR_ENABLE)) { /* a FIFO keeps what it has, the register does not */
            uart->fifo[uart->first] = byte;
        }
    }
}

/* In loopback the line is cut. */
static size_t can_receive(void *opaque)
{
    const Uart *uart = opaque;

    return uart->mcr & MCR_LOOP ? 0 : room(uart);
}

static void receive(void *opaque, const uint8_t *bytes, size_t count)
{
    Uart *uart = opaque;

    for (size_t i = 0; i < count; i++) {
        put(uart, bytes[i]);
    }
    restart_timeout(uart);
    update_irq(uart);
}

/* The last thing that a callback does: it may lead to receive(). */
static void accept_input(Uart *uart)
{
    if (uart->chr && can_receive(uart)) {
        chardev_accept_input(uart->chr);
    }
}

static uint8_t take(Uart *uart)
{
    uint8_t byte = uart->fifo[uart->first];

    if (uart->count) {
        uart->first = (uart->first + 1) % FIFO_SIZE;
        uart->count--;
        restart_timeout(uart);
        update_irq(uart);
        accept_input(uart);
    }
    return byte;
}

static void send(Uart *uart, uint8_t byte)
{
    uart->sent = false;
    update_irq(uart);
    if (uart->mcr & MCR_LOOP) {
        put(uart, byte);
        restart_timeout(uart);
    } else if (uart->chr) {
        chardev_write(uart->chr, &byte, 1);
    }
    uart->sent = true;
    update_irq(uart);
}

static void clear_fifo(Uart *uart)
{
    uart->first = uart->count = 0;
    memset(uart->fifo, 0, sizeof uart->fifo);
    restart_timeout(uart);
}

/* ---- Modem lines ------------------------------------------------------------------------ */

static uint8_t modem_lines(const Uart *uart)
{
    if (!(uart->mcr & MCR_LOOP)) {
        return MSR_CTS | MSR_DSR | MSR_DCD;
    }
    return (uint8_t)((uart->mcr & MCR_RTS ? MSR_CTS : 0) | (uart->mcr & MCR_DTR ? MSR_DSR : 0) |
                     (uart->mcr & MCR_OUT1 ? MSR_RI : 0) | (uart->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void write_mcr(Uart *uart, uint8_t value)
{
    uart->mcr = value & 0x1f;
    uint8_t lines = modem_lines(uart), changed = (uart->msr ^ lines) & 0xf0;
    if (lines & MSR_RI) { /* of the ring indicator, its end counts */
        changed &= (uint8_t)~MSR_RI;
    }
    uart->msr = (uint8_t)(lines | (uart->msr & 0x0f) | changed >> 4);
    update_irq(uart);
    accept_input(uart);
}

/* ---- Registers -------------------------------------------------------------------------- */

static void write_ier(Uart *uart, uint8_t value)
{
    if (value & ~uart->ier & IER_SENT) {
        uart->sent = true;
    }
    uart->ier = value & 0x0f;
    update_irq(uart);
}

static void write_fcr(Uart *uart, uint8_t value)
{
    bool clear = value & FCR_CLEAR_RX || (value ^ uart->fcr) & FCR_ENABLE;

    /* Without FIFOs its other bits are not taken. */
    uart->fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
    if (clear) {
        clear_fifo(uart);
    }
    update_irq(uart);
    accept_input(uart);
}

static void uart_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Uart *uart = opaque;
    uint8_t value = (uint8_t)data;

    (void)size;
    if (uart->lcr & LCR_DIVISOR && addr <= UART_IER) {
        uart->divisor = (uint16_t)(addr == UART_DATA ? (uart->divisor & 0xff00) | value
                                                     : (uart->divisor & 0x00ff) | value << 8);
        return;
    }
    switch (addr) {
    case UART_DATA:
        send(uart, value);
        break;
    case UART_IER:
        write_ier(uart, value);
        break;
    case UART_IIR:
        write_fcr(uart, value);
        break;
    case UART_LCR:
        uart->lcr = value;
        break;
    case UART_MCR:
        write_mcr(uart, value);
        break;
    case UART_SCR:
        uart->scr = value;
        break;
    default: /* LSR and MSR are read only */
        break;
    }
}

static uint8_t read_iir(Uart *uart)
{
    uint8_t iir = reason(uart);

    if (iir == IIR_SENT) {
        uart->sent = false;
        update_irq(uart);
    }
    return iir | (uart->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint64_t uart_read(void *opaque, hwaddr addr, unsigned size)
{
    Uart *uart = opaque;
    uint8_t value;

    (void)size;
    if (uart->lcr & LCR_DIVISOR && addr <= UART_IER) {
        return addr == UART_DATA ? uart->divisor & 0xff : uart->divisor >> 8;
    }
    switch (addr) {
    case UART_DATA:
        return take(uart);
    case UART_IER:
        return uart->ier;
    case UART_IIR:
        return read_iir(uart);
    case UART_LCR:
        return uart->lcr;
    case UART_MCR:
        return uart->mcr;
    case UART_LSR:
        value = (uint8_t)(uart->errors | LSR_EMPTY | (uart->count ? LSR_DATA : 0));
        uart->errors = 0;
        update_irq(uart);
        return value;
    case UART_MSR:
        value = uart->msr;
        uart->msr &= 0xf0;
        update_irq(uart);
        return value;
    default:
        return uart->scr;
    }
}

static const MemoryRegionOps uart_ops = {
    .read = uart_read,
    .write = uart_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

/* ---- Making ----------------------------------------------------------------------------- */

static void uart_reset(Device *device)
{
    Uart *uart = (Uart *)device;

    uart->ier = uart->fcr = uart->lcr = uart->mcr = uart->scr = uart->errors = 0;
    uart->divisor = 12; /* 9600 baud */
    uart->sent = false;
    uart->msr = modem_lines(uart);
    clear_fifo(uart);
    update_irq(uart);
    accept_input(uart);
}

static void uart_unrealize(Device *device)
{
    Uart *uart = (Uart *)device;

    timer_stop(&uart->timeout);
    if (uart->chr) {
        chardev_set_user(uart->chr, &(ChardevUser){0});
        uart->chr = NULL;
    }
}

int uart_create(Machine *m, Chardev *chr, uint16_t port, unsigned irq)
{
    Uart *uart = device_create(m, sizeof *uart, "isa-serial", uart_reset);

    if (!uart) {
        return -ENOMEM;
    }
    uart->chr = chr;
    uart->irq = irq;
    timer_init(&uart->timeout, m, timeout_expired, uart);
    uart->device.unrealize = uart_unrealize;
    if (chr) {
        const ChardevUser user = {can_receive, receive, uart};
        chardev_set_user(chr, &user);
    }
    uart_reset(&uart->device);
    return device_map_ports(&uart->device, &uart->mr, &uart_ops, "serial", port, 8);
}
