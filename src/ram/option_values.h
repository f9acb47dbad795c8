/* SPDX-License-Identifier: MIT */
/*
 * option_values.h - what the values of options say. Each function returns NULL if all is well, else
 * what is wrong with @text, to be put after it.
 */
#ifndef RAM_OPTION_VALUES_H
#define RAM_OPTION_VALUES_H

#include <membus/types.h>

/*
 * Bytes: decimal with an optional fraction and suffix (B, K, M, G, T, P, E; powers of 1024), or
 * hexadecimal after 0x.
 */
const char *option_size(const char *text, hwaddr *size);
const char *option_switch(const char *text, bool *value);

/* "N" or "N-M", added to the bits of @nodes (HOST_MEMORY_MAX_NODES). */
const char *option_nodes(const char *text, unsigned long *nodes);

/* A decimal number from @min to @max; false: @text is none. */
bool option_number(const char *text, int min, int max, int *number);

#endif
