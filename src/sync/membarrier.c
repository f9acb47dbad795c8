/* SPDX-License-Identifier: MIT */
#include "sync/membarrier.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

bool sync_has_membarrier;

static bool membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) == 0;
}

__attribute__((constructor)) static void register_with_kernel(void)
{
    sync_has_membarrier = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

void sync_fence_heavy(void)
{
    if (sync_has_membarrier && !membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) {
        register_with_kernel(); /* in case a child of fork(2) must do so itself */
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
