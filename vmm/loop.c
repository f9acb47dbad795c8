/* SPDX-License-Identifier: MIT */
/* The main thread's loop: descriptors, timers, requests; and the guest's clock. */
#include "machine_run.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

typedef struct Watch {
    LoopReady *ready;
    void *opaque;
    uint64_t number; /* which entry it is: an fd may be closed and watched anew */
} Watch;

struct Loop {
    Machine *machine;
    int wake_fd;
    /* machine lock; parallel arrays, the first entry is wake_fd's */
    struct pollfd *fds;
    Watch *watches;
    size_t count, room;
    uint64_t next_number;
};

static int64_t host_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

/* ---- Descriptors ----------------------------------------------------------------- */

static int grow(Loop *loop)
{
    if (loop->count < loop->room) {
        return 0;
    }
    size_t room = loop->room ? 2 * loop->room : 8;
    struct pollfd *fds = realloc(loop->fds, room * sizeof *fds);
    if (!fds) {
        return -ENOMEM;
    }
    loop->fds = fds;
    Watch *watches = realloc(loop->watches, room * sizeof *watches);
    if (!watches) {
        return -ENOMEM;
    }
    loop->watches = watches;
    loop->room = room;
    return 0;
}

static size_t find_watch(const Loop *loop, int fd)
{
    size_t i = 0;

    while (i < loop->count && loop->fds[i].fd != fd) {
        i++;
    }
    return i;
}

int loop_watch(Loop *loop, int fd, short events, LoopReady *ready, void *opaque)
{
    size_t i = find_watch(loop, fd);

    if (i == loop->count) {
        if (grow(loop) < 0) {
            return -ENOMEM;
        }
        loop->count++;
    }
    loop->fds[i] = (struct pollfd){.fd = fd, .events = events};
    loop->watches[i] = (Watch){ready, opaque, loop->next_number++};
    loop_wake(loop);
    return 0;
}

void loop_remove(Loop *loop, int fd)
{
    size_t i = find_watch(loop, fd);

    if (i < loop->count) {
        loop->count--;
        loop->fds[i] = loop->fds[loop->count];
        loop->watches[i] = loop->watches[loop->count];
    }
}

void loop_wake(Loop *loop)
{
    uint64_t one = 1;
    ssize_t ignored = write(loop->wake_fd, &one, sizeof one); /* full: it wakes up anyway */
    (void)ignored;
}

static void drain_wake_fd(void *opaque, short events)
{
    Loop *loop = opaque;
    uint64_t count;
    ssize_t ignored = read(loop->wake_fd, &count, sizeof count);
    (void)ignored, (void)events;
}

/* Callbacks may add and remove entries: those that have come since are not called. */
static void dispatch(Loop *loop, const struct pollfd *fds, size_t count)
{
    uint64_t newest = loop->next_number;

    for (size_t i = 0; i < count; i++) {
        size_t at = fds[i].revents ? find_watch(loop, fds[i].fd) : loop->count;
        if (at < loop->count && loop->watches[at].number < newest) {
            loop->watches[at].ready(loop->watches[at].opaque, fds[i].revents);
        }
    }
}

/* ---- The guest's time ---------------------------------------------------------------- */

int64_t machine_clock(Machine *m)
{
    return m->run->clock_stopped ? m->run->clock_at_stop : host_time() - m->run->clock_offset;
}

void machine_clock_stop(Machine *m)
{
    m->run->clock_at_stop = machine_clock(m);
    m->run->clock_stopped = true;
}

void machine_clock_start(Machine *m)
{
    m->run->clock_offset = host_time() - m->run->clock_at_stop;
    m->run->clock_stopped = false;
    loop_wake(m->loop);
}

void timer_init(Timer *timer, Machine *m, void (*fn)(void *opaque), void *opaque)
{
    *timer = (Timer){.machine = m, .fn = fn, .opaque = opaque, .deadline = -1};
}

