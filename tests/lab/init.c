/* SPDX-License-Identifier: MIT */
/*
 * init.c - the first and only program of the lab's machine (scripts/lab): load the modules,
 * run the tests, switch off.
 *
 * /lab.modules names a module a line, in the order of their needs; /lab.tests a program and its
 * arguments, between tabs. What the tests print goes to the second serial port; between them come
 * lines of ours, for scripts/lab to read:
 *
 *      lab: run /kvm-live
 *      1..7 ...
 *      lab: end /kvm-live: exit status 0
 *      lab: done
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define RESULTS "/dev/ttyS1"
#define ARGUMENTS_MAX 40

/* The end: scripts/lab tells a good one from a bad one by the last line. */
__attribute__((noreturn)) static void switch_off(void)
{
    fflush(NULL);
    tcdrain(STDOUT_FILENO);
    sync();
    reboot(RB_POWER_OFF);
    reboot(RB_AUTOBOOT); /* no ACPI: QEMU runs with -no-reboot */
    for (;;) {
        pause();
    }
}

__attribute__((noreturn)) static void broken(const char *what, const char *name)
{
    printf("lab: broken: %s %s: %s\n", what, name, strerror(errno));
    switch_off();
}

static void mount_at(const char *type, const char *place)
{
    mkdir(place, 0755);
    if (mount(type, place, type, 0, NULL) != 0 && errno != EBUSY) {
        broken("mount", place);
    }
}

static void open_results(void)
{
    struct termios t;
    int fd = open(RESULTS, O_RDWR | O_NOCTTY);

    if (fd < 0) {
        broken("open", RESULTS);
    }
    if (tcgetattr(fd, &t) == 0) {
        cfmakeraw(&t);
        tcsetattr(fd, TCSANOW, &t);
    }
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

static void load_module(char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0) {
        broken("load", name);
    }
    close(fd);
}

static void run_test(char *line)
{
    char *argv[ARGUMENTS_MAX + 1] = {0};
    unsigned argc = 0;
    int status;
    pid_t pid;

    for (char *word = strtok(line, "\t"); word && argc < ARGUMENTS_MAX; word = strtok(NULL, "\t")) {
        argv[argc++] = word;
    }
    printf("lab: run %s\n", argv[0]);
    pid = fork();
    if (pid == 0) {
        execv(argv[0], argv);
        printf("# %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    /* Orphans that the test left come to process 1, too. */
    while (waitpid(-1, &status, 0) != pid) {
    }
    if (WIFSIGNALED(status)) {
        printf("lab: end %s: killed by signal %d\n", argv[0], WTERMSIG(status));
    } else {
        printf("lab: end %s: exit status %d\n", argv[0], WEXITSTATUS(status));
    }
}

static void for_each_line(const char *name, void (*visit)(char *line))
{
    char line[2048];
    FILE *list = fopen(name, "re");

    if (!list) {
        broken("open", name);
    }
    while (fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0]) {
            visit(line);
        }
    }
    fclose(list);
}

int main(void)
{
    mount_at("devtmpfs", "/dev");
    open_results();
    mount_at("proc", "/proc");
    mount_at("sysfs", "/sys");
    mount_at("tmpfs", "/tmp");
    for_each_line("/lab.modules", load_module);
    for_each_line("/lab.tests", run_test);
    printf("lab: done\n");
    switch_off();
}
