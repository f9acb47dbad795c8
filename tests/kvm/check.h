/* SPDX-License-Identifier: MIT */
/*
 * check.h - tests without a library: cmocka has no static one, and the lab's machine has no other.
 *
 * Each test is a function that returns if all is well. It runs in a process of its own, so that
 * one that dies or hangs is one failed line.
 */
#ifndef TESTS_KVM_CHECK_H
#define TESTS_KVM_CHECK_H

#include <stddef.h>

typedef struct LiveTest {
    const char *name;
    void (*run)(void);
} LiveTest;

/* Run the tests, or those that @argv names; TAP to stdout. Returns the exit status. */
int check_main(const LiveTest *tests, size_t nr_tests, int argc, char **argv);
/* All of them skipped. */
int check_skip_all(const char *reason);

/* One line of TAP comment. */
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);
/* End this test; from any of its threads. */
__attribute__((noreturn, format(printf, 1, 2))) void skip(const char *reason, ...);
__attribute__((noreturn, format(printf, 3, 4))) void check_failed(const char *file, int line,
                                                                  const char *format, ...);

/* Called when the test takes too long, in a signal handler, to say how far it is. */
void check_tell_hang(void (*tell)(void));

#define FAIL(...) check_failed(__FILE__, __LINE__, __VA_ARGS__)
/* CHECK(truth), CHECK(truth, format, ...) */
#define CHECK(truth, ...)                                                                          \
    ((truth) ? (void)0                                                                             \
             : check_failed(__FILE__, __LINE__, "not so: " #truth __VA_OPT__(": ") __VA_ARGS__))
/* A system call; errno is told. */
long check_call(const char *file, int line, const char *call, long result);
#define CALL(call) check_call(__FILE__, __LINE__, #call, (long)(call))
/* A call of membus that returns 0; its sentence is told. */
void check_ok(const char *file, int line, const char *call, int result);
#define OK(call) check_ok(__FILE__, __LINE__, #call, call)

#endif
