/* The same question for a program that is linked with the driver: which library did
 * the loader bind each symbol to? Prints a line "SYMBOL LIBRARY" each. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define NVML(name) CUDA(name, , )
#define CUDA_USED(name)
#define NVML_USED(name)
#define CUDA(name, base, since)                                                                    \
    extern const char bound_##name[] __asm__(#name) __attribute__((weak));
#include "hooks.def"
#undef CUDA

int main(void)
{
    static const struct { const char *name; const void *address; } symbols[] = {
#define CUDA(name, base, since) {#name, bound_##name},
#include "hooks.def"
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        Dl_info info;
        const void *address = symbols[i].address;
        const char *library = address && dladdr(address, &info) ? info.dli_fname : "-";
        const char *slash = strrchr(library, '/');
        printf("%s %s\n", symbols[i].name, slash ? slash + 1 : library);
    }
    return 0;
}
