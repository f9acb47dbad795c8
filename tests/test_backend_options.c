/* SPDX-License-Identifier: MIT */
/* The text of memory backends: what it means, and what is wrong with it in one sentence. */
#include "ram/option_values.h"
#include "support/rng.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* ---- Sizes --------------------------------------------------------------------- */

static void sizes(void **state)
{
    static const struct {
        const char *text;
        hwaddr bytes;
    } good[] = {
        {"0", 0},
        {"4096", 4096},
        {"1b", 1},
        {"1K", 1024},
        {"2k", 2048},
        {"3M", 3 << 20},
        {"4G", 4ULL << 30},
        {"1.5G", 3ULL << 29},
        {"0.5K", 512},
        {"1.000K", 1024},
        {"2T", 2ULL << 40},
        {"1P", 1ULL << 50},
        {"15E", 15ULL << 60},
        {"15.5E", 31ULL << 59},
        {"0x1000", 4096},
        {"0XfF", 255},
        {"18446744073709551615", UINT64_MAX},
        {"0xffffffffffffffff", UINT64_MAX},
        {"0.000976562500000000K", 1},
    };
    static const char *const bad[] = {
        "",
        "K",
        "4X",
        "4KB",
        "4 K",
        " 4",
        "+4",
        "-1",
        "-1K",
        "1.",
        ".5G",
        "1..5G",
        "1.5.5G",
        "1.5",
        "0.1K",
        "1e3",
        "0x",
        "0x1K",
        "0xg",
        "0x0x5",
        "0x-1",
        "0x 1",
        "1.5x",
        "16E",
        "99999P",
        "1,000",
        "0x1.8",
        "4Ki",
        "nan",
        "inf",
        "0x10000000000000000",
        "18446744073709551616",
        "999999999999999999999999",
        "1.0000000000000000001G",
        "1.50K\n",
        "16777216T",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        hwaddr bytes = 77;
        const char *wrong = option_size(good[i].text, &bytes);
        if (wrong || bytes != good[i].bytes) {
            fail_msg("%s: %s, %lu", good[i].text, wrong ? wrong : "good", (unsigned long)bytes);
        }
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        hwaddr bytes;
        if (!option_size(bad[i], &bytes)) {
            fail_msg("'%s' passes for a size: %lu", bad[i], (unsigned long)bytes);
        }
    }
}

/* ---- Good text ----------------------------------------------------------------- */

static HostMemoryConfig parsed(const char *options, char **storage)
{
    HostMemoryConfig config;
    Error *err = NULL;

    if (host_memory_config_parse(options, &config, storage, &err)) {
        fail_msg("%s: %s", options, error_get_pretty(err));
    }
    return config;
}

static void every_key_of_a_memfd(void **state)
{
    char *storage;
    HostMemoryConfig c = parsed(
        "memory-backend-memfd,id=m0,size=4G,share=off,hugetlb=on,hugetlbsize=2M,prealloc=yes,"
        "prealloc-threads=3,reserve=no,merge=false,dump=off,seal=off,host-nodes=0-1,"
        "policy=interleave,host-nodes=64,host-nodes=127",
        &storage);

    (void)state;
    assert_int_equal(c.kind, HOST_MEMORY_MEMFD);
    assert_string_equal(c.id, "m0");
    assert_true(c.size == 4ULL << 30 && c.hugetlbsize == 2 << 20);
    assert_true(c.share_set && !c.share && c.hugetlb && c.prealloc);
    assert_true(!c.reserve && !c.merge && !c.dump && !c.seal);
    assert_int_equal(c.prealloc_threads, 3);
    assert_int_equal(c.policy, HOST_MEMORY_POLICY_INTERLEAVE);
    assert_true(c.host_nodes[0] == 3 && c.host_nodes[1] == (1 | 1UL << 63));
    free(storage);
}

static void every_key_of_a_file(void **state)
{
    char *storage;
    HostMemoryConfig c =
        parsed("qom-type=memory-backend-file,id=f.1_x-y,size=1.5G,mem-path=/a,,b=c,"
               "share=true,offset=8K,align=0x200000,readonly=on,discard-data=on,"
               "pmem=on,thp=off",
               &storage);

    (void)state;
    assert_int_equal(c.kind, HOST_MEMORY_FILE);
    assert_string_equal(c.id, "f.1_x-y");
    assert_string_equal(c.mem_path, "/a,b=c");
    assert_true(c.size == 3ULL << 29 && c.offset == 8192 && c.align == 0x200000);
    assert_true(c.share && c.readonly && c.discard_data && c.pmem);
    assert_int_equal(c.thp, HOST_MEMORY_THP_OFF);
    free(storage);
}

