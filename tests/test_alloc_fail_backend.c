/* SPDX-License-Identifier: MIT */
/*
 * A memory backend that is made while the k-th allocation fails, for each k: refused with a
 * sentence, nothing left of it, and made when asked again.
 */
#include "support/saboteur.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/backends.h"

static bool exists(const char *path)
{
    struct stat st;

    return *path && stat(path, &st) == 0;
}

/* Returns whether an allocation failed. */
static bool make_once(const char *options, const char *path, unsigned long k, bool for_good)
{
    MemorySystem *ms = machine_start();
    unsigned fds = places_open_fds();
    Error *err = NULL;

    saboteur_arm(k, for_good);
    HostMemoryBackend *backend = host_memory_backend_create(ms, options, &err);
    unsigned long failed = saboteur_disarm();
    if (!backend) {
        assert_true(failed && *membus_last_error());
        assert_int_equal(error_get_errno(err), -ENOMEM);
        error_free(err);
        memory_system_drain(ms);
        assert_null(host_memory_backend_find(ms, "m0"));
        assert_int_equal(places_open_fds(), fds);
        assert_false(exists(path));
        backend = make(ms, "%s", options);
    }
    saboteur_arm(1, false);
    if (host_memory_backend_claim(backend, "dimm0", NULL)) {
        assert_false(host_memory_backend_is_mapped(backend));
        OK(host_memory_backend_claim(backend, "dimm0", NULL));
    }
    saboteur_disarm();
    host_memory_backend_release(backend);
    saboteur_arm(1, true);
    OK(host_memory_backend_destroy(backend, NULL)); /* an end needs no memory */
    saboteur_disarm();
    machine_end(ms);
    assert_int_equal(places_open_fds(), fds);
    if (*path) {
        unlink(path);
    }
    return failed;
}

static void every_failure(void **state)
{
    static const char *const kinds[] = {
        "memory-backend-ram,id=m0,size=4M,prealloc=on,prealloc-threads=2",
        "memory-backend-ram,id=m0,size=4M,share=on",
        "memory-backend-memfd,id=m0,size=4K",
        "memory-backend-shm,id=m0,size=4K",
        "memory-backend-file,id=m0,size=4K,share=on,discard-data=on",
    };
    char dir[64], path[80], options[200];

    (void)state;
    places_make_dir(dir);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bool file = strstr(kinds[i], "-file,");
        path[0] = '\0';
        if (file) {
            snprintf(path, sizeof path, "%s/ram", dir);
        }
        snprintf(options, sizeof options, "%s%s%s", kinds[i], file ? ",mem-path=" : "", path);
        for (int for_good = 0; for_good < 2; for_good++) {
            unsigned long k = 1;
            while (make_once(options, path, k, for_good)) {
                assert_true(++k < 100);
            }
            assert_true(k > 5);
        }
    }
    places_remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
