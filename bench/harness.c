/* SPDX-License-Identifier: MIT */
/* harness.c - turns, medians, the table and the JSON. See bench.h. */
#include "bench.h"

#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void expect(bool right, const char *what)
{
    if (!right) {
        fflush(stdout);
        fprintf(stderr, "membus-bench: %s: wrong answer\n", what);
        exit(1);
    }
}

double now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* The CPUs that the process started with; pinning narrows the thread's own set. */
static const cpu_set_t *initial_cpus(void)
{
    static cpu_set_t cpus;
    static bool known;
    if (!known) {
        CPU_ZERO(&cpus);
        if (sched_getaffinity(0, sizeof(cpus), &cpus)) {
            CPU_SET(0, &cpus);
        }
        known = true;
    }
    return &cpus;
}

unsigned usable_cpus(void)
{
    return (unsigned)CPU_COUNT(initial_cpus());
}

void pin_thread(int index)
{
    const cpu_set_t *cpus = initial_cpus();
    if (index < 0) {
        sched_setaffinity(0, sizeof(*cpus), cpus);
        return;
    }
    index %= CPU_COUNT(cpus);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, cpus) && index-- == 0) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            /* Not allowed here and there; the figures are then only noisier. */
            sched_setaffinity(0, sizeof(one), &one);
            return;
        }
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct Summary {
    double median, low, high;
} Summary;

static Summary summarize(const Series *series)
{
    double sorted[BENCH_MAX_RUNS];
    unsigned n = series->count;
    memcpy(sorted, series->samples, n * sizeof(double));
    qsort(sorted, n, sizeof(double), compare_doubles);
    double median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    return (Summary){median, sorted[0], sorted[n - 1]};
}

bool bench_wants(const Bench *bench, const char *name)
{
    return !bench->only || strstr(name, bench->only);
}

#define NAME_WIDTH 22
#define FIGURE_WIDTH 26
#define REFERENCE_WIDTH 28

static void format_figure(char *out, size_t size, Summary s, const char *unit)
{
    int digits = s.median < 10 ? 2 : s.median < 1000 ? 1 : 0;
    snprintf(out, size, "%.*f %s (%.*f-%.*f)", digits, s.median, unit, digits, s.low, digits,
             s.high);
}

/* "ok", or "miss" with how far off the figure is. */
static void judge(Bench *bench, Goal goal, double value, double reference, const char *unit,
                  char *out, size_t size)
{
    double measured = goal.kind == GOAL_AT_MOST              ? value
                      : goal.kind == GOAL_DIFFERENCE_AT_MOST ? value - reference
                                                             : value / reference;
    bool at_least = goal.kind == GOAL_RATIO_AT_LEAST;
    bool ratio = at_least || goal.kind == GOAL_RATIO_AT_MOST;
    bool met = at_least ? measured >= goal.bound : measured <= goal.bound;
    int used = snprintf(out, size, "%s %s%g%s%s: %s",
                        at_least ? ">=" : "<=", goal.kind == GOAL_DIFFERENCE_AT_MOST ? "+" : "",
                        goal.bound, ratio ? "x" : " ", ratio ? "" : unit, met ? "ok" : "miss");
    if (!met && used > 0 && (size_t)used < size) {
        snprintf(out + used, size - (size_t)used, " by %.0f%%",
                 100 * (at_least ? 1 - measured / goal.bound : measured / goal.bound - 1));
    }
    bench->met += met;
    bench->missed += !met;
}

void bench_report(Bench *bench, const char *name, const char *unit, Goal goal, const Series *value,
                  const char *reference, const Series *reference_value)
{
    Summary mine = summarize(value), theirs = summarize(reference_value);
    double ratio = mine.median / theirs.median;
    char figure[64], other[64], verdict[64] = "";
    format_figure(figure, sizeof(figure), mine, unit);
    format_figure(other, sizeof(other), theirs, unit);
    if (goal.kind != GOAL_NONE) {
        judge(bench, goal, mine.median, theirs.median, unit, verdict, sizeof(verdict));
    }
    printf("%-*s %-*s %-*s %-*s %8.3g  %s\n", NAME_WIDTH, name, FIGURE_WIDTH, figure,
           REFERENCE_WIDTH, reference, FIGURE_WIDTH, other, ratio, verdict);
    fflush(stdout);
    if (bench->json) {
        fprintf(bench->json,
                "%s\n  {\"name\": \"%s\", \"unit\": \"%s\", \"value\": %.6g, "
                "\"reference\": \"%s\", \"reference_value\": %.6g, \"ratio\": %.6g}",
                bench->json_rows++ ? "," : "", name, unit, mine.median, reference, theirs.median,
                ratio);
    }
}

static void take_samples(Bench *bench, Contender *contenders, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        contenders[i].series.count = 0;
        if (contenders[i].sample) {
            contenders[i].sample(contenders[i].opaque); /* warms caches, faults pages in */
        }
    }
    for (unsigned run = 0; run < bench->runs; run++) {
        for (size_t turn = 0; turn < count; turn++) {
            Contender *c = &contenders[(run + turn) % count];
            if (c->sample) {
                c->series.samples[c->series.count++] = c->sample(c->opaque);
            }
        }
    }
}

void bench_compare(Bench *bench, const char *name, const char *unit, Goal goal,
                   Contender *contenders, size_t count)
{
    if (!bench_wants(bench, name)) {
        return;
    }
    if (bench->pin) {
        pin_thread(0);
    }
    take_samples(bench, contenders, count);
    pin_thread(-1);
    for (size_t i = 1; i < count; i++) {
        if (contenders[i].sample) {
            bench_report(bench, name, unit, i == 1 ? goal : (Goal){GOAL_NONE, 0},
                         &contenders[0].series, contenders[i].name, &contenders[i].series);
        } else {
            printf("%-*s %-*s %s: %s\n", NAME_WIDTH, name, FIGURE_WIDTH, "", contenders[i].name,
                   contenders[i].why);
        }
    }
}

void bench_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("    ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

void bench_open(Bench *bench)
{
    initial_cpus();
    printf("medians of %u runs (lowest-highest), %u CPUs\n\n", bench->runs, usable_cpus());
    printf("%-*s %-*s %-*s %-*s %8s  %s\n", NAME_WIDTH, "name", FIGURE_WIDTH, "membus",
           REFERENCE_WIDTH, "reference", FIGURE_WIDTH, "its figure", "ratio", "goal");
    if (bench->json) {
        fprintf(bench->json, "[");
    }
}

void bench_close(Bench *bench)
{
    printf("\n%u goals met, %u missed\n", bench->met, bench->missed);
    if (bench->json) {
        fprintf(bench->json, "\n]\n");
    }
}
