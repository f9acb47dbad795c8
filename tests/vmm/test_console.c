/* SPDX-License-Identifier: MIT */
/* The console: its keys, who gets what is typed, terminals and pipes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/serial.h"

typedef struct Terminal {
    int master, slave;
    struct termios before;
    char shown[65536];
    size_t count;
} Terminal;

static Terminal terminal;

static Vm *on_terminal(void)
{
    Vm *vm = vm_with_terminals();

    terminal = (Terminal){0};
    assert_int_equal(0, openpty(&terminal.master, &terminal.slave, NULL, NULL, NULL));
    assert_int_equal(0, tcgetattr(terminal.slave, &terminal.before));
    memory_system_lock(vm->machine.ms);
    vm->machine.console = console_create(&vm->machine, terminal.slave, terminal.slave);
    memory_system_unlock(vm->machine.ms);
    assert_non_null(vm->machine.console);
    return vm;
}

/* What has come on the terminal, until it has @text in it. */
static void wait_shown(const char *text)
{
    while (!strstr(terminal.shown, text)) {
        struct pollfd fd = {.fd = terminal.master, .events = POLLIN};
        if (poll(&fd, 1, 5000) <= 0) {
            fail_msg("'%s' was not shown, but '%s'", text, terminal.shown);
        }
        ssize_t got = read(terminal.master, terminal.shown + terminal.count,
                           sizeof terminal.shown - 1 - terminal.count);
        assert_true(got > 0);
        terminal.count += (size_t)got;
    }
}

static void forget_shown(void)
{
    terminal.count = 0;
    memset(terminal.shown, 0, sizeof terminal.shown);
}

static void type_in(const char *text)
{
    assert_int_equal(write(terminal.master, text, strlen(text)), strlen(text));
}

static void leave_terminal(Vm *vm)
{
    struct termios now = {0};

    finish(vm);
    assert_int_equal(0, tcgetattr(terminal.slave, &now));
    assert_memory_equal(&now, &terminal.before, offsetof(struct termios, c_cc) + NCCS);
    close(terminal.master);
    close(terminal.slave);
}

static void keys(void **state)
{
    Vm *vm = on_terminal();

    (void)state;
    open_serial(vm, "stdio");
    use_taker(vm->machine.serial, SIZE_MAX);
    vm_start(vm);
    type_in("ab\003\032\001\001\001zc"); /* Ctrl-c, Ctrl-z, Ctrl-a Ctrl-a, Ctrl-a z, c */
    wait_taken(vm, 6);
    assert_memory_equal(taker.bytes, "ab\003\032\001c", 6);
    put(vm, "guest\r\n");
    wait_shown("guest\r");
    type_in("\001h");
    wait_shown("end the machine");
    type_in("\001c!"); /* there is no monitor: nothing happens */
    wait_taken(vm, 7);
    type_in("\001x");
    assert_int_equal(vm_wait(vm), VMM_DONE);
    wait_shown("ended by Ctrl-a x");
    leave_terminal(vm);
}

/* The guest takes nothing: the keys work all the same. */
static void keys_reach_us_when_the_guest_hangs(void **state)
{
    Vm *vm = on_terminal();

    (void)state;
    open_serial(vm, "stdio");
    vm_start(vm);
    for (unsigned i = 0; i < 3; i++) {
        char line[2001];
        memset(line, 'x', sizeof line - 1);
        line[sizeof line - 1] = '\0';
        type_in(line);
        usleep(20000);
    }
    type_in("\001x");
    assert_int_equal(vm_wait(vm), VMM_DONE);
    leave_terminal(vm);
}

static int session_fd = -1, sessions;

static int open_session(void *opaque, bool is_tty)
{
    struct termios raw = {0};
    int ends[2];

    (void)opaque, (void)is_tty;
    cfmakeraw(&raw);
    assert_int_equal(0, openpty(&ends[0], &ends[1], NULL, &raw, NULL));
    session_fd = ends[1];
    sessions++;
    return ends[0];
}

