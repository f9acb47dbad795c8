/* SPDX-License-Identifier: MIT */
/*
 * Writing a trace of the map.
 *
 *      a commit ──► shown, for each space ──► items of the record at hand ──► ended ──► write(2)
 *
 * Many spaces share a view, and all of them hear of its change: the first one that does brings the
 * trace's copy of the view (a TraceView, one for each lineage that a traced space shows) up to
 * date with a list of differences; the others find it so.
 *
 * Guarantees:
 *  W1  A TraceView's `current` is what its lineage showed last, hence alive: it has a space that
 *      shows it. Nothing here holds a reference to anything.
 *  W2  A record holds at most one edit of a view and at most one show of a space.
 *  W3  After an error nothing more is written: a gap would make what follows nonsense.
 */
#include "inspect/trace_write.h"
#include "base/error.h"
#include "base/text.h"
#include "base/write_signals.h"
#include "inspect/trace_format.h"
#include "map/lineage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Length, time, flags and where. */
#define RECORD_HEAD (TRACE_NUMBER_MAX * 3 + 1)

static MapTrace *trace_of(MapWatch *watch)
{
    return (MapTrace *)watch;
}

static uint64_t now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

void trace_give_up(MapTrace *t, int result)
{
    if (!t->error) {
        t->error = result;
        snprintf(t->why, sizeof t->why, "%s", membus_last_error());
    }
}

void trace_no_memory(MapTrace *t)
{
    if (!t->error) {
        trace_give_up(t, fail(ENOMEM, "trace %s: out of memory for a record", t->path));
    }
}

static void write_all(MapTrace *t, const unsigned char *bytes, size_t count)
{
    WriteSignals before;

    write_signals_block(&before);
    while (count && !t->error) {
        ssize_t written = write(t->fd, bytes, count);
        if (written >= 0) {
            bytes += written;
            count -= (size_t)written;
        } else if (errno != EINTR) {
            int err = errno;
            trace_give_up(t, fail(err, "trace %s: %s", t->path, strerror(err)));
        }
    }
    write_signals_unblock(&before);
}

static TraceSpace **find_space(MapTrace *t, const AddressSpace *as)
{
    TraceSpace **link = &t->spaces;

    while (*link && (*link)->as != as) {
        link = &(*link)->next;
    }
    return link;
}

/* ---- what the watch is told --------------------------------------------------------------- */

static void trace_space_made(MapWatch *watch, AddressSpace *as)
{
    MapTrace *t = trace_of(watch);

    if (t->error || (t->config.wants && !t->config.wants(as, t->config.opaque))) {
        return;
    }
    TraceSpace *ts = malloc(sizeof *ts);
    if (!ts) {
        trace_no_memory(t);
        return;
    }
    *ts = (TraceSpace){.as = as};
    *find_space(t, as) = ts; /* the end: it is not there yet */
    t->unrecorded++;
}

static void trace_space_gone(MapWatch *watch, AddressSpace *as)
{
    MapTrace *t = trace_of(watch);
    TraceSpace **link = find_space(t, as), *ts = *link;

    if (!ts) {
        return;
    }
    *link = ts->next;
    trace_leave_view(t, ts->view);
    if (!ts->recorded) {
        t->unrecorded--;
    } else if (!t->error) {
        trace_put_number(t, TRACE_GONE);
        trace_put_number(t, ts->number);
    }
    free(ts);
}

static void trace_shown(MapWatch *watch, AddressSpace *as, const FlatView *old,
                        const FlatView *view)
{
    MapTrace *t = trace_of(watch);
    TraceView *tv = t->error ? NULL : trace_find_view(t, view->lineage);

    if (t->error) {
        return;
    }
    if (tv && tv->current != view) {
        trace_record_edit(t, tv, view);
    }
    if (old->lineage != view->lineage) {
        TraceSpace *ts = *find_space(t, as);
        if (ts) {
            trace_record_show(t, ts, view);
        }
    }
}

static void write_record(MapTrace *t)
{
    unsigned char head[RECORD_HEAD], *items = t->record.items;
    uint64_t time = now(CLOCK_MONOTONIC), where = 0;
    bool has_where = t->config.where && t->config.where(t->config.opaque, &where);
    size_t n = trace_put(head, time - t->latest);

    head[n++] = has_where ? TRACE_HAS_WHERE : 0;
    if (has_where) {
        n += trace_put(head + n, where);
    }
    unsigned char length[TRACE_NUMBER_MAX];
    size_t l = trace_put(length, n + t->record.count - RECORD_HEAD);
    memcpy(items + RECORD_HEAD - n, head, n);
    memcpy(items + RECORD_HEAD - n - l, length, l);
    write_all(t, items + RECORD_HEAD - n - l, l + n + t->record.count - RECORD_HEAD);
    t->latest = time;
}

