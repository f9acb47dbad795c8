/* SPDX-License-Identifier: MIT */
/* numa_policy.h - on which NUMA nodes memory comes to lie. */
#ifndef RAM_NUMA_POLICY_H
#define RAM_NUMA_POLICY_H

#include <membus/hostmem.h>

/*
 * Bind [@host, @host + @size) to the nodes of @config by its policy. Returns 0, -EINVAL if the
 * host lacks one of the nodes, or as mbind(2).
 */
int numa_policy_set(const HostMemoryConfig *config, void *host, size_t size);

#endif
