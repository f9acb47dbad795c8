/* SPDX-License-Identifier: MIT */
/* The memory backends of a machine: who has them, how long they live, and without descriptors. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/backends.h"

/* ---- The machine's backends ---------------------------------------------------- */

static bool collect(HostMemoryBackend *backend, void *opaque)
{
    strcat(opaque, host_memory_backend_config(backend)->id);
    return strlen(opaque) == 2;
}

static bool destroy_it(HostMemoryBackend *backend, void *opaque)
{
    (void)opaque;
    OK(host_memory_backend_destroy(backend, NULL));
    return false;
}

static void the_list(void **state)
{
    MemorySystem *ms = machine_start(), *other = machine_start();
    char seen[8] = "";

    (void)state;
    HostMemoryBackend *a = make(ms, "memory-backend-ram,id=a,size=4K");
    HostMemoryBackend *b = make(ms, "memory-backend-memfd,id=b,size=4K");
    make(ms, "memory-backend-shm,id=c,size=4K");
    make(other, "memory-backend-shm,id=a,size=4K");
    assert_ptr_equal(host_memory_backend_find(ms, "a"), a);
    assert_ptr_equal(host_memory_backend_find(ms, "b"), b);
    assert_null(host_memory_backend_find(ms, "d"));
    assert_null(host_memory_backend_find(ms, NULL));
    assert_true(host_memory_backend_for_each(ms, collect, seen));
    assert_string_equal(seen, "ab");
    refused(ms, -EEXIST, "RAM 'b': there is a memory backend of this id already",
            "memory-backend-ram,id=b,size=4K");
    REFUSED(-EBUSY, memory_system_destroy(ms));
    OK(host_memory_backend_destroy(b, NULL));
    assert_null(host_memory_backend_find(ms, "b"));
    make(ms, "memory-backend-ram,id=b,size=4K"); /* the id is free at once */
    seen[0] = '\0';
    assert_true(host_memory_backend_for_each(ms, collect, seen));
    assert_string_equal(seen, "ac");
    assert_false(host_memory_backend_for_each(ms, destroy_it, NULL));
    assert_false(host_memory_backend_for_each(other, destroy_it, NULL));
    assert_false(host_memory_backend_for_each(ms, collect, seen));
    OK(host_memory_backend_destroy(NULL, NULL));
    machine_end(ms);
    machine_end(other);
}

/* While one is being filled another takes its id, and nothing is left of the first. */
static void overtake(hwaddr done, hwaddr total, void *opaque)
{
    MemorySystem *ms = opaque;

    assert_false(memory_system_locked(ms));
    if (done == total) {
        make(ms, "memory-backend-ram,id=m0,size=4K");
    }
}

static void the_faster_one_has_the_id(void **state)
{
    MemorySystem *ms = machine_start();
    HostMemoryConfig config = HOST_MEMORY_CONFIG_INIT;
    char dir[64], path[80];
    Error *err = NULL;
    unsigned fds = places_open_fds();

    (void)state;
    places_make_dir(dir);
    snprintf(path, sizeof path, "%s/ram", dir);
    config.kind = HOST_MEMORY_FILE;
    config.id = "m0";
    config.size = 65536;
    config.mem_path = path;
    config.share = config.prealloc = true;
    config.progress = overtake;
    config.progress_opaque = ms;
    assert_null(host_memory_backend_create_config(ms, &config, &err));
    assert_int_equal(error_get_errno(err), -EEXIST);
    assert_string_equal(error_get_pretty(err),
                        "RAM 'm0': there is a memory backend of this id already");
    error_free(err);
    assert_int_equal(places_open_fds(), fds);
    places_remove_dir(dir); /* no file is in it */
    end(ms, host_memory_backend_find(ms, "m0"));
    machine_end(ms);
}

static void busy(HostMemoryBackend *backend, const char *sentence)
{
    Error *err = NULL;

    assert_int_equal(host_memory_backend_destroy(backend, &err), -EBUSY);
    assert_string_equal(error_get_pretty(err), sentence);
    error_free(err);
}

