/* SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Error {
    int err;
    char message[320];
};

static __thread char last_error[sizeof(((Error *)0)->message)];

/* Stands in where not even an Error can be allocated; error_free() leaves it alone. */
static Error out_of_memory = {-ENOMEM, "out of memory"};

int fail(int err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(last_error, sizeof last_error, fmt, args);
    va_end(args);
    return -err;
}

int fail_no_memory(const char *what)
{
    return fail(ENOMEM, "out of memory for %s", what);
}

int error_pass(Error **errp, int result)
{
    if (result >= 0 || !errp) {
        return result;
    }
    Error *error = malloc(sizeof *error);
    if (!error) {
        *errp = &out_of_memory;
        return result;
    }
    error->err = result;
    memcpy(error->message, last_error, sizeof last_error);
    *errp = error;
    return result;
}

const char *membus_last_error(void)
{
    return last_error;
}

const char *error_get_pretty(const Error *err)
{
    return err->message;
}

int error_set(Error **errp, int err, const char *fmt, ...)
{
    char sentence[sizeof last_error];
    va_list args;

    va_start(args, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, args);
    va_end(args);
    return error_pass(errp, fail(err, "%s", sentence));
}

int error_get_errno(const Error *err)
{
    return err->err;
}

void error_free(Error *err)
{
    if (err != &out_of_memory) {
        free(err);
    }
}
