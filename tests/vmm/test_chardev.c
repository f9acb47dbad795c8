/* SPDX-License-Identifier: MIT */
/* Chardevs and the console: on pseudo-terminals, pipes and files. */
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

#include "support/vm.h"
#include "vmm/chardev.h"
#include "vmm/console.h"

/* Takes what is typed, @at_once bytes at a time. */
typedef struct Taker {
    size_t at_once, count;
    char bytes[200000];
} Taker;

static Taker taker;

static size_t can_take(void *opaque)
{
    const Taker *t = opaque;

    return t->at_once;
}

static void take(void *opaque, const uint8_t *bytes, size_t count)
{
    Taker *t = opaque;

    assert_true(count <= t->at_once && t->count + count < sizeof t->bytes);
    memcpy(t->bytes + t->count, bytes, count);
    t->count += count;
}

static void use_taker(Chardev *chr, size_t at_once)
{
    taker = (Taker){.at_once = at_once};
    chardev_set_user(chr, &(ChardevUser){can_take, take, &taker});
}

static size_t taken(Vm *vm)
{
    memory_system_lock(vm->machine.ms);
    size_t count = taker.count;
    memory_system_unlock(vm->machine.ms);
    return count;
}

static void wait_taken(Vm *vm, size_t count)
{
    for (unsigned i = 0; i < 5000 && taken(vm) < count; i++) {
        usleep(1000);
    }
    assert_int_equal(taken(vm), count);
}

static Chardev *open_serial(Vm *vm, const char *what)
{
    Machine *m = &vm->machine;
    Error *err = NULL;

    memory_system_lock(m->ms);
    m->serial = chardev_open(m, what, &err);
    if (!m->serial) {
        print_error("%s\n", err ? error_get_pretty(err) : membus_last_error());
    }
    assert_non_null(m->serial);
    memory_system_unlock(m->ms);
    return m->serial;
}

static void put(Vm *vm, const char *text)
{
    memory_system_lock(vm->machine.ms);
    chardev_write(vm->machine.serial, (const uint8_t *)text, strlen(text));
    memory_system_unlock(vm->machine.ms);
}

static void finish(Vm *vm)
{
    Machine *m = &vm->machine;

    if (vm->running) {
        machine_request(m, MACHINE_QUIT, VMM_DONE);
        vm_wait(vm);
    }
    memory_system_lock(m->ms);
    chardev_close(m->serial);
    console_destroy(m->console);
    memory_system_unlock(m->ms);
    vm_destroy(vm);
}

/* ---- Kinds --------------------------------------------------------------------------- */

static bool asked_to_quit(Vm *vm)
{
    return vm->machine.run->request == MACHINE_QUIT;
}

static void exit_on_sees_the_text_across_writes(void **state)
{
    static const struct {
        const char *text, *pieces[6];
        bool found;
    } cases[] = {
        {"login:", {"log", "in", ": "}, true}, {"login:", {"log", "on", "in:"}, false},
        {"aab", {"aaaa", "b"}, true},          {"abababc", {"ababab", "ababc"}, true},
        {"abcabd", {"abcabcab", "d"}, true},   {"x", {"", "", "yx"}, true},
        {"aaa", {"aa", "baa", "b"}, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Vm *vm = vm_create(&(VmmOptions){.exit_on = cases[i].text});
        open_serial(vm, "null");
        for (unsigned k = 0; k < 6 && cases[i].pieces[k]; k++) {
            put(vm, cases[i].pieces[k]);
        }
        assert_int_equal(asked_to_quit(vm), cases[i].found);
        finish(vm);
    }
}

/* Against strstr(3) on what was written so far. */
static void exit_on_sees_what_strstr_sees(void **state)
{
    unsigned seed = 1;

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        char text[8] = "", all[256] = "";
        size_t length = 1 + (size_t)rand_r(&seed) % 6;
        for (size_t i = 0; i < length; i++) {
            text[i] = (char)('a' + rand_r(&seed) % 2);
        }
        Vm *vm = vm_create(&(VmmOptions){.exit_on = text});
        open_serial(vm, "null");
        for (unsigned i = 0; i < 20; i++) {
            char piece[4] = "";
            for (size_t k = 0, n = (size_t)rand_r(&seed) % 4; k < n; k++) {
                piece[k] = (char)('a' + rand_r(&seed) % 2);
            }
            strcat(all, piece);
            put(vm, piece);
            assert_int_equal(asked_to_quit(vm), strstr(all, text) != NULL);
        }
        finish(vm);
    }
}

