/* SPDX-License-Identifier: MIT */
/* What the importer makes of small texts, and what it says of bad ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <membus/error.h>
#include <membus/import.h>
#include <membus/inspect.h>

#define SYSTEM "address-space: memory\n  0000000000000000-000000000000ffff (prio 0, i/o): system\n"

static MemoryImport *import_text(const char *tree, const char *flat_text)
{
    Error *error = NULL;
    MtreeFlat *flat = NULL;

    if (flat_text) {
        flat = mtree_flat_parse(flat_text, strlen(flat_text), "flat", &error);
        assert_non_null(flat);
    }
    MemoryImport *import = memory_import_mtree(tree, strlen(tree), "tree", flat, &error);
    if (!import) {
        fail_msg("%s", error_get_pretty(error));
    }
    mtree_flat_free(flat);
    return import;
}

static char *print(const MemoryImport *import, unsigned flags)
{
    size_t count = memory_import_space_count(import), size, nr_targets;
    AddressSpace *spaces[16];
    MemoryRegion *const *targets = memory_import_targets(import, &nr_targets);
    char *text = NULL;
    FILE *out = open_memstream(&text, &size);

    assert_true(out && count <= 16);
    for (size_t i = 0; i < count; i++) {
        spaces[i] = memory_import_space(import, i);
    }
    assert_int_equal(mtree_print_spaces(spaces, count, targets, nr_targets, out, flags), 0);
    fclose(out);
    return text;
}

/* The ranges of @tree's first space, rendered with what @flat tells, are @ranges. */
static void assert_ranges(const char *tree, const char *flat, const char *ranges)
{
    MemoryImport *import = import_text(tree, flat);
    char *text = print(import, MTREE_FLAT);
    char *start = strstr(text, "\n  ");

    assert_non_null(start);
    char *end = strstr(start, "\n\n");
    assert_non_null(end);
    /* @ranges may be the end of a whole dump */
    end[strlen(ranges) >= 2 && strcmp(ranges + strlen(ranges) - 2, "\n\n") == 0 ? 2 : 1] = '\0';
    assert_string_equal(start + 1, ranges);
    free(text);
    memory_import_free(import);
}

static void assert_prints_itself(const char *tree)
{
    MemoryImport *import = import_text(tree, NULL);
    char *text = print(import, memory_import_flags(import));

    assert_string_equal(text, tree);
    free(text);
    memory_import_free(import);
}

/* ---- good texts ------------------------------------------------------------------- */

static void leaves_answer_and_inner_regions_do_not(void **state)
{
    (void)state;
    assert_ranges(SYSTEM "    0000000000000100-00000000000001ff (prio 0, i/o): bus\n"
                         "      0000000000000120-000000000000012f (prio 0, i/o): device\n",
                  NULL, "  0000000000000120-000000000000012f (prio 0, i/o): device\n");
}

static void the_flat_dump_decides(void **state)
{
    (void)state;
    const char *flat =
        "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n"
        "  0000000000000100-000000000000011f (prio 0, i/o): bus\n"
        "  0000000000000120-000000000000012f (prio 0, i/o): device\n"
        "  0000000000000130-00000000000001ff (prio 0, i/o): bus @0000000000000030\n\n";
    assert_ranges(SYSTEM "    0000000000000100-00000000000001ff (prio 0, i/o): bus\n"
                         "      0000000000000120-000000000000012f (prio 0, i/o): device\n"
                         "    0000000000000200-00000000000002ff (prio 0, i/o): empty bus\n",
                  flat, strstr(flat, "  0"));
}

static void a_leaf_that_the_dump_lacks_is_a_container(void **state)
{
    const char *flat = "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n"
                       "  0000000000000100-00000000000001ff (prio 0, i/o): below\n\n";
    (void)state;
    assert_ranges(SYSTEM "    0000000000000100-00000000000001ff (prio 1, i/o): above\n"
                         "    0000000000000100-00000000000001ff (prio 0, i/o): below\n",
                  flat, strstr(flat, "  0"));
}

