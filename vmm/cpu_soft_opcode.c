/* SPDX-License-Identifier: MIT */
/*
 * What libx86emu 3.5 would do to its program or to its guest, and how it is kept from that (SDM is
 * Intel's manual):
 *
 *      AAM 0; IDIV of the smallest number     it divides, and the host traps: #DE instead
 *      prefixes without end                   it never returns: #GP at 15 bytes (SDM 3A, 6.15)
 *      REP with a count of up to 2^32         nothing ends it: it is cut into pieces, between which
 *                                             interrupts are taken, as on a CPU (SDM 2B, REP)
 *      INS and OUTS of words and doublewords  the index goes up by 1: it is put right
 *
 * All of it is told by the opcode, so that other instructions pay for a look into a table only.
 */
#include "cpu_soft_opcode.h"

#define MAX_LENGTH 15        /* bytes of an instruction */
#define PIECE UINT32_C(4096) /* repetitions at once */

enum { NOP = 0x90, AAM = 0xd4, HLT = 0xf4, GROUP_3 = 0xf7 };
enum { VECTOR_DE = 0, VECTOR_GP = 13 };

const bool soft_opcode_is_special[256] = {
    [0x26] = true,          [0x2e] = true,    [0x36] = true, [0x3e] = true, /* segments */
    [0x64 ... 0x67] = true,                                                 /* and sizes */
    [0x6c ... 0x6f] = true,                                                 /* INS, OUTS */
    [0xa4 ... 0xa7] = true,                                                 /* MOVS, CMPS */
    [0xaa ... 0xaf] = true,                                                 /* STOS, LODS, SCAS */
    [AAM] = true,           [0xf0] = true,    [0xf2] = true, [0xf3] = true, /* LOCK, REP */
    [HLT] = true,           [GROUP_3] = true,
};

static bool is_prefix(uint8_t byte)
{
    return (byte & 0xe7) == 0x26 || (byte >= 0x64 && byte <= 0x67) || byte == 0xf0 ||
           byte == 0xf2 || byte == 0xf3;
}

static bool is_compare(uint8_t opcode)
{
    return (opcode & 0xf6) == 0xa6; /* CMPS, SCAS */
}

static uint8_t next_byte(x86emu_t *emu)
{
    uint32_t next = emu->x86.R_EIP + 1;

    if (!(emu->x86.mode & _MODE_CODE32)) {
        next &= 0xffff;
    }
    return (uint8_t)x86emu_read_byte(emu, emu->x86.R_CS_BASE + next);
}

/* A dividend so small that no quotient fits, and that the host cannot divide by -1. */
static bool is_smallest_dividend(const x86emu_t *emu)
{
    const x86emu_regs_t *r = &emu->x86;

    return r->mode & _MODE_DATA32 ? r->R_EDX == 0x80000000 && r->R_EAX == 0
                                  : r->R_DX == 0x8000 && r->R_AX == 0;
}

static uint32_t get_count(const x86emu_t *emu, bool wide)
{
    return wide ? emu->x86.R_ECX : emu->x86.R_CX;
}

static void set_count(x86emu_t *emu, bool wide, uint32_t count)
{
    if (wide) {
        emu->x86.R_ECX = count;
    } else {
        emu->x86.R_CX = (uint16_t)count;
    }
}

static bool begin_string(x86emu_t *emu, SoftOpcode *special, uint8_t opcode)
{
    x86emu_regs_t *r = &emu->x86;
    int32_t size = !(opcode & 1) ? 1 : r->mode & _MODE_DATA32 ? 4 : 2;
    bool is_wrong = opcode < 0x70 && size > 1; /* one at a time, then */
    bool repeated = r->mode & (_MODE_REPE | _MODE_REPNE), wide = r->mode & _MODE_ADDR32;
    uint32_t count = repeated ? get_count(emu, wide) : 1, most = is_wrong ? 1 : PIECE;
    uint32_t piece = count < most ? count : most;

    if (count == 0 || (piece == count && !is_wrong)) {
        return false;
    }
    *special = (SoftOpcode){.opcode = opcode,
                            .wide = wide,
                            .repne = r->mode & _MODE_REPNE,
                            .start = r->saved_eip,
                            .left = count - piece};
    if (is_wrong) {
        special->step = r->R_EFLG & FB_DF ? 1 - size : size - 1;
    }
    if (repeated) {
        set_count(emu, wide, piece);
    }
    return true;
}

static void fault(x86emu_t *emu, uint8_t vector, unsigned flags)
{
    x86emu_intr_raise(emu, vector, INTR_TYPE_FAULT | INTR_MODE_RESTART | flags, 0);
}

bool soft_opcode_check(x86emu_t *emu, SoftOpcode *special, uint32_t *byte)
{
    unsigned length = emu->x86.instr_len;
    uint8_t opcode = (uint8_t)*byte;

    for (unsigned i = 0; i < length && i < MAX_LENGTH; i++) {
        if (!is_prefix(emu->x86.instr_buf[i])) {
            return false; /* the opcode was before */
        }
    }
    if (length >= MAX_LENGTH) {
        fault(emu, VECTOR_GP, emu->x86.R_CR0 & 1 ? INTR_MODE_ERRCODE : 0);
        *byte = NOP;
    } else if (opcode == HLT) {
        *special = (SoftOpcode){.opcode = HLT};
    } else if ((opcode == AAM && next_byte(emu) == 0) ||
               (opcode == GROUP_3 && is_smallest_dividend(emu) &&
                (next_byte(emu) & 0x38) == 0x38)) {
        fault(emu, VECTOR_DE, 0);
        *byte = NOP;
    } else if (!is_prefix(opcode) && opcode != AAM && opcode != GROUP_3) {
        return begin_string(emu, special, opcode);
    }
    return false;
}

static void put_index_right(x86emu_regs_t *r, const SoftOpcode *special)
{
    i386_general_register *index = special->opcode & 2 ? &r->spc.SI : &r->spc.DI;

    if (special->wide) {
        index->I32_reg.e_reg += (uint32_t)special->step;
    } else {
        index->I16_reg.x_reg = (uint16_t)(index->I16_reg.x_reg + special->step);
    }
}

/* The rest of the repetitions is for the next time. */
static void finish_string(x86emu_t *emu, const SoftOpcode *special)
{
    x86emu_regs_t *r = &emu->x86;
    uint32_t count = get_count(emu, special->wide);
    bool equal = r->R_EFLG & FB_ZF;

    put_index_right(r, special);
    if (special->left == 0) {
        return;
    }
    set_count(emu, special->wide, count + special->left);
    if (count == 0 && !(is_compare(special->opcode) && equal == special->repne)) {
        r->R_EIP = special->start;
    }
}

bool soft_opcode_finish(x86emu_t *emu, SoftOpcode *special)
{
    bool halted = special->opcode == HLT;

    if (special->opcode && !halted) {
        finish_string(emu, special);
    }
    special->opcode = 0;
    return halted;
}

bool soft_vector_is_good(x86emu_t *emu, uint8_t vector)
{
    const x86emu_regs_t *r = &emu->x86;
    uint32_t size = r->R_CR0 & 1 ? 8 : 4, offset = vector * size;

    if (offset + size - 1 > r->R_IDT_LIMIT) {
        return false;
    }
    if (size == 4) {
        return true;
    }
    unsigned type = x86emu_read_byte(emu, r->R_IDT_BASE + offset + 5) & 0x97;
    return type == 0x86 || type == 0x87; /* present; interrupt or trap gate, 16 or 32 bits */
}
