/* SPDX-License-Identifier: MIT */
/* Standard input and output: the keys, and who gets what is typed. */
#include "console.h"

#include "fifo.h"
#include "outqueue.h"
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ESCAPE 0x01          /* Ctrl-a */
#define REDRAW 0x1e          /* Ctrl-^: has the monitor show its line again (monitor_text.c) */
#define MONITOR_AHEAD 65536U /* bytes that the monitor may print before they are out */

struct Console {
    Machine *machine;
    int in;
    bool is_tty, used;
    bool watching, ended; /* in; it has no more */
    bool escape;          /* the last byte was one */
    bool to_monitor;      /* what is typed */
    OutQueue out;

    bool has_serial;
    ConsoleSerial serial;

    ConsoleOpenMonitor *open_monitor; /* NULL: no monitor */
    void *monitor_opaque;
    int monitor_fd; /* -1: no session */
    bool monitor_at_end;
    Fifo for_monitor;
};

static void on_input(void *opaque, short events);
static void on_monitor(void *opaque, short events);

static void say(Console *console, const char *text)
{
    outqueue_write(&console->out, text, strlen(text));
}

/* ---- The monitor's side ------------------------------------------------------------ */

static void end_session(Console *console)
{
    loop_remove(console->machine->loop, console->monitor_fd);
    close(console->monitor_fd);
    console->monitor_fd = -1;
    console->for_monitor.count = 0;
}

static void watch_monitor(Console *console)
{
    Loop *loop = console->machine->loop;
    short events = 0;

    if (console->monitor_fd < 0) {
        return;
    }
    if (outqueue_pending(&console->out) < MONITOR_AHEAD) {
        events |= POLLIN;
    }
    if (console->for_monitor.count > 0) {
        events |= POLLOUT;
    }
    if (!events) {
        loop_remove(loop, console->monitor_fd);
    } else if (loop_watch(loop, console->monitor_fd, events, on_monitor, console) < 0) {
        end_session(console);
    }
}

static void write_to_monitor(Console *console)
{
    while (console->monitor_fd >= 0 && console->for_monitor.count > 0) {
        size_t count;
        const uint8_t *bytes = fifo_peek(&console->for_monitor, &count);
        ssize_t written = write(console->monitor_fd, bytes, count);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            break;
        }
        fifo_pop(&console->for_monitor, (size_t)written);
    }
    if (console->monitor_fd >= 0 && console->ended && console->for_monitor.count == 0) {
        shutdown(console->monitor_fd, SHUT_WR); /* a socket, since there is no terminal */
    }
}

static void watch_input(Console *console);

static void on_monitor(void *opaque, short events)
{
    Console *console = opaque;
    uint8_t bytes[4096];

    write_to_monitor(console);
    if (events & (POLLIN | POLLHUP | POLLERR)) {
        ssize_t count = read(console->monitor_fd, bytes, sizeof bytes);
        if (count > 0) {
            outqueue_write(&console->out, bytes, (size_t)count);
        } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
            end_session(console);
        }
    }
    watch_monitor(console);
    watch_input(console);
}

static void on_drained(void *opaque)
{
    watch_monitor(opaque);
}

static void begin_session(Console *console)
{
    console->monitor_fd = console->open_monitor(console->monitor_opaque, console->is_tty);
    if (console->monitor_fd < 0) {
        vmm_complain("monitor: %s", membus_last_error());
        return;
    }
    fcntl(console->monitor_fd, F_SETFL, O_NONBLOCK);
    watch_monitor(console);
}

static void type_to_monitor(Console *console, uint8_t byte)
{
    fifo_push(&console->for_monitor, byte);
}

/* ---- Keys --------------------------------------------------------------------------- */

static void switch_over(Console *console)
{
    if (!console->open_monitor || !console->has_serial) {
        return;
    }
    console->to_monitor = !console->to_monitor;
    say(console, "\r\n");
    if (!console->to_monitor) {
        return;
    }
    if (console->monitor_fd < 0) {
        begin_session(console);
    } else if (console->is_tty) {
        type_to_monitor(console, REDRAW);
    }
}

static void type(Console *console, uint8_t byte)
{
    if (console->to_monitor) {
        type_to_monitor(console, byte);
    } else if (console->has_serial) {
        console->serial.typed(console->serial.opaque, byte);
    }
}

