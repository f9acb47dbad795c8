/* SPDX-License-Identifier: MIT */
#include "base/write_signals.h"

#include <pthread.h>
#include <time.h>

static const int raised[] = {SIGPIPE, SIGXFSZ};
#define NR_RAISED (sizeof raised / sizeof *raised)

void write_signals_block(WriteSignals *before)
{
    sigset_t both;

    sigemptyset(&both);
    for (unsigned i = 0; i < NR_RAISED; i++) {
        sigaddset(&both, raised[i]);
    }
    pthread_sigmask(SIG_BLOCK, &both, &before->mask);
    sigpending(&before->pending);
}

void write_signals_unblock(const WriteSignals *before)
{
    static const struct timespec at_once = {0};
    sigset_t pending;

    sigpending(&pending);
    for (unsigned i = 0; i < NR_RAISED; i++) {
        if (sigismember(&pending, raised[i]) && !sigismember(&before->pending, raised[i])) {
            sigset_t one;
            sigemptyset(&one);
            sigaddset(&one, raised[i]);
            sigtimedwait(&one, NULL, &at_once);
        }
    }
    pthread_sigmask(SIG_SETMASK, &before->mask, NULL);
}
