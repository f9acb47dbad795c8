/* SPDX-License-Identifier: MIT */
/*
 * chardev.h - where characters come from and go to: a terminal, a pseudo-terminal, a file, nowhere.
 */
#ifndef VMM_CHARDEV_H
#define VMM_CHARDEV_H

#include "machine.h"

/* How many bytes the user of a chardev can take now, and taking them. Context: machine lock. */
typedef struct ChardevUser {
    size_t (*can_receive)(void *opaque);
    void (*receive)(void *opaque, const uint8_t *bytes, size_t count);
    void *opaque;
} ChardevUser;

/* Open @what: stdio, pty, file:NAME, null. NULL on an error. Context of all: machine lock. */
Chardev *chardev_open(Machine *m, const char *what, Error **errp);
void chardev_close(Chardev *chr);
void chardev_set_user(Chardev *chr, const ChardevUser *user); /* copied */
/* The user can take more than before. */
void chardev_accept_input(Chardev *chr);
/* Never blocks for long: what a slow reader of a pipe does not take is kept, up to a limit. */
void chardev_write(Chardev *chr, const uint8_t *bytes, size_t count);

#endif
