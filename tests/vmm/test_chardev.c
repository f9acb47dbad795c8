/* SPDX-License-Identifier: MIT */
/* Chardevs: pseudo-terminals, files, and what --exit-on sees. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/serial.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_on_sees_the_text_across_writes),
        cmocka_unit_test(exit_on_sees_what_strstr_sees),
        cmocka_unit_test(a_file_gets_it_all),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(a_pty_is_used_in_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