static void the_monitor_gets_what_is_typed_after_a_switch(void **state)
{
    Vm *vm = on_terminal();
    char bytes[64] = "";

    (void)state;
    sessions = 0;
    open_serial(vm, "stdio");
    use_taker(vm->machine.serial, SIZE_MAX);
    memory_system_lock(vm->machine.ms);
    assert_int_equal(0, console_add_monitor(vm->machine.console, open_session, NULL, NULL));
    assert_int_equal(-EBUSY, console_add_monitor(vm->machine.console, open_session, NULL, NULL));
    memory_system_unlock(vm->machine.ms);
    assert_int_equal(sessions, 0); /* nobody has asked for it */
    vm_start(vm);
    type_in("1\001c2\n");
    wait_taken(vm, 1);
    for (unsigned i = 0; i < 1000 && session_fd < 0; i++) {
        usleep(1000);
    }
    assert_int_equal(read(session_fd, bytes, sizeof bytes), 2);
    assert_string_equal(bytes, "2\n");
    assert_int_equal(write(session_fd, "said\n", 5), 5);
    wait_shown("said");
    put(vm, "both are shown");
    wait_shown("both are shown");
    type_in("\001c3");
    wait_taken(vm, 2);
    type_in("\001c4\n");
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(read(session_fd, bytes, sizeof bytes), 3);
    assert_string_equal(bytes, "\0364\n"); /* Ctrl-^: show the line again */
    assert_int_equal(sessions, 1);
    close(session_fd);
    session_fd = -1;
    leave_terminal(vm);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Nobody reads: writing goes on at once, what fits is kept, the rest is lost. */
static void a_slow_reader_does_not_stop_the_machine(void **state)
{
    Vm *vm = on_terminal();
    double start = seconds();
    char line[1025];

    (void)state;
    open_serial(vm, "stdio");
    vm_start(vm);
    for (unsigned i = 0; i < 4096; i++) {
        snprintf(line, sizeof line, "%04x", i);
        memset(line + 4, '.', 1020);
        line[1024] = '\0';
        put(vm, line);
    }
    assert_true(seconds() - start < 5);
    /* The first MiB comes, whole and in order. */
    for (unsigned i = 0; i < 1024; i++) {
        snprintf(line, sizeof line, "%04x......", i);
        wait_shown(line);
        char *at = strstr(terminal.shown, line);
        terminal.count -= (size_t)(at + 4 - terminal.shown);
        memmove(terminal.shown, at + 4, terminal.count + 1);
        memset(terminal.shown + terminal.count, 0, sizeof terminal.shown - terminal.count);
    }
    forget_shown();
    for (;;) {
        struct pollfd fd = {.fd = terminal.master, .events = POLLIN};
        if (poll(&fd, 1, 200) <= 0) {
            break;
        }
        terminal.count = 0;
        assert_true(read(terminal.master, terminal.shown, sizeof terminal.shown) > 0);
    }
    leave_terminal(vm);
}

/* The mode of the descriptor is the shell's, too. */
static void descriptors_stay_blocking(void **state)
{
    Vm *vm = on_terminal();

    (void)state;
    open_serial(vm, "stdio");
    assert_false(fcntl(terminal.slave, F_GETFL) & O_NONBLOCK);
    leave_terminal(vm);
}

/* From a pipe nothing is lost, however slowly the guest takes it; its end is no end. */
static void a_pipe_waits_for_the_guest(void **state)
{
    Vm *vm = vm_create(NULL);
    int in[2], out[2];
    char *text = malloc(100000), shown[32] = "";

    (void)state;
    assert_int_equal(0, pipe(in));
    assert_int_equal(0, pipe(out));
    memory_system_lock(vm->machine.ms);
    vm->machine.console = console_create(&vm->machine, in[0], out[1]);
    memory_system_unlock(vm->machine.ms);
    open_serial(vm, "stdio");
    use_taker(vm->machine.serial, 0);
    vm_start(vm);
    for (unsigned i = 0; i < 100000; i++) {
        text[i] = (char)('0' + i * 7 % 64);
    }
    for (size_t done = 0; done < 100000;) {
        struct pollfd fd = {.fd = in[1], .events = POLLOUT};
        if (poll(&fd, 1, 0) > 0) {
            ssize_t written =
                write(in[1], text + done, 100000 - done < 4096 ? 100000 - done : 4096);
            assert_true(written > 0);
            done += (size_t)written;
        }
        memory_system_lock(vm->machine.ms);
        taker.at_once = 13;
        chardev_accept_input(vm->machine.serial);
        taker.at_once = 0;
        memory_system_unlock(vm->machine.ms);
    }
    close(in[1]);
    memory_system_lock(vm->machine.ms);
    taker.at_once = 100;
    chardev_accept_input(vm->machine.serial);
    memory_system_unlock(vm->machine.ms);
    wait_taken(vm, 100000);
    assert_memory_equal(taker.bytes, text, 100000);
    put(vm, "still here");
    assert_int_equal(read(out[0], shown, sizeof shown), 10);
    assert_string_equal(shown, "still here");
    close(out[0]);
    put(vm, "nobody reads");
    finish(vm);
    close(in[0]);
    close(out[1]);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),
        cmocka_unit_test(keys_reach_us_when_the_guest_hangs),
        cmocka_unit_test(the_monitor_gets_what_is_typed_after_a_switch),
        cmocka_unit_test(a_slow_reader_does_not_stop_the_machine),
        cmocka_unit_test(descriptors_stay_blocking),
        cmocka_unit_test(a_pipe_waits_for_the_guest),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
