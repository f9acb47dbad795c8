/* SPDX-License-Identifier: MIT */
/*
 * soft_guest.S - what the guests of test_cpu_soft.c run in real mode, copied to 0:8000. Their words are in RAM
 * from 0x600 on; a write to port 0x400 says that they are done.
 */
#define WORDS 0x600
#define DONE 0x400
#define RAISE 0x402
#define OVERLAY 0x404
#define DATA 0x408
#define AT(label) (0x8000 + (label) - soft_guest)

        .section .rodata
        .globl  soft_guest, soft_guest_end
        .code16
soft_guest:

        .macro  entry name
        .globl  soft_guest_\name
soft_guest_\name:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7000, %sp
        .endm

        .macro  handler vector label
        movl    $AT(\label), 4 * \vector
        .endm

        .macro  go_flat label
        lgdtl   AT(flat_table)
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $8, $AT(\label)
        .endm

        .macro  done
        movw    $DONE, %dx
        outb    %al, %dx
        hlt
        jmp     . - 1
        .endm

/* Divisions that the host would trap on: the handler counts them and goes on at (bp). */
        entry   divide
        handler 0, divide_error
        movw    $AT(1f), %bp
        movw    $0x1234, %ax
        .byte   0xd4, 0         /* aam 0 */
1:      movw    $AT(1f), %bp
        movw    $0x8000, %dx
        xorw    %ax, %ax
        movw    $-1, %bx
        idivw   %bx
1:      movw    $AT(1f), %bp
        movl    $0x80000000, %edx
        xorl    %eax, %eax
        movl    $-1, WORDS + 8
        idivl   WORDS + 8
1:      movw    $AT(1f), %bp
        movw    $0x8000, %ax
        movb    $-1, %bl
        idivb   %bl
1:      movl    $0, %edx        /* and one that is fine */
        movl    $1000, %eax
        movl    $-7, %ebx
        idivl   %ebx
        movl    %eax, WORDS + 4
        done
divide_error:
        incw    WORDS
        popw    %ax             /* where it was */
        pushw   %bp
        iretw

/* Nothing but prefixes up to the end of the segment 2000: #GP. */
        entry   prefixes
        handler 13, 1f
        movw    $0x2000, %ax
        movw    %ax, %es
        xorw    %di, %di
        movw    $0x6666, %ax
        movw    $0x7fff, %cx
        rep stosw
        stosw
        ljmp    $0x2000, $0
1:      movw    %sp, WORDS
        popw    WORDS + 2
        popw    WORDS + 4
        done

/* Strings longer than what is done at once. */
        entry   strings
        movw    $0x2000, %ax
        movw    %ax, %ds
        movw    $0x3000, %ax
        movw    %ax, %es
        xorw    %si, %si
        xorw    %di, %di
        movw    $10000, %cx
        rep movsb
        movw    %si, %fs:WORDS
        movw    %di, %fs:WORDS + 2
        movw    %cx, %fs:WORDS + 4
        xorw    %si, %si
        xorw    %di, %di
        movw    $10000, %cx
        repe cmpsb              /* equal to the end */
        pushfw
        popw    %fs:WORDS + 6
        movw    %cx, %fs:WORDS + 8
        movw    $WORDS + 16, %bp
        movw    $AT(mismatches), %bx
1:      movw    %fs:(%bx), %dx  /* where there is a difference */
        xchgw   %dx, %di
        notb    %es:(%di)
        pushw   %di
        xorw    %si, %si
        xorw    %di, %di
        movw    $10000, %cx
        repe cmpsb
        movw    %cx, %fs:(%bp)
        popw    %di
        notb    %es:(%di)
        addw    $2, %bp
        addw    $2, %bx
        cmpw    $AT(mismatches_end), %bx
        jne     1b
        xorw    %di, %di        /* and what is looked for */
        movb    %es:5000, %al
        notb    %al
        movb    %al, %es:6000
        movb    $0x5a, %al
        movb    %al, %es:8191
        movw    $10000, %cx
        repne scasb
        movw    %cx, %fs:WORDS + 10
        done
mismatches:
        .word   0, 4094, 4095, 4096, 8191, 9999
mismatches_end:

/* Repeated 2^32 times. */
        entry   endless
        go_flat 1f
        .code32
1:      movw    $16, %ax
        movw    %ax, %es
        movl    $0x10000, %edi
        movl    $-1, %ecx
        movw    $DONE, %dx
        outb    %al, %dx
        rep stosb
        done
        .code16

/* Input and output of words and doublewords. */
        entry   ports
        movw    $DATA, %dx
        movw    $0x2000, %di
        movw    $3, %cx
        rep insw
        movw    %di, WORDS
        movw    %cx, WORDS + 2
        insl
        movw    %di, WORDS + 4
        std
        movw    $0x2102, %di
        movw    $2, %cx
        rep insw
        movw    %di, WORDS + 6
        cld
        xorw    %cx, %cx
        rep insw
        movw    %di, WORDS + 8
        movw    $0x2000, %si
        movw    $3, %cx
        rep outsw
        movw    %si, WORDS + 10
        movw    $0x3000, %di
        movw    $5, %cx
        rep insb
        movw    %di, WORDS + 12
        done