static void a_file_gets_it_all(void **state)
{
    char name[] = "/tmp/membus-chardev-XXXXXX", what[64], bytes[64] = "";
    int fd = mkstemp(name);
    Vm *vm = vm_create(&(VmmOptions){.exit_on = "two"});

    (void)state;
    assert_true(fd >= 0 && write(fd, "what was there before", 21) == 21);
    snprintf(what, sizeof what, "file:%s", name);
    open_serial(vm, what);
    put(vm, "one\n");
    put(vm, "two\n");
    assert_true(asked_to_quit(vm));
    finish(vm);
    assert_int_equal(pread(fd, bytes, sizeof bytes, 0), 8);
    assert_string_equal(bytes, "one\ntwo\n");
    close(fd);
    unlink(name);
}

static void bad_names_are_refused(void **state)
{
    static const char *const names[] = {"",     "file:", "stdi", "pty2", "file:/nonexistent/x",
                                        "stdio"};
    Vm *vm = vm_create(NULL);

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        Error *err = NULL;
        assert_null(chardev_open(&vm->machine, names[i], &err));
        assert_non_null(err);
        error_free(err);
    }
    vm_destroy(vm);
}

/* The name that is printed is that of a raw terminal; who comes and goes does no harm. */
/* A bare chroot has none. */
static Vm *vm_with_terminals(void)
{
    int ends[2];

    if (openpty(&ends[0], &ends[1], NULL, NULL, NULL) < 0) {
        print_message("no pseudo-terminals here\n");
        skip();
    }
    close(ends[0]);
    close(ends[1]);
    return vm_create(NULL);
}

static void a_pty_is_used_in_turn(void **state)
{
    Vm *vm = vm_with_terminals();
    int ends[2], saved = dup(STDERR_FILENO);
    char said[256] = "", name[64], bytes[32] = "";
    struct termios mode;

    (void)state;
    assert_int_equal(0, pipe(ends));
    dup2(ends[1], STDERR_FILENO);
    Chardev *chr = open_serial(vm, "pty");
    dup2(saved, STDERR_FILENO);
    close(saved);
    assert_true(read(ends[0], said, sizeof said - 1) > 0);
    assert_int_equal(1, sscanf(strstr(said, "redirected to "), "redirected to %63s", name));
    memory_system_lock(vm->machine.ms);
    use_taker(chr, 2);
    memory_system_unlock(vm->machine.ms);
    vm_start(vm);
    put(vm, "early\n");
    for (unsigned i = 1; i <= 3; i++) {
        int fd = open(name, O_RDWR | O_NOCTTY);
        assert_int_equal(0, tcgetattr(fd, &mode));
        assert_false(mode.c_lflag & (ECHO | ICANON));
        if (i == 1) {
            assert_int_equal(read(fd, bytes, sizeof bytes), 6);
            assert_string_equal(bytes, "early\n");
        }
        assert_int_equal(write(fd, "typed", 5), 5);
        wait_taken(vm, 5 * i);
        put(vm, "shown");
        memset(bytes, 0, sizeof bytes);
        assert_int_equal(read(fd, bytes, sizeof bytes), 5);
        assert_string_equal(bytes, "shown");
        close(fd);
    }
    assert_memory_equal(taker.bytes, "typedtypedtyped", 15);
    close(ends[0]);
    close(ends[1]);
    finish(vm);
}

/* ---- The console ----------------------------------------------------------------------- */

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
        cmocka_unit_test(exit_on_sees_the_text_across_writes),
        cmocka_unit_test(exit_on_sees_what_strstr_sees),
        cmocka_unit_test(a_file_gets_it_all),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(a_pty_is_used_in_turn),
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
