/* SPDX-License-Identifier: MIT */
#include "shown.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *color(const Options *options, Color which)
{
    static const char *const codes[] = {
        [COLOR_PLAIN] = "\033[0m",    [COLOR_GOOD] = "\033[32m", [COLOR_BAD] = "\033[31m",
        [COLOR_CHANGED] = "\033[33m", [COLOR_FAINT] = "\033[2m", [COLOR_HEAD] = "\033[1m",
    };

    return options->color ? codes[which] : "";
}

int finish_output(int status)
{
    if (fflush(stdout) || ferror(stdout)) {
        complain("standard output: %s", strerror(errno));
        return EXIT_TROUBLE;
    }
    return status;
}

int print_json(json_t *root, int status)
{
    if (!root) {
        complain("out of memory");
        return EXIT_TROUBLE;
    }
    int result = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    json_decref(root);
    putchar('\n');
    if (result < 0) {
        complain("the JSON could not be written");
        return EXIT_TROUBLE;
    }
    return finish_output(status);
}

void print_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < ' ' || c == 0x7f) {
            fprintf(out, "\\x%02x", c);
        } else {
            putc(c, out);
        }
    }
}

void print_size(hwaddr size)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;

    if (size == UINT64_MAX) {
        fputs("16 EiB", stdout); /* 2^64 */
        return;
    }
    while (size && size % 1024 == 0) {
        size /= 1024;
        unit++;
    }
    printf("%" PRIu64 " %s", size, size == 1 && unit == 0 ? "byte" : units[unit]);
}

json_t *json_hwaddr(hwaddr addr)
{
    return json_sprintf("0x%016" PRIx64, addr);
}

/* A captured name may be in any encoding; what is no UTF-8 becomes its Latin-1 character. */
json_t *json_text(const char *text)
{
    json_t *plain = json_string(text);

    if (plain) {
        return plain;
    }
    size_t length = strlen(text);
    char *copy = malloc(2 * length + 1), *out = copy;
    if (!copy) {
        return NULL;
    }
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x80) {
            *out++ = (char)c;
        } else {
            *out++ = (char)(0xc0 | c >> 6);
            *out++ = (char)(0x80 | (c & 0x3f));
        }
    }
    *out = '\0';
    plain = json_string(copy);
    free(copy);
    return plain;
}

json_t *json_section(const MemoryRegionSection *s)
{
    MapTraceRange range = section_range(s);

    return json_range(&range);
}

void for_each_range(const FlatView *view,
                    void (*visit)(const MemoryRegionSection *section, void *opaque), void *opaque)
{
    MemoryRegionSection section;
    hwaddr at = 0;

    while (flatview_next(view, at, &section)) {
        visit(&section, opaque);
        if (section.last_within_address_space == UINT64_MAX) {
            return;
        }
        at = section.last_within_address_space + 1;
    }
}
