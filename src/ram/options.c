/* SPDX-License-Identifier: MIT */
#include "ram/options.h"

#include "base/error.h"
#include "ram/option_values.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

ShownOption option_show(const char *text)
{
    ShownOption shown;
    size_t used = 0;

    for (; *text && used < 56; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= ' ' && c <= '~') {
            shown.text[used++] = (char)c;
        } else {
            used += (size_t)snprintf(shown.text + used, 5, "\\x%02x", c);
        }
    }
    snprintf(shown.text + used, sizeof shown.text - used, "%s", *text ? "..." : "");
    return shown;
}

/* ---- Values -------------------------------------------------------------------- */

/* What is wrong with a value, to be put after it; "": nothing. */
typedef struct Wrong {
    char text[160];
} Wrong;

static Wrong wrong_if(const char *text)
{
    Wrong wrong;

    snprintf(wrong.text, sizeof wrong.text, "%s", text ? text : "");
    return wrong;
}

static Wrong set_number(const OptionKey *key, const char *text, int *number)
{
    Wrong wrong = {""};

    if (!option_number(text, key->min, key->max, number)) {
        snprintf(wrong.text, sizeof wrong.text, "is no number from %d to %d", key->min, key->max);
    }
    return wrong;
}

static Wrong set_word(const OptionKey *key, const char *text, unsigned *index)
{
    Wrong wrong = {"is none of "};
    size_t used = strlen(wrong.text);

    for (*index = 0; key->words[*index]; ++*index) {
        if (strcmp(key->words[*index], text) == 0) {
            return wrong_if(NULL);
        }
    }
    for (unsigned i = 0; i < *index && used < sizeof wrong.text; i++) {
        const char *glue = i == 0 ? "" : i + 1 == *index ? " and " : ", ";
        used += (size_t)snprintf(wrong.text + used, sizeof wrong.text - used, "%s%s", glue,
                                 key->words[i]);
    }
    return wrong;
}

static Wrong set_value(const OptionKey *key, char *text, void *field)
{
    switch (key->type) {
    case OPTION_TEXT:
        *(const char **)field = text;
        return wrong_if(*text ? NULL : "is empty");
    case OPTION_SIZE:
        return wrong_if(option_size(text, field));
    case OPTION_SWITCH:
        return wrong_if(option_switch(text, field));
    case OPTION_NODES:
        return wrong_if(option_nodes(text, field));
    case OPTION_NUMBER:
        return set_number(key, text, field);
    case OPTION_WORD:
        return set_word(key, text, field);
    }
    return wrong_if("cannot be read");
}

/* ---- The text ------------------------------------------------------------------ */

/*
 * Cut the item that *@rest begins with off the text, "," for a doubled comma; *@rest is NULL
 * after the last one.
 */
static char *cut_item(char **rest)
{
    char *item = *rest, *out = item, *in = item;

    for (; *in; in++) {
        if (*in == ',') {
            if (in[1] != ',') {
                break;
            }
            in++;
        }
        *out++ = *in;
    }
    *rest = *in ? in + 1 : NULL;
    *out = '\0';
    return item;
}

static const OptionKind *find_kind(const OptionSet *set, const char *item)
{
    size_t prefix = strlen(set->prefix);
    const char *name = strncmp(item, set->prefix, prefix) == 0 ? item + prefix : item;

    for (size_t i = 0; i < set->nr_kinds; i++) {
        if (strcmp(name, set->kinds[i].name) == 0) {
            return &set->kinds[i];
        }
    }
    fail(EINVAL, "'%s' is no kind of %s: options begin with %s", option_show(name).text, set->what,
         set->kinds_shown);
    return NULL;
}

static int unknown_key(const OptionSet *set, const OptionKind *kind, const char *name)
{
    char list[224] = "";
    size_t used = 0;

    for (size_t i = 0; i < set->nr_keys && used < sizeof list; i++) {
        if (set->keys[i].kinds & 1U << kind->kind) {
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "",
                                     set->keys[i].name);
        }
    }
    return fail(EINVAL, "%s: no key '%.30s': there are %s", kind->name, option_show(name).text,
                list);
}

static int parse_item(const OptionSet *set, const OptionKind *kind, char *item, void *out,
                      unsigned *seen)
{
    char *value = strchr(item, '=');
    unsigned i = 0;

    if (!*item) {
        return fail(EINVAL, "%s: there is nothing between two commas or after the last one",
                    kind->name);
    }
    if (!value) {
        return fail(EINVAL, "%s: '%s' has no value: write KEY=VALUE", kind->name,
                    option_show(item).text);
    }
    *value++ = '\0';
    while (i < set->nr_keys && strcmp(set->keys[i].name, item) != 0) {
        i++;
    }
    if (i == set->nr_keys) {
        return unknown_key(set, kind, item);
    }
    const OptionKey *key = &set->keys[i];
    if (!(key->kinds & 1U << kind->kind)) {
        return fail(EINVAL, "%s: %s=%s: this kind has no %s", kind->name, item,
                    option_show(value).text, item);
    }
    if (*seen & 1U << i && key->type != OPTION_NODES) {
        return fail(EINVAL, "%s: %s=%s: %s is given twice", kind->name, item,
                    option_show(value).text, item);
    }
    *seen |= 1U << i;
    Wrong wrong = set_value(key, value, (char *)out + key->field);
    if (*wrong.text) {
        return fail(EINVAL, "%s: %s=%s %s", kind->name, item, option_show(value).text, wrong.text);
    }
    if (key->said) {
        *(bool *)((char *)out + key->said) = true;
    }
    return 0;
}

int options_parse(const OptionSet *set, char *text, unsigned *kind, void *out)
{
    char *rest = text;
    const OptionKind *found = find_kind(set, cut_item(&rest));
    int result = found ? 0 : -EINVAL;
    unsigned seen = 0;

    if (found) {
        *kind = found->kind;
    }
    while (!result && rest) {
        result = parse_item(set, found, cut_item(&rest), out, &seen);
    }
    return result;
}
