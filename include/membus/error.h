/* SPDX-License-Identifier: MIT */
/*
 * error.h - why a call was refused, in one sentence.
 *
 * Two ways lead to the sentence. Every function that fails leaves it in a buffer of the calling
 * thread; functions with an `Error **errp` parameter hand it to the caller as an object as
 * well.
 */
#ifndef MEMBUS_ERROR_H
#define MEMBUS_ERROR_H

#include <membus/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The sentence that explains the last failed membus call of this thread, "" before the first.
 * Valid until the next failing call of the same thread; calls that succeed leave it alone.
 * Context: any thread.
 */
MEMBUS_EXPORT const char *membus_last_error(void);

/*
 * The sentence of @err. Owned by @err.
 * Context: any thread.
 */
MEMBUS_EXPORT const char *error_get_pretty(const Error *err);

/* The negative errno that the failing function returned with @err. */
MEMBUS_EXPORT int error_get_errno(const Error *err);

/*
 * Make an error of the program's own, for a callback that refuses (a listener's, say): @err is a
 * positive errno. @errp may be NULL. Returns -@err.
 * Context: any thread.
 */
MEMBUS_EXPORT int error_set(Error **errp, int err, const char *fmt, ...) MEMBUS_PRINTF(3, 4);

/* Free @err; NULL is fine. */
MEMBUS_EXPORT void error_free(Error *err);

#ifdef __cplusplus
}
#endif
#endif
