/* SPDX-License-Identifier: MIT */
/* membus - look at the memory maps of machines. A table of subcommands; each is a file cmd_*.c. */
#include "tool.h"

#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <stdlib.h>

#define VERSION "0.1.0"

static const Command *const commands[] = {
    &cmd_tree,  &cmd_flat, &cmd_find,  &cmd_diff,   &cmd_log,
    &cmd_check, &cmd_ram,  &cmd_slots, &cmd_memdev, &cmd_boot,
};
#define NR_COMMANDS (sizeof commands / sizeof *commands)

enum {
    OPT_FLAT = 256,
    OPT_AS,
    OPT_JSON,
    OPT_TOUCH,
    OPT_MAX_SLOT,
    OPT_MAX_SLOTS,
    OPT_HOST_PAGE,
    OPT_STAGE2,
    OPT_WRITE,
    OPT_LOG
};

static const struct option long_options[] = {
    {"flat", required_argument, NULL, OPT_FLAT},
    {"as", required_argument, NULL, OPT_AS},
    {"json", no_argument, NULL, OPT_JSON},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {"touch", required_argument, NULL, OPT_TOUCH},
    {"max-slot", required_argument, NULL, OPT_MAX_SLOT},
    {"max-slots", required_argument, NULL, OPT_MAX_SLOTS},
    {"host-page", required_argument, NULL, OPT_HOST_PAGE},
    {"stage2", required_argument, NULL, OPT_STAGE2},
    {"write", no_argument, NULL, OPT_WRITE},
    {"log", no_argument, NULL, OPT_LOG},
    {NULL, 0, NULL, 0},
};

static void print_usage(FILE *out)
{
    fputs("usage: membus COMMAND [OPTION]... ARGUMENT...\n\n"
          "Memory maps of machines, from the text of QEMU's `info mtree`, memory for them, and a\n"
          "machine.\n\n",
          out);
    for (size_t i = 0; i < NR_COMMANDS; i++) {
        fprintf(out, "  %-6s %-22s %s\n", commands[i]->name, commands[i]->arguments,
                commands[i]->summary);
    }
    fputs(
        "\nSOURCE, NEWER, TREE, A, B: files with the text of `info mtree`, with -D and -o or "
        "without;\n"
        "FLAT: one with that of `info mtree -f`; - is standard input. flat, find and diff take a\n"
        "moment of a TRACE, too: TRACE@N after commit N, TRACE@last.\n"
        "`membus COMMAND --help` tells more of one, `membus --version` the version.\n"
        "Exit status: 0 done, 1 a difference was found (check, diff, slots), the slots do not "
        "suffice\n"
        "or a backend cannot be made (memdev), 2 trouble; `boot` has its own.\n",
        out);
}

static const Command *find_command(const char *name)
{
    for (size_t i = 0; i < NR_COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

static bool colors_wanted(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

static int read_positional(const Command *command, Options *options, int argc, char **argv)
{
    unsigned count = 0, from_stdin = 0;

    for (int i = optind; i < argc; i++) {
        if (count == command->max_sources) {
            return misuse(command, "too many arguments: ", argv[i]);
        }
        options->positional[count++] = argv[i];
        from_stdin += strcmp(argv[i], "-") == 0;
    }
    if (count < command->min_sources) {
        return misuse(command, "missing argument", "");
    }
    for (unsigned i = 0; i < 2; i++) {
        from_stdin += options->flat_files[i] && strcmp(options->flat_files[i], "-") == 0;
    }
    if (from_stdin > 1) {
        return misuse(command, "standard input can be read only once", "");
    }
    return 0;
}

/* What only `slots` has. */
static bool read_slots_option(Options *options, int option)
{
    switch (option) {
    case OPT_MAX_SLOT:
        options->max_slot = optarg;
        return true;
    case OPT_MAX_SLOTS:
        options->max_slots = optarg;
        return true;
    case OPT_HOST_PAGE:
        options->host_page = optarg;
        return true;
    case OPT_WRITE:
        return options->write = true;
    case OPT_LOG:
        return options->log = true;
    default:
        if (options->nr_stage2 == MAX_STAGE2) {
            return false;
        }
        options->stage2[options->nr_stage2++] = optarg;
        return true;
    }
}

static int run_command(const Command *command, int argc, char **argv)
{
    Options options = {.command = command, .color = colors_wanted()};
    unsigned nr_flats = 0;
    int c, index = 0;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":hVv", long_options, &index)) != -1) {
        switch (c) {
        case OPT_FLAT:
            if (nr_flats == command->max_flats) {
                return misuse(command, nr_flats ? "too many: " : "unknown option: ", "--flat");
            }
            options.flat_files[nr_flats++] = optarg;
            break;
        case OPT_AS:
            if (!command->takes_as) {
                return misuse(command, "unknown option: ", "--as");
            }
            options.as_name = optarg;
            break;
        case OPT_TOUCH:
            if (!command->takes_touch) {
                return misuse(command, "unknown option: ", "--touch");
            }
            options.touch = optarg;
            break;
        case OPT_MAX_SLOT:
        case OPT_MAX_SLOTS:
        case OPT_HOST_PAGE:
        case OPT_STAGE2:
        case OPT_WRITE:
        case OPT_LOG:
            if (!command->takes_slots) {
                return misuse(command, "unknown option: --", long_options[index].name);
            }
            if (!read_slots_option(&options, c)) {
                return misuse(command, "too many: ", "--stage2");
            }
            break;
        case OPT_JSON:
            options.json = true;
            break;
        case 'v':
            if (!command->takes_verbose) {
                return misuse(command, "unknown option: ", argv[optind - 1]);
            }
            options.verbose = true;
            break;
        case 'h':
            print_command_help(command);
            return finish_output(EXIT_SAME);
        case 'V':
            puts("membus " VERSION);
            return finish_output(EXIT_SAME);
        default:
            return misuse_option(command, c, argv);
        }
    }
    int result = read_positional(command, &options, argc, argv);
    return result ? result : command->run(&options);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of output like any other */
    const char *word = argc > 1 ? argv[1] : NULL;
    const Command *command = word ? find_command(word) : NULL;

    if (command) {
        return command->main ? command->main(command, argc - 1, argv + 1)
                             : run_command(command, argc - 1, argv + 1);
    }
    if (word &&
        (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)) {
        const Command *about = argc > 2 ? find_command(argv[2]) : NULL;
        if (about) {
            print_command_help(about);
        } else {
            print_usage(stdout);
        }
        return finish_output(EXIT_SAME);
    }
    if (word && (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)) {
        puts("membus " VERSION);
        return finish_output(EXIT_SAME);
    }
    if (word) {
        complain("unknown command: %s", word);
    }
    print_usage(stderr);
    return EXIT_TROUBLE;
}
