/* Pinned host memory: never device memory, so it is not charged. */
#define _GNU_SOURCE
#include "driver.h"

static CUresult host_take(void **out, size_t size)
{
    struct fake_context *context;
    if (!out || size == 0)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    CUdeviceptr start = pages_map(size);
    if (!start)
        return driver_leave(CUDA_ERROR_OUT_OF_MEMORY);
    range_add((struct fake_range){.start = start, .size = size, .kind = RANGE_HOST,
                                  .context = context, .device = context->device});
    *out = (void *)(uintptr_t)start;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemHostAlloc(void **out, size_t size, unsigned flags)
{
    (void)flags;
    return host_take(out, size);
}

API CUresult cuMemAllocHost_v2(void **out, size_t size)
{
    return host_take(out, size);
}

/* Ends a host range of one kind. */
static CUresult host_end(void *start, enum range_kind kind, CUresult unknown)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_range *range = range_at((CUdeviceptr)(uintptr_t)start);
    if (!range || range->kind != kind)
        return driver_leave(unknown);
    range_end(range);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemFreeHost(void *start)
{
    return host_end(start, RANGE_HOST, CUDA_ERROR_INVALID_VALUE);
}

API CUresult cuMemHostRegister_v2(void *start, size_t size, unsigned flags)
{
    struct fake_context *context;
    (void)flags;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    range_add((struct fake_range){.start = (CUdeviceptr)(uintptr_t)start, .size = size,
                                  .kind = RANGE_HOST_REGISTERED, .context = context,
                                  .device = context->device});
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuMemHostUnregister(void *start)
{
    return host_end(start, RANGE_HOST_REGISTERED, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *out, void *host, unsigned flags)
{
    (void)flags;
    *out = (CUdeviceptr)(uintptr_t)host;
    return CUDA_SUCCESS;
}

API CUresult cuMemHostGetFlags(unsigned *flags, void *host)
{
    (void)host;
    *flags = 0;
    return CUDA_SUCCESS;
}

/* What a pointer is: the attributes that frameworks ask for. */
API CUresult cuPointerGetAttribute(void *out, int attribute, CUdeviceptr pointer)
{
    enum { CONTEXT = 1, MEMORY_TYPE, DEVICE_POINTER, HOST_POINTER, BUFFER_ID = 7, IS_MANAGED,
           DEVICE_ORDINAL, RANGE_START = 11, RANGE_SIZE };
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_range *range = range_around(pointer);
    if (!range)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    bool host = range->kind == RANGE_HOST || range->kind == RANGE_HOST_REGISTERED;
    result = CUDA_SUCCESS;
    switch (attribute) {
    case CONTEXT: *(CUcontext *)out = range->context; break;
    case MEMORY_TYPE: *(unsigned *)out = host ? 1 : 2; break;
    case DEVICE_POINTER: *(CUdeviceptr *)out = pointer; break;
    case HOST_POINTER: *(CUdeviceptr *)out = host ? pointer : 0; break;
    case BUFFER_ID: *(uint64_t *)out = range->id; break;
    case IS_MANAGED: *(unsigned *)out = range->kind == RANGE_MANAGED; break;
    case DEVICE_ORDINAL: *(int *)out = range->device; break;
    case RANGE_START: *(CUdeviceptr *)out = range->start; break;
    case RANGE_SIZE: *(size_t *)out = range->size; break;
    default: result = CUDA_ERROR_NOT_SUPPORTED;
    }
    return driver_leave(result);
}
