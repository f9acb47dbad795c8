/* SPDX-License-Identifier: MIT */
/*
 * soak_oracle [TREES [EDITS [SEED]]]: random machines under random edits against the oracle, see
 * tests/support/churn.h. Tree number i has the seed SEED + i, so a failure is seen again
 * with `soak_oracle 1 EDITS seed`. Exit 0: all held; 1: one did not; 2: bad arguments.
 */
#include "support/churn.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool parse(const char *text, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 0);
    return !errno && end != text && !*end && text[0] != '-';
}

int main(int argc, char **argv)
{
    uint64_t args[3] = {1000, 100, 1}; /* trees, edits, seed */

    for (int i = 1; i < argc; i++) {
        if (i > 3 || !parse(argv[i], &args[i - 1]) || (i < 3 && args[i - 1] > UINT32_MAX)) {
            fprintf(stderr, "usage: soak_oracle [TREES [EDITS [SEED]]]: bad argument '%s'\n",
                    argv[i]);
            return 2;
        }
    }
    for (uint64_t i = 0; i < args[0]; i++) {
        if (!churn_run(args[2] + i, (unsigned)args[1], NULL)) {
            return 1;
        }
        if ((i + 1) % 1000 == 0) {
            printf("%" PRIu64 " trees x %" PRIu64 " edits held\n", i + 1, args[1]);
            fflush(stdout);
        }
    }
    printf("ok: %" PRIu64 " trees x %" PRIu64 " edits from seed %" PRIu64 "\n", args[0], args[1],
           args[2]);
    return 0;
}
