/* SPDX-License-Identifier: MIT */
#include "import/scan.h"

#include <string.h>

bool scan_word(Scan *scan, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(scan->end - scan->at) < length || memcmp(scan->at, word, length) != 0) {
        return false;
    }
    scan->at += length;
    return true;
}

size_t scan_blanks(Scan *scan)
{
    const char *start = scan->at;

    while (scan->at < scan->end && *scan->at == ' ') {
        scan->at++;
    }
    return (size_t)(scan->at - start);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool scan_hex16(Scan *scan, hwaddr *value)
{
    hwaddr sum = 0;

    if (scan->end - scan->at < 16) {
        return false;
    }
    for (int i = 0; i < 16; i++) {
        int digit = hex_digit(scan->at[i]);
        if (digit < 0) {
            return false;
        }
        sum = sum << 4 | (hwaddr)digit;
    }
    *value = sum;
    scan->at += 16;
    return true;
}

bool scan_range(Scan *scan, hwaddr *first, hwaddr *last)
{
    Scan ahead = *scan;

    if (!scan_hex16(&ahead, first) || !scan_word(&ahead, "-") || !scan_hex16(&ahead, last)) {
        return false;
    }
    scan->at = ahead.at;
    return true;
}

bool scan_int32(Scan *scan, int32_t *value)
{
    Scan ahead = *scan;
    bool negative = scan_word(&ahead, "-");
    const char *digits = ahead.at;
    int64_t sum = 0;

    while (ahead.at < ahead.end && *ahead.at >= '0' && *ahead.at <= '9' && sum <= INT32_MAX) {
        sum = 10 * sum + (*ahead.at++ - '0');
    }
    sum = negative ? -sum : sum;
    if (ahead.at == digits || sum > INT32_MAX || sum < INT32_MIN) {
        return false;
    }
    *value = (int32_t)sum;
    scan->at = ahead.at;
    return true;
}

bool scan_cut_end(Scan *scan, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(scan->end - scan->at) < length || memcmp(scan->end - length, word, length) != 0) {
        return false;
    }
    scan->end -= length;
    return true;
}

const char *scan_copy(Scan scan, Arena *arena)
{
    size_t length = (size_t)(scan.end - scan.at);
    char *copy = arena_alloc(arena, length + 1);

    if (copy) {
        memcpy(copy, scan.at, length);
        copy[length] = '\0';
    }
    return copy;
}

bool scan_line(Scan *text, Scan *line)
{
    if (text->at == text->end) {
        return false;
    }
    const char *newline = memchr(text->at, '\n', (size_t)(text->end - text->at));
    line->at = text->at;
    line->end = newline ? newline : text->end;
    text->at = newline ? newline + 1 : text->end;
    while (line->end > line->at && line->end[-1] == '\r') {
        line->end--;
    }
    return true;
}
