/* SPDX-License-Identifier: MIT */
/* Characters: the console, a pseudo-terminal, a file, nowhere; and --exit-on. */
#include "chardev.h"

#include "console.h"
#include "fifo.h"
#include "outqueue.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* Finds a text in a stream (Knuth, Morris, Pratt): how much of it the last bytes are. */
typedef struct StreamMatch {
    const uint8_t *text;
    size_t length, matched;
    size_t *border; /* [n]: the longest end of the first n + 1 bytes that the text begins with */
} StreamMatch;

struct Chardev {
    Machine *machine;
    ChardevUser user;
    Fifo typed;
    bool delivering;
    StreamMatch exit_on;
    Console *console;  /* stdio */
    OutQueue out;      /* pty, file */
    int master, slave; /* pty: the slave is kept open, so that who uses it may come and go */
    bool watching;     /* master */
};

/* ---- --exit-on ---------------------------------------------------------------------- */

static int match_begin(StreamMatch *match, const char *text)
{
    size_t n = strlen(text);

    *match = (StreamMatch){.text = (const uint8_t *)text, .length = n};
    match->border = calloc(n + 1, sizeof *match->border);
    if (!match->border) {
        return -ENOMEM;
    }
    for (size_t i = 1, k = 0; i < n; i++) {
        while (k > 0 && match->text[i] != match->text[k]) {
            k = match->border[k - 1];
        }
        k += match->text[i] == match->text[k];
        match->border[i] = k;
    }
    return 0;
}

/* Whether it is complete somewhere in these bytes. */
static bool match_feed(StreamMatch *match, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while (match->matched > 0 && bytes[i] != match->text[match->matched]) {
            match->matched = match->border[match->matched - 1];
        }
        match->matched += bytes[i] == match->text[match->matched];
        if (match->matched == match->length) {
            match->matched = 0;
            return true;
        }
    }
    return false;
}

/* ---- What is typed -------------------------------------------------------------------- */

static void on_pty(void *opaque, short events);

/* A pty is read while there is room; the console asks for itself. */
static void watch_pty(Chardev *chr)
{
    bool wanted = fifo_room(&chr->typed) > 0;

    if (wanted && !chr->watching) {
        chr->watching = loop_watch(chr->machine->loop, chr->master, POLLIN, on_pty, chr) == 0;
    } else if (!wanted && chr->watching) {
        loop_remove(chr->machine->loop, chr->master);
        chr->watching = false;
    }
}

static void deliver(Chardev *chr)
{
    if (chr->delivering) {
        return; /* the user asks for more from within: the loop below goes on */
    }
    chr->delivering = true;
    while (chr->typed.count > 0 && chr->user.receive) {
        size_t count, can = chr->user.can_receive(chr->user.opaque);
        const uint8_t *next = fifo_peek(&chr->typed, &count);
        count = count < can ? count : can;
        if (count == 0) {
            break;
        }
        chr->user.receive(chr->user.opaque, next, count);
        fifo_pop(&chr->typed, count);
    }
    chr->delivering = false;
}

static void on_pty(void *opaque, short events)
{
    Chardev *chr = opaque;
    uint8_t bytes[FIFO_SIZE];
    ssize_t count = read(chr->master, bytes, fifo_room(&chr->typed));

    (void)events;
    for (ssize_t i = 0; i < count; i++) {
        fifo_push(&chr->typed, bytes[i]);
    }
    deliver(chr);
    watch_pty(chr);
}

static size_t console_room(void *opaque)
{
    Chardev *chr = opaque;

    return fifo_room(&chr->typed);
}

static void console_typed(void *opaque, uint8_t byte)
{
    Chardev *chr = opaque;

    fifo_push(&chr->typed, byte);
    deliver(chr);
}

void chardev_set_user(Chardev *chr, const ChardevUser *user)
{
    chr->user = *user;
    chardev_accept_input(chr);
}

