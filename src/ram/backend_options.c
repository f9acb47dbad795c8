/* SPDX-License-Identifier: MIT */
/*
 * One table says which keys there are, what their values look like, where they go in a
 * HostMemoryConfig and which kinds of backend have them; text and configs are held to the same
 * table.
 */
#include "ram/backend_options.h"

#include "base/error.h"
#include "base/text.h"
#include "ram/option_values.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define BIT(kind) (1u << (kind))
#define PTR BIT(HOST_MEMORY_PTR)
#define FD BIT(HOST_MEMORY_FD)
#define FILES (BIT(HOST_MEMORY_FILE) | FD)
#define MEMFD BIT(HOST_MEMORY_MEMFD)
#define OURS (BIT(HOST_MEMORY_RAM) | BIT(HOST_MEMORY_SHM) | MEMFD | FILES)

typedef enum ValueType { TEXT, SIZE, SWITCH, THREADS, DESCRIPTOR, NODES, THP, POLICY } ValueType;

typedef struct Key {
    const char *name;
    ValueType type;
    size_t field, length; /* in HostMemoryConfig */
    unsigned kinds;
} Key;

#define KEY(name, type, field, kinds)                                                              \
    {                                                                                              \
        name, type, offsetof(HostMemoryConfig, field), sizeof(((HostMemoryConfig *)0)->field),     \
            kinds                                                                                  \
    }

static const Key keys[] = {
    KEY("id", TEXT, id, OURS | PTR),
    KEY("size", SIZE, size, OURS | PTR),
    KEY("share", SWITCH, share, OURS | PTR),
    KEY("prealloc", SWITCH, prealloc, OURS),
    KEY("prealloc-threads", THREADS, prealloc_threads, OURS),
    KEY("reserve", SWITCH, reserve, OURS),
    KEY("merge", SWITCH, merge, OURS),
    KEY("dump", SWITCH, dump, OURS),
    KEY("host-nodes", NODES, host_nodes, OURS),
    KEY("policy", POLICY, policy, OURS),
    KEY("thp", THP, thp, OURS),
    KEY("mem-path", TEXT, mem_path, BIT(HOST_MEMORY_FILE)),
    KEY("fd", DESCRIPTOR, fd, FD),
    KEY("offset", SIZE, offset, FILES),
    KEY("align", SIZE, align, FILES),
    KEY("readonly", SWITCH, readonly, FILES),
    KEY("discard-data", SWITCH, discard_data, BIT(HOST_MEMORY_FILE)),
    KEY("pmem", SWITCH, pmem, BIT(HOST_MEMORY_FILE)),
    KEY("hugetlb", SWITCH, hugetlb, MEMFD),
    KEY("hugetlbsize", SIZE, hugetlbsize, MEMFD),
    KEY("seal", SWITCH, seal, MEMFD),
};
#define NR_KEYS (sizeof keys / sizeof *keys)

static const char *const kind_names[] = {
    [HOST_MEMORY_RAM] = "memory-backend-ram",     [HOST_MEMORY_FILE] = "memory-backend-file",
    [HOST_MEMORY_MEMFD] = "memory-backend-memfd", [HOST_MEMORY_SHM] = "memory-backend-shm",
    [HOST_MEMORY_FD] = "memory-backend-fd",       [HOST_MEMORY_PTR] = "memory-backend-ptr",
};
static const char kinds_from_text[] = "memory-backend-ram, -file, -memfd, -shm or -fd";

const char *backend_kind_name(HostMemoryKind kind)
{
    return kind_names[kind];
}

/* What users wrote, as far as a sentence has room and a terminal can show it. */
typedef struct Shown {
    char text[72];
} Shown;

static Shown show(const char *text)
{
    Shown shown;
    size_t used = 0;

    for (; *text && used < 56; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= ' ' && c <= '~') {
            shown.text[used++] = (char)c;
        } else {
            used += (size_t)snprintf(shown.text + used, 5, "\\x%02x", c);
        }
    }
    snprintf(shown.text + used, sizeof shown.text - used, "%s", *text ? "..." : "");
    return shown;
}

static const char *const thp_words[] = {"default", "on", "off"};
static const char *const policy_words[] = {"default", "preferred", "bind", "interleave"};

static const char *set_value(HostMemoryConfig *config, const Key *key, char *text)
{
    void *field = (char *)config + key->field;
    int word;

    switch (key->type) {
    case TEXT:
        *(const char **)field = text;
        return *text ? NULL : "is empty";
    case SIZE:
        return option_size(text, field);
    case SWITCH:
        return option_switch(text, field);
    case THREADS:
        return option_threads(text, field);
    case DESCRIPTOR:
        return option_descriptor(text, field);
    case NODES:
        return option_nodes(text, field);
    case THP:
        word = option_word(thp_words, 3, text);
        config->thp = (HostMemoryThp)word;
        return word < 0 ? "is none of default, on and off" : NULL;
    case POLICY:
        word = option_word(policy_words, 4, text);
        config->policy = (HostMemoryPolicy)word;
        return word < 0 ? "is none of default, preferred, bind and interleave" : NULL;
    }
    return NULL;
}

