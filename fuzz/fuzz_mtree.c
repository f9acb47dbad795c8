/* SPDX-License-Identifier: MIT */
/*
 * Hostile text: whatever it is, the parser and the importer neither crash nor leak nor work without
 * bound, and a machine that was built can be printed, explained and ended.
 *
 * The input is a tree, and after a line "====" a flat dump.
 */
#include <membus/error.h>
#include <membus/import.h>
#include <membus/inspect.h>

#include <stdlib.h>
#include <string.h>

static void must(bool truth)
{
    if (!truth) {
        abort();
    }
}

static void look_at(const MemoryImport *import, FILE *out)
{
    size_t count = memory_import_space_count(import), nr_targets;
    MemoryRegion *const *targets = memory_import_targets(import, &nr_targets);
    AddressSpace **spaces = calloc(count + 1, sizeof(AddressSpace *));

    must(spaces);
    for (size_t i = 0; i < count; i++) {
        MemoryRegionSection s;
        spaces[i] = memory_import_space(import, i);
        FlatView *view = address_space_get_flatview(spaces[i]);
        hwaddr at = flatview_next(view, 0, &s) ? s.last_within_address_space : 0x1000;
        MemoryExplanation *ex = address_space_explain(spaces[i], at);
        if (ex && s.mr) {
            /* The first candidate is the one that the view shows. */
            const MemoryCandidate *winner = &ex->candidates[0];
            must(ex->count > 0 && winner->path[winner->steps - 1].mr == s.mr);
        }
        memory_explanation_free(ex);
        flatview_unref(view);
    }
    must(mtree_print_spaces(spaces, count, targets, nr_targets, out, memory_import_flags(import)) ==
         0);
    must(mtree_print_spaces(spaces, count, NULL, 0, out, MTREE_FLAT) == 0);
    free(spaces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char divider[] = "\n====\n";
    static FILE *out;
    const char *text = (const char *)data;
    const char *split = size ? memmem(text, size, divider, sizeof divider - 1) : NULL;
    size_t tree_size = split ? (size_t)(split - text) + 1 : size;
    Error *error = NULL;
    MtreeFlat *flat = NULL;

    if (!out) {
        out = fopen("/dev/null", "w");
        must(out);
    }
    if (split) {
        const char *rest = split + sizeof divider - 1;
        flat = mtree_flat_parse(rest, size - (size_t)(rest - text), "flat", &error);
        if (!flat) {
            must(strncmp(error_get_pretty(error), "flat:", 5) == 0);
            error_free(error);
            error = NULL;
        }
    }
    MemoryImport *import = memory_import_mtree(text, tree_size, "tree", flat, &error);
    if (import) {
        look_at(import, out);
        memory_import_free(import);
    } else {
        must(error && strncmp(error_get_pretty(error), "tree:", 5) == 0);
        error_free(error);
    }
    mtree_flat_free(flat);
    return 0;
}
