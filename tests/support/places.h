/* SPDX-License-Identifier: MIT */
/*
 * places.h - files, descriptors and mappings as the kernel sees them, for tests of host memory.
 */
#ifndef TESTS_PLACES_H
#define TESTS_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Descriptors that this process has open. */
unsigned places_open_fds(void);

/* Whether the kernel can read (or write back) the byte at @host: no signal if it cannot. */
bool places_touchable(const void *host);

/* Whether @host's page is reserved so that nothing else can come there, and cannot be touched. */
bool places_is_guard(const void *host);

/* The sum of smaps' @key (as "Rss:") over the mappings inside [@host, @host + @size), bytes. */
uint64_t places_smaps(const void *host, size_t size, const char *key);

/* Whether all mappings inside have the two letters @flag among their VmFlags. */
bool places_has_flag(const void *host, size_t size, const char *flag);

/* A directory of the test's own in /tmp, and its end. */
void places_make_dir(char path[64]);
void places_remove_dir(const char *path);

#endif