/* A region inside another of the same name and start is told apart by its priority. */
static void evidence_is_of_the_priority(void **state)
{
    const char *flat = "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n"
                       "  0000000000000100-000000000000010f (prio 3, i/o): pci\n\n";
    (void)state;
    assert_ranges(SYSTEM "    0000000000000100-00000000000001ff (prio 1, i/o): pci\n"
                         "      0000000000000100-000000000000010f (prio 3, i/o): pci\n",
                  flat, strstr(flat, "  0"));
}

static void ties(void **state)
{
    (void)state;
    /* the same start: the first printed; else the higher start */
    assert_ranges(SYSTEM "    0000000000000100-00000000000001ff (prio 0, ram): a\n"
                         "    0000000000000100-00000000000001ff (prio 0, ram): b\n"
                         "    0000000000000180-000000000000018f (prio 0, ram): c\n",
                  NULL,
                  "  0000000000000100-000000000000017f (prio 0, ram): a\n"
                  "  0000000000000180-000000000000018f (prio 0, ram): c\n"
                  "  0000000000000190-00000000000001ff (prio 0, ram): a @0000000000000090\n");
    /* unless the dump shows otherwise */
    const char *flat = "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n"
                       "  0000000000000100-00000000000001ff (prio 0, ram): a\n\n";
    assert_ranges(SYSTEM "    0000000000000100-00000000000001ff (prio 0, ram): a\n"
                         "    0000000000000180-000000000000018f (prio 0, ram): c\n",
                  flat, strstr(flat, "  0"));
}

#define ALIASES(name)                                                                              \
    SYSTEM "    0000000000000000-00000000000000ff (prio 0, ram): alias " name                      \
           " @ram 0000000000000100-00000000000001ff\n\n"                                           \
           "memory-region: ram\n  0000000000000000-000000000000ffff (prio 0, ram): ram\n\n"

static void read_only_aliases(void **state)
{
    const char *flat =
        "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n"
        "  0000000000000000-00000000000000ff (prio 0, rom): ram @0000000000000100\n\n";
    (void)state;
    assert_ranges(ALIASES("pam-rom"), NULL, strstr(flat, "  0"));
    assert_ranges(ALIASES("window"), NULL,
                  "  0000000000000000-00000000000000ff (prio 0, ram): ram @0000000000000100\n");
    assert_ranges(ALIASES("window"), flat, strstr(flat, "  0"));
}

static void names_are_free_text(void **state)
{
    (void)state;
    assert_prints_itself(
        SYSTEM "    0000000000000000-00000000000000ff (prio 0, ram): alias a @b @c @d "
               "0000000000000100-00000000000001ff\n"
               "    0000000000000100-00000000000001ff (prio -2147483648, i/o): alias\n"
               "    0000000000000200-00000000000002ff (prio 2147483647, i/o): x (prio 1, ram): y "
               "[disabled]z\n"
               "    0000000000000300-00000000000003ff (prio 0, i/o): @\n"
               "    0000000000000400-00000000000004ff (prio 0, i/o): \n\n"
               "memory-region: c @d\n  0000000000000000-000000000000ffff (prio 0, ram): c @d\n\n");
}

static void owners_and_disabled_regions_print_again(void **state)
{
    (void)state;
    assert_prints_itself(
        "address-space: b\naddress-space: a\n"
        "  0000000000000000-000000000000ffff (prio 0, i/o): root owner:{dev path=/machine/x[0]}\n"
        "    0000000000000000-00000000000000ff (prio 0, nv-ram): n [disabled] parent:{obj "
        "path=/machine}\n"
        "      0000000000000010-000000000000001f (prio 0, romd): flash owner:{dev id=pflash}\n"
        "    0000000000000200-00000000000002ff (prio 0, ramd): no owner\n\n");
}

