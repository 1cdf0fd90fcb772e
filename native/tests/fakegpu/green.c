/* Green contexts: a context that owns some of the multiprocessors. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>
#include <string.h>

/* A resource, as programs hold it: its type, and from byte 96 its contents. */
struct resource {
    int type;
    unsigned char padding[92];
    unsigned multiprocessors, smallest, alignment, flags;
    unsigned char rest[24];
    struct resource *next;
};
enum { MULTIPROCESSORS = 1 };

API CUresult cuDeviceGetDevResource(CUdevice device, struct resource *out, int type)
{
    CUresult result = type == MULTIPROCESSORS ? driver_enter() : CUDA_ERROR_NOT_SUPPORTED;
    if (result != CUDA_SUCCESS)
        return result;
    if (device < 0 || device >= driver.count)
        return driver_leave(CUDA_ERROR_INVALID_DEVICE);
    out->type = type;
    out->multiprocessors = (unsigned)driver.gpus[driver.index[device]].multiprocessors;
    out->smallest = out->alignment = 2;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuDevSmResourceSplitByCount(struct resource *out, unsigned *groups,
                                         const struct resource *input, struct resource *rest,
                                         unsigned flags, unsigned least)
{
    (void)flags;
    unsigned size = least < 2 ? 2 : least + least % 2, possible = input->multiprocessors / size;
    unsigned wanted = out ? *groups : possible, given = wanted < possible ? wanted : possible;
    for (unsigned i = 0; out && i < given; i++) {
        out[i] = *input;
        out[i].multiprocessors = size;
    }
    if (rest) {
        *rest = *input;
        rest->multiprocessors = input->multiprocessors - given * size;
    }
    *groups = given;
    return CUDA_SUCCESS;
}

API CUresult cuDevResourceGenerateDesc(void **out, struct resource *resources, unsigned count)
{
    *out = count > 0 ? resources : NULL;
    return count > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuGreenCtxCreate(CUgreenCtx *out, void *description, CUdevice device, unsigned flags)
{
    enum { DEFAULT_STREAM = 1 };
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (!description || flags != DEFAULT_STREAM || device < 0 || device >= driver.count)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    struct fake_context *context = context_make(device, 0, 12040);
    if (!context)
        return driver_leave(CUDA_ERROR_OUT_OF_MEMORY);
    context->green = true;
    *out = context;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuGreenCtxDestroy(CUgreenCtx handle)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_context *context = context_checked(handle);
    if (!context || !context->green)
        return driver_leave(CUDA_ERROR_INVALID_CONTEXT);
    context_end(context);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuCtxFromGreenCtx(CUcontext *out, CUgreenCtx green)
{
    *out = green;
    return CUDA_SUCCESS;
}

API CUresult cuGreenCtxStreamCreate(CUstream *out, CUgreenCtx green, unsigned flags, int priority)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_context *context = context_checked(green);
    *out = context ? stream_make(context, flags, priority) : NULL;
    return driver_leave(*out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT);
}
