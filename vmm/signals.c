/* SPDX-License-Identifier: MIT */
/*
 * The process's terminal and signals.
 *
 * Ways out, and who restores the terminal:
 *      the machine ends                        console.c, by tty_restore()
 *      exit(3) from anywhere                   atexit(3)
 *      SIGINT, SIGTERM, SIGHUP, SIGQUIT        the loop ends the machine; the second time on_end()
 *      SIGABRT, SIGSEGV and their like         on_crash(), then what would have happened without us
 *      SIGTSTP, and back with SIGCONT          on_stop(), on_continue()
 * After a SIGSTOP, which nobody sees, SIGCONT makes the terminal raw again as well.
 */
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static void on_end(int signo);
static void on_crash(int signo, siginfo_t *info, void *context);
static void on_stop(int signo);
static void on_continue(int signo);

static const struct {
    int signo;
    void (*handler)(int signo);
    void (*action)(int signo, siginfo_t *info, void *context);
} caught[] = {
    {SIGINT, on_end, NULL},   {SIGTERM, on_end, NULL},      {SIGHUP, on_end, NULL},
    {SIGQUIT, on_end, NULL},  {SIGABRT, NULL, on_crash},    {SIGSEGV, NULL, on_crash},
    {SIGBUS, NULL, on_crash}, {SIGILL, NULL, on_crash},     {SIGFPE, NULL, on_crash},
    {SIGTSTP, on_stop, NULL}, {SIGCONT, on_continue, NULL}, {SIGPIPE, SIG_IGN, NULL},
};
#define NR_CAUGHT (sizeof caught / sizeof *caught)

/* What handlers look at has to be static. */
static struct {
    Machine *machine; /* that has the signals; NULL: none */
    int pipe[2];      /* numbers of signals, from the handler to the loop */
    volatile sig_atomic_t seen;
    struct sigaction before[NR_CAUGHT];

    volatile sig_atomic_t raw; /* the following is filled in, and in force in the foreground */
    int tty;
    struct termios cooked_mode, raw_mode;
} process;

/* ---- The terminal --------------------------------------------------------------- */

/*
 * Who is in the background must not touch the terminal: it is another one's. (There is neither for
 * a terminal that does not control us.)
 */
static void set_mode(const struct termios *mode)
{
    pid_t foreground = tcgetpgrp(process.tty);

    if (foreground < 0 || foreground == getpgrp()) {
        tcsetattr(process.tty, TCSANOW, mode);
    }
}

void tty_restore(void)
{
    if (process.raw) {
        set_mode(&process.cooked_mode);
        process.raw = 0;
    }
}

void tty_set_raw(int fd)
{
    static bool registered;

    if (process.raw || tcgetattr(fd, &process.cooked_mode) < 0) {
        return;
    }
    if (!registered) {
        registered = atexit(tty_restore) == 0;
    }
    process.tty = fd;
    process.raw_mode = process.cooked_mode;
    cfmakeraw(&process.raw_mode);
    process.raw_mode.c_oflag = process.cooked_mode.c_oflag;
    process.raw = 1;
    set_mode(&process.raw_mode);
}

/* ---- Handlers: async-signal-safe calls only ----------------------------------------- */

static void on_end(int signo)
{
    int saved = errno;
    uint8_t number = (uint8_t)signo;

    if (process.seen || write(process.pipe[1], &number, 1) != 1) {
        tty_restore();
        signal(signo, SIG_DFL);
        raise(signo);
    }
    process.seen = 1;
    errno = saved;
}

static void on_crash(int signo, siginfo_t *info, void *context)
{
    (void)context;
    tty_restore();
    for (size_t i = 0; i < NR_CAUGHT; i++) {
        if (caught[i].signo == signo) {
            sigaction(signo, &process.before[i], NULL);
        }
    }
    /* A fault comes again by itself, and tells more to whoever listens. */
    if (info->si_code <= 0) {
        raise(signo);
    }
}

static void on_stop(int signo)
{
    int saved = errno;

    (void)signo;
    if (process.raw) {
        set_mode(&process.cooked_mode);
    }
    kill(getpid(), SIGSTOP);
    errno = saved;
}

static void on_continue(int signo)
{
    int saved = errno;

    (void)signo;
    if (process.raw) {
        set_mode(&process.raw_mode);
    }
    errno = saved;
}

/* ---- The machine that has them --------------------------------------------------------- */

static void end_machine(void *opaque, short events)
{
    Machine *m = opaque;
    uint8_t number;

    (void)events;
    if (read(process.pipe[0], &number, 1) == 1) {
        machine_request(m, MACHINE_QUIT, VMM_SIGNAL + number);
    }
}

int signals_begin(Machine *m, Error **errp)
{
    if (process.machine) {
        return 0;
    }
    if (pipe2(process.pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
        return error_set(errp, errno, "no pipe for signals: %m");
    }
    memory_system_lock(m->ms);
    int result = loop_watch(m->loop, process.pipe[0], POLLIN, end_machine, m);
    memory_system_unlock(m->ms);
    if (result < 0) {
        close(process.pipe[0]);
        close(process.pipe[1]);
        return error_set(errp, -result, "memory is short");
    }
    process.machine = m;
    process.seen = 0;
    for (size_t i = 0; i < NR_CAUGHT; i++) {
        struct sigaction action = {.sa_flags = SA_RESTART | (caught[i].action ? SA_SIGINFO : 0)};
        if (caught[i].action) {
            action.sa_sigaction = caught[i].action;
        } else {
            action.sa_handler = caught[i].handler;
        }
        sigaction(caught[i].signo, NULL, &process.before[i]);
        /* What was ignored stays so: nohup(1). */
        bool ignored =
            !(process.before[i].sa_flags & SA_SIGINFO) && process.before[i].sa_handler == SIG_IGN;
        if (!ignored) {
            sigaction(caught[i].signo, &action, NULL);
        }
    }
    return 0;
}

void signals_end(Machine *m)
{
    if (process.machine != m) {
        return;
    }
    tty_restore();
    for (size_t i = 0; i < NR_CAUGHT; i++) {
        sigaction(caught[i].signo, &process.before[i], NULL);
    }
    memory_system_lock(m->ms);
    loop_remove(m->loop, process.pipe[0]);
    memory_system_unlock(m->ms);
    close(process.pipe[0]);
    close(process.pipe[1]);
    process.machine = NULL;
}
