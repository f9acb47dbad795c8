/* SPDX-License-Identifier: MIT */
#include "import/evidence.h"
#include "import/record.h"

#include "base/error.h"

#include <membus/inspect.h>

#include <errno.h>
#include <stdlib.h>

/* Each round may bring forth what a wrong guess hid; no real map needs more than three. */
#define MAX_ROUNDS 12

static int read_records(MemoryImport *import, const char *text, size_t len, const FlatIndex *index)
{
    int result = import_parse_tree(&import->records, text, len);

    if (result == 0) {
        result = import_identify(&import->records);
    }
    if (result == 0) {
        result = import_resolve_targets(&import->records, index);
    }
    return result < 0 ? result : import_weigh_evidence(&import->records, index);
}

static int build_until_right(MemoryImport *import, FlatIndex *index)
{
    int result = import_build(import);

    for (int round = 0; result == 0 && index && round < MAX_ROUNDS; round++) {
        if (!import_repair(import, index)) {
            break;
        }
        import_unbuild(import);
        result = import_build(import);
    }
    return result;
}

MemoryImport *memory_import_mtree(const char *text, size_t len, const char *name,
                                  const MtreeFlat *flat, Error **errp)
{
    MemoryImport *import = calloc(1, sizeof *import);
    FlatIndex index = {.flat = NULL};
    int result = import ? 0 : fail(ENOMEM, "%s:1: out of memory", name);

    if (result == 0) {
        import->records.file = name;
        if (flat && flat_index_init(&index, flat) < 0) {
            result = fail(ENOMEM, "%s:1: out of memory", name);
        }
    }
    if (result == 0) {
        result = read_records(import, text, len, flat ? &index : NULL);
    }
    if (result == 0) {
        result = build_until_right(import, flat ? &index : NULL);
    }
    flat_index_destroy(&index);
    if (error_pass(errp, result) < 0) {
        memory_import_free(import);
        return NULL;
    }
    return import;
}

MemorySystem *memory_import_system(const MemoryImport *import)
{
    return import->ms;
}

size_t memory_import_space_count(const MemoryImport *import)
{
    return import->nr_spaces;
}

AddressSpace *memory_import_space(const MemoryImport *import, size_t index)
{
    return import->spaces[index];
}

MemoryRegion *const *memory_import_targets(const MemoryImport *import, size_t *count)
{
    *count = import->nr_targets;
    return import->targets;
}

unsigned memory_import_flags(const MemoryImport *import)
{
    const ImportRecords *records = &import->records;

    return (records->prints_owners ? MTREE_OWNER : 0) |
           (records->prints_disabled ? MTREE_DISABLED : 0) |
           (records->prints_containers ? MTREE_CONTAINER : 0);
}

void memory_import_free(MemoryImport *import)
{
    if (!import) {
        return;
    }
    import_unbuild(import);
    free(import->owners);
    arena_destroy(&import->records.arena);
    free(import);
}
