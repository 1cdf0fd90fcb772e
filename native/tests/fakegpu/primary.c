/* The primary context of each GPU: made at the first retain, ended at the last
 * release. */
#define _GNU_SOURCE
#include "driver.h"

static bool known(CUdevice device)
{
    return device >= 0 && device < driver.count;
}

API CUresult cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice device)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (!known(device))
        return driver_leave(CUDA_ERROR_INVALID_DEVICE);
    struct fake_context *context = driver.primary[device];
    if (!context) {
        context = context_make(device, driver.primary_flags[device], 3020);
        if (!context)
            return driver_leave(CUDA_ERROR_OUT_OF_MEMORY);
        context->primary = true;
        driver.primary[device] = context;
    }
    context->retained++;
    *out = context;
    return driver_leave(CUDA_SUCCESS);
}

/* Ends the primary context whatever is held of it. */
static void end_primary(CUdevice device)
{
    if (driver.primary[device])
        context_end(driver.primary[device]);
    driver.primary[device] = NULL;
}

API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (!known(device))
        return driver_leave(CUDA_ERROR_INVALID_DEVICE);
    if (!driver.primary[device])
        return driver_leave(CUDA_ERROR_INVALID_CONTEXT);
    if (--driver.primary[device]->retained == 0)
        end_primary(device);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    return cuDevicePrimaryCtxRelease_v2(device);
}

API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (!known(device))
        return driver_leave(CUDA_ERROR_INVALID_DEVICE);
    end_primary(device);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuDevicePrimaryCtxReset(CUdevice device)
{
    return cuDevicePrimaryCtxReset_v2(device);
}

API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (!known(device))
        return driver_leave(CUDA_ERROR_INVALID_DEVICE);
    *flags = driver.primary_flags[device];
    *active = driver.primary[device] != NULL;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (!known(device))
        return driver_leave(CUDA_ERROR_INVALID_DEVICE);
    driver.primary_flags[device] = flags;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned flags)
{
    return cuDevicePrimaryCtxSetFlags_v2(device, flags);
}
