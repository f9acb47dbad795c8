/* SPDX-License-Identifier: MIT */
/*
 * console.h - standard input and output, which the serial console and the monitor share.
 *
 * What both print is shown; what is typed goes to one of them, at first the serial console. The
 * keys are those that users of QEMU know:
 *      Ctrl-a h  help             Ctrl-a c       serial console <-> monitor
 *      Ctrl-a x  end the machine  Ctrl-a Ctrl-a  a Ctrl-a
 * They work where standard input is a pipe, too. The terminal is raw while it is used.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "machine.h"

/* What the serial console has to do with it; NULL members where there is none. */
typedef struct ConsoleSerial {
    size_t (*room)(void *opaque); /* for what was typed */
    void (*typed)(void *opaque, uint8_t byte);
    void *opaque;
} ConsoleSerial;

/*
 * Begin a session of the monitor and return a descriptor, which becomes the console's: what it
 * reads from there it shows, what is typed it writes there. -1 on an error. @is_tty: whether lines
 * are edited on it. Context: machine lock.
 */
typedef int ConsoleOpenMonitor(void *opaque, bool is_tty);

/*
 * The console of @m; nothing is done to the terminal before one of the two is added. NULL if memory
 * is short. @in, @out: descriptors, the caller's. Context of all: machine lock.
 */
Console *console_create(Machine *m, int in, int out);
void console_destroy(Console *console); /* NULL is fine; prints what is left */

int console_add_serial(Console *console, const ConsoleSerial *serial, Error **errp);
void console_remove_serial(Console *console);
void console_write(Console *console, const uint8_t *bytes, size_t count);
/* The serial console has room for more. */
void console_serial_has_room(Console *console);

/* Whether anybody has been added. */
bool console_is_used(const Console *console);

/* A session begins when it is first wanted: now, if there is no serial console. */
int console_add_monitor(Console *console, ConsoleOpenMonitor *open, void *opaque, Error **errp);
/* Its end of the descriptor may be closed now. */
void console_remove_monitor(Console *console);

#endif
