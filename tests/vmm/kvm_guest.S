/* SPDX-License-Identifier: MIT */
/*
 * kvm_guest.S - what the guests of test_cpu_kvm.c run from the reset vector on, in ROM at f000:0. Their
 * words are in RAM from 0x600 on; a write to port 0x400 says that they are done.
 */
#define COUNT 0x600
#define WANTED 0x604
#define SEEN 0x610
#define NOTES 0x620
#define DONE 0x400
#define ROM 0xf0000
#define DEVICE 0xb0000 /* reading it resets the machine */
#define SECRET 0x50000 /* only SMM sees it */

#define ICR 0xfee00300
#define LDR 0xfee000d0
#define INIT_OTHERS 0xc4500
#define START_OTHERS_AT_8000 0xc4608
#define MTRR_DEF_TYPE 0x2ff

        .section .rodata

/* To flat protected mode, and on at 1. */
        .macro  go_flat begin
        .code16
        lgdtl   %cs:(2f - \begin)
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $8, $(ROM + 1f - \begin)
        .balign 8
3:      .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
2:      .word   23
        .long   ROM + 3b - \begin
        .code32
1:      movw    $16, %ax
        movw    %ax, %ds
        .endm

/* The PIC as PCs have it: vectors from 8 on, all masked but those in \mask. */
        .macro  set_pic mask
        movb    $0x11, %al
        outb    %al, $0x20
        movb    $8, %al
        outb    %al, $0x21
        movb    $4, %al
        outb    %al, $0x21
        movb    $1, %al
        outb    %al, $0x21
        movb    $\mask, %al
        outb    %al, $0x21
        .endm

        .macro  done
        movw    $DONE, %dx
        outl    %eax, %dx
        cli
        hlt
        .endm

/* sipi: start the others at 0x8000; wait until as many as WANTED says have counted. */
        .globl  sipi_begin, sipi_end, started_begin, started_end
sipi_begin:
        go_flat sipi_begin
        movl    $INIT_OTHERS, ICR
        movl    $START_OTHERS_AT_8000, ICR
1:      pause
        movl    COUNT, %eax
        cmpl    WANTED, %eax
        jne     1b
        done
sipi_end:

        .code16
started_begin:
        movl    $1, %eax
        cpuid
        shrl    $24, %ebx
        xorw    %ax, %ax
        movw    %ax, %ds
        incb    SEEN(%bx)
        lock
        incl    COUNT
        cli
        hlt
started_end:

/* timer: ten ticks of the PIT end ten HLTs. */
        .globl  timer_begin, timer_end
timer_begin:
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7000, %sp
        movw    $(2f - timer_begin), 0x20
        movw    %cs, 0x22
        set_pic 0xfe
        movb    $0x34, %al
        outb    %al, $0x43
        movb    $0x9c, %al
        outb    %al, $0x40
        movb    $0x2e, %al
        outb    %al, $0x40
1:      sti
        hlt
        incl    NOTES
        cmpl    $10, COUNT
        jb      1b
        done
2:      pushw   %ax
        incl    COUNT
        movb    $0x20, %al
        outb    %al, $0x20
        popw    %ax
        iretw
timer_end:

/* again: change all sorts of things, and be reset in the middle of an instruction; note what is left of it. */
        .globl  again_begin, again_end
again_begin:
        movl    %eax, %ebx
        movl    %cr0, %esi
        xorw    %ax, %ax
        movw    %ax, %ds
        incl    COUNT
        movl    $MTRR_DEF_TYPE, %ecx
        cmpl    $1, COUNT
        jne     4f
        movl    $0xc06, %eax
        xorl    %edx, %edx
        wrmsr
        set_pic 0x5a
        go_flat again_begin
        movl    $0x5a000000, LDR
        movl    DEVICE, %eax
        jmp     .
        .code16
4:      movl    %ebx, NOTES
        movl    %esi, NOTES + 4
        rdmsr
        movl    %eax, NOTES + 8
        inb     $0x21, %al
        movb    %al, NOTES + 12
        go_flat again_begin
        movl    LDR, %eax
        movl    %eax, NOTES + 16
        done
again_end:

/* triple: a fault that nobody handles, the first time. */
        .code16
        .globl  triple_begin, triple_end
triple_begin:
        xorw    %ax, %ax
        movw    %ax, %ds
        incl    COUNT
        cmpl    $2, COUNT
        je      5f
        lidtl   %cs:(4f - triple_begin)
        go_flat triple_begin
        movw    $24, %ax
        movw    %ax, %es
        .code16
5:      done
4:      .word   0
        .long   0
triple_end:

/* spin: count for ever. */
        .globl  spin_begin, spin_end
spin_begin:
        xorw    %ax, %ax
        movw    %ax, %ds
        movl    $0x12345678, %ebp
1:      incl    COUNT
        jmp     1b
spin_end:

/* lost: run where nothing is. */
        .globl  lost_begin, lost_end
lost_begin:
        ljmpw   $0xa000, $0
lost_end:

/* asks: say so; the machine answers with an SMI, whose handler leaves a word that only SMM sees. */
        .globl  asks_begin, asks_end, smi_begin, smi_end
asks_begin:
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    $0x404, %dx
        outl    %eax, %dx
1:      cmpl    $0, COUNT
        je      1b
        done
asks_end:
smi_begin:
        movl    $SECRET >> 4, %eax
        movw    %ax, %ds
        movl    $0x5ec2e7, 0
        xorw    %ax, %ax
        movw    %ax, %ds
        incl    COUNT
        rsm
smi_end:

        .section .note.GNU-stack, "", %progbits