static void hidden_parents(void **state)
{
    (void)state;
    /* Below an alias, outside of the line above, and siblings out of order. */
    assert_prints_itself(
        SYSTEM
        "    0000000000000000-00000000000000ff (prio 0, ram): alias w @ram "
        "0000000000000100-00000000000001ff\n"
        "      0000000000000010-000000000000001f (prio 0, i/o): below an alias\n"
        "        0000000000000010-0000000000000011 (prio 0, i/o): and deeper\n"
        "    0000000000000100-00000000000001ff (prio 0, i/o): bus\n"
        "      0000000000000120-000000000000012f (prio 0, i/o): in bus\n"
        "      0000000000000110-000000000000011f (prio 0, i/o): of another\n"
        "    0000000000000200-00000000000002ff (prio 0, i/o): leaf\n"
        "      0000000000000300-000000000000030f (prio 0, i/o): outside\n\n"
        "memory-region: ram\n  0000000000000000-000000000000ffff (prio 0, ram): ram\n\n"
        "memory-region: mentioned by a hidden alias\n"
        "  0000000000000000-00000000000000ff (prio 0, ram): mentioned by a hidden alias\n\n");
    /* What is below a disabled region does not show, and the leaf stays a leaf. */
    assert_ranges(SYSTEM "    0000000000000200-00000000000002ff (prio 0, i/o): leaf\n"
                         "      0000000000000300-000000000000030f (prio 0, i/o): outside\n",
                  NULL, "  0000000000000200-00000000000002ff (prio 0, i/o): leaf\n");
}

static void line_ends_and_transcripts(void **state)
{
    (void)state;
    assert_ranges("QEMU 7.2.22 monitor - type 'help' for more information\r\n"
                  "(qemu) info mtree\r\naddress-space: memory\r\n"
                  "  0000000000000000-000000000000ffff (prio 0, ram): ram\r\n\r\n(qemu) ",
                  NULL, "  0000000000000000-000000000000ffff (prio 0, ram): ram\n");
}

static void several_targets_of_one_name(void **state)
{
    (void)state;
    const char *sections =
        "memory-region: bridge\n  0000000000000000-000000000000ffff (prio 0, i/o): bridge "
        "owner:{dev id=b1}\n"
        "    0000000000000100-000000000000010f (prio 0, i/o): one owner:{dev id=x}\n\n"
        "memory-region: bridge\n  0000000000000000-000000000000ffff (prio 0, i/o): bridge "
        "owner:{dev id=b2}\n"
        "    0000000000000100-000000000000010f (prio 0, i/o): two owner:{dev id=x}\n\n";
    char tree[2048];

    /* by owner */
    snprintf(tree, sizeof tree, "%s%s\n%s", SYSTEM,
             "    0000000000000100-000000000000010f (prio 0, i/o): alias a @bridge "
             "0000000000000100-000000000000010f owner:{dev id=b1}\n"
             "    0000000000000200-000000000000020f (prio 0, i/o): alias b @bridge "
             "0000000000000100-000000000000010f owner:{dev id=b1}\n"
             "    0000000000000300-000000000000030f (prio 0, i/o): alias c @bridge "
             "0000000000000100-000000000000010f owner:{dev id=b2}\n",
             sections);
    assert_ranges(tree, NULL,
                  "  0000000000000100-000000000000010f (prio 0, i/o): one\n"
                  "  0000000000000200-000000000000020f (prio 0, i/o): one\n"
                  "  0000000000000300-000000000000030f (prio 0, i/o): two\n");
    /* by order of mention */
    snprintf(tree, sizeof tree, "%s%s\n%s", SYSTEM,
             "    0000000000000100-000000000000010f (prio 0, i/o): alias a @bridge "
             "0000000000000100-000000000000010f\n"
             "    0000000000000300-000000000000030f (prio 0, i/o): alias c @bridge "
             "0000000000000100-000000000000010f\n",
             sections);
    assert_ranges(tree, NULL,
                  "  0000000000000100-000000000000010f (prio 0, i/o): one\n"
                  "  0000000000000300-000000000000030f (prio 0, i/o): two\n");
}

