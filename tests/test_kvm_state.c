/* SPDX-License-Identifier: MIT */
/*
 * The virtual machine: what is opened and whose it is, what is found out about the kernel, which
 * calls are refused, and that nothing is left of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/kvm_host.h"
#include "support/kvm_machine.h"

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static unsigned open_fds(void)
{
    unsigned open = 0;

    for (int fd = 0; fd < 256; fd++) {
        open += is_open(fd);
    }
    return open;
}

/* ---- what is opened, and whose it is ------------------------------------------- */

static void test_fds(void **state)
{
    Guest g;
    KVMConfig config = begin(&g, NULL);
    unsigned before = open_fds();

    (void)state;
    g.kvm = kvm_create(g.ms, &config, NULL);
    assert_non_null(g.kvm);
    assert_ptr_equal(kvm_memory_system(g.kvm), g.ms);
    assert_int_equal(kvm_fd(g.kvm), config.kvm_fd);
    int vm = kvm_vm_fd(g.kvm);
    assert_true(is_open(vm));
    OK(kvm_destroy(g.kvm));
    assert_false(is_open(vm)); /* membus opened it */
    assert_true(is_open(config.kvm_fd));
    assert_int_equal(open_fds(), before);
    g.kvm = NULL;
    end(&g); /* of NULL */
}

static void test_adopted_vm(void **state)
{
    Guest g;
    KVMConfig config = begin(&g, NULL);
    int vm = kvm_fake_ioctl(g.fake, config.kvm_fd, KVM_CREATE_VM, NULL);
    int vcpu = kvm_fake_ioctl(g.fake, vm, KVM_CREATE_VCPU, NULL);

    (void)state;
    assert_true(vm >= 0 && vcpu >= 0);
    config.vm_fd = vm;
    g.kvm = kvm_create(g.ms, &config, NULL);
    assert_non_null(g.kvm);
    assert_int_equal(kvm_vm_fd(g.kvm), vm);
    KVMVcpu *cpu = kvm_vcpu_adopt(g.kvm, vcpu, NULL);
    assert_non_null(cpu);
    assert_int_equal(kvm_vcpu_fd(cpu), vcpu);
    OK(kvm_vcpu_run(cpu));
    assert_int_equal(kvm_vcpu_get_run(cpu)->exit_reason, KVM_EXIT_HLT);
    OK(kvm_destroy(g.kvm));
    assert_true(is_open(vm) && is_open(vcpu));
    close(vcpu);
    close(vm);
    machine_end(g.ms);
    kvm_fake_destroy(g.fake);
}

static void test_refused_at_each_call(void **state)
{
    static const unsigned long requests[] = {KVM_GET_API_VERSION, KVM_CREATE_VM,
                                             KVM_GET_VCPU_MMAP_SIZE};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        Guest g;
        KVMConfig config = begin(&g, NULL);
        unsigned before = open_fds();
        Error *err = NULL;

        kvm_fake_fail(g.fake, requests[i], 1, ENOSPC, true);
        assert_null(kvm_create(g.ms, &config, &err));
        assert_non_null(err);
        assert_non_null(strstr(error_get_pretty(err), strerror(ENOSPC)));
        error_free(err);
        assert_int_equal(open_fds(), before);
        end(&g);
    }
}

static int old_kernel(void *opaque, int fd, unsigned long request, void *arg)
{
    (void)opaque, (void)fd, (void)arg;
    return request == KVM_GET_API_VERSION ? 11 : -ENOTTY;
}

static void test_other_version(void **state)
{
    MemorySystem *ms = machine_start();
    KVMConfig config = KVM_CONFIG_INIT;

    (void)state;
    config.kvm_fd = 0;
    config.kernel.ioctl = old_kernel;
    assert_null(kvm_create(ms, &config, NULL));
    assert_non_null(strstr(membus_last_error(), "version 11"));
    machine_end(ms);
}

static void pause_nothing(void *opaque)
{
    (void)opaque;
}

static void test_bad_configs(void **state)
{
    Guest g;
    KVMConfig good = begin(&g, NULL), config;

    (void)state;
#define BAD(field, value)                                                                          \
    config = good;                                                                                 \
    config.field = (value);                                                                        \
    assert_null(kvm_create(g.ms, &config, NULL));                                                  \
    assert_true(*membus_last_error())
    BAD(dirty_log, (KVMDirtyLog)(KVM_DIRTY_LOG_RING + 1));
    BAD(dirty_ring_entries, 1000);
    BAD(clear_shift, 5);
    BAD(clear_shift, 41);
    BAD(max_slot_size, PAGE + 1);
    BAD(pause_vcpus, pause_nothing);
    BAD(kick_signal, 4711);
    BAD(kick_signal, SIGKILL);
#undef BAD
    assert_int_equal(kvm_fake_calls(g.fake, 0), 0); /* found before anything is asked */
    end(&g);
}

static void test_kick_signal(void **state)
{
    Guest g;
    KVMConfig config = begin(&g, NULL);
    struct sigaction action;

    (void)state;
    signal(SIGUSR2, SIG_IGN); /* would bring nobody back */
    config.kick_signal = SIGUSR2;
    g.kvm = kvm_create(g.ms, &config, NULL);
    assert_non_null(g.kvm);
    sigaction(SIGUSR2, NULL, &action);
    assert_true(action.sa_handler != SIG_IGN && action.sa_handler != SIG_DFL);
    void (*handler)(int) = action.sa_handler;
    OK(kvm_destroy(g.kvm));
    g.kvm = kvm_create(g.ms, &config, NULL); /* that of the program stays */
    sigaction(SIGUSR2, NULL, &action);
    assert_true(action.sa_handler == handler);
    end(&g);
}

