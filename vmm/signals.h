/* SPDX-License-Identifier: MIT */
/*
 * signals.h - what belongs to the process and not to a machine: its terminal's mode and its
 * signals. One machine of a process has them; others run without.
 */
#ifndef VMM_SIGNALS_H
#define VMM_SIGNALS_H

#include "machine.h"

/*
 * From now on SIGINT, SIGTERM, SIGHUP and SIGQUIT have @m end with VMM_SIGNAL + the number; a
 * second one ends the process at once. Whatever ends or stops the process, the terminal
 * gets its mode back. Returns 0 or a negative errno. Context of both: no machine lock held.
 */
int signals_begin(Machine *m, Error **errp);
void signals_end(Machine *m);

/*
 * Raw mode for the terminal @fd, in which lines still end in CR LF; and back again. Context:
 * machine lock.
 */
void tty_set_raw(int fd);
void tty_restore(void);

#endif
