/* Loaded code: what the module, library and launch files share. */
#ifndef FAKEGPU_MODULE_H
#define FAKEGPU_MODULE_H

#include "driver.h"

/* One kernel of a module and how long one launch of it runs. */
struct fake_function {
    struct fake_module *module;
    char name[128];
    uint64_t fixed_ns;         /* a launch's duration … */
    uint64_t block_ns;         /* … plus this for each block of the grid */
    uint64_t local_bytes;      /* stack a thread needs, from the PTX */
    struct fake_function *next;
};

/* A module or library made from PTX text. */
struct fake_module {
    struct fake_context *context;
    char *text;
    struct fake_function *functions;
    struct module_global *globals;
    uint64_t charged;          /* device memory of code and globals */
    struct fake_module *next;
};

/* A variable of a module, in device memory. */
struct module_global {
    char name[128];
    CUdeviceptr start;
    uint64_t size;
    struct module_global *next;
};

/* Makes a module from PTX text; returns its error, or success and the module. */
CUresult module_make(struct fake_context *context, const void *image, struct fake_module **out);
/* Unloads it and returns its memory. */
void module_end(struct fake_module *module);
/* Finds a kernel; the first ask adds it. NULL if the PTX has none of this name. */
struct fake_function *module_function(struct fake_module *module, const char *name);
/* Finds a global variable; NULL if there is none. */
struct module_global *module_global(const struct fake_module *module, const char *name);

#endif
