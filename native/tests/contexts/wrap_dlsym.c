/* Another preloaded library that wraps dlsym, as tracers and profilers do: it finds
 * the next dlsym by dlvsym and hands every question on, on the same thread. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

typedef void *(*dlsym_t)(void *, const char *);

static dlsym_t next;
static unsigned long asked;

__attribute__((visibility("default"))) void *dlsym(void *handle, const char *name)
{
    if (!next)
        next = (dlsym_t)(uintptr_t)dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    if (!next)
        abort();
    asked++;
    return next(handle, name);
}

/* Proof for the test that the wrapper was in use. */
__attribute__((destructor)) static void report(void)
{
    static const char used[] = "dlsym was wrapped\n";
    if (asked > 0)
        (void)!write(STDERR_FILENO, used, sizeof used - 1);
}
