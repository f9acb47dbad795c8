/* SPDX-License-Identifier: MIT */
/* trace_format.h - the numbers of docs/trace-format.md, which says what they mean. */
#ifndef INSPECT_TRACE_FORMAT_H
#define INSPECT_TRACE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

/* As in PNG's: not text, and whoever translates line ends destroys it. */
#define TRACE_MAGIC "\x89MBTRC\r\n"
#define TRACE_MAGIC_SIZE 8
#define TRACE_VERSION 1
#define TRACE_HEADER_SIZE 32 /* magic, version (4), zero (4), real time (8), monotonic time (8) */

#define TRACE_NUMBER_MAX 10 /* bytes of a number */

/* flags of a record */
#define TRACE_HAS_WHERE 1U

enum {
    TRACE_NAME = 1, /* length, bytes */
    TRACE_REGION,   /* name, kinds, priority */
    TRACE_SPACE,    /* name, name of the root, 1 + name of its target or 0 */
    TRACE_GONE,     /* space */
    TRACE_VIEW,     /* name of the root */
    TRACE_EDIT,     /* view, count, removed..., count, added... */
    TRACE_SHOW,     /* space, 1 + view or 0 */
};

/* flags of a range */
#define TRACE_ROMD 1U
#define TRACE_READONLY 2U
#define TRACE_NONVOLATILE 4U
#define TRACE_UNMERGEABLE 8U
#define TRACE_OFFSET 16U /* the offset follows, else it is 0 */
#define TRACE_MASK 32U   /* the dirty-log mask follows, else it is 0 */
#define TRACE_RANGE_FLAGS 63U

/* Write @value to @out; returns how many bytes it took. */
static inline size_t trace_put(unsigned char out[TRACE_NUMBER_MAX], uint64_t value)
{
    size_t n = 0;

    while (value >= 0x80) {
        out[n++] = (unsigned char)(value | 0x80);
        value >>= 7;
    }
    out[n++] = (unsigned char)value;
    return n;
}

/* Signed numbers: 0, -1, 1, -2 ... are 0, 1, 2, 3 ... */
static inline uint64_t trace_fold(int32_t value)
{
    return value < 0 ? (uint64_t)(-(int64_t)value) * 2 - 1 : (uint64_t)value * 2;
}

static inline int32_t trace_unfold(uint64_t value)
{
    return (int32_t)(value & 1 ? -(int64_t)(value / 2) - 1 : (int64_t)(value / 2));
}

#endif
