/* SPDX-License-Identifier: MIT */
/* main.c - membus-bench: what the map, the commits and the accesses cost, beside peers. */
#include "bench.h"

#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: membus-bench [--runs N] [--only NAME] [--json FILE]\n"
                            "  --runs N      samples per figure, 1 to 99 (7)\n"
                            "  --only NAME   only the rows whose name contains NAME\n"
                            "  --json FILE   write the rows there as JSON, too\n";

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"runs", required_argument, NULL, 'r'},
        {"only", required_argument, NULL, 'o'},
        {"json", required_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    Bench bench = {.runs = 7};
    const char *json_path = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'r':
            bench.runs = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'o':
            bench.only = optarg;
            break;
        case 'j':
            json_path = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind != argc || bench.runs < 1 || bench.runs > BENCH_MAX_RUNS) {
        fputs(usage, stderr);
        return 2;
    }
    /* It takes its name when it is complete, so that a broken run leaves the last one's figures. */
    char partial[PATH_MAX];
    if (json_path) {
        snprintf(partial, sizeof(partial), "%s.partial", json_path);
        bench.json = fopen(partial, "w");
        if (!bench.json) {
            perror(partial);
            return 1;
        }
    }

    bench_open(&bench);
    bench_maps(&bench);
    bench_commits(&bench);
    bench.pin = true;
    bench_loads(&bench);
    bench_random_loads(&bench);
    bench_bulk(&bench);
    bench_mmio(&bench);
    bench_snapshots(&bench);
    bench_dump(&bench);
    bench_dirty(&bench);
    bench_kvm(&bench);
    bench_soft(&bench);
    bench.pin = false;
    bench_readers(&bench);
    bench_prealloc(&bench);
    bench_close(&bench);

    if (bench.json && (fclose(bench.json) || rename(partial, json_path))) {
        perror(json_path);
        return 1;
    }
    return 0;
}
