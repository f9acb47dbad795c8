/* SPDX-License-Identifier: MIT */
/* history.h - who answers at an address at a moment of a trace, and who did before and after. */
#ifndef TOOLS_HISTORY_H
#define TOOLS_HISTORY_H

#include "shown.h"

/* Returns an exit status. */
int find_in_trace(const Options *options, const TraceSource *source, hwaddr addr);

/* "+SECONDS", and " at 0xWHERE" if the record has it. */
void print_moment(const MapTraceRecord *record);
/* Add "time" and "where" to @object. */
void describe_moment(json_t *object, const MapTraceRecord *record);

#endif
