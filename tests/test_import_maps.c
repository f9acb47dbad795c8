/* SPDX-License-Identifier: MIT */
/*
 * Maps of real machines: every address space of every capture, line for line, from each form of the
 * tree's text; and the text itself printed again from the machine that was built.
 *
 * tests/data is always there; a larger collection in ../shared/corpus beside the source tree is
 * tried where it exists.
 */
#include <dirent.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include <membus/error.h>
#include <membus/import.h>
#include <membus/inspect.h>

static const char *const forms[] = {"tree.txt", "tree-owners.txt", "tree-enabled.txt"};
#define NR_FORMS 3

typedef struct Tally {
    unsigned captures, texts, spaces, differing, misprinted;
} Tally;

static char *read_file(const char *directory, const char *name, size_t *len)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *in = fopen(path, "re");
    if (!in) {
        return NULL;
    }
    assert_int_equal(fstat(fileno(in), &st), 0);
    char *text = malloc((size_t)st.st_size + 1);
    assert_non_null(text);
    *len = fread(text, 1, (size_t)st.st_size, in);
    text[*len] = '\0';
    fclose(in);
    return text;
}

/* ---- flat views -------------------------------------------------------------------- */

static bool shows(AddressSpace *space, const MtreeFlatView *wanted)
{
    FlatView *view = address_space_get_flatview(space);
    MemoryRegionSection s;
    size_t i = 0;
    bool same = true;
    hwaddr at = 0;

    while (same && flatview_next(view, at, &s)) {
        char line[512];
        assert_true(mtree_format_section(line, sizeof line, &s) < sizeof line);
        same = i < wanted->nr_ranges && strcmp(line, wanted->ranges[i].text) == 0;
        i++;
        at = s.last_within_address_space + 1;
        if (at == 0) {
            break;
        }
    }
    flatview_unref(view);
    return same && i == wanted->nr_ranges;
}

/* Names repeat: each view of the dump may stand for one space only. */
static bool is_shown(AddressSpace *space, const MtreeFlat *flat, bool *taken)
{
    size_t number = 0;

    for (size_t v = 0; v < mtree_flat_count(flat); v++) {
        const MtreeFlatView *view = mtree_flat_view(flat, v);
        for (size_t i = 0; i < view->nr_spaces; i++, number++) {
            if (!taken[number] && strcmp(view->spaces[i].name, address_space_name(space)) == 0 &&
                shows(space, view)) {
                taken[number] = true;
                return true;
            }
        }
    }
    return false;
}

static void compare_spaces(const MemoryImport *import, const MtreeFlat *flat, const char *where,
                           Tally *tally)
{
    size_t in_flat = 0;

    for (size_t v = 0; v < mtree_flat_count(flat); v++) {
        in_flat += mtree_flat_view(flat, v)->nr_spaces;
    }
    assert_int_equal(memory_import_space_count(import), in_flat);
    bool *taken = calloc(in_flat + 1, sizeof *taken);
    assert_non_null(taken);
    for (size_t i = 0; i < in_flat; i++) {
        AddressSpace *space = memory_import_space(import, i);
        tally->spaces++;
        if (!is_shown(space, flat, taken)) {
            tally->differing++;
            print_error("%s: %s differs\n", where, address_space_name(space));
        }
    }
    free(taken);
}

/* ---- trees --------------------------------------------------------------------------- */

static void compare_text(const MemoryImport *import, const char *text, const char *where,
                         Tally *tally)
{
    size_t count = memory_import_space_count(import), nr_targets, size;
    AddressSpace **spaces = calloc(count + 1, sizeof(AddressSpace *));
    MemoryRegion *const *targets = memory_import_targets(import, &nr_targets);
    char *printed = NULL;
    FILE *out = open_memstream(&printed, &size);

    assert_true(spaces && out);
    for (size_t i = 0; i < count; i++) {
        spaces[i] = memory_import_space(import, i);
    }
    assert_int_equal(
        mtree_print_spaces(spaces, count, targets, nr_targets, out, memory_import_flags(import)),
        0);
    fclose(out);
    if (strcmp(printed, text) != 0) {
        tally->misprinted++;
        print_error("%s: printed otherwise than it was read\n", where);
    }
    free(printed);
    free(spaces);
}

