/* SPDX-License-Identifier: MIT */
/*
 * fw_cfg.h - the firmware configuration device, as docs/specs/fw_cfg of QEMU describes it.
 */
#ifndef VMM_FW_CFG_H
#define VMM_FW_CFG_H

#include "machine.h"

#include <linux/qemu_fw_cfg.h> /* the keys */

/*
 * Give the item @key, or the file @name, the @size bytes at @data, which are copied. Files get keys
 * in the order of their names. -EEXIST, -EINVAL (a name that is too long, a key that is not the
 * caller's to give), -ENOMEM. Context: machine lock, before the guest runs.
 */
int fw_cfg_add_bytes(FwCfg *fw, uint16_t key, const void *data, size_t size);
int fw_cfg_add_file(FwCfg *fw, const char *name, const void *data, size_t size);
int fw_cfg_add_u16(FwCfg *fw, uint16_t key, uint16_t value);
int fw_cfg_add_u32(FwCfg *fw, uint16_t key, uint32_t value);
int fw_cfg_add_u64(FwCfg *fw, uint16_t key, uint64_t value);

#endif
