/* SPDX-License-Identifier: MIT */
/*
 * code.S - what guests run; see code.h. In all of them DX is the vCPU's first port; the ports are live.h's.
 */
#define PORT_STOP 4
#define PORT_PASS 4
#define PORT_ADDRESS 8
#define PORT_EXPECTED 12
#define PORT_GOT 16
#define PORT_PROBE 20
#define PORT_FACE 24
#define PORT_BANK 28

        .section .rodata
        .balign 16

/*
 * hello, real mode: print a text; read a word of the device at 0xb0000, add 1, and write it to the
 * device as 4, 2 and 1 bytes and to the RAM at DI.
 */
        .code16
        .globl  hello_begin, hello_end
hello_begin:
        movw    $(hello_text - hello_begin), %si
1:      lodsb   %cs:(%si), %al
        testb   %al, %al
        jz      2f
        outb    %al, %dx
        jmp     1b
2:      movw    $0xb000, %ax
        movw    %ax, %es
        movl    %es:0, %eax
        incl    %eax
        movl    %eax, %es:4
        movw    %ax, %es:8
        movb    %al, %es:10
        movl    %eax, (%di)
        hlt
hello_text:
        .asciz  "Hello from real mode\n"
hello_end:

/* sums, flat mode: add up ECX words from ESI on; write the sum to the port PASS. */
        .code32
        .globl  sums_begin, sums_end
sums_begin:
        xorl    %eax, %eax
1:      addl    (%esi), %eax
        addl    $4, %esi
        decl    %ecx
        jnz     1b
        addl    $PORT_PASS, %edx
        outl    %eax, %dx
        hlt
sums_end:

/*
 * asks, real mode: say PASS, and then what is at 0x2000 (as ADDRESS) and at 0xb0000 (as EXPECTED).
 * smi, its partner, runs in between in system management mode: print S, write to both, return.
 */
        .code16
        .globl  asks_begin, asks_end, smi_begin, smi_end
asks_begin:
        movl    $1, %eax
        addw    $PORT_PASS, %dx
        outl    %eax, %dx
        movl    0x2000, %eax
        addw    $(PORT_ADDRESS - PORT_PASS), %dx
        outl    %eax, %dx
        movw    $0xb000, %ax
        movw    %ax, %es
        movl    %es:0, %eax
        addw    $(PORT_EXPECTED - PORT_ADDRESS), %dx
        outl    %eax, %dx
        hlt
asks_end:
smi_begin:
        movb    $'S', %al
        subw    $PORT_PASS, %dx
        outb    %al, %dx
        movl    $0x21212121, %eax
        movl    %eax, 0x2000
        movw    $0xb000, %ax
        movw    %ax, %es
        incl    %es:0
        rsm
smi_end:

/*
 * What goes before a check in the two guests below: ECX is what was got from [EBX], ESP (there is
 * no stack) what was expected.
 */
        .macro  expect
        cmpl    %esp, %ecx
        jne     8f
        .endm
        .macro  mismatch
8:      addl    $PORT_ADDRESS, %edx
        movl    %ebx, %eax
        outl    %eax, %dx
        addl    $(PORT_EXPECTED - PORT_ADDRESS), %edx
        movl    %esp, %eax
        outl    %eax, %dx
        addl    $(PORT_GOT - PORT_EXPECTED), %edx
        movl    %ecx, %eax
        outl    %eax, %dx
9:      hlt
        jmp     9b
        .endm

/*
 * hammer, flat mode: counters on each page from ESI to EDI (a power of two in all): EBP bytes into
 * the page one of 4 bytes, of 2 and of 1; and if EBP is 8, one of 4 bytes across the border to the
 * next page. In pass n each must be n - 1, is set to n, and must be n. After the pass: say n, end
 * if told so, and load a word of one page to say which face it shows.
 */
        .code32
        .globl  hammer_begin, hammer_end
hammer_begin:
        xorl    %eax, %eax
1:      incl    %eax
        leal    (%esi, %ebp), %ebx
2:      leal    -1(%eax), %esp
        movl    (%ebx), %ecx
        expect
        movl    %eax, (%ebx)
        movl    (%ebx), %ecx
        movl    %eax, %esp
        expect

        addl    $4, %ebx
        leal    -1(%eax), %esp
        andl    $0xffff, %esp
        movzwl  (%ebx), %ecx
        expect
        movw    %ax, (%ebx)
        movzwl  (%ebx), %ecx
        movzwl  %ax, %esp
        expect

        addl    $2, %ebx
        leal    -1(%eax), %esp
        andl    $0xff, %esp
        movzbl  (%ebx), %ecx
        expect
        movb    %al, (%ebx)
        movzbl  (%ebx), %ecx
        movzbl  %al, %esp
        expect

        cmpl    $8, %ebp
        jne     3f
        addl    $(4094 - 6 - 8), %ebx
        leal    4(%ebx), %esp
        cmpl    %edi, %esp
        ja      3f
        leal    -1(%eax), %esp
        movl    (%ebx), %ecx
        expect
        movl    %eax, (%ebx)
        movl    (%ebx), %ecx
        movl    %eax, %esp
        expect