void chardev_accept_input(Chardev *chr)
{
    deliver(chr);
    if (chr->console) {
        console_serial_has_room(chr->console);
    } else if (chr->master >= 0) {
        watch_pty(chr);
    }
}

/* ---- Kinds ------------------------------------------------------------------------------ */

static int open_console(Chardev *chr, Error **errp)
{
    const ConsoleSerial serial = {console_room, console_typed, chr};

    if (!chr->machine->console) {
        return error_set(errp, ENODEV, "the machine has no stdio");
    }
    int result = console_add_serial(chr->machine->console, &serial, errp);
    if (result == 0) {
        chr->console = chr->machine->console;
    }
    return result;
}

static int open_pty(Chardev *chr, Error **errp)
{
    struct termios mode;
    char name[64];

    if (openpty(&chr->master, &chr->slave, NULL, NULL, NULL) < 0) {
        chr->master = chr->slave = -1;
        return error_set(errp, errno, "no pseudo-terminal: %m");
    }
    fcntl(chr->master, F_SETFD, FD_CLOEXEC);
    fcntl(chr->slave, F_SETFD, FD_CLOEXEC);
    tcgetattr(chr->slave, &mode);
    cfmakeraw(&mode);
    tcsetattr(chr->slave, TCSANOW, &mode);
    int result = outqueue_open(&chr->out, chr->machine, chr->master, true);
    if (result < 0 || (result = -ptsname_r(chr->master, name, sizeof name)) < 0) {
        return error_set(errp, -result, "pseudo-terminal: %s", strerror(-result));
    }
    watch_pty(chr);
    vmm_complain("char device redirected to %s (label serial0)", name);
    return 0;
}

static int open_file(Chardev *chr, const char *name, Error **errp)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    if (fd < 0) {
        return error_set(errp, errno, "%s: %m", name);
    }
    int result = outqueue_open(&chr->out, chr->machine, fd, true);
    close(fd);
    return result < 0 ? error_set(errp, -result, "%s: %s", name, strerror(-result)) : 0;
}

static int open_kind(Chardev *chr, const char *what, Error **errp)
{
    if (strcmp(what, "stdio") == 0) {
        return open_console(chr, errp);
    }
    if (strcmp(what, "pty") == 0) {
        return open_pty(chr, errp);
    }
    if (strncmp(what, "file:", 5) == 0 && what[5]) {
        return open_file(chr, what + 5, errp);
    }
    if (strcmp(what, "null") == 0) {
        return 0;
    }
    return error_set(errp, EINVAL, "--serial %s: write stdio, pty, file:NAME or null", what);
}

Chardev *chardev_open(Machine *m, const char *what, Error **errp)
{
    Chardev *chr = calloc(1, sizeof *chr);

    if (!chr) {
        error_set(errp, ENOMEM, "memory is short");
        return NULL;
    }
    chr->machine = m;
    chr->master = chr->slave = -1;
    if (m->options->exit_on && match_begin(&chr->exit_on, m->options->exit_on) < 0) {
        error_set(errp, ENOMEM, "memory is short");
    } else if (open_kind(chr, what, errp) == 0) {
        return chr;
    }
    chardev_close(chr);
    return NULL;
}

void chardev_close(Chardev *chr)
{
    if (!chr) {
        return;
    }
    if (chr->console) {
        console_remove_serial(chr->console);
    }
    outqueue_close(&chr->out);
    if (chr->master >= 0) {
        if (chr->watching) {
            loop_remove(chr->machine->loop, chr->master);
        }
        close(chr->master);
        close(chr->slave);
    }
    free(chr->exit_on.border);
    free(chr);
}

void chardev_write(Chardev *chr, const uint8_t *bytes, size_t count)
{
    if (chr->console) {
        console_write(chr->console, bytes, count);
    } else if (chr->out.machine) {
        outqueue_write(&chr->out, bytes, count);
    }
    if (chr->exit_on.border && chr == chr->machine->serial &&
        match_feed(&chr->exit_on, bytes, count)) {
        machine_request(chr->machine, MACHINE_QUIT, VMM_DONE);
    }
}
