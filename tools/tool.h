/* SPDX-License-Identifier: MIT */
/* tool.h - what the subcommands of membus share. */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include <membus/import.h>
#include <membus/inspect.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

enum {
    EXIT_SAME = 0,      /* done; nothing differs */
    EXIT_DIFFERENT = 1, /* check, diff and slots found a difference */
    EXIT_REFUSED = 1,   /* memdev: the backend cannot be made; slots: they do not suffice */
    EXIT_TROUBLE = 2,   /* bad input or usage, or the output could not be written */
};

#define MAX_STAGE2 64

struct Options;

typedef struct Command {
    const char *name;
    const char *arguments;
    const char *summary;
    const char *options;               /* lines of help */
    unsigned min_sources, max_sources; /* positional arguments */
    unsigned max_flats;                /* --flat options */
    bool takes_as, takes_touch, takes_slots, takes_verbose;
    int (*run)(const struct Options *options);
    /* Instead of all that: a command that reads its own command line. */
    int (*main)(const struct Command *command, int argc, char **argv);
} Command;

/* A command line, read. */
typedef struct Options {
    const Command *command;
    const char *positional[2];
    const char *flat_files[2]; /* --flat for each positional, or NULL */
    const char *as_name;       /* --as, or NULL */
    const char *touch;         /* --touch, or NULL */
    /* slots: NULL, or what was given */
    const char *max_slot, *max_slots, *host_page;
    const char *stage2[MAX_STAGE2];
    unsigned nr_stage2;
    bool write, log;
    bool verbose;
    bool json;
    bool color;
} Options;

/* ---- messages and input (tool.c). What fails says so on standard error. ---- */

void complain(const char *fmt, ...) MEMBUS_PRINTF(1, 2);

/* To standard output. */
void print_command_help(const Command *command);

/* Complain of the command line: EXIT_TROUBLE. */
int misuse(const Command *command, const char *reason, const char *what);
/* The same of what getopt_long(3) answered with @c, '?' or ':'. */
int misuse_option(const Command *command, int c, char *const *argv);

/* @path as messages name it. */
const char *shown_name(const char *path);

/* The whole of a file, "-" being standard input, NULL on an error; to be freed. */
char *read_text(const char *path, size_t *len);

/* NULL on an error. */
MtreeFlat *load_flat(const char *path);
MemoryImport *load_tree(const char *path, const MtreeFlat *flat);

/* load_tree() of a positional argument with its --flat, if given. */
MemoryImport *load_source(const Options *options, unsigned index);

/*
 * The address spaces called @as_name, or all for NULL; to be freed. Complains and returns NULL if
 * there is none.
 */
AddressSpace **select_spaces(const MemoryImport *import, const char *path, const char *as_name,
                             size_t *count);

/* The same without an --as: only `memory`, or the first where there is none. */
AddressSpace **choose_spaces(const MemoryImport *import, const char *path, const char *as_name,
                             size_t *count);

/*
 * Call @fn for each leaf under the roots of @spaces that is taken for an empty container
 * (silent.c); returns how many there were.
 */
typedef void SilentLeafFn(const MemoryRegion *mr, void *opaque);
size_t for_each_silent_leaf(AddressSpace *const *spaces, size_t count, SilentLeafFn *fn,
                            void *opaque);

/* 0x... or 16 digits: hexadecimal; else decimal. */
bool parse_address(const char *text, hwaddr *addr);

/* A number of bytes, decimal with a suffix K, M, G or T for powers of 1024, or 0x... */
bool parse_size(const char *text, hwaddr *size);

/* ---- output (output.c) ---- */

typedef enum Color {
    COLOR_PLAIN,
    COLOR_GOOD,
    COLOR_BAD,
    COLOR_CHANGED,
    COLOR_FAINT,
    COLOR_HEAD,
} Color;

/* What switches to @color, "" where colours are off. COLOR_PLAIN ends a colour. */
const char *color(const Options *options, Color color);

/* Print @text, which others made up, so that it cannot command a terminal. */
void print_text(FILE *out, const char *text);

/*
 * Print @root, which may be NULL if memory was short, and give it up. Returns an exit status:
 * @status if all went well.
 */
int print_json(json_t *root, int status);

/*
 * Addresses are strings of 16 hexadecimal digits after 0x: JSON's numbers are no 64-bit integers
 * everywhere.
 */
json_t *json_hwaddr(hwaddr addr);
json_t *json_text(const char *text);
/* In the largest unit that divides it: "4 KiB". */
void print_size(hwaddr size);

json_t *json_section(const MemoryRegionSection *section);

/* Call @visit for each range of @view. */
void for_each_range(const FlatView *view,
                    void (*visit)(const MemoryRegionSection *section, void *opaque), void *opaque);

/* Flush standard output; EXIT_TROUBLE if it could not be written, else @status. */
int finish_output(int status);

extern const Command cmd_tree, cmd_flat, cmd_find, cmd_diff, cmd_log, cmd_check, cmd_ram, cmd_slots,
    cmd_memdev, cmd_boot;

#endif