static void try_capture(const char *directory, const MtreeFlat *flat, Tally *tally)
{
    for (unsigned i = 0; i < NR_FORMS; i++) {
        size_t len;
        char where[PATH_MAX], *text = read_file(directory, forms[i], &len);
        Error *error = NULL;

        if (!text) {
            continue;
        }
        snprintf(where, sizeof where, "%.*s/%s", PATH_MAX - 32, directory, forms[i]);
        MemoryImport *import = memory_import_mtree(text, len, where, flat, &error);
        if (!import) {
            fail_msg("%s", error_get_pretty(error));
        }
        tally->texts++;
        compare_spaces(import, flat, where, tally);
        compare_text(import, text, where, tally);
        memory_import_free(import);
        free(text);
    }
}

static void try_directory(const char *directory, unsigned depth, Tally *tally)
{
    size_t len;
    char *flat_text = read_file(directory, "flat.txt", &len);

    if (flat_text) {
        Error *error = NULL;
        MtreeFlat *flat = mtree_flat_parse(flat_text, len, directory, &error);
        if (!flat) {
            fail_msg("%s", error_get_pretty(error));
        }
        try_capture(directory, flat, tally);
        tally->captures++;
        mtree_flat_free(flat);
        free(flat_text);
        return;
    }
    DIR *dir = depth < 3 ? opendir(directory) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[PATH_MAX];
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%.*s/%s", PATH_MAX - 300, directory, entry->d_name);
            try_directory(path, depth + 1, tally);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

static void try_collection(const char *directory, unsigned least)
{
    Tally tally = {0};

    try_directory(directory, 0, &tally);
    print_message("# %u captures, %u texts, %u address spaces: %u differ, %u texts misprinted\n",
                  tally.captures, tally.texts, tally.spaces, tally.differing, tally.misprinted);
    assert_true(tally.captures >= least);
    assert_int_equal(tally.differing, 0);
    assert_int_equal(tally.misprinted, 0);
}

static void bundled_maps(void **state)
{
    (void)state;
    const char *data = getenv("MEMBUS_TEST_DATA");
    assert_non_null(data);
    try_collection(data, 10);
}

static void corpus(void **state)
{
    char path[PATH_MAX];
    struct stat st;
    const char *source = getenv("MEMBUS_SOURCE_DIR");

    (void)state;
    assert_non_null(source);
    snprintf(path, sizeof path, "%s/../shared/corpus", source);
    if (stat(path, &st) != 0) {
        print_message("# no collection in ../shared/corpus beside the source tree\n");
        skip();
    }
    try_collection(path, 1);
}

/* The comparison itself must be able to fail. */
static void a_wrong_map_is_noticed(void **state)
{
    static const char tree[] = "address-space: memory\n"
                               "  0000000000000000-00000000000000ff (prio 0, i/o): system\n"
                               "    0000000000000010-000000000000001f (prio 0, ram): ram\n\n";
    static const char *const dumps[] = {
        "  0000000000000010-000000000000001f (prio 0, ram): ram\n",
        "  0000000000000010-000000000000001e (prio 0, ram): ram\n",
        "  0000000000000010-000000000000001f (prio 1, ram): ram\n",
        "  0000000000000010-000000000000001f (prio 0, rom): ram\n",
        "  0000000000000010-000000000000001f (prio 0, ram): rum\n",
        "  0000000000000010-000000000000001f (prio 0, ram): ram @0000000000000001\n",
        "  No rendered FlatView\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof dumps / sizeof *dumps; i++) {
        char text[512];
        bool taken[1] = {false};
        int len = snprintf(text, sizeof text,
                           "FlatView #0\n AS \"memory\", root: system\n"
                           " Root memory region: system\n%s\n",
                           dumps[i]);
        MtreeFlat *flat = mtree_flat_parse(text, (size_t)len, "flat", NULL);
        MemoryImport *import = memory_import_mtree(tree, sizeof tree - 1, "tree", flat, NULL);
        assert_true(flat && import);
        assert_int_equal(is_shown(memory_import_space(import, 0), flat, taken), i == 0);
        memory_import_free(import);
        mtree_flat_free(flat);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bundled_maps),
        cmocka_unit_test(corpus),
        cmocka_unit_test(a_wrong_map_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
