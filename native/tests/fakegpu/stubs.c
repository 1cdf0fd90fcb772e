/* A weak definition of every driver symbol, answering "not simulated", and the
 * per-thread default stream forms, which jump to their plain form. The files
 * that simulate a call define it strongly and win. */
__attribute__((used)) static int not_simulated(void)
{
    return 801; /* CUDA_ERROR_NOT_SUPPORTED */
}

#define WEAK(symbol)                                                                               \
    __attribute__((weak, alias("not_simulated"), visibility("default"))) int symbol(void);

#if defined(__x86_64__)
#define JUMP "jmp "
#elif defined(__aarch64__)
#define JUMP "b "
#else
#error "the fake driver needs a jump instruction for this machine"
#endif

#define JUMP_TO(name, target)                                                                      \
    __asm__(".pushsection .text\n.globl " name "\n.type " name ",@function\n" name ":\n" JUMP      \
            target "\n.size " name ", .-" name "\n.popsection");

#define SYMBOL(base, since, symbol) WEAK(symbol)
#define THREADED(base, since, symbol, suffix) WEAK(symbol) JUMP_TO(#symbol #suffix, #symbol)
#include "symbols.def"
