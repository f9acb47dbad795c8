/* SPDX-License-Identifier: MIT */
/* From a line, or a JSON request, to a command that is carried out, and its answer. */
#include "monitor.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Numbers ------------------------------------------------------------------------ */

static const struct {
    const char *name;
    size_t offset;
} registers[] = {
    {"rip", offsetof(CpuState, rip)},       {"eip", offsetof(CpuState, rip)},
    {"pc", offsetof(CpuState, rip)},        {"rsp", offsetof(CpuState, rsp)},
    {"esp", offsetof(CpuState, rsp)},       {"sp", offsetof(CpuState, rsp)},
    {"rax", offsetof(CpuState, rax)},       {"rbx", offsetof(CpuState, rbx)},
    {"rcx", offsetof(CpuState, rcx)},       {"rdx", offsetof(CpuState, rdx)},
    {"rsi", offsetof(CpuState, rsi)},       {"rdi", offsetof(CpuState, rdi)},
    {"rbp", offsetof(CpuState, rbp)},       {"eax", offsetof(CpuState, rax)},
    {"ebx", offsetof(CpuState, rbx)},       {"ecx", offsetof(CpuState, rcx)},
    {"edx", offsetof(CpuState, rdx)},       {"esi", offsetof(CpuState, rsi)},
    {"edi", offsetof(CpuState, rdi)},       {"ebp", offsetof(CpuState, rbp)},
    {"r8", offsetof(CpuState, r8)},         {"r9", offsetof(CpuState, r9)},
    {"r10", offsetof(CpuState, r10)},       {"r11", offsetof(CpuState, r11)},
    {"r12", offsetof(CpuState, r12)},       {"r13", offsetof(CpuState, r13)},
    {"r14", offsetof(CpuState, r14)},       {"r15", offsetof(CpuState, r15)},
    {"cr0", offsetof(CpuState, cr0)},       {"cr2", offsetof(CpuState, cr2)},
    {"cr3", offsetof(CpuState, cr3)},       {"cr4", offsetof(CpuState, cr4)},
    {"cs", offsetof(CpuState, cs.base)},    {"ds", offsetof(CpuState, ds.base)},
    {"es", offsetof(CpuState, es.base)},    {"fs", offsetof(CpuState, fs.base)},
    {"gs", offsetof(CpuState, gs.base)},    {"ss", offsetof(CpuState, ss.base)},
    {"eflags", offsetof(CpuState, rflags)},
};

static int read_register(MonitorSession *session, const char *name, size_t length, uint64_t *value,
                         Error **errp)
{
    CpuState state;

    for (size_t i = 0; i < sizeof registers / sizeof *registers; i++) {
        if (strlen(registers[i].name) == length && memcmp(registers[i].name, name, length) == 0) {
            int result = monitor_cpu_state(session, &state, errp);
            memcpy(value, (const char *)&state + registers[i].offset, sizeof *value);
            return result;
        }
    }
    return error_set(errp, EINVAL, "unknown register: $%.*s", (int)length, name);
}

static int read_term(MonitorSession *session, const char **at, uint64_t *value, Error **errp)
{
    char *end;

    if (**at == '$') {
        const char *name = ++*at;
        while (isalnum((unsigned char)**at)) {
            (*at)++;
        }
        return read_register(session, name, (size_t)(*at - name), value, errp);
    }
    errno = 0;
    *value = strtoull(*at, &end, 0);
    if (!isdigit((unsigned char)**at) || errno == ERANGE) {
        return error_set(errp, EINVAL, **at ? "not a number: %s" : "unexpected end of expression%s",
                         *at);
    }
    *at = end;
    return 0;
}

int monitor_evaluate(MonitorSession *session, const char *text, uint64_t *value, Error **errp)
{
    char sign = '+';

    *value = 0;
    for (;;) {
        uint64_t term;
        int result = read_term(session, &text, &term, errp);
        if (result < 0) {
            return result;
        }
        *value = sign == '+' ? *value + term : *value - term;
        if (!*text) {
            return 0;
        }
        sign = *text++;
        if (sign != '+' && sign != '-') {
            return error_set(errp, EINVAL, "invalid char '%c' in expression", sign);
        }
    }
}

/* ---- Words of a line ------------------------------------------------------------------- */

