/* SPDX-License-Identifier: MIT */
#include "ram/numa_policy.h"

#include "base/error.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <stdio.h>
#include <string.h>

#define PREFERRED_MANY 5 /* Linux 5.15 */

#define WORD_BITS (8 * sizeof(unsigned long))

static bool is_set(const unsigned long *nodes, unsigned node)
{
    return nodes[node / WORD_BITS] >> node % WORD_BITS & 1;
}

static unsigned count_nodes(const unsigned long *nodes)
{
    unsigned count = 0;

    for (unsigned node = 0; node < HOST_MEMORY_MAX_NODES; node++) {
        count += is_set(nodes, node);
    }
    return count;
}

static bool host_has(unsigned node)
{
    return numa_available() < 0
               ? node == 0
               : node < numa_all_nodes_ptr->size && numa_bitmask_isbitset(numa_all_nodes_ptr, node);
}

/* As "0-1,3". */
static void show_host_nodes(char *out, size_t room)
{
    size_t used = 0;

    *out = '\0';
    for (unsigned node = 0; node < HOST_MEMORY_MAX_NODES && used < room; node++) {
        unsigned last = node;
        if (!host_has(node)) {
            continue;
        }
        while (last + 1 < HOST_MEMORY_MAX_NODES && host_has(last + 1)) {
            last++;
        }
        const char *comma = used ? "," : "";
        int n = last == node ? snprintf(out + used, room - used, "%s%u", comma, node)
                             : snprintf(out + used, room - used, "%s%u-%u", comma, node, last);
        used += n > 0 ? (size_t)n : 0;
        node = last;
    }
}

static int check_nodes(const HostMemoryConfig *config)
{
    for (unsigned node = 0; node < HOST_MEMORY_MAX_NODES; node++) {
        if (is_set(config->host_nodes, node) && !host_has(node)) {
            char nodes[128];
            show_host_nodes(nodes, sizeof nodes);
            return fail(EINVAL,
                        "RAM '%s': host-nodes: the host has no node %u with memory, only %s",
                        config->id, node, nodes);
        }
    }
    return 0;
}

int numa_policy_set(const HostMemoryConfig *config, void *host, size_t size)
{
    static const int modes[] = {
        [HOST_MEMORY_POLICY_DEFAULT] = MPOL_DEFAULT,
        [HOST_MEMORY_POLICY_PREFERRED] = MPOL_PREFERRED,
        [HOST_MEMORY_POLICY_BIND] = MPOL_BIND,
        [HOST_MEMORY_POLICY_INTERLEAVE] = MPOL_INTERLEAVE,
    };
    if (config->policy == HOST_MEMORY_POLICY_DEFAULT) {
        return 0;
    }
    int result = check_nodes(config);
    if (result) {
        return result;
    }
    int mode = modes[config->policy];
    if (mode == MPOL_PREFERRED && count_nodes(config->host_nodes) > 1) {
        mode = PREFERRED_MANY;
    }
    /* The kernel takes the number of bits for one too many. */
    if (mbind(host, size, mode, config->host_nodes, HOST_MEMORY_MAX_NODES + 1,
              MPOL_MF_STRICT | MPOL_MF_MOVE)) {
        int err = errno;
        return fail(err, "RAM '%s': cannot bind %zu bytes to host-nodes: %s", config->id, size,
                    strerror(err));
    }
    return 0;
}
