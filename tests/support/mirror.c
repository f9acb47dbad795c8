/* SPDX-License-Identifier: MIT */
#include "mirror.h"
#include <string.h>

static Mirror *mirror_of(MemoryListener *listener)
{
    return (Mirror *)((char *)listener - offsetof(Mirror, listener));
}

static void complain(Mirror *m, const char *sentence)
{
    if (!m->error) {
        m->error = sentence;
    }
}

static void mirror_begin(MemoryListener *listener)
{
    Mirror *m = mirror_of(listener);

    if (m->open) {
        complain(m, "begin within begin");
    }
    m->open = true;
    m->begins++;
    m->past_dels = m->has_del = m->has_add = false;
}

static void mirror_commit(MemoryListener *listener)
{
    Mirror *m = mirror_of(listener);

    if (!m->open) {
        complain(m, "commit without begin");
    }
    m->open = false;
}

static bool section_is_sane(Mirror *m, const MemoryRegionSection *section, ShownRange *range)
{
    if (!m->open) {
        complain(m, "a range outside begin and commit");
    }
    if (!shown_from_section(range, section)) {
        complain(m, "a section whose lengths do not fit");
        return false;
    }
    return true;
}

static void mirror_add(MemoryListener *listener, MemoryRegionSection *section)
{
    Mirror *m = mirror_of(listener);
    ShownRange range;
    size_t at = 0;

    if (!section_is_sane(m, section, &range)) {
        return;
    }
    m->adds++;
    m->past_dels = true;
    if (m->has_add && range.first <= m->last_add) {
        complain(m, "region_add does not ascend");
    }
    m->has_add = true;
    m->last_add = range.first;
    while (at < m->shown.count && m->shown.range[at].last < range.first) {
        at++;
    }
    if (at < m->shown.count && m->shown.range[at].first <= range.last) {
        complain(m, "region_add over a range that is there");
    }
    range.log_mask = 0; /* log_start will tell */
    shown_append(&m->shown, range);
    memmove(&m->shown.range[at + 1], &m->shown.range[at],
            (m->shown.count - 1 - at) * sizeof(range));
    m->shown.range[at] = range;
}

static void mirror_del(MemoryListener *listener, MemoryRegionSection *section)
{
    Mirror *m = mirror_of(listener);
    ShownRange range;
    const ShownRange *found;
    size_t at;

    if (!section_is_sane(m, section, &range)) {
        return;
    }
    m->dels++;
    if (m->past_dels) {
        complain(m, "region_del after region_add or region_nop");
    }
    if (m->has_del && range.first <= m->last_del) {
        complain(m, "region_del does not ascend");
    }
    m->has_del = true;
    m->last_del = range.first;
    found = shown_find(&m->shown, &range);
    if (!found) {
        complain(m, "region_del of a range that is not there");
        return;
    }
    at = (size_t)(found - m->shown.range);
    memmove(&m->shown.range[at], &m->shown.range[at + 1],
            (m->shown.count - 1 - at) * sizeof(range));
    m->shown.count--;
}

static void mirror_nop(MemoryListener *listener, MemoryRegionSection *section)
{
    Mirror *m = mirror_of(listener);
    ShownRange range;

    if (!section_is_sane(m, section, &range)) {
        return;
    }
    m->nops++;
    m->past_dels = true;
    if (!shown_find(&m->shown, &range)) {
        complain(m, "region_nop of a range that is not there");
    }
}

static void set_mask(MemoryListener *listener, MemoryRegionSection *section, int old_mask,
                     int new_mask)
{
    Mirror *m = mirror_of(listener);
    ShownRange range, *found;

    if (!section_is_sane(m, section, &range)) {
        return;
    }
    m->masks++;
    found = (ShownRange *)(uintptr_t)shown_find(&m->shown, &range);
    if (!found) {
        complain(m, "a log call for a range that is not there");
        return;
    }
    /* a mask that gains and loses bits at once makes two calls with the same masks */
    if (found->log_mask != old_mask && found->log_mask != new_mask) {
        complain(m, "a log call from a mask that was not the range's");
    }
    found->log_mask = (uint8_t)new_mask;
}

