/* SPDX-License-Identifier: MIT */
/*
 * options.h - options as text, KIND,KEY=VALUE,KEY=VALUE: what may stand there is in a table. A
 * comma in a value is doubled.
 */
#ifndef RAM_OPTIONS_H
#define RAM_OPTIONS_H

#include <membus/types.h>

typedef enum OptionType {
    OPTION_TEXT,   /* const char *, into the text; not empty */
    OPTION_SIZE,   /* hwaddr */
    OPTION_SWITCH, /* bool */
    OPTION_NUMBER, /* int or unsigned, from min to max */
    OPTION_WORD,   /* an enum: the index in words */
    OPTION_NODES,  /* a set of HOST_MEMORY_MAX_NODES bits; may come several times */
} OptionType;

typedef struct OptionKey {
    const char *name;
    OptionType type;
    size_t field, length; /* where the value goes, in what is filled */
    unsigned kinds;       /* that have the key: a set of bits */
    int min, max;
    const char *const *words; /* up to NULL */
    size_t said;              /* a bool to be set if the key is there; 0: none */
} OptionKey;

typedef struct OptionKind {
    const char *name;
    unsigned kind; /* several names may be of one */
} OptionKind;

typedef struct OptionSet {
    const char *what;   /* they are of, for sentences */
    const char *prefix; /* that may stand before a kind */
    const OptionKind *kinds;
    size_t nr_kinds;
    const char *kinds_shown;
    const OptionKey *keys;
    size_t nr_keys; /* at most 32 */
} OptionSet;

/*
 * Fill @out from @text, which is cut into pieces that it then points to; *@kind is set first.
 * Returns 0, or -EINVAL with a sentence that names the key and the value.
 */
int options_parse(const OptionSet *set, char *text, unsigned *kind, void *out);

/* What users wrote, as far as a sentence has room and a terminal can show it. */
typedef struct ShownOption {
    char text[72];
} ShownOption;

ShownOption option_show(const char *text);

#endif
