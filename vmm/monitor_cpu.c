/* SPDX-License-Identifier: MIT */
/* The monitor: the CPU, and what is on the PCI bus. */
#include "monitor.h"
#include "pci.h"

#include <errno.h>
#include <inttypes.h>

/* ---- CPU ---------------------------------------------------------------------------- */

int monitor_cpu_state(MonitorSession *session, CpuState *state, Error **errp)
{
    Machine *m = session->machine;

    *state = (CpuState){0};
    if (!m->kind || session->cpu >= m->nr_cpus || !m->cpus) {
        return error_set(errp, ENODEV, "no CPU available");
    }
    Cpu *cpu = m->cpus[session->cpu];
    machine_pause(m);
    int result = m->kind->get_state(cpu, state);
    machine_resume(m);
    return result < 0 ? error_set(errp, -result, "CPU %u does not tell its state", session->cpu)
                      : 0;
}

AddressSpace *monitor_memory(MonitorSession *session, const CpuState *state)
{
    Machine *m = session->machine;

    if (!m->cpus || session->cpu >= m->nr_cpus) {
        return memory_system_memory(m->ms);
    }
    return state->smm ? &m->cpus[session->cpu]->smm : &m->cpus[session->cpu]->memory;
}

int monitor_cpu(MonitorCall *call)
{
    if (call->args[0].number >= call->machine->nr_cpus) {
        return error_set(&call->err, EINVAL, "invalid CPU index");
    }
    call->session->cpu = (unsigned)call->args[0].number;
    return 0;
}

typedef struct Register {
    const char *name;
    uint64_t value;
} Register;

static const struct {
    const char *name;
    size_t offset;
} segments[] = {
    {"ES", offsetof(CpuState, es)}, {"CS", offsetof(CpuState, cs)}, {"SS", offsetof(CpuState, ss)},
    {"DS", offsetof(CpuState, ds)}, {"FS", offsetof(CpuState, fs)}, {"GS", offsetof(CpuState, gs)},
};
#define NR_SEGMENTS (sizeof segments / sizeof *segments)

static const struct CpuSegment *segment(const CpuState *state, size_t i)
{
    return (const struct CpuSegment *)((const char *)state + segments[i].offset);
}

static void print_registers(const MonitorSession *session, const CpuState *s, FILE *out)
{
    const Register general[] = {
        {"AX", s->rax}, {"BX", s->rbx}, {"CX", s->rcx}, {"DX", s->rdx}, {"SI", s->rsi},
        {"DI", s->rdi}, {"BP", s->rbp}, {"SP", s->rsp}, {"8 ", s->r8},  {"9 ", s->r9},
        {"10", s->r10}, {"11", s->r11}, {"12", s->r12}, {"13", s->r13}, {"14", s->r14},
        {"15", s->r15}, {"IP", s->rip},
    };
    int digits = s->long_mode ? 16 : 8;

    fprintf(out, "\nCPU#%u\n", session->cpu);
    for (unsigned i = 0, column = 0; i < sizeof general / sizeof *general; i++) {
        bool extended = i >= 8 && i < 16;
        if (extended && !s->long_mode) {
            continue;
        }
        fprintf(out, "%c%s=%0*" PRIx64, s->long_mode ? 'R' : 'E', general[i].name, digits,
                general[i].value);
        fputc(++column % 4 == 0 && i < 16 ? '\n' : ' ', out);
    }
    fprintf(out, "%cFL=%08" PRIx64 " SMM=%d\n", s->long_mode ? 'R' : 'E', s->rflags, s->smm);
    for (size_t i = 0; i < NR_SEGMENTS; i++) {
        const struct CpuSegment *seg = segment(s, i);
        fprintf(out, "%s =%04x %0*" PRIx64 " %08x\n", segments[i].name, seg->selector, digits,
                seg->base, seg->limit);
    }
    fprintf(out, "CR0=%08" PRIx64 " CR2=%0*" PRIx64 " CR3=%0*" PRIx64 " CR4=%08" PRIx64 "\n",
            s->cr0, digits, s->cr2, digits, s->cr3, s->cr4);
    fprintf(out, "EFER=%016" PRIx64 "\n", s->efer);
}

static json_t *list_registers(const MonitorSession *session, const CpuState *s)
{
    const Register all[] = {
        {"rax", s->rax}, {"rbx", s->rbx}, {"rcx", s->rcx},   {"rdx", s->rdx},       {"rsi", s->rsi},
        {"rdi", s->rdi}, {"rbp", s->rbp}, {"rsp", s->rsp},   {"r8", s->r8},         {"r9", s->r9},
        {"r10", s->r10}, {"r11", s->r11}, {"r12", s->r12},   {"r13", s->r13},       {"r14", s->r14},
        {"r15", s->r15}, {"rip", s->rip}, {"cr0", s->cr0},   {"rflags", s->rflags}, {"cr2", s->cr2},
        {"cr3", s->cr3}, {"cr4", s->cr4}, {"efer", s->efer},
    };
    json_t *object = json_pack("{s:i, s:b, s:b}", "cpu", (int)session->cpu, "smm", s->smm,
                               "long_mode", s->long_mode);

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        json_object_set_new(object, all[i].name, monitor_json_address(all[i].value));
    }
    for (size_t i = 0; i < NR_SEGMENTS; i++) {
        const struct CpuSegment *seg = segment(s, i);
        const char name[] = {(char)(segments[i].name[0] | 0x20), 's', '\0'};
        json_object_set_new(object, name,
                            json_pack("{s:i, s:o, s:I}", "selector", seg->selector, "base",
                                      monitor_json_address(seg->base), "limit",
                                      (json_int_t)seg->limit));
    }
    return object;
}

