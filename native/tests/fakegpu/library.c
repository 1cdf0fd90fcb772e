/* cuLibrary* and cuKernel*: code that is loaded without a context and takes device
 * memory where it is first used. */
#define _GNU_SOURCE
#include "module.h"

#include <stdio.h>
#include <stdlib.h>

API CUresult cuLibraryLoadData(CUlibrary *out, const void *code, int *jit, void **jit_values,
                               unsigned jit_count, int *options, void **values, unsigned count)
{
    (void)jit, (void)jit_values, (void)jit_count, (void)options, (void)values, (void)count;
    CUresult result = driver_enter();
    return result != CUDA_SUCCESS ? result : driver_leave(module_parse(code, out));
}

API CUresult cuLibraryLoadFromFile(CUlibrary *out, const char *path, int *jit, void **jit_values,
                                   unsigned jit_count, int *options, void **values, unsigned count)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t room = 0;
    if (!file)
        return CUDA_ERROR_FILE_NOT_FOUND;
    ssize_t got = getdelim(&text, &room, '\0', file);
    fclose(file);
    CUresult result = got > 0 ? cuLibraryLoadData(out, text, jit, jit_values, jit_count, options,
                                                  values, count)
                              : CUDA_ERROR_INVALID_IMAGE;
    free(text);
    return result;
}

API CUresult cuLibraryUnload(CUlibrary library)
{
    CUresult result = library ? driver_enter() : CUDA_ERROR_INVALID_HANDLE;
    if (result != CUDA_SUCCESS)
        return result;
    module_end(library);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuLibraryGetKernel(CUkernel *out, CUlibrary library, const char *name)
{
    return cuModuleGetFunction(out, library, name);
}

/* Places the library in the current context. */
static CUresult place(struct fake_module *library)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    return result != CUDA_SUCCESS ? result : driver_leave(module_place(library, context));
}

API CUresult cuLibraryGetModule(CUmodule *out, CUlibrary library)
{
    CUresult result = place(library);
    if (result == CUDA_SUCCESS)
        *out = library;
    return result;
}

API CUresult cuKernelGetFunction(CUfunction *out, CUkernel kernel)
{
    CUresult result = place(kernel->module);
    if (result == CUDA_SUCCESS)
        *out = kernel;
    return result;
}

API CUresult cuLibraryGetGlobal(CUdeviceptr *start, size_t *size, CUlibrary library,
                                const char *name)
{
    CUresult result = place(library);
    return result != CUDA_SUCCESS ? result : cuModuleGetGlobal_v2(start, size, library, name);
}

/* Managed variables are ordinary ones here. */
API CUresult cuLibraryGetManaged(CUdeviceptr *start, size_t *size, CUlibrary library,
                                 const char *name)
{
    return cuLibraryGetGlobal(start, size, library, name);
}

/* Loads a kernel's code, which is loaded already. */
API CUresult cuFuncLoad(CUfunction function)
{
    return function ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

API CUresult cuFuncIsLoaded(int *state, CUfunction function)
{
    *state = 1;
    return function ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

API CUresult cuKernelGetLibrary(CUlibrary *library, CUkernel kernel)
{
    *library = kernel->module;
    return CUDA_SUCCESS;
}

API CUresult cuKernelGetName(const char **name, CUkernel kernel)
{
    return cuFuncGetName(name, kernel);
}

API CUresult cuKernelGetAttribute(int *value, int attribute, CUkernel kernel, CUdevice device)
{
    (void)device;
    return cuFuncGetAttribute(value, attribute, kernel);
}

API CUresult cuKernelSetAttribute(int attribute, int value, CUkernel kernel, CUdevice device)
{
    (void)device;
    return cuFuncSetAttribute(kernel, attribute, value);
}