void timer_stop(Timer *timer)
{
    if (timer->deadline < 0) {
        return;
    }
    for (Timer **at = &timer->machine->run->timers; *at; at = &(*at)->next) {
        if (*at == timer) {
            *at = timer->next;
            break;
        }
    }
    timer->deadline = -1;
}

void timer_set(Timer *timer, int64_t deadline)
{
    RunState *run = timer->machine->run;
    Timer **at = &run->timers;

    timer_stop(timer);
    timer->deadline = deadline < 0 ? 0 : deadline;
    while (*at && (*at)->deadline <= timer->deadline) {
        at = &(*at)->next;
    }
    timer->next = *at;
    *at = timer;
    if (run->timers == timer) {
        loop_wake(timer->machine->loop);
    }
}

/* Timers that set themselves anew wait for the next round, however late it is. */
static void run_timers(Machine *m)
{
    RunState *run = m->run;
    int64_t now = machine_clock(m);

    while (!run->clock_stopped && run->timers && run->timers->deadline <= now) {
        Timer *timer = run->timers;
        run->timers = timer->next;
        timer->deadline = -1;
        timer->fn(timer->opaque);
    }
}

/* ---- The loop ---------------------------------------------------------------------------- */

Loop *loop_create(Machine *m)
{
    Loop *loop = calloc(1, sizeof *loop);

    if (!loop) {
        return NULL;
    }
    loop->machine = m;
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0 || loop_watch(loop, loop->wake_fd, POLLIN, drain_wake_fd, loop) < 0) {
        loop_destroy(loop);
        return NULL;
    }
    return loop;
}

void loop_destroy(Loop *loop)
{
    if (loop) {
        if (loop->wake_fd >= 0) {
            close(loop->wake_fd);
        }
        free(loop->fds);
        free(loop->watches);
        free(loop);
    }
}

/* Nanoseconds until something is due; -1: nothing is. */
static int64_t time_to_wait(const Machine *m)
{
    const RunState *run = m->run;
    int64_t wait = -1;

    if (!run->clock_stopped && run->timers) {
        wait = run->timers->deadline - (host_time() - run->clock_offset);
        wait = wait < 0 ? 0 : wait;
    }
    if (run->give_up_at) {
        int64_t left = run->give_up_at - host_time();
        left = left < 0 ? 0 : left;
        wait = wait < 0 || left < wait ? left : wait;
    }
    return wait;
}

void loop_give_up_after(Machine *m, double seconds)
{
    m->run->give_up_at = host_time() + (int64_t)(seconds * (double)NS_PER_SECOND);
}

/* One round; false if memory is short. */
static bool wait_and_serve(Machine *m)
{
    Loop *loop = m->loop;

    memory_system_lock(m->ms);
    run_timers(m);
    int64_t wait = time_to_wait(m);
    size_t count = loop->count;
    struct pollfd *fds = malloc(count * sizeof *fds);
    if (fds) {
        memcpy(fds, loop->fds, count * sizeof *fds);
    }
    memory_system_unlock(m->ms);
    if (!fds) {
        return false;
    }

    struct timespec timeout = {wait / NS_PER_SECOND, wait % NS_PER_SECOND};
    if (ppoll(fds, (nfds_t)count, wait < 0 ? NULL : &timeout, NULL) > 0) {
        memory_system_lock(m->ms);
        dispatch(loop, fds, count);
        memory_system_unlock(m->ms);
    }
    free(fds);
    return true;
}

int loop_run(Machine *m)
{
    RunState *run = m->run;

    for (;;) {
        int status;
        if (machine_serve_requests(m, &status)) {
            return status;
        }
        if (run->give_up_at && host_time() >= run->give_up_at) {
            return VMM_TIMEOUT;
        }
        if (!wait_and_serve(m)) {
            vmm_complain("memory is short");
            return VMM_TROUBLE;
        }
    }
}
