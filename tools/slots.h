/* SPDX-License-Identifier: MIT */
/* slots.h - what the parts of `membus slots` share. */
#ifndef TOOLS_SLOTS_H
#define TOOLS_SLOTS_H

#include "stage.h"
#include "tool.h"

typedef struct Slots {
    const Options *options;
    Stage stage;
    const char *name;             /* of the address space */
    FlatView *views[STAGE_MAPS];  /* NULL: only one map was given */
    const FlatView *view;         /* the last one */
    hwaddr addresses[MAX_STAGE2]; /* --stage2 */
} Slots;

/* " pc.ram @00000000000c0000": whose memory is at @hva. */
void print_place(const Slots *s, uint64_t hva);
void describe_place(const Slots *s, uint64_t hva, json_t *object);
/* "READONLY, LOG", "" for none. */
const char *flag_names(uint32_t flags);

/* ---- The second-stage table (slots_walk.c) ---- */

/* Let a vCPU access @gpa, and tell how that went. False after a complaint. */
bool print_walk(Slots *s, hwaddr gpa);
/* The same; NULL after a complaint. */
json_t *describe_walk(Slots *s, hwaddr gpa);

#endif
