/* SPDX-License-Identifier: MIT */
/*
 * One table says which keys there are, what their values look like, where they go in a
 * HostMemoryConfig and which kinds of backend have them; text and configs are held to the same
 * table.
 */
#include "ram/backend_options.h"

#include "base/error.h"
#include "base/text.h"
#include "ram/options.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#define MAX_THREADS 256

#define BIT(kind) (1u << (kind))
#define PTR BIT(HOST_MEMORY_PTR)
#define FD BIT(HOST_MEMORY_FD)
#define FILES (BIT(HOST_MEMORY_FILE) | FD)
#define MEMFD BIT(HOST_MEMORY_MEMFD)
#define OURS (BIT(HOST_MEMORY_RAM) | BIT(HOST_MEMORY_SHM) | MEMFD | FILES)

/* Where a value of the config goes, for which kinds. */
#define KEY(key, option_type, member, of_kinds, ...)                                               \
    {                                                                                              \
        .name = (key), .type = (option_type), .field = offsetof(HostMemoryConfig, member),         \
        .length = sizeof(((HostMemoryConfig *)0)->member), .kinds = (of_kinds), __VA_ARGS__        \
    }

static const char *const thp_words[] = {"default", "on", "off", NULL};
static const char *const policy_words[] = {"default", "preferred", "bind", "interleave", NULL};

static const OptionKey keys[] = {
    KEY("id", OPTION_TEXT, id, OURS | PTR),
    KEY("size", OPTION_SIZE, size, OURS | PTR),
    KEY("share", OPTION_SWITCH, share, OURS | PTR, .said = offsetof(HostMemoryConfig, share_set)),
    KEY("prealloc", OPTION_SWITCH, prealloc, OURS),
    KEY("prealloc-threads", OPTION_NUMBER, prealloc_threads, OURS, .min = 1, .max = MAX_THREADS),
    KEY("reserve", OPTION_SWITCH, reserve, OURS),
    KEY("merge", OPTION_SWITCH, merge, OURS),
    KEY("dump", OPTION_SWITCH, dump, OURS),
    KEY("host-nodes", OPTION_NODES, host_nodes, OURS),
    KEY("policy", OPTION_WORD, policy, OURS, .words = policy_words),
    KEY("thp", OPTION_WORD, thp, OURS, .words = thp_words),
    KEY("mem-path", OPTION_TEXT, mem_path, BIT(HOST_MEMORY_FILE)),
    KEY("fd", OPTION_NUMBER, fd, FD, .max = INT_MAX),
    KEY("offset", OPTION_SIZE, offset, FILES),
    KEY("align", OPTION_SIZE, align, FILES),
    KEY("readonly", OPTION_SWITCH, readonly, FILES),
    KEY("discard-data", OPTION_SWITCH, discard_data, BIT(HOST_MEMORY_FILE)),
    KEY("pmem", OPTION_SWITCH, pmem, BIT(HOST_MEMORY_FILE)),
    KEY("hugetlb", OPTION_SWITCH, hugetlb, MEMFD),
    KEY("hugetlbsize", OPTION_SIZE, hugetlbsize, MEMFD),
    KEY("seal", OPTION_SWITCH, seal, MEMFD),
};
#define NR_KEYS (sizeof keys / sizeof *keys)

/* The last one has no text. */
static const OptionKind kinds[] = {
    {"memory-backend-ram", HOST_MEMORY_RAM},     {"memory-backend-file", HOST_MEMORY_FILE},
    {"memory-backend-memfd", HOST_MEMORY_MEMFD}, {"memory-backend-shm", HOST_MEMORY_SHM},
    {"memory-backend-fd", HOST_MEMORY_FD},       {"memory-backend-ptr", HOST_MEMORY_PTR},
};

static const OptionSet backend_options = {
    .what = "memory backend",
    .prefix = "qom-type=",
    .kinds = kinds,
    .nr_kinds = HOST_MEMORY_PTR,
    .kinds_shown = "memory-backend-ram, -file, -memfd, -shm or -fd",
    .keys = keys,
    .nr_keys = NR_KEYS,
};

const char *backend_kind_name(HostMemoryKind kind)
{
    return kinds[kind].name;
}

/* ---- Text ---------------------------------------------------------------------- */

static int parse(char *text, HostMemoryConfig *config)
{
    unsigned kind;
    int result = options_parse(&backend_options, text, &kind, config);

    if (result) {
        return result;
    }
    config->kind = (HostMemoryKind)kind;
    return backend_config_check(config);
}

int host_memory_config_parse(const char *options, HostMemoryConfig *config, char **storage,
                             Error **errp)
{
    *storage = NULL;
    *config = HOST_MEMORY_CONFIG_INIT;
    if (!options) {
        return error_pass(errp, fail(EINVAL, "the options of a memory backend are NULL"));
    }
    char *copy = text_copy(options);
    if (!copy) {
        return error_pass(errp, fail_no_memory("the options of a memory backend"));
    }
    int result = parse(copy, config);
    if (result) {
        free(copy);
        *config = HOST_MEMORY_CONFIG_INIT;
    } else {
        config->share = backend_config_shares(config);
        *storage = copy;
    }
    return error_pass(errp, result);
}

/* ---- Configs ------------------------------------------------------------------- */