/* The next word, NULL at the end; quotes may hold blanks. Writes into the line. */
static char *next_word(char **at)
{
    *at += strspn(*at, " \t");
    char *word = *at;
    if (!*word) {
        return NULL;
    }
    if (*word == '"') {
        word++;
        *at = word + strcspn(word, "\"");
    } else {
        *at += strcspn(*at, " \t");
    }
    if (**at) {
        *(*at)++ = '\0';
    }
    return word;
}

static int set_flags(MonitorCall *call, const MonitorCommand *command, const char *letters)
{
    for (; *letters; letters++) {
        unsigned i = 0;
        while (i < MONITOR_MAX_PARAMS &&
               (command->params[i].kind != MONITOR_FLAG || command->params[i].letter != *letters)) {
            i++;
        }
        if (i == MONITOR_MAX_PARAMS) {
            return error_set(&call->err, EINVAL, "%s: unsupported option -%c", command->name,
                             *letters);
        }
        call->args[i].given = true;
    }
    return 0;
}

static int read_words(MonitorCall *call, const MonitorCommand *command, char *at)
{
    for (unsigned i = 0; i < MONITOR_MAX_PARAMS; i++) {
        const MonitorParam *param = &command->params[i];
        MonitorArg *arg = &call->args[i];
        at += strspn(at, " \t");
        while (param->kind != MONITOR_NUMBER && *at == '-' && at[1]) {
            int result = set_flags(call, command, next_word(&at) + 1);
            if (result < 0) {
                return result;
            }
            at += strspn(at, " \t");
        }
        if (param->kind == MONITOR_NO_PARAM || param->kind == MONITOR_FLAG ||
            (param->kind == MONITOR_FORMAT && *at != '/')) {
            continue;
        }
        arg->text = next_word(&at);
        arg->given = arg->text != NULL;
        if (!arg->given && !param->optional) {
            return error_set(&call->err, EINVAL, "%s: %s is missing", command->name, param->name);
        }
        if (arg->given && param->kind == MONITOR_NUMBER) {
            int result = monitor_evaluate(call->session, arg->text, &arg->number, &call->err);
            if (result < 0) {
                return result;
            }
        }
    }
    at += strspn(at, " \t");
    return *at ? error_set(&call->err, EINVAL, "%s: extraneous characters at the end of line",
                           command->name)
               : 0;
}

static int execute_line(MonitorCall *call, char *line)
{
    const char *rest;

    line[strcspn(line, "\r\n")] = '\0';
    line += strspn(line, " \t");
    if (!*line || *line == '#') {
        return 0;
    }
    const MonitorCommand *command = monitor_find_command(line, &rest);
    if (!command) {
        return error_set(&call->err, ENOSYS, "unknown command: '%s'", line);
    }
    int result = read_words(call, command, line + (rest - line));
    if (result < 0 && command->usage) {
        fprintf(call->out, "usage: %s %s\n", command->name, command->usage);
    }
    return result < 0 ? result : command->run(call);
}

