/* SPDX-License-Identifier: MIT */
/*
 * saboteur.h - an allocator that fails when told to.
 *
 * For programs linked with --wrap for malloc, calloc, realloc, aligned_alloc and mmap; only the
 * calling thread's allocations are meddled with.
 */
#ifndef TESTS_SABOTEUR_H
#define TESTS_SABOTEUR_H

#include <stdbool.h>

/* From now on the @k-th allocation fails (1: the next), and with @for_good all after it. */
void saboteur_arm(unsigned long k, bool for_good);
/* All succeed again. Returns how many failed since it was armed. */
unsigned long saboteur_disarm(void);
/* Let all succeed for a while; saboteur_resume() gets what this returned. */
unsigned long saboteur_pause(void);
void saboteur_resume(unsigned long paused);

#endif
