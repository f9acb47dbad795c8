/* SPDX-License-Identifier: MIT */
/* membus.h - all of membus. See README.md; each header is the manual of its part. */
#ifndef MEMBUS_MEMBUS_H
#define MEMBUS_MEMBUS_H

#include <membus/access.h>
#include <membus/dirty.h>
#include <membus/dump.h>
#include <membus/error.h>
#include <membus/hostmem.h>
#include <membus/import.h>
#include <membus/inspect.h>
#include <membus/kvm.h>
#include <membus/kvm_model.h>
#include <membus/listener.h>
#include <membus/memory_device.h>
#include <membus/ram.h>
#include <membus/ram_discard.h>
#include <membus/region.h>
#include <membus/share.h>
#include <membus/snapshot.h>
#include <membus/space.h>
#include <membus/system.h>
#include <membus/trace.h>
#include <membus/types.h>

#endif
