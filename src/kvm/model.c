/* SPDX-License-Identifier: MIT */
/*
 * The model of the kernel's side: its life, its capabilities, and who serves which ioctl.
 *
 * Error numbers and the order of checks are those of the kernel's documentation and of what a
 * running kernel answers; tests/test_kvm_model.c puts the same random calls to both.
 */
#include "kvm/model.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COALESCED_PAGE 2 /* of the area of a vCPU: run, ports, coalesced ring */
#define VCPU_PAGES 3

static hwaddr two_mib(void *opaque, uint64_t hva)
{
    (void)opaque, (void)hva;
    return 2 * 1024 * 1024;
}

static hwaddr host_page_size(void *opaque, uint64_t hva)
{
    const KVMModelConfig *config = opaque;

    return config->host_page_size(config->opaque, hva);
}

/* ---- life ------------------------------------------------------------------------ */

static void end_vm(KVMModel *model)
{
    for (unsigned i = 0; i < MODEL_SPACES; i++) {
        model_space_end(model, &model->spaces[i]);
    }
    model_devices_end(model);
    memset(model->vcpus, 0, sizeof model->vcpus);
    model->manual_dirty_log = 0;
    model->vm_fd = -1;
}

static int begin_space(KVMModel *model, unsigned as_id)
{
    ModelSpace *space = &model->spaces[as_id];

    space->stage2.host_page_size = host_page_size;
    space->stage2.opaque = &model->config;
    space->by_id = calloc(model->config.nr_memslots, sizeof(ModelSlot *));
    return space->by_id ? stage2_begin(&space->stage2, model->config.levels, as_id) : -ENOMEM;
}

static int make_fd(const char *name, off_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC);

    if (fd >= 0 && ftruncate(fd, size) == 0) {
        return fd;
    }
    int err = errno;
    if (fd >= 0) {
        close(fd);
    }
    return -err;
}

static int begin_vm(KVMModel *model, uintptr_t type)
{
    int result = type ? -EINVAL : 0;

    if (result < 0) {
        return result;
    }
    end_vm(model);
    for (unsigned i = 0; i < model->config.nr_address_spaces && result == 0; i++) {
        result = begin_space(model, i);
    }
    int fd = result == 0 ? make_fd("kvm-model-vm", 0) : result;
    if (fd < 0) {
        end_vm(model);
        return fd;
    }
    return model->vm_fd = fd;
}

static int check_config(KVMModelConfig *config)
{
    config->levels = config->levels ? config->levels : 4;
    config->nr_memslots = config->nr_memslots ? config->nr_memslots : 32764;
    config->nr_address_spaces =
        config->nr_address_spaces ? config->nr_address_spaces : MODEL_SPACES;
    config->host_page_size = config->host_page_size ? config->host_page_size : two_mib;
    if (config->levels != 4 && config->levels != 5) {
        return fail(EINVAL, "KVM model: %u levels are neither 4 nor 5", config->levels);
    }
    if (config->nr_memslots > 32767) {
        return fail(EINVAL, "KVM model: %u slots are more than 32767", config->nr_memslots);
    }
    if (config->nr_address_spaces > MODEL_SPACES) {
        return fail(EINVAL, "KVM model: %u address spaces are more than %u",
                    config->nr_address_spaces, MODEL_SPACES);
    }
    return 0;
}

static int create(const KVMModelConfig *config, KVMModel **result)
{
    KVMModelConfig checked = config ? *config : (KVMModelConfig){.levels = 0};

    if (check_config(&checked) < 0) {
        return -EINVAL;
    }
    KVMModel *model = calloc(1, sizeof *model);
    if (!model) {
        return fail_no_memory("a KVM model");
    }
    model->config = checked;
    model->vm_fd = -1;
    model->kvm_fd = make_fd("kvm-model", 0);
    if (model->kvm_fd < 0) {
        int err = -model->kvm_fd;
        free(model);
        return fail(err, "KVM model: memfd_create: %s", strerror(err));
    }
    pthread_mutex_init(&model->lock, NULL);
    *result = model;
    return 0;
}

KVMModel *kvm_model_create(const KVMModelConfig *config, Error **errp)
{
    KVMModel *model = NULL;

    error_pass(errp, create(config, &model));
    return model;
}

void kvm_model_destroy(KVMModel *model)
{
    if (model) {
        end_vm(model);
        close(model->kvm_fd);
        pthread_mutex_destroy(&model->lock);
        free(model);
    }
}

int kvm_model_fd(const KVMModel *model)
{
    return model->kvm_fd;
}

/* ---- ioctls ------------------------------------------------------------------------- */

