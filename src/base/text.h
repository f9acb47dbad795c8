/* SPDX-License-Identifier: MIT */
/* text.h - copies of strings. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdlib.h>
#include <string.h>

/* A copy to be freed, of "" for NULL; NULL if memory is short. */
static inline char *text_copy(const char *text)
{
    size_t size = text ? strlen(text) + 1 : 1;
    char *copy = malloc(size);

    if (copy) {
        memcpy(copy, text ? text : "", size);
    }
    return copy;
}

#endif
