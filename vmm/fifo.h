/* SPDX-License-Identifier: MIT */
/* fifo.h - a few bytes on their way from who typed them to who takes them. */
#ifndef VMM_FIFO_H
#define VMM_FIFO_H

#include <stddef.h>
#include <stdint.h>

#define FIFO_SIZE 4096

typedef struct Fifo {
    size_t head, count;
    uint8_t bytes[FIFO_SIZE];
} Fifo;

static inline size_t fifo_room(const Fifo *f)
{
    return FIFO_SIZE - f->count;
}

/* What does not fit is dropped. */
static inline void fifo_push(Fifo *f, uint8_t byte)
{
    if (f->count < FIFO_SIZE) {
        f->bytes[(f->head + f->count++) % FIFO_SIZE] = byte;
    }
}

/* The next bytes, as many as lie in a row. */
static inline const uint8_t *fifo_peek(const Fifo *f, size_t *count)
{
    *count = FIFO_SIZE - f->head < f->count ? FIFO_SIZE - f->head : f->count;
    return f->bytes + f->head;
}

static inline void fifo_pop(Fifo *f, size_t count)
{
    f->head = (f->head + count) % FIFO_SIZE;
    f->count -= count;
}

#endif
