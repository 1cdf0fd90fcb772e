/* Filling the table of driver calls. */
#define _GNU_SOURCE
#include "calls.h"

#include <dlfcn.h>
#include <stdio.h>

struct calls cu;

int calls_load(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    if (!driver) {
        fprintf(stderr, "%s\n", dlerror());
        return -1;
    }
#define CALL(name, parameters) cu.name = (int(*) parameters)(uintptr_t)dlsym(driver, #name);
#include "calls.def"
#undef CALL
    return 0;
}
