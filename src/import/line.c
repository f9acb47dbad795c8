/* SPDX-License-Identifier: MIT */
/*
 * One region line of `info mtree`:
 *
 *     FIRST-LAST (prio 1, ram): alias pam-ram @pc.ram FIRST-LAST [disabled] owner:{dev id=mch}
 *   ^ level           ^ and type        ^ name   ^ target, window onto it    ^ suffixes
 *
 * Names are free text and may contain anything that stands around them, so the line is taken apart
 * from both ends: what is left in the middle is the name.
 */
#include "import/record.h"

#include "import/scan.h"

#include <errno.h>
#include <string.h>

static const struct {
    const char *text;
    ImportType type;
} types[] = {
    {"i/o", IMPORT_IO},    {"ram", IMPORT_RAM},         {"rom", IMPORT_ROM},
    {"romd", IMPORT_ROMD}, {"ramd", IMPORT_RAM_DEVICE}, {"container", IMPORT_CONTAINER},
};

static bool parse_type(Scan *scan, ImportNode *node)
{
    node->nonvolatile = scan_word(scan, "nv-");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        Scan ahead = *scan;
        if (scan_word(&ahead, types[i].text) && scan_word(&ahead, ")")) {
            *scan = ahead;
            node->type = types[i].type;
            return true;
        }
    }
    return false;
}

/* Cut " owner:{...}" or " parent:{...}" off the end. */
static void cut_owner(Scan *scan, Scan *owner)
{
    static const char *const heads[] = {" owner:{", " parent:{"};

    owner->at = owner->end = scan->end;
    if (scan->at == scan->end || scan->end[-1] != '}') {
        return;
    }
    for (const char *p = scan->end; p-- > scan->at;) {
        for (size_t i = 0; *p == ' ' && i < 2; i++) {
            Scan ahead = {p, scan->end};
            if (scan_word(&ahead, heads[i])) {
                owner->at = p + 1;
                scan->end = p;
                return;
            }
        }
    }
}

/* Finding the target's name in an alias's takes time that grows with the square of the length. */
#define LONGEST_NAME 4096

#define WINDOW_LENGTH (1 + 16 + 1 + 16) /* " FIRST-LAST" */

/*
 * "alias NAME @TARGET FIRST-LAST"; anything else that begins with "alias" is a plain name. Where
 * there are several " @", target.c finds out which it is.
 */
static bool parse_alias(Scan *scan, ImportNode *node)
{
    Scan ahead = *scan;

    if (!scan_word(&ahead, "alias ") || ahead.end - ahead.at < WINDOW_LENGTH) {
        return false;
    }
    Scan window = {ahead.end - WINDOW_LENGTH, ahead.end};
    if (!scan_word(&window, " ") || !scan_range(&window, &node->target_first, &node->target_last)) {
        return false;
    }
    ahead.end -= WINDOW_LENGTH;
    /* An alias without a name prints "alias  @TARGET". */
    if (!memmem(ahead.at, (size_t)(ahead.end - ahead.at), " @", 2)) {
        return false;
    }
    *scan = ahead;
    node->is_alias = true;
    return true;
}

static int parse_head(ImportRecords *records, unsigned long line, Scan *scan, ImportNode *node)
{
    if (!scan_range(scan, &node->first, &node->last)) {
        return import_fail(records, line, EINVAL,
                           "expected a range of two 16-digit hexadecimal numbers");
    }
    if (node->first > node->last) {
        return import_fail(records, line, EINVAL, "the range ends at %016llx, before its start",
                           (unsigned long long)node->last);
    }
    if (node->last - node->first == UINT64_MAX - 1) {
        return import_fail(records, line, EINVAL, "no region has 2^64 - 1 bytes");
    }
    if (!scan_word(scan, " (prio ")) {
        return import_fail(records, line, EINVAL,
                           "expected ` (prio N, TYPE): NAME` after the range");
    }
    if (!scan_int32(scan, &node->priority) || !scan_word(scan, ", ")) {
        return import_fail(records, line, EINVAL, "the priority is not a 32-bit number");
    }
    if (!parse_type(scan, node)) {
        return import_fail(records, line, EINVAL,
                           "the type is none of i/o, ram, rom, romd, ramd, container");
    }
    if (!scan_word(scan, ":")) {
        return import_fail(records, line, EINVAL, "expected `: NAME` after the type");
    }
    scan_word(scan, " ");
    return 0;
}

int import_parse_line(ImportRecords *records, unsigned long line, const char *text, const char *end,
                      ImportNode *node)
{
    Scan scan = {text, end};
    size_t indent = scan_blanks(&scan);

    *node = (ImportNode){.line = line};
    if (indent == 0) {
        return import_fail(records, line, EINVAL, "expected a region line or a heading");
    }
    if (indent % 2) {
        return import_fail(records, line, EINVAL, "the indentation of %zu blanks is odd", indent);
    }
    if (indent / 2 > MEMORY_REGION_MAX_DEPTH) {
        return import_fail(records, line, ELOOP, "nested deeper than %d regions",
                           MEMORY_REGION_MAX_DEPTH);
    }
    node->level = (unsigned)(indent / 2);
    int result = parse_head(records, line, &scan, node);
    if (result < 0) {
        return result;
    }

    Scan owner;
    cut_owner(&scan, &owner);
    node->disabled = scan_cut_end(&scan, " [disabled]");
    if (parse_alias(&scan, node) &&
        node->target_last - node->target_first != node->last - node->first) {
        return import_fail(records, line, EINVAL, "the alias and its window differ in size");
    }
    if (scan.end - scan.at > LONGEST_NAME) {
        return import_fail(records, line, EINVAL, "a name of more than %d bytes", LONGEST_NAME);
    }
    node->name = scan_copy(scan, &records->arena);
    node->owner = owner.at < owner.end ? scan_copy(owner, &records->arena) : NULL;
    if (!node->name || (owner.at < owner.end && !node->owner)) {
        return import_fail(records, line, ENOMEM, "out of memory");
    }
    return 0;
}
