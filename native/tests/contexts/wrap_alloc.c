/* Another preloaded library that wraps cuMemAlloc itself and finds the next one by
 * dlsym(RTLD_NEXT) with the same name. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

typedef int (*alloc_t)(unsigned long long *, size_t);

__attribute__((visibility("default"))) int cuMemAlloc_v2(unsigned long long *at, size_t size)
{
    static const char used[] = "cuMemAlloc was wrapped\n";
    alloc_t next = (alloc_t)(uintptr_t)dlsym(RTLD_NEXT, "cuMemAlloc_v2");
    (void)!write(STDERR_FILENO, used, sizeof used - 1);
    return next ? next(at, size) : 999;
}
