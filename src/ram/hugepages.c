/* SPDX-License-Identifier: MIT */
#include "ram/hugepages.h"

#include "base/error.h"
#include "ram/hostinfo.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOLS "/sys/kernel/mm/hugepages"

/* Eight sizes are more than any architecture has. */
#define MAX_SIZES 8

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static size_t list_sizes(uint64_t sizes[MAX_SIZES])
{
    DIR *dir = opendir(POOLS);
    size_t count = 0;

    if (!dir) {
        return 0;
    }
    for (struct dirent *entry; count < MAX_SIZES && (entry = readdir(dir));) {
        uint64_t kib;
        if (sscanf(entry->d_name, "hugepages-%" SCNu64 "kB", &kib) == 1) {
            sizes[count++] = kib * 1024;
        }
    }
    closedir(dir);
    qsort(sizes, count, sizeof *sizes, ascending);
    return count;
}

static void show_size(char *out, size_t room, uint64_t size)
{
    static const char suffixes[] = "KMGT";
    unsigned unit = 0;

    for (size /= 1024; size >= 1024 && size % 1024 == 0 && unit < 3; unit++) {
        size /= 1024;
    }
    snprintf(out, room, "%" PRIu64 "%c", size, suffixes[unit]);
}

static int refuse(const char *name, hwaddr wanted, const uint64_t *sizes, size_t count)
{
    char list[MAX_SIZES * 24] = "";
    size_t used = 0;

    if (count == 0) {
        return fail(EINVAL, "RAM '%s': this host has no huge pages", name);
    }
    for (size_t i = 0; i < count; i++) {
        char one[24];
        show_size(one, sizeof one, sizes[i]);
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                                 i == 0           ? ""
                                 : i + 1 == count ? " and "
                                                  : ", ",
                                 one);
    }
    return fail(EINVAL,
                "RAM '%s': hugetlbsize=%" PRIu64 " is no huge page size of this host, which has %s",
                name, wanted, list);
}

int hugepages_select(const char *name, hwaddr wanted, size_t *size)
{
    uint64_t sizes[MAX_SIZES], default_kib;
    size_t count = list_sizes(sizes);

    if (!wanted && hostinfo_number(&default_kib, "Hugepagesize:", "/proc/meminfo")) {
        wanted = default_kib * 1024;
    }
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] == wanted) {
            *size = (size_t)wanted;
            return 0;
        }
    }
    return refuse(name, wanted, sizes, count);
}

static uint64_t pool_number(size_t page, const char *what)
{
    uint64_t value;

    return hostinfo_number(&value, NULL, POOLS "/hugepages-%zukB/%s", page / 1024, what) ? value
                                                                                         : 0;
}

int hugepages_short(const char *name, size_t page, hwaddr size)
{
    char shown[24];

    show_size(shown, sizeof shown, page);
    return fail(ENOMEM,
                "RAM '%s': it needs %" PRIu64 " huge pages of %s; the host has %" PRIu64
                ", %" PRIu64 " of them free and %" PRIu64 " of the free ones promised",
                name, (size + page - 1) / page, shown, pool_number(page, "nr_hugepages"),
                pool_number(page, "free_hugepages"), pool_number(page, "resv_hugepages"));
}
