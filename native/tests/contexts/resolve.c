/* Tells which library answers for every replaced driver symbol, in one way of asking.
 *
 *     resolve handle     dlsym on the handle of libcuda.so.1 and libnvidia-ml.so.1
 *     resolve default    dlsym(RTLD_DEFAULT) after loading them globally
 *     resolve first      cuGetProcAddress, the form of CUDA 11
 *     resolve second     cuGetProcAddress_v2
 *     resolve recursive  cuGetProcAddress_v2 found by cuGetProcAddress_v2
 *
 * Prints a line "SYMBOL LIBRARY" each; "-" where the driver has no such symbol. The
 * list is the interposer's own, so a hook that is added is tested here at once. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct symbol { const char *name, *base; int since; };

static const struct symbol cuda[] = {
#define CUDA(name, base, since) {#name, base, since},
#define NVML(name)
#define CUDA_USED(name)
#define NVML_USED(name)
#include "hooks.def"
#undef CUDA
#undef NVML
};

static const char *const nvml[] = {
#define CUDA(name, base, since)
#define NVML(name) #name,
#include "hooks.def"
};

typedef int (*first_t)(const char *, void **, int, uint64_t);
typedef int (*second_t)(const char *, void **, int, uint64_t, int *);

static void *driver, *management;
static first_t first;
static second_t second;

/* Prints who owns the address. */
static void tell(const char *name, const void *address)
{
    Dl_info info;
    const char *library = address && dladdr(address, &info) ? info.dli_fname : "-";
    const char *slash = strrchr(library, '/');
    printf("%s %s\n", name, slash ? slash + 1 : library);
}

/* Per-thread default stream forms are asked for with flag 2. */
static uint64_t flags_for(const char *name)
{
    size_t length = strlen(name);
    int threaded = length > 5 && (strcmp(name + length - 5, "_ptsz") == 0 ||
                                  strcmp(name + length - 5, "_ptds") == 0);
    return threaded ? 2 : 0;
}

static void *by_first(const struct symbol *symbol)
{
    void *found = NULL;
    first(symbol->base, &found, symbol->since, flags_for(symbol->name));
    return found;
}

static void *by_second(const struct symbol *symbol)
{
    void *found = NULL;
    int status = 0;
    second(symbol->base, &found, symbol->since, flags_for(symbol->name), &status);
    return found;
}

static void *by_handle(const struct symbol *symbol)
{
    return dlsym(driver, symbol->name);
}

static void *by_default(const struct symbol *symbol)
{
    return dlsym(RTLD_DEFAULT, symbol->name);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void *(*ask)(const struct symbol *); } ways[] = {
        {"handle", by_handle}, {"default", by_default}, {"first", by_first},
        {"second", by_second}, {"recursive", by_second},
    };
    const char *way = argc > 1 ? argv[1] : "";
    driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    management = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (!driver || !management)
        return 2;
    first = (first_t)(uintptr_t)dlsym(driver, "cuGetProcAddress");
    second = (second_t)(uintptr_t)dlsym(driver, "cuGetProcAddress_v2");
    if (strcmp(way, "recursive") == 0)
        second("cuGetProcAddress", (void **)&second, 12000, 0, NULL);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(way, ways[i].name) != 0)
            continue;
        for (size_t k = 0; k < sizeof cuda / sizeof *cuda; k++)
            tell(cuda[k].name, ways[i].ask(&cuda[k]));
        for (size_t k = 0; i < 2 && k < sizeof nvml / sizeof *nvml; k++)
            tell(nvml[k], dlsym(i == 0 ? management : RTLD_DEFAULT, nvml[k]));
        return 0;
    }
    fprintf(stderr, "usage: resolve handle|default|first|second|recursive\n");
    return 2;
}