/* ---- what the kernel can do ------------------------------------------- */

static void test_capabilities(void **state)
{
    KvmFakeCaps all = KVM_FAKE_CAPS_INIT,
                none = {.nr_memslots = 33, .nr_address_spaces = 1, .gpa_bits = 40};
    Guest g;

    (void)state;
    all.nr_address_spaces = 2;
    all.memory_attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE;
    start(&g, &all);
    const KVMCapabilities *caps = kvm_capabilities(g.kvm);
    assert_int_equal(caps->nr_memslots, 512);
    assert_int_equal(caps->nr_address_spaces, 2);
    assert_int_equal(caps->dirty_ring_max, all.ring_bytes_max / sizeof(struct kvm_dirty_gfn));
    assert_true(caps->readonly_mem && caps->manual_dirty_log && caps->coalesced_mmio &&
                caps->coalesced_pio && caps->ioeventfd && caps->ioeventfd_any_length &&
                caps->immediate_exit && caps->user_memory2 && caps->guest_memfd &&
                caps->memory_attributes);
    assert_int_equal(kvm_get_max_memslots(g.kvm), 512);
    assert_int_equal(kvm_check_extension(g.kvm, KVM_CAP_READONLY_MEM), 1);
    assert_int_equal(kvm_vm_check_extension(g.kvm, KVM_CAP_NR_MEMSLOTS), 512);
    assert_int_equal(kvm_check_extension(g.kvm, 9999), 0);
    end(&g);

    start(&g, &none);
    caps = kvm_capabilities(g.kvm);
    assert_int_equal(caps->nr_memslots, 33);
    assert_int_equal(caps->nr_address_spaces, 1);
    assert_int_equal(caps->dirty_ring_max, 0);
    assert_false(caps->readonly_mem || caps->manual_dirty_log || caps->coalesced_mmio ||
                 caps->coalesced_pio || caps->ioeventfd || caps->ioeventfd_any_length ||
                 caps->immediate_exit || caps->user_memory2 || caps->guest_memfd ||
                 caps->memory_attributes);
    assert_int_equal(kvm_dirty_log(g.kvm), KVM_DIRTY_LOG_BITMAP);
    end(&g);
}

/* ---- vCPUs ------------------------------------------- */

static void test_vcpu_that_fails(void **state)
{
    Guest g;

    (void)state;
    start(&g, NULL);
    unsigned before = open_fds();
    kvm_fake_fail(g.fake, KVM_CREATE_VCPU, 1, ENOMEM, false);
    assert_null(kvm_vcpu_create(g.kvm, 0, NULL));
    assert_int_equal(open_fds(), before);
    assert_null(kvm_vcpu_adopt(g.kvm, -1, NULL));
    assert_non_null(strstr(membus_last_error(), "vCPU"));
    end(&g);
}

/* ---- the running kernel ------------------------------------------- */

static void test_running_kernel(void **state)
{
    MemorySystem *ms = machine_start();
    unsigned before = open_fds();
    KVMMemoryListener kml = {0};
    MemoryRegion ram;
    Error *err = NULL;

    (void)state;
    KVMState *kvm = kvm_create(ms, NULL, &err);
    if (!kvm) {
        print_message("no KVM: %s\n", error_get_pretty(err));
        error_free(err);
        machine_end(ms);
        skip();
    }
    assert_true(kvm_capabilities(kvm)->nr_memslots >= 32);
    make_ram(ms, &ram, "ram", SIZE);
    map_at(ms, 0, &ram);
    OK(kvm_memory_listener_register(kvm, &kml, memory_system_memory(ms), 0, "kvm"));
    assert_int_equal(kvm_get_free_memslots(kvm, 0), kvm_capabilities(kvm)->nr_memslots - 1);
    assert_non_null(kvm_vcpu_create(kvm, 0, &err));
    OK(kvm_destroy(kvm));
    assert_int_equal(open_fds(), before);
    machine_end(ms);
}

static void test_running_kernel_adopted(void **state)
{
    MemorySystem *ms = machine_start();
    const char *why = NULL;
    KVMConfig config = KVM_CONFIG_INIT;
    KvmHost host;

    (void)state;
    if (!kvm_host_open(&host, &why)) {
        machine_end(ms);
        print_message("no KVM: %s\n", why);
        skip();
    }
    assert_true(kvm_host_start(&host, &why));
    config.kvm_fd = host.kvm;
    config.vm_fd = host.vm;
    KVMState *kvm = kvm_create(ms, &config, NULL);
    assert_non_null(kvm);
    assert_non_null(kvm_vcpu_adopt(kvm, host.vcpu, NULL));
    OK(kvm_destroy(kvm));
    assert_true(is_open(host.kvm) && is_open(host.vm) && is_open(host.vcpu));
    assert_int_equal(kvm_host_store(&host, 0xa0000, 1, 1), KVM_FAKE_EXIT); /* it lives */
    kvm_host_close(&host);
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fds),
        cmocka_unit_test(test_adopted_vm),
        cmocka_unit_test(test_refused_at_each_call),
        cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_bad_configs),
        cmocka_unit_test(test_kick_signal),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_vcpu_that_fails),
        cmocka_unit_test(test_running_kernel),
        cmocka_unit_test(test_running_kernel_adopted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