/* A thousand times: an interrupt that is pending when STI, HLT comes. */
        entry   sti
        call    begin_interrupts
        movw    $1000, %cx
1:      cli
        movw    $RAISE, %dx
        outb    %al, %dx
        movw    $8, %ax
2:      decw    %ax
        jnz     2b
        movw    WORDS, %bx
        cmpw    %bx, WORDS      /* masked */
        sti
        hlt
        incw    WORDS + 2
        loop    1b
        done

begin_interrupts:
        handler 11, 1f
        movb    $0x11, %al
        outb    %al, $0x20
        movb    $8, %al
        outb    %al, $0x21
        movb    $4, %al
        outb    %al, $0x21
        movb    $1, %al
        outb    %al, $0x21
        movb    $0xf7, %al
        outb    %al, $0x21
        ret
1:      movw    %sp, WORDS + 24
        pushw   %ax
        incw    WORDS
        movb    $0x20, %al
        outb    %al, $0x20
        popw    %ax
        iretw

/* An interrupt that is pending when the stack changes. */
        entry   stack
        call    begin_interrupts
        movw    $RAISE, %dx
        movw    $0x100, %ax
        outb    %al, %dx
        sti
        movw    %ax, %ss
        movw    $0x5000, %sp
        nop
        nop
        done

/* HLT, and nothing can end it. */
        entry   halted
        call    begin_interrupts
        movw    $RAISE, %dx
        outb    %al, %dx
        incw    WORDS + 2
        movw    $DONE, %dx
        outb    %al, %dx
        hlt
        incw    WORDS + 4
        hlt

/* Instructions with HLT's opcode where it is an operand. */
        entry   operands
        movl    $500000, %ecx
1:      movl    $0xff01, %eax
        .byte   0xf6, 0xf4      /* div %ah */
        .byte   0xff, 0xf4      /* push %sp */
        popw    %ax
        decl    %ecx
        jnz     1b
        done

/* No handler: the first time it ends in a reset. */
        entry   shutdown
        incw    WORDS
        cmpw    $1, WORDS
        jne     1f
        lidtl   AT(no_table)
        int3
1:      cmpw    $2, WORDS
        jne     1f
        lidtl   AT(bad_table)
        go_flat 2f
        .code32
2:      ud2
        .code16
1:      done
no_table:
        .word   0
        .long   0
bad_table:
        .word   0x7ff
        .long   0x40000
        .balign 8
flat:   .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
flat_table:
        .word   23
        .long   AT(flat)

/* Gates of protected mode, for an instruction and for an interrupt. */
        entry   gates
        call    begin_interrupts
        lidtl   AT(gate_table)
        go_flat 1f
        .code32
1:      movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $0x7000, %esp
        movl    $0x00080000 + AT(breakpoint), 0x5000 + 8 * 3
        movl    $0x8e00, 0x5004 + 8 * 3
        movl    $0x00080000 + AT(interrupt), 0x5000 + 8 * 11
        movl    $0x8e00, 0x5004 + 8 * 11
        sti
        int3
        movw    $RAISE, %dx
        outb    %al, %dx
        nop
        nop
        pushfl
        popl    WORDS + 12
        movl    %esp, WORDS + 16
        done
breakpoint:
        incl    WORDS + 4
        iretl
interrupt:
        pushfl
        popl    WORDS + 8
        incl    WORDS
        movb    $0x20, %al
        outb    %al, $0x20
        iretl
        .code16
gate_table:
        .word   0x7ff
        .long   0x5000

/* The map changes under the code: the test puts it at 0xc0000, and the other one over it. */
        entry   overlay
        movw    $OVERLAY, %dx
        movb    $1, %al
        ljmp    $0xc000, $0

        .globl  soft_guest_shown, soft_guest_covered
soft_guest_shown:
        outb    %al, %dx
        movb    $1, WORDS       /* not from here */
        jmp     1f
soft_guest_covered:
        hlt
        movb    $2, WORDS
1:      movw    $DONE, %dx
        outb    %al, %dx
        hlt

/* An instruction over the border of two pages, the second of which is another region. */
        entry   border
        movw    $OVERLAY, %dx
        movb    $1, %al
        outb    %al, %dx
        movw    $0xbfff, %ax
        movw    %ax, %es
        movw    $0xb866, %es:0xc        /* movl $0x44332211, %eax */
        movw    $0x2211, %es:0xe
        ljmp    $0xbfff, $0xc

/* Code that writes the instruction after it. */
        entry   modify
        xorw    %bx, %bx
        movw    $1000, %cx
1:      movb    %cl, AT(2f) + 1
2:      movb    $0, %al
        cmpb    %cl, %al
        jne     3f
        incw    %bx
3:      loop    1b
        movw    %bx, WORDS
        done

/* The device at 0xd0000 as stack, then as code. */
        entry   device
        movw    $0xd000, %ax
        movw    %ax, %ss
        movw    $0x100, %sp
        handler 0x40, 1f
        int     $0x40
        movw    $0xdead, WORDS
1:      movw    $1, WORDS
        movw    $DONE, %dx
        ljmp    $0xd000, $0

/* Nobody is there. */
        entry   nowhere
        movw    $DONE, %dx
        outb    %al, %dx
        ljmp    $0xe000, $0

soft_guest_end:

        .section .note.GNU-stack, "", @progbits
