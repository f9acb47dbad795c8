/* SPDX-License-Identifier: MIT */
/* The monitor's commands: which there are, and what they take. */
#include "monitor.h"

#include <string.h>

static int help(MonitorCall *call);

#define FLAG(l, n)                                                                                 \
    {                                                                                              \
        n, MONITOR_FLAG, l, true                                                                   \
    }
#define NUMBER(n)                                                                                  \
    {                                                                                              \
        n, MONITOR_NUMBER, 0, false                                                                \
    }
#define WORD(n)                                                                                    \
    {                                                                                              \
        n, MONITOR_WORD, 0, false                                                                  \
    }
#define OPTIONAL(n, k)                                                                             \
    {                                                                                              \
        n, k, 0, true                                                                              \
    }

const MonitorCommand monitor_commands[] = {
    {"cont", "", "let the guest go on", {{0}}, monitor_cont},
    {"c", NULL, NULL, {{0}}, monitor_cont},
    {"cpu",
     "index",
     "choose the CPU that x, gva2gpa and registers are of",
     {NUMBER("index")},
     monitor_cpu},
    {"device_add",
     "pc-dimm,id=ID,memdev=ID[,addr=...]",
     "plug a memory device",
     {WORD("options")},
     monitor_device_add},
    {"device_del",
     "[-f] id",
     "ask the guest to let a memory device go; -f: take it out",
     {FLAG('f', "force"), WORD("id")},
     monitor_device_del},
    {"dirty",
     "on|off|take",
     "log the pages that are written; take: forget them",
     {WORD("what")},
     monitor_dirty},
    {"find",
     "addr [space]",
     "who answers at an address, and why",
     {NUMBER("address"), OPTIONAL("space", MONITOR_WORD)},
     monitor_find},
    {"gpa2hpa",
     "addr",
     "the host's physical address of the guest's",
     {NUMBER("address")},
     monitor_gpa2hpa},
    {"gpa2hva",
     "addr",
     "the host's virtual address of the guest's",
     {NUMBER("address")},
     monitor_gpa2hva},
    {"gva2gpa", "addr", "walk the guest's page tables", {NUMBER("address")}, monitor_gva2gpa},
    {"help", "[command]", "this", {OPTIONAL("command", MONITOR_WORD)}, help},
    {"?", NULL, NULL, {OPTIONAL("command", MONITOR_WORD)}, help},
    {"info dirty", "", "pages written since `dirty on` or `dirty take`", {{0}}, monitor_info_dirty},
    {"info memdev", "", "memory backends", {{0}}, monitor_info_memdev},
    {"info memory-devices", "", "memory devices", {{0}}, monitor_info_memory_devices},
    {"info mtree",
     "[-f] [-d] [-o] [-D]",
     "memory tree; -f: flat views; -d: and their lookup; -o: owners; -D: disabled regions, too",
     {FLAG('f', "flat"), FLAG('d', "dispatch"), FLAG('o', "owner"), FLAG('D', "disabled")},
     monitor_info_mtree},
    {"info pci", "", "PCI devices", {{0}}, monitor_info_pci},
    {"info ramblock", "", "RAM blocks", {{0}}, monitor_info_ramblock},
    {"info registers", "", "the CPU's registers", {{0}}, monitor_info_registers},
    {"info slots", "", "KVM's memory slots", {{0}}, monitor_info_slots},
    {"info status", "", "whether the guest runs", {{0}}, monitor_info_status},
    {"object_add",
     "memory-backend-ram,id=ID,size=SIZE[,...]",
     "make a memory backend",
     {WORD("options")},
     monitor_object_add},
    {"object_del", "id", "end a memory backend", {WORD("id")}, monitor_object_del},
    {"pmemsave",
     "addr size file",
     "save guest physical memory",
     {NUMBER("address"), NUMBER("size"), WORD("file")},
     monitor_pmemsave},
    {"quit", "", "end the machine", {{0}}, monitor_quit},
    {"q", NULL, NULL, {{0}}, monitor_quit},
    {"screen", "", "the text on the screen", {{0}}, monitor_screen},
    {"stop", "", "have the guest stand still", {{0}}, monitor_stop},
    {"s", NULL, NULL, {{0}}, monitor_stop},
    {"system_reset", "", "reset the machine", {{0}}, monitor_system_reset},
    {"x",
     "/FORMAT addr",
     "guest virtual memory; FORMAT: count, x d u o c or s, b h w or g",
     {OPTIONAL("format", MONITOR_FORMAT), NUMBER("address")},
     monitor_x},
    {"xp",
     "/FORMAT addr",
     "guest physical memory",
     {OPTIONAL("format", MONITOR_FORMAT), NUMBER("address")},
     monitor_xp},
    {0},
};

/* The longest name that @text begins with, up to a blank, a slash or its end. */
const MonitorCommand *monitor_find_command(const char *text, const char **rest)
{
    for (const MonitorCommand *command = monitor_commands; command->name; command++) {
        const char *at = text;
        const char *name = command->name;
        while (*name && *at == *name) {
            name++;
            at++;
            /* "info   mtree" */
            while (at > text && at[-1] == ' ' && *at == ' ') {
                at++;
            }
        }
        if (!*name && (!*at || *at == ' ' || *at == '/')) {
            *rest = at;
            return command;
        }
    }
    return NULL;
}

static bool is_asked_for(const MonitorCommand *command, const MonitorArg *about)
{
    size_t length = about->given ? strlen(about->text) : 0;

    /* `help info` is all that begin so. */
    return command->usage &&
           (!about->given || (strncmp(command->name, about->text, length) == 0 &&
                              (!command->name[length] || command->name[length] == ' ')));
}

static int help(MonitorCall *call)
{
    for (const MonitorCommand *command = monitor_commands; command->name; command++) {
        if (is_asked_for(command, &call->args[0])) {
            fprintf(call->out, "%s%s%s -- %s\n", command->name, *command->usage ? " " : "",
                    command->usage, command->help);
        }
    }
    return 0;
}
