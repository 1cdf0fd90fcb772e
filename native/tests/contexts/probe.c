/* Asks for memory by functions found at run time.
 *
 *     probe WAY BYTES
 *
 * where WAY is how the functions are found: handle, default, first, second,
 * recursive, next (RTLD_NEXT), deepbind (the driver loaded with RTLD_DEEPBIND),
 * namespace (dlmopen), or constructor (before main; BYTES from PROBE_BYTES). */
#define _GNU_SOURCE
#include "probe.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*first_t)(const char *, void **, int, uint64_t);
typedef int (*second_t)(const char *, void **, int, uint64_t, int *);

static void *driver;

/* Finds a function: its exported name, and base name and version for cuGetProcAddress. */
typedef void *(*finder)(const char *name, const char *base, int version);

static void *by_handle(const char *name, const char *base, int version)
{
    (void)base, (void)version;
    return dlsym(driver, name);
}

static void *by_default(const char *name, const char *base, int version)
{
    (void)base, (void)version;
    return dlsym(RTLD_DEFAULT, name);
}

static void *by_next(const char *name, const char *base, int version)
{
    (void)base, (void)version;
    return dlsym(RTLD_NEXT, name);
}

static void *by_first(const char *name, const char *base, int version)
{
    void *found = NULL;
    (void)name;
    first_t ask = (first_t)(uintptr_t)dlsym(driver, "cuGetProcAddress");
    ask(base, &found, version, 0);
    return found;
}

static void *by_second(const char *name, const char *base, int version)
{
    void *found = NULL;
    int status;
    (void)name;
    second_t ask = (second_t)(uintptr_t)dlsym(driver, "cuGetProcAddress_v2");
    ask(base, &found, version, 0, &status);
    return found;
}

static void *by_itself(const char *name, const char *base, int version)
{
    second_t ask = (second_t)(uintptr_t)by_second("", "cuGetProcAddress", 12000);
    void *found = NULL;
    int status;
    (void)name;
    ask(base, &found, version, 0, &status);
    return found;
}

static const struct { const char *name; finder find; int flags; } ways[] = {
    {"handle", by_handle, RTLD_NOW},
    {"default", by_default, RTLD_NOW | RTLD_GLOBAL},
    {"next", by_next, RTLD_NOW | RTLD_GLOBAL},
    {"first", by_first, RTLD_NOW},
    {"second", by_second, RTLD_NOW},
    {"recursive", by_itself, RTLD_NOW},
    {"deepbind", by_handle, RTLD_NOW | RTLD_DEEPBIND},
    {"namespace", by_handle, 0},
    {"constructor", by_handle, RTLD_NOW},
};

static int probe_way(size_t way, uint64_t size)
{
    finder find = ways[way].find;
    driver = ways[way].flags ? dlopen("libcuda.so.1", ways[way].flags)
                             : dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW);
    if (!driver) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    struct probe probe = {
        .init = (int (*)(unsigned))(uintptr_t)find("cuInit", "cuInit", 2000),
        .retain = (int (*)(void **, int))(uintptr_t)find("cuDevicePrimaryCtxRetain",
                                                         "cuDevicePrimaryCtxRetain", 7000),
        .use = (int (*)(void *))(uintptr_t)find("cuCtxSetCurrent", "cuCtxSetCurrent", 4000),
        .alloc = (int (*)(unsigned long long *, uint64_t))(uintptr_t)find("cuMemAlloc_v2",
                                                                          "cuMemAlloc", 3020),
        .info = (int (*)(uint64_t *, uint64_t *))(uintptr_t)find("cuMemGetInfo_v2", "cuMemGetInfo",
                                                                 3020),
    };
    return probe_run(&probe, size);
}

/* With PROBE_BYTES set, everything happens before main. */
__attribute__((constructor)) static void early(void)
{
    const char *bytes = getenv("PROBE_BYTES");
    if (bytes)
        exit(probe_way(sizeof ways / sizeof *ways - 1, strtoull(bytes, NULL, 10)));
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 3 && i < sizeof ways / sizeof *ways; i++)
        if (strcmp(argv[1], ways[i].name) == 0)
            return probe_way(i, strtoull(argv[2], NULL, 10));
    fprintf(stderr, "usage: probe WAY BYTES\n");
    return 2;
}
