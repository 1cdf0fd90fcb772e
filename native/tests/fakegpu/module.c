/* cuModule*: code given as PTX text. */
#define _GNU_SOURCE
#include "module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

API CUresult cuModuleLoadData(CUmodule *out, const void *image)
{
    struct fake_context *context;
    struct fake_module *module = NULL;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    result = module_parse(image, &module);
    if (result == CUDA_SUCCESS)
        result = module_place(module, context);
    if (result == CUDA_SUCCESS)
        *out = module;
    else if (module)
        module_end(module);
    return driver_leave(result);
}

API CUresult cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned count, int *options,
                                void **values)
{
    (void)count, (void)options, (void)values;
    return cuModuleLoadData(out, image);
}

API CUresult cuModuleLoadFatBinary(CUmodule *out, const void *image)
{
    return cuModuleLoadData(out, image);
}

API CUresult cuModuleLoad(CUmodule *out, const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t room = 0;
    if (!file)
        return CUDA_ERROR_FILE_NOT_FOUND;
    ssize_t got = getdelim(&text, &room, '\0', file);
    fclose(file);
    CUresult result = got > 0 ? cuModuleLoadData(out, text) : CUDA_ERROR_INVALID_IMAGE;
    free(text);
    return result;
}

API CUresult cuModuleUnload(CUmodule module)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (!module)
        return driver_leave(CUDA_ERROR_INVALID_HANDLE);
    module_end(module);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuModuleGetFunction(CUfunction *out, CUmodule module, const char *name)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (!module || !name)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    struct fake_function *function = module_function(module, name);
    if (function)
        *out = function;
    return driver_leave(function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND);
}

API CUresult cuModuleGetGlobal_v2(CUdeviceptr *start, size_t *size, CUmodule module,
                                  const char *name)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct module_global *global = module ? module_global(module, name) : NULL;
    if (!global)
        return driver_leave(CUDA_ERROR_NOT_FOUND);
    if (start)
        *start = global->start;
    if (size)
        *size = global->size;
    return driver_leave(CUDA_SUCCESS);
}

/* Code is loaded at once here (1), never lazily (2). */
API CUresult cuModuleGetLoadingMode(int *mode)
{
    *mode = 1;
    return CUDA_SUCCESS;
}

API CUresult cuFuncGetModule(CUmodule *module, CUfunction function)
{
    *module = function->module;
    return CUDA_SUCCESS;
}

API CUresult cuFuncGetName(const char **name, CUfunction function)
{
    *name = function->name;
    return CUDA_SUCCESS;
}

API CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction function)
{
    enum { MAX_THREADS = 0, LOCAL_BYTES = 3, REGISTERS = 4 };
    *value = attribute == MAX_THREADS   ? 1024
             : attribute == LOCAL_BYTES ? (int)function->local_bytes
             : attribute == REGISTERS   ? 32
                                        : 0;
    return CUDA_SUCCESS;
}

API CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value)
{
    (void)function, (void)attribute, (void)value;
    return CUDA_SUCCESS;
}

API CUresult cuFuncSetCacheConfig(CUfunction function, int config)
{
    (void)function, (void)config;
    return CUDA_SUCCESS;
}

API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function,
                                                         int threads, size_t shared)
{
    (void)function, (void)shared;
    *blocks = threads > 0 ? 1536 / threads : 0;
    return CUDA_SUCCESS;
}
