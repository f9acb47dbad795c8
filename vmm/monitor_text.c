/* SPDX-License-Identifier: MIT */
/* The monitor's sessions: lines of text, edited on a terminal, and lines of JSON. */
#include "monitor.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define PROMPT "(membus) "
#define MAX_LINE 65536U
#define MAX_HISTORY 200

/* ---- Plain lines --------------------------------------------------------------------- */

/* How reading a line went. */
typedef enum LineRead { LINE_END, LINE_READ, LINE_TOO_LONG } LineRead;

/* A line without its end; of one that is too long the rest is read, too, and forgotten. */
static LineRead read_line(FILE *in, char *line, size_t *length)
{
    bool too_long = false;
    int c;

    *length = 0;
    while ((c = getc(in)) != EOF && c != '\n') {
        if (*length < MAX_LINE - 1) {
            line[(*length)++] = (char)c;
        } else {
            too_long = true;
        }
    }
    line[*length] = '\0';
    if (c == EOF && *length == 0) {
        return LINE_END;
    }
    return too_long ? LINE_TOO_LONG : LINE_READ;
}

/* Have the answer go out, before the machine ends if that was the command. */
static bool send(MonitorSession *session, FILE *out)
{
    bool sent = fflush(out) == 0;

    if (session->quit) {
        machine_request(session->machine, MACHINE_QUIT, VMM_DONE);
    }
    return sent;
}

static void serve_plain(MonitorSession *session, FILE *in, FILE *out)
{
    char *line = malloc(MAX_LINE);
    size_t length;
    LineRead got;

    while (line && fputs(PROMPT, out) >= 0 && fflush(out) == 0 &&
           (got = read_line(in, line, &length)) != LINE_END) {
        if (got == LINE_TOO_LONG) {
            fputs("Error: the line is too long\n", out);
        } else {
            monitor_execute_text(session, line, out);
        }
        send(session, out);
    }
    free(line);
}

void monitor_serve_json(MonitorSession *session, FILE *in, FILE *out)
{
    char *line = malloc(MAX_LINE);
    size_t length;
    LineRead got;

    while (line && (got = read_line(in, line, &length)) != LINE_END) {
        if (got == LINE_READ && line[strspn(line, " \t\r")] == '\0' && strlen(line) == length) {
            continue;
        }
        /* Of one that is too long: what is there of it, which is no whole object. */
        json_t *reply = monitor_execute_json(session, line, got == LINE_READ ? length : 0);
        if (!reply) {
            break;
        }
        int result = json_dumpf(reply, out, JSON_COMPACT | JSON_PRESERVE_ORDER);
        json_decref(reply);
        if (result < 0 || putc('\n', out) == EOF || !send(session, out)) {
            break;
        }
    }
    free(line);
}

/* ---- A terminal ------------------------------------------------------------------------- */

static char *prompt(EditLine *editor)
{
    (void)editor;
    return PROMPT;
}

/* Insert what all commands that begin so have in common; list them if that is nothing. */
static unsigned char complete(EditLine *editor, int key)
{
    const LineInfo *info = el_line(editor);
    size_t typed = (size_t)(info->cursor - info->buffer);
    const char *first = NULL;
    char rest[64];
    size_t common = 0, count = 0;
    FILE *out = NULL;

    (void)key;
    for (const MonitorCommand *command = monitor_commands; command->name; command++) {
        if (!command->usage || strncmp(command->name, info->buffer, typed) != 0) {
            continue;
        }
        if (count++ == 0) {
            first = command->name;
            common = strlen(first);
        }
        while (strncmp(command->name, first, common) != 0) {
            common--;
        }
    }
    if (count == 0) {
        return CC_REFRESH_BEEP;
    }
    bool only = count == 1 && common == strlen(first);
    if (common > typed || only) {
        snprintf(rest, sizeof rest, "%.*s%s", (int)(common - typed), first + typed,
                 only ? " " : "");
        return el_insertstr(editor, rest) < 0 ? CC_REFRESH_BEEP : CC_REFRESH;
    }
    el_get(editor, EL_GETFP, 1, &out);
    if (out) {
        fputc('\n', out);
        for (const MonitorCommand *command = monitor_commands; command->name; command++) {
            if (command->usage && strncmp(command->name, info->buffer, typed) == 0) {
                fprintf(out, "%s\n", command->name);
            }
        }
    }
    return CC_REDISPLAY;
}

static bool hung_up(FILE *in)
{
    struct pollfd fd = {.fd = fileno(in)};

    return poll(&fd, 1, 0) != 0;
}

static void serve_edited(MonitorSession *session, FILE *in, FILE *out)
{
    EditLine *editor = el_init("membus", in, out, out);
    History *lines = history_init();
    HistEvent event;
    int length = 0;

    if (!editor || !lines) {
        fputs("Error: memory is short\n", out);
        goto end;
    }
    history(lines, &event, H_SETSIZE, MAX_HISTORY);
    history(lines, &event, H_SETUNIQUE, 1);
    el_set(editor, EL_PROMPT, prompt);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_HIST, history, lines);
    el_set(editor, EL_ADDFN, "complete", "complete a command", complete);
    el_set(editor, EL_BIND, "^I", "complete", NULL);
    el_set(editor, EL_BIND, "\036", "ed-redisplay", NULL); /* console.c types it after a switch */
    fputs("`help` lists the commands, Ctrl-a c goes back to the serial console.\n", out);
    while (fflush(out) == 0 && !hung_up(in)) {
        el_resize(editor);
        const char *line = el_gets(editor, &length);
        if (!line || length <= 0) {
            fputc('\n', out); /* Ctrl-d: the session stays */
            continue;
        }
        char *copy = strdup(line);
        if (copy && copy[strspn(copy, " \t\r\n")]) {
            history(lines, &event, H_ENTER, line);
        }
        if (copy) {
            monitor_execute_text(session, copy, out);
            send(session, out);
        }
        free(copy);
    }
end:
    if (editor) {
        el_end(editor);
    }
    if (lines) {
        history_end(lines);
    }
}

void monitor_serve_text(MonitorSession *session, FILE *in, FILE *out, bool edit)
{
    if (edit) {
        serve_edited(session, in, out);
    } else {
        serve_plain(session, in, out);
    }
}