int monitor_info_registers(MonitorCall *call)
{
    CpuState state;
    int result = monitor_cpu_state(call->session, &state, &call->err);

    if (result < 0) {
        return result;
    }
    if (call->json) {
        return monitor_set_result(call, list_registers(call->session, &state));
    }
    print_registers(call->session, &state, call->out);
    return 0;
}

/* ---- PCI -------------------------------------------------------------------------------- */

static const char *class_name(uint16_t class_code)
{
    static const struct {
        uint16_t class_code;
        const char *name;
    } names[] = {
        {0x0100, "SCSI controller"},
        {0x0101, "IDE controller"},
        {0x0200, "Ethernet controller"},
        {0x0300, "VGA controller"},
        {0x0600, "Host bridge"},
        {0x0601, "ISA bridge"},
        {0x0604, "PCI bridge"},
        {0x0680, "Bridge"},
        {0x0780, "Communication controller"},
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].class_code == class_code) {
            return names[i].name;
        }
    }
    return NULL;
}

static const char *bar_kind(const PciBar *bar)
{
    if (bar->type & PCI_BASE_ADDRESS_SPACE_IO) {
        return "I/O";
    }
    bool wide = bar->type & PCI_BASE_ADDRESS_MEM_TYPE_64;
    bool prefetchable = bar->type & PCI_BASE_ADDRESS_MEM_PREFETCH;
    return wide           ? prefetchable ? "64 bit prefetchable memory" : "64 bit memory"
           : prefetchable ? "32 bit prefetchable memory"
                          : "32 bit memory";
}

static void print_device(const PciDevice *pci, unsigned bus, FILE *out)
{
    const uint8_t *config = pci->config;
    uint16_t class_code = pci_get_word(config + PCI_CLASS_DEVICE);
    const char *name = class_name(class_code);

    fprintf(out, "  Bus %2u, device %3u, function %u:\n", bus, PCI_SLOT(pci->devfn),
            PCI_FUNC(pci->devfn));
    if (name) {
        fprintf(out, "    %s", name);
    } else {
        fprintf(out, "    Class %04x", class_code);
    }
    fprintf(out, ": PCI device %04x:%04x\n", pci_get_word(config + PCI_VENDOR_ID),
            pci_get_word(config + PCI_DEVICE_ID));
    if (pci_get_word(config + PCI_SUBSYSTEM_VENDOR_ID)) {
        fprintf(out, "      PCI subsystem %04x:%04x\n",
                pci_get_word(config + PCI_SUBSYSTEM_VENDOR_ID),
                pci_get_word(config + PCI_SUBSYSTEM_ID));
    }
    if (config[PCI_INTERRUPT_PIN]) {
        fprintf(out, "      IRQ %u, pin %c\n", config[PCI_INTERRUPT_LINE],
                'A' + config[PCI_INTERRUPT_PIN] - 1);
    }
    for (unsigned i = 0; i <= PCI_ROM_BAR; i++) {
        const PciBar *bar = &pci->bars[i];
        if (bar->mr) {
            int digits = bar->type & PCI_BASE_ADDRESS_SPACE_IO ? 4 : 8;
            /* One that is not mapped is at the top and wraps, as QEMU prints it. */
            fprintf(out, "      BAR%u: %s at 0x%0*" PRIx64 " [0x%0*" PRIx64 "].\n", i,
                    bar_kind(bar), digits, bar->addr, digits, bar->addr + bar->size - 1);
        }
    }
    fprintf(out, "      id \"\"\n");
}

static json_t *list_bars(const PciDevice *pci)
{
    json_t *bars = json_array();

    for (unsigned i = 0; i <= PCI_ROM_BAR; i++) {
        const PciBar *bar = &pci->bars[i];
        if (!bar->mr) {
            continue;
        }
        json_array_append_new(
            bars,
            json_pack("{s:i, s:s, s:o, s:o, s:o}", "bar", (int)i, "kind", bar_kind(bar), "address",
                      bar->addr == PCI_BAR_UNMAPPED ? json_null() : monitor_json_address(bar->addr),
                      "size", monitor_json_address(bar->size), "region",
                      monitor_json_text(memory_region_name(bar->mr))));
    }
    return bars;
}

static json_t *list_pci_device(const PciDevice *pci, unsigned bus)
{
    const uint8_t *config = pci->config;

    return json_pack(
        "{s:i, s:i, s:i, s:o, s:i, s:i, s:i, s:i, s:o}", "bus", (int)bus, "device",
        PCI_SLOT(pci->devfn), "function", PCI_FUNC(pci->devfn), "name",
        monitor_json_text(pci->device.name), "vendor", pci_get_word(config + PCI_VENDOR_ID), "id",
        pci_get_word(config + PCI_DEVICE_ID), "class", pci_get_word(config + PCI_CLASS_DEVICE),
        "command", pci_get_word(config + PCI_COMMAND), "bars", list_bars(pci));
}

/* A bridge, then what is behind it: as deep as the board is. */
static void show_bus(const PciBus *bus, unsigned number, json_t *list, FILE *out)
{
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        const PciDevice *pci = bus->devices[devfn];
        if (pci && list) {
            json_array_append_new(list, list_pci_device(pci, number));
        } else if (pci) {
            print_device(pci, number, out);
        }
        if (pci && pci->secondary) {
            show_bus(pci->secondary, pci->config[PCI_SECONDARY_BUS], list, out);
        }
    }
}

int monitor_info_pci(MonitorCall *call)
{
    Machine *m = call->machine;
    json_t *list = call->json ? json_array() : NULL;

    memory_system_lock(m->ms);
    if (m->pci) {
        show_bus(m->pci, 0, list, call->out);
    }
    memory_system_unlock(m->ms);
    return call->json ? monitor_set_result(call, list) : 0;
}
