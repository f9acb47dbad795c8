/* SPDX-License-Identifier: MIT */
#include "ram/option_values.h"

#include <membus/hostmem.h>

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The suffix's power of two; -1: it is none. */
static int suffix_shift(const char *text)
{
    static const char suffixes[] = "BKMGTPE";
    const char *found;

    if (!*text) {
        return 0;
    }
    found = text[1] ? NULL : strchr(suffixes, toupper((unsigned char)*text));
    return found ? 10 * (int)(found - suffixes) : -1;
}

static const char too_large[] = "is above what 64 bits hold";
static const char no_size[] =
    "is no size: write a number and K, M, G or T for powers of 1024, or 0x and hexadecimal digits";

static const char *parse_hex(const char *digits, hwaddr *size)
{
    if (!*digits || digits[strspn(digits, "0123456789abcdefABCDEF")]) {
        return no_size;
    }
    errno = 0;
    *size = strtoull(digits, NULL, 16);
    return errno == ERANGE ? too_large : NULL;
}

const char *option_size(const char *text, hwaddr *size)
{
    unsigned __int128 fraction = 0, scale = 1;
    char *end;

    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        return parse_hex(text + 2, size);
    }
    if (!isdigit((unsigned char)*text)) {
        return no_size;
    }
    errno = 0;
    unsigned __int128 value = strtoull(text, &end, 10);
    bool overflow = errno == ERANGE;
    if (*end == '.') {
        if (!isdigit((unsigned char)*++end)) {
            return no_size;
        }
        for (; isdigit((unsigned char)*end); end++) {
            if (scale >= 1000000000000000000ULL) {
                return "has too many digits after the point";
            }
            fraction = fraction * 10 + (unsigned)(*end - '0');
            scale *= 10;
        }
    }
    int shift = suffix_shift(end);
    if (shift < 0) {
        return no_size;
    }
    fraction <<= shift;
    if (fraction % scale) {
        return "is no whole number of bytes";
    }
    value = (value << shift) + fraction / scale;
    if (overflow || value > UINT64_MAX) {
        return too_large;
    }
    *size = (hwaddr)value;
    return NULL;
}

const char *option_switch(const char *text, bool *value)
{
    static const char *const words[] = {"off", "on", "no", "yes", "false", "true"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(text, words[i]) == 0) {
            *value = i % 2;
            return NULL;
        }
    }
    return "is neither on nor off";
}

/* Decimal, without a sign; false: not that, or above @max. */
static bool parse_number(const char *text, char **end, unsigned long max, unsigned long *value)
{
    if (!isdigit((unsigned char)*text)) {
        return false;
    }
    errno = 0;
    *value = strtoul(text, end, 10);
    return errno == 0 && *value <= max;
}

bool option_number(const char *text, int min, int max, int *number)
{
    bool negative = *text == '-';
    unsigned long value;
    char *end;

    if (!parse_number(text + negative, &end, INT_MAX, &value) || *end) {
        return false;
    }
    *number = negative ? -(int)value : (int)value;
    return *number >= min && *number <= max;
}

/* "N" or "N-M", added to those that were named before. */
const char *option_nodes(const char *text, unsigned long *nodes)
{
    static const char wrong[] = "names no nodes: write N or N-M, from 0 to 127";
    const unsigned bits = 8 * sizeof *nodes;
    unsigned long first, last;
    char *end;

    if (!parse_number(text, &end, HOST_MEMORY_MAX_NODES - 1, &first)) {
        return wrong;
    }
    last = first;
    if (*end == '-' && !parse_number(end + 1, &end, HOST_MEMORY_MAX_NODES - 1, &last)) {
        return wrong;
    }
    if (*end || last < first) {
        return wrong;
    }
    for (unsigned long node = first; node <= last; node++) {
        nodes[node / bits] |= 1UL << node % bits;
    }
    return NULL;
}
