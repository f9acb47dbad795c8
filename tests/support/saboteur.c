/* SPDX-License-Identifier: MIT */
#include "saboteur.h"
#include "shown.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

static _Thread_local struct {
    unsigned long countdown; /* 0: not armed; 1: the next one fails */
    bool for_good;           /* all after it fail as well */
    unsigned long failed;
} sabotage;

void saboteur_arm(unsigned long k, bool for_good)
{
    sabotage.countdown = k;
    sabotage.for_good = for_good;
    sabotage.failed = 0;
}

unsigned long saboteur_disarm(void)
{
    sabotage.countdown = 0;
    return sabotage.failed;
}

unsigned long saboteur_pause(void)
{
    unsigned long paused = sabotage.countdown;

    sabotage.countdown = 0;
    return paused;
}

void saboteur_resume(unsigned long paused)
{
    sabotage.countdown = paused;
}

static bool refuse(void)
{
    if (!sabotage.countdown || shown_is_allocating) {
        return false;
    }
    if (sabotage.countdown > 1) {
        sabotage.countdown--;
        return false;
    }
    if (!sabotage.for_good) {
        sabotage.countdown = 0;
    }
    sabotage.failed++;
    errno = ENOMEM;
    return true;
}

/* The linker wants these names. NOLINTBEGIN(bugprone-reserved-identifier) */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__real_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t size)
{
    return refuse() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return refuse() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return refuse() ? NULL : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return refuse() ? NULL : __real_aligned_alloc(alignment, size);
}

void *__wrap_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    return refuse() ? MAP_FAILED : __real_mmap(addr, length, prot, flags, fd, offset);
}
/* NOLINTEND(bugprone-reserved-identifier) */
