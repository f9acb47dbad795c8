/* SPDX-License-Identifier: MIT */
/*
 * scan.h - take a line of text apart from the left. Each function moves on only if it returns true.
 */
#ifndef IMPORT_SCAN_H
#define IMPORT_SCAN_H

#include "base/arena.h"

#include <membus/types.h>

typedef struct Scan {
    const char *at, *end;
} Scan;

bool scan_word(Scan *scan, const char *word);

/* The number of blanks skipped. */
size_t scan_blanks(Scan *scan);

/* Exactly 16 hexadecimal digits; two such numbers with a '-' in between. */
bool scan_hex16(Scan *scan, hwaddr *value);
bool scan_range(Scan *scan, hwaddr *first, hwaddr *last);

bool scan_int32(Scan *scan, int32_t *value);

/* Shorten the line by @word if it ends in it. */
bool scan_cut_end(Scan *scan, const char *word);

/* The rest of the line as a string in @arena; NULL if memory is short. */
const char *scan_copy(Scan scan, Arena *arena);

/*
 * The next line of @text, without its line end (LF or CR LF), @text then being what follows. False
 * at the end of the text. A last line without a line end counts.
 */
bool scan_line(Scan *text, Scan *line);

#endif
