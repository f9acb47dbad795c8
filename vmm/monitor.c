/* SPDX-License-Identifier: MIT */
/*
 * The monitor's threads.
 *
 *      terminal <-> console.c <-> pty or socket pair <-> console session
 *      unix socket <-------------------------------------> socket session, one user after another
 *
 * Sessions read and write with stdio and may wait; the loop never does. On the console, lines are
 * edited on a pseudo-terminal between it and the session, so that the editor has a terminal of
 * its own to set up as it likes. A session ends when its descriptor is shut.
 */
#include "monitor.h"

#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct Monitor {
    Machine *machine;
    atomic_bool ending;

    MonitorSession console;
    pthread_t console_thread;
    bool has_console_thread;
    int console_fd; /* the session's end */
    bool edit;

    MonitorSession socket;
    pthread_t socket_thread;
    bool has_socket_thread;
    bool json;
    struct sockaddr_un address; /* of what is to be removed; sun_path is empty: nothing */
    struct stat made;           /* as it was made */
    int listener, wake;
    pthread_mutex_t lock; /* guards user */
    int user;             /* -1: nobody is connected */
};

/* Signals are for the main thread and the CPUs; one's own faults cannot be left to others. */
static int start_thread(pthread_t *thread, void *(*run)(void *opaque), Monitor *monitor)
{
    static const int own[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    sigset_t blocked, before;

    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        sigdelset(&blocked, own[i]);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int result = pthread_create(thread, NULL, run, monitor);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

/* Serve @fd, which is closed then. */
static void serve(MonitorSession *session, int fd, bool json, bool edit)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    FILE *in = fdopen(fd, "r"), *out = copy < 0 ? NULL : fdopen(copy, "w");

    if (in && out && json) {
        monitor_serve_json(session, in, out);
    } else if (in && out) {
        monitor_serve_text(session, in, out, edit);
    }
    if (out) {
        fclose(out);
    } else if (copy >= 0) {
        close(copy);
    }
    if (in) {
        fclose(in);
    } else {
        close(fd);
    }
}

/* ---- On the console ------------------------------------------------------------------- */

static void *run_console(void *opaque)
{
    Monitor *monitor = opaque;

    serve(&monitor->console, monitor->console_fd, false, monitor->edit);
    return NULL;
}

/* As large as the real terminal, and so that a session's output needs no CRs added by it. */
static int open_terminal(int ends[2])
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};

    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    if (openpty(&ends[0], &ends[1], NULL, NULL, &size) < 0) {
        return -1;
    }
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return 0;
}

static int open_console(void *opaque, bool is_tty)
{
    Monitor *monitor = opaque;
    int ends[2];

    if (monitor->has_console_thread) {
        /* The last session has ended, or it would be used. */
        pthread_join(monitor->console_thread, NULL);
        monitor->has_console_thread = false;
    }
    if ((is_tty ? open_terminal(ends) : socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) <
        0) {
        error_set(NULL, errno, "%m");
        return -1;
    }
    monitor->console_fd = ends[1];
    monitor->edit = is_tty;
    int result = start_thread(&monitor->console_thread, run_console, monitor);
    if (result != 0) {
        close(ends[0]);
        close(ends[1]);
        error_set(NULL, result, "no thread: %s", strerror(result));
        return -1;
    }
    monitor->has_console_thread = true;
    return ends[0];
}

/* ---- On a socket ------------------------------------------------------------------------- */

/* The session's descriptor, known to others so that they can shut it. */
static void serve_user(Monitor *monitor, int fd)
{
    pthread_mutex_lock(&monitor->lock);
    bool ending = atomic_load(&monitor->ending);
    monitor->user = ending ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    pthread_mutex_unlock(&monitor->lock);
    if (ending || monitor->user < 0) {
        close(fd);
        return;
    }
    monitor->socket.cpu = 0;
    serve(&monitor->socket, fd, monitor->json, false);
    pthread_mutex_lock(&monitor->lock);
    close(monitor->user);
    monitor->user = -1;
    pthread_mutex_unlock(&monitor->lock);
}

static void *run_socket(void *opaque)
{
    Monitor *monitor = opaque;
    struct pollfd fds[] = {{.fd = monitor->listener, .events = POLLIN},
                           {.fd = monitor->wake, .events = POLLIN}};

    while (!atomic_load(&monitor->ending)) {
        if (poll(fds, 2, -1) > 0 && fds[0].revents) {
            int fd = accept4(monitor->listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0) {
                serve_user(monitor, fd);
            }
        }
    }
    return NULL;
}

/* A socket that nobody listens at any more is in the way; anything else is left alone. */
static void remove_stale(const struct sockaddr_un *address)
{
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
        connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 &&
        errno == ECONNREFUSED) {
        unlink(address->sun_path);
    }
    if (fd >= 0) {
        close(fd);
    }
}

