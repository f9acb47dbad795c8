/* SPDX-License-Identifier: MIT */
/* backend_options.h - the options of host memory backends. */
#ifndef RAM_BACKEND_OPTIONS_H
#define RAM_BACKEND_OPTIONS_H

#include <membus/hostmem.h>

/* "memory-backend-ram" and so on. */
const char *backend_kind_name(HostMemoryKind kind);

/*
 * Whether @config can be: what belongs to its kind, what goes together. 0 or -EINVAL with a
 * sentence.
 */
int backend_config_check(const HostMemoryConfig *config);

/* Whether its memory is shared, said or by default. */
bool backend_config_shares(const HostMemoryConfig *config);

#endif