static void trace_ended(MapWatch *watch)
{
    MapTrace *t = trace_of(watch);

    if (t->unrecorded && !t->error) {
        for (TraceSpace *ts = t->spaces; ts; ts = ts->next) {
            trace_record_space(t, ts);
        }
    }
    if (t->record.count > RECORD_HEAD && !t->error) {
        write_record(t);
    }
    t->record.count = RECORD_HEAD;
}

/* ---- beginning and end -------------------------------------------------------------------- */

static void put_le(unsigned char *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        out[i] = (unsigned char)(value >> 8 * i);
    }
}

static void write_header(MapTrace *t)
{
    unsigned char header[TRACE_HEADER_SIZE] = TRACE_MAGIC;

    t->latest = now(CLOCK_MONOTONIC);
    put_le(header + 8, TRACE_VERSION, 4);
    put_le(header + 16, now(CLOCK_REALTIME), 8);
    put_le(header + 24, t->latest, 8);
    write_all(t, header, sizeof header);
}

static bool begin_with(AddressSpace *as, void *opaque)
{
    MapTrace *t = opaque;

    trace_space_made(&t->watch, as);
    TraceSpace *ts = *find_space(t, as);
    if (ts && !t->error) {
        trace_record_show(t, ts, as->view);
    }
    return t->error;
}

static void trace_free(MapTrace *t)
{
    while (t->spaces) {
        TraceSpace *ts = t->spaces;
        t->spaces = ts->next;
        trace_leave_view(t, ts->view);
        free(ts);
    }
    interned_free(&t->names);
    interned_free(&t->regions);
    vec_free(&t->record);
    vec_free(&t->removed);
    vec_free(&t->added);
    free(t->path);
    free(t);
}

/* Close the file; its error counts unless there was one before. */
static void close_file(MapTrace *t)
{
    if (t->fd >= 0 && close(t->fd) && errno != EINTR) {
        int err = errno;
        trace_give_up(t, fail(err, "trace %s: %s", t->path, strerror(err)));
    }
    t->fd = -1;
}

static void start(MapTrace *t)
{
    t->fd = open(t->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (t->fd < 0) {
        int err = errno;
        trace_give_up(t, fail(err, "trace %s: %s", t->path, strerror(err)));
        return;
    }
    if (!vec_reserve(&t->record, RECORD_HEAD, 1)) {
        trace_no_memory(t);
        return;
    }
    t->record.count = RECORD_HEAD;
    write_header(t);
    memory_system_for_each_address_space(t->ms, begin_with, t);
    if (!t->error) {
        write_record(t); /* even of a machine without spaces that are traced */
        t->record.count = RECORD_HEAD;
    }
}

MapTrace *map_trace_create(MemorySystem *ms, const char *path, const MapTraceConfig *config,
                           Error **errp)
{
    MapTrace *t = calloc(1, sizeof *t);

    if (t) {
        *t = (MapTrace){.ms = ms, .path = text_copy(path), .fd = -1};
        t->watch = (MapWatch){trace_space_made, trace_space_gone, trace_shown, trace_ended, NULL};
        t->config = config ? *config : (MapTraceConfig){.where = NULL};
    }
    if (!t || !t->path) {
        free(t);
        error_pass(errp, fail_no_memory("a trace of the map"));
        return NULL;
    }
    machine_lock(ms);
    if (ms->notifying || ms->transaction_depth) {
        trace_give_up(t, fail(EBUSY, "trace %s: it cannot begin %s", path,
                              ms->notifying ? "in a listener's callback" : "in a transaction"));
    } else {
        ms->notifying = true;
        start(t);
        ms->notifying = false;
    }
    if (!t->error) {
        map_watch_add(ms, &t->watch);
    }
    machine_unlock(ms);
    if (t->error) {
        int result = t->error;
        close_file(t);
        error_pass(errp, fail(-result, "%s", t->why));
        trace_free(t);
        return NULL;
    }
    return t;
}

int map_trace_stop(MapTrace *t, Error **errp)
{
    if (!t) {
        return 0;
    }
    MemorySystem *ms = t->ms;
    machine_lock(ms);
    map_watch_remove(ms, &t->watch);
    close_file(t);
    machine_unlock(ms);
    int result = t->error;
    if (result) {
        error_pass(errp, fail(-result, "%s", t->why));
    }
    trace_free(t);
    return result;
}
