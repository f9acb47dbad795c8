/* SPDX-License-Identifier: MIT */
/* The monitor: x and xp, what is in memory. */
#include "monitor.h"
#include "paging.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <membus/access.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COUNT 65536U /* items of one command */
#define MAX_STRINGS 1024U
#define MAX_STRING 1024U /* characters of each */
#define PAGE 4096U

typedef struct Format {
    unsigned count, size; /* items, bytes of each */
    char kind;
} Format;

static int parse_format(const char *text, Format *f, Error **errp)
{
    static const char sizes[] = "bhwg";

    *f = (Format){1, 4, 'x'};
    if (!text) {
        return 0;
    }
    const char *at = text + (*text == '/');
    if (isdigit((unsigned char)*at)) {
        char *end;
        unsigned long count = strtoul(at, &end, 10);
        f->count = count < UINT_MAX ? (unsigned)count : UINT_MAX;
        at = end;
    }
    bool sized = false;
    for (; *at; at++) {
        const char *size = strchr(sizes, *at);
        if (size) {
            f->size = 1U << (size - sizes);
            sized = true;
        } else if (strchr("xduocs", *at)) {
            f->kind = *at;
        } else {
            return error_set(errp, EINVAL, "invalid char in format: '%c'", *at);
        }
    }
    if (f->kind == 's' || (f->kind == 'c' && !sized)) {
        f->size = 1;
    }
    unsigned most = f->kind == 's' ? MAX_STRINGS : MAX_COUNT;
    return f->count > most ? error_set(errp, EINVAL, "at most %u items at a time", most) : 0;
}

/* ---- Reading ------------------------------------------------------------------------- */

/* Where bytes come from: memory, by way of the CPU's page tables for x. */
typedef struct Source {
    AddressSpace *as;
    const CpuState *state; /* NULL: physical addresses */
} Source;

static bool read_bytes(const Source *source, uint64_t addr, uint8_t *bytes, unsigned size)
{
    while (size > 0) {
        unsigned here = PAGE - (unsigned)(addr % PAGE);
        hwaddr gpa = addr;
        here = here < size ? here : size;
        if ((source->state && !paging_translate(source->as, source->state, addr, &gpa)) ||
            address_space_read(source->as, gpa, (MemTxAttrs){.debug = 1}, bytes, here)) {
            return false;
        }
        addr += here;
        bytes += here;
        size -= here;
    }
    return true;
}

