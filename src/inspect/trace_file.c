/* SPDX-License-Identifier: MIT */
/* Opening a trace, and the states of it. */
#include "base/error.h"
#include "base/text.h"
#include "inspect/trace_format.h"
#include "inspect/trace_read.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static uint64_t get_le(const unsigned char *in, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)in[i] << 8 * i;
    }
    return value;
}

bool map_trace_recognise(const void *data, size_t len)
{
    return len >= TRACE_MAGIC_SIZE && memcmp(data, TRACE_MAGIC, TRACE_MAGIC_SIZE) == 0;
}

static int check_header(MapTraceFile *file)
{
    if (!map_trace_recognise(file->data, file->size)) {
        return fail(EINVAL, "%s: byte 0: not a trace of a memory map", file->label);
    }
    if (file->size < TRACE_HEADER_SIZE) {
        return fail(EINVAL, "%s: byte %zu: the file ends within its header", file->label,
                    file->size);
    }
    uint64_t version = get_le(file->data + 8, 4);
    if (version != TRACE_VERSION) {
        return fail(ENOTSUP, "%s: byte 8: a trace of version %lu, not %d", file->label,
                    (unsigned long)version, TRACE_VERSION);
    }
    if (get_le(file->data + 12, 4)) {
        return fail(EINVAL, "%s: byte 12: not zero", file->label);
    }
    file->began = get_le(file->data + 16, 8);
    return 0;
}

static void state_init(MapTraceState *s, const MapTraceFile *file, bool opening)
{
    *s = (MapTraceState){.file = (MapTraceFile *)file,
                         .opening = opening,
                         .record = {.number = NO_NUMBER},
                         .at = TRACE_HEADER_SIZE};
}

/* Play it all, noting where records begin. */
static int check_records(MapTraceFile *file)
{
    MapTraceState s;
    int result;

    state_init(&s, file, true);
    do {
        size_t start = s.at;
        result = trace_step(&s);
        if (result == 1) {
            size_t *record = vec_add(&file->records, sizeof *record);
            if (!record) {
                result = fail_no_memory("a trace");
            } else {
                *record = start;
            }
        }
    } while (result == 1);
    if (result == 0 && file->records.count == 0) {
        result = fail(EINVAL, "%s: byte %zu: the first record is not complete", file->label, s.at);
    }
    file->truncated = s.at < file->size;
    trace_state_clear(&s);
    return result;
}

/* Takes @data, which is malloc'ed or NULL. */
static MapTraceFile *open_data(unsigned char *data, size_t size, const char *name, Error **errp)
{
    MapTraceFile *file = data ? calloc(1, sizeof *file) : NULL;
    int result = -ENOMEM;

    if (file) {
        *file = (MapTraceFile){.label = text_copy(name), .data = data, .size = size};
    }
    if (!file || !file->label) {
        fail_no_memory("a trace");
    } else {
        result = check_header(file);
        if (!result) {
            result = check_records(file);
        }
    }
    if (!result) {
        return file;
    }
    error_pass(errp, result);
    if (file) {
        map_trace_close(file);
    } else {
        free(data);
    }
    return NULL;
}

MapTraceFile *map_trace_open_bytes(const void *data, size_t size, const char *name, Error **errp)
{
    unsigned char *copy = malloc(size + 1);

    if (copy && size) {
        memcpy(copy, data, size);
    }
    return open_data(copy, size, name, errp);
}

static int read_stream(FILE *in, const char *path, Vec *bytes)
{
    size_t got;

    errno = 0;
    do {
        if (!vec_reserve(bytes, 64 * 1024, 1)) {
            return fail_no_memory("a trace");
        }
        got = fread(VEC_AT(bytes, char, bytes->count), 1, bytes->max - bytes->count, in);
        bytes->count += got;
    } while (got);
    if (ferror(in)) {
        int err = errno ? errno : EIO;
        return fail(err, "%s: %s", path, strerror(err));
    }
    return 0;
}

static int read_file(const char *path, Vec *bytes)
{
    FILE *in = fopen(path, "re");

    if (!in) {
        int err = errno;
        return fail(err, "%s: %s", path, strerror(err));
    }
    int result = read_stream(in, path, bytes);
    fclose(in);
    return result;
}

MapTraceFile *map_trace_open(const char *path, Error **errp)
{
    Vec bytes = {.items = NULL};
    int result = read_file(path, &bytes);

    if (result) {
        error_pass(errp, result);
        vec_free(&bytes);
        return NULL;
    }
    return open_data(bytes.items, bytes.count, path, errp);
}

void map_trace_close(MapTraceFile *file)
{
    if (!file) {
        return;
    }
    for (size_t i = 0; i < file->names.count; i++) {
        free(*VEC_AT(&file->names, char *, i));
    }
    vec_free(&file->names);
    vec_free(&file->regions);
    vec_free(&file->records);
    free(file->label);
    free(file->data);
    free(file);
}

size_t map_trace_count(const MapTraceFile *file)
{
    return file->records.count;
}

bool map_trace_truncated(const MapTraceFile *file)
{
    return file->truncated;
}

uint64_t map_trace_began(const MapTraceFile *file)
{
    return file->began;
}

/* ---- states ---------------------------------------------------------------------------- */

MapTraceState *map_trace_state(const MapTraceFile *file, size_t number, Error **errp)
{
    if (number >= file->records.count) {
        error_pass(errp, fail(ERANGE, "%s: there is no commit %zu: the last one is %zu",
                              file->label, number, file->records.count - 1));
        return NULL;
    }
    MapTraceState *s = malloc(sizeof *s);
    if (!s) {
        error_pass(errp, fail_no_memory("a state of a trace"));
        return NULL;
    }
    state_init(s, file, false);
    int result = 1;
    for (size_t i = 0; i <= number && result == 1; i++) {
        result = trace_step(s);
    }
    if (result != 1) {
        error_pass(errp, result);
        map_trace_state_free(s);
        return NULL;
    }
    return s;
}

int map_trace_state_next(MapTraceState *state, Error **errp)
{
    return error_pass(errp, trace_step(state));
}

void map_trace_state_free(MapTraceState *state)
{
    if (state) {
        trace_state_clear(state);
        free(state);
    }
}
