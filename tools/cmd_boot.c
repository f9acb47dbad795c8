/* SPDX-License-Identifier: MIT */
/* membus boot - a PC whose memory system is membus (vmm/): firmware, boot loader, Linux. */
#include "tool.h"
#include "vmm/vmm.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* An option's code says which field of VmmOptions it is for. */
#define CODE(field) (256 + (int)offsetof(VmmOptions, field))
#define OPTION(name, field)                                                                        \
    {                                                                                              \
        name, required_argument, NULL, CODE(field)                                                 \
    }

static const struct option long_options[] = {
    OPTION("accel", accel),
    OPTION("memory-backend", memory_backend),
    OPTION("bios", bios),
    OPTION("disk", disk),
    OPTION("kernel", kernel),
    OPTION("initrd", initrd),
    OPTION("append", append),
    OPTION("serial", serial),
    OPTION("debugcon", debugcon),
    OPTION("monitor", monitor),
    OPTION("exit-on", exit_on),
    OPTION("trace-map", trace_map),
    OPTION("smp", smp),
    OPTION("timeout", timeout),
    {"bridge", no_argument, NULL, CODE(bridge)},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool parse_smp(const char *text, unsigned *smp)
{
    char *end;

    errno = 0;
    unsigned long count = strtoul(text, &end, 10);
    *smp = (unsigned)count;
    return *text >= '1' && *text <= '9' && *end == '\0' && errno == 0 && count <= 255;
}

static bool parse_timeout(const char *text, double *seconds)
{
    char *end;

    *seconds = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*seconds) && *seconds > 0 && *seconds <= 1e9;
}

/* What ended by a signal ends as if it had not been caught: shells and make go by that. */
static int end_by_signal(int signo)
{
    const struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    signal(signo, SIG_DFL);
    raise(signo);
    return VMM_SIGNAL + signo;
}

/* Returns 0 or an exit status. */
static int read_value(const Command *command, VmmOptions *vmm, int code, const char *value)
{
    if (code == CODE(smp)) {
        return parse_smp(value, &vmm->smp)
                   ? 0
                   : misuse(command, "--smp: not a number of CPUs (1 to 255): ", value);
    }
    if (code == CODE(timeout)) {
        return parse_timeout(value, &vmm->timeout)
                   ? 0
                   : misuse(command, "--timeout: not a number of seconds: ", value);
    }
    if (code == CODE(bridge)) {
        vmm->bridge = true;
        return 0;
    }
    *(const char **)((char *)vmm + (code - CODE(accel))) = value;
    return 0;
}

static int boot(const Command *command, int argc, char **argv)
{
    VmmOptions vmm = {0};
    int c, status;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":hm:", long_options, NULL)) != -1) {
        if (c == 'h') {
            print_command_help(command);
            return finish_output(EXIT_SAME);
        }
        if (c == '?' || c == ':') {
            return misuse_option(command, c, argv);
        }
        status = read_value(command, &vmm, c == 'm' ? CODE(memory) : c, optarg);
        if (status) {
            return status;
        }
    }
    if (optind < argc) {
        return misuse(command, "too many arguments: ", argv[optind]);
    }
    if (vmm.exit_on && !*vmm.exit_on) {
        return misuse(command, "--exit-on: ", "nothing to wait for");
    }
    if (!vmm.kernel && (vmm.initrd || vmm.append)) {
        return misuse(command, vmm.initrd ? "--initrd" : "--append", " is for a --kernel");
    }
    status = vmm_run(&vmm);
    return status > VMM_SIGNAL ? end_by_signal(status - VMM_SIGNAL) : status;
}

const Command cmd_boot = {
    .name = "boot",
    .arguments = "",
    .summary = "Boot a PC whose memory system is membus",
    .options =
        "  --accel NAME         auto, kvm or soft; auto takes kvm where it can, and says why\n"
        "  -m SIZE[,slots=N,maxmem=SIZE]\n"
        "                       memory, and room for dimms to be plugged\n"
        "  --smp N              CPUs\n"
        "  --memory-backend OPTIONS\n"
        "                       host memory for the guest, as `membus memdev` takes it\n"
        "  --bios FILE          firmware instead of Debian's SeaBIOS\n"
        "  --disk FILE[,readonly]\n"
        "                       a disk (virtio)\n"
        "  --bridge             the disk is behind a PCI bridge\n"
        "  --kernel FILE, --initrd FILE, --append TEXT\n"
        "                       boot this Linux\n"
        "  --serial WHERE       serial console: stdio, pty, file:NAME, null\n"
        "  --debugcon FILE      what the firmware writes to its debug port\n"
        "  --monitor WHERE      stdio, unix:PATH, or unix:PATH,json (docs/monitor.md)\n"
        "  --exit-on TEXT       done when the serial console has printed this\n"
        "  --timeout SECONDS    give up after that\n"
        "  --trace-map FILE     record every change of the memory map\n"
        "  --help               print this\n"
        "\n"
        "Without more it is the firmware alone, 128 MiB, one CPU, the serial console on the\n"
        "terminal. There Ctrl-a h helps, Ctrl-a c goes to the monitor and back, Ctrl-a x ends it.\n"
        "\n"
        "Exit status: 0 --exit-on was seen, or the guest or the user ended it; 1 --timeout;\n"
        "2 the machine cannot be built; 3 a CPU cannot go on.\n",
    .main = boot,
};
