/* SPDX-License-Identifier: MIT */
/* hugepages.h - the host's pools of huge pages. */
#ifndef RAM_HUGEPAGES_H
#define RAM_HUGEPAGES_H

#include <membus/types.h>

/*
 * The huge page size for @wanted bytes, 0 being the host's default. -EINVAL with a sentence that
 * names the sizes that the host has; @name is for the sentence.
 */
int hugepages_select(const char *name, hwaddr wanted, size_t *size);

/* Say that the pool of @page-byte pages has too few for @size bytes: -ENOMEM. */
int hugepages_short(const char *name, size_t page, hwaddr size);

#endif
