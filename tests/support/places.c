/* SPDX-License-Identifier: MIT */
#include "places.h"

#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

unsigned places_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    assert_non_null(dir);
    while (readdir(dir)) {
        count++;
    }
    closedir(dir);
    return count - 3; /* ".", "..", the directory itself */
}

bool places_touchable(const void *host)
{
    int ends[2];
    bool could;

    assert_int_equal(pipe(ends), 0);
    could = write(ends[1], host, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return could;
}

bool places_is_guard(const void *host)
{
    FILE *file = fopen("/proc/self/maps", "re");
    uint64_t at = (uintptr_t)host, start, end;
    char text[4096], rights[8];
    bool guard = false;

    assert_non_null(file);
    while (fgets(text, sizeof text, file)) {
        if (sscanf(text, "%" SCNx64 "-%" SCNx64 " %7s", &start, &end, rights) == 3 && at >= start &&
            at < end) {
            guard = strcmp(rights, "---p") == 0;
        }
    }
    fclose(file);
    return guard;
}

/* Call @line for each line of smaps about a mapping inside. */
static void walk(const void *host, size_t size, void (*line)(const char *text, void *opaque),
                 void *opaque)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    uint64_t first = (uintptr_t)host, last = first + size - 1, start, end;
    bool inside = false;
    char text[4096];

    assert_non_null(file);
    while (fgets(text, sizeof text, file)) {
        if (sscanf(text, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2) {
            inside = start >= first && end - 1 <= last;
        } else if (inside) {
            line(text, opaque);
        }
    }
    fclose(file);
}

typedef struct Wanted {
    const char *key;
    uint64_t sum;
    bool any, missing;
} Wanted;

static void add(const char *text, void *opaque)
{
    Wanted *w = opaque;

    if (strncmp(text, w->key, strlen(w->key)) == 0) {
        w->sum += strtoull(text + strlen(w->key), NULL, 10) * 1024;
    }
}

uint64_t places_smaps(const void *host, size_t size, const char *key)
{
    Wanted w = {.key = key};

    walk(host, size, add, &w);
    return w.sum;
}

static void find_flag(const char *text, void *opaque)
{
    Wanted *w = opaque;

    if (strncmp(text, "VmFlags:", 8) == 0) {
        w->any = true;
        w->missing |= !strstr(text, w->key);
    }
}

bool places_has_flag(const void *host, size_t size, const char *flag)
{
    char padded[8];
    Wanted w = {.key = padded};

    snprintf(padded, sizeof padded, " %s ", flag);
    walk(host, size, find_flag, &w);
    return w.any && !w.missing;
}

void places_make_dir(char path[64])
{
    snprintf(path, 64, "/tmp/membus-test-XXXXXX");
    assert_non_null(mkdtemp(path));
}

void places_remove_dir(const char *path)
{
    assert_int_equal(rmdir(path), 0); /* nothing may be left in it */
}
