/* SPDX-License-Identifier: MIT */
/* In the place of vmm/, where the command is built without it (meson -Dvmm=disabled). */
#include "tool.h"
#include "vmm/vmm.h"

int vmm_run(const VmmOptions *options)
{
    (void)options;
    complain(
        "boot: this membus was built without the machine, which needs libx86emu, libedit and iasl "
        "(meson -Dvmm=enabled)");
    return VMM_TROUBLE;
}
