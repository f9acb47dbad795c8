/* SPDX-License-Identifier: MIT */
#include "map/journal.h"

#include "base/error.h"
#include "map/edit.h"
#include "map/signals.h"
#include "map/topology.h"
#include "ram/log.h"
#include "ram/notifiers.h"

#include <stdlib.h>

typedef struct JournalEntry {
    MemoryRegion *mr; /* held */
    Journal *journal;
    struct JournalEntry *older; /* of the region */
    struct JournalEntry *next;  /* of the journal */
    MemoryRegionState state;    /* its signals are held */
    MemoryRegion *container;    /* held; NULL: none */
    MemoryRegionState before;   /* of the restore at work */
} JournalEntry;

void journal_begin(MemorySystem *ms, Journal *journal)
{
    journal->older = ms->snapshots.journal;
    journal->number = journal->older ? journal->older->number + 1 : 0;
    ms->snapshots.journal = journal;
}

static bool same_but_for_mask(const MemoryRegionState *a, const MemoryRegionState *b)
{
    return a->container == b->container && a->addr == b->addr && a->size == b->size &&
           a->alias_offset == b->alias_offset && a->sequence == b->sequence &&
           a->signals == b->signals && a->priority == b->priority && a->enabled == b->enabled &&
           a->readonly == b->readonly && a->nonvolatile == b->nonvolatile &&
           a->unmergeable == b->unmergeable && a->romd_mode == b->romd_mode;
}

int journal_note(MemoryRegion *mr, const MemoryRegionState *next, bool *noted)
{
    Journal *newest = region_system(mr)->snapshots.journal;

    *noted = false;
    if (!newest || (mr->journal && mr->journal->journal == newest) ||
        same_but_for_mask(&mr->state, next)) {
        return 0;
    }
    JournalEntry *entry = malloc(sizeof *entry);
    if (!entry) {
        return fail_no_memory("a snapshot's note of a region");
    }
    if (!region_ref_if_alive(mr)) {
        free(entry); /* it is about to end, out of everybody's reach */
        return 0;
    }
    *entry = (JournalEntry){
        .mr = mr,
        .journal = newest,
        .older = mr->journal,
        .next = newest->entries,
        .state = mr->state,
    };
    signals_ref(entry->state.signals);
    if (entry->state.container && region_ref_if_alive(entry->state.container)) {
        entry->container = entry->state.container;
    }
    entry->state.container = entry->container;
    newest->entries = mr->journal = entry;
    *noted = true;
    return 0;
}

/* @entry is in no journal's list any more. */
static void drop_entry(JournalEntry *entry)
{
    JournalEntry **link = &entry->mr->journal;

    while (*link != entry) {
        link = &(*link)->older;
    }
    *link = entry->older;
    signals_unref(entry->state.signals);
    memory_region_unref(entry->container);
    memory_region_unref(entry->mr);
    free(entry);
}

void journal_forget(MemoryRegion *mr)
{
    JournalEntry *entry = mr->journal;

    entry->journal->entries = entry->next;
    drop_entry(entry);
}

static void drop_entries(Journal *journal)
{
    while (journal->entries) {
        JournalEntry *entry = journal->entries;
        journal->entries = entry->next;
        drop_entry(entry);
    }
}

void journal_end(MemorySystem *ms, Journal *journal)
{
    Journal **link = &ms->snapshots.journal, *below = journal->older;

    while (*link != journal) {
        link = &(*link)->older;
    }
    *link = below;
    while (below && journal->entries) {
        JournalEntry *entry = journal->entries;
        journal->entries = entry->next;
        if (entry->older && entry->older->journal == below) {
            drop_entry(entry);
        } else {
            entry->journal = below;
            entry->next = below->entries;
            below->entries = entry;
        }
    }
    drop_entries(journal);
}

/* ---- restoring ------------------------------------------------------------------------ */

/* Whether @entry is of the oldest journal that has the region, from @journal on. */
static bool is_oldest_since(const JournalEntry *entry, const Journal *journal)
{
    return !entry->older || entry->older->journal->number < journal->number;
}

/* Visit the entries that tell what regions were when @journal began. */
static void for_each_target(MemorySystem *ms, const Journal *journal,
                            void (*visit)(JournalEntry *entry))
{
    for (Journal *at = ms->snapshots.journal; at != journal->older; at = at->older) {
        for (JournalEntry *entry = at->entries; entry; entry = entry->next) {
            if (is_oldest_since(entry, journal)) {
                visit(entry);
            }
        }
    }
}

