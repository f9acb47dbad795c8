/* SPDX-License-Identifier: MIT */
/* error.h - refuse a call with one sentence. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <membus/error.h>

/*
 * Record the sentence for this thread; returns -@err, so that callers can `return fail(EINVAL,
 * ...)`.
 */
int fail(int err, const char *fmt, ...) MEMBUS_PRINTF(2, 3);

/* The same for the one case that has no numbers to tell. */
int fail_no_memory(const char *what);

/* Hand the thread's sentence to @errp if @result is an error; returns @result. */
int error_pass(Error **errp, int result);

#endif
