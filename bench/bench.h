/* SPDX-License-Identifier: MIT */
/*
 * bench.h - the harness: contenders take turns, medians go to a table and to JSON.
 *
 * Every figure of membus stands beside references that were measured in the same process and the
 * same run. A run takes one sample of each contender, each time beginning with another, so that a
 * slow phase of the machine falls on all of them; what counts is the median over the runs.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BENCH_MAX_RUNS 99

typedef struct Series {
    double samples[BENCH_MAX_RUNS];
    unsigned count;
} Series;

/* Something to measure; the first of a comparison is membus, the others are its references. */
typedef struct Contender {
    const char *name;
    double (*sample)(void *opaque); /* in the row's unit; NULL: not available, and .why says why */
    void *opaque;
    const char *why;
    Series series;
} Contender;

/* What the figure should be. A ratio or difference is of membus and the first reference. */
typedef struct Goal {
    enum {
        GOAL_NONE,
        GOAL_AT_MOST,
        GOAL_DIFFERENCE_AT_MOST,
        GOAL_RATIO_AT_MOST,
        GOAL_RATIO_AT_LEAST
    } kind;
    double bound;
} Goal;

typedef struct Bench {
    unsigned runs;
    const char *only; /* rows whose name contains this; NULL: all */
    bool pin;         /* sample on one CPU; off where other threads take part, which inherit it */
    FILE *json;
    unsigned json_rows;
    unsigned met, missed;
} Bench;

/* Whether a row of this name is wanted: ask before an expensive setup. */
bool bench_wants(const Bench *bench, const char *name);
/* Measure @contenders and report a row for each reference. */
void bench_compare(Bench *bench, const char *name, const char *unit, Goal goal,
                   Contender *contenders, size_t count);
/* Report a row whose samples were taken by other means. */
void bench_report(Bench *bench, const char *name, const char *unit, Goal goal, const Series *value,
                  const char *reference, const Series *reference_value);
/* A remark below the row before. */
void bench_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void bench_open(Bench *bench);
void bench_close(Bench *bench);

double now_ns(void);
/* Bind the calling thread to the @index-th CPU that the process may use; -1 lets it roam again. */
void pin_thread(int index);
unsigned usable_cpus(void);

/* A seeded generator that costs about a nanosecond (xorshift64). */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}
#define RANDOM_SEED UINT64_C(0x9e3779b97f4a7c15)

/* Keep a result that nobody reads. */
static inline void keep(uint64_t value)
{
    __asm__ volatile("" : : "r"(value) : "memory");
}

/* Leave the program if what was measured gave a wrong answer: its figure would mean nothing. */
void expect(bool right, const char *what);

/* The rows. */
void bench_maps(Bench *bench);
void bench_commits(Bench *bench);
void bench_loads(Bench *bench);
void bench_random_loads(Bench *bench);
void bench_bulk(Bench *bench);
void bench_mmio(Bench *bench);
void bench_snapshots(Bench *bench);
void bench_readers(Bench *bench);
void bench_dump(Bench *bench);
void bench_prealloc(Bench *bench);
void bench_dirty(Bench *bench);
void bench_kvm(Bench *bench);
void bench_soft(Bench *bench);

#endif
