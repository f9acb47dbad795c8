/* SPDX-License-Identifier: MIT */
/* kind.h - which kind of KVM this is. */
#ifndef TESTS_KVM_KIND_H
#define TESTS_KVM_KIND_H

/* NULL if virtual machines can be run here, else why not. */
const char *kind_unusable(void);
/* The kernel, who runs its guests, and what it can, as TAP comments. */
void kind_print(void);

#endif
