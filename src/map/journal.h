/* SPDX-License-Identifier: MIT */
/*
 * journal.h - what regions were when a snapshot was taken, to take the map back there.
 *
 * Guarantees:
 *  J1  A region that was edited while a journal was the newest has one entry in it: its state when
 *      the journal began. Hence its state at the beginning of journal k is in the oldest entry
 *      from k on; if there is none, it has not been edited since.
 *  J2  An entry holds the region, and the container that its state names.
 *  J3  Restoring is one transaction, in the time of the regions that were edited.
 */
#ifndef MAP_JOURNAL_H
#define MAP_JOURNAL_H

#include "map/system.h"

struct Journal {
    Journal *older;
    uint64_t number; /* ascending */
    struct JournalEntry *entries;
};

/* Begin @journal (zeroed) on top of the others. Context of all: machine lock held. */
void journal_begin(MemorySystem *ms, Journal *journal);

/*
 * @mr is going to have the state @next: note what it has. *@noted is whether that was the first
 * time, to be undone with journal_forget() if the edit fails.
 * Returns 0 or -ENOMEM.
 */
int journal_note(MemoryRegion *mr, const MemoryRegionState *next, bool *noted);
void journal_forget(MemoryRegion *mr);

/*
 * Take the map back to the beginning of @journal, and end those on top of it. Errors are those of
 * region_change(). Afterwards the caller has lengths of RAM follow: ram_resizes_committed().
 */
int journal_restore(MemorySystem *ms, Journal *journal);

/* End @journal; what the one below needs goes there. */
void journal_end(MemorySystem *ms, Journal *journal);

#endif
