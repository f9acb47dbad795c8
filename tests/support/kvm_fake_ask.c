/* SPDX-License-Identifier: MIT */
/* kvm_fake_ask.c - what tests ask the fake kernel, and tell it beforehand. */
#include "kvm_fake_state.h"

static bool is_slot_call(unsigned long request)
{
    return request == KVM_SET_USER_MEMORY_REGION || request == KVM_SET_USER_MEMORY_REGION2;
}

unsigned long kvm_fake_calls(KvmFake *fake, unsigned long request)
{
    unsigned long calls = 0;

    pthread_mutex_lock(&fake->lock);
    for (unsigned long i = 0; i < fake->calls; i++) {
        calls += !request || fake->call[i].request == request;
    }
    pthread_mutex_unlock(&fake->lock);
    return calls;
}

unsigned long kvm_fake_slot_calls(KvmFake *fake)
{
    unsigned long calls = 0;

    pthread_mutex_lock(&fake->lock);
    for (unsigned long i = 0; i < fake->calls; i++) {
        calls += is_slot_call(fake->call[i].request);
    }
    pthread_mutex_unlock(&fake->lock);
    return calls;
}

bool kvm_fake_call(KvmFake *fake, unsigned long n, KvmFakeCall *call)
{
    pthread_mutex_lock(&fake->lock);
    bool found = n < fake->calls;
    if (found) {
        *call = fake->call[n];
    }
    pthread_mutex_unlock(&fake->lock);
    return found;
}

void kvm_fake_forget_calls(KvmFake *fake)
{
    pthread_mutex_lock(&fake->lock);
    fake->calls = 0;
    pthread_mutex_unlock(&fake->lock);
}

void kvm_fake_fail(KvmFake *fake, unsigned long request, unsigned long k, int err, bool for_good)
{
    pthread_mutex_lock(&fake->lock);
    fake->sabotage.request = is_slot_call(request) ? KVM_SET_USER_MEMORY_REGION : request;
    fake->sabotage.countdown = k;
    fake->sabotage.failed = 0;
    fake->sabotage.err = err;
    fake->sabotage.for_good = for_good;
    pthread_mutex_unlock(&fake->lock);
}

unsigned long kvm_fake_heal(KvmFake *fake)
{
    pthread_mutex_lock(&fake->lock);
    unsigned long failed = fake->sabotage.failed;
    fake->sabotage.countdown = fake->sabotage.failed = 0;
    pthread_mutex_unlock(&fake->lock);
    return failed;
}

/* A copy of @from, if there is one, without what is the fake's own. */
static bool give(const KvmFakeSlot *from, KvmFakeSlot *slot)
{
    if (from) {
        *slot = *from;
        slot->dirty = slot->writable = NULL;
    }
    return from;
}

bool kvm_fake_slot(KvmFake *fake, unsigned as_id, unsigned id, KvmFakeSlot *slot)
{
    pthread_mutex_lock(&fake->lock);
    bool found = give(fake_slot(fake, as_id, id), slot);
    pthread_mutex_unlock(&fake->lock);
    return found;
}

bool kvm_fake_find(KvmFake *fake, unsigned as_id, uint64_t gpa, KvmFakeSlot *slot)
{
    pthread_mutex_lock(&fake->lock);
    bool found = give(fake_slot_at(fake, as_id, gpa), slot);
    pthread_mutex_unlock(&fake->lock);
    return found;
}

unsigned kvm_fake_slots(KvmFake *fake, unsigned as_id)
{
    unsigned slots = 0;

    pthread_mutex_lock(&fake->lock);
    for (unsigned id = 0; id < fake->caps.nr_memslots; id++) {
        slots += fake_slot(fake, as_id, id) != NULL;
    }
    pthread_mutex_unlock(&fake->lock);
    return slots;
}

unsigned kvm_fake_copy_slots(KvmFake *fake, unsigned as_id, KvmFakeSlot *slot, unsigned room)
{
    unsigned slots = 0;

    pthread_mutex_lock(&fake->lock);
    for (unsigned id = 0; id < fake->caps.nr_memslots && slots < room; id++) {
        slots += give(fake_slot(fake, as_id, id), &slot[slots]);
    }
    pthread_mutex_unlock(&fake->lock);
    return slots;
}

unsigned kvm_fake_ioeventfds(KvmFake *fake)
{
    pthread_mutex_lock(&fake->lock);
    unsigned ioeventfds = fake->ioeventfds;
    pthread_mutex_unlock(&fake->lock);
    return ioeventfds;
}

unsigned kvm_fake_zones(KvmFake *fake)
{
    pthread_mutex_lock(&fake->lock);
    unsigned zones = fake->zones;
    pthread_mutex_unlock(&fake->lock);
    return zones;
}

bool kvm_fake_is_private(KvmFake *fake, uint64_t gpa)
{
    pthread_mutex_lock(&fake->lock);
    bool private = fake_is_private(fake, gpa);
    pthread_mutex_unlock(&fake->lock);
    return private;
}

void kvm_fake_on_slot_change(KvmFake *fake, KvmFakeSlotHook *hook, void *opaque)
{
    pthread_mutex_lock(&fake->lock);
    fake->slot_hook = hook;
    fake->slot_opaque = opaque;
    pthread_mutex_unlock(&fake->lock);
}

void kvm_fake_on_run(KvmFake *fake, KvmFakeRun *run, void *opaque)
{
    pthread_mutex_lock(&fake->lock);
    fake->run_hook = run;
    fake->run_opaque = opaque;
    pthread_mutex_unlock(&fake->lock);
}

unsigned kvm_fake_vcpus_inside(KvmFake *fake)
{
    return __atomic_load_n(&fake->inside, __ATOMIC_SEQ_CST);
}
