/* The driver's memory queries show the slice: its size, and what is left of it for this container. */
#include "charge.h"
#include "driver.h"
#include "pools.h"

/* What a program may hope to get: what is left of the slice, or of the GPU if that is less. */
static void show(struct vs_process *process, int gpu, size_t *free, size_t *total)
{
    vs_refresh_limits(process, false);
    vs_reap_sometimes(process);
    vs_check_lenders(process);
    uint64_t limit = vs_limit_of(process, gpu);
    if (gpu < 0 || limit >= *total) {
        if (gpu < 0)
            *free = *total = 0;
        return;
    }
    *total = (size_t)limit;
    *free = (size_t)vs_min(vs_left(process, gpu), *free);
}

VS_EXPORT CUresult cuMemGetInfo_v2(size_t *free, size_t *total)
{
    VS_REAL_CUDA(cuMemGetInfo_v2);
    struct vs_process *process = vs_on();
    CUcontext context;
    int gpu = process ? vs_current_gpu(process, &context) : VS_NO_CONTEXT;
    if (gpu == VS_NO_CONTEXT || !free || !total)
        return real(free, total);
    size_t real_free, real_total;
    CUresult result = VS_INSIDE(real(&real_free, &real_total));
    if (result != CUDA_SUCCESS)
        return result;
    vs_measure_if_dirty(process, gpu, true);
    vs_pools_settle(process, gpu);
    show(process, gpu, &real_free, &real_total);
    *free = real_free;
    *total = real_total;
    return CUDA_SUCCESS;
}

/* The first form has 32 bits for each figure. */
static unsigned int narrow(size_t value) { return value > UINT32_MAX ? UINT32_MAX : (unsigned int)value; }

VS_EXPORT CUresult cuMemGetInfo(unsigned int *free, unsigned int *total)
{
    VS_REAL_CUDA(cuMemGetInfo);
    struct vs_process *process = vs_on();
    CUcontext context;
    int gpu = process ? vs_current_gpu(process, &context) : VS_NO_CONTEXT;
    CUresult result = real(free, total);
    if (gpu == VS_NO_CONTEXT || result != CUDA_SUCCESS || !free || !total)
        return result;
    size_t wide_free = *free, wide_total = *total;
    show(process, gpu, &wide_free, &wide_total);
    *free = narrow(wide_free);
    *total = narrow(wide_total);
    return result;
}

VS_EXPORT CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
    VS_REAL_CUDA(cuDeviceTotalMem_v2);
    struct vs_process *process = vs_on();
    CUresult result = VS_INSIDE(real(bytes, dev));
    if (!process || result != CUDA_SUCCESS || !bytes)
        return result;
    vs_refresh_limits(process, false);
    *bytes = (size_t)vs_min(vs_limit_of(process, vs_gpu_of_device(process, dev)), *bytes);
    return result;
}

VS_EXPORT CUresult cuDeviceTotalMem(unsigned int *bytes, CUdevice dev)
{
    VS_REAL_CUDA(cuDeviceTotalMem);
    struct vs_process *process = vs_on();
    CUresult result = VS_INSIDE(real(bytes, dev));
    if (process && result == CUDA_SUCCESS && bytes)
        *bytes = narrow((size_t)vs_min(vs_limit_of(process, vs_gpu_of_device(process, dev)), *bytes));
    return result;
}
