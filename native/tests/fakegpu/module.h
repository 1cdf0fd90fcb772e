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
    uint64_t code_bytes;       /* device memory that its code takes at the first launch */
    bool loaded;
    struct fake_function *next;
};

/* A module or library made from PTX text. A library has no context until its code
 * or variables are first used. */
struct fake_module {
    struct fake_context *context;
    int device;
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

/* Reads PTX text; returns its error, or success and a module without memory. */
CUresult module_parse(const void *image, struct fake_module **out);
/* Takes device memory for its variables in this context, unless it has it. */
CUresult module_place(struct fake_module *module, struct fake_context *context);
/* Unloads it and returns its memory. */
void module_end(struct fake_module *module);
/* Finds a kernel; the first ask adds it. NULL if the PTX has none of this name. */
struct fake_function *module_function(struct fake_module *module, const char *name);
/* Finds a global variable; NULL if there is none. */
struct module_global *module_global(const struct fake_module *module, const char *name);


/* Public calls that libraries and modules share. */
CUresult cuModuleGetFunction(CUfunction *out, CUmodule module, const char *name);
CUresult cuModuleGetGlobal_v2(CUdeviceptr *start, size_t *size, CUmodule module, const char *name);
CUresult cuFuncGetName(const char **name, CUfunction function);
CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction function);
CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value);

#endif