/* ---- The text ------------------------------------------------------------------ */

/*
 * Cut the item that *@rest begins with off the text, "," for a doubled comma; *@rest is NULL
 * after the last one.
 */
static char *cut_item(char **rest)
{
    char *item = *rest, *out = item, *in = item;

    for (; *in; in++) {
        if (*in == ',') {
            if (in[1] != ',') {
                break;
            }
            in++;
        }
        *out++ = *in;
    }
    *rest = *in ? in + 1 : NULL;
    *out = '\0';
    return item;
}

static int parse_kind(const char *item, HostMemoryKind *kind)
{
    static const char prefix[] = "qom-type=";
    const char *name =
        strncmp(item, prefix, sizeof prefix - 1) == 0 ? item + sizeof prefix - 1 : item;

    for (unsigned i = HOST_MEMORY_RAM; i < HOST_MEMORY_PTR; i++) {
        if (strcmp(name, kind_names[i]) == 0) {
            *kind = (HostMemoryKind)i;
            return 0;
        }
    }
    return fail(EINVAL, "'%s' is no kind of memory backend: options begin with %s", show(name).text,
                kinds_from_text);
}

static int unknown_key(HostMemoryKind kind, const char *name)
{
    char list[224] = "";
    size_t used = 0;

    for (size_t i = 0; i < NR_KEYS && used < sizeof list; i++) {
        if (keys[i].kinds & BIT(kind)) {
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "",
                                     keys[i].name);
        }
    }
    return fail(EINVAL, "%s: no key '%.30s': there are %s", kind_names[kind], show(name).text,
                list);
}

static int parse_item(HostMemoryConfig *config, char *item, unsigned *seen)
{
    const char *kind = kind_names[config->kind];
    char *equals = strchr(item, '=');
    const Key *key = keys;

    if (!*item) {
        return fail(EINVAL, "%s: there is nothing between two commas or after the last one", kind);
    }
    if (!equals) {
        return fail(EINVAL, "%s: '%s' has no value: write KEY=VALUE", kind, show(item).text);
    }
    *equals = '\0';
    while (key < keys + NR_KEYS && strcmp(key->name, item) != 0) {
        key++;
    }
    if (key == keys + NR_KEYS) {
        return unknown_key(config->kind, item);
    }
    if (!(key->kinds & BIT(config->kind))) {
        return fail(EINVAL, "%s: %s=%s: this kind has no %s", kind, key->name,
                    show(equals + 1).text, key->name);
    }
    if (*seen & BIT(key - keys) && key->type != NODES) {
        return fail(EINVAL, "%s: %s=%s: %s is given twice", kind, key->name, show(equals + 1).text,
                    key->name);
    }
    *seen |= BIT(key - keys);
    const char *wrong = set_value(config, key, equals + 1);
    if (wrong) {
        return fail(EINVAL, "%s: %s=%s %s", kind, key->name, show(equals + 1).text, wrong);
    }
    config->share_set = config->share_set || key->field == offsetof(HostMemoryConfig, share);
    return 0;
}

static int parse(char *text, HostMemoryConfig *config)
{
    unsigned seen = 0;
    char *rest = text;
    int result = parse_kind(cut_item(&rest), &config->kind);

    while (!result && rest) {
        result = parse_item(config, cut_item(&rest), &seen);
    }
    return result ? result : backend_config_check(config);
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

static bool well_formed(const char *id)
{
    static const char characters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

    return strspn(id, characters) == strlen(id) && *id && memchr(characters, *id, 52);
}

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
    const char *kind = kind_names[config->kind];
    if (!config->id) {
        return fail(EINVAL, "%s: id= is missing", kind);
    }
    if (!well_formed(config->id)) {
        return fail(EINVAL,
                    "%s: id=%s: an id begins with a letter and goes on with letters, digits, "
                    "'-', '.' and '_'",
                    kind, show(config->id).text);
    }
    if (strlen(config->id) > BACKEND_ID_MAX) {
        return fail(EINVAL, "%s: id=%s: an id of %zu bytes is longer than %d", kind,
                    show(config->id).text, strlen(config->id), BACKEND_ID_MAX);
    }
    return 0;
}

static int check_kind(const HostMemoryConfig *config)
{
    const HostMemoryConfig untouched = HOST_MEMORY_CONFIG_INIT;

    for (const Key *key = keys; key < keys + NR_KEYS; key++) {
        if (!(key->kinds & BIT(config->kind)) &&
            memcmp((const char *)config + key->field, (const char *)&untouched + key->field,
                   key->length) != 0) {
            return fail(EINVAL, "RAM '%s': %s is set, which %s does not have", config->id,
                        key->name, kind_names[config->kind]);
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
        return fail(EINVAL, "RAM '%s': %s needs %s", config->id, kind_names[config->kind], missing);
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
    if (config->prealloc_threads > 256) {
        return fail(EINVAL, "RAM '%s': prealloc-threads=%u is above 256", id,
                    config->prealloc_threads);
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