static void a_view_begins_at_its_roots_address(void **state)
{
    (void)state;
    assert_ranges("address-space: pci\n  0000000000008000-0000000000008fff (prio 0, i/o): pci\n"
                  "    0000000000008010-000000000000801f (prio 0, i/o): device\n",
                  NULL, "  0000000000008010-000000000000801f (prio 0, i/o): device\n");
}

static void unassigned_ports_answer(void **state)
{
    (void)state;
    assert_ranges("address-space: I/O\n  0000000000000000-000000000000ffff (prio 0, i/o): io\n"
                  "    0000000000000010-000000000000001f (prio 0, i/o): device\n",
                  NULL,
                  "  0000000000000000-000000000000000f (prio 0, i/o): io\n"
                  "  0000000000000010-000000000000001f (prio 0, i/o): device\n"
                  "  0000000000000020-000000000000ffff (prio 0, i/o): io @0000000000000020\n");
}

/* ---- bad texts -------------------------------------------------------------------- */

static const struct {
    const char *text, *message;
} bad_trees[] = {
    {"", "tree:1: no `address-space:` in this text"},
    {"nonsense\n", "tree:1: expected a region line or a heading"},
    {"  0000000000000000-000000000000ffff (prio 0, ram): x\n",
     "tree:1: a region outside of any block"},
    {"address-space: m\n   0000000000000000-000000000000ffff (prio 0, ram): x\n",
     "tree:2: the indentation of 3 blanks is odd"},
    {"address-space: m\n  0-ff (prio 0, ram): x\n",
     "tree:2: expected a range of two 16-digit hexadecimal numbers"},
    {"address-space: m\n  0000000000000010-000000000000000f (prio 0, ram): x\n",
     "tree:2: the range ends at 000000000000000f, before its start"},
    {"address-space: m\n  0000000000000000-000000000000000f [prio 0, ram]: x\n",
     "tree:2: expected ` (prio N, TYPE): NAME` after the range"},
    {"address-space: m\n  0000000000000000-000000000000000f (prio 2147483648, ram): x\n",
     "tree:2: the priority is not a 32-bit number"},
    {"address-space: m\n  0000000000000000-000000000000000f (prio 0, RAM): x\n",
     "tree:2: the type is none of i/o, ram, rom, romd, ramd, container"},
    {"address-space: m\n  0000000000000000-000000000000000f (prio 0, ram)\n",
     "tree:2: expected `: NAME` after the type"},
    {"address-space: m\n  0000000000000000-000000000000000f (prio 0, ram): x\n  "
     "0000000000000000-000000000000000f (prio 0, ram): y\n",
     "tree:3: a second root in the block that begins at line 1"},
    {"address-space: m\n  0000000000000000-000000000000000f (prio 0, ram): alias x @y "
     "0000000000000000-000000000000000f\n",
     "tree:2: no `memory-region:` section for the target of alias 'x @y'"},
    {"address-space: m\n  0000000000000000-000000000000000f (prio 0, ram): alias x @y "
     "0000000000000000-000000000000000f\n    0000000000000000-000000000000000f (prio 0, ram): z\n",
     "tree:3: a subregion of an alias"},
    {"address-space: m\n  0000000000000000-000000000000000f (prio 0, ram): alias x @y "
     "0000000000000000-000000000000000f\n\nmemory-region: y\n  0000000000000000-000000000000000f "
     "(prio 0, ram): alias y @y 0000000000000000-000000000000000f\n",
     "tree:5: alias 'y' leads back to itself"},
};

static void bad_trees_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_trees / sizeof *bad_trees; i++) {
        Error *error = NULL;
        assert_null(memory_import_mtree(bad_trees[i].text, strlen(bad_trees[i].text), "tree", NULL,
                                        &error));
        assert_non_null(error);
        assert_string_equal(error_get_pretty(error), bad_trees[i].message);
        assert_true(error_get_errno(error) < 0);
        error_free(error);
    }
}

