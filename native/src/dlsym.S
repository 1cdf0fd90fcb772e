/* dlsym, exported without a version so that it satisfies every version that programs ask for.
 *
 * In assembler because the call must be passed on by a jump: RTLD_NEXT means "after the object that holds the return
 * address", and that address must stay the caller's. vs_dlsym answers (value, pass). */

#if defined(__x86_64__)
    .text
    .globl dlsym
    .type dlsym, @function
    .p2align 4
dlsym:
    .cfi_startproc
    endbr64
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    pushq %rsi
    .cfi_adjust_cfa_offset 8
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    call vs_dlsym
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    popq %rsi
    .cfi_adjust_cfa_offset -8
    popq %rdi
    .cfi_adjust_cfa_offset -8
    testq %rdx, %rdx
    jnz 1f
    ret
1:  jmpq *vs_next_dlsym(%rip)
    .cfi_endproc
    .size dlsym, .-dlsym

#elif defined(__aarch64__)
    .text
    .globl dlsym
    .type dlsym, %function
    .p2align 4
dlsym:
    .cfi_startproc
    hint #34
    stp x29, x30, [sp, #-32]!
    .cfi_def_cfa_offset 32
    .cfi_offset 29, -32
    .cfi_offset 30, -24
    mov x29, sp
    stp x0, x1, [sp, #16]
    bl vs_dlsym
    cbnz x1, 1f
    ldp x29, x30, [sp], #32
    ret
1:  ldp x0, x1, [sp, #16]
    ldp x29, x30, [sp], #32
    adrp x16, vs_next_dlsym
    ldr x16, [x16, #:lo12:vs_next_dlsym]
    br x16
    .cfi_endproc
    .size dlsym, .-dlsym
#else
#error "dlsym.S knows x86-64 and aarch64"
#endif

/* The same under the C library's oldest version name: an interposer before us may look for the next dlsym by version, and
 * such a search passes unversioned names by. Code of their own: linkers drop an unversioned name that is the same
 * address as a versioned one. */
#if defined(__x86_64__)
#define JUMP jmp
#define OLDEST GLIBC_2.2.5
#else
#define JUMP b
#define OLDEST GLIBC_2.17
#endif
    .hidden vs_dlsym_entry
    .set vs_dlsym_entry, dlsym
    .globl vs_dlsym_oldest
vs_dlsym_oldest:
    JUMP vs_dlsym_entry
    .symver vs_dlsym_oldest, dlsym@OLDEST

    .hidden vs_dlsym
    .hidden vs_next_dlsym
    .section .note.GNU-stack, "", %progbits
