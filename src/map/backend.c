/* SPDX-License-Identifier: MIT */
/*
 * A backend is an owner with one RAM region. Destroying it takes it off the machine's list and
 * drops the owner's reference; the memory goes with the owner, when no view, reader or mapping
 * holds it any more.
 */
#include "base/error.h"
#include "base/text.h"
#include "map/region.h"
#include "ram/backend_options.h"
#include "ram/backing.h"

#include <membus/hostmem.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* "/objects/ID", an id being well-formed. */
#define PATH_ROOM (sizeof "/objects/" + TEXT_ID_MAX)

struct HostMemoryBackend {
    MemoryOwner *owner;
    MemoryRegion mr;
    HostMemoryConfig config; /* id and mem_path are our own */
    char *user;              /* who claimed it, or NULL */
    int discard_fd;          /* the file to empty at the end, or -1 */
    HostMemoryBackend *prev, *next;
};

static void backend_free(HostMemoryBackend *backend)
{
    if (backend->discard_fd >= 0) {
        close(backend->discard_fd);
    }
    free((char *)backend->config.id);
    free((char *)backend->config.mem_path);
    free(backend->user);
    free(backend);
}

/* Nothing of a file's contents is left, if the file system can do that. */
static void finalize(void *opaque)
{
    HostMemoryBackend *backend = opaque;
    const HostMemoryConfig *config = &backend->config;

    if (backend->discard_fd >= 0) {
        fallocate(backend->discard_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)config->offset, (off_t)config->size);
    }
    backend_free(backend);
}

/* A backend with its own copy of @config; NULL if memory is short. */
static HostMemoryBackend *backend_new(const HostMemoryConfig *config)
{
    HostMemoryBackend *backend = calloc(1, sizeof *backend);

    if (!backend) {
        return NULL;
    }
    backend->discard_fd = -1;
    backend->config = *config;
    backend->config.share = backend_config_shares(config);
    backend->config.id = text_copy(config->id);
    backend->config.mem_path = config->mem_path ? text_copy(config->mem_path) : NULL;
    if (!backend->config.id || (config->mem_path && !backend->config.mem_path)) {
        backend_free(backend);
        return NULL;
    }
    return backend;
}

static int check_unique(MemorySystem *ms, const char *id)
{
    return host_memory_backend_find(ms, id)
               ? fail(EEXIST, "RAM '%s': there is a memory backend of this id already", id)
               : 0;
}

static int make_region(HostMemoryBackend *backend, MemorySystem *ms, const Backing *backing)
{
    const HostMemoryConfig *config = &backend->config;
    RAMBlockConfig block = {
        .memory = backing->memory,
        .page_size = backing->page_size,
        .fd = backing->file.fd,
        .fd_offset = config->offset,
        .flags = backing->flags,
    };
    char path[PATH_ROOM];

    if (config->discard_data) {
        backend->discard_fd = fcntl(backing->file.fd, F_DUPFD_CLOEXEC, 0);
        if (backend->discard_fd < 0) {
            int err = errno;
            return fail(err, "RAM '%s': cannot duplicate its fd: %s", config->id, strerror(err));
        }
    }
    /* Its finaliser is set last, when there is nothing left that can fail. */
    snprintf(path, sizeof path, "/objects/%s", config->id);
    backend->owner = memory_owner_create(ms, path, NULL, NULL);
    if (!backend->owner) {
        return -ENOMEM;
    }
    int result = region_init_ram(&backend->mr, backend->owner, config->id, config->size, block);
    if (result) {
        memory_owner_unref(backend->owner);
        return result;
    }
    backend->mr.state.readonly = config->readonly;
    backend->owner->opaque = backend;
    backend->owner->finalize = finalize;
    return 0;
}

/* ---- The machine's list -------------------------------------------------------- */

static void link_last(MemorySystem *ms, HostMemoryBackend *backend)
{
    backend->prev = ms->last_backend;
    *(backend->prev ? &backend->prev->next : &ms->first_backend) = backend;
    ms->last_backend = backend;
}

static void unlink_backend(MemorySystem *ms, HostMemoryBackend *backend)
{
    *(backend->prev ? &backend->prev->next : &ms->first_backend) = backend->next;
    *(backend->next ? &backend->next->prev : &ms->last_backend) = backend->prev;
}

HostMemoryBackend *host_memory_backend_find(MemorySystem *ms, const char *id)
{
    machine_lock(ms);
    HostMemoryBackend *backend = ms->first_backend;
    while (backend && id && strcmp(backend->config.id, id) != 0) {
        backend = backend->next;
    }
    machine_unlock(ms);
    return id ? backend : NULL;
}

