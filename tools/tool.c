/* SPDX-License-Identifier: MIT */
#include "tool.h"

#include <membus/error.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SPACE "memory"

void complain(const char *fmt, ...)
{
    char text[8192];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fflush(stdout);
    fputs("membus: ", stderr);
    print_text(stderr, text);
    putc('\n', stderr);
}

void print_command_help(const Command *command)
{
    printf("usage: membus %s [OPTION]...%s%s\n\n%s.\n\n", command->name,
           *command->arguments ? " " : "", command->arguments, command->summary);
    if (command->max_flats > 0) {
        puts("  --flat FILE  the same machine's `info mtree -f`, which settles what the tree's "
             "text\n"
             "               leaves open: containers, read-only aliases, the order of siblings");
    }
    if (command->takes_as) {
        puts("  --as NAME    only address spaces of this name");
    }
    fputs(command->options, stdout);
    if (!command->main) {
        puts("  --json       print JSON; the schema is in docs/json.md\n"
             "  --help       print this");
    }
    if (command->takes_as) {
        puts("\nA file name of - is standard input.");
    }
}

int misuse(const Command *command, const char *reason, const char *what)
{
    complain("%s: %s%s", command->name, reason, what);
    fprintf(stderr, "usage: membus %s [OPTION]...%s%s\n", command->name,
            *command->arguments ? " " : "", command->arguments);
    return EXIT_TROUBLE;
}

int misuse_option(const Command *command, int c, char *const *argv)
{
    /* Of several letters in one word, getopt names the one in optopt. */
    char letter[] = {'-', (char)optopt, '\0'};
    bool is_letter = optopt > ' ' && optopt <= '~';

    return misuse(command, c == ':' ? "option needs a value: " : "unknown option: ",
                  is_letter ? letter : argv[optind - 1]);
}

const char *shown_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "<stdin>" : path;
}

static char *read_all(FILE *in, size_t *len)
{
    size_t max = 0;
    char *text = NULL;

    *len = 0;
    for (;;) {
        if (*len == max) {
            max = max ? 2 * max : 64 * 1024;
            char *grown = realloc(text, max);
            if (!grown) {
                free(text);
                errno = ENOMEM;
                return NULL;
            }
            text = grown;
        }
        size_t got = fread(text + *len, 1, max - *len, in);
        *len += got;
        if (got == 0) {
            break;
        }
    }
    if (ferror(in)) {
        free(text);
        return NULL;
    }
    return text;
}

char *read_text(const char *path, size_t *len)
{
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    char *text = NULL;

    if (in) {
        text = read_all(in, len);
    }
    int err = errno;
    if (in && in != stdin) {
        fclose(in);
    }
    if (!text) {
        complain("%s: %s", shown_name(path), strerror(err));
    }
    return text;
}

static void complain_error(Error *error)
{
    complain("%s", error_get_pretty(error));
    error_free(error);
}

MtreeFlat *load_flat(const char *path)
{
    size_t len;
    char *text = read_text(path, &len);
    Error *error = NULL;

    if (!text) {
        return NULL;
    }
    MtreeFlat *flat = mtree_flat_parse(text, len, shown_name(path), &error);
    free(text);
    if (!flat) {
        complain_error(error);
    }
    return flat;
}

MemoryImport *load_tree(const char *path, const MtreeFlat *flat)
{
    size_t len;
    char *text = read_text(path, &len);
    Error *error = NULL;

    if (!text) {
        return NULL;
    }
    MemoryImport *import = memory_import_mtree(text, len, shown_name(path), flat, &error);
    free(text);
    if (!import) {
        complain_error(error);
    }
    return import;
}

MemoryImport *load_source(const Options *options, unsigned index)
{
    MtreeFlat *flat = NULL;

    if (options->flat_files[index]) {
        flat = load_flat(options->flat_files[index]);
        if (!flat) {
            return NULL;
        }
    }
    MemoryImport *import = load_tree(options->positional[index], flat);
    mtree_flat_free(flat);
    return import;
}

AddressSpace **select_spaces(const MemoryImport *import, const char *path, const char *as_name,
                             size_t *count)
{
    size_t all = memory_import_space_count(import);
    AddressSpace **spaces = calloc(all + 1, sizeof(AddressSpace *));

    *count = 0;
    if (!spaces) {
        complain("out of memory");
        return NULL;
    }
    for (size_t i = 0; i < all; i++) {
        AddressSpace *space = memory_import_space(import, i);
        if (!as_name || strcmp(address_space_name(space), as_name) == 0) {
            spaces[(*count)++] = space;
        }
    }
    if (as_name && *count == 0) {
        complain("%s: no address space is called '%s'", shown_name(path), as_name);
        free(spaces);
        return NULL;
    }
    return spaces;
}

AddressSpace **choose_spaces(const MemoryImport *import, const char *path, const char *as_name,
                             size_t *count)
{
    AddressSpace **all = select_spaces(import, path, as_name, count);

    if (!all || as_name) {
        return all;
    }
    for (size_t i = 0; i < *count; i++) {
        if (strcmp(address_space_name(all[i]), DEFAULT_SPACE) == 0) {
            all[0] = all[i];
            break;
        }
    }
    *count = *count > 1 ? 1 : *count;
    return all;
}

bool parse_size(const char *text, hwaddr *size)
{
    static const char units[] = "KMGT";
    char *end;
    int base = strncmp(text, "0x", 2) == 0 ? 16 : 10;
    bool digit = *text >= '0' && *text <= '9';

    errno = 0;
    *size = strtoull(text, &end, base);
    const char *unit = *end ? strchr(units, *end) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    if (!digit || errno || end[unit ? 1 : 0] || *size > UINT64_MAX >> shift) {
        complain("%s: not a size: write bytes, or a number with K, M, G or T", text);
        return false;
    }
    *size <<= shift;
    return true;
}

bool parse_address(const char *text, hwaddr *addr)
{
    size_t length = strlen(text);
    bool prefixed = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    const char *digits = prefixed ? text + 2 : text;
    int base = prefixed || length == 16 ? 16 : 10;
    const char *allowed = base == 16 ? "0123456789abcdefABCDEF" : "0123456789";

    if (*digits == '\0' || digits[strspn(digits, allowed)] != '\0') {
        complain("%s: not an address: write 0x... or a decimal number", text);
        return false;
    }
    errno = 0;
    *addr = strtoull(digits, NULL, base);
    if (errno == ERANGE) {
        complain("%s: the address is above 0x%" PRIx64, text, UINT64_MAX);
        return false;
    }
    return true;
}