static void on_key(Console *console, uint8_t key)
{
    if (!console->escape && key == ESCAPE) {
        console->escape = true;
        return;
    }
    if (!console->escape) {
        type(console, key);
        return;
    }
    console->escape = false;
    switch (key) {
    case ESCAPE:
        type(console, ESCAPE);
        break;
    case 'c':
        switch_over(console);
        break;
    case 'x':
        say(console, "\r\nmembus boot: ended by Ctrl-a x\r\n");
        machine_request(console->machine, MACHINE_QUIT, VMM_DONE);
        break;
    case 'h':
    case '?':
        say(console, "\r\n"
                     "Ctrl-a h       this help\r\n"
                     "Ctrl-a c       from the serial console to the monitor, and back\r\n"
                     "Ctrl-a x       end the machine\r\n"
                     "Ctrl-a Ctrl-a  send Ctrl-a\r\n");
        break;
    default:
        break;
    }
}

/* ---- Input ---------------------------------------------------------------------------- */

/*
 * How much may be read: the keys have to work whatever the guest takes, so that a terminal is
 * always read, and what is typed in vain is lost. A pipe waits.
 */
static size_t room_for_input(const Console *console)
{
    size_t room = fifo_room(&console->for_monitor);

    if (console->is_tty) {
        return FIFO_SIZE;
    }
    if (console->has_serial) {
        size_t serial = console->serial.room(console->serial.opaque);
        room = serial < room ? serial : room;
    }
    return room;
}

static void watch_input(Console *console)
{
    bool wanted = console->used && !console->ended && room_for_input(console) > 0;

    if (wanted && !console->watching) {
        console->watching =
            loop_watch(console->machine->loop, console->in, POLLIN, on_input, console) == 0;
    } else if (!wanted && console->watching) {
        loop_remove(console->machine->loop, console->in);
        console->watching = false;
    }
}

static void on_input(void *opaque, short events)
{
    Console *console = opaque;
    uint8_t bytes[FIFO_SIZE];
    size_t room = room_for_input(console);

    (void)events;
    if (room > 0) {
        ssize_t count = read(console->in, bytes, room);
        if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
            console->ended = true;
        }
        for (ssize_t i = 0; i < count; i++) {
            on_key(console, bytes[i]);
        }
    }
    write_to_monitor(console);
    watch_monitor(console);
    watch_input(console);
}

/* ---- Making and ending -------------------------------------------------------------------- */

Console *console_create(Machine *m, int in, int out)
{
    Console *console = calloc(1, sizeof *console);

    if (!console) {
        error_set(NULL, ENOMEM, "memory is short");
        return NULL;
    }
    console->machine = m;
    console->in = in;
    console->is_tty = isatty(in);
    console->monitor_fd = -1;
    int result = outqueue_open(&console->out, m, out, false);
    if (result < 0) {
        error_set(NULL, -result, "standard output: %s", strerror(-result));
        free(console);
        return NULL;
    }
    console->out.drained = on_drained;
    console->out.opaque = console;
    return console;
}

void console_destroy(Console *console)
{
    if (!console) {
        return;
    }
    console_remove_monitor(console);
    console_remove_serial(console);
    outqueue_close(&console->out);
    free(console);
}

static void use(Console *console)
{
    if (!console->used && console->is_tty) {
        tty_set_raw(console->in);
    }
    console->used = true;
    watch_input(console);
}

static void let_go(Console *console)
{
    console->used = console->has_serial || console->open_monitor;
    watch_input(console);
    if (!console->used && console->is_tty) {
        tty_restore();
    }
}

int console_add_serial(Console *console, const ConsoleSerial *serial, Error **errp)
{
    if (console->has_serial) {
        return error_set(errp, EBUSY, "stdio has a serial console already");
    }
    console->has_serial = true;
    console->serial = *serial;
    use(console);
    return 0;
}

void console_remove_serial(Console *console)
{
    if (console->has_serial) {
        console->has_serial = false;
        let_go(console);
    }
}

void console_write(Console *console, const uint8_t *bytes, size_t count)
{
    outqueue_write(&console->out, bytes, count);
}

bool console_is_used(const Console *console)
{
    return console->used;
}

void console_serial_has_room(Console *console)
{
    watch_input(console);
}

int console_add_monitor(Console *console, ConsoleOpenMonitor *open, void *opaque, Error **errp)
{
    if (console->open_monitor) {
        return error_set(errp, EBUSY, "stdio has a monitor already");
    }
    console->open_monitor = open;
    console->monitor_opaque = opaque;
    if (!console->has_serial) {
        console->to_monitor = true;
        begin_session(console);
    }
    use(console);
    return 0;
}

void console_remove_monitor(Console *console)
{
    if (!console->open_monitor) {
        return;
    }
    if (console->monitor_fd >= 0) {
        end_session(console);
    }
    console->open_monitor = NULL;
    let_go(console);
}