static int listen_at(Monitor *monitor, const char *path, size_t length, Error **errp)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (length == 0 || length >= sizeof address.sun_path) {
        return error_set(errp, EINVAL, "--monitor: a socket's path has 1 to %zu bytes",
                         sizeof address.sun_path - 1);
    }
    memcpy(address.sun_path, path, length);
    remove_stale(&address);
    monitor->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (monitor->listener < 0) {
        return error_set(errp, errno, "--monitor: %m");
    }
    /* Its mode is the socket's own, so that it is there with no other one for no moment. */
    if (fchmod(monitor->listener, 0600) < 0 ||
        bind(monitor->listener, (struct sockaddr *)&address, sizeof address) < 0) {
        return error_set(errp, errno, "--monitor: %s: %m", address.sun_path);
    }
    monitor->address = address;
    lstat(address.sun_path, &monitor->made);
    if (listen(monitor->listener, 8) < 0) {
        return error_set(errp, errno, "--monitor: %s: %m", address.sun_path);
    }
    return 0;
}

static int open_socket(Monitor *monitor, const char *what, Error **errp)
{
    static const char json[] = ",json";
    size_t length = strlen(what), ending = sizeof json - 1;

    monitor->json = length > ending && strcmp(what + length - ending, json) == 0;
    int result = listen_at(monitor, what, monitor->json ? length - ending : length, errp);
    if (result < 0) {
        return result;
    }
    monitor->wake = eventfd(0, EFD_CLOEXEC);
    if (monitor->wake < 0) {
        return error_set(errp, errno, "--monitor: %m");
    }
    result = start_thread(&monitor->socket_thread, run_socket, monitor);
    if (result != 0) {
        return error_set(errp, result, "--monitor: no thread: %s", strerror(result));
    }
    monitor->has_socket_thread = true;
    return 0;
}

static void close_socket(Monitor *monitor)
{
    struct stat st;

    if (monitor->has_socket_thread) {
        uint64_t one = 1;
        ssize_t ignored = write(monitor->wake, &one, sizeof one);
        (void)ignored;
        pthread_mutex_lock(&monitor->lock);
        if (monitor->user >= 0) {
            shutdown(monitor->user, SHUT_RDWR);
        }
        pthread_mutex_unlock(&monitor->lock);
        pthread_join(monitor->socket_thread, NULL);
    }
    /* Another one may have taken the name. */
    if (monitor->address.sun_path[0] && lstat(monitor->address.sun_path, &st) == 0 &&
        st.st_ino == monitor->made.st_ino && st.st_dev == monitor->made.st_dev) {
        unlink(monitor->address.sun_path);
    }
    if (monitor->listener >= 0) {
        close(monitor->listener);
    }
    if (monitor->wake >= 0) {
        close(monitor->wake);
    }
}

/* ---- Making and ending ----------------------------------------------------------------------- */

static int open_what(Monitor *monitor, const char *what, Error **errp)
{
    Machine *m = monitor->machine;

    if (what && strncmp(what, "unix:", 5) == 0) {
        int result = open_socket(monitor, what + 5, errp);
        if (result < 0) {
            return result;
        }
    } else if (what && strcmp(what, "stdio") != 0) {
        return error_set(errp, EINVAL, "--monitor %s: write stdio, unix:PATH or unix:PATH,json",
                         what);
    }
    /* The terminal has one wherever it is used anyway. */
    bool wanted = what && strcmp(what, "stdio") == 0;
    if (!m->console || !(wanted || console_is_used(m->console))) {
        return wanted ? error_set(errp, ENODEV, "--monitor: the machine has no stdio") : 0;
    }
    return console_add_monitor(m->console, open_console, monitor, errp);
}

int monitor_create(Machine *m, Error **errp)
{
    Monitor *monitor = calloc(1, sizeof *monitor);

    if (!monitor) {
        return error_set(errp, ENOMEM, "memory is short");
    }
    *monitor = (Monitor){.machine = m, .listener = -1, .wake = -1, .user = -1};
    monitor->console = monitor->socket = (MonitorSession){.machine = m, .ending = &monitor->ending};
    pthread_mutex_init(&monitor->lock, NULL);
    m->monitor = monitor;
    memory_system_lock(m->ms);
    int result = open_what(monitor, m->options->monitor, errp);
    memory_system_unlock(m->ms);
    return result;
}

void monitor_destroy(Machine *m)
{
    Monitor *monitor = m->monitor;

    if (!monitor) {
        return;
    }
    atomic_store(&monitor->ending, true);
    memory_system_lock(m->ms);
    if (m->console) {
        console_remove_monitor(m->console);
    }
    memory_system_unlock(m->ms);
    if (monitor->has_console_thread) {
        pthread_join(monitor->console_thread, NULL);
    }
    close_socket(monitor);
    pthread_mutex_destroy(&monitor->lock);
    free(monitor);
    m->monitor = NULL;
}