static void damage(MemoryRegion *mr)
{
    if (map_damage(mr)) {
        map_damage_everything(region_system(mr));
    }
}

static void take_out(JournalEntry *entry)
{
    MemoryRegionState nowhere = entry->mr->state;

    nowhere.container = NULL;
    region_install(entry->mr, &nowhere);
}

static void remember(JournalEntry *entry)
{
    entry->before = entry->mr->state;
    damage(entry->mr);
    take_out(entry);
}

/* Memory devices, and the area for them, are where their own records say, which do not go back. */
static bool keeps_place(const JournalEntry *entry)
{
    const MemoryRegion *then = entry->state.container, *now = entry->before.container;

    return entry->mr->device_memory || (then && then->device_memory) || (now && now->device_memory);
}

static void put_back(JournalEntry *entry)
{
    MemoryRegionState state = entry->state;

    state.dirty_log_mask = entry->before.dirty_log_mask;
    if (keeps_place(entry)) {
        state.container = entry->before.container;
        state.addr = entry->before.addr;
        state.priority = entry->before.priority;
        state.sequence = entry->before.sequence;
    }
    region_install(entry->mr, &state);
    damage(entry->mr);
}

static void undo_put_back(JournalEntry *entry)
{
    region_install(entry->mr, &entry->before);
}

/* RAM whose length changes: those who have to know hear of it first. */
static bool resizes(const JournalEntry *entry, hwaddr now)
{
    return entry->mr->ram_block && entry->state.size != now;
}

static void announce_length(JournalEntry *entry)
{
    hwaddr now = entry->mr->state.size;

    if (resizes(entry, now)) {
        ram_notifiers_resized(entry->mr->ram_block, now, entry->state.size);
    }
}

static void take_announcement_back(JournalEntry *entry)
{
    if (resizes(entry, entry->mr->state.size)) {
        ram_notifiers_resized(entry->mr->ram_block, entry->state.size, entry->mr->state.size);
    }
}

/* The tree is as it was: the holds of containers follow. Holds come before releases. */
static void hold_again(JournalEntry *entry)
{
    MemoryRegion *now = entry->mr->state.container;

    if (now && now != entry->before.container) {
        region_hold(now, entry->mr);
    }
}

static void finish(JournalEntry *entry)
{
    MemoryRegion *mr = entry->mr, *before = entry->before.container;
    RAMBlock *block = mr->ram_block;

    if (before && before != mr->state.container) {
        region_let_go(before, mr);
    }
    entry->state.signals = entry->before.signals; /* changed hands with the region's */
    if (mr->state.signals && mr->state.signals->nr_coalesced) {
        signals_flush_first(mr, true);
    }
    if (block && mr->state.size != entry->before.size) {
        block->list->resizing = true;
    }
    if (block && mr->state.size > entry->before.size) {
        unsigned others = block->log_mask & ~region_system(mr)->snapshots.client_mask;
        ram_mark(block, others, entry->before.size, mr->state.size - entry->before.size);
    }
}

static int restore_states(MemorySystem *ms, Journal *journal)
{
    int result = map_edit_begin(ms);

    if (result) {
        return result;
    }
    for_each_target(ms, journal, announce_length);
    for_each_target(ms, journal, remember);
    for_each_target(ms, journal, put_back);
    result = map_edit_end(ms);
    if (result) {
        for_each_target(ms, journal, take_out);
        for_each_target(ms, journal, undo_put_back);
        for_each_target(ms, journal, take_announcement_back);
        map_edit_cancel(ms);
    } else {
        for_each_target(ms, journal, hold_again);
        for_each_target(ms, journal, finish);
    }
    return result;
}

int journal_restore(MemorySystem *ms, Journal *journal)
{
    bool edited = false;

    for (Journal *at = ms->snapshots.journal; at != journal->older; at = at->older) {
        edited |= at->entries != NULL;
    }
    int result = edited ? restore_states(ms, journal) : 0;
    if (!result) {
        while (ms->snapshots.journal != journal) {
            Journal *newest = ms->snapshots.journal;
            ms->snapshots.journal = newest->older;
            drop_entries(newest);
        }
        drop_entries(journal);
    }
    return result;
}
