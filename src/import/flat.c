/* SPDX-License-Identifier: MIT */
/*
 * The text of `info mtree -f`:
 *
 *     FlatView #3
 *      AS "memory", root: system
 *      AS "cpu-memory-0", root: system
 *      Root memory region: system
 *       0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM
 *       00000000000c0000-00000000000cafff (prio 0, rom): pc.ram @00000000000c0000 KVM
 *
 * or "  No rendered FlatView" in place of the ranges. What a KVM machine prints behind a range,
 * once per address space that it backs, is no part of the name.
 */
#include "import/record.h"
#include "import/scan.h"

#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct View {
    MtreeFlatView view;
    MtreeFlatSpace *spaces;
    size_t max_spaces;
    MtreeFlatRange *ranges;
    size_t max_ranges;
    bool complete; /* "No rendered FlatView" was said */
} View;

struct MtreeFlat {
    ImportRecords records; /* the arena and the file's name */
    View *views;
    size_t count, max;
};

static int out_of_memory(const MtreeFlat *flat, unsigned long line)
{
    return import_fail(&flat->records, line, ENOMEM, "out of memory");
}

/* Room for one more in @array. */
static bool grow(void *array, size_t count, size_t *max, size_t size)
{
    void **elements = array;

    if (count < *max) {
        return true;
    }
    size_t more = *max ? 2 * *max : 8;
    void *grown = reallocarray(*elements, more, size);
    if (!grown) {
        return false;
    }
    *elements = grown;
    *max = more;
    return true;
}

/* A text that was cut short ends in a view without either. */
static int close_view(const MtreeFlat *flat)
{
    const View *view = flat->count ? &flat->views[flat->count - 1] : NULL;

    if (view && !view->complete && view->view.nr_ranges == 0) {
        return import_fail(&flat->records, view->view.line, EINVAL,
                           "the view has no ranges and no `No rendered FlatView`");
    }
    return 0;
}

static int add_view(MtreeFlat *flat, unsigned long line)
{
    int result = close_view(flat);

    if (result < 0) {
        return result;
    }
    if (!grow(&flat->views, flat->count, &flat->max, sizeof *flat->views)) {
        return out_of_memory(flat, line);
    }
    flat->views[flat->count++] = (View){.view = {.root = "(none)", .line = line}};
    return 0;
}

/* AS "NAME", root: ROOT */
static int add_space(MtreeFlat *flat, View *view, unsigned long line, Scan text)
{
    static const char middle[] = "\", root: ";
    const char *split = NULL;

    /* A name may contain anything, so the last one counts. */
    for (const char *p = text.at; p + sizeof middle - 1 <= text.end; p++) {
        if (memcmp(p, middle, sizeof middle - 1) == 0) {
            split = p;
        }
    }
    if (!split) {
        return import_fail(&flat->records, line, EINVAL, "expected ` AS \"NAME\", root: ROOT`");
    }
    if (!grow(&view->spaces, view->view.nr_spaces, &view->max_spaces, sizeof *view->spaces)) {
        return out_of_memory(flat, line);
    }
    MtreeFlatSpace *space = &view->spaces[view->view.nr_spaces++];
    *space = (MtreeFlatSpace){
        .name = scan_copy((Scan){text.at, split}, &flat->records.arena),
        .root = scan_copy((Scan){split + sizeof middle - 1, text.end}, &flat->records.arena),
        .line = line,
    };
    return space->name && space->root ? 0 : out_of_memory(flat, line);
}

static void cut_accelerators(Scan *text)
{
    while (scan_cut_end(text, " KVM")) {
    }
}

/* " @OFFSET" at the end, if there. */
static void cut_offset(Scan *text, hwaddr *offset)
{
    if (text->end - text->at >= 18) {
        Scan tail = {text->end - 18, text->end};
        if (scan_word(&tail, " @") && scan_hex16(&tail, offset)) {
            text->end -= 18;
        }
    }
}

