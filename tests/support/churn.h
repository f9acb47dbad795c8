/* SPDX-License-Identifier: MIT */
/*
 * churn.h - random machines under random edits, watched by an oracle.
 *
 * A Churn drives the library and the oracle's table side by side. After each
 * edit (or transaction of edits), for each address space:
 *     the incremental view = a fresh render = the oracle's ranges
 *     = what a mirroring listener was told, in no more calls than needed,
 * and old views that are held still show what they showed.
 */
#ifndef TESTS_CHURN_H
#define TESTS_CHURN_H

#include "mirror.h"
#include "oracle.h"
#include "rng.h"
#include <membus/membus.h>

#define CHURN_SPACES 5
#define CHURN_HELD 6
#define CHURN_HISTORY 8

typedef struct ChurnRegion {
    MemoryRegion mr;
    struct Churn *churn;
    MemoryOwner *owner;
    bool is_ram, is_resizeable;
} ChurnRegion;

/* An address space that is not the machine's. */
typedef struct ChurnOwnSpace {
    AddressSpace as; /* first: one pointer leads to both */
    struct ChurnOwnSpace *next_closed;
} ChurnOwnSpace;

typedef struct ChurnSpace {
    AddressSpace *as; /* NULL: slot free */
    bool own;         /* made by the churn, not by the machine */
    int root;
    Mirror mirror;
    Shown now;        /* as last checked */
    uint64_t view_id; /* of the view that showed it */
    unsigned history; /* views to be kept */
    Shown past[CHURN_HISTORY];
    unsigned pasts;
} ChurnSpace;

typedef struct ChurnHeld {
    FlatView *view;
    Shown shown;
} ChurnHeld;

/* Makes allocations fail within calls of the library, which may then be refused with -ENOMEM. */
typedef struct ChurnSaboteur {
    void (*arm)(Rng *rng);
    void (*disarm)(void);
} ChurnSaboteur;

/* Somebody else who looks at the machine: before anything, after each edit, at the end. */
typedef struct ChurnWatcher {
    void (*begin)(struct Churn *c, void *opaque);
    void (*edited)(struct Churn *c, void *opaque);
    void (*end)(struct Churn *c, void *opaque);
    void *opaque;
} ChurnWatcher;

typedef struct Churn {
    uint64_t seed;
    const ChurnSaboteur *saboteur;
    const ChurnWatcher *watcher;
    Rng rng;
    unsigned edit; /* number of the edit under way */
    bool failed;
    const char *doing; /* the last edit's kind */
    MemorySystem *ms;
    Oracle model;
    ChurnRegion *region[ORACLE_REGIONS]; /* by row of the model; NULL for the machine's own */
    MemoryRegion *mr[ORACLE_REGIONS];
    ChurnSpace space[CHURN_SPACES];
    ChurnHeld held[CHURN_HELD];
    ChurnOwnSpace *closed; /* to be freed once drained */
    uint64_t unit;         /* most addresses are multiples of it */
    unsigned alive;        /* regions not finalised */
} Churn;

/*
 * One machine from @seed: a random tree, checked, then @edits random edits, checked after each,
 * then taken apart. @saboteur may be NULL. Returns false and prints a line that names seed and
 * edit if anything did not hold.
 */
bool churn_run(uint64_t seed, unsigned edits, const ChurnSaboteur *saboteur);
bool churn_run_watched(uint64_t seed, unsigned edits, const ChurnSaboteur *saboteur,
                       const ChurnWatcher *watcher);

/*
 * A call of the library that the saboteur may meddle with, and what is to be made of its answer.
 */
#define CHURN_SETTLE(c, call, before)                                                              \
    do {                                                                                           \
        int settle_rc_;                                                                            \
        churn_arm(c);                                                                              \
        settle_rc_ = (call);                                                                       \
        churn_disarm(c);                                                                           \
        churn_settle(c, settle_rc_, before);                                                       \
    } while (0)

/* churn_edit.c: one random edit to model and library. */
void churn_build(Churn *c);
void churn_edit(Churn *c);
/* churn_region.c: regions come and go, refusals are judged. */
int churn_make_region(Churn *c); /* its row, ORACLE_NONE if the table is full */
void churn_kill_region(Churn *c);
void churn_must_refuse(Churn *c, int rc, int expected);
void churn_settle(Churn *c, int rc, const Oracle *before);
void churn_arm(Churn *c);
void churn_disarm(Churn *c);
int churn_pick_region(Churn *c);
hwaddr churn_pick_address(Churn *c);
hwaddr churn_pick_size(Churn *c, bool finite);
/* churn_check.c: everything that must hold outside a transaction. */
void churn_check(Churn *c);
/* Print the failure once, with how to see it again. */
void churn_fail(Churn *c, const char *format, ...) MEMBUS_PRINTF(2, 3);
/* Whether the model can be rendered for all spaces within the oracle's bounds. */
bool churn_model_is_bounded(const Churn *c);
/* Open or close a slot of @c->space. */
void churn_open_space(Churn *c, int slot, AddressSpace *as, int root, const char *name);
void churn_close_space(Churn *c, int slot);

#endif