static const struct {
    const char *text, *message;
} bad_flats[] = {
    {"", "flat:1: no `FlatView #N` in this text"},
    {"\n AS \"m\", root: r\n", "flat:2: expected `FlatView #N`"},
    {"FlatView #0\n AS m, root: r\n",
     "flat:2: expected a range of two 16-digit hexadecimal numbers"},
    {"FlatView #0\n AS \"m\", boot: r\n", "flat:2: expected ` AS \"NAME\", root: ROOT`"},
    {"FlatView #0\n  0000000000000010-000000000000000f (prio 0, ram): x\n",
     "flat:2: expected a range of two 16-digit hexadecimal numbers"},
    {"FlatView #0\n  0000000000000000-000000000000000f (prio, ram): x\n",
     "flat:2: expected ` (prio N, TYPE): NAME` after the range"},
    {"FlatView #0\n  0000000000000000-000000000000000f (prio 0, ram: x\n",
     "flat:2: the type does not end"},
    {"FlatView #0\n  0000000000000000-000000000000000f (prio 0, ram): x\n  "
     "000000000000000f-000000000000001f (prio 0, ram): x\n",
     "flat:3: the range begins before the last one ends"},
};

static void bad_dumps_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_flats / sizeof *bad_flats; i++) {
        Error *error = NULL;
        assert_null(mtree_flat_parse(bad_flats[i].text, strlen(bad_flats[i].text), "flat", &error));
        assert_non_null(error);
        assert_string_equal(error_get_pretty(error), bad_flats[i].message);
        error_free(error);
    }
    Error *error = NULL;
    assert_null(memory_import_mtree("address-space: m\n\0", 18, "tree", NULL, &error));
    assert_string_equal(error_get_pretty(error), "tree:2: the line contains a NUL byte");
    error_free(error);
}

/* Each level shows the next one twice: 2^64 places in 64 levels. */
static void alias_bombs_end(void **state)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    Error *error = NULL;

    (void)state;
    fputs("address-space: memory\n", out);
    for (int i = 0; i < 64; i++) {
        if (i > 0) {
            fprintf(out, "\nmemory-region: m%d\n", i);
        }
        fprintf(out,
                "  0000000000000000-ffffffffffffffff (prio 0, i/o): m%d\n"
                "    0000000000000000-fffffffffffffffe (prio 0, i/o): alias a @m%d "
                "0000000000000000-fffffffffffffffe\n"
                "    0000000000000001-ffffffffffffffff (prio 0, i/o): alias b @m%d "
                "0000000000000000-fffffffffffffffe\n",
                i, i + 1, i + 1);
    }
    fputs("\nmemory-region: m64\n  0000000000000000-ffffffffffffffff (prio 0, ram): m64\n", out);
    fclose(out);
    assert_null(memory_import_mtree(text, size, "bomb", NULL, &error));
    if (strncmp(error_get_pretty(error), "bomb:", 5) != 0) {
        fail_msg("%s", error_get_pretty(error));
    }
    error_free(error);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_answer_and_inner_regions_do_not),
        cmocka_unit_test(the_flat_dump_decides),
        cmocka_unit_test(a_leaf_that_the_dump_lacks_is_a_container),
        cmocka_unit_test(evidence_is_of_the_priority),
        cmocka_unit_test(ties),
        cmocka_unit_test(read_only_aliases),
        cmocka_unit_test(names_are_free_text),
        cmocka_unit_test(owners_and_disabled_regions_print_again),
        cmocka_unit_test(hidden_parents),
        cmocka_unit_test(line_ends_and_transcripts),
        cmocka_unit_test(several_targets_of_one_name),
        cmocka_unit_test(a_view_begins_at_its_roots_address),
        cmocka_unit_test(unassigned_ports_answer),
        cmocka_unit_test(bad_trees_are_refused),
        cmocka_unit_test(bad_dumps_are_refused),
        cmocka_unit_test(alias_bombs_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
