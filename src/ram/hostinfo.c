/* SPDX-License-Identifier: MIT */
/*
 * Memory runs out at the narrowest of several limits: the host's own (what it calls available, and
 * free swap), each memory cgroup above the process, and the NUMA nodes that memory is bound to.
 * Page cache of files is given up for programs, so it counts as available everywhere.
 */
#include "ram/hostinfo.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse(const char *text, uint64_t *value)
{
    char *end;

    while (isspace((unsigned char)*text)) {
        text++;
    }
    if (!isdigit((unsigned char)*text)) {
        return false;
    }
    *value = strtoull(text, &end, 10);
    return true;
}

bool hostinfo_number(uint64_t *value, const char *key, const char *path, ...)
{
    char whole[PATH_MAX], line[256];
    size_t length = key ? strlen(key) : 0;
    bool found = false;
    va_list args;

    va_start(args, path);
    int needed = vsnprintf(whole, sizeof whole, path, args);
    va_end(args);
    FILE *file = needed >= 0 && (size_t)needed < sizeof whole ? fopen(whole, "re") : NULL;
    if (!file) {
        return false;
    }
    while (!found && fgets(line, sizeof line, file)) {
        if (!key || strncmp(line, key, length) == 0) {
            found = parse(line + length, value);
        }
        if (!key) {
            break;
        }
    }
    fclose(file);
    return found;
}

static void narrow(AvailableMemory *all, uint64_t bytes, const char *fmt, const char *arg)
    __attribute__((format(printf, 3, 0)));

static void narrow(AvailableMemory *all, uint64_t bytes, const char *fmt, const char *arg)
{
    if (bytes < all->bytes) {
        all->bytes = bytes;
        snprintf(all->limit, sizeof all->limit, fmt, arg);
    }
}

/* ---- Memory cgroups ------------------------------------------------------------ */

typedef struct CgroupFiles {
    const char *mount, *max, *current, *inactive, *active;
} CgroupFiles;

static const CgroupFiles cgroup_v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                      "memory.usage_in_bytes", "total_inactive_file ",
                                      "total_active_file "};
static const CgroupFiles cgroup_v2 = {"/sys/fs/cgroup", "memory.max", "memory.current",
                                      "inactive_file ", "active_file "};

static uint64_t file_number(const char *root, const CgroupFiles *files, const char *group,
                            const char *name, const char *key)
{
    uint64_t value;

    return hostinfo_number(&value, key, "%s%s%s/%s", root, files->mount, group, name) ? value : 0;
}

static void narrow_by_group(AvailableMemory *all, const CgroupFiles *files, const char *root,
                            const char *group, uint64_t swap)
{
    uint64_t max, swap_max;

    if (!hostinfo_number(&max, NULL, "%s%s%s/%s", root, files->mount, group, files->max)) {
        return; /* no limit */
    }
    if (hostinfo_number(&swap_max, NULL, "%s%s%s/memory.swap.max", root, files->mount, group)) {
        uint64_t used = file_number(root, files, group, "memory.swap.current", NULL);
        uint64_t left = swap_max > used ? swap_max - used : 0;
        swap = left < swap ? left : swap;
    }
    uint64_t used = file_number(root, files, group, files->current, NULL);
    uint64_t cache = file_number(root, files, group, "memory.stat", files->inactive) +
                     file_number(root, files, group, "memory.stat", files->active);
    used = used > cache ? used - cache : 0;
    uint64_t left = max > used ? max - used : 0;
    narrow(all, left > UINT64_MAX - swap ? UINT64_MAX : left + swap,
           "the limit of memory cgroup %.150s", *group ? group : "/");
}

/* @group and all above it, to the root of the hierarchy that is mounted here. */
static void narrow_by_groups(AvailableMemory *all, const CgroupFiles *files, const char *root,
                             char *group, uint64_t swap)
{
    for (;;) {
        size_t length = strlen(group);
        while (length && group[length - 1] == '/') {
            group[--length] = '\0';
        }
        narrow_by_group(all, files, root, group, swap);
        char *slash = strrchr(group, '/');
        if (!slash) {
            return;
        }
        *slash = '\0';
    }
}

static void narrow_by_cgroups(AvailableMemory *all, const char *root, uint64_t swap)
{
    char path[PATH_MAX], line[PATH_MAX];
    int needed = snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = needed >= 0 && (size_t)needed < sizeof path ? fopen(path, "re") : NULL;

    if (!file) {
        return;
    }
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) {
            continue;
        }
        *group++ = '\0';
        if (!*++controllers) {
            narrow_by_groups(all, &cgroup_v2, root, group, swap);
        } else if (strcmp(controllers, "memory") == 0) {
            narrow_by_groups(all, &cgroup_v1, root, group, swap);
        }
    }
    fclose(file);
}

/* ---- NUMA nodes ---------------------------------------------------------------- */

typedef struct NodeSum {
    uint64_t kib;
    bool others; /* there are nodes that are not counted */
} NodeSum;

static void count_node(NodeSum *sum, const char *root, unsigned node, bool wanted)
{
    static const char *const counted[] = {"MemFree:", "Active(file):", "Inactive(file):"};

    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) {
        char key[64];
        uint64_t kib;
        snprintf(key, sizeof key, "Node %u %s", node, counted[i]);
        if (!hostinfo_number(&kib, key, "%s/sys/devices/system/node/node%u/meminfo", root, node)) {
            return;
        }
        sum->kib += wanted ? kib : 0;
        sum->others |= !wanted;
    }
}

/* Where all nodes are meant, the host as a whole knows better. */
static void narrow_by_nodes(AvailableMemory *all, const char *root, const unsigned long *nodes,
                            unsigned nr_nodes)
{
    const unsigned bits = 8 * sizeof *nodes;
    NodeSum sum = {0};

    for (unsigned node = 0; node < nr_nodes; node++) {
        count_node(&sum, root, node, nodes[node / bits] >> node % bits & 1);
    }
    if (sum.others) {
        narrow(all, sum.kib * 1024, "%s", "what its NUMA nodes have free");
    }
}

AvailableMemory hostinfo_available(const char *root, const unsigned long *nodes, unsigned nr_nodes)
{
    AvailableMemory all = {.bytes = UINT64_MAX};
    uint64_t available, swap = 0;

    hostinfo_number(&swap, "SwapFree:", "%s/proc/meminfo", root);
    if (hostinfo_number(&available, "MemAvailable:", "%s/proc/meminfo", root)) {
        narrow(&all, (available + swap) * 1024, "%s", "what the host has available");
    }
    narrow_by_cgroups(&all, root, swap * 1024);
    if (nodes) {
        narrow_by_nodes(&all, root, nodes, nr_nodes);
    }
    return all;
}
