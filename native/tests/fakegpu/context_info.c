/* Questions about a context, its limits, and waiting for it. */
#define _GNU_SOURCE
#include "driver.h"

API CUresult cuCtxGetDevice(CUdevice *device)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    *device = context->device;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuCtxGetDevice_v2(CUdevice *device, CUcontext handle)
{
    CUresult result = handle ? driver_enter() : CUDA_ERROR_INVALID_CONTEXT;
    if (!handle)
        return cuCtxGetDevice(device);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_context *context = context_checked(handle);
    if (context)
        *device = context->device;
    return driver_leave(context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT);
}

API CUresult cuCtxGetId(CUcontext handle, unsigned long long *id)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_context *context = handle ? context_checked(handle) : context_current();
    if (context)
        *id = context->id;
    return driver_leave(context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT);
}

API CUresult cuCtxGetFlags(unsigned *flags)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    *flags = context->flags;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuCtxSetFlags(unsigned flags)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    context->flags = flags;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuCtxGetApiVersion(CUcontext handle, unsigned *version)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_context *context = handle ? context_checked(handle) : context_current();
    if (context)
        *version = context->version;
    return driver_leave(context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT);
}

API CUresult cuCtxSynchronize(void)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    uint64_t tail = context_tail(context);
    driver_leave(CUDA_SUCCESS);
    driver_synchronized(tail);
    return CUDA_SUCCESS;
}

API CUresult cuCtxSynchronize_v2(CUcontext handle)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_context *context = context_checked(handle);
    uint64_t tail = context ? context_tail(context) : 0;
    driver_leave(CUDA_SUCCESS);
    driver_synchronized(tail);
    return context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

API CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    if (least)
        *least = 0;
    if (greatest)
        *greatest = -5;
    return CUDA_SUCCESS;
}

/* Cache and bank settings are accepted and mean nothing here. */
API CUresult cuCtxGetCacheConfig(int *config)
{
    *config = 0;
    return CUDA_SUCCESS;
}

API CUresult cuCtxSetCacheConfig(int config)
{
    (void)config;
    return CUDA_SUCCESS;
}

API CUresult cuCtxGetSharedMemConfig(int *config)
{
    *config = 0;
    return CUDA_SUCCESS;
}

API CUresult cuCtxSetSharedMemConfig(int config)
{
    (void)config;
    return CUDA_SUCCESS;
}