static void mirror_log_start(MemoryListener *listener, MemoryRegionSection *section, int old_mask,
                             int new_mask)
{
    if (!(new_mask & ~old_mask)) {
        complain(mirror_of(listener), "log_start without a new bit");
    }
    set_mask(listener, section, old_mask, new_mask);
}

static void mirror_log_stop(MemoryListener *listener, MemoryRegionSection *section, int old_mask,
                            int new_mask)
{
    if (!(old_mask & ~new_mask)) {
        complain(mirror_of(listener), "log_stop without a lost bit");
    }
    set_mask(listener, section, old_mask, new_mask);
}

/* ---- ioeventfds and coalesced ranges ------------------------------------------ */

void mirror_put_signal(Mirror *mirror, MirrorSignal signal)
{
    if (mirror->signals == MIRROR_SIGNALS) {
        complain(mirror, "more signals than the mirror has room for");
        return;
    }
    mirror->signal[mirror->signals++] = signal;
}

bool mirror_take_signal(Mirror *mirror, MirrorSignal signal)
{
    for (unsigned i = 0; i < mirror->signals; i++) {
        const MirrorSignal *s = &mirror->signal[i];

        if (s->is_eventfd == signal.is_eventfd && s->addr == signal.addr &&
            s->length == signal.length && s->data == signal.data) {
            mirror->signal[i] = mirror->signal[--mirror->signals];
            return true;
        }
    }
    return false;
}

static MirrorSignal eventfd_signal(const MemoryRegionSection *section, uint64_t data)
{
    return (MirrorSignal){true, section->offset_within_address_space, section->size, data};
}

static void mirror_eventfd_add(MemoryListener *listener, MemoryRegionSection *section, bool match,
                               uint64_t data, EventNotifier *e)
{
    if (!match || e->fd != (int)data) {
        complain(mirror_of(listener), "eventfd_add with another notifier");
    }
    mirror_put_signal(mirror_of(listener), eventfd_signal(section, data));
}

static void mirror_eventfd_del(MemoryListener *listener, MemoryRegionSection *section, bool match,
                               uint64_t data, EventNotifier *e)
{
    if (!match || e->fd != (int)data) {
        complain(mirror_of(listener), "eventfd_del with another notifier");
    }
    if (!mirror_take_signal(mirror_of(listener), eventfd_signal(section, data))) {
        complain(mirror_of(listener), "eventfd_del of one that is not there");
    }
}

static void mirror_coalesced_add(MemoryListener *listener, MemoryRegionSection *section,
                                 hwaddr addr, hwaddr len)
{
    (void)section;
    mirror_put_signal(mirror_of(listener), (MirrorSignal){false, addr, len, 0});
}

static void mirror_coalesced_del(MemoryListener *listener, MemoryRegionSection *section,
                                 hwaddr addr, hwaddr len)
{
    (void)section;
    if (!mirror_take_signal(mirror_of(listener), (MirrorSignal){false, addr, len, 0})) {
        complain(mirror_of(listener), "coalesced_io_del of a range that is not there");
    }
}

void mirror_init(Mirror *mirror, const char *name, bool nop)
{
    *mirror = (Mirror){
        .listener = {.begin = mirror_begin,
                     .commit = mirror_commit,
                     .region_add = mirror_add,
                     .region_del = mirror_del,
                     .region_nop = nop ? mirror_nop : NULL,
                     .log_start = mirror_log_start,
                     .log_stop = mirror_log_stop,
                     .eventfd_add = mirror_eventfd_add,
                     .eventfd_del = mirror_eventfd_del,
                     .coalesced_io_add = mirror_coalesced_add,
                     .coalesced_io_del = mirror_coalesced_del,
                     .priority = 10,
                     .name = name},
    };
}

void mirror_forget_counts(Mirror *mirror)
{
    mirror->begins = mirror->adds = mirror->dels = mirror->nops = mirror->masks = 0;
}

void mirror_free(Mirror *mirror)
{
    shown_free(&mirror->shown);
}