static int check_extension(const KVMModel *model, uintptr_t extension)
{
    const KVMModelConfig *config = &model->config;

    switch (extension) {
    case KVM_CAP_USER_MEMORY:
    case KVM_CAP_SYNC_MMU:
    case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
    case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
    case KVM_CAP_IOEVENTFD:
    case KVM_CAP_IOEVENTFD_NO_LENGTH:
    case KVM_CAP_IOEVENTFD_ANY_LENGTH:
    case KVM_CAP_ENABLE_CAP_VM:
    case KVM_CAP_CHECK_EXTENSION_VM:
    case KVM_CAP_IMMEDIATE_EXIT:
    case KVM_CAP_COALESCED_PIO:
        return 1;
    case KVM_CAP_NR_MEMSLOTS:
        return (int)config->nr_memslots;
    case KVM_CAP_MULTI_ADDRESS_SPACE:
        return config->nr_address_spaces > 1 ? (int)config->nr_address_spaces : 0;
    case KVM_CAP_X86_SMM:
        return config->nr_address_spaces > 1;
    case KVM_CAP_COALESCED_MMIO:
        return COALESCED_PAGE;
    case KVM_CAP_NR_VCPUS:
    case KVM_CAP_MAX_VCPUS:
    case KVM_CAP_MAX_VCPU_ID:
        return MODEL_VCPUS;
    case KVM_CAP_READONLY_MEM:
        return !config->no_readonly_mem;
    case KVM_CAP_USER_MEMORY2:
        return !config->no_user_memory2;
    case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
        return config->no_manual_dirty_log
                   ? 0
                   : (int)(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
    default:
        return 0;
    }
}

static int enable_cap(KVMModel *model, const struct kvm_enable_cap *cap)
{
    uint64_t manual = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;

    if (cap->cap != KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 || model->config.no_manual_dirty_log ||
        cap->flags || cap->args[0] & ~(manual | KVM_DIRTY_LOG_INITIALLY_SET) ||
        cap->args[0] == KVM_DIRTY_LOG_INITIALLY_SET) {
        return -EINVAL;
    }
    model->manual_dirty_log = cap->args[0];
    return 0;
}

static int create_vcpu(KVMModel *model, uintptr_t id)
{
    if (id >= MODEL_VCPUS) {
        return -EINVAL;
    }
    if (model->vcpus[id]) {
        return -EEXIST;
    }
    int fd = make_fd("kvm-model-vcpu", VCPU_PAGES * sysconf(_SC_PAGESIZE));
    model->vcpus[id] = fd >= 0;
    return fd;
}

static int set_slot2(KVMModel *model, const struct kvm_userspace_memory_region2 *region)
{
    struct kvm_userspace_memory_region plain = {
        .slot = region->slot,
        .flags = region->flags, /* GUEST_MEMFD is refused as unknown */
        .guest_phys_addr = region->guest_phys_addr,
        .memory_size = region->memory_size,
        .userspace_addr = region->userspace_addr,
    };

    return model->config.no_user_memory2 ? -ENOTTY : model_set_slot(model, &plain);
}

/* Requests whose argument points to something. */
static int vm_ioctl_with(KVMModel *model, unsigned long request, void *arg)
{
    switch (request) {
    case KVM_SET_USER_MEMORY_REGION:
        return arg ? model_set_slot(model, arg) : -EFAULT;
    case KVM_SET_USER_MEMORY_REGION2:
        return arg ? set_slot2(model, arg) : -EFAULT;
    case KVM_GET_DIRTY_LOG:
        return arg ? model_get_dirty_log(model, arg) : -EFAULT;
    case KVM_CLEAR_DIRTY_LOG:
        return model->config.no_manual_dirty_log ? -ENOTTY
               : arg                             ? model_clear_dirty_log(model, arg)
                                                 : -EFAULT;
    case KVM_ENABLE_CAP:
        return arg ? enable_cap(model, arg) : -EFAULT;
    case KVM_IOEVENTFD:
        return arg ? model_ioeventfd(model, arg) : -EFAULT;
    case KVM_REGISTER_COALESCED_MMIO:
    case KVM_UNREGISTER_COALESCED_MMIO:
        return arg ? model_coalesced(model, arg, request == KVM_REGISTER_COALESCED_MMIO) : -EFAULT;
    default:
        return -ENOTTY;
    }
}

static int vm_ioctl(KVMModel *model, unsigned long request, void *arg)
{
    switch (request) {
    case KVM_CHECK_EXTENSION:
        return check_extension(model, (uintptr_t)arg);
    case KVM_CREATE_VCPU:
        return create_vcpu(model, (uintptr_t)arg);
    default:
        return vm_ioctl_with(model, request, arg);
    }
}

static int system_ioctl(KVMModel *model, unsigned long request, void *arg)
{
    switch (request) {
    case KVM_GET_API_VERSION:
        return arg ? -EINVAL : KVM_API_VERSION;
    case KVM_GET_VCPU_MMAP_SIZE:
        return arg ? -EINVAL : (int)(VCPU_PAGES * sysconf(_SC_PAGESIZE));
    case KVM_CREATE_VM:
        return begin_vm(model, (uintptr_t)arg);
    case KVM_CHECK_EXTENSION:
        return check_extension(model, (uintptr_t)arg);
    default:
        return -EINVAL;
    }
}

static int model_ioctl(void *opaque, int fd, unsigned long request, void *arg)
{
    KVMModel *model = opaque;

    pthread_mutex_lock(&model->lock);
    int result = fd == model->kvm_fd             ? system_ioctl(model, request, arg)
                 : fd >= 0 && fd == model->vm_fd ? vm_ioctl(model, request, arg)
                                                 : -ENOTTY;
    pthread_mutex_unlock(&model->lock);
    return result;
}

KVMKernel kvm_model_kernel(KVMModel *model)
{
    return (KVMKernel){.ioctl = model_ioctl, .opaque = model};
}

/* ---- looking ------------------------------------------------------------------------ */

/* NULL: the model does not have it, or has no VM. */
static ModelSpace *begun_space(KVMModel *model, unsigned as_id)
{
    return as_id < MODEL_SPACES && model->spaces[as_id].stage2.root ? &model->spaces[as_id] : NULL;
}

bool kvm_model_find_slot(KVMModel *model, unsigned as_id, hwaddr gpa, KVMMemorySlot *slot)
{
    pthread_mutex_lock(&model->lock);
    ModelSpace *space = begun_space(model, as_id);
    ModelSlot *found = space ? model_slot_at(space, gpa / KVM_MODEL_PAGE_SIZE) : NULL;
    if (found) {
        *slot = found->info;
    }
    pthread_mutex_unlock(&model->lock);
    return found;
}

typedef struct SlotVisit {
    bool (*visit)(const KVMMemorySlot *slot, void *opaque);
    void *opaque;
} SlotVisit;

static bool visit_slot(IntervalNode *node, void *opaque)
{
    const SlotVisit *visit = opaque;

    return visit->visit(&container_of(node, ModelSlot, node)->info, visit->opaque);
}

bool kvm_model_for_each_slot(KVMModel *model,
                             bool (*visit)(const KVMMemorySlot *slot, void *opaque), void *opaque)
{
    SlotVisit context = {visit, opaque};
    bool stopped = false;

    pthread_mutex_lock(&model->lock);
    for (unsigned i = 0; i < MODEL_SPACES && !stopped; i++) {
        stopped =
            interval_for_each_overlap(model->spaces[i].by_gfn, 0, UINT64_MAX, visit_slot, &context);
    }
    pthread_mutex_unlock(&model->lock);
    return stopped;
}

static int fault(ModelSpace *space, unsigned as_id, hwaddr gpa, bool is_write)
{
    uint64_t gfn = gpa / KVM_MODEL_PAGE_SIZE;

    if (!space) {
        return fail(EINVAL, "KVM model: there is no address space %u", as_id);
    }
    if (gfn > stage2_last_gfn(&space->stage2)) {
        return fail(EINVAL, "KVM model: GPA 0x%" PRIx64 " is above what %u levels translate", gpa,
                    space->stage2.root->role.level);
    }
    ModelSlot *slot = model_slot_at(space, gfn);
    if (!slot || (is_write && slot->info.flags & KVM_MEM_READONLY)) {
        return KVM_FAULT_MMIO;
    }
    int result = stage2_fault(&space->stage2, &slot->info, gfn, is_write);
    if (result == KVM_FAULT_FIXED && is_write) {
        model_mark_dirty(slot, gfn);
    }
    return result;
}

int kvm_model_fault(KVMModel *model, unsigned as_id, hwaddr gpa, bool is_write)
{
    pthread_mutex_lock(&model->lock);
    int result = fault(begun_space(model, as_id), as_id, gpa, is_write);
    pthread_mutex_unlock(&model->lock);
    return result;
}

static bool walk(const Stage2 *table, uint64_t gfn,
                 bool (*visit)(const KVMModelEntry *entry, void *opaque), void *opaque)
{
    for (const KVMMMUPage *page = table->root; page;) {
        KVMModelEntry entry = stage2_entry(page, stage2_index(page, gfn));
        if (visit(&entry, opaque)) {
            return true;
        }
        page = entry.table;
    }
    return false;
}

bool kvm_model_walk(KVMModel *model, unsigned as_id, hwaddr gpa,
                    bool (*visit)(const KVMModelEntry *entry, void *opaque), void *opaque)
{
    uint64_t gfn = gpa / KVM_MODEL_PAGE_SIZE;

    pthread_mutex_lock(&model->lock);
    ModelSpace *space = begun_space(model, as_id);
    bool stopped =
        space && gfn <= stage2_last_gfn(&space->stage2) && walk(&space->stage2, gfn, visit, opaque);
    pthread_mutex_unlock(&model->lock);
    return stopped;
}

bool kvm_model_for_each_entry(KVMModel *model, unsigned as_id,
                              bool (*visit)(const KVMModelEntry *entry, void *opaque), void *opaque)
{
    pthread_mutex_lock(&model->lock);
    ModelSpace *space = begun_space(model, as_id);
    bool stopped = space && stage2_for_each(space->stage2.root, visit, opaque);
    pthread_mutex_unlock(&model->lock);
    return stopped;
}