static uint64_t assemble(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = size; i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/* ---- Printing -------------------------------------------------------------------------- */

static void print_char(uint8_t c, FILE *out)
{
    static const char escapes[] = "\n\r\t\\'", letters[] = "nrt\\'";
    const char *escape = c ? strchr(escapes, c) : NULL;

    if (escape) {
        fprintf(out, "'\\%c'", letters[escape - escapes]);
    } else if (c >= 0x20 && c < 0x7f) {
        fprintf(out, "'%c'", c);
    } else {
        fprintf(out, "'\\x%02x'", c);
    }
}

static void print_item(const Format *f, uint64_t value, FILE *out)
{
    static const int unsigned_width[] = {[1] = 3, [2] = 5, [4] = 10, [8] = 20};
    unsigned shift = 64 - 8 * f->size;

    switch (f->kind) {
    case 'x':
        fprintf(out, "0x%0*" PRIx64, (int)(2 * f->size), value);
        break;
    case 'o':
        fprintf(out, "%#" PRIo64, value);
        break;
    case 'u':
        fprintf(out, "%*" PRIu64, unsigned_width[f->size], value);
        break;
    case 'd':
        fprintf(out, "%*" PRId64, unsigned_width[f->size] + 1, (int64_t)(value << shift) >> shift);
        break;
    default:
        print_char((uint8_t)value, out);
    }
}

static void print_items(const Source *source, uint64_t addr, const Format *f, FILE *out)
{
    unsigned a_line = f->kind == 'c' ? 8 : 16 / f->size;
    for (unsigned i = 0; i < f->count; i++, addr += f->size) {
        uint8_t bytes[8];
        if (i % a_line == 0) {
            fprintf(out, "%s%016" PRIx64 ":", i ? "\n" : "", addr);
        }
        if (!read_bytes(source, addr, bytes, f->size)) {
            fprintf(out, " Cannot access memory");
            break;
        }
        fputc(' ', out);
        print_item(f, assemble(bytes, f->size), out);
    }
    fputc('\n', out);
}

/* Strings end at a zero, and at a length. Returns where the next one is. */
static uint64_t print_string(const Source *source, uint64_t addr, FILE *out)
{
    uint8_t byte = 0;

    fprintf(out, "%016" PRIx64 ": \"", addr);
    for (unsigned i = 0; i < MAX_STRING && read_bytes(source, addr++, &byte, 1) && byte; i++) {
        if (byte == '"' || byte == '\\') {
            fprintf(out, "\\%c", byte);
        } else if (byte >= 0x20 && byte < 0x7f) {
            fputc(byte, out);
        } else {
            fprintf(out, "\\x%02x", byte);
        }
    }
    fputs("\"\n", out);
    return addr;
}

/* ---- The commands ------------------------------------------------------------------------- */

static int list_items(MonitorCall *call, const Source *source, uint64_t addr, const Format *f)
{
    json_t *values = json_array();

    for (unsigned i = 0; i < f->count; i++) {
        uint8_t bytes[8];
        char text[24];
        uint64_t at = addr + (uint64_t)i * f->size;
        if (!read_bytes(source, at, bytes, f->size)) {
            json_decref(values);
            return error_set(&call->err, EFAULT, "0x%" PRIx64 ": cannot access memory", at);
        }
        snprintf(text, sizeof text, "0x%0*" PRIx64, (int)(2 * f->size), assemble(bytes, f->size));
        json_array_append_new(values, json_string(text));
    }
    return monitor_set_result(call,
                              json_pack("{s:o, s:i, s:o}", "address", monitor_json_address(addr),
                                        "size", (int)f->size, "values", values));
}

static int dump(MonitorCall *call, const Source *source)
{
    uint64_t addr = call->args[1].number;
    Format f;
    int result = parse_format(call->args[0].text, &f, &call->err);

    if (result < 0) {
        return result;
    }
    if (f.kind == 's') {
        for (unsigned i = 0; i < f.count; i++) {
            addr = print_string(source, addr, call->out);
        }
        return 0;
    }
    if (call->json) {
        return list_items(call, source, addr, &f);
    }
    if (f.count > 0) {
        print_items(source, addr, &f, call->out);
    }
    return 0;
}

int monitor_x(MonitorCall *call)
{
    CpuState state;
    int result = monitor_cpu_state(call->session, &state, &call->err);

    return result < 0 ? result
                      : dump(call, &(Source){monitor_memory(call->session, &state), &state});
}

int monitor_xp(MonitorCall *call)
{
    return dump(call, &(Source){memory_system_memory(call->machine->ms), NULL});
}

int monitor_gva2gpa(MonitorCall *call)
{
    CpuState state;
    hwaddr gpa;
    int result = monitor_cpu_state(call->session, &state, &call->err);

    if (result < 0) {
        return result;
    }
    bool mapped =
        paging_translate(monitor_memory(call->session, &state), &state, call->args[0].number, &gpa);
    if (call->json) {
        return monitor_set_result(call, mapped
                                            ? json_pack("{s:o}", "gpa", monitor_json_address(gpa))
                                            : json_pack("{s:n}", "gpa"));
    }
    if (mapped) {
        fprintf(call->out, "gpa: 0x%" PRIx64 "\n", gpa);
    } else {
        fputs("Unmapped\n", call->out);
    }
    return 0;
}