/* Others may be waiting for a lock while a slow reader takes the text: it is collected first. */
void monitor_execute_text(MonitorSession *session, char *line, FILE *out)
{
    char *text = NULL;
    size_t length = 0;
    MonitorCall call = {.session = session, .machine = session->machine};

    call.out = open_memstream(&text, &length);
    if (!call.out) {
        fputs("Error: memory is short\n", out);
        return;
    }
    if (execute_line(&call, line) < 0) {
        fprintf(call.out, "Error: %s\n", call.err ? error_get_pretty(call.err) : "memory is short");
    }
    error_free(call.err);
    json_decref(call.result);
    fclose(call.out);
    if (text) {
        fwrite(text, 1, length, out);
    }
    free(text);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static int read_member(MonitorCall *call, const MonitorParam *param, MonitorArg *arg,
                       const json_t *value)
{
    if (param->kind == MONITOR_FLAG && json_is_boolean(value)) {
        arg->given = json_is_true(value);
        return 0;
    }
    arg->given = true;
    if (param->kind == MONITOR_NUMBER && json_is_integer(value)) {
        arg->number = (uint64_t)json_integer_value(value);
        return 0;
    }
    arg->text = json_string_value(value);
    if (param->kind == MONITOR_FLAG || !arg->text) {
        return error_set(&call->err, EINVAL, "%s is not what it has to be: %s", param->name,
                         param->kind == MONITOR_FLAG     ? "true or false"
                         : param->kind == MONITOR_NUMBER ? "an integer or a string"
                                                         : "a string");
    }
    return param->kind == MONITOR_NUMBER
               ? monitor_evaluate(call->session, arg->text, &arg->number, &call->err)
               : 0;
}

static int read_members(MonitorCall *call, const MonitorCommand *command, json_t *members)
{
    const char *name;
    json_t *value;

    json_object_foreach(members, name, value)
    {
        unsigned i = 0;
        while (i < MONITOR_MAX_PARAMS && command->params[i].kind &&
               strcmp(command->params[i].name, name) != 0) {
            i++;
        }
        if (i == MONITOR_MAX_PARAMS || !command->params[i].kind) {
            return error_set(&call->err, EINVAL, "%s has no argument %s", command->name, name);
        }
        int result = read_member(call, &command->params[i], &call->args[i], value);
        if (result < 0) {
            return result;
        }
    }
    for (unsigned i = 0; i < MONITOR_MAX_PARAMS && command->params[i].kind; i++) {
        if (!call->args[i].given && !command->params[i].optional) {
            return error_set(&call->err, EINVAL, "%s: %s is missing", command->name,
                             command->params[i].name);
        }
    }
    return 0;
}

static int execute_request(MonitorCall *call, json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "execute")), *rest;
    const char *line = json_string_value(json_object_get(request, "command-line"));
    json_t *arguments = json_object_get(request, "arguments");

    if (!name == !line) {
        return error_set(&call->err, EINVAL,
                         "a request is an object with \"execute\" or \"command-line\"");
    }
    if (line) {
        char *copy = strdup(line);
        int result = copy ? execute_line(call, copy) : error_set(&call->err, ENOMEM, "no memory");
        free(copy);
        json_decref(call->result);
        call->result = NULL;
        return result;
    }
    const MonitorCommand *command = monitor_find_command(name, &rest);
    if (!command || *rest) {
        return error_set(&call->err, ENOSYS, "unknown command: '%s'", name);
    }
    if (arguments && !json_is_object(arguments)) {
        return error_set(&call->err, EINVAL, "\"arguments\" is not an object");
    }
    call->json = true;
    int result = read_members(call, command, arguments);
    return result < 0 ? result : command->run(call);
}

static json_t *reply_error(int result, const char *sentence)
{
    return json_pack("{s:{s:s, s:o}}", "error", "class",
                     result == -ENOSYS ? "CommandNotFound" : "GenericError", "desc",
                     monitor_json_text(sentence));
}

json_t *monitor_execute_json(MonitorSession *session, const char *line, size_t length)
{
    MonitorCall call = {.session = session, .machine = session->machine};
    json_error_t where;
    json_t *request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &where), *reply;
    char *text = NULL;
    size_t size = 0;

    if (!request) {
        char sentence[JSON_ERROR_TEXT_LENGTH + 32];
        snprintf(sentence, sizeof sentence, "byte %d: %s", where.position, where.text);
        return reply_error(-EINVAL, sentence);
    }
    call.out = open_memstream(&text, &size);
    int result = call.out ? execute_request(&call, request) : -ENOMEM;
    if (call.out) {
        fclose(call.out);
    }
    if (result < 0) {
        reply = reply_error(result, call.err ? error_get_pretty(call.err) : "memory is short");
    } else {
        reply = json_pack("{s:o}", "return",
                          call.result ? json_incref(call.result) : monitor_json_text(text));
    }
    json_t *id = json_object_get(request, "id");
    if (reply && id) {
        json_object_set(reply, "id", id);
    }
    json_decref(call.result);
    json_decref(request);
    error_free(call.err);
    free(text);
    return reply;
}

json_t *monitor_json_address(uint64_t addr)
{
    char text[24];

    snprintf(text, sizeof text, "0x%016llx", (unsigned long long)addr);
    return json_string(text);
}

/* Bytes that are no UTF-8 become question marks. */
json_t *monitor_json_text(const char *text)
{
    json_t *string = json_string(text);

    if (string) {
        return string;
    }
    char *copy = strdup(text);
    for (char *at = copy; at && *at; at++) {
        *at = (unsigned char)*at < 0x80 ? *at : '?';
    }
    string = copy ? json_string(copy) : NULL;
    free(copy);
    return string;
}

int monitor_set_result(MonitorCall *call, json_t *result)
{
    call->result = result;
    return result ? 0 : error_set(&call->err, ENOMEM, "memory is short");
}
