/* SPDX-License-Identifier: MIT */
#include "check.h"
#include <dirent.h>
#include <errno.h>
#include <membus/error.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Far more than any of them takes, even in an emulator: this is for those that hang. */
#define TIME_LIMIT_S 120

enum { PASSED = 0, FAILED = 1, SKIPPED = 77 };

void note(const char *format, ...)
{
    char line[512] = "# ";
    va_list args;

    va_start(args, format);
    vsnprintf(line + 2, sizeof line - 3, format, args);
    va_end(args);
    strcat(line, "\n");
    fputs(line, stdout);
    fflush(stdout);
}

/* _exit: other threads may be running, in the guest too. */
void skip(const char *reason, ...)
{
    char text[400];
    va_list args;

    va_start(args, reason);
    vsnprintf(text, sizeof text, reason, args);
    va_end(args);
    note("%s", text);
    _exit(SKIPPED);
}

void check_failed(const char *file, int line, const char *format, ...)
{
    const char *name = strrchr(file, '/');
    char text[400];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    note("%s:%d: %s", name ? name + 1 : file, line, text);
    _exit(FAILED);
}

long check_call(const char *file, int line, const char *call, long result)
{
    if (result < 0) {
        check_failed(file, line, "%s: %s", call, strerror(errno));
    }
    return result;
}

void check_ok(const char *file, int line, const char *call, int result)
{
    if (result != 0) {
        check_failed(file, line, "%s: %d, %s", call, result, membus_last_error());
    }
}

/* ---- Tests that hang --------------------------------------------------------------------- */

static void (*tell_hang)(void);

void check_tell_hang(void (*tell)(void))
{
    tell_hang = tell;
}

/* What each thread is at: its system call, and where it is in the kernel if we may know. */
static void tell_threads(void)
{
    static const char *const files[] = {"syscall", "wchan", "stack"};
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;

    while (tasks && (task = readdir(tasks))) {
        for (size_t i = 0; i < 3 && task->d_name[0] != '.'; i++) {
            char line[200];
            FILE *file;

            snprintf(line, sizeof line, "/proc/self/task/%.20s/%s", task->d_name, files[i]);
            file = fopen(line, "re");
            while (file && fgets(line, sizeof line, file)) {
                line[strcspn(line, "\n")] = 0;
                note("thread %s: %s", task->d_name, line);
            }
            if (file) {
                fclose(file);
            }
        }
    }
}

/* Not safe in a handler; but what is there to lose? A second alarm ends it for sure. */
static void on_alarm(int number)
{
    signal(number, SIG_DFL);
    alarm(5);
    note("not done after %d s", TIME_LIMIT_S);
    tell_threads();
    if (tell_hang) {
        tell_hang();
    }
    _exit(FAILED);
}

/* ---- Tests in processes of their own ------------------------------------------------------ */

/* The test has a process group of its own, which ends with it. */
static int run_in_child(const LiveTest *test)
{
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid < 0) {
        note("fork: %s", strerror(errno));
        return FAILED;
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_alarm, .sa_flags = SA_NODEFER},
                  NULL);
        alarm(TIME_LIMIT_S);
        test->run();
        _exit(PASSED);
    }
    setpgid(pid, pid);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    kill(-pid, SIGKILL);
    if (WIFSIGNALED(status)) {
        note("killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
        return FAILED;
    }
    return WEXITSTATUS(status);
}

static bool named(const char *name, int argc, char **argv)
{
    bool found = argc < 2;

    for (int i = 1; i < argc; i++) {
        found |= strcmp(argv[i], name) == 0;
    }
    return found;
}

int check_main(const LiveTest *tests, size_t nr_tests, int argc, char **argv)
{
    unsigned planned = 0, number = 0, failed = 0;

    for (size_t i = 0; i < nr_tests; i++) {
        planned += named(tests[i].name, argc, argv);
    }
    printf("1..%u\n", planned);
    for (size_t i = 0; i < nr_tests; i++) {
        if (named(tests[i].name, argc, argv)) {
            int result = run_in_child(&tests[i]);

            failed += result != PASSED && result != SKIPPED;
            printf("%s %u - %s%s\n", result == PASSED || result == SKIPPED ? "ok" : "not ok",
                   ++number, tests[i].name, result == SKIPPED ? " # SKIP" : "");
            fflush(stdout);
        }
    }
    return planned && !failed ? EXIT_SUCCESS : EXIT_FAILURE;
}

int check_skip_all(const char *reason)
{
    printf("1..0 # SKIP %s\n", reason);
    return EXIT_SUCCESS;
}