static void who_has_it(void **state)
{
    MemorySystem *ms = machine_start();
    HostMemoryBackend *backend = make(ms, "memory-backend-ram,id=m0,size=4K");
    MemoryRegion *mr = host_memory_backend_get_memory(backend), alias;
    Error *err = NULL;

    (void)state;
    assert_false(host_memory_backend_is_mapped(backend));
    OK(host_memory_backend_claim(backend, "dimm0", NULL));
    assert_true(host_memory_backend_is_mapped(backend));
    assert_int_equal(host_memory_backend_claim(backend, "dimm1", &err), -EBUSY);
    assert_string_equal(error_get_pretty(err), "RAM 'm0': the memory backend is in use by dimm0");
    error_free(err);
    busy(backend, "RAM 'm0': the memory backend is in use by dimm0");
    host_memory_backend_release(backend);
    assert_false(host_memory_backend_is_mapped(backend));

    map_at(ms, 0x1000, mr);
    busy(backend, "RAM 'm0': the memory backend is in use by system");
    unmap(ms, mr);
    make_alias(ms, &alias, mr, 0, 4096);
    busy(backend, "RAM 'm0': the memory backend is in use by an alias");
    OK(memory_region_finalize(&alias));
    OK(host_memory_backend_destroy(backend, NULL));
    machine_end(ms);
}

/* Whoever still holds the memory can use it after the backend is gone. */
static void memory_outlives_its_backend(void **state)
{
    MemorySystem *ms = machine_start();
    HostMemoryBackend *backend = make(ms, "memory-backend-memfd,id=m0,size=64K");
    hwaddr length = 4096;

    (void)state;
    map_at(ms, 0x10000, host_memory_backend_get_memory(backend));
    uint8_t *mapped = address_space_map(memory_system_memory(ms), 0x11000, &length, true, ATTRS);
    assert_non_null(mapped);
    unmap(ms, host_memory_backend_get_memory(backend));
    OK(host_memory_backend_destroy(backend, NULL));
    assert_null(host_memory_backend_find(ms, "m0"));
    memory_system_drain(ms);
    mapped[100] = 1;
    address_space_unmap(memory_system_memory(ms), mapped, length, true, length);
    memory_system_drain(ms);
    assert_false(places_touchable(mapped));
    machine_end(ms);
}

/* ---- Out of descriptors -------------------------------------------------------- */

static void no_descriptors(void **state)
{
    static const char *const options[] = {
        "memory-backend-memfd,id=m0,size=4K",
        "memory-backend-shm,id=m0,size=4K",
        "memory-backend-file,id=m0,size=4K,mem-path=/tmp,discard-data=on",
        "memory-backend-fd,id=m0,size=4K,fd=%d",
    };
    MemorySystem *ms = machine_start();
    struct rlimit before, limit;
    int fd = memfd_create("membus-test", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        unsigned fds = places_open_fds(), failed = 0;
        HostMemoryBackend *backend = NULL;
        char text[200];
        snprintf(text, sizeof text, options[i], fd);
        for (rlim_t room = (rlim_t)fd + 1; !backend; room++) {
            Error *err = NULL;
            limit = (struct rlimit){room, before.rlim_max};
            assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
            backend = host_memory_backend_create(ms, text, &err);
            setrlimit(RLIMIT_NOFILE, &before);
            if (!backend) {
                assert_int_equal(error_get_errno(err), -EMFILE);
                assert_non_null(strstr(error_get_pretty(err), ": Too many open files"));
                memory_system_drain(ms);
                assert_int_equal(places_open_fds(), fds);
                error_free(err);
                failed++;
            }
        }
        assert_true(failed > 0);
        end(ms, backend);
    }
    close(fd);
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_list),       cmocka_unit_test(the_faster_one_has_the_id),
        cmocka_unit_test(who_has_it),     cmocka_unit_test(memory_outlives_its_backend),
        cmocka_unit_test(no_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
