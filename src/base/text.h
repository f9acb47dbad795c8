/* SPDX-License-Identifier: MIT */
/* text.h - copies of strings; ids. */
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

#define TEXT_ID_MAX 127 /* bytes of an id */

/*
 * How much of @text is an id as QEMU has them: a letter, then letters, digits, '-', '.' and '_'.
 */
static inline size_t text_id_length(const char *text)
{
    static const char characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789-._";

    return memchr(characters, *text, 52) ? strspn(text, characters) : 0;
}

#endif