3:      andl    $~0xfff, %ebx
        leal    4096(%ebx, %ebp), %ebx
        cmpl    %edi, %ebx
        jb      2b

        movl    %eax, %ecx
        addl    $PORT_PASS, %edx
        outl    %eax, %dx
        inl     %dx, %eax
        testl   %eax, %eax
        jnz     9f
        leal    -1(%edi), %eax
        subl    %esi, %eax
        movl    %ecx, %ebx
        shll    $12, %ebx
        andl    %eax, %ebx
        leal    0xf00(%esi, %ebx), %ebx
        movl    %ebx, %eax
        addl    $(PORT_PROBE - PORT_PASS), %edx
        outl    %eax, %dx
        movl    (%ebx), %eax
        addl    $(PORT_FACE - PORT_PROBE), %edx
        outl    %eax, %dx
        subl    $PORT_FACE, %edx
        movl    %ecx, %eax
        jmp     1b
        mismatch
hammer_end:

/*
 * banks, flat mode: EBP times choose one of 32 banks and a page in it, have the window at ESI show
 * the bank, compare the page's first word with what it must be: the table at EDI has 32 times 16
 * of them. Write another and look again; only the first 24 banks keep it. ESP: the random seed.
 */
        .globl  banks_begin, banks_end
banks_begin:
        movl    %esp, %eax
1:      imull   $1664525, %eax, %eax
        addl    $1013904223, %eax
        movl    %eax, %esp
        shrl    $24, %eax
        andl    $31, %eax
        addl    $PORT_BANK, %edx
        outl    %eax, %dx
        subl    $PORT_BANK, %edx
        movl    %esp, %ebx
        shrl    $12, %ebx
        andl    $15, %ebx
        shll    $4, %eax
        orl     %ebx, %eax
        leal    (%edi, %eax, 4), %eax
        shll    $12, %ebx
        addl    %esi, %ebx
        movl    (%ebx), %ecx
        cmpl    (%eax), %ecx
        jne     7f
        movl    %esp, (%ebx)
        leal    (24 * 16 * 4)(%edi), %ecx
        cmpl    %ecx, %eax
        jae     2f
        movl    %esp, (%eax)
2:      movl    (%ebx), %ecx
        cmpl    (%eax), %ecx
        jne     7f
        movl    %esp, %eax
        decl    %ebp
        jnz     1b
        jmp     9f
7:      movl    (%eax), %esp
        mismatch
banks_end:

/*
 * scribble, flat mode: in each pass add 1 to the first word of EBP pages, chosen at random from
 * those at ESI; EDI has the bits of an offset that may be set. ESP: the random seed. After a
 * pass say how many there were, and end if told so.
 */
        .globl  scribble_begin, scribble_end
scribble_begin:
        xorl    %eax, %eax
1:      incl    %eax
        movl    %ebp, %ecx
2:      imull   $1664525, %esp, %esp
        addl    $1013904223, %esp
        movl    %esp, %ebx
        andl    %edi, %ebx
        incl    (%esi, %ebx)
        decl    %ecx
        jnz     2b
        movl    %eax, %ecx
        addl    $PORT_PASS, %edx
        outl    %eax, %dx
        inl     %dx, %eax
        subl    $PORT_PASS, %edx
        testl   %eax, %eax
        movl    %ecx, %eax
        jz      1b
        hlt
scribble_end:

/*
 * io, flat mode: every way out of a guest, at the device at EBX and its ports from EBP on: strings
 * (5 words from ESI out, 5 in to EDI); writes that may be coalesced, to +0, +4, and to port +8;
 * a read of +8; writes of 1 to +16, 7 and 8 to +20, 5 and 6 to port +12; last a write to +0.
 */
        .code32
        .globl  io_begin, io_end
io_begin:
        cld
        movl    %ebp, %edx
        movl    $5, %ecx
        rep outsw
        movl    $5, %ecx
        rep insw
        addl    $8, %edx
        movl    $0x11111111, (%ebx)
        movl    $0x2222, %eax
        movw    %ax, 4(%ebx)
        outw    %ax, %dx
        movl    $0x33333333, (%ebx)
        movl    8(%ebx), %eax
        movl    $1, 16(%ebx)
        movl    $7, 20(%ebx)
        movl    $8, 20(%ebx)
        addl    $4, %edx
        movl    $5, %eax
        outw    %ax, %dx
        movl    $6, %eax
        outw    %ax, %dx
        movl    $0x44444444, (%ebx)
        hlt
io_end:

        .section .note.GNU-stack, "", %progbits
