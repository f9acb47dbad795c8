/* SPDX-License-Identifier: MIT */
/*
 * kind.c - which kind of KVM this is.
 *
 * No ioctl tells. A processor that runs guests says so in its flags, svm or vmx; where neither is
 * there, a kernel that makes vCPUs nevertheless does it in software.
 */
#include "kind.h"
#include "check.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

static char why[256];

static const char *because(const char *what)
{
    snprintf(why, sizeof why, "%s: %s", what, strerror(errno));
    return why;
}

static const char *try_machine(int kvm)
{
    const char *problem = NULL;
    int vm, cpu = -1;

    if (ioctl(kvm, KVM_GET_API_VERSION, 0UL) != KVM_API_VERSION) {
        return "/dev/kvm is of another API";
    }
    vm = ioctl(kvm, KVM_CREATE_VM, 0UL);
    if (vm < 0) {
        return because("KVM_CREATE_VM");
    }
    cpu = ioctl(vm, KVM_CREATE_VCPU, 0UL);
    if (cpu < 0) {
        problem = because("KVM_CREATE_VCPU");
    } else {
        close(cpu);
    }
    close(vm);
    return problem;
}

const char *kind_unusable(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    const char *problem;

    if (kvm < 0) {
        return because("/dev/kvm");
    }
    problem = try_machine(kvm);
    close(kvm);
    return problem;
}

/* Whether the first "flags" line of /proc/cpuinfo has it. */
static bool has_flag(const char *flag)
{
    FILE *cpuinfo = fopen("/proc/cpuinfo", "re");
    char line[8192];
    bool found = false;

    while (cpuinfo && fgets(line, sizeof line, cpuinfo)) {
        if (strncmp(line, "flags", 5) == 0) {
            for (char *word = strtok(line, " \t\n"); word; word = strtok(NULL, " \t\n")) {
                found |= strcmp(word, flag) == 0;
            }
            break;
        }
    }
    if (cpuinfo) {
        fclose(cpuinfo);
    }
    return found;
}

/* Kernel modules whose names begin with kvm_: which of them is at work only the flags tell. */
static void list_modules(char *text, size_t size)
{
    DIR *modules = opendir("/sys/module");
    struct dirent *entry;

    text[0] = 0;
    while (modules && (entry = readdir(modules))) {
        if (strncmp(entry->d_name, "kvm_", 4) == 0) {
            size_t length = strlen(text);

            snprintf(text + length, size - length, " %.30s", entry->d_name);
        }
    }
    if (modules) {
        closedir(modules);
    }
}

void kind_print(void)
{
    static const struct {
        int number;
        const char *name;
    } caps[] = {
        {KVM_CAP_NR_MEMSLOTS, "memory slots"},
        {KVM_CAP_MULTI_ADDRESS_SPACE, "address spaces"},
        {KVM_CAP_READONLY_MEM, "read-only slots"},
#ifdef KVM_CAP_X86_SMM
        {KVM_CAP_X86_SMM, "SMM"},
#endif
#ifdef KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2
        {KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "manual dirty log"},
#endif
#ifdef KVM_CAP_DIRTY_LOG_RING
        {KVM_CAP_DIRTY_LOG_RING, "dirty ring, bytes"},
#endif
        {KVM_CAP_COALESCED_MMIO, "coalesced MMIO"},
        {KVM_CAP_IOEVENTFD, "ioeventfd"},
        {KVM_CAP_MAX_VCPUS, "vCPUs"},
#ifdef KVM_CAP_USER_MEMORY2
        {KVM_CAP_USER_MEMORY2, "memory regions 2"},
#endif
#ifdef KVM_CAP_GUEST_MEMFD
        {KVM_CAP_GUEST_MEMFD, "guest_memfd"},
#endif
#ifdef KVM_CAP_MEMORY_ATTRIBUTES
        {KVM_CAP_MEMORY_ATTRIBUTES, "memory attributes"},
#endif
    };
    const char *kind = has_flag("svm") ? "AMD SVM" : has_flag("vmx") ? "Intel VMX" : "software";
    char line[400] = "", modules[128];
    struct utsname kernel;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    uname(&kernel);
    list_modules(modules, sizeof modules);
    note("KVM of %s %s: guests run by %s; modules:%s", kernel.sysname, kernel.release, kind,
         modules[0] ? modules : " none");
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
        size_t length = strlen(line);

        snprintf(line + length, sizeof line - length, "%s%s %d", i ? ", " : "", caps[i].name,
                 ioctl(kvm, KVM_CHECK_EXTENSION, (unsigned long)caps[i].number));
    }
    note("%s", line);
    close(kvm);
}