bool backend_config_shares(const HostMemoryConfig *config)
{
    bool by_default = config->kind == HOST_MEMORY_MEMFD || config->kind == HOST_MEMORY_SHM;

    return config->share || (by_default && !config->share_set);
}

static int check_identity(const HostMemoryConfig *config)
{
    if ((unsigned)config->kind > HOST_MEMORY_PTR) {
        return fail(EINVAL, "%u is no kind of memory backend", (unsigned)config->kind);
    }
    const char *kind = kinds[config->kind].name;
    if (!config->id) {
        return fail(EINVAL, "%s: id= is missing", kind);
    }
    if (!*config->id || config->id[text_id_length(config->id)]) {
        return fail(EINVAL,
                    "%s: id=%s: an id begins with a letter and goes on with letters, digits, "
                    "'-', '.' and '_'",
                    kind, option_show(config->id).text);
    }
    if (strlen(config->id) > TEXT_ID_MAX) {
        return fail(EINVAL, "%s: id=%s: an id of %zu bytes is longer than %d", kind,
                    option_show(config->id).text, strlen(config->id), TEXT_ID_MAX);
    }
    return 0;
}

static int check_kind(const HostMemoryConfig *config)
{
    const HostMemoryConfig untouched = HOST_MEMORY_CONFIG_INIT;

    for (const OptionKey *key = keys; key < keys + NR_KEYS; key++) {
        if (!(key->kinds & BIT(config->kind)) &&
            memcmp((const char *)config + key->field, (const char *)&untouched + key->field,
                   key->length) != 0) {
            return fail(EINVAL, "RAM '%s': %s is set, which %s does not have", config->id,
                        key->name, kinds[config->kind].name);
        }
    }
    return 0;
}

/* What a kind cannot do without. */
static int check_missing(const HostMemoryConfig *config)
{
    const char *missing = NULL;

    if (config->kind == HOST_MEMORY_FILE && !config->mem_path) {
        missing = "mem-path";
    } else if (config->kind == HOST_MEMORY_FD && config->fd < 0) {
        missing = "fd";
    } else if (config->kind == HOST_MEMORY_PTR && !config->ptr) {
        missing = "the pointer";
    }
    if (missing) {
        return fail(EINVAL, "RAM '%s': %s needs %s", config->id, kinds[config->kind].name, missing);
    }
    if (config->size == 0) {
        return fail(EINVAL, "RAM '%s': size is missing or 0", config->id);
    }
    if (config->kind == HOST_MEMORY_PTR &&
        config->size - 1 > UINTPTR_MAX - (uintptr_t)config->ptr) {
        return fail(EINVAL, "RAM '%s': %" PRIu64 " bytes at %p is no memory", config->id,
                    config->size, config->ptr);
    }
    return 0;
}

static int check_policy(const HostMemoryConfig *config)
{
    bool nodes = false;

    for (size_t i = 0; i < sizeof config->host_nodes / sizeof *config->host_nodes; i++) {
        nodes |= config->host_nodes[i] != 0;
    }
    if ((unsigned)config->policy > HOST_MEMORY_POLICY_INTERLEAVE) {
        return fail(EINVAL, "RAM '%s': %u is no NUMA policy", config->id, (unsigned)config->policy);
    }
    if (nodes && config->policy == HOST_MEMORY_POLICY_DEFAULT) {
        return fail(EINVAL, "RAM '%s': host-nodes needs policy=preferred, bind or interleave",
                    config->id);
    }
    if (!nodes && config->policy != HOST_MEMORY_POLICY_DEFAULT) {
        return fail(EINVAL, "RAM '%s': policy=%s needs host-nodes", config->id,
                    policy_words[config->policy]);
    }
    return 0;
}

static int check_together(const HostMemoryConfig *config)
{
    const char *id = config->id;

    if (config->kind == HOST_MEMORY_SHM && config->share_set && !config->share) {
        return fail(EINVAL, "RAM '%s': share=off: POSIX shared memory is always shared", id);
    }
    if (config->hugetlbsize && !config->hugetlb) {
        return fail(EINVAL, "RAM '%s': hugetlbsize=%" PRIu64 " needs hugetlb=on", id,
                    config->hugetlbsize);
    }
    if (config->hugetlb && config->thp != HOST_MEMORY_THP_DEFAULT) {
        return fail(EINVAL, "RAM '%s': thp is for memory without hugetlb=on", id);
    }
    if (config->pmem && !config->share) {
        return fail(EINVAL, "RAM '%s': pmem=on needs share=on, or nothing reaches the file", id);
    }
    if (config->align & (config->align - 1)) {
        return fail(EINVAL, "RAM '%s': align=%" PRIu64 " is not a power of two", id, config->align);
    }
    if (config->prealloc_threads > MAX_THREADS) {
        return fail(EINVAL, "RAM '%s': prealloc-threads=%u is above %d", id,
                    config->prealloc_threads, MAX_THREADS);
    }
    return (unsigned)config->thp > HOST_MEMORY_THP_OFF
               ? fail(EINVAL, "RAM '%s': thp is default, on or off, not %u", id,
                      (unsigned)config->thp)
               : check_policy(config);
}

int backend_config_check(const HostMemoryConfig *config)
{
    int result = check_identity(config);

    result = result ? result : check_kind(config);
    result = result ? result : check_missing(config);
    return result ? result : check_together(config);
}