bool host_memory_backend_for_each(MemorySystem *ms,
                                  bool (*visit)(HostMemoryBackend *backend, void *opaque),
                                  void *opaque)
{
    bool stopped = false;

    machine_lock(ms);
    for (HostMemoryBackend *backend = ms->first_backend, *next; backend && !stopped;
         backend = next) {
        next = backend->next; /* the visitor may destroy it */
        stopped = visit(backend, opaque);
    }
    machine_unlock(ms);
    return stopped;
}

/* ---- Making and ending --------------------------------------------------------- */

static int check_new(MemorySystem *ms, const HostMemoryConfig *config)
{
    if (!ms || !config) {
        return fail(EINVAL, "a memory backend: %s is NULL", ms ? "config" : "the machine");
    }
    int result = backend_config_check(config);
    return result ? result : check_unique(ms, config->id);
}

/* Its memory takes a while, for which the machine goes on; then the id is looked up again. */
static int fill(HostMemoryBackend *backend, MemorySystem *ms)
{
    Backing backing;
    int result = backing_create(&backing, &backend->config);

    if (result) {
        return result;
    }
    machine_lock(ms);
    result = check_unique(ms, backend->config.id);
    if (!result) {
        result = make_region(backend, ms, &backing);
    }
    if (!result) {
        link_last(ms, backend);
    }
    machine_unlock(ms);
    if (result) {
        backing_undo(&backing);
    }
    return result;
}

HostMemoryBackend *host_memory_backend_create_config(MemorySystem *ms,
                                                     const HostMemoryConfig *config, Error **errp)
{
    HostMemoryBackend *backend = NULL;
    int result = check_new(ms, config);

    if (!result) {
        backend = backend_new(config);
        result = backend ? fill(backend, ms) : fail_no_memory("a memory backend");
    }
    if (result && backend) {
        backend_free(backend);
        backend = NULL;
    }
    error_pass(errp, result);
    return backend;
}

HostMemoryBackend *host_memory_backend_create(MemorySystem *ms, const char *options, Error **errp)
{
    HostMemoryBackend *backend = NULL;
    HostMemoryConfig config;
    char *storage;

    if (host_memory_config_parse(options, &config, &storage, errp) == 0) {
        backend = host_memory_backend_create_config(ms, &config, errp);
    }
    free(storage);
    return backend;
}

static const char *what_maps(const HostMemoryBackend *backend)
{
    const MemoryRegion *mr = &backend->mr;

    if (backend->user) {
        return backend->user;
    }
    return mr->state.container ? mr->state.container->name
           : mr->aliases       ? "an alias"
           : mr->spaces        ? "an address space"
                               : NULL;
}

int host_memory_backend_destroy(HostMemoryBackend *backend, Error **errp)
{
    if (!backend) {
        return 0;
    }
    MemorySystem *ms = backend->owner->ms;
    int result = 0;

    machine_lock(ms);
    const char *user = what_maps(backend);
    if (user) {
        result =
            fail(EBUSY, "RAM '%s': the memory backend is in use by %s", backend->config.id, user);
    } else {
        unlink_backend(ms, backend);
        memory_owner_unref(backend->owner);
    }
    machine_unlock(ms);
    return error_pass(errp, result);
}

/* ---- Who has it ---------------------------------------------------------------- */

int host_memory_backend_claim(HostMemoryBackend *backend, const char *who, Error **errp)
{
    MemorySystem *ms = backend->owner->ms;
    int result = 0;

    machine_lock(ms);
    if (backend->user) {
        result = fail(EBUSY, "RAM '%s': the memory backend is in use by %s", backend->config.id,
                      backend->user);
    } else {
        backend->user = text_copy(who && *who ? who : "somebody");
        result = backend->user ? 0 : fail_no_memory("the user of a memory backend");
    }
    machine_unlock(ms);
    return error_pass(errp, result);
}

void host_memory_backend_release(HostMemoryBackend *backend)
{
    MemorySystem *ms = backend->owner->ms;

    machine_lock(ms);
    free(backend->user);
    backend->user = NULL;
    machine_unlock(ms);
}

bool host_memory_backend_is_mapped(const HostMemoryBackend *backend)
{
    MemorySystem *ms = backend->owner->ms;

    machine_lock(ms);
    bool mapped = backend->user;
    machine_unlock(ms);
    return mapped;
}

MemoryRegion *host_memory_backend_get_memory(HostMemoryBackend *backend)
{
    return &backend->mr;
}

const HostMemoryConfig *host_memory_backend_config(const HostMemoryBackend *backend)
{
    return &backend->config;
}
