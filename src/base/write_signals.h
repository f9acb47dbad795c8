/* SPDX-License-Identifier: MIT */
/* write_signals.h - what a write raises, SIGPIPE and SIGXFSZ, kept from the thread. */
#ifndef BASE_WRITE_SIGNALS_H
#define BASE_WRITE_SIGNALS_H

#include <signal.h>

typedef struct WriteSignals {
    sigset_t mask, pending; /* before */
} WriteSignals;

/* Block both; then, in the same thread, take what was raised meanwhile, and as it was before. */
void write_signals_block(WriteSignals *before);
void write_signals_unblock(const WriteSignals *before);

#endif
