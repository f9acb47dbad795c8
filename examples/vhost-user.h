/* SPDX-License-Identifier: MIT */
/*
 * vhost-user.h - the front-end's half of vhost-user, as far as a disk with one ring needs it:
 * messages over a socket, file descriptors beside them. Whatever goes wrong ends the program.
 */
#ifndef EXAMPLES_VHOST_USER_H
#define EXAMPLES_VHOST_USER_H

#include <membus/share.h>

#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT_MS 5000 /* for an answer */

/* The thing must hold. */
#define NEED(truth, ...)                                                                           \
    do {                                                                                           \
        if (!(truth)) {                                                                            \
            fprintf(stderr, "vhost-user-blk: " __VA_ARGS__);                                       \
            fputc('\n', stderr);                                                                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    SET_VRING_ENABLE = 18,
    GET_CONFIG = 24,
};

extern int backend; /* the socket */

/* Agree on these features of the device; returns the disk's capacity in sectors. */
uint64_t negotiate(uint64_t device_features);

/* Tell where the guest's RAM is: what this example is about. */
void share_ram(const MemoryShareList *list);

/* This process's address of guest address @addr, by which rings are told. */
uint64_t user_address(const MemoryShareList *list, hwaddr addr);

/* Tell about ring 0, and ask. */
void tell_ring(uint32_t request, uint32_t value);
void tell_ring_fd(uint32_t request, int fd);
void tell_addresses(uint64_t desc, uint64_t avail, uint64_t used);
uint32_t ask_ring(uint32_t request);

#endif