static void defaults(void **state)
{
    static const struct {
        const char *kind, *more;
        bool shared;
    } kinds[] = {
        {"memory-backend-ram", "", false},     {"memory-backend-memfd", "", true},
        {"memory-backend-shm", "", true},      {"memory-backend-file", ",mem-path=x", false},
        {"memory-backend-fd", ",fd=3", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        char options[100], *storage;
        snprintf(options, sizeof options, "%s,id=a,size=8K%s", kinds[i].kind, kinds[i].more);
        HostMemoryConfig c = parsed(options, &storage);
        assert_int_equal(c.share, kinds[i].shared);
        assert_true(!c.share_set && !c.prealloc && c.reserve && c.merge && c.dump && c.seal);
        assert_true(!c.readonly && !c.hugetlb && !c.align && !c.offset && !c.prealloc_threads);
        assert_int_equal(c.policy, HOST_MEMORY_POLICY_DEFAULT);
        assert_int_equal(c.thp, HOST_MEMORY_THP_DEFAULT);
        free(storage);
    }
}

/* ---- Bad text ------------------------------------------------------------------ */

#define RAM "memory-backend-ram,id=m0,size=8K"
#define MEMFD "memory-backend-memfd,id=m0,size=8K"

static void refusals(void **state)
{
    static const struct {
        const char *options, *sentence;
    } cases[] = {
        {"",
         "'' is no kind of memory backend: options begin with memory-backend-ram, -file, -memfd, "
         "-shm or -fd"},
        {"memory-backend-epc,id=m0", "'memory-backend-epc' is no kind of memory backend: options "
                                     "begin with memory-backend-ram, -file, -memfd, -shm or -fd"},
        {"memory-backend-ptr,id=m0,size=4K", "'memory-backend-ptr' is no kind of memory backend: "
                                             "options begin with memory-backend-ram, "
                                             "-file, -memfd, -shm or -fd"},
        {"id=m0,size=4K", "'id=m0' is no kind of memory backend: options begin with "
                          "memory-backend-ram, -file, -memfd, -shm or -fd"},
        {"memory-backend-ram,size=4K", "memory-backend-ram: id= is missing"},
        {"memory-backend-ram,id=m0", "RAM 'm0': size is missing or 0"},
        {"memory-backend-ram,id=m0,size=0", "RAM 'm0': size is missing or 0"},
        {"memory-backend-ram,id=,size=4K", "memory-backend-ram: id= is empty"},
        {"memory-backend-ram,id=0m,size=4K", "memory-backend-ram: id=0m: an id begins with a "
                                             "letter and goes on with letters, digits, '-', "
                                             "'.' and '_'"},
        {"memory-backend-ram,id=m/0,size=4K",
         "memory-backend-ram: id=m/0: an id begins with a letter and goes on with letters, digits, "
         "'-', '.' and '_'"},
        {"memory-backend-ram,id=m0,size=4X", "memory-backend-ram: size=4X is no size: write a "
                                             "number and K, M, G or T for powers of 1024, "
                                             "or 0x and hexadecimal digits"},
        {"memory-backend-ram,id=m0,size=16E",
         "memory-backend-ram: size=16E is above what 64 bits hold"},
        {"memory-backend-ram,id=m0,size=0.3K",
         "memory-backend-ram: size=0.3K is no whole number of bytes"},
        {RAM ",", "memory-backend-ram: there is nothing between two commas or after the last one"},
        {RAM ",size=8K", "memory-backend-ram: size=8K: size is given twice"},
        {RAM ",prealloc", "memory-backend-ram: 'prealloc' has no value: write KEY=VALUE"},
        {RAM ",prealloc=", "memory-backend-ram: prealloc= is neither on nor off"},
        {RAM ",prealloc=ON", "memory-backend-ram: prealloc=ON is neither on nor off"},
        {RAM ",prealloc=on ", "memory-backend-ram: prealloc=on  is neither on nor off"},
        {RAM ",prealloc-threads=0",
         "memory-backend-ram: prealloc-threads=0 is no number from 1 to 256"},
        {RAM ",prealloc-threads=257",
         "memory-backend-ram: prealloc-threads=257 is no number from 1 to 256"},
        {RAM ",prealloc-threads=2x",
         "memory-backend-ram: prealloc-threads=2x is no number from 1 to 256"},
        {RAM ",colour=red",
         "memory-backend-ram: no key 'colour': there are id, size, share, prealloc, "
         "prealloc-threads, reserve, merge, dump, host-nodes, policy, thp"},
        {RAM ",=red", "memory-backend-ram: no key '': there are id, size, share, prealloc, "
                      "prealloc-threads, reserve, merge, dump, host-nodes, policy, thp"},
        {MEMFD ",mem-path=/x", "memory-backend-memfd: mem-path=/x: this kind has no mem-path"},
        {RAM ",seal=on", "memory-backend-ram: seal=on: this kind has no seal"},
        {RAM ",thp=yes", "memory-backend-ram: thp=yes is none of default, on and off"},
        {RAM ",policy=best",
         "memory-backend-ram: policy=best is none of default, preferred, bind and interleave"},
        {RAM ",policy=bind", "RAM 'm0': policy=bind needs host-nodes"},
        {RAM ",host-nodes=0", "RAM 'm0': host-nodes needs policy=preferred, bind or interleave"},
        {RAM ",policy=default,host-nodes=0",
         "RAM 'm0': host-nodes needs policy=preferred, bind or interleave"},
        {RAM ",policy=bind,host-nodes=3-1",
         "memory-backend-ram: host-nodes=3-1 names no nodes: write N or N-M, from 0 to 127"},
        {RAM ",policy=bind,host-nodes=128",
         "memory-backend-ram: host-nodes=128 names no nodes: write N or N-M, from 0 to 127"},
        {RAM ",policy=bind,host-nodes=0-",
         "memory-backend-ram: host-nodes=0- names no nodes: write N or N-M, from 0 to 127"},
        {MEMFD ",hugetlbsize=2M", "RAM 'm0': hugetlbsize=2097152 needs hugetlb=on"},
        {MEMFD ",hugetlb=on,thp=on", "RAM 'm0': thp is for memory without hugetlb=on"},
        {"memory-backend-shm,id=m0,size=8K,share=off",
         "RAM 'm0': share=off: POSIX shared memory is always shared"},
        {"memory-backend-file,id=m0,size=8K", "RAM 'm0': memory-backend-file needs mem-path"},
        {"memory-backend-file,id=m0,size=8K,mem-path=x,pmem=on",
         "RAM 'm0': pmem=on needs share=on, or nothing reaches the file"},
        {"memory-backend-file,id=m0,size=8K,mem-path=x,align=3K",
         "RAM 'm0': align=3072 is not a power of two"},
        {"memory-backend-fd,id=m0,size=8K", "RAM 'm0': memory-backend-fd needs fd"},
        {"memory-backend-fd,id=m0,size=8K,fd=-1",
         "memory-backend-fd: fd=-1 is no number from 0 to 2147483647"},
        {"memory-backend-fd,id=m0,size=8K,fd=4294967296",
         "memory-backend-fd: fd=4294967296 is no number from 0 to 2147483647"},
        {"memory-backend-ram,id=m0,size=\x1b[2J\xff",
         "memory-backend-ram: size=\\x1b[2J\\xff is no size: write a number and K, M, G or T for "
         "powers of 1024, or 0x and hexadecimal digits"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        HostMemoryConfig config;
        char *storage = (char *)&config;
        Error *err = NULL;
        int rc = host_memory_config_parse(cases[i].options, &config, &storage, &err);
        if (rc != -EINVAL || strcmp(error_get_pretty(err), cases[i].sentence) != 0) {
            fail_msg("%s:\n  %d %s\n  expected: %s", cases[i].options, rc,
                     err ? error_get_pretty(err) : "", cases[i].sentence);
        }
        assert_null(storage);
        error_free(err);
    }
}

static void null_is_refused(void **state)
{
    HostMemoryConfig config;
    char *storage;

    (void)state;
    REFUSED(-EINVAL, host_memory_config_parse(NULL, &config, &storage, NULL));
}

/* ---- Configs that a program fills ---------------------------------------------- */

static void wrong_configs(void **state)
{
    MemorySystem *ms = machine_start();
    static uint8_t page[4096];
    HostMemoryConfig good = HOST_MEMORY_CONFIG_INIT;
    struct {
        HostMemoryConfig config;
        const char *sentence;
    } cases[8];
    size_t n = 0;

    (void)state;
    good.id = "m0";
    good.size = 8192;
    cases[n].config = good;
    cases[n].config.kind = (HostMemoryKind)9;
    cases[n++].sentence = "9 is no kind of memory backend";
    cases[n].config = good;
    cases[n].config.fd = 3;
    cases[n++].sentence = "RAM 'm0': fd is set, which memory-backend-ram does not have";
    cases[n].config = good;
    cases[n].config.hugetlb = true;
    cases[n++].sentence = "RAM 'm0': hugetlb is set, which memory-backend-ram does not have";
    cases[n].config = good;
    cases[n].config.kind = HOST_MEMORY_PTR;
    cases[n++].sentence = "RAM 'm0': memory-backend-ptr needs the pointer";
    cases[n].config = good;
    cases[n].config.kind = HOST_MEMORY_PTR;
    cases[n].config.ptr = page;
    cases[n].config.merge = false;
    cases[n++].sentence = "RAM 'm0': merge is set, which memory-backend-ptr does not have";
    cases[n].config = good;
    cases[n].config.prealloc_threads = 1000;
    cases[n++].sentence = "RAM 'm0': prealloc-threads=1000 is above 256";
    cases[n].config = good;
    cases[n].config.policy = (HostMemoryPolicy)9;
    cases[n++].sentence = "RAM 'm0': 9 is no NUMA policy";
    cases[n].config = good;
    cases[n].config.thp = (HostMemoryThp)9;
    cases[n++].sentence = "RAM 'm0': thp is default, on or off, not 9";
    for (size_t i = 0; i < n; i++) {
        Error *err = NULL;
        assert_null(host_memory_backend_create_config(ms, &cases[i].config, &err));
        assert_string_equal(error_get_pretty(err), cases[i].sentence);
        error_free(err);
    }
    assert_null(host_memory_backend_create_config(ms, NULL, NULL));
    assert_null(host_memory_backend_create_config(NULL, &good, NULL));
    machine_end(ms);
}

/* ---- Anything at all ----------------------------------------------------------- */

/* It is either good or has one printable sentence. */
static void check_any(const char *options)
{
    HostMemoryConfig config;
    char *storage = NULL;
    Error *err = NULL;
    int rc = host_memory_config_parse(options, &config, &storage, &err);

    if (rc == 0) {
        assert_non_null(storage);
        assert_true(config.size && config.id && *config.id);
    } else {
        const char *sentence = error_get_pretty(err);
        assert_int_equal(rc, -EINVAL);
        assert_null(storage);
        assert_true(*sentence);
        for (const char *c = sentence; *c; c++) {
            if ((unsigned char)*c < ' ' || (unsigned char)*c > '~') {
                fail_msg("a sentence has byte 0x%02x: %s", (unsigned char)*c, sentence);
            }
        }
        error_free(err);
    }
    free(storage);
}

static void long_text(void **state)
{
    size_t length = 4 << 20;
    char *text = malloc(length + 1);

    (void)state;
    assert_non_null(text);
    for (unsigned where = 0; where < 4; where++) {
        static const char *const heads[] = {"", RAM ",",
                                            "memory-backend-ram,size=8K,id=", RAM ",x="};
        for (unsigned fill = 0; fill < 4; fill++) {
            memset(text, ",a=9"[fill], length);
            memcpy(text, heads[where], strlen(heads[where]));
            text[length] = '\0';
            check_any(text);
        }
    }
    free(text);
}

/* A good text with a few bytes changed, cut, doubled or made of another's. */
static void mutations(void **state)
{
    static const char *const seeds[] = {
        "memory-backend-memfd,id=m0,size=4G,share=on,hugetlb=on,hugetlbsize=2M,prealloc=on",
        "memory-backend-file,id=f0,size=1.5G,mem-path=/tmp/x,,y,offset=0x1000,align=2M,pmem=off",
        "qom-type=memory-backend-ram,id=r,size=64M,host-nodes=0-1,host-nodes=3,policy=bind,thp=on",
        "memory-backend-fd,id=d,size=1T,fd=7,readonly=yes,prealloc-threads=8,dump=false",
    };
    Rng rng = {0x5eed};

    (void)state;
    for (unsigned round = 0; round < 60000; round++) {
        char text[256];
        size_t length;

        snprintf(text, sizeof text, "%s", seeds[rng_below(&rng, (unsigned)COUNT(seeds))]);
        length = strlen(text);
        for (unsigned edits = 1 + rng_below(&rng, 4); edits; edits--) {
            size_t at = rng_below(&rng, (unsigned)length);
            switch (rng_below(&rng, 4)) {
            case 0:
                text[at] = (char)rng_below(&rng, 256); /* NUL, too */
                break;
            case 1:
                text[at] = ",=.-0x9KE"[rng_below(&rng, 9)];
                break;
            case 2:
                memmove(text + at, text + at + 1, length - at);
                break;
            default:
                text[at] = text[rng_below(&rng, (unsigned)length)];
            }
            length = strlen(text);
            if (!length) {
                break;
            }
        }
        /* In memory of its very size, so that a sanitizer sees a byte too far. */
        char *exact = malloc(length + 1);
        memcpy(exact, text, length + 1);
        check_any(exact);
        free(exact);
    }
}

static void random_bytes(void **state)
{
    Rng rng = {0xbad};

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        size_t length = rng_below(&rng, 64);
        char *text = malloc(length + 1);
        for (size_t i = 0; i < length; i++) {
            text[i] = (char)(1 + rng_below(&rng, 255));
        }
        text[length] = '\0';
        check_any(text);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(every_key_of_a_memfd),
        cmocka_unit_test(every_key_of_a_file),
        cmocka_unit_test(defaults),
        cmocka_unit_test(refusals),
        cmocka_unit_test(null_is_refused),
        cmocka_unit_test(wrong_configs),
        cmocka_unit_test(long_text),
        cmocka_unit_test(mutations),
        cmocka_unit_test(random_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