static int add_range(MtreeFlat *flat, View *view, unsigned long line, Scan text)
{
    if (!grow(&view->ranges, view->view.nr_ranges, &view->max_ranges, sizeof *view->ranges)) {
        return out_of_memory(flat, line);
    }
    MtreeFlatRange *range = &view->ranges[view->view.nr_ranges];
    *range = (MtreeFlatRange){.line = line};
    cut_accelerators(&text);
    range->text = scan_copy(text, &flat->records.arena);
    scan_word(&text, "  ");
    if (!scan_range(&text, &range->first, &range->last) || range->first > range->last) {
        return import_fail(&flat->records, line, EINVAL,
                           "expected a range of two 16-digit hexadecimal numbers");
    }
    if (!scan_word(&text, " (prio ") || !scan_int32(&text, &range->priority) ||
        !scan_word(&text, ", ")) {
        return import_fail(&flat->records, line, EINVAL,
                           "expected ` (prio N, TYPE): NAME` after the range");
    }
    const char *type_end = memmem(text.at, (size_t)(text.end - text.at), "):", 2);
    if (!type_end) {
        return import_fail(&flat->records, line, EINVAL, "the type does not end");
    }
    range->type = scan_copy((Scan){text.at, type_end}, &flat->records.arena);
    text.at = type_end + 2;
    scan_word(&text, " ");
    cut_offset(&text, &range->offset);
    range->name = scan_copy(text, &flat->records.arena);
    if (!range->text || !range->type || !range->name) {
        return out_of_memory(flat, line);
    }
    if (view->view.nr_ranges > 0 && range[-1].last >= range->first) {
        return import_fail(&flat->records, line, EINVAL,
                           "the range begins before the last one ends");
    }
    view->view.nr_ranges++;
    return 0;
}

static int add_line(MtreeFlat *flat, unsigned long number, Scan line)
{
    View *view = flat->count ? &flat->views[flat->count - 1] : NULL;
    Scan text = line;

    if (line.at == line.end) {
        return 0;
    }
    if (memchr(line.at, '\0', (size_t)(line.end - line.at))) {
        return import_fail(&flat->records, number, EINVAL, "the line contains a NUL byte");
    }
    if (scan_word(&text, "FlatView #")) {
        return add_view(flat, number);
    }
    if (!view || scan_word(&text, "(qemu)")) {
        if (scan_word(&text, "QEMU ") || scan_word(&text, "(qemu)") || text.at != line.at) {
            return 0; /* what a monitor's transcript has around the text */
        }
        return import_fail(&flat->records, number, EINVAL, "expected `FlatView #N`");
    }
    if (scan_word(&text, " AS \"")) {
        return add_space(flat, view, number, text);
    }
    if (scan_word(&text, " Root memory region: ")) {
        view->view.root = scan_copy(text, &flat->records.arena);
        return view->view.root ? 0 : out_of_memory(flat, number);
    }
    if (scan_word(&text, "  No rendered FlatView") && text.at == text.end) {
        view->complete = true;
        return 0;
    }
    return add_range(flat, view, number, line);
}

MtreeFlat *mtree_flat_parse(const char *text, size_t len, const char *name, Error **errp)
{
    MtreeFlat *flat = calloc(1, sizeof *flat);
    Scan rest = {text, text + len}, line;
    int result = 0;

    if (!flat) {
        error_pass(errp, fail(ENOMEM, "%s:1: out of memory", name));
        return NULL;
    }
    flat->records.file = name;
    for (unsigned long number = 1; result == 0 && scan_line(&rest, &line); number++) {
        result = add_line(flat, number, line);
    }
    if (result == 0) {
        result = close_view(flat);
    }
    if (result == 0 && flat->count == 0) {
        result = import_fail(&flat->records, 1, EINVAL, "no `FlatView #N` in this text");
    }
    if (error_pass(errp, result) < 0) {
        mtree_flat_free(flat);
        return NULL;
    }
    for (size_t i = 0; i < flat->count; i++) {
        flat->views[i].view.spaces = flat->views[i].spaces;
        flat->views[i].view.ranges = flat->views[i].ranges;
    }
    return flat;
}

size_t mtree_flat_count(const MtreeFlat *flat)
{
    return flat->count;
}

const MtreeFlatView *mtree_flat_view(const MtreeFlat *flat, size_t index)
{
    return &flat->views[index].view;
}

void mtree_flat_free(MtreeFlat *flat)
{
    if (!flat) {
        return;
    }
    for (size_t i = 0; i < flat->count; i++) {
        free(flat->views[i].spaces);
        free(flat->views[i].ranges);
    }
    free(flat->views);
    arena_destroy(&flat->records.arena);
    free(flat);
}
